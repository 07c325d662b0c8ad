"""Nodes as the bytes of Qdrant points: numbers are laid into place a column at a time, the rest is joined a node.

A payload is flat and short, since payloads cost more than vectors. What it holds is read back by `codec.node_of`; the
layout of every field is that of `wire`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.interests.applied import pack_applied
from streams.interests.ballot import pack_standing
from streams.interests.evidence import Strongest, pack_began, pack_firsts, pack_marks, pack_ring
from streams.interests.nodes import LearnedPart, Node, NodeKey, NodePolicy, expires_at_ms, node_id
from streams.store import versions
from streams.store.base import Fence
from streams.store.wire import entry, framed, text, vectors

_DOUBLES: Final = ("mass", "net", "norm")
_TIMES: Final = ("t0", "first", "last", "expires_at")
#: A time takes as many bytes, whatever it is: 56 bits, which is what a half-life of centuries asks for.
_VARINT_BYTES: Final = 8
_MOST: Final = 1 << 7 * _VARINT_BYTES


def nodes_bytes(nodes: Sequence[Node], policy: NodePolicy, fence: Fence) -> bytes:
    """Nodes as the `points` of an UpsertPoints request. Linear in their size; ValueError for a time out of range."""
    if not nodes:
        return b""
    numbers, width = _numbers(nodes, policy)
    written = entry("fence", fence.number) + entry(versions.FIELD, versions.NODES)
    points: list[bytes] = []
    for at, node in enumerate(nodes):
        body = [
            _named(node.key), numbers[at * width : (at + 1) * width], written,
            entry("count", node.count), entry("applied", pack_applied(node.applied)),
            entry("evidence", Strongest.of(node.evidence).packed), *_of_person(node), vectors(node.direction),
        ]  # fmt: skip
        points.append(framed(b"\x1a", b"".join(body)))
    return b"".join(points)


@lru_cache(maxsize=32_768)  # 20 MiB; those who are active now
def _named(key: NodeKey) -> bytes:
    """A point's id, and what its payload says of whose node it is."""
    return b"".join(
        (
            framed(b"\x0a", text(b"\x12", node_id(key))),
            entry("user_id", key.user_id),
            entry("level", key.level),
            entry("path", key.path),
        )
    )


def _of_person(node: Node) -> list[bytes]:
    """What a profile or a learned node has besides, where it has it."""
    has: list[bytes] = []
    if node.ring:
        has.append(entry("ring", pack_ring(node.ring)))
    if node.seen:
        has.append(entry("seen", pack_ring(node.seen)))
    if node.began.topic:
        has.append(entry("began", pack_began(node.began)))
    if node.marks:
        has.append(entry("marks", pack_marks(node.marks)))
    if node.votes:
        has.append(entry("votes", pack_standing(node.votes)))
    if node.firsts:
        has.append(entry("firsts", pack_firsts(node.firsts)))
    if node.recents:
        has.append(entry("recents", node.recents))
    if node.erased_at_ms:
        has.append(entry("erased_at", node.erased_at_ms))
    if node.reread:
        has.append(entry("reread", True))
    if node.learned is not None:
        has += _of_model(node.learned)
    return has


def _of_model(learned: LearnedPart) -> list[bytes]:
    """What a learned node has besides."""
    has = [entry("model", learned.model), entry("scale", learned.scale), entry("bias", learned.bias)]
    if learned.made_ms:
        has.append(entry("made", learned.made_ms))
    return [*has, entry("variance", learned.variance), entry("mean", learned.mean)] if learned.variance else has


def _template() -> tuple[bytes, dict[str, int]]:
    """The entries of all numbers with nothing in them yet, and where each number goes."""
    row, places = b"", {}
    for name in _DOUBLES:
        row += entry(name, 0.0)
        places[name] = len(row) - 8
    for name in _TIMES:
        key = text(b"\x0a", name)
        value = b"\x12" + bytes([1 + _VARINT_BYTES]) + b"\x18" + bytes(_VARINT_BYTES)
        row += framed(b"\x1a", key + value)
        places[name] = len(row) - _VARINT_BYTES
    return row, places


_ROW, _PLACES = _template()


def _numbers(nodes: Sequence[Node], policy: NodePolicy) -> tuple[bytes, int]:
    """The entries of all numbers, node after node, and how many bytes a node's are."""
    rows = np.tile(np.frombuffer(_ROW, np.uint8), (len(nodes), 1))
    for name in _DOUBLES:
        reals = np.array([getattr(node, name) for node in nodes], "<f8")
        rows[:, _PLACES[name] : _PLACES[name] + 8] = reals.view(np.uint8).reshape(-1, 8)
    times = {
        "t0": [node.t0_ms for node in nodes], "first": [node.first_ms for node in nodes],
        "last": [node.last_ms for node in nodes],
        "expires_at": [expires_at_ms(node, policy) for node in nodes],
    }  # fmt: skip
    for name, column in times.items():
        _lay_varints(rows[:, _PLACES[name] : _PLACES[name] + _VARINT_BYTES], np.array(column, np.int64))
    return rows.tobytes(), len(_ROW)


def _lay_varints(into: NDArray[np.uint8], numbers: NDArray[np.int64]) -> None:
    """Times from 0 on as varints of a fixed width: groups of seven bits that are all 0 are allowed at the end."""
    if numbers.min() < 0 or numbers.max() >= _MOST:
        raise ValueError(f"a time of a node is out of range: expected 0 to {_MOST - 1} ms")
    for at in range(_VARINT_BYTES):
        more = 0x80 if at < _VARINT_BYTES - 1 else 0
        into[:, at] = (numbers >> 7 * at) & 0x7F | more
