"""A plan into the store, some people's trees at a time: while Qdrant applies one part, the next is read and folded.

No person is in two parts, so parts may be written in any order and side by side; the caller acknowledges after all.
Nothing is sent or written before the batches in flight before are. What a batch changes in the sums over everybody is
sent at once and not by parts: these know an event by how far its partition was read, and the people of a partition
lie in several parts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from streams.interests.fold import fold_part, parts
from streams.interests.nodes import Node, NodeKey, NodePolicy, Vector, without_erased
from streams.interests.plan import Plan
from streams.interests.priors import CohortFirst
from streams.pipeline.erase import DerivedChanges, SendDerived
from streams.pipeline.faultpoints import reach
from streams.pipeline.in_flight import InFlight
from streams.pipeline.tracing import stage
from streams.store.base import Fence, Store, Write

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
    record can make fail has failed before anything is sent, but for what fails in the fold of a later part. Raises what
    the store and the broker raise, and Superseded, once nothing is under way any more: some parts may be written then,
    each person's tree as a whole.
    """
    changed: list[Node] = []
    changes = DerivedChanges(planned.votes, planned.pairs, firsts)
    sent: asyncio.Task[None] | None = None
    under_way: deque[asyncio.Task[None]] = deque()
    try:
        for part in parts(planned, _NODES_A_PART):
            stored = await flight.read(part.keys, deps.store)
            with stage("fold"):
                before = nodes_of(without_erased(stored.values()))
                made = fold_part(planned, part, vectors, before, deps.policy, log)
                write = deps.store.encoded(_with_had(made, before, part.keys) if deps.store.replicated else made, fence)
            changed += made
            flight.folded(made)
            sent = sent or asyncio.create_task(_send(deps, changes, log, flight))
            under_way.append(asyncio.create_task(_write(write, sent)))
            await asyncio.sleep(0)  # it begins
            if len(under_way) >= _UNDER_WAY:
                await under_way.popleft()
        flight.all_folded()
        while under_way:
            await under_way.popleft()
        await flight.after_those_before()  # also of a batch that changes nothing
    finally:
        tasks = [*under_way, sent] if sent else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return changed


def _with_had(made: Sequence[Node], before: Mapping[NodeKey, Node], keys: Iterable[NodeKey]) -> list[Node]:
    """Also the nodes that had all of this before: a write that failed may have reached one replica and not another."""
    changed = {node.key for node in made}
    had = [before[key] for key in keys if key in before and key not in changed]
    return sorted([*made, *had], key=lambda node: (node.key.user_id, node.key.level == "profile"))


async def _send(deps: Folding, changes: DerivedChanges, log: int, flight: InFlight) -> None:
    with stage("turn"):
        await flight.after_those_before()
    with stage("send"):
        await deps.send_derived(changes, log)


async def _write(write: Write, sent: asyncio.Task[None]) -> None:
    """Write once all is sent on: once the nodes are written nobody would know that something is still to be sent."""
    await sent
    await reach("before_upsert")
    with stage("write"):
        await write()
