"""What teaches in the evaluation is what the worker makes examples of: both see the same events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.evaluation.prequential import Case, PrequentialProtocol, Replay
from streams.evaluation.world import KnownItems, WorldPolicy
from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.score import RankPolicy
from streams.interests.signed_weight import WeightTable
from streams.store.memory import MemoryStore
from tests.unit.test_ranking_examples import CARDS, ITEMS, NOW, POLICY, Texts, Town

TYPES = ("click", "like", "unlike", "dislike", "post", "comment", "rating", "impression", "view", "hide")


def body(chance: np.random.Generator, people: int) -> dict[str, Any]:
    """An event at random: for items and against, own posts, items met before, impressions with and without a click."""
    kind, item_id = str(chance.choice(TYPES)), str(chance.choice(ITEMS))
    event: dict[str, Any] = {"user_id": f"p{chance.integers(people)}", "type": kind, "item_id": item_id}
    if kind == "rating":
        event["rating"] = float(chance.integers(1, 6))
    if kind == "comment" and chance.random() < 0.5:
        event["text"] = "awful"
    if kind == "impression":
        shown = [str(one) for one in chance.choice(ITEMS, 4, replace=False)]
        event |= {"item_id": ..., "items": shown, "clicked": shown[: chance.integers(0, 5)]}
    return event


async def replayed(records: list[Any]) -> list[Case]:
    points = [ItemPoint(Item(one.item_id), one.vector, one.path) for one in CARDS.values()]
    store = MemoryStore(POLICY)
    await store.put_items(points)
    replay = Replay(
        catalogue=KnownItems(points, 6), encoder=Texts(), store=store, tree=None, nodes=POLICY, weights=WeightTable(),  # type: ignore[arg-type]  # no text is without an item
        ranking=RankPolicy(), everybody=WorldPolicy(), protocol=PrequentialProtocol(first=True),
    )  # fmt: skip
    return [case async for case in replay.cases(records, now_ms=NOW)]


@pytest.mark.parametrize("seed", range(3))
async def test_what_teaches_is_what_the_worker_sends(seed: int) -> None:
    town, chance = await Town().described(), np.random.default_rng(seed)
    records = town.records(
        *({"user_id": f"u{n}", "item_id": ITEMS[n]} for n in range(30)), *(body(chance, 12) for _ in range(250))
    )
    for one in records:
        await town.apply([one])
    cases = await replayed(records)
    assert {case.event.source for case in cases if case.teaches} == {example.source for example in town.examples}
    taught = [case for case in cases if case.teaches]
    assert {case.kind for case in taught} == {"next", "impression"}
    assert not any(case.own or case.weight <= 0 for case in taught)
    kept_out = [case for case in cases if case.events and not case.teaches]
    assert any(case.own and case.weight > 0 for case in kept_out)
    assert any(case.weight < 0 for case in kept_out)
    assert not any(case.teaches for case in cases if not case.events)
    assert town.counts["not_for_it"], "some whose evidence turned out to be against their item"


async def test_a_list_of_few_items_teaches_nothing() -> None:
    town = await Town().described()
    clicks = town.records(*({"user_id": "ana", "item_id": name} for name in ITEMS))
    taught = [case.teaches for case in await replayed(clicks)]
    assert taught == [False, *[True] * 50, *[False] * 9]
