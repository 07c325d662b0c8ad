"""The derived topics: what the path sent on by item and by cohort, folded into popularity, partners and priors.

All are read by the same group as the events, each by an agent of its own, and all folds know an event by the
place of its own record. Where these records lie in their own topics decides nothing, so those may be made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np

from streams.base.errors import PoisonError
from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike
from streams.events.spans import Slot
from streams.interests.fold import fold
from streams.interests.item_vectors import StoredItem
from streams.interests.nodes import Node, NodeKey, NodePolicy, profile_key
from streams.interests.pair_records import Pairs, unpack_pairs
from streams.interests.plan import Plan
from streams.interests.popularity import ItemPopularity, Votes, count, unpack_votes
from streams.interests.priors import Beginnings, PriorPolicy, plan_of_beginnings, unpack_beginnings
from streams.interests.together import ItemPartners, PartnerPolicy, count_pairs
from streams.pipeline.derived_records import DerivedLimits, believed, check_within, reached
from streams.store.base import Fence

T = TypeVar("T", Votes, Pairs, Beginnings)

#: Records that are read or folded before others have their turn.
_AT_ONCE: Final = 500
_PAIRS_AT_ONCE: Final = 8  # records, of many items each


class CohortNodes(Protocol):
    """Where popularity, partners and cohorts' nodes live; `streams.store.cohort_store.CohortStore`."""

    async def popularity(self, item_ids: Iterable[str]) -> dict[str, ItemPopularity]:
        """The popularity of the items that have any."""

    async def put_popularity(self, items: Sequence[ItemPopularity], fence: Fence) -> None:
        """Write durably; what is stored under a newer fence stays."""

    async def partners(self, item_ids: Iterable[str]) -> dict[str, ItemPartners]:
        """The partners of the items that have any."""

    async def put_partners(self, items: Sequence[ItemPartners], fence: Fence) -> None:
        """Write durably; what is stored under a newer fence stays."""

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The cohorts' nodes that exist among `keys`."""

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Write durably; what is stored under a newer fence stays."""


class Items(Protocol):
    """Where items' vectors are."""

    async def items(self, item_ids: Iterable[str]) -> dict[str, StoredItem]:
        """The described items among `item_ids`."""


class DeadLetterSink(Protocol):
    """Where records go that nobody can read."""

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send dead letters."""


@dataclass(slots=True, kw_only=True)
class Deriving:
    """What folds the derived topics; records of other groups than `group`, and of cohorts unknown, are passed over.

    `ends` asks the broker where the logs of events end now; it raises BrokerUnavailable.
    """

    cohorts: CohortNodes
    items: Items
    outbox: DeadLetterSink
    group: str
    dim: int
    popularity_half_life_s: float
    partners: PartnerPolicy
    policy: NodePolicy
    priors: PriorPolicy
    limits: DerivedLimits
    ends: Callable[[Sequence[Slot]], Awaitable[Mapping[Slot, int]]]


class Derived(NamedTuple):
    """What became of a batch: which fold, events that counted, events that had counted before, dead letters."""

    kind: str
    counted: int
    repeated: int
    dead: list[DeadLetter]


async def count_votes(
    records: Sequence[RecordLike], deps: Deriving, fence: Fence, log: int, *, now_ms: int
) -> Derived:  # fmt: skip
    """Fold a batch of `items.popularity`; `log` is the present incarnation of the topics.

    Raises RetryableError: call again, nothing counts twice.
    """
    votes, dead = await _readable(records, unpack_votes, deps, log, now_ms)
    await deps.outbox.dead_letter(dead)
    stored = await deps.cohorts.popularity(dict.fromkeys(record.item_id for record in votes))
    made = count(votes, stored, deps.popularity_half_life_s)
    await deps.cohorts.put_popularity(made.changed, fence)
    return Derived("popularity", made.counted, made.repeated, dead)


async def join_partners(
    records: Sequence[RecordLike], deps: Deriving, fence: Fence, log: int, *, now_ms: int
) -> Derived:  # fmt: skip
    """Fold a batch of `items.together`, as `count_votes` does its own."""
    pairs, dead = await _readable(records, unpack_pairs, deps, log, now_ms)
    await deps.outbox.dead_letter(dead)
    stored = await deps.cohorts.partners(dict.fromkeys(item_id for record in pairs for item_id in record.abouts))
    counted = repeated = 0
    changed: dict[str, ItemPartners] = {}
    for at in range(0, len(pairs), _PAIRS_AT_ONCE):
        made = count_pairs(pairs[at : at + _PAIRS_AT_ONCE], stored, deps.partners)
        counted, repeated = counted + made.counted, repeated + made.repeated
        changed |= {item.item_id: item for item in made.changed}
        stored |= {item.item_id: item for item in made.changed}
        await asyncio.sleep(0)
    await deps.cohorts.put_partners(list(changed.values()), fence)
    return Derived("together", counted, repeated, dead)


async def learn_beginnings(
    records: Sequence[RecordLike], deps: Deriving, fence: Fence, log: int, *, now_ms: int
) -> Derived:  # fmt: skip
    """Fold a batch of `population` into its cohorts' nodes. Raises RetryableError: call again."""
    made, dead = await _readable(records, unpack_beginnings, deps, log, now_ms)
    await deps.outbox.dead_letter(dead)
    made = [record for record in made if deps.priors.knows(record.cohort)]
    items = await deps.items.items(dict.fromkeys(first.item_id for record in made for first in record.firsts))
    rows = {item_id: row for row, item_id in enumerate(items)}
    vectors = np.stack([item.vector for item in items.values()]) if items else np.zeros((0, deps.dim), np.float32)
    counted = repeated = 0
    for of_log in sorted({record.log for record in made}):
        plan = plan_of_beginnings([record for record in made if record.log == of_log], rows)
        stored = await deps.cohorts.read(plan.touched())
        fresh = _of_this_log(plan, stored, of_log)
        changed = fold(fresh, vectors, stored, deps.policy, of_log)
        new = _fresh(fresh, stored, of_log)
        had = sum(1 for _ in plan.contributions.of_profiles())
        counted, repeated = counted + new, repeated + had - new
        await deps.cohorts.write(changed, fence)
    return Derived("population", counted, repeated, dead)


async def _readable(
    records: Sequence[RecordLike], unpack: Callable[[bytes | None], T], deps: Deriving, log: int, now_ms: int
) -> tuple[list[T], list[DeadLetter]]:
    """What can be believed of a batch, and dead letters for what no worker of this group can have sent."""
    read: list[tuple[RecordLike, T]] = []
    good: list[T] = []
    dead: list[DeadLetter] = []
    for at, record in enumerate(records, start=1):
        if at % _AT_ONCE == 0:
            await asyncio.sleep(0)
        try:
            said = unpack(record.value)
            if said.group == deps.group:
                read.append((record, believed(record, said, deps.limits, log, now_ms)))
        except PoisonError as error:
            dead.append(DeadLetter.of(record, error))
    # Of an earlier incarnation nobody knows the ends; what it marks is void with the first record of this one.
    slots = {slot for _, said in read if said.log == log for slot in reached(said)}
    ends = await deps.ends(sorted(slots)) if slots else {}
    for record, said in read:
        try:
            if said.log == log:
                check_within(said, ends)
        except PoisonError as error:
            dead.append(DeadLetter.of(record, error))
        else:
            good.append(said)
    return good, dead


def _of_this_log(plan: Plan, stored: dict[NodeKey, Node], log: int) -> Plan:
    """The plan without cohorts that have seen a later incarnation of the log: this came too late."""
    late = {
        cohort for cohort in plan.remembered
        if (profile := stored.get(profile_key(cohort))) is not None and profile.applied.log > log
    }  # fmt: skip
    if not late:
        return plan
    kept = {cohort: memory for cohort, memory in plan.remembered.items() if cohort not in late}
    return Plan(plan.contributions.without(late), kept)


def _fresh(plan: Plan, stored: dict[NodeKey, Node], log: int) -> int:
    """How many events of the plan a cohort's profile has not had."""
    return sum(
        key not in stored or stored[key].applied.up_to(slot, log) < offset
        for key, slot, offset in plan.contributions.of_profiles()
    )
