"""The ledger: what the broker acknowledged, written down outside the system before anything is compared."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from streams.broker import KafkaConfig
from streams.broker.guarded_fetch import guard
from tests.fixtures.batches import produce_raw
from tests.oracle.generate import Made

#: What a batch may unpack to here: aiokafka alone would unpack whatever there is.
_UNPACKED_BYTES = 64 << 20


class Entry(NamedTuple):
    """A record and where it lies; `offset` is None where nobody acknowledged it, so that it may or may not be there."""

    topic: str
    partition: int | None
    offset: int | None
    timestamp_ms: int
    key: bytes
    value: bytes
    fate: str

    @property
    def place(self) -> tuple[str, int | None, int | None]:
        return (self.topic, self.partition, self.offset)

    def body(self) -> dict[str, Any] | None:
        """The event; None where the value is no JSON object."""
        try:
            body = json.loads(self.value)
        except ValueError:
            return None
        return body if isinstance(body, dict) else None


class Ledger:
    """Produces, and appends to a file what was acknowledged (one JSON object a line)."""

    def __init__(self, path: Path, topics: dict[str, str], bootstrap: str, *, request_timeout_ms: int = 5_000) -> None:
        self._path, self._topics, self._bootstrap = path, topics, bootstrap
        self._request_timeout_ms = request_timeout_ms

    async def produce(
        self, records: Iterable[Made], *, partition: int | None = None, within_s: float = 60.0, compression: str = "",
        transaction: str = "",
    ) -> int:  # fmt: skip
        """Send records of `kind` clicks, comments, events and so on; returns how many were acknowledged.

        What was not acknowledged within `within_s` is written down as unknown. In a `transaction` they are all sent in
        one, which ends with `commit` or `abort`; what was aborted never happened and is not written down.
        """
        return sum(
            await self.acknowledged(
                list(records), partition=partition, within_s=within_s, compression=compression, transaction=transaction
            )
        )

    async def acknowledged(
        self, records: Sequence[Made], *, partition: int | None = None, within_s: float = 60.0, compression: str = "",
        transaction: str = "",
    ) -> list[bool]:  # fmt: skip
        """The same, and which of them were."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", request_timeout_ms=self._request_timeout_ms,
            max_request_size=12 << 20, retry_backoff_ms=100, compression_type=compression or None,
            transactional_id=f"ledger-{uuid.uuid4()}" if transaction else None,
        )  # fmt: skip
        try:
            await producer.start()
            if transaction:
                await producer.begin_transaction()
            entries = await self._send(producer, records, partition, within_s)
            if transaction:
                await (producer.commit_transaction() if transaction == "commit" else producer.abort_transaction())
        finally:
            await producer.stop()
        if transaction != "abort":
            self._write(entries)
        return [entry.offset is not None for entry in entries]

    async def raw(self, kind: str, partition: int, batch: bytes, records: Sequence[Made]) -> int:
        """Send a batch of a producer's own making as it is; `records` say what is in it, one an offset. Its first one.

        A KafkaError where the broker refuses it: then nothing is written down.
        """
        topic = self._topics[kind]
        config = KafkaConfig(brokers=(self._bootstrap,), group_id="none")
        (base,) = await produce_raw(config, topic, partition, [batch])
        at_ms = int(time.time() * 1000)
        places = enumerate(records, start=base)
        self._write([Entry(topic, partition, at, at_ms, made.key, made.value, made.fate) for at, made in places])
        return base

    async def _send(
        self, producer: AIOKafkaProducer, records: Sequence[Made], partition: int | None, within_s: float
    ) -> list[Entry]:
        futures = []
        for made in records:
            topic = self._topics[made.kind]
            headers = list(made.headers)
            sent = await producer.send(topic, made.value, key=made.key, partition=partition, headers=headers)
            sent.add_done_callback(lambda done: done.cancelled() or done.exception())  # what is late is unknown
            futures.append((topic, made, sent))
        await asyncio.wait([sent for *_, sent in futures], timeout=within_s) if futures else None
        return [_entry(topic, made, sent) for topic, made, sent in futures]

    def _write(self, entries: Sequence[Entry]) -> None:
        with self._path.open("a") as out:
            for e in entries:
                row = [*e[:4], base64.b64encode(e.key).decode(), base64.b64encode(e.value).decode(), e.fate]
                out.write(json.dumps(row) + "\n")

    def entries(self) -> list[Entry]:
        """All that was sent, read back from the file."""
        if not self._path.exists():
            return []
        rows = (json.loads(line) for line in self._path.read_text().splitlines())
        return [Entry(*(*row[:4], base64.b64decode(row[4]), base64.b64decode(row[5]), row[6])) for row in rows]


def _entry(topic: str, made: Made, sent: asyncio.Future[Any]) -> Entry:
    if not sent.done() or sent.cancelled() or sent.exception() is not None:
        return Entry(topic, None, None, 0, made.key, made.value, made.fate)
    done = sent.result()
    return Entry(topic, done.partition, done.offset, done.timestamp, made.key, made.value, made.fate)


async def read_log(bootstrap: str, topics: Iterable[str], *, within_s: float = 60.0) -> dict[str, list[Any]]:
    """Every record of the topics, as the broker has them, by topic; an `UnreadBatch` for those that nobody can read."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, fetch_max_wait_ms=100,
        max_partition_fetch_bytes=16 << 20, fetch_max_bytes=64 << 20,
    )  # fmt: skip
    found: dict[str, list[Any]] = {topic: [] for topic in topics}
    await consumer.start()
    guard(consumer, _UNPACKED_BYTES)
    try:
        async with asyncio.timeout(within_s):
            wanted = [
                TopicPartition(t, p)
                for t in found
                for p in consumer.partitions_for_topic(t) or await _known(consumer, t)
            ]
            consumer.assign(wanted)
            await consumer.seek_to_beginning(*wanted)
            while not await _at_end(consumer, wanted):
                for source, records in (await consumer.getmany(timeout_ms=100)).items():
                    found[source.topic] += records
    finally:
        await consumer.stop()
    return found


async def _known(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client.force_metadata_update()
    consumer._client.set_topics([topic])
    for _ in range(50):
        if found := consumer.partitions_for_topic(topic):
            return set(found)
        await asyncio.sleep(0.1)
    raise KafkaError(f"no such topic: {topic}")


async def _at_end(consumer: AIOKafkaConsumer, sources: Iterable[TopicPartition]) -> bool:
    for source in sources:
        end = consumer.highwater(source)
        if end is None or await consumer.position(source) < end:
            return False
    return True
