"""`python -m deploy.embedded.qdrant.optimize SHARD [--vacuum]`: build a shard's indexes in a process of its own.

The engine holds the interpreter's lock while it builds an HNSW index (12 s for 20,000 vectors of 384 numbers), so
the server has a copy of the shard optimised here and goes on answering.

With `--vacuum` nothing that was deleted is left in the files: not in segments, however few points were deleted, nor in
the write-ahead log. The shard is flushed, so nobody needs that log any more.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import qdrant_edge as edge

CHANGED, UNCHANGED = 0, 3


def main() -> int:
    """Optimise the shard named on the command line; the exit status says whether anything changed."""
    path, vacuum = Path(sys.argv[1]), "--vacuum" in sys.argv[2:]
    if vacuum:
        _leave_nothing_deleted(path / "edge_config.json")
    shard = edge.EdgeShard.load(str(path))
    changed = shard.optimize()
    shard.flush()
    shard.close()
    if vacuum:
        shutil.rmtree(path / "wal")
        return CHANGED
    return CHANGED if changed else UNCHANGED


def _leave_nothing_deleted(file: Path) -> None:
    """Let the engine rewrite every segment with a deleted point; whoever opens the shard gives it its own settings."""
    config = json.loads(file.read_text())
    config["optimizers"] |= {"deleted_threshold": 0.0, "vacuum_min_vector_number": 0}
    file.write_text(json.dumps(config))


if __name__ == "__main__":
    sys.exit(main())
