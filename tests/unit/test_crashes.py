"""A record that crashes a worker is found, set aside by its place, and passed over; no other is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn

import pytest
from pydantic import ValidationError

from streams.base.errors import EncoderUnavailable, FatalError, PoisonError
from streams.broker.fetched_batch import FetchedBatch, GroupIdentity
from streams.events.dead_letters import OURS, DeadLetter, headers
from streams.events.spans import Found, Span
from streams.settings.service import WorkerSettings
from streams.store.crash_marks import CrashMark
from streams.worker.crashes import KEPT_PLACES, CrashBudgetSpent, Crashes, CrashSurroundings, without_set_aside
from streams.worker.turns import Turns
from tests.fixtures.crash_marks import MemoryCrashMarks
from tests.fixtures.records import click, record

Work = Callable[[Sequence[Any]], Awaitable[bool]]


class Died(BaseException):
    """Stands for the death of the process: nobody catches it."""


class FakeBatch:
    """Records of one partition of `clicks`, under one assignment."""

    def __init__(self, offsets: Sequence[int], identity: GroupIdentity, topic: str = "clicks") -> None:
        self.records = [record(click(), topic=topic, partition=0, offset=offset) for offset in offsets]
        self.identity = identity
        self.fetched = [
            FetchedBatch(
                topic=topic, partition=0, records=self.records, next_offset=offsets[-1] + 1,
                highwater=1_000, size_bytes=1, identity=identity,
            )
        ]  # fmt: skip

    def stale(self) -> bool:
        return False

    def beside(self, other: FakeBatch) -> FakeBatch:
        """Both as one batch, under one assignment."""
        self.records, self.fetched = [*self.records, *other.records], [*self.fetched, *other.fetched]
        return self


class Group:
    """A group whose workers come and go: what it committed, what was applied, what was set aside."""

    def __init__(self, *, budget: int = 20) -> None:
        self.marks, self.budget = MemoryCrashMarks(), budget
        self.committed: int | None = None
        self.members: set[str] = set()
        self.applied: list[int] = []
        self.letters: list[DeadLetter] = []
        self.well = True
        self.lives = 0

    async def _dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        self.letters += dead

    async def _members(self) -> frozenset[str]:
        return frozenset(self.members)

    async def _healthy(self) -> None:
        if not self.well:
            raise KeyError("a defect of ours")

    def worker(self) -> tuple[Crashes, GroupIdentity]:
        self.lives += 1
        name = f"worker-{self.lives}"
        self.members.add(name)
        around = CrashSurroundings(
            marks=self.marks, members=self._members, committed=lambda _: self.committed, dead_letter=self._dead_letter,
            healthy=self._healthy, count=lambda _: None, budget=self.budget,
        )  # fmt: skip
        return Crashes(around), GroupIdentity(generation=self.lives, leader_id=name, member_id=name, cluster_id=None)

    async def live(self, offsets: Sequence[int], work: Work, *, log: int = 1, orderly: bool = False) -> bool:
        """One worker's life over one batch; False where it died. A death takes its membership away."""
        crashes, identity = self.worker()
        batch: Any = FakeBatch(offsets, identity)
        try:
            await crashes.begin(batch, log)
            assert crashes.knows(batch)
            done = await crashes.through(batch, batch.records, work, once)
            if orderly:
                await crashes.stop()
        except Died:
            self.members.discard(identity.member_id)
            return False
        assert done
        self.committed = offsets[-1] + 1
        return True

    def kills(self, *bad: int) -> Work:
        return self._work(bad, Died)

    def raises(self, *bad: int, error: type[Exception] = KeyError) -> Work:
        return self._work(bad, error)

    def _work(self, bad: Sequence[int], error: type[BaseException]) -> Work:
        async def work(records: Sequence[Any]) -> bool:
            if any(one.offset in bad for one in records):
                raise error("alice")
            self.applied += [one.offset for one in records]
            return True

        return work


async def once(something: Callable[[], Awaitable[bool]]) -> bool:
    return await something()


# -- errors -----------------------------------------------------------------------------------------------------------


async def test_a_record_that_raises_alone_twice_is_dead_lettered_and_the_rest_applied_in_order() -> None:
    group = Group()
    assert await group.live(range(20), group.raises(7, 13))
    assert group.applied == [offset for offset in range(20) if offset not in (7, 13)]
    assert [(one.record.offset, one.stage, one.reason) for one in group.letters] == [
        (7, "crash", "raised"),
        (13, "crash", "raised"),
    ]
    assert group.letters[0].message == "KeyError: raised twice over this record alone"
    assert [one.offset for one in group.marks.marks["clicks/0"].aside] == [7, 13]


async def test_an_error_that_passes_sets_nothing_aside() -> None:
    group, tries = Group(), []

    async def work(records: Sequence[Any]) -> bool:
        tries.append(len(records))
        if len(tries) < 4:
            raise KeyError
        group.applied += [one.offset for one in records]
        return True

    assert await group.live(range(4), work)
    assert (group.applied, group.letters) == ([0, 1, 2, 3], [])
    assert tries == [4, 2, 1, 1, 1, 2]


async def test_poison_that_nobody_caught_is_a_crash_and_a_fatal_error_is_not() -> None:
    group = Group()

    async def poison(_: Sequence[Any]) -> NoReturn:
        raise PoisonError("x", reason="y")

    assert await group.live([3], poison)
    assert [one.record.offset for one in group.letters] == [3]
    with pytest.raises(FatalError):
        await group.live([4, 5], group.raises(4, error=FatalError))
    assert len(group.letters) == 1


async def test_where_a_plain_event_fails_as_well_nothing_is_set_aside() -> None:
    group = Group()
    group.well = False
    with pytest.raises(KeyError, match="alice"):
        await group.live(range(4), group.raises(*range(4)))
    assert group.letters == []


async def test_the_budget_ends_the_process_and_the_next_one_goes_on_behind_what_was_set_aside() -> None:
    group = Group(budget=3)
    bad = group.raises(*range(8))
    for lives in range(1, 3):
        with pytest.raises(CrashBudgetSpent, match="crash_budget"):
            await group.live(range(9), bad)
        assert [one.record.offset for one in group.letters] == list(range(3 * lives))
    assert await group.live(range(9), bad)
    assert [one.record.offset for one in group.letters] == list(range(8)), "each of them once"
    assert group.applied == [8]


@pytest.mark.parametrize("kills", [False, True])
async def test_an_assignment_that_begins_amid_it_ends_the_batch_and_sets_nothing_aside(kills: bool) -> None:
    group = Group()
    if kills:
        for _ in range(2):
            assert not await group.live(range(3), group.kills(0))
    crashes, identity = group.worker()
    batch: Any = FakeBatch(range(3), identity)
    await crashes.begin(batch, 1)
    _, following = group.worker()
    other: Any = FakeBatch(range(3), following, "comments")

    async def overtaken(records: Sequence[Any]) -> bool:
        await crashes.begin(other, 1)
        raise KeyError("alice")

    assert not await crashes.through(batch, batch.records, overtaken, once)
    assert not group.letters


async def test_what_was_set_aside_is_passed_over_where_a_batch_before_it_has_been_committed_meanwhile() -> None:
    group = Group(budget=1)
    bad = group.raises(12, 15)
    crashes, identity = group.worker()
    for offsets in (range(10), range(10, 20)):  # the first is committed, over the second the worker ends
        batch: Any = FakeBatch(offsets, identity)
        if not crashes.knows(batch):
            await crashes.begin(batch, 1)
        with pytest.raises(CrashBudgetSpent) if 12 in offsets else nullcontext():
            await crashes.through(batch, batch.records, bad, once)
    assert await group.live(range(10, 20), bad)
    assert [one.record.offset for one in group.letters] == [12, 15], "each of them once"


async def test_a_log_made_anew_passes_over_nothing() -> None:
    """Of topics that the service fills itself nobody notes which log it is; a start before the last one's shows it."""
    group = Group()
    assert await group.live(range(5, 10), group.raises(7))
    assert await group.live(range(10), group.kills())
    assert 7 in group.applied


async def test_a_record_that_crashes_its_dead_letter_as_well_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()
    sent = group.letters

    async def dead_letter(_: Group, dead: Sequence[DeadLetter]) -> None:
        if any(one.record.value for one in dead):
            raise AssertionError("alice")
        sent.extend(dead)

    monkeypatch.setattr(Group, "_dead_letter", dead_letter)
    assert await group.live(range(4), group.raises(2))
    assert [(one.record.topic, one.record.partition, one.record.offset) for one in sent] == [("clicks", 0, 2)]
    assert (sent[0].record.key, sent[0].record.value, sent[0].reason) == (None, None, "raised")
    assert {name for name, _ in headers(sent[0])} <= OURS
    assert group.applied == [0, 1, 3]


async def test_the_log_is_read_again_without_what_was_set_aside() -> None:
    """Else an erasure that reads younger events again meets the record that crashes, and is blamed for it."""
    group = Group()
    assert await group.live(range(10), group.raises(3, 7))
    there = [record(click(), topic=topic, partition=0, offset=n) for topic in ("clicks", "likes") for n in range(10)]

    async def read(*_: Any) -> Found:
        return Found(there, frozenset({("likes", 0)}))

    reading = without_set_aside(read, group.marks)
    found = await reading({("clicks", 0): Span(0, 9), ("likes", 0): Span(0, 9)}, lambda _: True)
    assert [one for one in there if one not in found.records] == [there[3], there[7]]
    assert found.short == {("likes", 0)}


# -- deaths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 5, 9])
async def test_a_record_that_kills_four_workers_does_not_kill_a_fifth(bad: int) -> None:
    group = Group()
    lives = [await group.live(range(10), group.kills(bad)) for _ in range(5)]
    assert lives == [False, False, False, False, True]
    assert [(one.record.offset, one.stage, one.reason) for one in group.letters] == [(bad, "crash", "killed")]
    assert sorted(set(group.applied)) == [offset for offset in range(10) if offset != bad]
    assert await group.live(range(10, 20), group.kills())
    assert group.marks.marks["clicks/0"].deaths == 0


async def test_two_records_that_kill_are_both_found_and_each_is_dead_lettered_once() -> None:
    group = Group()
    lives = 0
    while not await group.live(range(10), group.kills(2, 6)):
        lives += 1
        assert lives < 10
    assert [one.record.offset for one in group.letters] == [2, 6]


async def test_records_that_kill_in_two_partitions_are_found_by_workers_that_take_turns_with_them() -> None:
    group, bad = Group(), {("clicks", 2), ("comments", 0)}
    group.committed = 0

    async def work(records: Sequence[Any]) -> bool:
        if any((one.topic, one.offset) in bad for one in records):
            raise Died
        return True

    for deaths in range(12):  # asked for below
        crashes, identity = group.worker()
        batch: Any = FakeBatch(range(4), identity).beside(FakeBatch(range(4), identity, topic="comments"))
        if deaths % 3 == 1:  # this one was given only one of them
            batch = FakeBatch(range(4), identity, topic="comments")
        try:
            await crashes.begin(batch, 1)
            if await crashes.through(batch, batch.records, work, once) and len(batch.records) > 4:
                break
        except Died:
            group.members.discard(identity.member_id)
    places = {(one.record.topic, one.record.offset) for one in group.letters}
    assert places == bad
    assert len(group.letters) == 2
    assert deaths <= 10, "a record may end five workers"


async def test_deaths_without_a_guilty_record_set_nothing_aside() -> None:
    group, bad = Group(), [1, 4, 2, 8, 3, 7, 2, 5]
    for one in bad:  # killed from outside, each time over another record
        assert not await group.live(range(10), group.kills(one))
    assert await group.live(range(10), group.kills())
    assert group.letters == []
    assert sorted(set(group.applied)) == list(range(10))


def test_no_more_may_be_set_aside_than_a_mark_remembers() -> None:
    assert WorkerSettings(crash_budget=KEPT_PLACES).crash_budget == KEPT_PLACES
    with pytest.raises(ValidationError, match="crash_budget"):
        WorkerSettings(crash_budget=KEPT_PLACES + 1)


async def test_a_worker_that_ended_in_order_did_not_die() -> None:
    group = Group()
    for _ in range(5):
        assert await group.live(range(3), group.kills(), orderly=True)
        group.committed = None
    assert group.marks.marks["clicks/0"].deaths == 0


async def test_a_worker_that_only_lost_its_partitions_did_not_die() -> None:
    group = Group()
    for _ in range(6):
        crashes, identity = group.worker()  # all of them stay members
        batch: Any = FakeBatch(range(3), identity)
        await crashes.begin(batch, 1)
    assert group.marks.marks["clicks/0"].deaths == 0


async def test_a_worker_that_stops_leaves_the_marks_of_those_who_have_its_partitions_now() -> None:
    group = Group()
    early, identity = group.worker()
    batch: Any = FakeBatch(range(3), identity)
    await early.begin(batch, 1)
    assert await group.live(range(3), group.raises(1))
    heir = group.marks.marks["clicks/0"]
    await early.stop()
    assert group.marks.marks["clicks/0"] == heir
    assert [one.offset for one in heir.aside] == [1]


async def test_another_log_begins_without_blame() -> None:
    group = Group()
    for _ in range(4):
        assert not await group.live(range(10), group.kills(5))
    assert not await group.live(range(10), group.kills(5), log=2)
    assert group.letters == []
    assert group.marks.marks["clicks/0"].deaths == 0


async def test_what_waits_for_a_server_is_not_in_hand() -> None:
    group = Group()
    for _ in range(2):
        assert not await group.live([0, 1], group.kills(0))

    async def away(_: Sequence[Any]) -> NoReturn:
        raise EncoderUnavailable("away")

    async def until_killed(something: Callable[[], Awaitable[bool]]) -> bool:
        try:
            return await something()
        except EncoderUnavailable:
            raise Died from None

    for _ in range(4):
        crashes, identity = group.worker()
        batch: Any = FakeBatch([0, 1], identity)
        await crashes.begin(batch, 1)
        with pytest.raises(Died):
            await crashes.through(batch, batch.records, away, until_killed)
        group.members.discard(identity.member_id)
    assert group.letters == []
    assert group.marks.marks["clicks/0"].tries == 0


async def test_a_known_partition_costs_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()
    crashes, identity = group.worker()
    first: Any = FakeBatch([0], identity)
    await crashes.begin(first, 1)

    async def never(*_: Any) -> NoReturn:
        raise AssertionError("a call on the steady path")

    monkeypatch.setattr(group.marks, "read", never)
    monkeypatch.setattr(group.marks, "write", never)
    later: Any = FakeBatch([1, 2], identity)
    assert crashes.knows(later)
    assert await crashes.through(later, later.records, group.kills(), once)
    elsewhere: Any = FakeBatch([0], identity, topic="comments")
    assert not crashes.knows(elsewhere)


async def test_what_is_done_alone_has_nothing_beside_it() -> None:
    turns, beside, seen = Turns(), 0, []

    async def together() -> None:
        nonlocal beside
        async with turns.together():
            beside += 1
            await asyncio.sleep(0.01)
            beside -= 1

    async def alone() -> None:
        async with turns.alone():
            seen.append(beside)
            await asyncio.sleep(0.01)
            seen.append(beside)

    await asyncio.gather(*(job() for _ in range(5) for job in (together, alone, together)))
    assert seen == [0] * 10


def test_a_mark_holds_places_and_names_of_errors_alone() -> None:
    assert CrashMark("clicks", 3).slot == "clicks/3"
    assert {name for name in CrashMark.__struct_fields__ if name not in ("topic", "writer", "aside")} == {
        "partition", "log", "first", "deaths", "hand", "suspect", "tries", "total",
    }  # fmt: skip
