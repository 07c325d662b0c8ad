"""Batches that cannot be read, or unpack to too much: each is set aside by its place, and the next one is read."""

from __future__ import annotations

import struct
import time
import tracemalloc
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import encode_varint

from streams.broker import unpacked_size
from streams.broker.fetched_batch import GroupIdentity, split
from streams.broker.guarded_fetch import ReadableRecords
from streams.events.dead_letters import headers
from streams.events.event import UnreadBatch
from streams.events.parse import parse_events, parse_items
from tests.fixtures.batches import CODECS, batch, bomb, header_bomb, single_record
from tests.fixtures.records import NOW_MS

LIMIT = 4 << 20
PACKED = [codec for codec in CODECS if codec != "none"]
GOOD = [(b"u1", b"a"), (b"u2", b"b"), (b"u3", b"c")]
ENCODE = {"gzip": gzip_encode, "snappy": snappy_encode, "lz4": lz4_encode, "zstd": zstd_encode}


def read(fetched: bytes, start: int = 0, highwater: int | None = None, aborted: Any = None) -> tuple[list[Any], int]:
    """What a fetch of these bytes gives from an offset on, and the position after it."""
    given = PartitionRecords(
        TopicPartition("clicks", 3), MemoryRecords(b""), aborted, start, None, None, True, READ_COMMITTED
    )
    reader = ReadableRecords(given, fetched, LIMIT, highwater)
    return list(reader), reader.next_fetch_offset


def batches(middle: bytes) -> bytes:
    """A good batch at 0, the given one at 3, a good one at 6."""
    return batch(GOOD) + changed_base(middle, 3) + batch(GOOD, base_offset=6)


def changed_base(made: bytes, base: int) -> bytes:
    return struct.pack(">q", base) + made[8:]


UNREADABLE = {
    "wrong checksum": batch(GOOD, crc=1),
    "unknown codec": batch(GOOD, attributes=7),
    "fewer records than there are": batch(GOOD, count=1),
    "a count below zero": batch(GOOD, count=-1),
    "records of noise": batch(GOOD, body=b"\xff" * 40),
    "no records": batch(GOOD, body=b""),
    "a control batch of noise": batch(GOOD, attributes=0x30, producer_id=7, body=b"\xff" * 40),
    "snappy blocks that lead back": batch(
        GOOD, attributes=2, body=b"\x82SNAPPY\0" + b"\0\0\0\1" * 2 + struct.pack(">i", -4) * 8
    ),
    "snappy that claims 4 GiB": batch(GOOD, attributes=2, body=b"\xff\xff\xff\xff\x0fabc"),
    **{f"{codec} of noise": batch(GOOD, attributes=CODECS[codec], body=b"\x99" * 60) for codec in PACKED},
    **{f"{codec} of nothing": batch(GOOD, attributes=CODECS[codec], body=b"") for codec in PACKED},
    **{
        f"{codec} cut short": batch(GOOD, attributes=CODECS[codec], body=ENCODE[codec](b"x" * 999)[:-9])
        for codec in PACKED
    },
    "zstd without an end": batch(GOOD, attributes=4, body=zstd_encode(b"x" * 999)[:6]),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_batch_that_cannot_be_read_is_set_aside_by_its_place(name: str) -> None:
    records, position = read(batches(UNREADABLE[name]))
    unread = [record for record in records if isinstance(record, UnreadBatch)]
    assert len(unread) == 1
    assert unread[0].offset == 5
    assert 3 <= unread[0].first_offset <= 5
    assert (unread[0].topic, unread[0].partition) == ("clicks", 3)
    assert [record.offset for record in records[:3]] == [0, 1, 2]
    assert [record.offset for record in records[-3:]] == [6, 7, 8]
    assert position == 9


#: Contents of a record, from its key's length on, that do not fit its own length or are no text.
WRONG_CONTENTS = {
    "a header's name that is not UTF-8": b"\1\1\2\x02\xff\0",
    "a second header's name that is not UTF-8": b"\1\1\4\x02h\x01\x04\xc3\x28\0",
    "a header's name of less than nothing": b"\1\1\2\x01\0",
    "less than no headers": b"\1\1\1",
    "more headers than there are": b"\1\1\x14\x02h\x01",
    "fewer headers than there are": b"\1\1\0\x02h\x01",
    "a key that leads out": b"\x7fu1\1\0",
    "a value that leads out": b"\4u1\xfe\xff\x7f\0",
    "a value that leads out of everything": b"\1\xfe\xff\xff\xff\x0f\0",
    "a number without an end": b"\xff" * 12,
}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", WRONG_CONTENTS)
def test_of_a_batch_only_the_records_that_cannot_be_read_are_set_aside(name: str, codec: str) -> None:
    body = (
        single_record(0)
        + single_record(1, WRONG_CONTENTS[name])
        + single_record(2)
        + single_record(3, WRONG_CONTENTS[name])
        + single_record(4)
    )
    packed = ENCODE[codec](body) if codec in ENCODE else body
    made = batch(GOOD, attributes=CODECS[codec], body=packed, last_delta=4, count=5)
    records, position = read(batch(GOOD) + changed_base(made, 3) + batch(GOOD, base_offset=8))
    assert [record.offset for record in records] == list(range(11))
    assert position == 11
    unread = [record for record in records if isinstance(record, UnreadBatch)]
    assert [(one.first_offset, one.offset, one.reason) for one in unread] == [
        (4, 4, "record_unreadable"), (6, 6, "record_unreadable")
    ]  # fmt: skip
    assert [record.value for record in records[3:8:2]] == [b"v0", b"v2", b"v4"]
    begun, _ = read(changed_base(made, 3), start=5)
    assert [record.offset for record in begun] == [5, 6, 7]


def test_a_record_of_too_many_headers_is_not_made_behind_one_that_cannot_be_read() -> None:
    many = b"\1\1" + encode_varint_of(200_000) + b"\0\1" * 200_000
    long = b"\0\0\4" + many
    body = (
        single_record(0) + single_record(1, WRONG_CONTENTS["less than no headers"]) + encode_varint_of(len(long)) + long
    )
    records, position = read(batch(GOOD, attributes=4, body=zstd_encode(body)))
    assert [getattr(one, "reason", "") for one in records] == ["", "record_unreadable", "batch_too_large"]
    assert position == 3


@pytest.mark.parametrize("tail", [b"\0" + single_record(2), b"\xff" * 40, b"\x60\0\0\4", b"\2\0" + single_record(2)])
def test_where_a_record_s_length_is_wrong_the_rest_is_set_aside(tail: bytes) -> None:
    wrong = single_record(1, WRONG_CONTENTS["less than no headers"])
    records, position = read(batches(batch(GOOD, body=single_record(0) + wrong + tail)))
    assert [(type(one) is UnreadBatch, one.offset) for one in records[3:6]] == [(False, 3), (True, 4), (True, 5)]
    assert len(records) == 9
    assert position == 9


def test_many_records_that_cannot_be_read_cost_no_more_than_their_number() -> None:
    """Each is looked at once: with what is left read anew for each, 100,000 would be read five billion times."""
    count = 100_000
    lead = encode_varint_of(8)
    body = b"".join(
        lead + b"\0\0" + delta + b"\1\1\1" + b"\0" * (3 - len(delta)) for delta in map(encode_varint_of, range(count))
    )
    made = batch([], body=body, last_delta=count - 1, count=count)
    began = time.process_time()
    records, position = read(made)
    assert time.process_time() - began < 10
    assert {one.reason for one in records} == {"record_unreadable"}
    assert (len(records), position) == (count, count)


def encode_varint_of(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)


@pytest.mark.parametrize("codec", PACKED)
def test_a_batch_that_unpacks_to_too_much_is_not_unpacked(codec: str) -> None:
    fetched = batches(bomb(codec, 64 << 20, last_delta=2))
    tracemalloc.start()
    records, position = read(fetched)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (unread,) = [record for record in records if isinstance(record, UnreadBatch)]
    assert (unread.first_offset, unread.offset, unread.reason) == (3, 5, "batch_too_large")
    assert str(LIMIT) in unread.message
    assert len(records) == 7
    assert position == 9
    assert most < 2 * LIMIT + (8 << 20), f"{most >> 20} MiB"


@pytest.mark.parametrize("codec", PACKED)
def test_many_batches_that_each_unpack_to_less_than_the_limit_are_not_held_together(codec: str) -> None:
    packed = bomb(codec, LIMIT - 1_000)
    fetched = b"".join(changed_base(packed, base) for base in range(20))
    position, rounds = 0, 0
    while position < 20:
        tracemalloc.start()
        records, after = read(fetched, start=position)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert [record.offset for record in records] == list(range(position, after))
        assert most < 5 * LIMIT + len(fetched), f"{most >> 20} MiB"
        position, rounds = after, rounds + 1
    assert rounds == 10


@pytest.mark.parametrize("codec", PACKED)
def test_a_record_of_a_million_headers_is_not_made(codec: str) -> None:
    tracemalloc.start()
    records, position = read(batches(header_bomb(codec, 1 << 20)), start=3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(records[0], UnreadBatch)
    assert (records[0].first_offset, records[0].offset, records[0].reason) == (3, 3, "batch_too_large")
    assert [record.offset for record in records[1:]] == [6, 7, 8]
    assert position == 9
    assert most < 16 << 20, f"{most >> 20} MiB"


@pytest.mark.parametrize("codec", PACKED)
def test_an_honest_batch_of_several_megabytes_is_read_whole(codec: str) -> None:
    good = [(None if n % 5 == 0 else b"u%d" % n, None if n % 7 == 0 else b"v" * (n % 300)) for n in range(20_000)]
    records, position = read(batch(good, codec))
    assert [(record.key, record.value) for record in records] == good
    assert position == len(good)


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("size", [1, 3_000, LIMIT - 1, LIMIT, LIMIT + 1])
def test_the_limit_is_exact_and_no_honest_batch_meets_it(codec: str, size: int) -> None:
    for payload in (b"z" * size, bytes(range(256)) * (size // 256) + b"y" * (size % 256)):
        packed = ENCODE[codec](payload)
        assert unpacked_size.exceeds(CODECS[codec], packed, LIMIT) == (size > LIMIT)


def test_many_small_blocks_are_counted_and_not_taken_for_large_ones() -> None:
    """A producer that flushes after each record makes a block of each; a block may hold 128 KiB, but these do not."""
    compressor = cramjam.zstd.Compressor()
    for _ in range(100):
        compressor.compress(b"abcdefgh" * 8)
        compressor.flush()
    packed = bytes(compressor.finish())
    assert not unpacked_size.exceeds(4, packed, LIMIT)
    frames = zstd_encode(b"x" * 1_000) * 100
    assert not unpacked_size.exceeds(4, frames, LIMIT)
    assert unpacked_size.exceeds(4, zstd_encode(b"x" * 100_000) * 100, LIMIT)
    assert unpacked_size.exceeds(1, gzip_encode(b"x" * 100_000) * 100, LIMIT)
    assert unpacked_size.exceeds(3, lz4_encode(b"x" * 100_000) * 200, LIMIT)


@pytest.mark.parametrize("codec", CODECS)
def test_an_honest_batch_is_read_as_before(codec: str) -> None:
    records, position = read(batch(GOOD, codec) + batch(GOOD, codec, base_offset=3))
    assert [(record.offset, record.key, record.value) for record in records] == [
        (n, *GOOD[n % 3]) for n in range(6)
    ]  # fmt: skip
    assert position == 6


@pytest.mark.parametrize("count", [4, 2**31 - 1])
def test_a_count_of_more_records_than_there_are_loses_none(count: int) -> None:
    records, position = read(batches(batch(GOOD, count=count)))
    assert [record.offset for record in records] == list(range(9))
    assert position == 9


def test_reading_begins_within_a_batch() -> None:
    records, position = read(batch(GOOD, "zstd"), start=2)
    assert [record.offset for record in records] == [2]
    assert position == 3
    (unread,), position = read(batch(GOOD, attributes=7), start=2)
    assert (unread.first_offset, unread.offset, position) == (0, 2, 3)


def test_what_the_broker_cut_is_fetched_again() -> None:
    records, position = read(batch(GOOD) + batch(GOOD, base_offset=3)[:-5])
    assert [record.offset for record in records] == [0, 1, 2]
    assert position == 3


def test_an_empty_batch_and_one_of_a_transaction_are_passed_over() -> None:
    aborted = batch(GOOD, "zstd", attributes=0x14, producer_id=9)
    bad_and_aborted = changed_base(bomb("zstd", 64 << 20, attributes=0x14, producer_id=9, last_delta=2), 3)
    records, position = read(aborted + bad_and_aborted + batch([], base_offset=6, last_delta=0), aborted=[(9, 0)])
    assert records == []
    assert position == 7


@pytest.mark.parametrize(("last_delta", "count"), [(2**31 - 1, 3), (-5, 3)])
def test_a_position_never_leaves_the_log_or_stands_still(last_delta: int, count: int) -> None:
    """Past the end the broker would have the whole log read again; at a standstill the same batch would come again."""
    _, position = read(batch(GOOD, last_delta=last_delta, count=count), highwater=3)
    assert 0 < position <= 3


@pytest.mark.parametrize(
    "fetched", [b"\0" * 40, struct.pack(">qi", 0, -1) + b"\0" * 40, struct.pack(">qi", 0, 3) + b"\0" * 40]
)
def test_bytes_that_frame_nothing_move_the_position(fetched: bytes) -> None:
    (unread,), position = read(fetched, start=7)
    assert (unread.offset, position) == (7, 8)


@pytest.mark.parametrize(("version", "codec"), [(0, "gzip"), (0, "snappy"), (1, "gzip"), (1, "snappy"), (1, "lz4")])
def test_old_versions_are_held_to_the_same(version: int, codec: str) -> None:
    def packed(value: bytes) -> bytes:
        builder = LegacyRecordBatchBuilder(version, CODECS[codec], 1 << 30)
        for offset in range(3):
            builder.append(offset, timestamp=5, key=b"u", value=value)
        return changed_base(bytes(builder.build()), 2)  # the broker puts the last record's offset on the whole

    records, position = read(packed(b"small"))
    assert [record.value for record in records] == [b"small"] * 3
    assert position == 3
    (unread,), _ = read(packed(bytes(3 << 20)))
    assert unread.reason == "batch_too_large"


def test_a_batch_set_aside_becomes_a_dead_letter_on_every_topic() -> None:
    unread = UnreadBatch(
        topic="items", partition=3, first_offset=4, offset=9, reason="batch_too_large", message="it unpacks to too much"
    )
    for dead in (parse_events([unread], now_ms=NOW_MS).dead, parse_items([unread], now_ms=NOW_MS).dead):
        (letter,) = dead
        about = dict(headers(letter))
        assert about["dead-letter-stage"] == b"fetch"
        assert about["dead-letter-error"] == b"batch_too_large"
        assert (about["dead-letter-first-offset"], about["dead-letter-offset"]) == (b"4", b"9")


def test_a_batch_set_aside_is_cut_and_acknowledged_like_a_record() -> None:
    records, position = read(batches(bomb("zstd", 64 << 20, last_delta=2)))
    identity = GroupIdentity(generation=1, leader_id="", member_id="", cluster_id=None)
    cut = list(split(records, next_offset=position, highwater=9, identity=identity, max_records=2, max_bytes=1 << 20))
    assert cut[-1].next_offset == 9
    assert sum(map(len, cut)) == 7
