"""What is left of a user after an erasure, as a receipt says it."""

from __future__ import annotations

from collections.abc import Sequence

from streams.api.receipts import Receipt
from streams.interests.nodes import Node


def receipt_of(user_id: str, event_id: str, requested_ms: int, nodes: Sequence[Node]) -> Receipt:
    """The receipt of an erasure that was asked for at a time, by what is kept of its user."""
    erased_at_ms = erased_at(nodes)
    done = erased_at_ms >= requested_ms > 0
    left = sum(_is_older(node, requested_ms) for node in nodes)
    return Receipt(
        user_id=user_id, event_id=event_id, requested_ms=requested_ms, erased_at_ms=erased_at_ms or None,
        nodes_left=left, verified=done and left == 0,
    )  # fmt: skip


def erased_at(nodes: Sequence[Node]) -> int:
    """When a user was last erased, in ms, by their nodes; 0: never."""
    return max((node.erased_at_ms for node in nodes), default=0)


def _is_older(node: Node, requested_ms: int) -> bool:
    """Whether a node holds anything of before; the tombstone holds nothing, and later events make nodes anew."""
    return node.count > 0 and node.first_ms <= requested_ms
