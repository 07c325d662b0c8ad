"""Events on a real broker become nodes in a real Qdrant engine by way of a real Triton server."""

from __future__ import annotations

import time

import pytest

from streams.nodes import NodeKey
from tests.fixtures.path import Path_

pytestmark = pytest.mark.integration

ITEMS = [
    {"item_id": "football", "title": "The striker scored twice in the cup final", "categories": ["Sports", "Football"]},
    {"item_id": "jazz", "title": "A quartet records an evening of slow jazz", "description": "Saxophone, bass, drums."},
    {"item_id": "茶", "title": "如何泡一杯好的乌龙茶", "description": "水温与时间"},
]


def event(n: int, user: str, kind: str, item: str | None = None, **more: object) -> dict[str, object]:
    made: dict[str, object] = {"event_id": f"e{n}", "user_id": user, "type": kind, "ts": int(time.time() * 1000) - 1000 + n}
    if item:
        made["item_id"] = item
    return made | more


async def test_clicks_and_comments_become_a_tree(path: Path_) -> None:
    path.worker()
    await path.items(ITEMS)
    await path.until(lambda o: o.get("items", 0) == 3)
    await path.produce(path.clicks, [event(1, "ana", "click", "football"), event(2, "ana", "click", "jazz")])
    await path.produce(path.comments, [event(3, "ana", "comment", "茶", text="这茶太难喝了，再也不买了")])
    await path.produce(path.events, [event(4, "ana", "search", text="football results of the weekend")])
    await path.until(lambda o: o.get("applied", 0) == 4)
    tree = await path.tree("ana")
    profile = tree[NodeKey("ana", "profile", "/")]
    assert profile.count == 4
    assert {e.event_id for e in profile.evidence} == {"e1", "e2", "e3", "e4"}
    assert NodeKey("ana", "interest", "/sports/football") in tree
    assert NodeKey("ana", "aversion", "/") in tree
    assert tree[NodeKey("ana", "aversion", "/")].evidence[0].item_id == "茶"
    assert NodeKey("ana", "session", "/") in tree
    assert path.workers[0].stop() == 0
    await path.settled()
