"""The records of a batch, each as a batch of its own, for batches of which one record cannot be read. Pure.

A record begins with its length and its offset, so that one whose contents cannot be read is known by its place. Of
version 2, the only one whose records have headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.record.util import decode_varint_py as decode_varint  # the one that looks where its bytes end

_ATTRIBUTES_AT: Final = 21
_COUNT_AT: Final = 57
_RECORDS_AT: Final = 61
_NO_CODEC: Final = ~0b111
_ONE: Final = struct.pack(">i", 1)
_UNPACK: Final[dict[int, Callable[[bytes], bytes]]] = {
    1: gzip_decode, 2: snappy_decode, 3: lz4_decode, 4: zstd_decode,
}  # fmt: skip


def count(batch: bytes) -> int:
    """How many records a batch says that it has."""
    return int(struct.unpack_from(">i", batch, _COUNT_AT)[0])


def of(batch: bytes, codec: int, skipped: int) -> Iterator[tuple[int, int, bytes]]:
    """Offset, number of headers, and a batch of one, of each record behind the first `skipped`; none has been made.

    Linear in what the batch unpacks to, and in memory besides: whoever asks has bounded it. ValueError, or what
    decoding raises, where lengths lead out of the batch or leave something over.
    """
    records = batch[_RECORDS_AT:]
    if codec:
        records = bytes(_UNPACK[codec](records))
    base, attributes = struct.unpack_from(">q", batch)[0], struct.unpack_from(">h", batch, _ATTRIBUTES_AT)[0]
    head = (
        batch[:_ATTRIBUTES_AT]
        + struct.pack(">h", attributes & _NO_CODEC)
        + batch[_ATTRIBUTES_AT + 2 : _COUNT_AT]
        + _ONE
    )
    at = 0
    for number in range(count(batch)):
        length, begins = decode_varint(records, at)
        ends = begins + length
        if length <= 0 or ends > len(records):
            raise ValueError(f"a record of {length} bytes, {len(records) - begins} are left")
        if number >= skipped:
            alone = records[at:ends]
            delta, headers = _fields(alone, begins - at)
            yield base + delta, headers, head + alone
        at = ends
    if at < len(records):
        raise ValueError(f"{len(records) - at} bytes behind the last record")


def _fields(record: bytes, at: int) -> tuple[int, int]:
    """A record's third field, the offset's delta, and how many headers it says it has; 0 where its lengths lead out."""
    _, at = decode_varint(record, at + 1)
    delta, at = decode_varint(record, at)
    try:
        for _ in range(2):  # key and value
            size, at = decode_varint(record, at)
            at += max(0, size)
        return int(delta), int(decode_varint(record, at)[0])
    except (IndexError, ValueError):
        return int(delta), 0
