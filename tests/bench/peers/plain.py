"""The job in plain aiokafka and numpy, with points as Qdrant's own protobuf messages over grpc.aio.

    python -m tests.bench.peers.plain JOB

Nodes not met before are read back, and a batch is folded while the one before is written. Offsets are committed once
Qdrant has acknowledged (wait).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import grpc.aio
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from qdrant_client import grpc as qdrant

from tests.bench.peers.job import BATCH, POINTS_A_CALL, Catalogue, Job, Key, Progress
from tests.bench.peers.trees import Changed, Trees

ALL = qdrant.WithPayloadSelector(enable=True)
ALL_VECTORS = qdrant.WithVectorsSelector(enable=True)


class Click(msgspec.Struct):
    """What is read of an event."""

    user_id: str
    item_id: str
    ts: int


#: A batch of known people is read back in one call: more than gRPC's 4 MiB.
UNBOUNDED = [("grpc.max_receive_message_length", -1)]


def value_of(value: str | float) -> qdrant.Value:
    """A payload's value as a protobuf message."""
    if isinstance(value, str):
        return qdrant.Value(string_value=value)
    return qdrant.Value(integer_value=value) if isinstance(value, int) else qdrant.Value(double_value=value)


def number_of(value: qdrant.Value) -> float:
    """A payload's number, whichever kind it is."""
    return value.integer_value or value.double_value


def point_of(node: Changed) -> qdrant.PointStruct:
    """A node as a protobuf message."""
    dense = qdrant.DenseVector(data=node.vector.tolist())
    return qdrant.PointStruct(
        id=qdrant.PointId(uuid=node.id), vectors=qdrant.Vectors(vector=qdrant.Vector(dense=dense)),
        payload={name: value_of(value) for name, value in node.payload.items()},
    )  # fmt: skip


async def run(job: Job) -> None:
    """Read, fold, write and commit until the process is ended."""
    trees, progress = Trees(Catalogue.load(job.catalogue)), Progress()
    decode = msgspec.json.Decoder(Click).decode
    consumer = AIOKafkaConsumer(
        job.topic, bootstrap_servers=job.brokers, group_id=job.group,
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    address = f"{job.qdrant_host}:{job.qdrant_grpc_port}"
    async with grpc.aio.insecure_channel(address, options=UNBOUNDED) as channel, consumer:
        points = qdrant.PointsStub(channel)

        async def write(nodes: Sequence[Changed], events: int, offsets: Mapping[TopicPartition, int]) -> None:
            calls = []
            for start in range(0, len(nodes), POINTS_A_CALL):
                chunk = [point_of(node) for node in nodes[start : start + POINTS_A_CALL]]
                calls.append(
                    points.Upsert(qdrant.UpsertPoints(collection_name=job.collection, wait=True, points=chunk))
                )
                await asyncio.sleep(0)  # it is sent while the next is encoded
            await asyncio.gather(*calls)
            await consumer.commit(offsets)
            progress.written(events, len(nodes))

        async def read(unknown: Mapping[str, Key]) -> None:
            ids = [qdrant.PointId(uuid=one) for one in unknown]
            request = qdrant.GetPoints(
                collection_name=job.collection, ids=ids, with_payload=ALL, with_vectors=ALL_VECTORS
            )
            for point in (await points.Get(request)).result:
                numbers = {name: number_of(value) for name, value in point.payload.items()}
                trees.restore(unknown[point.id.uuid], point.vectors.vector.dense.data, numbers)

        writing: asyncio.Task[None] | None = None
        while True:
            fetched = await consumer.getmany(timeout_ms=200, max_records=BATCH)
            if not fetched:
                continue
            events = (decode(record.value) for records in fetched.values() for record in records)
            clicks = [(event.user_id, event.item_id, event.ts) for event in events]
            if unknown := trees.unknown(clicks):
                await read(unknown)
            nodes = trees.fold(clicks)
            if writing is not None:
                await writing
            offsets = {partition: records[-1].offset + 1 for partition, records in fetched.items()}
            writing = asyncio.create_task(write(nodes, len(clicks), offsets))


if __name__ == "__main__":
    asyncio.run(run(Job.from_arguments()))
