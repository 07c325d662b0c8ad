"""A concept tree and weights that change while events flow: what comes is placed and weighed anew, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.concepts.tree import ConceptTree
from streams.concepts.tree_file import load_tree, save_tree
from streams.interests.nodes import NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.path import Rig

pytestmark = pytest.mark.integration

SEARCHES = ("the striker scored in the football cup final", "a slow cooker recipe for lentil soup")


def renamed(tree: ConceptTree) -> ConceptTree:
    """The same concepts with the same vectors, every id with an x before it, as version `renamed`."""
    moved = [replace(one, id="/".join(f"x{step}" for step in one.id.split("/"))) for one in tree.concepts]
    return ConceptTree("renamed", tree.encoder_id, moved, tree.vectors, tree.floors)


async def metric(rig: Rig, name: str) -> float:
    return (await rig.workers[0].metrics()).get(name, 0.0)


async def until(met: Callable[[], Any], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not await met():
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("broker", ["tansu"], indirect=True)
async def test_a_changed_tree_and_changed_weights_are_taken_up_while_events_flow(
    broker: Broker, make_rig: Callable[..., Rig], concept_file: str, tmp_path: Path
) -> None:
    file, table = tmp_path / "concepts.npz", tmp_path / "interests.toml"
    before = load_tree(Path(concept_file))
    save_tree(before, file)
    table.write_text("[weights.base]\nclick = 1.0\n")
    rig = make_rig(broker, concepts={"file": str(file)}, worker={"reload_every_s": 0.2})
    await rig.prepare()
    rig.worker(INTERESTS_CONFIG=str(table))
    await rig.items([{"item_id": "cup", "title": "The cup final", "categories": ["Sports", "Football"]}])
    await rig.items_known(1)
    liker, sent, ts = rig.user(), 0, int(time.time() * 1000)
    await rig.produce(rig.events, [{"event_id": "l", "user_id": liker, "type": "like", "item_id": "cup", "ts": ts}])
    await rig.until(lambda o: o.get("applied", 0) == 1)
    given = await rig.tree(liker)
    assert NodeKey(liker, "interest", "/sports/football") in given

    stop, users = asyncio.Event(), [rig.user() for _ in range(4)]

    async def search() -> None:
        nonlocal sent
        while not stop.is_set():
            bodies = [
                {"event_id": f"s{sent}-{n}", "user_id": user, "type": "search", "text": SEARCHES[n % 2]}
                for n, user in enumerate(users)
            ]
            await rig.produce(rig.events, bodies)
            sent += len(bodies)
            await asyncio.sleep(0.05)

    flowing = asyncio.create_task(search())
    try:
        await rig.until(lambda o: o.get("applied", 0) > 20)
        file.write_bytes(b"half a file")
        await until(lambda: metric(rig, 'interests_reloads_total{outcome="refused",what="concepts"}'))
        save_tree(renamed(before), file)
        table.write_text("[weights.base]\nclick = 1.0\nlike = 5.0\nsearch = 3.0\n")
        await until(lambda: metric(rig, 'interests_reloads_total{outcome="taken_up",what="concepts"}'))
        await until(lambda: metric(rig, 'interests_reloads_total{outcome="taken_up",what="weights"}'))
        late = rig.user()
        users.append(late)
        applied = (await rig.outcomes())["applied"]
        await rig.until(lambda o: o["applied"] > applied + 20)
    finally:
        stop.set()
        await flowing
    await rig.until(lambda o: o.get("applied", 0) == sent + 1)  # nothing is lost, nothing comes twice
    assert sum(count for name, count in (await rig.outcomes()).items() if name in ("duplicate", "dead")) == 0

    versions = [name for name in await rig.workers[0].metrics() if name.startswith("interests_concepts_info{")]
    assert len(versions) == 1
    assert 'version="renamed"' in versions[0]
    tops = {user: {key.path for key in await rig.tree(user) if key.level == "topic"} for user in users}
    assert all(path.startswith("/x") for path in tops[late])
    assert tops[users[0]] == {"/sports", "/xsports"}  # what was folded stays, what came goes along the new tree
    searched = (await rig.tree(late))[NodeKey(late, "profile", "/")]
    assert {one.weight for one in searched.evidence} == {3.0}

    undo = {"event_id": "u", "user_id": liker, "type": "unlike", "item_id": "cup", "ts": ts + 1}
    await rig.produce(rig.events, [undo])
    await rig.until(lambda o: o["applied"] == sent + 2)
    left = await rig.tree(liker)
    assert left.keys() == given.keys()
    assert all(abs(node.mass) < 1e-9 for node in left.values())  # what it gave, by the weight of then
