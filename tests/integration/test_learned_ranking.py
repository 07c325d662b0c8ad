"""Ranking with learned weights on the running path: what workers make for the learner, and what the API takes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from streams.broker.producer import Outgoing, Producer
from streams.interests.score import RankPolicy
from streams.ranking.examples import Example, unpack_example
from streams.ranking.rows import COLUMN, NAMES, VERSION, fixed_weights
from streams.ranking.weights import PublishedWeights, pack_weights
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = pytest.mark.integration

READ_WITHIN_S = 30.0
CATALOGUE = [
    ("The keeper saved two penalties in the derby", "Sports", "Football"),
    ("A late goal wins the league", "Sports", "Football"),
    ("Clay courts and a five-set match", "Sports", "Tennis"),
    ("A drummer on the road for forty years", "Music", "Jazz"),
    ("The saxophone, taken apart", "Music", "Jazz"),
    ("Green tea without bitterness", "Food", "Tea"),
    ("Bread that rises over night", "Food", "Baking"),
    ("How a pour-over is made", "Food", "Coffee"),
    ("A hand grinder for the road", "Food", "Coffee"),
    ("The transfer window closes", "Sports", "Football"),
    ("Vinyl is pressed again", "Music", "Records"),
    ("A kettle that holds its heat", "Food", "Tea"),
    ("A stadium is built of wood", "Sports", "Football"),
    ("Soup for the first cold day", "Food", "Cooking"),
]


def weights_of(version: int, encoder: str, **more: Any) -> PublishedWeights:
    """Weights that look at recent items and at what was touched together beside what the fixed ones do."""
    values = dict(zip(NAMES, fixed_weights(RankPolicy()).tolist(), strict=True))
    values |= {"recent_mean": 0.5, "recent_max": 0.4, "together_sum": 1.0, "attributes_mean": 0.3, "share_topic": -0.2}
    fields = {
        "encoder": encoder, "kind": "next", "version": version, "features": VERSION, "lists": 500, "serve": True,
        "made_ms": int(time.time() * 1000), "values": values, **more,
    }  # fmt: skip
    return PublishedWeights(**fields)


class Stack:
    """A rig with a catalogue of its own, and an API on it."""

    def __init__(self, rig: Rig, api: ApiServer) -> None:
        self.rig, self.api, self.encoder = rig, api, rig._encoder_id()
        self.ids = [f"{rig.settings.kafka.group}-i{n}" for n in range(len(CATALOGUE))]

    async def publish(self, *records: tuple[bytes, bytes | None]) -> None:
        async with Producer(self.rig.config) as producer:
            topic = self.rig.settings.kafka.ranking_weights_topic
            await producer.send_many(topic, [Outgoing(key, value) for key, value in records])

    async def ask(self, path: str, **params: Any) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.api.keys['all']}"}
        async with httpx.AsyncClient(base_url=self.api.url, headers=headers, timeout=10.0) as http:
            answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def served(self, user: str, version: int) -> dict[str, Any]:
        """Recommendations once they are made with weights of a version."""
        async with asyncio.timeout(READ_WITHIN_S):
            while True:
                answer = await self.ask(f"/v1/users/{user}/recommendations", explain=True, prior=False, k=3)
                if answer["weights_version"] == version:
                    return answer
                await asyncio.sleep(0.1)

    async def likes(self, user: str, *places: int, start: int = 0) -> None:
        events = [
            {"event_id": f"{user}-{start + n}", "user_id": user, "type": "click", "item_id": self.ids[place]}
            for n, place in enumerate(places)
        ]
        await self.rig.produce(self.rig.clicks, events)

    async def popular(self, votes: int) -> None:
        """Wait until so many votes are in the items' popularity."""
        counted = 'interests_derived_events_total{kind="popularity",outcome="counted"}'
        async with asyncio.timeout(READ_WITHIN_S):
            while (await self.rig.workers[0].metrics()).get(counted, 0) < votes:
                await asyncio.sleep(0.1)

    async def examples(self, count: int) -> list[Example]:
        records = await self.rig.read(self.rig.settings.kafka.examples_topic, count)
        found = [unpack_example(record.value, VERSION) for record in records]
        assert [record.key for record in records] == [one.key for one in found if one]
        return [one for one in found if one is not None]


@pytest.fixture
async def stack(broker: Any, make_rig: Callable[..., Rig], make_api: Callable[..., ApiServer]) -> AsyncIterator[Stack]:
    rig = make_rig(broker, ranking={"weights_max_age_s": 600.0})
    await rig.prepare()
    rig.worker()
    made = Stack(rig, make_api(rig.settings))
    rows: list[Mapping[str, Any]] = [
        {"item_id": made.ids[n], "title": title, "categories": path, "lang": "en"}
        for n, (title, *path) in enumerate(CATALOGUE)
    ]
    await rig.items(rows)
    await rig.items_known(len(CATALOGUE))
    yield made
    assert made.api.stop() == 0, made.api.log()


async def test_weights_are_taken_up_and_given_back_without_a_restart(stack: Stack) -> None:
    user = stack.rig.user()
    await stack.likes(user, 3, 4)
    await stack.likes(stack.rig.user(), 3, 10)
    await stack.rig.until(lambda outcomes: outcomes.get("applied", 0) >= 4)
    await stack.served(user, 0)
    bad = weights_of(9, stack.encoder, made_ms=int(time.time() * 1000) + 10_000_000)
    await stack.publish((bad.key, pack_weights(bad)), (bad.key, b"{"), (bad.key, None))
    one = weights_of(3, stack.encoder)
    await stack.publish((one.key, pack_weights(one)))
    answer = await stack.served(user, 3)
    best = answer["items"][0]
    assert best["recents"], "the two that were clicked lie behind it"
    assert best["recents"][0]["title"] in {CATALOGUE[3][0], CATALOGUE[4][0]}
    assert best["parts"]["recent"] > 0
    for item in answer["items"]:
        assert sum(item["parts"].values()) == pytest.approx(item["score"])
    why = await stack.ask(f"/v1/users/{user}/explain/{best['item_id']}", prior=False)
    assert why["weights_version"] == 3
    added = [*why["pulls"], *why["recents"], *why["others"]]
    assert sum(one["contribution"] for one in added) == pytest.approx(why["score"])
    assert sum(one["share"] for one in added) == pytest.approx(1.0)
    assert sum(one["value"] * one["weight"] for one in why["features"]) == pytest.approx(why["score"])
    assert [one["name"] for one in why["features"]] == list(NAMES)
    held = weights_of(4, stack.encoder, serve=False)
    await stack.publish((held.key, pack_weights(held)))
    await stack.served(user, 0)
    again = weights_of(5, stack.encoder)
    await stack.publish((again.key, pack_weights(again)))
    await stack.served(user, 5)
    other = weights_of(6, "another-encoder")
    await stack.publish((other.key, pack_weights(other)))
    text = httpx.get(f"{stack.api.url}/metrics", headers={"authorization": f"Bearer {stack.api.keys['all']}"}).text
    assert 'interests_api_weights_version{kind="next"} 5.0' in text
    assert 'interests_api_rankings_total{kind="next",weights="fixed"}' in text


async def test_a_worker_makes_examples_of_new_items_and_of_what_was_shown(stack: Stack) -> None:
    rig, ana = stack.rig, stack.rig.user()
    for place in range(11):
        await stack.likes(rig.user(), place)
    await stack.likes(ana, 3, 4)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= 13)
    await stack.popular(13)
    await stack.likes(ana, 12, start=2)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= 14)
    shown = {"event_id": f"{ana}-shown", "user_id": ana, "type": "impression", "items": stack.ids[5:9],
             "clicked": [stack.ids[6]]}  # fmt: skip
    await rig.produce(rig.events, [shown])
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= 15)
    one, other = sorted(await stack.examples(2), key=lambda example: example.kind)
    assert (one.kind, one.taken, len(one.relevant())) == ("impression", (1,), 4)
    assert (other.kind, other.taken, len(other.relevant())) == ("next", (0,), 1 + 9)
    assert {(each.group, each.encoder, each.cohort) for each in (one, other)} == {
        (rig.settings.kafka.group, stack.encoder, "new")
    }  # fmt: skip
    values = other.values()
    assert np.all(values[:, COLUMN["recent_mean"]] > 0)
    assert values[0, COLUMN["popularity"]] == 0, "nobody had clicked on it before"
    assert np.all(one.values()[:, COLUMN["popularity"]] > 0)
    metrics = await rig.workers[0].metrics()
    assert metrics['interests_ranking_examples_total{kind="next"}'] == 1
    assert metrics['interests_ranking_examples_total{kind="impression"}'] == 1
