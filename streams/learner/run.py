"""A learner, put together: settings in, servers waited for, examples learned from, an exit code out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import structlog
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from streams.base.errors import ConfigurationError, PoisonError, StoreUnavailable
from streams.base.retrying import answered
from streams.base.status_port import status_port
from streams.broker.producer import Producer
from streams.learner.learning import LearnerDependencies, Learning
from streams.learner.metrics import LearnerMetrics
from streams.learner.shadows import read_shadows
from streams.learner.state import LearnerState, Rules
from streams.learner.status import LearnerStatus
from streams.pipeline.outbox import KafkaOutbox
from streams.ranking.rows import NAMES_OF, VERSION, fixed_weights
from streams.settings.privacy import dead_letter_policy_of, pseudonyms_of
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config, qdrant_config
from streams.store.collections import AliasMissing, aliased
from streams.store.learner_state import LearnerStates
from streams.store.points import PointsClient

log = structlog.get_logger(__name__)

#: How often the alias is looked at, in seconds.
ALIAS_EVERY_S: Final = 10.0
STOP_WITHIN_S: Final = 10.0
_STUCK_S: Final = 120.0


async def run(settings: Settings, stop: asyncio.Event) -> int:
    """Run one learner until `stop` is set. Fenced where another one has begun after it."""
    limits = settings.learning
    if not settings.kafka.examples_topic:
        raise ConfigurationError("kafka.examples_topic is empty, so workers send nothing to learn from: name the topic")
    rules = Rules(fixed=fixed_weights(settings.ranking.policy()), shadows=read_shadows(limits.shadow_weights))
    metrics, status = LearnerMetrics(), LearnerStatus()
    metrics.expect([settings.kafka.examples_topic])
    port = status_port(
        status.answer, status.judge.tick, metrics.registry, limits.metrics_host, limits.metrics_port,
        section="learning", exit_after_s=_STUCK_S,
    )  # fmt: skip
    with threadpool_limits(1, user_api="blas"), port:  # so small that more threads wait for each other
        beating = asyncio.create_task(status.beat())
        asked = asyncio.create_task(stop.wait())
        working = asyncio.create_task(_work(settings, rules, metrics, status, stop))
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            status.stopping = True
            if not working.done():
                await asyncio.wait({working}, timeout=0.0 if status.waiting_for else STOP_WITHIN_S)
            if working.cancel():
                log.warning("given_up", message="a server is away: what was not written will be learned again")
            with suppress(asyncio.CancelledError):
                await working
        finally:
            for task in (beating, asked, working):
                task.cancel()
    log.info("stopped", code=0)
    return 0


async def _work(
    settings: Settings, rules: Rules, metrics: LearnerMetrics, status: LearnerStatus, stop: asyncio.Event
) -> None:
    """Learn for one encoder after another, as the alias says; one that the settings name stays."""

    def waiting(server: str) -> None:
        metrics.retries.labels(server).inc()
        status.waiting_for = server

    while not stop.is_set():
        encoder = settings.learning.encoder
        if encoder is None:
            encoder = await answered(waiting, _aliased_encoder, settings)
        async with _connected(settings, encoder, metrics, waiting) as (states, producer, outbox):
            earlier = state_names(settings.kafka.examples_topic, encoder)[1:]
            state = await _taken(states, earlier, encoder, rules, waiting)
            watch = _AliasWatch(settings, encoder)
            deps = LearnerDependencies(
                kafka=kafka_config(settings.kafka), topic=settings.kafka.examples_topic,
                weights_topic=settings.kafka.ranking_weights_topic, limits=settings.learning, states=states,
                producer=producer, outbox=outbox, metrics=metrics, status=status, waiting=waiting,
                switched=watch.switched.is_set,
            )  # fmt: skip
            watching = asyncio.create_task(watch.run())
            try:
                await Learning(deps, state, stop).run()
            finally:
                watching.cancel()


async def _aliased_encoder(settings: Settings) -> str:
    """The encoder behind Qdrant's alias. StoreUnavailable while there is none: the first worker makes it."""
    points = PointsClient(qdrant_config(settings))
    try:
        return (await aliased(points.collections, "Qdrant")).encoder_id
    except AliasMissing as error:
        raise StoreUnavailable(str(error)) from error
    finally:
        await points.close()


class _AliasWatch:
    """Notices that the alias points at another encoder, where the settings name none."""

    def __init__(self, settings: Settings, encoder: str) -> None:
        self._settings, self._encoder = settings, encoder
        self.switched = asyncio.Event()

    async def run(self) -> None:
        while self._settings.learning.encoder is None and not self.switched.is_set():
            await asyncio.sleep(ALIAS_EVERY_S)
            try:
                now = await _aliased_encoder(self._settings)
            except StoreUnavailable:
                continue
            if now != self._encoder:
                log.warning("encoder_switched", before=self._encoder, now=now)
                self.switched.set()


def state_names(topic: str, encoder: str) -> list[str]:
    """What a learner's state is called: by the topic of examples, the encoder and the version of the features.

    That of this version first, then those of the earlier ones that are read where it is not there.
    """
    return [f"{topic}\x1f{encoder}\x1f{version}" for version in sorted(NAMES_OF, reverse=True)]


@asynccontextmanager
async def _connected(
    settings: Settings, encoder: str, metrics: LearnerMetrics, waiting: Callable[[str], None]
) -> AsyncIterator[tuple[LearnerStates, Producer, KafkaOutbox]]:
    """Qdrant and Kafka, once both have answered."""
    kafka = settings.kafka
    policy = dead_letter_policy_of(settings, pseudonyms_of(settings))
    async with AsyncExitStack() as stack:
        # Another encoder's state, or one of other features, is another point: it stays as it is, and is not misread.
        name = state_names(kafka.examples_topic, encoder)[0]
        states = LearnerStates(qdrant_config(settings), name, uuid.uuid4().hex, called=metrics.store_called)
        stack.push_async_callback(states.close)
        await answered(waiting, states.prepare)
        producer = Producer(kafka_config(kafka))
        await answered(waiting, producer.start)
        stack.push_async_callback(producer.stop)
        outbox = KafkaOutbox(
            producer, kafka.unresolved_topic, policy, lambda topic: metrics.refused.labels(topic).inc()
        )  # fmt: skip
        log.info("ready", encoder=encoder, features=VERSION)
        yield states, producer, outbox


async def _taken(
    states: LearnerStates, earlier: Sequence[str], encoder: str, rules: Rules, waiting: Callable[[str], None]
) -> LearnerState:
    """The state as the last learner left it, ours from now on; where it cannot be read it is kept aside.

    Where there is none, a copy of what a learner of an earlier version of the features left under a name of `earlier`;
    that one stays as it is, so that its learner can be gone back to.
    """
    packed = await answered(waiting, states.take)
    if packed is not None:
        try:
            return LearnerState.unpack(packed, encoder, rules)
        except PoisonError as error:
            await answered(waiting, states.keep_aside, packed)
            log.warning("state_set_aside", error=str(error), message="learning begins anew")
            return LearnerState(encoder, rules)
    for name in earlier:
        packed = await answered(waiting, states.of, name)
        if packed is not None:
            try:
                state = LearnerState.unpack(packed, encoder, rules)
            except PoisonError as error:
                log.warning("earlier_state_unread", error=str(error))
                continue
            log.info("state_of_earlier_features", lists={kind: one.learner.lists for kind, one in state.kinds.items()})
            return state
    return LearnerState(encoder, rules)
