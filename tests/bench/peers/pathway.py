"""The job in Pathway: its own Kafka reader, a custom reducer a node, and batched upserts at each minibatch's end.

    python -m tests.bench.peers.pathway JOB

Its Qdrant writer needs a licence key, so the nodes that have changed are upserted from `pw.io.subscribe`.
`max_backlog_size` bounds a minibatch to about half of it; without it a backlog is one, and nothing is written until all
is folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pathway as pw
from qdrant_client import QdrantClient, models

from tests.bench.peers.job import (
    BATCH,
    HALF_LIFE_MS,
    POINTS_A_CALL,
    Catalogue,
    Job,
    Key,
    Progress,
    left,
    payload,
    places,
    point_id,
)

State = tuple[np.ndarray, float, int, int, int, int]  # S, W (and P: clicks are positive), t0, first, last, count


class Click(pw.Schema):
    """What is read of an event."""

    user_id: str
    item_id: str
    ts: int


def fold(half_life_ms: float, vectors: np.ndarray, state: State | None, clicks: Sequence[tuple[int, int]]) -> State:
    """A node's state with clicks (item's row, time in ms) folded in."""
    rows, times = zip(*clicks, strict=True)
    t0 = max(times) if state is None else max(state[2], *times)
    shares = [left(t0 - time, half_life_ms) for time in times]
    total = np.array(shares, np.float32) @ vectors[list(rows)]
    if state is None:
        return total, sum(shares), t0, min(times), max(times), len(times)
    old, mass, old_t0, first, last, count = state
    carried = left(t0 - old_t0, half_life_ms)
    return (
        old * np.float32(carried) + total, mass * carried + sum(shares), t0,
        min(first, *times), max(last, *times), count + len(times),
    )  # fmt: skip


def main(job: Job) -> None:
    """Read, fold and write until the process is ended."""
    catalogue, progress = Catalogue.load(job.catalogue), Progress()
    client = QdrantClient(
        host=job.qdrant_host, grpc_port=job.qdrant_grpc_port, prefer_grpc=True, timeout=60, check_compatibility=False
    )

    @pw.reducers.stateful_many
    def folded(state: State | None, rows: list[tuple[list[Any], int]]) -> State:
        return fold(HALF_LIFE_MS[rows[0][0][0]], catalogue.vectors, state, [(row[1], row[2]) for row, _ in rows])

    def nodes_of(item_id: str) -> list[tuple[str, str, int]]:
        row = catalogue.rows[item_id]
        return [(level, path, row) for level, path in places(catalogue.paths[row])]

    clicks = pw.io.kafka.read(
        {"bootstrap.servers": job.brokers, "group.id": job.group, "auto.offset.reset": "earliest"}, job.topic,
        schema=Click, format="json", autocommit_duration_ms=200, max_backlog_size=2 * BATCH,
    )  # fmt: skip
    parts = clicks.select(
        clicks.user_id, clicks.ts, node=pw.apply_with_type(nodes_of, list[tuple[str, str, int]], clicks.item_id)
    ).flatten(pw.this.node)
    parts = parts.select(
        parts.user_id, parts.ts, level=parts.node.get(0), path=parts.node.get(1), row=parts.node.get(2)
    )
    nodes = parts.groupby(parts.user_id, parts.level, parts.path).reduce(
        parts.user_id, parts.level, parts.path, state=folded(parts.level, parts.row, parts.ts)
    )
    changed: dict[Key, State] = {}
    counted: dict[str, int] = {}
    ids: dict[Key, str] = {}

    def on_change(key: pw.Pointer, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            changed[row["user_id"], row["level"], row["path"]] = row["state"]

    def on_time_end(time: int) -> None:  # called by Pathway with it
        if not changed:
            return
        points = []
        for key, (sums, mass, t0, first, last, count) in changed.items():
            norm = float(np.linalg.norm(sums))
            if key not in ids:
                ids[key] = point_id(key)
            numbers = payload(key, norm, mass, mass, t0, first, last, count)
            points.append(models.PointStruct(id=ids[key], vector=(sums / norm).tolist(), payload=numbers))
        for start in range(0, len(points), POINTS_A_CALL):
            client.upsert(job.collection, points[start : start + POINTS_A_CALL], wait=True)
        before = sum(counted.values())
        counted.update((user, state[5]) for (user, level, _), state in changed.items() if level == "profile")
        changed.clear()
        progress.written(sum(counted.values()) - before, len(points))

    pw.io.subscribe(nodes, on_change, on_time_end=on_time_end)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main(Job.from_arguments())
