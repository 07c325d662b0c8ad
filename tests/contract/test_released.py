"""What each release wrote is read by today's code, and folded on to what a fresh fold of all of it gives."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from streams.interests.nodes import Node, NodeKey, recents_of
from streams.interests.recents import pack_recents
from streams.learner.state import LearnerState
from streams.store import versions
from streams.store.connection import QdrantConfig
from tests.contract.test_store import config_of
from tests.fixtures.learner import ENCODER, examples
from tests.fixtures.plain_path import DIM, PATHS
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.released import GROUP, HERE, LEARNED, LISTS, Release, halves

USERS: Final = ("ann", "bob", "cem", "dia", "eve")
RELEASED: Final = sorted(folder.name for folder in HERE.iterdir() if (folder / "points.jsonl").exists())
#: Written before people's votes, first events and recent items were kept: their sums are what is compared.
SUMS_ONLY: Final = {"0.1.0-nodes-1"}
#: Written before recent items kept their events' types, and before there were learned nodes.
WITHOUT_TYPES: Final = SUMS_ONLY | {"0.1.0"}
NO_ROW: Final = np.zeros(DIM, np.float32)


@pytest.fixture
async def released(own_qdrant: Callable[..., QdrantServer]) -> AsyncIterator[Callable[[], Release]]:
    """Make releases on servers of their own."""
    made: list[Release] = []

    def make() -> Release:
        config: QdrantConfig = config_of(own_qdrant())
        made.append(Release(config, "released"))
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def trees(release: Release) -> dict[NodeKey, Node]:
    return {node.key: node for user in USERS for node in await release.store.tree(user)}


def sums(node: Node) -> list[float]:
    return [node.norm, node.mass, node.net, node.t0_ms, node.first_ms, node.last_ms, node.count, node.erased_at_ms]


def rest(node: Node) -> Node:
    """All but what is counted in numbers with a fraction, which another order of summing moves."""
    return replace(node, direction=NO_ROW, norm=0.0, mass=0.0, net=0.0, evidence=list(node.evidence))


def without_types(node: Node) -> Node:
    """Without the types of recent items."""
    return replace(node, recents=pack_recents(one._replace(type="") for one in recents_of(node)))


def numbers(items: dict[str, Any]) -> dict[str, list[float]]:
    """What is counted of items, by item and kind."""
    counts = {
        f"{item} {other}": [mass] for item, one in items.items() for other, mass in getattr(one, "counts", {}).items()
    }
    return counts | {
        item: [*getattr(one, "masses", ()), getattr(one, "total", 0.0), one.t0_ms] for item, one in items.items()
    }


def check_alike(one: dict[str, list[float]], two: dict[str, list[float]]) -> None:
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert np.allclose(values, two[name], rtol=1e-9, atol=1e-9), name


@pytest.mark.parametrize("version", RELEASED)
async def test_what_a_release_wrote_is_folded_on(version: str, released: Callable[[], Release]) -> None:
    before, after = halves()
    old, fresh = released(), released()
    await old.prepare()
    await old.load(version)
    await old.store.check_control(GROUP)
    await old.fold(after, len(before))
    await fresh.write([*before, *after])
    kept, wanted = await trees(old), await trees(fresh)
    if version in WITHOUT_TYPES:
        assert wanted.pop(LEARNED.key) is not None
        kept, wanted = ({key: without_types(node) for key, node in tree.items()} for tree in (kept, wanted))
    assert kept.keys() == wanted.keys()
    for key, node in wanted.items():
        assert np.allclose(kept[key].direction, node.direction, atol=1e-5), key
        assert np.allclose(sums(kept[key]), sums(node), rtol=1e-9), key
        assert kept[key].applied == node.applied, key
        if version not in SUMS_ONLY:
            assert rest(kept[key]) == rest(node), key
    if version not in SUMS_ONLY:
        await check_the_rest(old, fresh)
    if version not in WITHOUT_TYPES:  # those two were written before points of every kind had a version
        unversioned = [point for point in points_of(version) if versions.FIELD not in point["payload"]]
        assert unversioned == []


async def check_the_rest(old: Release, fresh: Release) -> None:
    """What all users together say, what is learned, and what outlives a worker."""
    check_alike(numbers(await old.cohorts.popularity(PATHS)), numbers(await fresh.cohorts.popularity(PATHS)))
    check_alike(numbers(await old.cohorts.partners(PATHS)), numbers(await fresh.cohorts.partners(PATHS)))
    assert await old.cohorts.popularity(PATHS)
    assert await old.cohorts.partners(PATHS)
    keys = [NodeKey("*", "profile", "/"), NodeKey("*", "topic", "/sports"), NodeKey("*", "topic", "/music")]
    cohorts, wanted = await old.cohorts.read(keys), await fresh.cohorts.read(keys)
    assert cohorts.keys() == wanted.keys()
    assert cohorts
    for key, node in wanted.items():
        assert np.allclose(sums(cohorts[key]), sums(node), rtol=1e-9)
    assert (await old.marks.read(["clicks/0"])).keys() == {"clicks/0"}
    packed = await old.states.take()
    assert packed is not None
    state = LearnerState.unpack(packed, ENCODER, old.rules)
    for example in examples(2 * LISTS)[LISTS:]:
        assert state.fold(example) == "learned"
    anew = fresh.learned(2 * LISTS)
    for kind, one in state.kinds.items():
        weights = anew.kinds[kind].learner.weights()
        assert np.allclose(one.learner.weights(), weights, rtol=1e-9, atol=1e-12)  # other columns, other last bits
    assert state.figures.rows() == anew.figures.rows()


def points_of(version: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / version / "points.jsonl").read_text("utf-8").splitlines()]


def test_every_version_of_nodes_has_a_fixture() -> None:
    written = {
        point["payload"]["v"] for version in RELEASED for point in points_of(version) if "user_id" in point["payload"]
    }
    assert written == set(range(1, versions.NODES + 1)), "python -m tests.fixtures.released VERSION"
