"""Prequential evaluation: before each event of a log the user's items are ranked, then the event is folded.

Nothing of an event, or after it, is known when its item is ranked, but that the item exists.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.evaluation.world import Floats, KnownItems, World, WorldPolicy
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, RecordLike
from streams.events.parse import parse_events
from streams.events.side_outputs import Waiting
from streams.events.unresolved import RetryPolicy
from streams.interests.contexts import situations
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, profile_key, recents_of
from streams.interests.recents import Recent
from streams.interests.score import RankPolicy
from streams.interests.signed_weight import WeightTable, signed_weight
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.example_rule import gives_example
from streams.pipeline.ranking_view import interests_in
from streams.pipeline.weigh import texts_of
from streams.ranking.features import FeatureRows, feature_rows
from streams.ranking.parts import KINDS, Kind
from streams.ranking.rows import PersonView
from streams.store.base import Fence
from streams.store.memory import MemoryStore


@dataclass(slots=True, kw_only=True)
class ListCase:
    """One ranking of n targets: their rows, float64 (n, F), and those that were taken, `relevant`, bool (n,).

    `events` is how many the user had before. `own` says that the event made its item, which is then new by itself;
    `weight` is the signed weight of the event, and `index` its place in the log. `teaches` says whether the worker
    would send the learner an example of it.
    """

    kind: Kind
    index: int
    user_id: str
    events: int
    own: bool
    weight: float
    teaches: bool
    values: Floats
    relevant: NDArray[np.bool_]


@dataclass(slots=True, kw_only=True)
class Case(ListCase):
    """A ranking with all that was known of the user and the targets.

    `history` float32 (h, dim) and `ages_s` (h,) are the user's earlier items, oldest first; `recents` what their
    profile keeps of them, latest first. `chosen` (n,) are the targets' rows in the catalogue.
    """

    event: Event
    chosen: NDArray[np.int64]
    recents: Sequence[Recent]
    rows: FeatureRows
    history: Vector
    ages_s: Floats

    def bare(self) -> ListCase:
        """What is kept of a case to rank it once more with other weights."""
        return ListCase(**{one.name: getattr(self, one.name) for one in fields(ListCase)})


@dataclass(frozen=True, slots=True, kw_only=True)
class PrequentialProtocol:
    """What is ranked: `negatives` sampled with `seed` beside each next new item, None for all there are; which kinds.

    With `first` a user's first event is ranked too. Nothing of an event counts until `delay_ms` later, but that its
    items are known and its user has met them. Of all cases the `share` is ranked that the seed draws.
    """

    negatives: int | None = 49
    seed: int = 7
    kinds: frozenset[Kind] = frozenset(KINDS)
    first: bool = False
    delay_ms: int = 0
    share: float = 1.0


@dataclass(slots=True)
class Counts:
    """What became of a log's records."""

    events: int = 0
    dead: int = 0
    deferred: int = 0


@dataclass(slots=True)
class _CountedSideOutputs:
    """An outbox that counts."""

    counts: Counts

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        self.counts.dead += len(dead)

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        self.counts.deferred += len(waiting)


class _Event(NamedTuple):
    """An event that does not count yet, and its record."""

    event: Event
    weights: Sequence[tuple[str, float]]
    record: RecordLike


def _kind_of(event: Event) -> Kind:
    return "impression" if event.type == "impression" else "next"


@dataclass(kw_only=True)
class Replay:
    """A log, replayed event by event through `streams.pipeline.apply.apply` on the in-memory store.

    Records of a user are folded when the user is next ranked: a batch is exactly its events one by one. With `followed`
    nobody else is ranked, and nobody else's tree is kept.
    """

    catalogue: KnownItems
    encoder: Encoder
    store: MemoryStore
    tree: ConceptTree
    nodes: NodePolicy
    weights: WeightTable
    ranking: RankPolicy
    everybody: WorldPolicy
    protocol: PrequentialProtocol
    followed: Set[str] | None = None
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._world = World(self.catalogue, self.everybody, self.nodes)
        self._late: deque[_Event] = deque()
        self._trees: dict[str, dict[NodeKey, Node]] = {}
        self._pending: dict[str, list[RecordLike]] = {}
        self._deps = PipelineDependencies(
            encoder=self.encoder, store=self.store, outbox=_CountedSideOutputs(self.counts), tree=self.tree,
            policy=self.nodes, weights=self.weights, retries=RetryPolicy(1, 1, 1), home=lambda _: True,
        )  # fmt: skip

    async def cases(self, records: Sequence[RecordLike], *, now_ms: int) -> AsyncIterator[Case]:
        """Give every case of a log; `records` in time order, offsets rising. `now_ms` bounds the times believed."""
        for index, record in enumerate(records):
            parsed = parse_events([record], now_ms=now_ms)
            self.counts.events += 1
            self.counts.dead += len(parsed.dead)
            for event in parsed.events:
                self._catch_up(event.ts_ms - self.protocol.delay_ms)
                weights = await self._item_weights(event)
                case = await self._case(index, event, weights, now_ms)
                if case is not None:
                    yield case
                self._note(event, weights, record)

    async def follow(self, event: Event, record: RecordLike) -> None:
        """Take an event of the log into account, without ranking anything."""
        self._note(event, await self._item_weights(event), record)

    def events_before(self, user_id: str) -> int:
        """How many events of a user were taken into account."""
        return self._world.user(user_id).events

    def _note(self, event: Event, weights: Sequence[tuple[str, float]], record: RecordLike) -> None:
        self._world.meet(event, weights)
        self._late.append(_Event(event, weights, record))
        if not self.protocol.delay_ms:
            self._catch_up(event.ts_ms)

    def _catch_up(self, until_ms: int) -> None:
        """Count what has happened until a moment, in the order of the log."""
        while self._late and (self._late[0].event.ts_ms <= until_ms or not self.protocol.delay_ms):
            event, weights, record = self._late.popleft()
            self._world.apply(event, weights)
            if self.followed is None or event.user_id in self.followed:
                self._pending.setdefault(event.user_id, []).append(record)

    async def _case(self, index: int, event: Event, weights: Sequence[tuple[str, float]], now_ms: int) -> Case | None:
        user, kind = self._world.user(event.user_id), _kind_of(event)
        if kind not in self.protocol.kinds or not (user.events or self.protocol.first) or not self._drawn(index):
            return None
        chosen, relevant = self._shown(event) if kind == "impression" else self._sampled(event, index)
        if not len(chosen):
            return None
        rows = await self.rows(event.user_id, event.ts_ms, chosen, now_ms, event.context)
        weight, profile = sum(weight for _, weight in weights), self._profile(event.user_id)
        recents = recents_of(profile) if profile else ()
        return Case(
            kind=kind, index=index, user_id=event.user_id, events=user.events, own=event.type == "post", weight=weight,
            teaches=gives_example(event, profile, self.weights, weight, len(chosen)), values=rows.values,
            relevant=relevant, event=event, chosen=chosen, recents=recents, rows=rows,
            history=self.catalogue.vectors[user.rows],
            ages_s=(event.ts_ms - np.array(user.times_ms, np.float64)) / 1000.0,
        )  # fmt: skip

    def _drawn(self, index: int) -> bool:
        share = self.protocol.share
        return share >= 1.0 or np.random.default_rng([self.protocol.seed, index, 2]).random() < share

    async def rows(
        self, user_id: str, at_ms: int, chosen: NDArray[np.int64], now_ms: int,
        context: Mapping[str, str | float | bool],
    ) -> FeatureRows:  # fmt: skip
        """The rows of the items at `chosen` (n,) of the catalogue, for a user at a moment in a situation."""
        await self._fold(user_id, now_ms)
        tree = self._trees.get(user_id, {})
        profile = self._profile(user_id)
        here = frozenset(situations(at_ms, context, self.nodes.contexts))
        person = PersonView(
            interests=interests_in(tree.values(), here, at_ms, self.nodes),
            recents=self._world.recents(recents_of(profile) if profile else (), at_ms),
        )
        return feature_rows(person, self._world.targets(chosen, at_ms), self.ranking, at_ms=at_ms)

    def _profile(self, user_id: str) -> Node | None:
        return self._trees.get(user_id, {}).get(profile_key(user_id))

    def _sampled(self, event: Event, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The event's item, where it is new to the user, among items they could have met instead."""
        row = self.catalogue.rows.get(event.item_id or "")
        if row is None or row in self._world.user(event.user_id).rows:
            return np.zeros(0, np.int64), np.zeros(0, bool)
        others = self._world.unseen(event.user_id, event.ts_ms)
        others = others[others != row]
        chance = np.random.default_rng([self.protocol.seed, index])
        if self.protocol.negatives is not None:
            others = chance.choice(others, min(self.protocol.negatives, len(others)), replace=False)
        rows = np.concatenate([[row], others]).astype(np.int64)
        return rows, np.arange(len(rows)) == 0

    def _shown(self, event: Event) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What an impression showed, as far as it is described; nothing where all or none of it was taken."""
        shown = [item_id for item_id in dict.fromkeys(event.items) if item_id in self.catalogue.rows]
        rows = np.array([self.catalogue.rows[item_id] for item_id in shown], np.int64)
        relevant = np.array([item_id in event.clicked for item_id in shown], bool)
        return (rows, relevant) if 0 < relevant.sum() < len(rows) else (rows[:0], relevant[:0])

    async def _item_weights(self, event: Event) -> list[tuple[str, float]]:
        """The items an event is about, with its signed weight on each."""
        if event.type == "impression":
            return [(item_id, self.weights.base["impression"] * self.weights.impression_clicked)
                    for item_id in event.clicked]  # fmt: skip
        if event.item_id is None:
            return []
        sentiment = None
        if texts := texts_of([event]):
            sentiment = float((await self.encoder.encode(texts)).sentiment[0])
        return [(event.item_id, signed_weight(event, sentiment, self.weights))]

    async def _fold(self, user_id: str, now_ms: int) -> None:
        records = self._pending.pop(user_id, [])
        if records:
            report = await apply(records, self._deps, Fence(0, 1), 0, now_ms=now_ms)
            self._trees.setdefault(user_id, {}).update({node.key: node for node in report.nodes})
