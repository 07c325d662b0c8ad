"""A small page for Prometheus, under the real server's metric names."""

from __future__ import annotations

from collections import Counter

from deploy.embedded.qdrant.registry import Registry
from deploy.embedded.qdrant.security import TITLE, protocol_version


class QdrantMetrics:
    """Counts answers; sizes are read when somebody asks."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._answers: Counter[tuple[str, str, str]] = Counter()

    def answered(self, front: str, endpoint: str, status: str) -> None:
        """Count one answer of the `rest` or `grpc` front."""
        self._answers[front, endpoint, status] += 1

    async def text(self) -> str:
        """Return the page in Prometheus' text form."""
        lines = [
            "# HELP app_info information about qdrant server",
            "# TYPE app_info gauge",
            f'app_info{{name="{TITLE}",version="{protocol_version()}"}} 1',
            "# HELP collections_total number of collections",
            "# TYPE collections_total gauge",
            f"collections_total {len(self._registry.collections)}",
            "# HELP collection_points approximate amount of points per collection",
            "# TYPE collection_points gauge",
        ]
        for name, collection in sorted(self._registry.collections.items()):
            info = await collection.read(lambda shard: shard.info())
            lines.append(f'collection_points{{id="{_escaped(name)}"}} {info.points_count}')
        for front in ("grpc", "rest"):
            lines.append(f"# HELP {front}_responses_total total number of responses through {front} API")
            lines.append(f"# TYPE {front}_responses_total counter")
            for (kind, endpoint, status), number in sorted(self._answers.items()):
                if kind == front:
                    labels = f'endpoint="{_escaped(endpoint)}",status="{status}"'
                    lines.append(f"{front}_responses_total{{{labels}}} {number}")
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
