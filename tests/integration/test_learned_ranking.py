"""Ranking with learned weights on the running path: what workers make for the learner, and what the API takes of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from streams.broker.admin import Admin
from streams.broker.producer import Outgoing, Producer
from streams.evaluation.ground import EncoderPlan, encoder_of, prepare
from streams.evaluation.prequential import PrequentialProtocol
from streams.interests.score import RankPolicy
from streams.ranking.examples import Example, unpack_example
from streams.ranking.rows import COLUMN, NAMES, PART_OF, VERSION, fixed_weights
from streams.ranking.weights import PublishedWeights, pack_weights
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig
from tests.fixtures.qdrant import QdrantServer

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


def unseen(name: str, count: int) -> AbstractContextManager[Any]:
    """A meter that shows nothing."""
    return nullcontext(SimpleNamespace(add=lambda count: None))


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

    async def settled(self) -> None:
        """Wait until every event is folded, and all that follows from it for everybody."""
        await self.rig.settled()
        kafka = self.rig.settings.kafka
        async with asyncio.timeout(READ_WITHIN_S), Admin(self.rig.config) as admin:
            while sum(lag.lag for lag in await admin.lag(kafka.group, kafka.derived_topics)):
                await asyncio.sleep(0.1)

    async def examples(self, count: int) -> list[Example]:
        records = await self.rig.read(self.rig.settings.kafka.examples_topic, count)
        found = [unpack_example(record.value) for record in records]
        assert [record.key for record in records] == [one.key for one in found if one]
        return [one for one in found if one is not None]


@pytest.fixture
async def stack(
    broker: Any, own_qdrant: Callable[..., QdrantServer], make_rig: Callable[..., Rig],
    make_api: Callable[..., ApiServer],
) -> AsyncIterator[Stack]:  # fmt: skip
    rig = make_rig(broker, own_qdrant(), ranking={"weights_max_age_s": 600.0}, worker={"together_linger_s": 0.2})
    await rig.prepare()
    rig.worker()
    made = Stack(rig, make_api(rig.settings))
    rows: list[Mapping[str, Any]] = [
        {
            "item_id": made.ids[n],
            "title": title,
            "categories": path,
            "lang": "en",
            "ts": int(time.time() * 1000) - 3_600_000 * (n + 2),
        }
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
    assert (why["weights_version"], why["weights_kind"]) == (3, "next")
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
    await stack.settled()
    await stack.likes(ana, 12, start=2)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= 14)
    shown = {"event_id": f"{ana}-shown", "user_id": ana, "type": "impression", "items": stack.ids[5:9],
             "clicked": [stack.ids[6]]}  # fmt: skip
    await rig.produce(rig.events, [shown])
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= 15)
    one, other = sorted(await stack.examples(2), key=lambda example: example.kind)
    assert (one.kind, one.taken, len(one.relevant())) == ("impression", (1,), 4)
    assert (other.kind, other.taken, len(other.relevant())) == ("next", (0,), 1 + 11)
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


async def test_a_row_made_live_is_that_of_the_evaluation(stack: Stack, tmp_path: Path) -> None:
    rig, ana, began_ms = stack.rig, stack.rig.user(), int(time.time() * 1000) - 3_600_000
    people = [rig.user() for _ in range(4)]
    habits = {people[0]: (3, 4, 10), people[1]: (5, 11, 6, 7), people[2]: (0, 1, 9, 12), people[3]: (13, 8, 7, 2),
              ana: (4, 3, 5, 11)}  # fmt: skip
    told = [(user, place) for user, places in habits.items() for place in places]
    kinds = ["click", "comment", "like", "view", "hide"]
    events: list[dict[str, Any]] = [
        {"event_id": f"{ana}-{n}", "user_id": user, "type": kinds[n % 5], "item_id": stack.ids[place],
         "ts": began_ms + 60_000 * n, **({"text": "a wonderful thing"} if kinds[n % 5] == "comment" else {})}
        for n, (user, place) in enumerate(told)
    ]  # fmt: skip
    await rig.produce(rig.clicks, events)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) >= len(events))
    await stack.settled()
    at_ms = began_ms + 60_000 * len(events)
    await rig.produce(rig.clicks, [{**events[-1], "event_id": f"{ana}-new", "type": "click", "item_id": stack.ids[10],
                                    "ts": at_ms, "text": None}])  # fmt: skip
    await stack.settled()
    shown = {"event_id": f"{ana}-shown", "user_id": ana, "type": "impression", "items": stack.ids[4:12],
             "clicked": [stack.ids[7], stack.ids[8]], "ts": at_ms + 60_000}  # fmt: skip
    await rig.produce(rig.clicks, [shown])
    await stack.settled()

    sent = await rig.read(rig.settings.kafka.examples_topic, int(await made(rig)))
    live = {one.ts_ms: one for record in sent if (one := unpack_example(record.value)) is not None}
    items = await rig.read(rig.items_topic, len(CATALOGUE))
    log = sorted(await rig.read(rig.clicks, len(events) + 2), key=lambda record: json.loads(record.value)["ts"])
    protocol = PrequentialProtocol(negatives=None, first=True)
    async with encoder_of(rig.settings, EncoderPlan(triton=rig.triton.grpc_url, cache=tmp_path)) as named:
        now_ms = int(time.time() * 1000)
        ground = await prepare(rig.settings, named, items, log, now_ms=now_ms, undated="known", meter=unseen)
        replay = await ground.replay(protocol)
        cases = {case.event.ts_ms: case async for case in replay.cases(log, now_ms=now_ms)}

    new, seen = cases[at_ms], cases[at_ms + 60_000]
    assert live[at_ms + 60_000].source == seen.event.source
    np.testing.assert_allclose(live[at_ms + 60_000].values(), seen.values, rtol=2e-5, atol=2e-6)
    assert live[at_ms + 60_000].relevant().tolist() == seen.relevant.tolist()
    np.testing.assert_allclose(live[at_ms].values()[0], new.values[0], rtol=2e-5, atol=2e-6)
    for row in live[at_ms].values()[1:]:  # which items were drawn beside it only the worker knows
        assert np.min(np.abs(new.values[1:] - row).max(axis=1)) < 2e-5
    parts = {PART_OF[name] for name, value in zip(NAMES, np.abs(seen.values).max(axis=0), strict=True) if value > 0.01}
    no_model = {"learned"}  # tests/unit/test_ranking_examples.py has a person of whom a model has said something
    assert parts >= set(PART_OF.values()) - {"aversion"} - no_model, "no part is compared by zeros alone"


async def made(rig: Rig) -> float:
    """How many examples the worker has sent."""
    metrics = await rig.workers[0].metrics()
    return sum(value for name, value in metrics.items() if name.startswith("interests_ranking_examples_total"))
