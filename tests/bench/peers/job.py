"""The job that every peer does: a click on a known item goes into four decayed nodes, each a point in Qdrant.

Numbers and formulas are those of docs/nodes.md; a unit test holds them to the project's own.
"""

from __future__ import annotations

import json
import math
import sys
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DAY_MS = 86_400_000.0
HALF_LIFE_MS: Mapping[str, float] = {
    "profile": 60 * DAY_MS, "topic": 21 * DAY_MS, "interest": 7 * DAY_MS, "session": 30 * 60_000.0,
}  # fmt: skip
EXPIRES_BELOW = 0.01
NAMESPACE = uuid.UUID("6d2f6f0e-5c1b-5a43-9f5e-2f0b6b1c7a11")
#: Events that are read, folded, written and committed at once, at most: as many as the worker takes under lag.
BATCH = 8_000
#: Points in one upsert, at most.
POINTS_A_CALL = 1_000

Key = tuple[str, str, str]  # user, level, path


@dataclass(frozen=True)
class Job:
    """Where a peer reads and writes. `catalogue` is a file of item ids, their paths and vectors, (n, dim) float32."""

    brokers: str
    topic: str
    group: str
    qdrant_host: str
    qdrant_grpc_port: int
    collection: str
    catalogue: str

    @classmethod
    def from_arguments(cls) -> Job:
        """The job that the process was started with: one JSON object."""
        return cls(**json.loads(sys.argv[1]))

    def argument(self) -> str:
        """What `from_arguments` reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Catalogue:
    """The items, known beforehand: `rows` is the row of an item id in `vectors`, (n, dim) float32, and in `paths`."""

    rows: Mapping[str, int]
    paths: list[str]
    vectors: NDArray[np.float32]

    @classmethod
    def load(cls, file: str | Path) -> Catalogue:
        """Read a catalogue that `save` has written."""
        with np.load(file) as arrays:
            ids, paths = arrays["ids"].tolist(), arrays["paths"].tolist()
            return cls({item: row for row, item in enumerate(ids)}, paths, arrays["vectors"])

    def save(self, file: Path) -> None:
        """Write it as an .npz file."""
        np.savez(file, ids=np.array(list(self.rows)), paths=np.array(self.paths), vectors=self.vectors)


@cache
def places(path: str) -> tuple[tuple[str, str], ...]:
    """The level and path of each node that a click on an item with this path goes to."""
    names = path.strip("/").split("/")
    tree = [(level, "/" + "/".join(names[:depth])) for level, depth in (("topic", 1), ("interest", 2))]
    return (("profile", "/"), ("session", "/"), *tree[: len(names)])


def left(elapsed_ms: float, half_life_ms: float) -> float:
    """The share of a weight that is left after a time."""
    return 2.0 ** (-elapsed_ms / half_life_ms)


def point_id(key: Key) -> str:
    """The id of a node's point."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join(key)))


def expires_at(level: str, mass: float, t0_ms: int) -> int:
    """When a node's mass falls under `EXPIRES_BELOW`, in ms."""
    return t0_ms + int(HALF_LIFE_MS[level] * math.log2(mass / EXPIRES_BELOW)) if mass > EXPIRES_BELOW else t0_ms


def payload(
    key: Key, norm: float, mass: float, net: float, t0_ms: int, first_ms: int, last_ms: int, count: int
) -> dict[str, str | float | int]:
    """The payload of a node's point."""
    return {
        "user_id": key[0], "level": key[1], "path": key[2], "mass": mass, "net": net, "norm": norm, "t0": t0_ms,
        "first": first_ms, "last": last_ms, "count": count, "expires_at": expires_at(key[1], mass, t0_ms),
    }  # fmt: skip


class Progress:
    """Tells the process that measures, a line a write, how many events and nodes are written by now."""

    def __init__(self) -> None:
        self._events = self._nodes = 0

    def written(self, events: int, nodes: int) -> None:
        """Call it when Qdrant has acknowledged them."""
        self._events += events
        self._nodes += nodes
        print(self._events, self._nodes, flush=True)
