"""Following a topic without a group: every record produced from now on, in this process, whoever else reads it.

A loss is reported: after the broker was away, or the topic was made anew, reading begins at the ends again and the
reader gets a gap. Nothing is committed, and no member joins a group, so any number of processes may follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
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
RETRY_S = 0.5
LONGEST_RETRY_S = 10.0

log = logging.getLogger(__name__)


class TopicFollower:
    """Records of a topic as they come: `async for records in follower.batches()`.

    None stands for a gap; the first thing handed out is one, since what was before is not handed out.

    `check_s` is how often the broker is asked whether it is the same and the topic as it was; it bounds, with one
    request's deadline, how long an outage or a new partition goes unnoticed. A stall with records waiting (aiokafka
    may hang after a restart of the broker, aio-libs/aiokafka issue 1154) is noticed likewise.
    """

    def __init__(self, config: KafkaConfig, topic: str, *, check_s: float = 2.0, deadline_s: float = 5.0) -> None:
        self._config, self._topic, self._check_s, self._deadline_s = config, topic, check_s, deadline_s
        self.ready = asyncio.Event()

    async def batches(self) -> AsyncGenerator[Sequence[Record] | None, None]:
        """Follow until closed (`aclose`). What is produced once `ready` is set is handed out, or a gap stands for it.

        Raises ConfigurationError where the broker refuses this client; waits out everything else.
        """
        pause_s = RETRY_S
        while True:
            try:
                async with self._session() as session:
                    pause_s = RETRY_S
                    try:
                        self.ready.set()
                        yield None
                        async for records in session.batches():
                            yield records
                    finally:
                        self.ready.clear()
            except BrokerUnavailable as error:
                log.warning("following %s: %s; again in %.1f s", self._topic, error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_RETRY_S, 2 * pause_s)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Session]:
        async with Admin(self._config) as admin:
            count, cluster = await self._state_of_topic(admin)
            consumer = AIOKafkaConsumer(
                **self._config.connection(), enable_auto_commit=False, auto_offset_reset="none",
                fetch_max_wait_ms=int(FETCH_WAIT_S * 1000),
                max_partition_fetch_bytes=self._config.partition_fetch_bytes,
                isolation_level=self._config.isolation_level,
            )  # fmt: skip
            sources = [TopicPartition(self._topic, number) for number in range(count)]
            consumer.assign(sources)
            try:
                with _following(self._topic):
                    async with asyncio.timeout(self._deadline_s):
                        await consumer.start()
                        guard(consumer, self._config.max_unpacked_bytes)
                        await self._seek_to_ends(consumer, sources)
                yield _Session(self, admin, consumer, sources, (count, cluster))
            finally:
                await _stop(consumer, self._deadline_s)

    async def _seek_to_ends(self, consumer: AIOKafkaConsumer, sources: Sequence[TopicPartition]) -> None:
        tells_ends = self._config.implementation != "tansu"
        ends = await (consumer.end_offsets(sources) if tells_ends else tansu.log_ends(consumer, sources))
        for source, end in ends.items():
            consumer.seek(source, end)

    async def _state_of_topic(self, admin: Admin) -> tuple[int, str | None]:
        """The topic's partitions and the cluster's id. BrokerUnavailable where the topic is not there (yet)."""
        try:
            async with asyncio.timeout(self._deadline_s):
                topics, cluster = await admin.topics([self._topic]), await admin.cluster_id()
        except TimeoutError as error:
            raise BrokerUnavailable(f"the broker did not answer within {self._deadline_s:g} s") from error
        if self._topic not in topics:
            raise BrokerUnavailable(f"there is no topic {self._topic}: run `interests topics create`")
        return topics[self._topic].partitions, cluster


class _Session:
    """One connection, from the ends it began at until something about the broker has changed."""

    def __init__(
        self, follower: TopicFollower, admin: Admin, consumer: AIOKafkaConsumer, sources: Sequence[TopicPartition],
        state: tuple[int, str | None],
    ) -> None:  # fmt: skip
        self._follower, self._admin, self._consumer, self._sources = follower, admin, consumer, sources
        self._state = state
        self._stalled: dict[TopicPartition, int] = {}

    async def batches(self) -> AsyncIterator[Sequence[Record]]:
        checked_s = monotonic()
        while True:
            with _following(self._follower._topic):
                fetched = await self._consumer.getmany(timeout_ms=int(FETCH_WAIT_S * 1000))
            for records in fetched.values():
                yield records
            if monotonic() - checked_s >= self._follower._check_s:
                await self._check()
                checked_s = monotonic()

    async def _check(self) -> None:
        """Raise BrokerUnavailable where it is no longer the broker or the topic it was, or nothing comes any more."""
        if await self._follower._state_of_topic(self._admin) != self._state:
            raise BrokerUnavailable("the cluster or the number of partitions has changed")
        with _following(self._follower._topic):
            async with asyncio.timeout(self._follower._deadline_s):
                ends = await self._consumer.end_offsets(self._sources)
                positions = {source: await self._consumer.position(source) for source in self._sources}
        behind = {source: at for source, at in positions.items() if at < ends[source]}
        if any(self._stalled.get(source) == at for source, at in behind.items()):
            raise BrokerUnavailable("records wait and none came")
        self._stalled = behind


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
def _following(topic: str) -> Iterator[None]:
    """Our errors for aiokafka's; a topic that is gone may be made again, so it is waited for."""
    with kafka_errors(f"following {topic}"):
        try:
            yield
        except UnknownTopicOrPartitionError as error:
            raise BrokerUnavailable(f"topic {topic} is gone") from error
