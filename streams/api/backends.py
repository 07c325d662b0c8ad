"""What the API stands on, opened together and let go of together: Qdrant, Triton, the broker, names, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from streams.api.access import Access
from streams.api.limits import RateLimits
from streams.api.live import Hub
from streams.api.names import Names
from streams.api.priors import Priors, PriorTerms
from streams.api.retention import Retention
from streams.api.sender import RecordSender
from streams.api.telemetry import ApiMetrics
from streams.base.errors import EncoderUnavailable
from streams.encoder.client import TritonEncoder
from streams.events.privacy import Pseudonyms
from streams.interests.nodes import NodePolicy, Vector
from streams.interests.score import RankPolicy
from streams.settings.privacy import pseudonyms_of
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config, qdrant_config, triton_encoder
from streams.store.catalogue import Catalogue
from streams.store.cohorts import CohortReader
from streams.store.reader import StoreReader

_TEXTS_CACHE_MIB = 8
_BEYOND_DEADLINE_S = 1.0

Popularity = Callable[[Iterable[str], int], Awaitable[Mapping[str, float]]]
"""Decayed masses of positive evidence by item id, at a moment in ms; items nobody touched are left out."""


@dataclass(slots=True)
class Backends:
    """Everything a route needs."""

    settings: Settings
    policy: NodePolicy
    ranking: RankPolicy
    names: Names
    metrics: ApiMetrics
    access: Access
    limits: RateLimits
    reading: StoreReader
    catalogue: Catalogue
    encoder: TritonEncoder
    sending: RecordSender
    lending: Priors
    popularity: Popularity
    retention: Retention
    hub: Hub
    pseudonyms: Pseudonyms | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _following: asyncio.Task[None] | None = None

    async def following(self) -> Hub:
        """The hub of live trees, which begins to follow when the first comes to watch: they wait for its start.

        ConfigurationError where the broker refuses us, which is told to each who asks.
        """
        if self._following is None:
            self._following = asyncio.create_task(self.hub.start())
        await asyncio.shield(self._following)
        return self.hub

    async def close(self) -> None:
        """Let go of every connection."""
        self.stopping.set()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self.hub.close()
        await self.sending.close()
        await self.encoder.close()
        await self.reading.close()

    def stored_as(self, user_id: str) -> str:
        """The id a user's nodes are kept under: their own, or their pseudonym."""
        return self.pseudonyms.of(user_id) if self.pseudonyms else user_id

    async def encode(self, texts: list[str]) -> Vector:
        """Vectors of texts, shape (n, dim), made by the encoder that made the stored ones."""
        names = await self.reading.names()
        info = await self.encoder.info()
        if info.encoder_id != names.encoder_id:
            raise EncoderUnavailable(
                f"Triton serves {info.encoder_id}, the alias points at vectors of {names.encoder_id}: switch one",
                retry_after_s=5.0,
            )
        encoded = await self.encoder.encode(texts)
        if encoded.poison:
            raise next(iter(encoded.poison.values()))
        return encoded.vectors


def backends(settings: Settings) -> Backends:
    """Put the parts together; nothing connects before it is asked."""
    api, metrics = settings.api, ApiMetrics()
    # A slow server runs into the request's own deadline first: that answers 504, a server that is away 503.
    reading = StoreReader(
        replace(qdrant_config(settings), deadline_s=api.deadline_s + _BEYOND_DEADLINE_S), metrics.store_called
    )
    catalogue = Catalogue(reading, cards_bytes=api.cards_cache_mib << 20, cards_ttl_s=api.cards_ttl_s)
    triton = settings.triton.model_copy(update={"cache_mib": min(_TEXTS_CACHE_MIB, settings.triton.cache_mib)})
    encoder = triton_encoder(
        triton, observer=metrics, deadline_s=min(settings.triton.deadline_s, api.encode_deadline_s)
    )
    kafka = kafka_config(settings.kafka)
    crowd = CohortReader(reading, settings.kafka.group, settings.population.popularity_half_life_s)
    lending = Priors(
        crowd, PriorTerms(settings.population.priors(), settings.nodes.policy(), settings.population.policy())
    )
    metrics.watch_caches({"cards": catalogue.cache_stats, "texts": encoder.cache_stats})
    return Backends(
        settings, settings.nodes.policy(), settings.ranking.policy(), Names(settings.concepts.file), metrics,
        Access(api), RateLimits(api.rate), reading, catalogue, encoder,
        RecordSender(kafka, api.deadline_s), lending, crowd.popularity,
        Retention(kafka, settings.kafka), Hub(kafka, settings.kafka.updated_topic, watchers=api.live_streams),
        pseudonyms_of(settings),
    )  # fmt: skip
