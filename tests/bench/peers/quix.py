"""The job in Quix Streams: a batching sink that folds and upserts at each commit, with qdrant-client's models.

    python -m tests.bench.peers.quix JOB

At-least-once: Quix commits its offsets after the sink's write has returned, which waits for Qdrant.
"""

from __future__ import annotations

from qdrant_client import QdrantClient, models
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from tests.bench.peers.job import BATCH, POINTS_A_CALL, Catalogue, Job, Progress
from tests.bench.peers.trees import Trees


class NodesSink(BatchingSink):
    """Folds what came since the last commit and upserts the nodes that have changed."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job, self._trees, self._progress = job, Trees(Catalogue.load(job.catalogue)), Progress()

    def setup(self) -> None:
        """Connect to Qdrant over gRPC."""
        self._client = QdrantClient(
            host=self._job.qdrant_host, grpc_port=self._job.qdrant_grpc_port, prefer_grpc=True, timeout=60,
            check_compatibility=False,
        )  # fmt: skip

    def write(self, batch: SinkBatch) -> None:
        """Write a partition's events of one commit."""
        clicks = [(event.value["user_id"], event.value["item_id"], event.value["ts"]) for event in batch]
        if unknown := self._trees.unknown(clicks):
            for record in self._client.retrieve(self._job.collection, list(unknown), with_vectors=True):
                self._trees.restore(unknown[str(record.id)], record.vector, record.payload)
        nodes = self._trees.fold(clicks)
        for start in range(0, len(nodes), POINTS_A_CALL):
            points = [
                models.PointStruct(id=node.id, vector=node.vector.tolist(), payload=node.payload)
                for node in nodes[start : start + POINTS_A_CALL]
            ]
            self._client.upsert(self._job.collection, points, wait=True)
        self._progress.written(batch.size, len(nodes))


def main(job: Job) -> None:
    """Read, fold, write and commit until the process is ended."""
    app = Application(
        broker_address=job.brokers, consumer_group=job.group, auto_offset_reset="earliest",
        commit_every=BATCH, auto_create_topics=False, loglevel="WARNING",
    )  # fmt: skip
    clicks = app.dataframe(app.topic(job.topic, value_deserializer="json"))
    clicks.sink(NodesSink(job))
    app.run()


if __name__ == "__main__":
    main(Job.from_arguments())
