"""Examples for the learner: what people chose from, as feature rows, made before their events change anything.

An example is a help, never a duty: where it cannot be made in time it is dropped and counted, and its batch goes on.
The next batches then make none for a while, so that what is away costs the path little.
It is chosen by the hash of its event's id, and a repetition of its event gives the same place in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from itertools import islice
from time import monotonic
from typing import Final, NamedTuple, Protocol

import structlog
import xxhash

from streams.base.errors import InterestsError
from streams.events.event import Event
from streams.interests.contexts import situations
from streams.interests.nodes import Node, NodeKey, NodePolicy, profile_key, recents_of, seen_of, without_erased
from streams.interests.plan import Weighed
from streams.interests.score import RankPolicy
from streams.interests.signed_weight import WeightTable
from streams.pipeline.example_rule import LEAST_TARGETS, example_kind
from streams.pipeline.in_flight import InFlight
from streams.pipeline.ranking_view import RankingReader, interests_in, learned_view
from streams.ranking.examples import Example, cohort_of, packed_rows
from streams.ranking.features import feature_rows
from streams.ranking.parts import Kind
from streams.ranking.rows import VERSION, PersonView
from streams.store.cards import Card

log = structlog.get_logger(__name__)

#: Items beside the one that was chosen, drawn by chance from all that are described. Not from those that people touch:
#: weights would learn how the others were drawn, not what people want.
_OTHERS: Final = 49
_DRAWN: Final = 2 * _OTHERS  # some are known to the person, or were not there yet
#: A person's nth event is an example with chance `_OFTEN` / n: whoever clicks all day is not who all others are like.
_OFTEN: Final = 50
#: Events that are looked at for each example there is room for: a look takes some 50 microseconds.
_LOOKED_AT: Final = 8
_READ_WITHIN_S: Final = 1.0
#: Trees that are read at once: a large one takes megabytes.
_AT_ONCE: Final = 16
#: Where a batch waited longer, what examples are made of or sent to is away or slow: none are begun for a while.
_LONG_WAIT_S: Final = 0.5
_REST_S: Final = 30.0

SendExamples = Callable[[Sequence[Weighed]], Awaitable[None]]
"""Sends the examples of a batch, of those events whose evidence, now weighed, speaks for their item. Never raises."""


class MakeExamples(Protocol):
    """Begins to make a batch's examples, beside what else is done with it; nothing of it may be written before."""

    def __call__(
        self, events: Sequence[Event], profiles: Mapping[str, Node], flight: InFlight, log: int
    ) -> SendExamples: ...


async def _send_none(weighed: Sequence[Weighed]) -> None:
    """There are none."""


def make_none(events: Sequence[Event], profiles: Mapping[str, Node], flight: InFlight, log: int) -> SendExamples:
    """Make no examples."""
    return _send_none


class Trees(Protocol):
    """Where people's trees are."""

    async def tree(self, user_id: str) -> list[Node]:
        """All nodes of one user."""


class ExamplesObserver(Protocol):
    """Counts examples."""

    def examples_sent(self, kind: Kind, count: int) -> None:
        """So many were sent."""

    def examples_dropped(self, reason: str, count: int) -> None:
        """So many were begun and not sent."""

    def examples_waited(self, seconds: float) -> None:
        """A batch waited so long for its examples."""


class DrawItems(Protocol):
    """Draws described items by chance."""

    async def __call__(self, seed: int, count: int) -> Sequence[Card]:
        """Up to `count` of them, by a 128-bit seed."""


class ExampleLabels(NamedTuple):
    """What stands on every example of a worker: its consumer group and the id of the encoder of its vectors."""

    group: str
    encoder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSources:
    """What examples are made of, and where they go; `send` returns once the broker has them, or raises."""

    trees: Trees
    reader: RankingReader
    drawn: DrawItems
    ranking: RankPolicy
    nodes: NodePolicy
    weights: WeightTable
    send: Callable[[Sequence[Example]], Awaitable[None]]
    observer: ExamplesObserver


class _Chosen(NamedTuple):
    """An event to make an example of, its person's profile before it, and the nodes that lie ahead of the store."""

    event: Event
    kind: Kind
    profile: Node
    ahead: Mapping[NodeKey, Node]


class _Dropped(Exception):  # says what is the case
    """An example that cannot be made, and why."""


class RankingExamples:
    """Makes the examples of a worker: at most `per_s` a second, and of a person's first event of a batch only.

    Before that event nothing of the batch has touched the person. What batches in flight have changed is taken from
    them. `clock` gives seconds that never go back.
    """

    def __init__(
        self, sources: ExampleSources, labels: ExampleLabels, per_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._from, self._labels, self._per_s, self._clock = sources, labels, per_s, clock
        self._tokens, self._filled_s = max(1.0, per_s), clock()
        self._reading: asyncio.Task[list[Example | _Dropped]] | None = None

    def __call__(
        self, events: Sequence[Event], profiles: Mapping[str, Node], flight: InFlight, log: int
    ) -> SendExamples:
        """Choose, and begin to read. What an earlier batch began and did not send will not be sent."""
        if self._reading is not None:
            self._reading.cancel()
        chosen = self._choose(events, profiles, flight)
        if not chosen:
            return _send_none
        self._reading = asyncio.create_task(self._read(chosen, log))
        return partial(self._send, self._reading, chosen)

    def _choose(self, events: Sequence[Event], profiles: Mapping[str, Node], flight: InFlight) -> list[_Chosen]:
        now_s = self._clock()
        self._tokens = min(max(1.0, self._per_s), self._tokens + self._per_s * (now_s - self._filled_s))
        self._filled_s = now_s
        if self._tokens < 1.0:
            return []
        wanted = int(self._tokens)
        first = {event.user_id: event for event in reversed(events)}
        looked_at = nsmallest(_LOOKED_AT * wanted, first.values(), key=lambda event: _hash(event.event_id))
        kinds = ((one, example_kind(one, profiles.get(one.user_id), self._from.weights)) for one in looked_at)
        fit = ((one, kind) for one, kind in kinds if kind is not None and _teaches(one, profiles[one.user_id]))
        taken = list(islice(fit, wanted))
        self._tokens -= len(taken)
        ahead = flight.ahead({event.user_id for event, _ in taken})
        return [_Chosen(event, kind, profiles[event.user_id], ahead.get(event.user_id, {})) for event, kind in taken]

    async def _read(self, chosen: Sequence[_Chosen], of_log: int) -> list[Example | _Dropped]:
        """The examples, in the order of their choice, or why there is none. Never raises."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(each: _Chosen) -> Example | _Dropped:
            try:
                async with asyncio.timeout(_READ_WITHIN_S), room:
                    return await self._made(each, of_log)
            except _Dropped as dropped:
                return dropped
            except TimeoutError:
                return _Dropped("slow")
            except InterestsError as error:
                log.warning("example_dropped", error=type(error).__name__, reason=str(error))
                return _Dropped("store")
            except Exception:  # a defect here must not hold up the batch, nor set its record aside
                log.exception("example_failed")
                return _Dropped("failed")

        return list(await asyncio.gather(*map(one, chosen)))

    async def _made(self, chosen: _Chosen, of_log: int) -> Example:
        event, sources = chosen.event, self._from
        tree, known = await asyncio.gather(sources.trees.tree(event.user_id), self._targets(chosen))
        nodes = {**{node.key: node for node in tree}, **chosen.ahead}
        profile = nodes.get(profile_key(event.user_id))
        if profile is None or profile.last_ms > event.ts_ms:  # what they have done since is no ground for it
            raise _Dropped("out_of_order")
        if chosen.kind == "impression":
            taken = tuple(row for row, card in enumerate(known) if card.item_id in event.clicked)
        else:
            taken = (0,) if known and known[0].item_id == event.item_id else ()
            if len(known) < LEAST_TARGETS:
                raise _Dropped("few_items")
        if not 0 < len(taken) < len(known):
            raise _Dropped("undescribed")
        recents, targets = await asyncio.gather(
            sources.reader.recents(recents_of(profile), event.ts_ms), sources.reader.targets(known, event.ts_ms)
        )
        here = frozenset(situations(event.ts_ms, event.context, sources.nodes.contexts))
        standing = without_erased(nodes.values())
        person = PersonView(
            interests=interests_in(standing, here, event.ts_ms, sources.nodes), recents=recents,
            learned=learned_view(standing, event.ts_ms, sources.nodes),
        )  # fmt: skip
        rows = feature_rows(person, targets, sources.ranking, at_ms=event.ts_ms)
        topic, partition, offset = event.source
        return Example(
            group=self._labels.group, log=of_log, topic=topic, partition=partition, offset=offset, ts_ms=event.ts_ms,
            kind=chosen.kind, cohort=cohort_of(profile.count), encoder=self._labels.encoder, features=VERSION,
            rows=packed_rows(rows.values), taken=taken,
        )  # fmt: skip

    async def _targets(self, chosen: _Chosen) -> list[Card]:
        """What was shown; or the item of the event, then those drawn beside it."""
        event, reader = chosen.event, self._from.reader
        if chosen.kind == "impression":
            cards = await reader.cards(dict.fromkeys(event.items))
            return [cards[item_id] for item_id in dict.fromkeys(event.items) if item_id in cards]
        seen, item_id = seen_of(chosen.profile), event.item_id or ""
        seed = xxhash.xxh3_128_intdigest(event.event_id.encode())
        cards, drawn = await asyncio.gather(reader.cards([item_id]), self._from.drawn(seed, _DRAWN))
        others = [
            card for card in drawn
            if card.item_id != item_id and card.item_id not in seen and (card.ts_ms or 0) <= event.ts_ms
        ]  # fmt: skip
        return [*cards.values(), *others[:_OTHERS]]

    async def _send(
        self, reading: asyncio.Task[list[Example | _Dropped]], chosen: Sequence[_Chosen], weighed: Sequence[Weighed]
    ) -> None:
        began_s, observer = self._clock(), self._from.observer
        speaks_for = {(one.event.source, one.item_id) for one in weighed if one.weight > 0}
        applied = {one.event.source for one in weighed}  # what waits for an item gives its example when it comes again
        examples: list[Example] = []
        for one, made in zip(chosen, await reading, strict=True):
            if isinstance(made, _Dropped):
                observer.examples_dropped(str(made), 1)
            elif one.event.source not in applied or (
                one.kind == "next" and (one.event.source, one.event.item_id) not in speaks_for
            ):
                observer.examples_dropped("not_for_it", 1)
            else:
                examples.append(made)
        examples.sort(key=lambda one: one.source)  # of one partition in the order of its offsets
        try:
            if examples:
                await self._from.send(examples)
                for example in examples:
                    observer.examples_sent(example.kind, 1)
        except InterestsError as error:
            observer.examples_dropped("broker", len(examples))
            log.warning("examples_unsent", error=type(error).__name__, reason=str(error), examples=len(examples))
        waited_s = self._clock() - began_s
        observer.examples_waited(waited_s)
        if waited_s > _LONG_WAIT_S:
            self._tokens = 1.0 - _REST_S * self._per_s


def _teaches(event: Event, profile: Node) -> bool:
    """Whether an event is among those that are taken of somebody so active, by the same hash at each repetition."""
    return _hash(event.event_id) * profile.count < _OFTEN << 64


def _hash(event_id: str) -> int:
    return xxhash.xxh3_64_intdigest(event_id.encode())
