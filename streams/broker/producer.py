"""Producing: records are handed over in batches and count as sent once the broker has acknowledged them all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.producer.transaction_manager import NO_PRODUCER_EPOCH, NO_PRODUCER_ID, PidAndEpoch

from streams.base.clock import now_ms
from streams.base.errors import PoisonError
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import RECORD_OVERHEAD_BYTES, header_bytes
from streams.broker.partitions import partition_of
from streams.events.event import Header

MAX_BATCH_BYTES = 128 << 10
STOP_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to produce: without `partition` the key chooses it as Java clients do, without `timestamp_ms` now."""

    key: bytes | None
    value: bytes | None
    _: KW_ONLY
    headers: tuple[Header, ...] = ()
    timestamp_ms: int | None = None
    partition: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes on the wire, with a fixed overhead for framing."""
        payload = len(self.key or b"") + len(self.value or b"") + header_bytes(self.headers)
        return RECORD_OVERHEAD_BYTES + payload


def sane_ms(timestamp_ms: int | None) -> int | None:
    """A record's timestamp as brokers take it; None, which means now, for one before 1970 or after now.

    Kafka refuses a time an hour ahead (`message.timestamp.after.max.ms`), and aiokafka packs a negative one wrongly.
    """
    return timestamp_ms if timestamp_ms is not None and 0 <= timestamp_ms <= now_ms() else None


class Position(NamedTuple):
    """Where a record lies in its topic."""

    partition: int
    offset: int


class Producer:
    """One connection for producing with `acks=all`, idempotently unless `config.idempotent` is False.

    `start` and `stop` it inside the same event loop.

    At most `in_flight_records` records wait for acknowledgement at a time; further calls wait for room. It goes on
    by itself after the broker was away.
    """

    def __init__(self, config: KafkaConfig, *, in_flight_records: int = 20_000) -> None:
        self._config = config
        self._room = asyncio.Semaphore(in_flight_records)
        self._client: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable or ConfigurationError."""
        config = self._config
        arguments = config.connection() | {"request_timeout_ms": int(config.producer_timeout_s * 1000)}
        client = AIOKafkaProducer(
            acks="all",
            enable_idempotence=config.idempotent,
            compression_type=None if config.compression == "none" else config.compression,
            linger_ms=int(config.producer_linger_s * 1000),
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=config.producer_max_record_bytes + MAX_BATCH_BYTES,
            **arguments,
        )
        try:
            with kafka_errors("connecting the producer"):
                async with asyncio.timeout(config.producer_timeout_s):
                    await client.start()
        except BaseException:
            await client.stop()
            raise
        self._client = client

    async def stop(self) -> None:
        """Send what waits, within ten seconds, and disconnect."""
        client, self._client = self._client, None
        if client is not None:
            with kafka_errors("stopping the producer"):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await client.stop()

    async def __aenter__(self) -> Producer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def send_many(self, topic: str, records: Sequence[Outgoing], *, deadline_s: float | None = None) -> list[int]:
        """Produce all records and return their offsets once every one is acknowledged.

        One deadline holds for the whole batch (`producer_timeout_s` by default). PoisonError `too_large`, before
        anything is sent, where a record is above `producer_max_record_bytes`. BrokerUnavailable where not all were
        acknowledged in time: any of them may have been written, so sending again may repeat some. Order within a
        partition is kept.
        """
        return [placed.offset for placed in await self.place_many(topic, records, deadline_s=deadline_s)]

    async def place_many(
        self, topic: str, records: Sequence[Outgoing], *, deadline_s: float | None = None
    ) -> list[Position]:
        """Produce as `send_many` does and return partition and offset of each."""
        self._check_sizes(records)
        timeout_s = self._config.producer_timeout_s if deadline_s is None else deadline_s
        with kafka_errors(f"producing {len(records)} records to {topic}"):
            async with asyncio.timeout(timeout_s):
                return await self._send(topic, records)

    async def send_packed(self, topic: str, records: Sequence[Outgoing], *, deadline_s: float | None = None) -> None:
        """Produce many keyed records at a third of `send_many`'s cost: batches are filled here, not by aiokafka.

        Partitions are those `send_many` chooses, order within one is kept, errors are the same. Nothing bounds what
        is in flight but the caller's own list.
        """
        self._check_sizes(records)
        timeout_s = self._config.producer_timeout_s if deadline_s is None else deadline_s
        with kafka_errors(f"producing {len(records)} records to {topic}"):
            async with asyncio.timeout(timeout_s):
                await self._send_packed(topic, records)

    async def _send_packed(self, topic: str, records: Sequence[Outgoing]) -> None:
        client = self._started()
        count = len(await client.partitions_for(topic))
        filling: dict[int, Any] = {}
        futures: list[asyncio.Future[Any]] = []

        async def send(partition: int, batch: Any) -> None:
            future = await client.send_batch(batch, topic, partition=partition)
            future.add_done_callback(self._settled)
            futures.append(future)

        for record in records:
            partition = partition_of((record.key or b"").decode(), count)
            fields = {
                "key": record.key, "value": record.value, "timestamp": record.timestamp_ms,
                "headers": list(record.headers),
            }  # fmt: skip
            batch = filling.get(partition)
            if batch is None or batch.append(**fields) is None:
                if batch is not None:
                    await send(partition, batch)
                batch = filling[partition] = client.create_batch()
                batch.append(**fields)
        for partition, batch in filling.items():
            await send(partition, batch)
        await asyncio.gather(*futures)

    def _started(self) -> AIOKafkaProducer:
        if self._client is None:
            raise RuntimeError("got a producer that is not started, expected start() before sending")
        return self._client

    async def _send(self, topic: str, records: Sequence[Outgoing]) -> list[Position]:
        client = self._started()
        # A record gives its place back as soon as it is acknowledged: waiting for the whole batch, two callers that
        # share the room could each hold what the other waits for.
        futures: list[asyncio.Future[Any]] = []
        for record in records:
            await self._room.acquire()
            try:
                # aiokafka asserts that there is a key or a value; a dead letter may have neither.
                nothing = record.key is None and record.value is None
                future = await client.send(
                    topic,
                    b"" if nothing else record.value,
                    key=record.key,
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                    headers=list(record.headers),
                )
            except BaseException:
                self._room.release()
                raise
            future.add_done_callback(self._acknowledged)
            futures.append(future)
        return [Position(metadata.partition, metadata.offset) for metadata in await asyncio.gather(*futures)]

    def _acknowledged(self, future: asyncio.Future[Any]) -> None:
        self._room.release()
        self._settled(future)

    def _settled(self, future: asyncio.Future[Any]) -> None:
        """Look at an outcome, so that asyncio does not report an abandoned send; after a failure number anew."""
        if not future.cancelled() and future.exception() is not None and self._client is not None:
            _number_anew(self._client)

    def _check_sizes(self, records: Sequence[Outgoing]) -> None:
        limit = self._config.producer_max_record_bytes
        for index, record in enumerate(records):
            if record.size_bytes > limit:
                raise PoisonError(
                    f"got record {index} of {len(records)} with {record.size_bytes} bytes, expected at most {limit}",
                    reason="too_large",
                    stage="produce",
                )


def _number_anew(client: AIOKafkaProducer) -> None:
    """Have an idempotent producer ask for another producer id before it sends the next batch.

    A batch that is given up leaves a hole in the sequence numbers of its partition, and Kafka refuses whatever comes
    behind a hole (OutOfOrderSequenceNumber). aiokafka 0.14 never closes it: its producer could not write to that
    partition again. Batches that are being tried again keep the id and the numbers they have.
    """
    numbers = client._txn_manager
    if numbers is not None and numbers.has_pid():
        numbers._pid_and_epoch = PidAndEpoch(NO_PRODUCER_ID, NO_PRODUCER_EPOCH)
        numbers._pid_waiter = asyncio.get_running_loop().create_future()
        numbers._sequence_numbers.clear()
