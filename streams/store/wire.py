"""Points as the bytes that Qdrant reads, built in one pass: no message is made between a row and the wire.

Numbers and types of the fields are those of Qdrant's `points.proto` and `json_with_int.proto`; a contract test holds
them to qdrant-client's own messages. How they are laid out: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_DOUBLE: Final = Struct("<Bd").pack
_TRUE, _FALSE = b"\x28\x01", b"\x28\x00"


class Point(NamedTuple):
    """A point's id, its vector, float32 of shape (dim,), and its payload: str, int, float, bool or a list of str."""

    id: str
    row: Vector
    payload: Mapping[str, Any]


def varint(number: int) -> bytes:
    """A number of up to 64 bits in groups of seven bits, the lowest first; a negative one as two's complement."""
    if number < 0:
        number += 1 << 64
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: The lengths that nearly all fields have, made once.
_LENGTHS: Final = tuple(varint(number) for number in range(4096))


def _length(number: int) -> bytes:
    return _LENGTHS[number] if number < 4096 else varint(number)


def framed(tag: bytes, data: bytes) -> bytes:
    """A field of a given length: its tag, the length, and what is in it."""
    return tag + _length(len(data)) + data


def text(tag: bytes, plain: str) -> bytes:
    """A field of text."""
    return framed(tag, plain.encode())


@lru_cache(maxsize=256)  # payloads have a few dozen names
def _named(name: str) -> bytes:
    """An entry's key, and the tag of its value."""
    return text(b"\x0a", name) + b"\x12"


def packed_row(row: Vector) -> bytes:
    """A float32 row as a DenseVector: a packed field of floats is the row's own little-endian bytes."""
    return framed(b"\x0a", np.ascontiguousarray(row, dtype="<f4").tobytes())


def _value(plain: Any) -> bytes:
    kind = type(plain)
    if kind is str:
        return text(b"\x22", plain)
    if kind is int:
        return b"\x18" + varint(plain)
    if kind is float:
        return _DOUBLE(0x11, plain)
    if kind is bool:
        return _TRUE if plain else _FALSE
    listed = b"".join(framed(b"\x0a", text(b"\x22", one)) for one in plain)
    return framed(b"\x3a", listed)


def entry(name: str, plain: Any) -> bytes:
    """One entry of a point's payload. TypeError for what no payload may hold."""
    return framed(b"\x1a", _named(name) + framed(b"", _value(plain)))


def vectors(row: Vector) -> bytes:
    """A point's one vector."""
    return framed(b"\x22", framed(b"\x0a", framed(b"\xaa\x06", packed_row(row))))


def point_bytes(point: Point) -> bytes:
    """A point as one of the `points` of an UpsertPoints request. Its cost is linear in its size."""
    parts = [framed(b"\x0a", text(b"\x12", point.id))]
    parts += [entry(name, plain) for name, plain in point.payload.items()]
    parts.append(vectors(point.row))
    return framed(b"\x1a", b"".join(parts))


def points_bytes(points: Iterable[Point]) -> bytes:
    """Points as they follow each other in an UpsertPoints request."""
    return b"".join(map(point_bytes, points))
