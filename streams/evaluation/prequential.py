"""Prequential evaluation: before each event of a log the user's items are ranked, then the event is folded.

Nothing of an event, or after it, is known when its item is ranked, but that the item exists.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.evaluation.world import Floats, KnownItems, Undated, World
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, RecordLike
from streams.events.parse import parse_events
from streams.events.side_outputs import Waiting
from streams.events.unresolved import RetryPolicy
from streams.interests.nodes import Node, NodeKey, NodePolicy
from streams.interests.score import Interest, Targets, interests_of
from streams.interests.signed_weight import WeightTable, signed_weight
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.weigh import texts_of
from streams.store.base import Fence
from streams.store.memory import MemoryStore

Kind = Literal["next", "impression"]


@dataclass(slots=True, kw_only=True)
class Case:
    """One ranking: n targets, those that were taken (`relevant`, bool (n,)), and all that was known of the user.

    `history` float32 (h, dim) and `ages_s` (h,) are the user's earlier items, oldest first. `own` says that the
    event made its item, which is then new by itself; `weight` is the signed weight of the event.
    """

    kind: Kind
    index: int
    event: Event
    own: bool
    weight: float
    targets: Targets
    relevant: NDArray[np.bool_]
    interests: list[Interest]
    history: NDArray[np.float32]
    ages_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PrequentialProtocol:
    """What is ranked: `negatives` sampled with `seed` beside each next new item; which kinds of cases."""

    negatives: int = 49
    seed: int = 7
    kinds: frozenset[Kind] = frozenset({"next", "impression"})
    popularity_half_life_s: float = 7 * 86_400.0
    undated: Undated = "known"


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


@dataclass(kw_only=True)
class Replay:
    """A log, replayed event by event through `streams.pipeline.apply.apply` on the in-memory store.

    Records of a user are folded when the user is next ranked: a batch is exactly its events one by one.
    """

    catalogue: KnownItems
    encoder: Encoder
    store: MemoryStore
    tree: ConceptTree
    nodes: NodePolicy
    weights: WeightTable
    protocol: PrequentialProtocol
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._world = World(self.catalogue, self.protocol.popularity_half_life_s, self.protocol.undated, self.nodes)
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
                weights = await self._item_weights(event)
                case = await self._case(index, event, weights, now_ms)
                if case is not None:
                    yield case
                self._world.apply(event, weights)
                self._pending.setdefault(event.user_id, []).append(record)

    async def _case(self, index: int, event: Event, weights: Sequence[tuple[str, float]], now_ms: int) -> Case | None:
        if not self._world.user(event.user_id).events:
            return None
        if event.type == "impression":
            rows, relevant = self._shown(event)
            kind: Kind = "impression"
        else:
            rows, relevant = self._sampled(event, index)
            kind = "next"
        if kind not in self.protocol.kinds or not len(rows):
            return None
        await self._fold(event.user_id, now_ms)
        user, catalogue = self._world.user(event.user_id), self.catalogue
        targets = catalogue.targets(rows, self._world.popularity.at(rows, event.ts_ms))
        tree = self._trees.get(event.user_id, {}).values()
        return Case(
            kind=kind, index=index, event=event, own=event.type == "post",
            weight=sum(weight for _, weight in weights), targets=targets, relevant=relevant,
            interests=interests_of(tree, event.ts_ms, self.nodes), history=catalogue.vectors[user.rows],
            ages_s=(event.ts_ms - np.array(user.times_ms, np.float64)) / 1000.0,
        )  # fmt: skip

    def _sampled(self, event: Event, index: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The event's item, where it is new to the user, among items they could have met instead."""
        row = self.catalogue.rows.get(event.item_id or "")
        if row is None or row in self._world.user(event.user_id).rows:
            return np.zeros(0, np.int64), np.zeros(0, bool)
        others = self._world.unseen(event.user_id, event.ts_ms)
        others = others[others != row]
        chance = np.random.default_rng([self.protocol.seed, index])
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
