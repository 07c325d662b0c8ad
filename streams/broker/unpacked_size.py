"""How large a compressed batch becomes, found out without unpacking it, or at the price of a bounded buffer. Pure.

Headers may lie or be silent: zstd and lz4 frames need not say their size, gzip says it modulo 2³². So what is read
here are bounds that a decoder cannot exceed: the blocks of zstd and snappy, the best ratio of gzip and lz4. Only where
such a bound is above the limit is the batch unpacked for counting, into a buffer that ends at the limit.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import cramjam
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4

_GZIP_RATIO: Final = 1_032  # the best that deflate can do
_LZ4_RATIO: Final = 255
_ZSTD_BLOCK_BYTES: Final = 128 << 10  # what one block holds at most (RFC 8878, 3.1.1.2.4)
_REPEATED, _COMPRESSED, _RESERVED = 1, 2, 3  # kinds of blocks; 0 is raw
_ZSTD_MAGIC: Final = 0xFD2FB528
_SKIPPABLE: Final = 0x184D2A5
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_CHUNK: Final = 1 << 20


def exceeds(codec: int, packed: bytes, limit: int) -> bool:
    """Whether unpacking `packed` gives more than `limit` bytes; memory stays below `limit` and a little.

    `codec` is Kafka's number for it, 0 for none. Linear in `packed`, or in `limit` where only unpacking can tell.
    ValueError, zlib.error or cramjam.DecompressionError where it cannot be unpacked.
    """
    bound = _BOUNDS.get(codec)
    return bound is not None and bound(packed) > limit and _counted(codec, packed, limit)


def header_counts(codec: int, packed: bytes) -> Iterator[int]:
    """How many headers each record of a batch says it has, one at a time; of version 2, whose records are `packed`.

    A header takes two bytes of a batch and 64 of memory, and aiokafka makes all of a record's at once. Past the last
    record it gives 0 for ever. IndexError where the bytes end within a record; what else is wrong, aiokafka finds.
    """
    records = _UNPACK[codec](packed)
    at = 0
    while at < len(records):
        length, at = _varint(records, at)
        end = at + length
        at += 1  # attributes
        for _ in range(2):  # times and offsets, from the batch's own
            _, at = _varint(records, at)
        for _ in range(2):  # key and value
            size, at = _varint(records, at)
            at += max(0, size)
        count, _ = _varint(records, at)
        yield count
        at = max(end, at)
    while True:
        yield 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in Kafka's zigzag encoding, and where it ends."""
    byte = data[at]
    number, shift, at = byte & 0x7F, 7, at + 1
    while byte & 0x80 and shift < 70:
        byte = data[at]
        number, shift, at = number | (byte & 0x7F) << shift, shift + 7, at + 1
    return number >> 1 ^ -(number & 1), at


def _counted(codec: int, packed: bytes, limit: int) -> bool:
    if codec == GZIP:
        return _gzip_exceeds(packed, limit)
    if codec == SNAPPY:
        return True  # its bound is exact
    unpack = cramjam.lz4.decompress_into if codec == LZ4 else cramjam.zstd.decompress_into
    try:
        unpack(packed, bytearray(limit))
    except cramjam.DecompressionError as error:
        if "whole buffer" in str(error):  # there was more to write than it holds
            return True
        raise
    return False


def _gzip_exceeds(packed: bytes, limit: int) -> bool:
    size, rest = 0, packed
    while rest:
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            piece = member.decompress(rest, _CHUNK)
            size += len(piece)
            if size > limit:
                return True
            rest = member.unconsumed_tail
            if not piece and not rest and not member.eof:
                raise ValueError("gzip: the data ends within a member")
        rest = member.unused_data.lstrip(b"\0")
    return False


def _snappy_bytes(packed: bytes) -> int:
    if not packed.startswith(_XERIAL):
        return int(cramjam.snappy.decompress_raw_len(packed))
    size, at = 0, _XERIAL_HEADER_BYTES
    while at + 4 <= len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        at += 4
        if length <= 0 or at + length > len(packed):
            raise ValueError(f"snappy: got a block of {length} bytes, {len(packed) - at} are left")
        size += int(cramjam.snappy.decompress_raw_len(packed[at : at + length]))
        at += length
    return size


def _zstd_bytes(packed: bytes) -> int:
    """The most that the blocks of all frames can hold (RFC 8878, 3.1)."""
    size, at = 0, 0
    while at + 4 <= len(packed):
        (magic,) = struct.unpack_from("<I", packed, at)
        at += 4
        if magic >> 4 == _SKIPPABLE:
            at += 4 + int.from_bytes(packed[at : at + 4], "little")
            continue
        if magic != _ZSTD_MAGIC:
            raise ValueError("zstd: expected a frame")
        if at >= len(packed):
            raise ValueError("zstd: the data ends within a frame")
        descriptor = packed[at]
        at += 1 + _zstd_fields_bytes(descriptor)
        last = False
        while not last:
            header = int.from_bytes(packed[at : at + 3], "little")
            last, kind, length = bool(header & 1), header >> 1 & 3, header >> 3
            if at + 3 > len(packed) or kind == _RESERVED:
                raise ValueError("zstd: expected a block")
            size += _ZSTD_BLOCK_BYTES if kind == _COMPRESSED else length
            at += 3 + (1 if kind == _REPEATED else length)
        at += 4 if descriptor & 4 else 0  # a checksum
    return size


def _zstd_fields_bytes(descriptor: int) -> int:
    """Bytes of a frame's window, dictionary id and content size, which its descriptor tells (RFC 8878, 3.1.1.1)."""
    single, size_flag = descriptor & 0x20, descriptor >> 6
    content_size = (1 if single else 0, 2, 4, 8)[size_flag]
    return (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size


_BOUNDS: Final[dict[int, Callable[[bytes], int]]] = {
    GZIP: lambda packed: len(packed) * _GZIP_RATIO,
    SNAPPY: _snappy_bytes,
    LZ4: lambda packed: len(packed) * _LZ4_RATIO,
    ZSTD: _zstd_bytes,
}
_UNPACK: Final[dict[int, Callable[[bytes], bytes]]] = {
    GZIP: gzip_decode, SNAPPY: snappy_decode, LZ4: lz4_decode, ZSTD: zstd_decode,
}  # fmt: skip
