"""Batches and the ledger: cut without loss, acknowledged without ever passing a hole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.broker.fetched_batch import (
    RECORD_OVERHEAD_BYTES,
    AckLedger,
    Fetched,
    FetchedBatch,
    GroupIdentity,
    Partition,
    interleave,
    split,
)
from streams.broker.transport import BatchConsumer, LogBeganAnew

IDENTITY = GroupIdentity(generation=3, leader_id="leader", member_id="member", cluster_id="cluster")


@dataclass(frozen=True)
class Line:
    """A record with the fields the broker package reads."""

    offset: int
    value: bytes | None = b"value"
    key: bytes | None = b"key"
    topic: str = "clicks"
    partition: int = 0
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def serialized_key_size(self) -> int:
        return -1 if self.key is None else len(self.key)

    @property
    def serialized_value_size(self) -> int:
        return -1 if self.value is None else len(self.value)


def batch(*offsets: int, partition: int = 0) -> FetchedBatch:
    lines = [Line(offset, partition=partition) for offset in offsets]
    return FetchedBatch(
        topic="clicks",
        partition=partition,
        records=lines,
        next_offset=offsets[-1] + 1,
        highwater=offsets[-1] + 5,
        size_bytes=100,
        identity=IDENTITY,
    )


offsets_with_gaps = st.lists(st.integers(1, 5), min_size=1, max_size=60).map(
    lambda steps: [sum(steps[: end + 1]) for end in range(len(steps))]
)


@given(offsets_with_gaps, st.integers(1, 10), st.integers(1, 600), st.integers(0, 9), st.data())
def test_split_keeps_every_record_in_order_and_within_bounds(
    offsets: list[int], max_records: int, max_bytes: int, tail: int, data: st.DataObject
) -> None:
    lines = [Line(offset, b"x" * data.draw(st.integers(0, 200))) for offset in offsets]
    pieces = list(
        split(
            lines,
            next_offset=offsets[-1] + 1 + tail,
            highwater=999,
            identity=IDENTITY,
            max_records=max_records,
            max_bytes=max_bytes,
        )
    )
    assert [line for piece in pieces for line in piece.records] == lines
    for piece in pieces:
        assert len(piece) <= max_records
        assert piece.size_bytes <= max_bytes or len(piece) == 1
        assert piece.size_bytes == sum(RECORD_OVERHEAD_BYTES + 3 + len(line.value or b"") for line in piece.records)
        assert piece.highwater == 999
    assert [piece.next_offset for piece in pieces[:-1]] == [piece.last_offset + 1 for piece in pieces[:-1]]
    assert pieces[-1].next_offset == offsets[-1] + 1 + tail


def test_headers_count_as_much_as_bodies() -> None:
    many = tuple((f"h{n}", None) for n in range(100_000))
    lines: Any = [Line(0, b"x"), Line(1, b"x", headers=(("é", b"y" * 10_000_000),)), Line(2, headers=many), Line(3)]
    first, *rest = split(
        lines, next_offset=4, highwater=4, identity=IDENTITY, max_records=4_000, max_bytes=1 << 20
    )  # fmt: skip
    assert [piece.first_offset for piece in (first, *rest)] == [0, 1, 2, 3], "each of the large ones is alone"
    assert rest[0].size_bytes == RECORD_OVERHEAD_BYTES + 3 + 1 + 2 + 10_000_000 + 8
    assert rest[1].size_bytes > 1_200_000
    assert lines[1].headers[0][0] == "é"


def test_a_batch_knows_its_place() -> None:
    one = batch(10, 11, 14, partition=2)
    assert one.source == Partition("clicks", 2)
    assert (one.first_offset, one.last_offset, one.next_offset) == (10, 14, 15)
    assert (one.generation, one.highwater, len(one)) == (3, 19, 3)


def test_batches_and_identities_are_equal_only_to_themselves() -> None:
    assert batch(1) != batch(1)
    assert GroupIdentity(generation=1, leader_id="a", member_id="b", cluster_id=None) != GroupIdentity(
        generation=1, leader_id="a", member_id="b", cluster_id=None
    )


@pytest.mark.parametrize(
    ("offset", "left"), [(0, [5, 6, 9]), (5, [5, 6, 9]), (6, [6, 9]), (7, [9]), (9, [9]), (10, None)]
)
def test_since_drops_what_lies_below(offset: int, left: list[int] | None) -> None:
    kept = batch(5, 6, 9).since(offset)
    assert (kept and [record.offset for record in kept.records]) == left
    assert kept is None or kept.next_offset == 10


def test_interleave_takes_partitions_in_turn() -> None:
    first, second, third = [batch(1), batch(2), batch(3)], [batch(4)], [batch(5), batch(6)]
    order = [one.first_offset for one in interleave([first, second, third])]
    assert order == [1, 4, 5, 2, 6, 3]


def test_nothing_is_committable_before_the_first_acknowledgement() -> None:
    ledger = AckLedger()
    ledger.enter(batch(0, 1))
    assert ledger.committable(Partition("clicks", 0)) is None
    assert ledger.sources() == []
    assert ledger.outstanding() == 1


def test_a_position_that_moved_without_a_record_is_committable_once_nothing_is_out() -> None:
    ledger, source = AckLedger(), Partition("clicks", 0)
    assert ledger.begun(source) == 0
    assert ledger.passed(source, 4)
    assert (ledger.committable(source), ledger.begun(source)) == (4, 4)
    assert not ledger.passed(source, 4), "standing still is no progress"
    one = batch(5, 6)
    ledger.enter(one)
    assert not ledger.passed(source, 9), "a batch is out"
    assert ledger.committable(source) == 4
    ledger.ack(one)
    assert ledger.committable(source) == 7
    assert not ledger.passed(source, 6), "never back"
    assert ledger.passed(source, 9)
    assert ledger.committable(source) == 9
    assert not ledger.passed(Partition("clicks", 1), 0), "an empty partition has nothing to commit"
    ledger.clear()
    assert (ledger.committable(source), ledger.begun(source)) == (None, 0)


def test_acknowledging_out_of_order_waits_for_the_hole() -> None:
    """Faust's own bookkeeping fails this: it commits one past a record still in flight."""
    ledger = AckLedger()
    batches = [batch(0, 1), batch(2, 3), batch(4, 5)]
    for one in batches:
        ledger.enter(one)
    source = batches[0].source
    assert ledger.ack(batches[2])
    assert ledger.ack(batches[1])
    assert ledger.committable(source) is None
    assert ledger.ack(batches[0])
    assert ledger.committable(source) == 6
    assert ledger.outstanding() == 0


def test_a_stranger_and_a_second_acknowledgement_count_for_nothing() -> None:
    ledger = AckLedger()
    one, other = batch(0, 1), batch(2, 3)
    ledger.enter(one)
    ledger.enter(other)
    assert not ledger.ack(replace(one))
    assert ledger.ack(other)
    assert not ledger.ack(other)
    assert ledger.committable(one.source) is None
    ledger.clear()
    assert not ledger.ack(one)
    assert ledger.committable(one.source) is None


def test_reading_again_never_lowers_the_commit() -> None:
    ledger = AckLedger()
    late, again = batch(100, 101), batch(5, 6)
    for one in (late, again):
        ledger.enter(one)
        ledger.ack(one)
    assert ledger.committable(late.source) == 102


@given(st.permutations(range(8)), st.integers(0, 8))
def test_the_commit_is_the_end_of_the_acknowledged_prefix(order: list[int], count: int) -> None:
    ledger = AckLedger()
    batches = [batch(10 * n, 10 * n + 3) for n in range(8)]
    for one in batches:
        ledger.enter(one)
    acked = set(order[:count])
    for number in order[:count]:
        assert ledger.ack(batches[number])
    prefix = next((n for n in range(8) if n not in acked), 8)
    expected = 10 * (prefix - 1) + 4 if prefix else None
    assert ledger.committable(batches[0].source) == expected
    assert ledger.outstanding() == 8 - prefix


def test_partitions_do_not_wait_for_each_other() -> None:
    ledger = AckLedger()
    held, done = batch(0, partition=0), batch(7, partition=1)
    ledger.enter(held)
    ledger.enter(done)
    assert ledger.ack(done)
    assert ledger.committable(done.source) == 8
    assert ledger.committable(held.source) is None


def test_a_log_that_begins_anew_is_forgotten_unless_its_records_are_at_work() -> None:
    ledger, source = AckLedger(), Partition("clicks", 0)
    ledger.passed(source, 100)
    assert ledger.began_anew(source, 5)
    assert (ledger.committable(source), ledger.begun(source)) == (None, 5)
    one = batch(5, 6)
    ledger.enter(one)
    ledger.ack(one)
    assert ledger.committable(source) == 7
    assert not ledger.began_anew(source, 0), "what was handed out is of the old log"
    ledger.clear()
    assert ledger.began_anew(source, 0)


@pytest.mark.parametrize("handed_out", [False, True])
def test_a_position_that_goes_back_is_a_new_log_and_a_worker_that_has_begun_fails(handed_out: bool) -> None:
    consumer: Any = BatchConsumer.__new__(BatchConsumer)
    consumer._thread = SimpleNamespace(identity=IDENTITY, failure=lambda: None)
    consumer.ledger, consumer._log_began_anew = AckLedger(), None
    source, other = TP("clicks", 0), TP("clicks", 1)
    consumer._read_offset, consumer._committed_offset = {source: 100, other: None}, {source: 100, other: None}
    if handed_out:
        consumer.ledger.enter(batch(98, 99))
    onward = Fetched({}, {Partition("clicks", 0): 100, Partition("clicks", 1): 0}, IDENTITY)
    assert consumer._same_logs(onward)
    assert consumer._same_logs(onward._replace(positions={Partition("clicks", 0): 3}, identity=None)), "not ours"
    assert consumer._same_logs(onward._replace(positions={Partition("clicks", 0): 3})) is not handed_out
    assert consumer._read_offset == {source: 100 if handed_out else None, other: None}
    assert isinstance(consumer.failure(), LogBeganAnew) is handed_out
