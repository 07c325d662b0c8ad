"""What is asked of a collection of several shards and replicas: where it lies, the order of writes, who must agree.

docs/qdrant.md says of every call what it asks for, and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

Ordering = Literal["weak", "medium", "strong"]
Reads = Annotated[int, Field(ge=1)] | Literal["majority", "quorum", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How collections are made: shards, replicas of each, and how many must have a write; None: the server's own."""

    shard_number: int | None = None
    replication_factor: int | None = None
    write_consistency_factor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Consistency:
    """The order of writes, and how many replicas must agree on a read that decides what is written."""

    ordering: Ordering = "strong"
    reads: Reads = 1

    @property
    def comparing(self) -> Ordering:
        """The order of a write that compares and then sets: never weak, or replicas would choose apart."""
        return "strong" if self.ordering == "weak" else self.ordering


def more_than_half(replicas: int | None) -> int:
    """How many of so many replicas any two such sets have one in common of; 1 where nothing is known of replicas."""
    return (replicas or 1) // 2 + 1
