"""What a log of clicks makes of every node, worked out plainly, against what stands in Qdrant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models

from tests.bench.peers.job import HALF_LIFE_MS, Catalogue, Key, left, places

#: How far numbers may be off, as a share of them: sums are kept in float64, directions in float32.
_SUMS_OFF, _VECTORS_OFF = 1e-6, 1e-4
_USERS_A_CALL = 200


class Sums(NamedTuple):
    """A node's sums at its latest event; `vector`, float64 of shape (dim,), where it was asked for."""

    mass: float
    norm: float
    count: int
    vector: NDArray[np.float64] | None

    def is_near(self, other: Sums) -> bool:
        """Whether two nodes are the same but for rounding."""
        if self.count != other.count or abs(self.mass - other.mass) > _SUMS_OFF * other.mass:
            return False
        if abs(self.norm - other.norm) > _VECTORS_OFF * other.norm:
            return False
        if self.vector is None or other.vector is None:
            return True
        return float(self.vector @ other.vector) > (1 - _VECTORS_OFF) * float(np.linalg.norm(self.vector))


def expected(clicks: Iterable[Mapping[str, Any]], catalogue: Catalogue) -> dict[Key, Sums]:
    """Every node that clicks of weight 1 make."""
    parts: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
    for click in clicks:
        row = catalogue.rows[click["item_id"]]
        for level, path in places(catalogue.paths[row]):
            parts[click["user_id"], level, path].append((row, click["ts"]))
    nodes = {}
    for key, of in parts.items():
        latest = max(time for _, time in of)
        shares = np.array([left(latest - time, HALF_LIFE_MS[key[1]]) for _, time in of])
        total = shares @ catalogue.vectors[[row for row, _ in of]].astype(np.float64)
        norm = float(np.linalg.norm(total))
        nodes[key] = Sums(float(shares.sum()), norm, len(of), total / norm)
    return nodes


def differences(wanted: Mapping[Key, Sums], found: Mapping[Key, Sums]) -> list[str]:
    """What is missing, too much or of other sums."""
    wrong = [f"{key}: missing" for key in wanted.keys() - found.keys()]
    wrong += [f"{key}: not expected" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        if not found[key].is_near(wanted[key]):
            wrong.append(f"{key}: {found[key][:3]}, expected mass, norm and count {wanted[key][:3]}")
    return wrong


async def written(client: AsyncQdrantClient, collection: str, users: Iterable[str]) -> dict[Key, Sums]:
    """Every node of these users; with its vector for the first two hundred of them."""
    found: dict[Key, Sums] = {}
    waiting = sorted(users)
    for start in range(0, len(waiting), _USERS_A_CALL):
        match = models.MatchAny(any=waiting[start : start + _USERS_A_CALL])
        of_users = models.Filter(must=[models.FieldCondition(key="user_id", match=match)])
        offset: Any = None
        while True:
            points, offset = await client.scroll(
                collection, of_users, limit=2_000, offset=offset, with_vectors=start == 0,
                with_payload=["user_id", "level", "path", "mass", "norm", "count"],
            )  # fmt: skip
            for point in points:
                at = point.payload or {}
                vector = np.array(point.vector) if point.vector else None
                found[at["user_id"], at["level"], at["path"]] = Sums(at["mass"], at["norm"], at["count"], vector)
            if offset is None:
                break
    return found
