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


def _framed(tag: bytes, data: bytes) -> bytes:
    return tag + _length(len(data)) + data


def _text(tag: bytes, plain: str) -> bytes:
    return _framed(tag, plain.encode())


@lru_cache(maxsize=256)  # payloads have a few dozen names
def _named(name: str) -> bytes:
    """An entry's key, and the tag of its value."""
    return _text(b"\x0a", name) + b"\x12"


def packed_row(row: Vector) -> bytes:
    """A float32 row as a DenseVector: a packed field of floats is the row's own little-endian bytes."""
    return _framed(b"\x0a", np.ascontiguousarray(row, dtype="<f4").tobytes())


def _value(plain: Any) -> bytes:
    kind = type(plain)
    if kind is str:
        return _text(b"\x22", plain)
    if kind is int:
        return b"\x18" + varint(plain)
    if kind is float:
        return _DOUBLE(0x11, plain)
    if kind is bool:
        return _TRUE if plain else _FALSE
    listed = b"".join(_framed(b"\x0a", _text(b"\x22", one)) for one in plain)
    return _framed(b"\x3a", listed)


def point_bytes(point: Point) -> bytes:
    """A point as one of the `points` of an UpsertPoints request. Its cost is linear in its size."""
    parts = [_framed(b"\x0a", _text(b"\x12", point.id))]
    for name, plain in point.payload.items():
        key, value = _named(name), _value(plain)
        size = _length(len(value))
        parts += (b"\x1a", _length(len(key) + len(size) + len(value)), key, size, value)
    parts.append(_framed(b"\x22", _framed(b"\x0a", _framed(b"\xaa\x06", packed_row(point.row)))))
    return _framed(b"\x1a", b"".join(parts))


def points_bytes(points: Iterable[Point]) -> bytes:
    """Points as they follow each other in an UpsertPoints request."""
    return b"".join(map(point_bytes, points))
