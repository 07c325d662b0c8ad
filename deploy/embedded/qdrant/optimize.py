"""`python -m deploy.embedded.qdrant.optimize SHARD [--vacuum]`: build a shard's indexes in a process of its own.

The engine holds the interpreter's lock while it builds an HNSW index (12 s for 20,000 vectors of 384 numbers), so
the server has a copy of the shard optimised here and goes on answering.

With `--vacuum` every point is written into a new shard instead, made after the CreateCollection message on the standard
input: nothing that was deleted is left, neither in segments nor in the write-ahead log. The old log cannot be taken
away from its shard: numbers of operations would begin anew, and the engine passes over whatever is numbered below what
a point was last written by.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import qdrant_edge as edge

from deploy.embedded.qdrant.config import engine_config
from streams.store.messages import grpc as pb

CHANGED, UNCHANGED = 0, 3
_PAGE = 500  # points


def main() -> int:
    """Optimise or rewrite the shard named on the command line; the exit status says whether anything changed."""
    path = Path(sys.argv[1])
    if "--vacuum" in sys.argv[2:]:
        rewrite(path, engine_config(pb.CreateCollection.FromString(sys.stdin.buffer.read())))
        return CHANGED
    shard = edge.EdgeShard.load(str(path))
    changed = shard.optimize()
    shard.flush()
    shard.close()
    return CHANGED if changed else UNCHANGED


def rewrite(path: Path, config: edge.EdgeConfig) -> None:
    """Replace the shard at `path` by a new one with the same points and payload indexes, and no past."""
    fresh = rewritten(path)
    fresh.mkdir()
    old, new = edge.EdgeShard.load(str(path)), edge.EdgeShard.create(str(fresh), config)
    for key, index in old.info().payload_schema.items():
        new.update(edge.UpdateOperation.create_field_index(key, index.params or index.data_type))
    offset = None
    while True:
        page, offset = old.scroll(edge.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=True))
        if page:
            points = [edge.Point(one.id, one.vector or {}, one.payload) for one in page]
            new.update(edge.UpdateOperation.upsert_points(points))
        if offset is None:
            break
    new.flush()
    for shard in (old, new):
        shard.close()
    shutil.rmtree(path)
    fresh.rename(path)


def rewritten(path: Path) -> Path:
    """Where the new shard is made that will replace the one at `path`."""
    return path.with_name(f"{path.name}-new")


if __name__ == "__main__":
    sys.exit(main())
