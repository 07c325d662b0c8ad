"""`python -m deploy.embedded.qdrant.optimize SHARD`: build a shard's indexes in a process of its own.

The engine holds the interpreter's lock while it builds an HNSW index (12 s for 20,000 vectors of 384 numbers), so
the server has a copy of the shard optimised here and goes on answering.
"""

from __future__ import annotations

import sys

import qdrant_edge as edge

CHANGED, UNCHANGED = 0, 3


def main() -> int:
    """Optimise the shard named on the command line; the exit status says whether anything changed."""
    shard = edge.EdgeShard.load(sys.argv[1])
    changed = shard.optimize()
    shard.flush()
    shard.close()
    return CHANGED if changed else UNCHANGED


if __name__ == "__main__":
    sys.exit(main())
