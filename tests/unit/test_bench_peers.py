"""The peers of the bench do the project's job: its formulas, its ids, and numbers that are checked after each run."""

from __future__ import annotations

import random
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from deploy.audit import LOCK, pinned
from streams.interests.decay import decay
from streams.interests.nodes import Level, Node, NodeKey, expires_at_ms, node_id
from streams.settings.policies import NodeSettings
from tests.bench.peers.check import Sums, differences, expected
from tests.bench.peers.job import EXPIRES_BELOW, HALF_LIFE_MS, Catalogue, expires_at, left, places, point_id
from tests.bench.peers.race import Sample, second_half
from tests.bench.peers.trees import Trees

ROOT = Path(__file__).parents[2]
POLICY = NodeSettings().policy()
NOW_MS = 1_760_000_000_000
RANDOM = np.random.default_rng(1)
CATALOGUE = Catalogue(
    {f"item-{n}": n for n in range(8)},
    ["/sports/football", "/sports", "/news/local", "/sports/football", "/a", "/b/c", "/news/local", "/b/d"],
    RANDOM.standard_normal((8, 16)).astype(np.float32),
)


def clicks(count: int, seed: int = 2) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    return [
        {"user_id": f"user-{chance.randrange(5)}", "item_id": f"item-{chance.randrange(8)}",
         "ts": NOW_MS - chance.randrange(3_600_000)}
        for _ in range(count)
    ]  # fmt: skip


def folded(trees: Trees, rows: list[dict[str, Any]], step: int) -> dict[str, dict[str, Any]]:
    """The payload of every node by its id, folded in batches, with its vector."""
    nodes: dict[str, dict[str, Any]] = {}
    for start in range(0, len(rows), step):
        batch = [(row["user_id"], row["item_id"], row["ts"]) for row in rows[start : start + step]]
        nodes |= {node.id: node.payload | {"vector": node.vector} for node in trees.fold(batch)}
    return nodes


def sums(nodes: dict[str, dict[str, Any]]) -> dict[Any, Sums]:
    return {
        (node["user_id"], node["level"], node["path"]): Sums(node["mass"], node["norm"], node["count"], node["vector"])
        for node in nodes.values()
    }


def test_the_peers_decay_and_expire_as_the_project_does() -> None:
    assert POLICY.expire_below == EXPIRES_BELOW
    for level, half_life_ms in HALF_LIFE_MS.items():
        assert level in get_args(Level)
        assert POLICY.half_life_ms(level) == half_life_ms  # type: ignore[arg-type]
        assert left(1_234_567, half_life_ms) == pytest.approx(decay(1_234_567, half_life_ms))
        key = NodeKey("someone", level, "/sports")  # type: ignore[arg-type]
        node = Node(key=key, direction=np.zeros(1, np.float32), mass=2.5, t0_ms=NOW_MS)
        assert expires_at(level, 2.5, NOW_MS) == expires_at_ms(node, POLICY)
        assert point_id(key) == node_id(key)


def test_a_click_goes_into_the_nodes_of_its_path() -> None:
    above = (("profile", "/"), ("session", "/"))
    assert places("/sports/football") == (*above, ("topic", "/sports"), ("interest", "/sports/football"))
    assert places("/sports") == (*above, ("topic", "/sports"))


@pytest.mark.parametrize("step", [1, 7, 400])
def test_batches_of_any_size_make_the_nodes_that_are_expected(step: int) -> None:
    rows = clicks(400)
    assert differences(expected(rows, CATALOGUE), sums(folded(Trees(CATALOGUE), rows, step))) == []


def test_nodes_read_back_go_on_as_if_they_had_been_there() -> None:
    rows = clicks(400)
    before = folded(Trees(CATALOGUE), rows[:300], 300)
    later = Trees(CATALOGUE)
    unknown = later.unknown([(row["user_id"], row["item_id"], row["ts"]) for row in rows])
    for point in before.keys() & unknown.keys():
        later.restore(unknown[point], before[point]["vector"], before[point])
    assert differences(expected(rows, CATALOGUE), sums(before | folded(later, rows[300:], 10))) == []


def test_work_that_was_lost_skipped_or_done_twice_is_told() -> None:
    rows = clicks(200)
    right = expected(rows, CATALOGUE)
    assert len(differences(right, expected(rows[:-1], CATALOGUE))) >= 3
    assert len(differences(right, expected([*rows, rows[0]], CATALOGUE))) >= 3
    one, other = list(right)[:2]
    assert differences(right, {key: right[key] for key in right if key != one}) == [f"{one}: missing"]
    turned = right[one]._replace(vector=right[other].vector)
    assert len(differences(right, right | {one: turned})) == 1


def test_the_second_half_is_timed() -> None:
    course = [
        Sample(at_s, events, 2 * events, {"own": at_s / 2})
        for at_s, events in ((0.0, 10), (1.0, 40), (2.0, 60), (4.0, 90), (6.0, 100))
    ]
    figures = second_half(course, 100)
    assert figures == {"events_per_s": 10, "nodes_an_event": 2, "cpu_us_an_event": {"own": 50_000}}
    with pytest.raises(ValueError, match="got one write"):
        second_half(course[-1:], 100)


def test_the_peers_are_pinned_to_versions_that_the_page_names_and_share_ours() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = dict(pin.split("==") for pin in extras["peers"])
    ours, theirs = (
        dict(line.strip().split("==") for line in pinned(file.read_text()))
        for file in (LOCK, ROOT / "requirements-peers.lock")
    )
    assert wanted.items() <= theirs.items()
    shared = wanted.keys() & ours.keys()
    assert shared >= {"aiokafka", "msgspec", "numpy", "qdrant-client"}
    assert {name: wanted[name] for name in shared} == {name: ours[name] for name in shared}
    page = (ROOT / "docs" / "performance.md").read_text()
    versions = next(line for line in page.splitlines() if line.startswith("| version |"))
    assert all(wanted[name] in versions for name in ("aiokafka", "quixstreams", "pathway"))


def test_the_lock_of_the_service_has_every_extra_but_the_peers() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("EXTRAS := "))
    assert set(line.removeprefix("EXTRAS := ").split()) == extras.keys() - {"peers"}
