"""Faust's Kafka transport, handing agents whole fetched batches instead of single records.

Written against faust-streaming 0.15.3: it overrides private methods, so the version is checked at import (in
`consumer_thread`). Group membership, rebalancing, flow control and commits stay Faust's; what changes:

- One message carries one `FetchedBatch`; no object is made a record.
- `AckLedger` replaces Faust's list of acknowledged offsets, which can commit past a record in flight.
- Every batch carries the `GroupIdentity` it was fetched under. A batch of an ended assignment is dropped.
- A full agent queue takes its own partitions out of the next fetch; other agents go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message

from streams.base.errors import FatalError
from streams.broker.config import KafkaConfig
from streams.broker.consumer_thread import BatchConsumerThread, BatchRebalanceListener
from streams.broker.fetch_room import Room
from streams.broker.fetched_batch import (
    NOTHING_FETCHED,
    AckLedger,
    Fetched,
    FetchedBatch,
    GroupIdentity,
    Partition,
    interleave,
)
from streams.broker.liveness import LivenessJudge

FETCH_WAIT_S = 0.5
LAST_COMMIT_WITHIN_S = 5.0

log = logging.getLogger(__name__)


class LogBeganAnew(FatalError):
    """A topic was made anew, or its log cut off, while it was being read."""


class WorkerApp(Protocol):
    """What the consumer needs of its Faust app, which `app.py` makes around this transport."""

    kafka: KafkaConfig
    liveness: LivenessJudge
    topics: Any
    should_stop: bool


class BatchConsumer(driver.Consumer):  # type: ignore[misc]  # faust is untyped
    """Faust's consumer with whole fetched batches as messages and one committable number a partition."""

    RebalanceListener = BatchRebalanceListener
    app: WorkerApp
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = AckLedger()
        self.room = asyncio.Event()
        self._log_began_anew: LogBeganAnew | None = None
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def identity(self) -> GroupIdentity | None:
        """The assignment in force; None while the group rebalances or before the first join."""
        return self._thread.identity

    def failure(self) -> BaseException | None:
        """What ended group membership or fetching for good; None while all is well."""
        return self._log_began_anew or self._thread.failure()

    def uncommitted(self) -> bool:
        """Whether something that was handed out is not committed: at work, or acknowledged since the last commit."""
        if self.ledger.outstanding():
            return True
        return any(
            self._should_commit(source, self._new_offset(source)) for source in self._filter_tps_with_pending_acks()
        )

    # -- fetching -----------------------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                fetched = await self._next_fetch()
                if not self._same_logs(fetched):
                    return
                for batch in interleave(fetched.batches.values()):
                    await self._deliver(batch)
                self._pass_over(fetched)
        except (*self.consumer_stopped_errors, asyncio.CancelledError):
            if not self.app.should_stop:
                raise

    async def _next_fetch(self) -> Fetched:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        self.room.clear()
        wanted = self._rooms()
        if not wanted:
            await self.wait_first(self.room.wait(), timeout=FETCH_WAIT_S)
            return NOTHING_FETCHED
        self._thread.rooms = wanted
        fetched: Fetched = await self._getmany(set(wanted), FETCH_WAIT_S)
        return fetched

    def _same_logs(self, fetched: Fetched) -> bool:
        """Notice logs that end before where they were read to: topics made anew, or cut off when a broker was lost.

        aiokafka goes back to such a log's first record by itself. What was read and committed of the old one says
        nothing of the new, where all would be taken for read already. False where work of this assignment has begun:
        then this worker fails, and the next one has a new log, see `streams.worker.epochs`.
        """
        if fetched.identity is None or fetched.identity is not self.identity:
            return True
        for place, position in fetched.positions.items():
            source = TP(*place)
            read_to = self._read_offset[source]
            if read_to is None or position >= read_to:
                continue
            message = (
                f"{place.topic}/{place.partition} was read to {read_to} and is now read from before {position + 1}"
            )
            log.warning("%s: its log begins anew", message)
            if not self.ledger.began_anew(place, position):
                self._log_began_anew = LogBeganAnew(message)
                return False
            self._read_offset[source] = self._committed_offset[source] = None
        return True

    def _pass_over(self, fetched: Fetched) -> None:
        """Have positions committed that moved without a record: nothing to read is not stuck."""
        if fetched.identity is None or fetched.identity is not self.identity:
            return
        moved = [self.ledger.passed(source, position) for source, position in fetched.positions.items()]
        if any(moved):
            self.app.liveness.progress()

    def _rooms(self) -> dict[TP, Room]:
        """The partitions whose agent has room for more, each with its agent's room.

        An agent has room for `max_unpacked_bytes`, less what it was handed and has not acknowledged, and for so many
        batches in its queue. No agent waits for another's: one that waits, as that of waiting events does, holds up
        itself alone.
        """
        channels_of, kafka = self.app.topics._tp_index, self.app.kafka
        rooms: dict[frozenset[Any], Room] = {}
        for place, held in self.ledger.held_bytes().items():
            agent = frozenset(channels_of.get(TP(*place), ()))
            rooms.setdefault(agent, Room(kafka.max_unpacked_bytes)).left -= held
        wanted: dict[TP, Room] = {}
        for source in self._get_active_partitions():
            channels = channels_of.get(source, ())
            room = rooms.setdefault(frozenset(channels), Room(kafka.max_unpacked_bytes))
            if room.left > 0 and all(channel.queue.qsize() < kafka.buffer_batches for channel in channels):
                wanted[source] = room
        return wanted

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
            self.app.liveness.progress()
        self.ledger.enter(fresh)
        await self.callback(_as_message(source, fresh))

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing to do: `_rooms` looks at the queues before every fetch."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing to do: see `on_buffer_full`."""

    # -- acknowledging and committing -----------------------------------------------------------------------------

    def ack(self, message: Message) -> bool:
        message.acked = True
        batch: FetchedBatch = message.value
        if batch.identity is not self.identity or not self.ledger.ack(batch):
            return False
        self.app.liveness.progress()
        self.room.set()
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
        self.app.liveness.committed()
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets acknowledged offsets before it commits; committing first spares the next owner the repeat.
        if revoked and not self.app.should_stop:
            await self._commit_before_leaving()
        self.ledger.clear()
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        await self._commit_before_leaving()
        self.transport._topic_waiters.clear()

    async def _commit_before_leaving(self) -> None:
        try:
            async with asyncio.timeout(LAST_COMMIT_WITHIN_S):
                # A commit under way does not cover what was acknowledged since; Faust's `commit` would leave it there.
                while await self.maybe_wait_for_commit_to_finish():
                    pass
                await self.commit()
        except TimeoutError:
            log.warning("offsets were not committed within %.0f s; records will be read again", LAST_COMMIT_WITHIN_S)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing to do: Faust's detector counts single events; `run_worker` asks a judge of its own (`liveness`)."""


class BatchTransport(driver.Transport):  # type: ignore[misc]  # faust is untyped
    """The aiokafka transport with the batch consumer."""

    Consumer = BatchConsumer


def _as_message(source: TP, batch: FetchedBatch) -> ConsumerMessage:
    last = batch.records[-1]
    return ConsumerMessage(
        batch.topic,
        batch.partition,
        last.offset,
        (last.timestamp or 0) / 1000.0,
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
