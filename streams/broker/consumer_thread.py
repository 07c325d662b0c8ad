"""The thread that owns the aiokafka consumer: joins, fetches, and cuts what came into batches.

Written against faust-streaming 0.15.3, whose private methods it overrides. Records that arrive while no assignment
is in force are given back by seeking to them: Faust seeks only to committed offsets, so a partition without one
would lose them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import aiokafka
import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.threads import WorkerThread

from streams.base.errors import ConfigurationError
from streams.broker import tansu
from streams.broker.fetch_room import Room
from streams.broker.fetched_batch import NOTHING_FETCHED, Fetched, FetchedBatch, GroupIdentity, Partition, split
from streams.broker.guarded_fetch import guard

FITS_FAUST = "0.15.3"
LEAVE_WITHIN_S = 5.0
RETRY_MS = 300  # aiokafka logs an error at every try while the broker is away

log = logging.getLogger(__name__)


def check_faust(version: str) -> None:
    """Raise ConfigurationError for a Faust whose private methods may differ from the one this was written against."""
    if version != FITS_FAUST:
        raise ConfigurationError(
            f"got faust-streaming {version}, expected {FITS_FAUST}: the batch transport overrides its private "
            f"methods; install faust-streaming=={FITS_FAUST}"
        )


check_faust(faust.__version__)


class JoinWatch:
    """Sees every answer the group's coordinator gives to one aiokafka coordinator object, in its thread.

    aiokafka drops the leader's id once a JoinGroup answer is handled; nothing else carries it. `on_sync` is called
    with the leader's id and the error code of every SyncGroup answer.
    """

    def __init__(self, coordinator: Any, on_sync: Callable[[str, int], None] | None = None) -> None:
        self.leader_id = ""
        self._on_sync = on_sync
        self._send = coordinator._send_req
        coordinator._send_req = self._watched

    async def _watched(self, request: Any) -> Any:
        response = await self._send(request)
        if getattr(response, "leader_id", ""):
            self.leader_id = response.leader_id
        elif self._on_sync is not None and hasattr(response, "member_assignment"):
            self._on_sync(self.leader_id, response.error_code)
        return response


class BatchRebalanceListener(driver.ConsumerRebalanceListener):  # type: ignore[misc]  # faust is untyped
    """Ends the identity before anything else learns of a rebalance, and makes the new one before Faust does."""

    _thread: BatchConsumerThread

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        self._thread.identity = None
        return super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._thread.identity = self._thread.read_identity()
        await super().on_partitions_assigned(assigned)


class _Thread(WorkerThread):  # type: ignore[misc]  # mode is untyped
    """Ends in silence: the error that ended the loop inside has been handed to the service by then."""

    def run(self) -> None:
        with suppress(Exception):
            super().run()


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is untyped
    """The thread that owns the aiokafka consumer: fetches within `rooms`, and cuts what came into batches."""

    Worker = _Thread
    identity: GroupIdentity | None = None
    rooms: Mapping[TP, Room] = MappingProxyType({})
    _cluster_id: str | None = None

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        config = self.app.kafka
        self._assignor = RangePartitionAssignor  # the same number of every topic to one worker: all of a user
        return aiokafka.AIOKafkaConsumer(
            group_id=config.group_id,
            group_instance_id=config.group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=config.auto_offset_reset,
            isolation_level=config.isolation_level,
            max_poll_records=config.max_poll_records,
            max_poll_interval_ms=int(config.max_poll_interval_s * 1000),
            session_timeout_ms=int(config.session_timeout_s * 1000),
            rebalance_timeout_ms=int(config.rebalance_timeout_s * 1000),
            heartbeat_interval_ms=int(config.heartbeat_s * 1000),
            retry_backoff_ms=RETRY_MS,
            fetch_max_wait_ms=int(config.fetch_max_wait_s * 1000),
            fetch_max_bytes=config.fetch_bytes,
            max_partition_fetch_bytes=config.partition_fetch_bytes,
            **config.connection(),
        )

    async def on_start(self) -> None:
        await super().on_start()
        consumer, kafka = self._ensure_consumer(), self.app.kafka
        self._guarded = guard(consumer, kafka.max_unpacked_bytes)
        on_sync = None
        if kafka.implementation == "tansu":
            patience_s = tansu.LEADER_LATE_S + 3 * kafka.session_timeout_s
            on_sync = tansu.LostLeader(consumer._coordinator, patience_s=patience_s).synced
        self._joins = JoinWatch(consumer._coordinator, on_sync)
        self._cluster_id = await self._read_cluster_id(consumer._client)

    async def _read_cluster_id(self, client: Any) -> str | None:
        try:
            response = await client.send(client.get_random_node(), MetadataRequest([]))
        except KafkaError as error:
            log.warning("cluster id unknown: %r", error)
            return None
        return getattr(response, "cluster_id", None)

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Log what mode would print; `run_worker` logs the reason as an error."""
        log.debug(msg.format(*fmt), exc_info=True)  # noqa: LOG014 - mode calls this inside a handler

    async def stop(self) -> None:
        """Stop the thread from the moment it was started.

        Mode's own method does nothing until the thread has come to its first step. A worker stopped just then, as
        happens on a busy machine, went without its thread: that joined the group, and nobody ever ended it.
        """
        if self._thread is not None and self._thread.ident is not None:
            await Service.stop(self)
            self._thread.stop()

    def _stopped_set(self) -> None:
        if self.thread_loop.is_closed():
            self._stopped.set()
        else:
            super()._stopped_set()

    def close(self) -> None:
        """Nothing to do: Faust would close the client's connections from another thread's loop amid a rebalance,
        after which stopping the client properly does nothing and leaks them.
        """

    async def on_thread_stop(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_WITHIN_S):
                if self.app.kafka.implementation == "tansu":
                    await tansu.leave_at_generation_0(self._consumer and self._consumer._coordinator)
                await super().on_thread_stop()
                return
        except TimeoutError:
            log.warning("the group was not left within %.0f s, its session has to run out", LEAVE_WITHIN_S)
        except asyncio.CancelledError:
            # aiokafka lets the cancelling of its own fetch through where the broker was away.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        await self._ensure_consumer()._client.close()

    def failure(self) -> BaseException | None:
        """What ended aiokafka's group membership or fetching for good; Faust never asks for it.

        Read from any thread. aiokafka keeps an error such as a refused group until a caller of its own `getmany`
        picks it up, and Faust fetches past that method, so the worker would wait for ever.
        """
        if self._consumer is None or self._consumer._coordinator is None:
            return None
        coordinator, fetcher = self._consumer._coordinator, self._consumer._fetcher
        if coordinator._pending_exception is not None:
            pending: BaseException = coordinator._pending_exception
            return pending
        for task in (coordinator._coordination_task, fetcher._fetch_task):
            if task.done() and not (coordinator._closing.done() or fetcher._closed):
                ended = None if task.cancelled() else task.exception()
                return ended or RuntimeError("aiokafka's background task ended")
        return None

    def read_identity(self) -> GroupIdentity:
        """The identity of the assignment that aiokafka's coordinator has just made."""
        coordinator = self._ensure_consumer()._coordinator
        return GroupIdentity(
            generation=coordinator.generation,
            leader_id=self._joins.leader_id,
            member_id=coordinator.member_id,
            cluster_id=self._cluster_id,
        )

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the overridden method's signature
        max_records: int | None = None,
    ) -> Fetched:
        # An empty set would mean every partition to aiokafka, and Faust empties the set it passes on a rebalance.
        wanted = frozenset(active_partitions)
        if not wanted:
            return NOTHING_FETCHED
        self._guarded.give(self.rooms)
        fetched = await super()._fetch_records(consumer, wanted, timeout, max_records)
        assigned, identity = consumer.assignment(), self.identity
        if identity is None or not self.consumer.flow_active:
            for source, records in fetched.items():
                if source in assigned:
                    consumer.seek(source, records[0].offset)
            return NOTHING_FETCHED
        batches = {source: self._cut(consumer, source, records, identity) for source, records in fetched.items()}
        states = {source: consumer._subscription.subscription.assignment.state_value(source) for source in assigned}
        positions = {
            Partition(*source): state.position
            for source, state in states.items()
            if source in wanted and state.has_valid_position
        }
        return Fetched(batches, positions, identity)

    def _cut(
        self, consumer: aiokafka.AIOKafkaConsumer, source: Any, records: list[Any], identity: GroupIdentity
    ) -> list[FetchedBatch]:
        state = consumer._subscription.subscription.assignment.state_value(source)
        config = self.app.kafka
        return list(
            split(
                records,
                next_offset=state.position,
                highwater=state.highwater or records[-1].offset + 1,
                identity=identity,
                max_records=config.batch_records,
                max_bytes=config.batch_bytes,
            )
        )
