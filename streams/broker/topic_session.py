"""One connection that reads a whole topic without a group, until something about the broker or the topic changes.

Nothing is committed, and no member joins a group: where reading begins is the caller's to say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from streams.base.errors import BrokerUnavailable
from streams.broker import tansu
from streams.broker.admin import Admin
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.guarded_fetch import guard

FETCH_WAIT_S = 0.25
CHECK_S = 2.0
DEADLINE_S = 5.0

log = logging.getLogger(__name__)


class TopicSession:
    """A topic as it was when the session began: its partitions and the cluster's id. See `topic_session`.

    Where to read from is to be said with `seek` before `batches`.
    """

    def __init__(
        self, config: KafkaConfig, topic: str, admin: Admin, consumer: AIOKafkaConsumer, state: tuple[int, str | None],
        *, check_s: float, deadline_s: float,
    ) -> None:  # fmt: skip
        self._config, self._topic, self._admin, self._consumer, self._state = config, topic, admin, consumer, state
        self._check_s, self._deadline_s = check_s, deadline_s
        self._sources = [TopicPartition(topic, number) for number in range(self.partitions)]
        self._stalled: dict[TopicPartition, int] = {}

    @property
    def partitions(self) -> int:
        """How many partitions the topic has."""
        return self._state[0]

    @property
    def cluster(self) -> str | None:
        """The cluster's id; None where the broker does not say."""
        return self._state[1]

    async def begins(self) -> dict[int, int]:
        """The first offset that each partition still has."""
        with _reading(self._topic):
            async with asyncio.timeout(self._deadline_s):
                found = await self._consumer.beginning_offsets(self._sources)
        return {source.partition: offset for source, offset in found.items()}

    async def ends(self) -> dict[int, int]:
        """The offset after each partition's last record. To be asked before `seek`: it may move the positions."""
        tells_ends = self._config.implementation != "tansu"
        with _reading(self._topic):
            async with asyncio.timeout(self._deadline_s):
                asked = self._consumer.end_offsets if tells_ends else self._log_ends
                found: Mapping[TopicPartition, int] = await asked(self._sources)
        return {source.partition: offset for source, offset in found.items()}

    async def _log_ends(self, sources: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return await tansu.log_ends(self._consumer, sources)

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets, one for each partition."""
        for source in self._sources:
            self._consumer.seek(source, offsets[source.partition])

    def highwater(self, partition: int) -> int | None:
        """The end of a partition by the last fetch; None before the first."""
        end: int | None = self._consumer.highwater(self._sources[partition])
        return end

    async def batches(self) -> AsyncGenerator[Sequence[Record], None]:
        """Records of one partition in the order of their offsets, over and over; nothing after a quarter of a second.

        BrokerUnavailable where it is no longer the broker or the topic it was, or nothing comes any more.
        """
        checked_s = monotonic()
        while True:
            with _reading(self._topic):
                fetched = await self._consumer.getmany(timeout_ms=int(FETCH_WAIT_S * 1000))
            for records in fetched.values():
                yield records
            if not fetched:
                yield ()
            if monotonic() - checked_s >= self._check_s:
                await self._check()
                checked_s = monotonic()

    async def _check(self) -> None:
        if await _state_of_topic(self._admin, self._topic, self._deadline_s) != self._state:
            raise BrokerUnavailable("the cluster or the number of partitions has changed")
        with _reading(self._topic):
            async with asyncio.timeout(self._deadline_s):
                ends = await self._consumer.end_offsets(self._sources)
                positions = {source: await self._consumer.position(source) for source in self._sources}
        behind = {source: at for source, at in positions.items() if at < ends[source]}
        if any(self._stalled.get(source) == at for source, at in behind.items()):
            raise BrokerUnavailable("records wait and none came")
        self._stalled = behind


@asynccontextmanager
async def topic_session(
    config: KafkaConfig, topic: str, *, check_s: float = CHECK_S, deadline_s: float = DEADLINE_S
) -> AsyncIterator[TopicSession]:
    """Connect to all partitions of a topic. BrokerUnavailable where broker or topic are not there (yet).

    `check_s` is how often the broker is asked whether it is the same and the topic as it was; it bounds, with one
    request's deadline, how long an outage or a new partition goes unnoticed. A stall with records waiting (aiokafka
    may hang after a restart of the broker, aio-libs/aiokafka issue 1154) is noticed likewise.
    """
    async with Admin(config) as admin:
        state = await _state_of_topic(admin, topic, deadline_s)
        consumer = AIOKafkaConsumer(
            **config.connection(), enable_auto_commit=False, auto_offset_reset="none",
            fetch_max_wait_ms=int(FETCH_WAIT_S * 1000), max_partition_fetch_bytes=config.partition_fetch_bytes,
            isolation_level=config.isolation_level,
        )  # fmt: skip
        consumer.assign([TopicPartition(topic, number) for number in range(state[0])])
        try:
            with _reading(topic):
                async with asyncio.timeout(deadline_s):
                    await consumer.start()
                    guard(consumer, config.max_unpacked_bytes)
            yield TopicSession(config, topic, admin, consumer, state, check_s=check_s, deadline_s=deadline_s)
        finally:
            await _stop(consumer, deadline_s)


async def _state_of_topic(admin: Admin, topic: str, deadline_s: float) -> tuple[int, str | None]:
    """The topic's partitions and the cluster's id. BrokerUnavailable where the topic is not there (yet)."""
    try:
        async with asyncio.timeout(deadline_s):
            topics, cluster = await admin.topics([topic]), await admin.cluster_id()
    except TimeoutError as error:
        raise BrokerUnavailable(f"the broker did not answer within {deadline_s:g} s") from error
    if topic not in topics:
        raise BrokerUnavailable(f"there is no topic {topic}: run `interests topics create`")
    return topics[topic].partitions, cluster


async def _stop(consumer: AIOKafkaConsumer, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await consumer.stop()
            return
    except (KafkaError, TimeoutError):
        log.debug("stopping the consumer failed", exc_info=True)
    except asyncio.CancelledError:
        # aiokafka lets the cancelling of its own fetch through where the broker was away.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    await consumer._client.close()


@contextmanager
def _reading(topic: str) -> Iterator[None]:
    """Our errors for aiokafka's; a topic that is gone may be made again, so it is waited for."""
    with kafka_errors(f"following {topic}"):
        try:
            yield
        except UnknownTopicOrPartitionError as error:
            raise BrokerUnavailable(f"topic {topic} is gone") from error
