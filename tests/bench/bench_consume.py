"""Consuming through the batch path: fetch, parse JSON into a struct, count by user. Prints JSON, one figure a broker.

    python -m tests.bench.bench_consume [--records 400000] [--brokers tansu,kafka] [--runs 3]

Brokers are started on free ports of 127.0.0.1 and stopped again; Apache Kafka is left out where it is not found.
Records are produced first, then read by one worker process with the defaults of `KafkaConfig`. The rate is records
over the time from the first batch to the last acknowledgement. Run by run the same is done in bare aiokafka, with the
same limits of a fetch and commits as often.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import aiokafka
import msgspec
import pytest

from streams.broker import gather_batches, make_app, run_worker
from streams.broker.producer import Outgoing, Producer
from tests.fixtures.brokers import Broker, make_broker

USERS = 2_000
PARTITIONS = 4


class Click(msgspec.Struct):
    """The fields a worker reads of every event."""

    user_id: str
    type: str
    ts: int
    item_id: str


def _event(number: int) -> Outgoing:
    user = f"user-{number % USERS}"
    value = {
        "event_id": f"event-{number}",
        "user_id": user,
        "type": "click",
        "ts": 1_700_000_000_000 + number,
        "item_id": f"item-{number % 5_000}",
        "context": {"device": "mobile", "locale": "en"},
    }
    return Outgoing(user.encode(), json.dumps(value).encode())


async def _produce(broker: Broker, topic: str, count: int) -> None:
    step = 20_000
    async with Producer(broker.config()) as producer:
        for start in range(0, count, step):
            await producer.send_many(topic, [_event(number) for number in range(start, min(start + step, count))])


async def _consume(broker: Broker, topic: str, count: int) -> dict[str, float]:
    app = make_app(replace(broker.config(), commit_interval_s=1.0))
    decode = msgspec.json.Decoder(Click).decode
    users: Counter[str] = Counter()
    stop = asyncio.Event()
    marks: list[float] = []
    sizes: list[int] = []

    async def agent(stream: Any) -> None:
        async for batch in gather_batches(app, stream):
            marks.append(time.perf_counter())
            users.update([decode(record.value).user_id for record in batch.records])
            await batch.ack()
            sizes.append(len(batch))
            if sum(sizes) >= count:
                marks.append(time.perf_counter())
                stop.set()

    app.agent(app.topic(topic))(agent)
    busy = time.process_time()
    code = await run_worker(app, stop=stop)
    busy = time.process_time() - busy
    if code or users.total() != count:
        raise RuntimeError(f"got exit code {code} and {users.total()} records, expected 0 and {count}")
    seconds = marks[-1] - marks[0]
    return {"records_per_s": round(count / seconds), "cpu_s": round(busy, 2), "records_a_take": round(median(sizes))}


async def _consume_bare(broker: Broker, topic: str, count: int) -> int:
    """The same in a loop of aiokafka's own, committing in the background."""
    config = broker.config()
    decode = msgspec.json.Decoder(Click).decode
    users: Counter[str] = Counter()
    consumer = aiokafka.AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, group_id=config.group_id, auto_offset_reset="earliest",
        auto_commit_interval_ms=1_000, fetch_max_bytes=config.fetch_bytes,
        max_partition_fetch_bytes=config.partition_fetch_bytes, fetch_max_wait_ms=int(config.fetch_max_wait_s * 1000),
    )  # fmt: skip
    begun = 0.0
    async with consumer:
        while users.total() < count:
            fetched = await consumer.getmany(timeout_ms=200)
            begun = begun or time.perf_counter()
            for records in fetched.values():
                users.update([decode(record.value).user_id for record in records])
        await consumer.commit()
        seconds = time.perf_counter() - begun
    return round(count / seconds)


async def _bench(broker: Broker, count: int, runs: int) -> dict[str, Any]:
    topic = await broker.new_topic("bench", partitions=PARTITIONS)
    await _produce(broker, topic, count)
    results, bare = [], []
    for _ in range(runs):
        results.append(await _consume(broker, topic, count))
        bare.append(await _consume_bare(broker, topic, count))
    best = max(results, key=lambda result: result["records_per_s"])
    rates = [result["records_per_s"] for result in results]
    return {
        "records": count, "median_records_per_s": round(median(rates)), "best": best,
        "bare_aiokafka_records_per_s": round(median(bare)),
        "ours_to_bare": round(median(ours / theirs for ours, theirs in zip(rates, bare, strict=True)), 2),
    }  # fmt: skip


def figures(records: int = 400_000, runs: int = 3, kinds: Sequence[str] = ("tansu", "kafka")) -> dict[str, Any]:
    """Measure on every broker that can be had; for one that cannot, why."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as work:
        for kind in kinds:
            try:
                broker = make_broker(kind, Path(work) / kind)
            except pytest.skip.Exception as reason:
                results[kind] = {"skipped": str(reason)}
                continue
            broker.start()
            try:
                results[kind] = asyncio.run(_bench(broker, records, runs))
            finally:
                broker.stop()
    return results


def main() -> int:
    """Run the bench on every broker that can be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=400_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--brokers", default="tansu,kafka")
    arguments = parser.parse_args()
    print(json.dumps(figures(arguments.records, arguments.runs, arguments.brokers.split(",")), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
