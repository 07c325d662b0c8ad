"""Who this worker is to the store: the fence and the log of the current assignment, settled at the control point."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Literal, NamedTuple

import structlog

from streams.base.errors import BrokerUnavailable, Fenced
from streams.broker.batches import Batch
from streams.broker.fetched_batch import GroupIdentity
from streams.store.base import Control, Fence, Store
from streams.worker.epochs import GroupView, judge, raised

log = structlog.get_logger(__name__)

#: How often the highest offsets seen are written to the control point, in seconds.
NOTE_EVERY_S = 1.0
_ATTEMPTS = 8


#: Why a fence no longer held: others have these partitions now, or it is of another incarnation of broker or group.
Refusal = Literal["generation", "epoch"]


class Owner(NamedTuple):
    """What a batch is written under."""

    fence: Fence
    log: int


class Ownership:
    """Settles epoch and log once an assignment, and checks before each acknowledgement that they still hold.

    A conditional upsert does not say what it refused, so after writing a batch the control point is read: as long
    as the epoch is ours, nothing this generation wrote was refused. `confirm` asks the broker whether our
    generation is the group's, so that a worker that missed a rebalance never believes that it is a new incarnation.

    `refused` is called where the fence did not hold, as far as writes may have been refused for it.

    Topics that are not in `partitions` are written under the fence but say nothing of the log: those the service
    fills itself, whose records name the places of the events they came from.
    """

    def __init__(
        self, *, store: Store, group: str, partitions: Mapping[str, int],
        confirm: Callable[[GroupIdentity], Awaitable[bool]], on_change: Callable[[Owner], None],
        refused: Callable[[Refusal], None],
    ) -> None:  # fmt: skip
        self._store, self._group, self._partitions = store, group, partitions
        self._confirm, self._on_change, self._refused = confirm, on_change, refused
        self._identity: GroupIdentity | None = None
        self._control = Control()
        self._slots: set[str] = set()
        self._highest: dict[str, int] = {}
        self._noted_s = -math.inf
        self._control_point = asyncio.Lock()  # batches overlap, and what is read of it may be written back

    async def joins(self, batch: Batch) -> bool:
        """Settle a batch's new partitions under the epoch and log that hold, while batches before it are in flight.

        False where that may be another epoch or log: it is for `enter` to begin one, once nothing is in flight.
        """
        highwater = self._highwater(batch)
        async with self._control_point:
            if batch.identity is not self._identity:
                return False
            if not self._knows(batch.identity, highwater):
                stored = await self._store.control(self._group)
                if stored is None or stored.epoch != self._control.epoch or batch.identity is not self._identity:
                    return False
                wanted, reason = judge(stored, self._seen(batch.identity, highwater))
                if reason:
                    return False
                written = await self._store.put_control(self._group, wanted, if_epoch=stored.epoch)
                if written.fence != wanted.fence:
                    return False
                self._control = written
                self._slots |= highwater.keys()
            return True

    async def enter(self, batch: Batch) -> Owner | None:
        """The fence and log for a batch; None where the batch's assignment is no longer ours."""
        highwater = self._highwater(batch)
        if not self._knows(batch.identity, highwater):
            async with self._control_point:
                if batch.identity is not self._identity:
                    self._slots = set()
                if not self._knows(batch.identity, highwater) and not await self._settle(batch.identity, highwater):
                    return None
                self._slots |= highwater.keys()
        return self._owner(batch.identity)

    def _highwater(self, batch: Batch) -> dict[str, int]:
        return {f"{one.topic}/{one.partition}": one.highwater for one in batch.fetched if one.topic in self._partitions}

    def _knows(self, identity: GroupIdentity, highwater: Mapping[str, int]) -> bool:
        return identity is self._identity and self._slots.issuperset(highwater)

    def _owner(self, identity: GroupIdentity) -> Owner:
        return Owner(Fence(self._control.epoch, identity.generation), self._control.log)

    def _seen(self, identity: GroupIdentity, highwater: Mapping[str, int]) -> GroupView:
        return GroupView(
            generation=identity.generation,
            leader=identity.leader_id,
            cluster=identity.cluster_id or "",
            partitions=self._partitions,
            highwater=highwater,
        )

    async def _settle(self, identity: GroupIdentity, highwater: Mapping[str, int]) -> bool:
        seen = self._seen(identity, highwater)
        for _ in range(_ATTEMPTS):
            stored = await self._store.control(self._group)
            wanted, reason = judge(stored, seen)
            if reason and not await self._confirm(identity):
                return False
            written = await self._store.put_control(self._group, wanted, if_epoch=stored.epoch if stored else 0)
            if written.fence == wanted.fence:
                break
        else:
            raise BrokerUnavailable("the workers of this group do not agree on an epoch yet")
        if reason:
            log.warning("new_incarnation", reason=reason, epoch=wanted.epoch, log=wanted.log)
        if identity is not self._identity or written.epoch != self._control.epoch:
            self._identity, self._control = identity, written
            self._highest = {}
            self._on_change(self._owner(identity))
        self._control = written
        return True

    async def verify(self, batch: Batch, owner: Owner) -> bool:
        """After a write as `owner`: Fenced if another epoch has begun, False if another generation has.

        In another generation others go on there by now: what a batch of an ended one changed is not announced, since
        the fence may have refused its nodes, and an erasure may have come. Where another batch of ours has begun the
        epoch it raises BrokerUnavailable: this one is to be folded again under that. Else note how far the log has been
        folded, now and then.
        """
        stored = await self._store.control(self._group)
        if stored is None or stored.epoch != self._control.epoch:
            async with self._control_point:  # another of our batches may be raising it
                stored = await self._store.control(self._group)
        if stored is None or stored.epoch != self._control.epoch:
            self._refused("epoch")
            state = "gone" if stored is None else f"epoch {stored.epoch}"
            raise Fenced(f"the control point is {state}, this worker writes under epoch {self._control.epoch}")
        if stored.generation > batch.generation:
            self._refused("generation")
            return False
        if owner.fence.epoch != stored.epoch:
            raise BrokerUnavailable(
                f"epoch {stored.epoch} has begun, this was written under {owner.fence.epoch}: again"
            )
        for fetched in batch.fetched:
            if fetched.topic not in self._partitions:
                continue
            slot = f"{fetched.topic}/{fetched.partition}"
            self._highest[slot] = max(self._highest.get(slot, -1), fetched.last_offset)
        if monotonic() - self._noted_s >= NOTE_EVERY_S:
            await self.note()
        return True

    async def note(self) -> None:
        """Write the highest offsets seen; to be called when the worker stops, too."""
        async with self._control_point:
            stored = await self._store.control(self._group)
            if stored is not None and stored.epoch == self._control.epoch and self._highest:
                noted = replace(stored, highest=raised(stored.highest, self._highest))
                await self._store.put_control(self._group, noted, if_epoch=stored.epoch)
            self._noted_s = monotonic()
