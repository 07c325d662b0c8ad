"""The Faust application of a worker: no tables, no web server, no internal topics, no settings from the environment."""

from __future__ import annotations

import asyncio
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from mode.supervisors import CrashingSupervisor

from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import GroupIdentity
from streams.broker.liveness import LivenessJudge
from streams.broker.transport import BatchConsumer, BatchTransport

QUEUE_SLACK = 4_096


class _WorkerBoot(BootStrategy):  # type: ignore[misc]  # faust is untyped
    """Consumer, agents and conductor only: Faust's own producer, leader election and reply topics stay off."""

    def kafka_producer(self) -> list[Any]:
        return []

    def kafka_consumer(self) -> list[Any]:
        return [self.app.consumer]


class _NoTables(TableManager):  # type: ignore[misc]  # faust is untyped
    """Faust's table manager, which also resumes the flow after a rebalance, without its wait for tables to register."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class BrokerApp(faust.App):  # type: ignore[misc]  # faust is untyped
    """A Faust app whose agents receive `FetchedBatch` values; `make_app` makes it."""

    BootStrategy = _WorkerBoot

    def __init__(self, kafka: KafkaConfig, liveness: LivenessJudge, **settings: Any) -> None:
        self.kafka = kafka
        self.liveness = liveness
        self.draining = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()
        super().__init__(kafka.group_id, **settings)

    def _new_transport(self) -> BatchTransport:
        return BatchTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Make none: without tables there is nothing to keep on disk."""

    @property
    def identity(self) -> GroupIdentity | None:
        """The assignment in force: generation, leader, member and cluster; None while the group rebalances."""
        consumer = self._consumer
        return consumer.identity if isinstance(consumer, BatchConsumer) else None

    def enter_batch(self) -> None:
        """An agent is at work on a batch."""
        self._busy += 1
        self._idle.clear()

    def leave_batch(self) -> None:
        """An agent is done with a batch, or gave it up."""
        self._busy -= 1
        if not self._busy:
            self._idle.set()

    def note_progress(self) -> None:
        """An agent that waits for an outage to end is not stuck: time its standstill anew."""
        self.liveness.progress()

    async def drain(self, timeout_s: float) -> bool:
        """Hand out no further batch and wait until the running ones are done; False where time ran out first."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


def make_app(config: KafkaConfig, *, liveness: LivenessJudge | None = None) -> BrokerApp:
    """A worker's app for one consumer group; `liveness` is the judge that hears of its progress and commits.

    Call it inside the running event loop. Agents are added with `app.agent(app.topic(name))` and read their stream
    through `gather_batches`. An agent that raises ends the app (`CrashingSupervisor`).
    """
    return BrokerApp(
        config,
        liveness or LivenessJudge(),
        env={},
        broker=[f"kafka://{address}" for address in config.brokers],
        broker_client_id=config.client_id,
        broker_commit_interval=config.commit_interval_s,
        broker_session_timeout=config.session_timeout_s,
        broker_heartbeat_interval=config.heartbeat_s,
        broker_rebalance_timeout=config.rebalance_timeout_s,
        broker_request_timeout=config.request_timeout_s,
        broker_max_poll_interval=config.max_poll_interval_s,
        broker_max_poll_records=config.max_poll_records,
        producer_request_timeout=config.producer_timeout_s,
        key_serializer="raw",
        value_serializer="raw",
        agent_supervisor=CrashingSupervisor,
        autodiscover=False,
        reply_create_topic=False,
        stream_buffer_maxsize=QUEUE_SLACK,  # never reached: the transport stops fetching at `buffer_batches`
        stream_wait_empty=False,
        store="memory://",
        TableManager=_NoTables,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
