"""A plan into the store, some people's trees at a time: while Qdrant applies one part, the next is read and folded.

No person is in two parts, so parts may be written in any order and side by side; the caller acknowledges after all.
Nothing is sent or written before the batches in flight before are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from streams.interests.fold import fold_part, parts
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, without_erased
from streams.interests.plan import Plan
from streams.interests.priors import CohortFirst
from streams.pipeline.erase import DerivedChanges, SendDerived
from streams.pipeline.faultpoints import reach
from streams.pipeline.in_flight import InFlight
from streams.pipeline.tracing import stage
from streams.store.base import Fence, Store, Write

T = TypeVar("T")

#: Nodes of a part, about: some calls to Qdrant, and few enough that a full batch is several parts.
_NODES_A_PART: Final = 2_048
#: Parts on their way at once, so that Qdrant has work while the next batch is planned.
_UNDER_WAY: Final = 4


class Folding(Protocol):
    """What it needs of the path's dependencies."""

    @property
    def store(self) -> Store: ...
    @property
    def policy(self) -> NodePolicy: ...
    @property
    def send_derived(self) -> SendDerived: ...


async def fold_and_write(
    planned: Plan, vectors: Vector, firsts: Sequence[CohortFirst], deps: Folding, fence: Fence, log: int,
    *, nodes_of: Callable[[Iterable[Node]], Mapping[NodeKey, Node]], flight: InFlight,
) -> list[Node]:  # fmt: skip
    """Fold a plan into its nodes, send on what it changes in the sums over everybody, and write the nodes durably.

    Gives the nodes that changed, part by part. `nodes_of` gives those to fold into by key, from what is stored. What a
    record can make fail has failed before anything of its part is sent. Raises what the store and the broker raise, and
    Superseded, once nothing is under way any more: some parts may be written then, each person's tree as a whole.
    """
    changed: list[Node] = []
    user_of = {source: user for user, memory in planned.remembered.items() for source in memory.sources}
    votes = _by_user((user_of[one.source], one) for one in planned.votes)
    pairs = _by_user((user_of[one.source], one) for one in planned.pairs)
    beginnings = _by_user((user_of[one.first.source], one) for one in firsts)
    under_way: deque[asyncio.Task[None]] = deque()
    sending = asyncio.Lock()  # the first is to be written while the others are still sent on
    try:
        for part in parts(planned, _NODES_A_PART):
            stored = await flight.read(part.keys, deps.store)
            with stage("fold"):
                made = fold_part(planned, part, vectors, nodes_of(without_erased(stored.values())), deps.policy, log)
                write = deps.store.encoded(made, fence)
            changed += made
            flight.folded(made)
            users = dict.fromkeys(key.user_id for key in part.keys)
            theirs = DerivedChanges(_of(users, votes), _of(users, pairs), _of(users, beginnings))
            under_way.append(asyncio.create_task(_deliver(deps, theirs, log, write, flight, sending)))
            await asyncio.sleep(0)  # it begins
            if len(under_way) >= _UNDER_WAY:
                await under_way.popleft()
        flight.all_folded()
        while under_way:
            await under_way.popleft()
        await flight.after_those_before()  # also of a batch that changes nothing
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return changed


def _by_user(changes: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for user, change in changes:
        found.setdefault(user, []).append(change)
    return found


def _of(users: Iterable[str], changes: Mapping[str, Sequence[T]]) -> list[T]:
    return [change for user in users for change in changes.get(user, ())]


async def _deliver(
    deps: Folding, changes: DerivedChanges, log: int, write: Write, flight: InFlight, sending: asyncio.Lock
) -> None:
    """Send on, then write: once the nodes are written nobody would know that something is still to be sent."""
    with stage("turn"):
        await flight.after_those_before()
    async with sending:
        with stage("send"):
            await deps.send_derived(changes, log)
    await reach("before_upsert")
    with stage("write"):
        await write()
