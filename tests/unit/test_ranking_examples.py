"""Examples are made of what was before their event, few a second, the same at each repetition, never in the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from streams.base.errors import BrokerUnavailable, StoreUnavailable
from streams.encoder.base import Encoded
from streams.events.event import Event, Source
from streams.events.items import Item
from streams.events.unresolved import RetryPolicy
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import LearnedPart, Node, NodeKey, profile_key, recents_of
from streams.interests.popularity import ItemPopularity
from streams.interests.score import RankPolicy, interests_of
from streams.interests.signed_weight import WeightTable
from streams.interests.together import ItemPartners
from streams.pipeline import ranking_examples
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.in_flight import InFlight
from streams.pipeline.ranking_examples import ExampleLabels, ExampleSources, RankingExamples
from streams.pipeline.ranking_view import RankingReader
from streams.ranking.examples import Example, cohort_of, pack_example, unpack_example
from streams.ranking.features import feature_rows
from streams.ranking.rows import COLUMN, NAMES, PART_OF, VERSION, PersonView
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.cards import Card
from streams.store.memory import MemoryStore
from tests.fixtures.records import click, record

T0 = 1_760_000_000_000
NOW = T0 + 86_400_000
HALF_LIFE_S = 180 * 86_400.0
POLICY = NodeSettings().policy()
LABELS = ExampleLabels("interests", "e5")
CHANCE = np.random.default_rng(3)
VECTORS = CHANCE.normal(size=(60, 6)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
ITEMS = [f"i{n}" for n in range(60)]
CARDS = {
    name: Card(name, VECTORS[n], f"/t{n % 4}/s{n % 8}", tags=(f"tag{n % 5}",), lang="en", ts_ms=T0 - n * 3_600_000)
    for n, name in enumerate(ITEMS)
}


class Texts:
    """An encoder to which every text is the same, and bad news."""

    dim = 6

    async def encode(self, texts: Sequence[str]) -> Encoded:
        vectors = np.repeat(VECTORS[:1], len(texts), axis=0)
        return Encoded(vectors, np.full(len(texts), -1.0, np.float32), {})


@dataclass
class Town:
    """A worker's path over a store in memory that makes examples, and what became of these."""

    per_s: float = 1000.0
    examples: list[Example] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    there: Sequence[str] = tuple(ITEMS)
    read_takes_s: float = 0.0
    fails: BaseException | None = None
    unsent: Exception | None = None
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.store = MemoryStore(POLICY)
        self.offset = 0
        self.reader = RankingReader(
            cards=self.cards, popularity=self.popularity, partners=self.partners, popularity_half_life_s=HALF_LIFE_S,
            together_half_life_s=HALF_LIFE_S,
        )  # fmt: skip
        sources = ExampleSources(
            trees=self.store, reader=self.reader, drawn=self.drawn, ranking=RankPolicy(), nodes=POLICY,
            weights=WeightTable(), send=self.send, observer=self,
        )  # fmt: skip
        self.make = RankingExamples(sources, LABELS, self.per_s, lambda: self.now_s)
        self.deps = PipelineDependencies(
            encoder=Texts(), store=self.store, outbox=self, tree=None, policy=POLICY, weights=WeightTable(),  # type: ignore[arg-type]  # no text is without an item
            retries=RetryPolicy(1, 1, 1), home=lambda _: True, make_examples=self.make,
        )  # fmt: skip

    async def described(self) -> Town:
        points = [ItemPoint(Item(one.item_id), one.vector, one.path) for one in CARDS.values()]
        await self.store.put_items(points)
        return self

    async def cards(self, item_ids: Iterable[str]) -> dict[str, Card]:
        await asyncio.sleep(self.read_takes_s)
        if self.fails is not None:
            raise self.fails
        return {name: CARDS[name] for name in item_ids if name in CARDS}

    async def drawn(self, seed: int, count: int) -> list[Card]:
        order = np.random.default_rng(seed).permutation(len(self.there))[:count]
        return [CARDS[self.there[n]] for n in order]

    async def popularity(self, item_ids: Iterable[str]) -> dict[str, ItemPopularity]:
        masses = (2.0, 1.0, 1.0, 1.0)
        return {name: ItemPopularity(item_id=name, masses=masses, t0_ms=T0, last_ms=T0, count=2) for name in item_ids}

    async def partners(self, item_ids: Iterable[str]) -> dict[str, ItemPartners]:
        return {name: ItemPartners(item_id=name, counts={"i9": 1.0}, total=4.0, t0_ms=T0) for name in item_ids}

    async def send(self, examples: Sequence[Example]) -> None:
        if self.unsent is not None:
            raise self.unsent
        self.examples += examples

    async def dead_letter(self, dead: Sequence[Any]) -> None:
        assert not dead

    async def defer(self, waiting: Sequence[Any]) -> None:
        pass

    def examples_sent(self, kind: str, count: int) -> None:
        self.counts[kind] += count

    def examples_dropped(self, reason: str, count: int) -> None:
        self.counts[reason] += count

    def examples_waited(self, seconds: float) -> None:
        assert seconds >= 0

    def records(self, *bodies: dict[str, Any]) -> list[Any]:
        made = []
        for body in bodies:
            self.offset += 1
            whole = click(event_id=f"e{self.offset}", ts=T0 + self.offset * 1000, **body)
            made.append(record(whole, topic="clicks", partition=0, offset=self.offset, timestamp=NOW))
        return made

    async def apply(self, records: Sequence[Any], flight: InFlight | None = None) -> None:
        self.now_s += 1.0
        await apply(records, self.deps, Fence(0, 1), 1, now_ms=NOW, flight=flight)

    async def lived(self) -> Town:
        """Everybody has clicked on thirty items, and ana on two of these."""
        await self.described()
        await self.apply(self.records(*({"user_id": f"u{n}", "item_id": ITEMS[n]} for n in range(30))))
        await self.apply(self.records({"user_id": "ana", "item_id": "i0"}, {"user_id": "ana", "item_id": "i1"}))
        assert not self.examples, "nobody was known before"
        self.counts.clear()
        return self

    async def view(self, user_id: str, at_ms: int) -> PersonView:
        """A person as the store has them."""
        nodes = {node.key: node for node in await self.store.tree(user_id)}
        recents = await self.reader.recents(recents_of(nodes[profile_key(user_id)]), at_ms)
        return PersonView(interests=interests_of(nodes.values(), at_ms, POLICY), recents=recents)

    async def rows(self, user_id: str, items: Sequence[str], at_ms: int) -> np.ndarray:
        """What the rows are to be, of a person as the store has them."""
        targets = await self.reader.targets([CARDS[name] for name in items], at_ms)
        view = await self.view(user_id, at_ms)
        return feature_rows(view, targets, RankPolicy(), at_ms=at_ms).values


async def test_a_new_item_stands_among_others_that_the_person_has_not_seen_as_all_was_before() -> None:
    town = await Town().lived()
    (clicked,) = town.records({"user_id": "ana", "item_id": "i40"})
    at_ms = T0 + town.offset * 1000
    before = await town.rows("ana", ["i40"], at_ms)
    await town.apply([clicked])
    (example,) = town.examples
    np.testing.assert_allclose(example.values()[:1], before, rtol=1e-5, atol=1e-7)
    assert example.taken == (0,)
    assert len(example.relevant()) == 1 + 49, "of sixty items"
    assert (example.source, example.log, example.group, example.encoder) == (
        Source("clicks", 0, town.offset), 1, "interests", "e5",
    )  # fmt: skip
    assert (example.kind, example.cohort, example.ts_ms, example.features) == ("next", "new", at_ms, VERSION)
    assert unpack_example(pack_example(example)) == example
    assert example.values()[0, COLUMN["recent_max"]] > 0
    assert example.values()[0, COLUMN["together_sum"]] == 0
    after = await town.rows("ana", ["i40"], at_ms)
    assert np.abs(after - before).max() > 0.1, "the click itself would have changed them"


async def test_what_a_model_had_said_before_is_in_the_row() -> None:
    town = await Town().lived()
    profile = (await town.store.read([profile_key("ana")]))[profile_key("ana")]
    bare = replace(profile, ring=b"", seen=b"", recents="", marks=(), votes=(), firsts=())
    nodes = [
        replace(bare, key=NodeKey("ana", "learned", path), direction=CARDS["i40"].vector, learned=part)
        for path, part in (("/", LearnedPart("m")), ("/click", LearnedPart("m", 2.0, -1.0)))
    ]
    await town.store.write(nodes, Fence(0, 1))
    await town.apply(town.records({"user_id": "ana", "item_id": "i40"}))
    (example,) = town.examples
    learned = example.values()[0, [COLUMN[name] for name in NAMES if PART_OF[name] == "learned"]].tolist()
    assert learned == pytest.approx([1.0, 1 / (1 + np.exp(-1.0)), 0.0, 0.0], abs=1e-6)
    plain = await Town().lived()
    await plain.apply(plain.records({"user_id": "ana", "item_id": "i40"}))
    assert not plain.examples[0].values()[:, COLUMN["learned_cosine"] :].any()
    before = slice(0, COLUMN["learned_cosine"])
    np.testing.assert_allclose(plain.examples[0].values()[0, before], example.values()[0, before], atol=1e-6)


async def test_an_impression_is_an_example_as_it_is() -> None:
    town = await Town().lived()
    shown = ["i3", "i0", "nobody knows it", "i41"]
    (seen,) = town.records({
        "user_id": "ana", "type": "impression", "item_id": ..., "items": shown, "clicked": ["i41"],
    })  # fmt: skip
    expected = await town.rows("ana", ["i3", "i0", "i41"], T0 + town.offset * 1000)
    await town.apply([seen])
    (example,) = town.examples
    assert (example.kind, example.taken) == ("impression", (2,))
    np.testing.assert_allclose(example.values(), expected, rtol=1e-5, atol=1e-7)


async def test_an_impression_that_waits_for_an_item_is_an_example_once_it_is_applied() -> None:
    town = await Town().lived()
    clicked = ["i41", "not described yet"]
    (seen,) = town.records({
        "user_id": "ana", "type": "impression", "item_id": ..., "items": ["i3", "i0", *clicked], "clicked": clicked,
    })  # fmt: skip
    await town.apply([seen])
    assert (town.examples, town.counts) == ([], {"not_for_it": 1}), "it comes again, under another offset"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"user_id": "newcomer", "item_id": "i40"}, None),
        ({"user_id": "ana", "item_id": "i1"}, None),
        ({"user_id": "ana", "item_id": "i40", "type": "post"}, None),
        ({"user_id": "ana", "item_id": "i40", "type": "dislike"}, None),
        ({"user_id": "ana", "item_id": "i40", "type": "unlike"}, None),
        ({"user_id": "ana", "item_id": ..., "type": "impression", "items": ["i3", "i4"]}, None),
        ({"user_id": "ana", "item_id": "i40", "type": "comment", "text": "awful"}, "not_for_it"),
        ({"user_id": "ana", "item_id": "never described"}, "undescribed"),
        ({"user_id": "ana", "item_id": ..., "type": "impression", "items": ["i3"], "clicked": ["i3"]}, "undescribed"),
    ],
)
async def test_what_is_no_choice_between_items_is_no_example(body: dict[str, Any], reason: str | None) -> None:
    town = await Town().lived()
    await town.apply(town.records(body))
    assert not town.examples
    assert town.counts == Counter([reason] if reason else [])


async def test_what_comes_late_is_no_example_and_too_few_items_are_no_list() -> None:
    town = await Town().lived()
    late = record(click(event_id="late", user_id="ana", item_id="i40", ts=T0), partition=0, offset=99, timestamp=NOW)
    await town.apply([late])
    assert town.counts == {"out_of_order": 1}
    alone = await Town(there=ITEMS[:9]).described()
    for item_id in ("i0", "i1", "i2"):
        await alone.apply(alone.records({"user_id": "ana", "item_id": item_id}))
    assert (alone.examples, alone.counts) == ([], {"few_items": 2})


async def test_of_a_batch_a_persons_first_event_alone_is_one() -> None:
    town = await Town().lived()
    bodies = [{"user_id": "ana", "item_id": "i40"}, {"user_id": "ana", "item_id": "i41"}]
    await town.apply(town.records(*bodies, {"user_id": "u3", "item_id": "i42"}))
    assert [one.offset for one in town.examples] == [town.offset - 2, town.offset]
    for _ in range(50):
        await town.apply(town.records({"user_id": "ana", "item_id": "i40"}))
    assert len(town.examples) == 2
    assert [cohort_of(n) for n in (1, 10, 11, 50, 51)] == ["new", "new", "light", "light", "heavy"]


async def test_somebody_who_clicks_all_day_is_in_few_of_the_lists_and_the_same_at_each_repetition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranking_examples, "_OFTEN", 4)
    taken: list[list[int]] = []
    for _ in range(2):
        town = await Town().lived()
        for n in range(2, 58):  # ana's third event to her fifty-eighth
            await town.apply(town.records({"user_id": "ana", "item_id": f"i{n}"}))
        taken.append([one.offset for one in town.examples])
    assert taken[0] == taken[1]
    assert [offset - 30 for offset in taken[0][:3]] == [3, 4, 5]
    assert 6 <= len(taken[0]) <= 20, "4 + 4 ln(58 / 4) are expected, 15"


async def test_so_many_a_second_and_which_goes_by_the_events_ids() -> None:
    town, other = await Town(per_s=3.0).lived(), await Town(per_s=3.0).lived()
    bodies = [{"user_id": f"u{n}", "item_id": f"i{n + 1}"} for n in range(20)]
    records = town.records(*bodies)
    await town.apply(records)
    await other.apply([*reversed(records)])
    assert len(town.examples) == 3
    assert [one.source for one in town.examples] == [one.source for one in other.examples]
    town.now_s -= 1.0  # no time has passed since
    await town.apply(town.records(*({"user_id": f"u{n}", "item_id": f"i{n + 2}"} for n in range(20))))
    assert len(town.examples) == 3
    await town.apply(town.records(*({"user_id": f"u{n}", "item_id": f"i{n + 3}"} for n in range(20))))
    assert len(town.examples) == 6


async def test_what_was_published_later_or_is_known_to_the_person_is_not_among_the_others() -> None:
    town = await Town().lived()
    later = CARDS["i2"]._replace(ts_ms=NOW)

    async def drawn(seed: int, count: int) -> list[Card]:
        return [later, *(CARDS[f"i{n}"] for n in (0, 1, 40, *range(3, 15)))]

    town.make._from = replace(town.make._from, drawn=drawn)
    records = town.records({"user_id": "ana", "item_id": "i40"})
    expected = await town.rows("ana", ["i40", *(f"i{n}" for n in range(3, 15))], T0 + town.offset * 1000)
    await town.apply(records)
    np.testing.assert_allclose(town.examples[0].values(), expected, rtol=1e-5, atol=1e-7)


async def test_however_many_are_wanted_few_trees_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_examples, "_AT_ONCE", 3)
    town, now, most = await Town().lived(), 0, 0
    cards = town.cards

    async def counted(item_ids: Iterable[str]) -> dict[str, Card]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            await asyncio.sleep(0.001)
            return await cards(item_ids)
        finally:
            now -= 1

    town.make._from = replace(town.make._from, reader=replace(town.reader, cards=counted))
    await town.apply(town.records(*({"user_id": f"u{n}", "item_id": f"i{n + 1}"} for n in range(20))))
    assert len(town.examples) == 20
    assert most == 3


async def test_a_batch_that_comes_again_gives_the_same_example() -> None:
    town, again = await Town().lived(), await Town().lived()
    records = town.records({"user_id": "ana", "item_id": "i40"})
    town.unsent = BrokerUnavailable("away")

    async def lost(*_: Any) -> None:
        """Nothing is written."""

    town.store.write = lost  # type: ignore[method-assign]  # its batch is to come again
    await town.apply(records)
    town.unsent = None
    await town.apply(records)
    await again.apply(records)
    assert town.counts == {"broker": 1, "next": 1}
    assert town.examples == again.examples


@pytest.mark.parametrize("reason", ["slow", "store", "failed", "broker"])
async def test_a_batch_goes_on_where_its_example_cannot_be_made_or_sent(
    reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking_examples, "_READ_WITHIN_S", 0.1)
    town = await Town().lived()
    town.read_takes_s = 30.0 if reason == "slow" else 0.0
    town.fails = {"store": StoreUnavailable("away"), "failed": ZeroDivisionError()}.get(reason)
    town.unsent = BrokerUnavailable("away") if reason == "broker" else None
    await asyncio.wait_for(town.apply(town.records({"user_id": "ana", "item_id": "i40"})), 5.0)
    assert (town.examples, town.counts) == ([], {reason: 1})
    profile = (await town.store.read([profile_key("ana")]))[profile_key("ana")]
    assert profile.count == 3


@pytest.mark.parametrize("per_s", [0.2, 1000.0])
async def test_what_is_away_costs_one_batch_in_half_a_minute(per_s: float) -> None:
    town = await Town(per_s=per_s).lived()

    async def away(examples: Sequence[Example]) -> None:
        town.now_s += 1.0
        raise BrokerUnavailable("away")

    town.now_s += 10.0
    send, town.make._from = town.make._from.send, replace(town.make._from, send=away)
    for n in range(25):
        await town.apply(town.records({"user_id": f"u{n}", "item_id": "i40"}))
    assert town.counts == {"broker": 1}
    town.make._from = replace(town.make._from, send=send)
    town.now_s += 6.0
    await town.apply(town.records({"user_id": "ana", "item_id": "i40"}))
    assert town.counts == {"broker": 1, "next": 1}


async def test_an_example_is_sent_before_anything_of_its_batch_is_written() -> None:
    town = await Town().lived()
    written: list[int] = []
    send = town.make._from.send

    async def watched(examples: Sequence[Example]) -> None:
        written.append((await town.store.read([profile_key("ana")]))[profile_key("ana")].count)
        await send(examples)

    town.make._from = replace(town.make._from, send=watched)
    await town.apply(town.records({"user_id": "ana", "item_id": "i40"}))
    assert (written, len(town.examples)) == ([2], 1)


async def test_a_person_is_as_the_batches_in_flight_leave_them() -> None:
    town, told = await Town().lived(), await Town().lived()
    first, second = town.records({"user_id": "ana", "item_id": "i40"}, {"user_id": "ana", "item_id": "i41"})
    await told.apply([first])
    expected = await told.rows("ana", ["i41"], T0 + town.offset * 1000)
    made: dict[NodeKey, Node] = {node.key: node for node in await told.store.tree("ana")}
    before = InFlight()
    before.folded(list(made.values()))
    chosen = Event("e", "ana", "click", T0 + town.offset * 1000, "i41", None, None, None, (), (), None, {},
                   Source("clicks", 0, town.offset))  # fmt: skip
    send = town.make([chosen], {"ana": made[profile_key("ana")]}, InFlight([before]), 1)
    before.end(written=True)  # it forgets its nodes; the store here has never had them
    await send([_weighed(chosen)])
    (example,) = town.examples
    np.testing.assert_allclose(example.values()[:1], expected, rtol=1e-5, atol=1e-7)
    assert second.offset == town.offset


def _weighed(event: Event) -> Any:
    from streams.interests.plan import Weighed

    return Weighed(event, 0, "", 1.0, event.item_id or "")


async def test_what_a_batch_began_and_did_not_send_is_not_sent_by_a_later_one() -> None:
    town = await Town().lived()
    profile = (await town.store.read([profile_key("ana")]))[profile_key("ana")]
    events = [
        Event(f"e{n}", "ana", "click", NOW, f"i{n}", None, None, None, (), (), None, {}, Source("clicks", 0, n))
        for n in (40, 41)
    ]
    town.make([events[0]], {"ana": profile}, InFlight(), 1)
    send = town.make([events[1]], {"ana": profile}, InFlight(), 1)
    await send([_weighed(one) for one in events])
    assert [one.offset for one in town.examples] == [41]
