"""Epochs: which incarnation of broker, topics and group a worker writes under."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from streams.base.errors import BrokerUnavailable, Fenced
from streams.broker.batches import Batch
from streams.broker.fetched_batch import FetchedBatch, GroupIdentity
from streams.settings.policies import NodeSettings
from streams.store.base import Control, Fence
from streams.store.memory import MemoryStore
from streams.worker.epochs import GroupView, judge, raised
from streams.worker.ownership import Owner, Ownership

PARTITIONS = {"clicks": 2, "comments": 2}
STORED = Control(
    epoch=3,
    log=2,
    generation=7,
    leader="leader-7",
    cluster="cluster-a",
    partitions=PARTITIONS,
    highest={"clicks/0": 99},
)
SEEN = GroupView(
    generation=7, leader="leader-7", cluster="cluster-a", partitions=PARTITIONS, highwater={"clicks/0": 100}
)


@dataclass(slots=True)
class Rec:
    topic: str
    partition: int
    offset: int


def member(generation: int, leader: str, member_id: str, cluster: str | None) -> GroupIdentity:
    return GroupIdentity(generation=generation, leader_id=leader, member_id=member_id, cluster_id=cluster)


def batch(owner: GroupIdentity, first: int = 0, last: int = 9, highwater: int = 10, topic: str = "clicks") -> Batch:
    records = [Rec(topic, 0, offset) for offset in range(first, last + 1)]
    fetched = FetchedBatch(
        topic=topic,
        partition=0,
        records=records,  # type: ignore[arg-type]  # as much of a record as is used
        next_offset=last + 1,
        highwater=highwater,
        size_bytes=1,
        identity=owner,
    )
    batch = Batch(SimpleNamespace(identity=owner), owner)  # type: ignore[arg-type]  # as much of an app as is used
    batch.add(SimpleNamespace(value=fetched))
    return batch


def test_the_first_worker_begins_with_one() -> None:
    control, reason = judge(None, SEEN)
    assert (control.epoch, control.log, reason) == (1, 1, "")
    assert control.partitions == PARTITIONS


@pytest.mark.parametrize(
    ("seen", "epoch", "log"),
    [
        (SEEN, 3, 2),
        (replace(SEEN, generation=8, leader="leader-8"), 3, 2),
        (replace(SEEN, highwater={"comments/1": 0}), 3, 2),
        (replace(SEEN, partitions={"clicks": 2, "new": 5}), 3, 2),
        (replace(SEEN, cluster=""), 3, 2),
        (replace(SEEN, generation=6), 4, 2),
        (replace(SEEN, leader="another"), 4, 2),
        (replace(SEEN, cluster="cluster-b", generation=8), 4, 3),
        (replace(SEEN, partitions={"clicks": 3}), 4, 3),
        (replace(SEEN, highwater={"clicks/0": 99}), 4, 3),
    ],
)
def test_what_goes_backwards_is_a_new_incarnation(seen: GroupView, epoch: int, log: int) -> None:
    control, reason = judge(STORED, seen)
    assert (control.epoch, control.log) == (epoch, log)
    assert bool(reason) == (epoch > 3)
    assert control.generation == seen.generation
    if log == 2:
        assert control.highest == STORED.highest
    else:
        assert control.highest == {}
    again, reason = judge(control, replace(seen, highwater={slot: end + 500 for slot, end in seen.highwater.items()}))
    assert (again.epoch, again.log, reason) == (epoch, log, "")


def test_offsets_only_rise() -> None:
    assert raised({"a": 5, "b": 1}, {"a": 3, "c": 7}) == {"a": 5, "b": 1, "c": 7}


class Part:
    """One worker's ownership, the answer its broker gives, and the changes it heard of."""

    def __init__(self, store: MemoryStore, *, valid: bool = True) -> None:
        self.changes: list[Owner] = []
        self.refused: list[str] = []
        self.confirmed = 0
        self.valid = valid
        self.ownership = Ownership(
            store=store, group="g", partitions=PARTITIONS, confirm=self._confirm, on_change=self.changes.append,
            refused=self.refused.append,
        )  # fmt: skip

    async def _confirm(self, identity: GroupIdentity) -> bool:
        self.confirmed += 1
        return self.valid


async def test_one_generation_is_settled_once_and_the_next_under_the_same_epoch() -> None:
    store = MemoryStore(NodeSettings().policy())
    part = Part(store)
    first = member(1, "leader", "me", "cluster")
    assert await part.ownership.enter(batch(first)) == Owner(Fence(1, 1), 1)
    assert await part.ownership.enter(batch(first, 10, 19, 20)) == Owner(Fence(1, 1), 1)
    assert await part.ownership.enter(batch(first, topic="comments")) == Owner(Fence(1, 1), 1)
    second = member(2, "leader", "me", "cluster")
    assert await part.ownership.enter(batch(second)) == Owner(Fence(1, 2), 1)
    assert part.changes == [Owner(Fence(1, 1), 1), Owner(Fence(1, 2), 1)]
    assert part.confirmed == 0


async def test_a_broker_made_anew_gives_a_new_epoch_and_log() -> None:
    store = MemoryStore(NodeSettings().policy())
    old = Part(store)
    before = batch(member(1, "leader-1", "me-1", "cluster-1"))
    mine = await old.ownership.enter(before)
    assert mine is not None
    assert await old.ownership.verify(before, mine)
    new = Part(store)
    assert await new.ownership.enter(batch(member(1, "leader-2", "me-2", "cluster-2"))) == Owner(Fence(2, 1), 2)
    assert new.confirmed == 1
    assert old.refused == []
    with pytest.raises(Fenced):
        await old.ownership.verify(before, mine)
    assert (old.refused, new.refused) == (["epoch"], [])


async def test_what_a_worker_did_under_an_ended_generation_is_not_announced() -> None:
    store = MemoryStore(NodeSettings().policy())
    frozen, heir = Part(store), Part(store)
    before = batch(member(1, "leader", "me", "cluster"))
    mine = await frozen.ownership.enter(before)
    assert mine is not None
    assert await frozen.ownership.verify(before, mine)
    after = batch(member(2, "leader", "other", "cluster"))
    its = await heir.ownership.enter(after)
    assert its is not None
    assert frozen.refused == []
    assert not await frozen.ownership.verify(before, mine)
    assert await heir.ownership.verify(after, its)
    assert (frozen.refused, heir.refused) == (["generation"], [])


async def test_a_topic_made_anew_is_seen_by_its_end() -> None:
    store = MemoryStore(NodeSettings().policy())
    part = Part(store)
    before = batch(member(1, "leader", "me", None), 0, 99, 100)
    owner = await part.ownership.enter(before)
    assert owner is not None
    assert await part.ownership.verify(before, owner)
    after = batch(member(2, "leader", "me", None), 0, 9, 10)
    assert await part.ownership.enter(after) == Owner(Fence(2, 2), 2)


async def test_a_topic_the_service_fills_itself_is_fenced_but_says_nothing_of_the_log() -> None:
    store = MemoryStore(NodeSettings().policy())
    part = Part(store)
    identity = member(1, "leader", "me", None)
    full = batch(identity, 0, 99, 100, topic="items.popularity")
    owner = Owner(Fence(1, 1), 1)
    assert await part.ownership.enter(full) == owner
    assert await part.ownership.verify(full, owner)
    await part.ownership.note()
    anew = batch(
        member(2, "leader", "me", None),
        0,
        3,
        4,
        topic="items.popularity",
    )
    assert await part.ownership.enter(anew) == Owner(Fence(1, 2), 1)
    stored = await store.control("g")
    assert stored is not None
    assert stored.highest == {}


async def test_a_worker_that_missed_a_rebalance_never_starts_an_epoch() -> None:
    store = MemoryStore(NodeSettings().policy())
    await Part(store).ownership.enter(batch(member(6, "leader-6", "other", "c")))
    zombie = Part(store, valid=False)
    assert await zombie.ownership.enter(batch(member(5, "leader-5", "me", "c"))) is None
    assert zombie.confirmed == 1
    stored = await store.control("g")
    assert stored is not None
    assert (stored.epoch, stored.generation) == (1, 6)


async def test_workers_that_see_the_same_new_cluster_agree_on_one_epoch() -> None:
    store = MemoryStore(NodeSettings().policy())
    await Part(store).ownership.enter(batch(member(9, "old", "me", "cluster-1")))
    owners = [await Part(store).ownership.enter(batch(member(1, "leader", name, "cluster-2"))) for name in "abc"]
    assert set(owners) == {Owner(Fence(2, 1), 2)}


def test_the_fence_is_exact_where_qdrant_compares_doubles() -> None:
    fences = [Fence(e, g).number for e in (1, 2, 2**20) for g in (0, 1, 2**31 - 1)]
    assert fences == sorted(set(fences))
    assert all(int(float(number)) == number for number in fences)


class Slow(MemoryStore):
    """A store that has kept a control point before it says so."""

    def __init__(self) -> None:
        super().__init__(NodeSettings().policy())
        self.says_so = asyncio.Event()
        self.says_so.set()

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        kept = await super().put_control(group, control, if_epoch=if_epoch)
        await self.says_so.wait()
        return kept


async def test_an_epoch_that_the_next_batch_is_raising_fences_nobody() -> None:
    store = Slow()
    part, me = Part(store), member(1, "leader", "me", "cluster-a")
    await store.put_control("g", replace(STORED, generation=1, leader="leader", highest={"comments/0": 9}), if_epoch=0)
    assert await part.ownership.enter(batch(me)) == Owner(Fence(3, 1), 2)
    store.says_so.clear()
    raising = asyncio.create_task(part.ownership.enter(batch(me, highwater=5, topic="comments")))
    while (await store.control("g")).epoch == 3:  # type: ignore[union-attr]  # it is there
        await asyncio.sleep(0)
    verifying = asyncio.create_task(part.ownership.verify(batch(me), Owner(Fence(3, 1), 2)))
    await asyncio.sleep(0)
    store.says_so.set()
    with pytest.raises(BrokerUnavailable, match="again"):
        await verifying
    assert await raising == Owner(Fence(4, 1), 3)
    assert await part.ownership.verify(batch(me), Owner(Fence(4, 1), 3))


async def test_what_was_written_under_an_epoch_that_ended_meanwhile_is_folded_again_and_not_noted() -> None:
    store = MemoryStore(NodeSettings().policy())
    part, me = Part(store), member(1, "leader", "me", "cluster-a")
    await store.put_control("g", replace(STORED, generation=1, leader="leader", highest={"comments/0": 9}), if_epoch=0)
    before = batch(me, 0, 99, 100)
    owner = await part.ownership.enter(before)
    assert owner == Owner(Fence(3, 1), 2)
    assert await part.ownership.enter(batch(me, highwater=5, topic="comments")) == Owner(Fence(4, 1), 3)
    with pytest.raises(BrokerUnavailable, match="again"):
        await part.ownership.verify(before, owner)
    await part.ownership.note()
    stored = await store.control("g")
    assert stored is not None
    assert not stored.highest


class Crossed(MemoryStore):
    """A store in which the next generation begins between a read of the control point and the write that follows."""

    def __init__(self) -> None:
        super().__init__(NodeSettings().policy())
        self.next: Control | None = None

    async def put_control(self, group: str, control: Control, *, if_epoch: int) -> Control:
        if self.next is not None:
            begun, self.next = self.next, None
            await super().put_control(group, begun, if_epoch=begun.epoch)
        return await super().put_control(group, control, if_epoch=if_epoch)


async def test_an_ended_generation_does_not_note_over_the_next_and_announces_nothing() -> None:
    store = Crossed()
    part, mine = Part(store), batch(member(1, "leader", "me", "cluster-a"))
    owner = await part.ownership.enter(mine)
    assert owner is not None
    begun = await store.control("g")
    assert begun is not None
    store.next = replace(begun, generation=2, leader="other")
    assert await part.ownership.verify(mine, owner), "it began only while this one noted"
    assert (await store.control("g")) == replace(begun, generation=2, leader="other")
    assert not await part.ownership.verify(mine, owner)


async def test_a_generation_that_ends_while_it_enters_settles_nothing() -> None:
    store = Crossed()
    part = Part(store)
    assert await part.ownership.enter(batch(member(1, "leader", "me", "cluster-a"))) is not None
    begun = await store.control("g")
    assert begun is not None
    part.valid = False
    store.next = replace(begun, generation=3, leader="other")
    assert await part.ownership.enter(batch(member(2, "leader", "me", "cluster-a"))) is None
    assert (await store.control("g")) == replace(begun, generation=3, leader="other")


async def test_a_new_partition_joins_under_the_epoch_that_holds_and_needs_no_more() -> None:
    store = MemoryStore(NodeSettings().policy())
    part, me = Part(store), member(1, "leader", "me", "cluster-a")
    assert not await part.ownership.joins(batch(me)), "nothing holds yet"
    owner = await part.ownership.enter(batch(me))
    assert await part.ownership.joins(batch(me, topic="comments"))
    stored = await store.control("g")
    assert await part.ownership.enter(batch(me, topic="comments")) == owner
    assert await store.control("g") == stored
    assert part.changes == [owner]


async def test_what_may_begin_another_epoch_does_not_join_and_changes_nothing() -> None:
    store = MemoryStore(NodeSettings().policy())
    part, me = Part(store), member(1, "leader", "me", "cluster-a")
    known = replace(STORED, generation=1, leader="leader", highest={"comments/0": 9})
    await store.put_control("g", known, if_epoch=0)
    owner = await part.ownership.enter(batch(me))
    stored = await store.control("g")
    assert not await part.ownership.joins(batch(me, highwater=5, topic="comments")), "its log ends before 9"
    assert not await part.ownership.joins(batch(member(2, "leader", "me", "cluster-a"))), "another assignment"
    assert await store.control("g") == stored
    assert stored is not None
    await store.put_control("g", replace(stored, epoch=stored.epoch + 1), if_epoch=stored.epoch)
    assert not await part.ownership.joins(batch(me, topic="comments")), "another epoch has begun"
    assert part.changes == [owner]


async def test_a_partition_does_not_join_where_the_next_generation_begins_amid_it() -> None:
    store = Crossed()
    part, me = Part(store), member(1, "leader", "me", "cluster-a")
    await part.ownership.enter(batch(me))
    begun = await store.control("g")
    assert begun is not None
    store.next = replace(begun, generation=2, leader="other")
    assert not await part.ownership.joins(batch(me, topic="comments"))
    assert (await store.control("g")) == replace(begun, generation=2, leader="other")
