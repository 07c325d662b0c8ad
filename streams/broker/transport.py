"""Faust's Kafka transport, handing agents whole fetched batches instead of single records.

Written against faust-streaming 0.15.3: it overrides private methods, so the version is checked at import.
Group membership, rebalancing, flow control and commits stay Faust's; what changes:

- One message carries one `FetchedBatch`; no object is made a record.
- `AckLedger` replaces Faust's list of acknowledged offsets, which can commit past a record in flight.
- Every batch carries the `GroupIdentity` it was fetched under. A batch of an ended assignment is dropped.
- Records that arrive while no assignment is in force are given back by seeking to them: Faust seeks only to
  committed offsets, so a partition without one would lose them.
- A full agent queue takes its own partitions out of the next fetch; other agents go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiokafka
import faust
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.protocol.metadata import MetadataRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message

from streams.broker.fetched import AckLedger, FetchedBatch, GroupIdentity, Partition, interleave, split
from streams.errors import ConfigurationError

if TYPE_CHECKING:
    from streams.broker.app import BrokerApp

FITS_FAUST = "0.15.3"
FETCH_WAIT_S = 0.5
REVOKE_COMMIT_S = 5.0

log = logging.getLogger(__name__)

if faust.__version__ != FITS_FAUST:
    raise ConfigurationError(
        f"got faust-streaming {faust.__version__}, expected {FITS_FAUST}: the batch transport overrides its private "
        f"methods; install faust-streaming=={FITS_FAUST}"
    )


class BatchRebalanceListener(driver.ConsumerRebalanceListener):  # type: ignore[misc]  # faust is untyped
    """Ends the identity before anything else learns of a rebalance, and makes the new one before Faust does."""

    _thread: BatchConsumerThread

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        self._thread.identity = None
        return super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._thread.identity = self._thread.read_identity()
        await super().on_partitions_assigned(assigned)


class BatchConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is untyped
    """The thread that owns the aiokafka consumer: fetches, and cuts what came into batches."""

    identity: GroupIdentity | None = None
    _leader_id = ""
    _cluster_id: str | None = None

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        config = self.app.kafka
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            group_id=config.group_id,
            group_instance_id=config.group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=config.auto_offset_reset,
            isolation_level="read_committed" if config.read_committed else "read_uncommitted",
            max_poll_records=config.max_poll_records,
            max_poll_interval_ms=int(config.max_poll_interval_s * 1000),
            session_timeout_ms=int(config.session_timeout_s * 1000),
            rebalance_timeout_ms=int(config.rebalance_timeout_s * 1000),
            heartbeat_interval_ms=int(config.heartbeat_s * 1000),
            fetch_max_wait_ms=int(config.fetch_max_wait_s * 1000),
            fetch_max_bytes=config.fetch_bytes,
            max_partition_fetch_bytes=config.partition_fetch_bytes,
            **config.connection(),
        )

    async def on_start(self) -> None:
        await super().on_start()
        consumer = self._ensure_consumer()
        self._watch_joins(consumer._coordinator)
        self._cluster_id = await self._read_cluster_id(consumer._client)

    def _watch_joins(self, coordinator: Any) -> None:
        # aiokafka drops the leader's id once the JoinGroup response is handled; nothing else carries it.
        send = coordinator._send_req

        async def send_and_note_leader(request: Any) -> Any:
            response = await send(request)
            leader_id = getattr(response, "leader_id", None)
            if leader_id:
                self._leader_id = leader_id
            return response

        coordinator._send_req = send_and_note_leader

    async def _read_cluster_id(self, client: Any) -> str | None:
        try:
            response = await client.send(client.get_random_node(), MetadataRequest([]))
        except KafkaError as error:
            log.warning("cluster id unknown: %r", error)
            return None
        return getattr(response, "cluster_id", None)

    async def on_thread_stop(self) -> None:
        coordinator = self._consumer and self._consumer._coordinator
        if coordinator is not None and coordinator.generation == 0:
            # Tansu counts from 0 and aiokafka leaves only from 1 on: the next worker would wait out our session.
            try:
                await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
            except KafkaError as error:
                log.warning("leaving the group failed: %r", error)
        await super().on_thread_stop()

    def read_identity(self) -> GroupIdentity:
        """The identity of the assignment that aiokafka's coordinator has just made."""
        coordinator = self._ensure_consumer()._coordinator
        return GroupIdentity(coordinator.generation, self._leader_id, coordinator.member_id, self._cluster_id)

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the overridden method's signature
        max_records: int | None = None,
    ) -> Mapping[Any, list[FetchedBatch]]:
        # An empty set would mean every partition to aiokafka, and Faust empties the set it passes on a rebalance.
        wanted = frozenset(active_partitions)
        if not wanted:
            return {}
        fetched = await super()._fetch_records(consumer, wanted, timeout, max_records)
        if not fetched:
            return {}
        assigned, identity = consumer.assignment(), self.identity
        if identity is None or not self.consumer.flow_active:
            for source, records in fetched.items():
                if source in assigned:
                    consumer.seek(source, records[0].offset)
            return {}
        return {source: self._cut(consumer, source, records, identity) for source, records in fetched.items()}

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


class BatchConsumer(driver.Consumer):  # type: ignore[misc]  # faust is untyped
    """Faust's consumer with whole fetched batches as messages and one committable number a partition."""

    RebalanceListener = BatchRebalanceListener
    app: BrokerApp
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = AckLedger()
        self.room = asyncio.Event()
        self.last_progress_s = monotonic()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def identity(self) -> GroupIdentity | None:
        """The assignment in force; None while the group rebalances or before the first join."""
        return self._thread.identity

    # -- fetching -----------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                for batch in interleave((await self._next_fetch()).values()):
                    await self._deliver(batch)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _next_fetch(self) -> Mapping[Any, list[FetchedBatch]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        self.room.clear()
        wanted = self._partitions_with_room()
        if not wanted:
            await self.wait_first(self.room.wait(), timeout=FETCH_WAIT_S)
            return {}
        fetched: Mapping[Any, list[FetchedBatch]] = await self._getmany(wanted, FETCH_WAIT_S)
        return fetched

    def _partitions_with_room(self) -> set[TP]:
        channels_of = self.app.topics._tp_index
        limit = self.app.kafka.buffer_batches
        return {
            source
            for source in self._get_active_partitions()
            if all(channel.queue.qsize() < limit for channel in channels_of.get(source, ()))
        }

    async def _deliver(self, batch: FetchedBatch) -> None:
        if batch.identity is not self.identity:
            return
        source = TP(batch.topic, batch.partition)
        next_to_read = self._read_offset[source]
        fresh = batch if next_to_read is None else batch.since(next_to_read)
        if fresh is None:
            return
        self._read_offset[source] = fresh.next_offset
        if not self.ledger.outstanding():
            self.last_progress_s = monotonic()
        self.ledger.enter(fresh)
        await self.callback(_as_message(source, fresh))

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing to do: `_partitions_with_room` looks at the queues before every fetch."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing to do: see `on_buffer_full`."""

    # -- acknowledging and committing -----------------------------------------------------------------------------

    def ack(self, message: Message) -> bool:
        message.acked = True
        batch: FetchedBatch = message.value
        if batch.identity is not self.identity or not self.ledger.ack(batch):
            return False
        self.last_progress_s = monotonic()
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return (
            TP(source.topic, source.partition)
            for source in self.ledger.sources()
            if topics is None or source in topics or source.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        return self.ledger.committable(Partition(tp.topic, tp.partition))

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        assigned = self.assignment()
        held = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        if not held or not await self._commit(held):
            return False
        self._committed_offset.update(held)
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets acknowledged offsets before it commits; committing first spares the next owner the repeat.
        if revoked:
            await asyncio.wait({asyncio.ensure_future(self.commit())}, timeout=REVOKE_COMMIT_S)
        self.ledger.clear()
        await super().on_partitions_revoked(revoked)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing to do: Faust's detector counts single events; `run_worker` has a watchdog of its own."""


class BatchTransport(driver.Transport):  # type: ignore[misc]  # faust is untyped
    """The aiokafka transport with the batch consumer."""

    Consumer = BatchConsumer


def _as_message(source: TP, batch: FetchedBatch) -> ConsumerMessage:
    last = batch.records[-1]
    return ConsumerMessage(
        batch.topic,
        batch.partition,
        last.offset,
        last.timestamp / 1000.0,
        0,
        None,
        None,
        batch,
        None,
        0,
        batch.size_bytes,
        source,
        generation_id=batch.generation,
    )
