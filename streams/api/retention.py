"""How long the topics keep what people did: part of an erasure's receipt, since a log cannot forget one person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic

import structlog

from streams.api.receipts import RetainedTopic
from streams.base.errors import InterestsError
from streams.broker.admin import Admin
from streams.broker.config import KafkaConfig
from streams.settings.servers import KafkaSettings

log = structlog.get_logger(__name__)

_ASK_WITHIN_S = 1.0
_KNOWN_FOR_S = 600.0
_UNKNOWN_FOR_S = 60.0  # a broker that does not answer is not asked with every erasure


class Retention:
    """The topics that may hold a user's records, with their retention where the broker reports it."""

    def __init__(self, config: KafkaConfig, kafka: KafkaSettings, clock: Callable[[], float] = monotonic) -> None:
        events = [*kafka.event_topics, kafka.unresolved_topic]
        derived = [name for name in (kafka.updated_topic, kafka.population_topic) if name]
        self._topics = [*events, *(f"{name}.dead" for name in events), *derived]
        self._config, self._clock = config, clock
        self._known: tuple[float, list[RetainedTopic]] | None = None

    async def topics(self) -> list[RetainedTopic]:
        """Each topic; `retention_ms` None where the broker does not report it in time."""
        if self._known is None or self._clock() >= self._known[0]:
            try:
                async with asyncio.timeout(_ASK_WITHIN_S), Admin(self._config) as admin:
                    retention = await admin.retention_ms(self._topics)
            except (InterestsError, TimeoutError) as error:
                log.warning("retention_unknown", error=type(error).__name__)
                self._keep({}, _UNKNOWN_FOR_S)
            else:
                self._keep(retention, _KNOWN_FOR_S)
        return self._known[1] if self._known else []

    def _keep(self, retention: Mapping[str, int | None], for_s: float) -> None:
        kept = [RetainedTopic(topic=name, retention_ms=retention.get(name)) for name in self._topics]
        self._known = (self._clock() + for_s, kept)
