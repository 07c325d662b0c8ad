"""Examples in, durable state and published weights out: what one learner does from its start to its end.

State first, then everything that speaks of it: dead letters are sent before the state that has passed them is written,
weights and counts after it. So a learner that dies at any moment loses and doubles nothing but a dead letter.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Final

import msgspec
import structlog

from streams.base.clock import now_ms
from streams.base.errors import BrokerUnavailable, PoisonError
from streams.base.retrying import answered
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.producer import Outgoing, Producer
from streams.broker.topic_session import TopicSession, topic_session
from streams.events.dead_letters import DeadLetter
from streams.learner.log_place import met
from streams.learner.metrics import LearnerMetrics
from streams.learner.state import LearnerState, Outcome
from streams.learner.status import LearnerStatus
from streams.pipeline.outbox import KafkaOutbox
from streams.ranking.examples import unpack_example
from streams.ranking.parts import KINDS, Kind
from streams.ranking.weights import PublishedWeights, pack_weights
from streams.settings.learning import LearningSettings
from streams.store.learner_state import LearnerStates

log = structlog.get_logger(__name__)

_RETRY_S, _LONGEST_RETRY_S = 0.5, 10.0
_PUBLISH_WITHIN_S: Final = 5.0
_AT_ONCE_S: Final = 0.05  # of learning between turns of the event loop


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerDependencies:
    """What a learner works with. `switched` says whether it is to learn for another encoder from now on."""

    kafka: KafkaConfig
    topic: str
    weights_topic: str
    limits: LearningSettings
    states: LearnerStates
    producer: Producer
    outbox: KafkaOutbox
    metrics: LearnerMetrics
    status: LearnerStatus
    waiting: Callable[[str], None]
    switched: Callable[[], bool]


class Learning:
    """A learner at work on a state that it has taken."""

    def __init__(self, deps: LearnerDependencies, state: LearnerState, stop: asyncio.Event) -> None:
        self._deps, self._state, self._stop = deps, state, stop
        self._dead: list[DeadLetter] = []
        self._outcomes: Counter[Outcome] = Counter()
        self._read = 0  # records since the last commit
        self._committed_s = self._published_s = monotonic()
        self._published: dict[Kind, PublishedWeights] = {}

    async def run(self) -> None:
        """Learn until asked to stop, or until it is to learn for another encoder; what was learned is durable then.

        Fenced where another learner has taken the state.
        """
        pause_s = _RETRY_S
        while not self._over():
            try:
                await self._commit()  # weights of an earlier learner are published anew
                async with topic_session(self._deps.kafka, self._deps.topic) as session:
                    await self._begin(session)
                    pause_s = _RETRY_S
                    await self._follow(session)
            except BrokerUnavailable as error:
                self._deps.waiting("kafka")
                log.warning("waiting", server="kafka", error=str(error))
                await self._pause(pause_s)
                pause_s = min(_LONGEST_RETRY_S, 2 * pause_s)
        try:
            await self._commit()
        except BrokerUnavailable as error:
            log.warning("unpublished", error=str(error))

    def _over(self) -> bool:
        return self._stop.is_set() or self._deps.switched()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            pass

    async def _begin(self, session: TopicSession) -> None:
        """Find the place to read on from, and mark a topic or a cluster that is new."""
        before = self._state.place
        begins, ends = await session.begins(), await session.ends()
        self._state.place, reason, lost = met(before, session.cluster or "", begins, ends)
        if reason:
            log.warning("new_incarnation", reason=reason, log=self._state.place.number)
        if lost:
            log.warning("examples_lost", offsets=lost, message="retention removed them before they were read")
            self._deps.metrics.lost.inc(lost)
        self._deps.metrics.log.set(self._state.place.number)
        session.seek(self._state.place.next)
        log.info("reading", topic=self._deps.topic, next=dict(self._state.place.next), log=self._state.place.number)
        self._deps.status.waiting_for = None

    async def _follow(self, session: TopicSession) -> None:
        async with aclosing(session.batches()) as batches:
            async for records in batches:
                turn_s = monotonic()
                for record in records:
                    if self._over():
                        return
                    self._take(record)
                    if self._due():
                        await self._commit()
                    if monotonic() - turn_s > _AT_ONCE_S:
                        await asyncio.sleep(0)
                        turn_s = monotonic()
                if self._over():
                    return
                if self._due():
                    await self._commit()
                self._note_lag(session)

    def _take(self, record: Record) -> None:
        try:
            self._outcomes[self._state.fold(unpack_example(record.value))] += 1
        except PoisonError as error:
            self._dead.append(DeadLetter.of(record, error))
        self._state.place = self._state.place.moved(record.partition, record.offset)
        self._read += 1

    def _due(self) -> bool:
        limits, now_s = self._deps.limits, monotonic()
        if self._read and (self._read >= limits.commit_examples or now_s - self._committed_s >= limits.commit_s):
            return True
        return now_s - self._published_s >= limits.publish_s and bool(self._to_publish())

    def _learned(self, kind: Kind) -> int:
        return self._state.kinds[kind].learner.lists

    async def _commit(self) -> None:
        """Write the state, then publish the weights that changed, or all of them as a sign of life where that is due.

        BrokerUnavailable where dead letters or weights cannot be sent: the next one sends them.
        """
        deps, state = self._deps, self._state
        if self._dead:
            await deps.outbox.dead_letter(self._dead)
        kinds = self._to_publish()
        began_s, waiting_for = monotonic(), deps.status.waiting_for
        await answered(deps.waiting, deps.states.write, state.pack())
        deps.status.waiting_for = waiting_for
        deps.metrics.commit_seconds.observe(monotonic() - began_s)
        self._count()
        if kinds:
            await self._publish(kinds)

    def _to_publish(self) -> list[Kind]:
        learned = [kind for kind in KINDS if self._learned(kind)] if self._deps.weights_topic else []
        versions = {kind: self._state.revise(kind) for kind in learned}
        if monotonic() - self._published_s >= self._deps.limits.publish_s:
            return learned
        return [
            kind for kind in learned if kind not in self._published or self._published[kind].version != versions[kind]
        ]

    async def _publish(self, kinds: list[Kind]) -> None:
        deps = self._deps
        made = [self._state.published(kind, now_ms()) for kind in kinds]
        out = [Outgoing(one.key, pack_weights(one)) for one in made]
        await deps.producer.send_many(deps.weights_topic, out, deadline_s=_PUBLISH_WITHIN_S)
        for one in made:
            was = self._published.get(one.kind)
            if was is not None and was.serve != one.serve:
                log.warning("served_weights_changed", kind=one.kind, learned=one.serve, version=one.version)
            self._published[one.kind] = one
            deps.metrics.version.labels(one.kind).set(one.version)
            deps.metrics.lists.labels(one.kind).set(one.lists)
            deps.metrics.served.labels(one.kind).set(one.serve)
            deps.metrics.published.labels(one.kind).inc()
        if len(kinds) == sum(self._learned(kind) > 0 for kind in KINDS):
            self._published_s = monotonic()

    def _count(self) -> None:
        """Count what is durable now."""
        metrics = self._deps.metrics
        for outcome, number in self._outcomes.items():
            metrics.examples.labels(outcome).inc(number)
        metrics.dead_lettered(self._dead)
        self._outcomes.clear()
        self._dead, self._read, self._committed_s = [], 0, monotonic()
        self._deps.metrics.figures = [(label, msgspec.structs.replace(figure)) for label, figure in self._state.figures]

    def _note_lag(self, session: TopicSession) -> None:
        for partition, offset in self._state.place.next.items():
            end = session.highwater(partition)
            if end is not None:
                self._deps.metrics.lag.labels(self._deps.topic, str(partition)).set(max(0, end - offset))
