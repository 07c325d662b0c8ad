"""A part of a log folded by the service's own path, in memory: the trees, the votes, and what became of each event.

All records of a part's people are one batch, so that what came late or twice is what it is to a worker that had them
all: the fold does not depend on order, and nothing is there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, RecordLike
from streams.events.side_outputs import Waiting
from streams.events.unresolved import RetryPolicy
from streams.history.sift import Reading, Sifted
from streams.history.spool import SpooledRecord
from streams.interests.applied import Applied
from streams.interests.ballot import VoteChange
from streams.interests.item_vectors import StoredItem
from streams.interests.nodes import Node, NodePolicy
from streams.interests.popularity import ItemPopularity, count, tally
from streams.interests.signed_weight import WeightTable
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.erase import DerivedChanges
from streams.store.base import Fence
from streams.store.memory import MemoryStore


class CatalogueItems(Protocol):
    """Where described items are read."""

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefoldDependencies:
    """What a fold is made of beside the records: encoder, catalogue, concept tree and the settings' constants."""

    encoder: Encoder
    catalogue: CatalogueItems
    tree: ConceptTree
    policy: NodePolicy
    weights: WeightTable
    popularity_half_life_s: float
    unresolved_topic: str


class FoldedEvent(NamedTuple):
    """An event that counts once, its record, and whether it is in the tree: not while nobody has described its item."""

    event: Event
    record: RecordLike
    folded: bool


@dataclass(slots=True)
class Folded:
    """What a part comes to: nodes by user, its events, and its votes for items."""

    trees: dict[str, list[Node]]
    events: list[FoldedEvent]
    votes: list[VoteChange]


class _Beside(MemoryStore):
    """Nodes in memory; items that nobody has described here are those of the catalogue."""

    def __init__(self, policy: NodePolicy, catalogue: CatalogueItems) -> None:
        super().__init__(policy)
        self._catalogue = catalogue

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        ids = list(item_ids)
        here = await super().items(ids)
        return here | await self._catalogue.items([one for one in ids if one not in here])


@dataclass(slots=True)
class _Nowhere:
    """What leaves the path goes nowhere; the votes are kept."""

    votes: list[VoteChange] = field(default_factory=list)

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        pass

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        pass

    async def derived(self, changes: DerivedChanges, log: int) -> None:
        self.votes += changes.votes


async def refold(
    records: Sequence[SpooledRecord], reading: Reading, sifted: Sifted, deps: RefoldDependencies, log: int
) -> Folded:
    """Fold the records of some people; what an erasure of theirs ended is left out. Raises as `apply` does."""
    found = [(event, record) for event, record in reading.events(records) if sifted.outlives(event)]
    beside, nowhere = _Beside(deps.policy, deps.catalogue), _Nowhere()
    path = PipelineDependencies(
        encoder=deps.encoder, store=beside, outbox=nowhere, tree=deps.tree, policy=deps.policy, weights=deps.weights,
        retries=RetryPolicy(1, 1, 1, deps.unresolved_topic), home=lambda _: True, pseudonyms=reading.pseudonyms,
        send_derived=nowhere.derived,
    )  # fmt: skip
    report = await apply([record for _, record in found], path, Fence(0, 1), log, now_ms=reading.now_ms)
    trees: dict[str, list[Node]] = {}
    for node in report.nodes:
        trees.setdefault(node.key.user_id, []).append(node)
    by_source = {event.source: record for event, record in found}
    events = [
        FoldedEvent(event, by_source[event.source], folded)
        for outcome, folded in (("applied", True), ("unresolved", False))
        for event in report.events[outcome]  # type: ignore[index]  # both are outcomes
    ]
    return Folded(trees, events, nowhere.votes)


class VoteCount:
    """Everybody's votes by item, summed over parts; one small entry an item is in memory."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self.items: dict[str, ItemPopularity] = {}

    def add(self, votes: Sequence[VoteChange]) -> None:
        """Count the votes of a part, none of which was counted before."""
        for record in tally(votes, "", 0):
            for item in count([record], self.items, self._half_life_s).changed:
                # Where they came from says nothing here: parts hold records of all partitions in turn.
                self.items[item.item_id] = replace(item, applied=Applied())
