"""What the API stands on, made and closed together: Qdrant, Triton, the broker, names, limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from prometheus_client import Counter

from streams.api.access import Access
from streams.api.dashboards import DashboardReader
from streams.api.item_changes import ItemChanges
from streams.api.live_hub import Hub
from streams.api.node_names import NodeNames
from streams.api.panel_sources import PanelSource
from streams.api.pending_erasures import PendingErasures, erasure_holds
from streams.api.priors import Priors, PriorTerms
from streams.api.prometheus_source import PrometheusSource
from streams.api.rate_limits import RateLimits
from streams.api.retention import Retention
from streams.api.scraped_source import ScrapedSource
from streams.api.sender import RecordSender
from streams.api.served_weights import ServedWeights, WeightsFollower
from streams.api.switches import Switches
from streams.api.telemetry import ApiMetrics
from streams.base.background import end
from streams.base.credentials import secret
from streams.encoder.client import TritonEncoder
from streams.events.privacy import Pseudonyms
from streams.interests.nodes import NodePolicy, Vector
from streams.interests.score import RankPolicy
from streams.pipeline.ranking_view import RankingReader
from streams.ranking.rows import fixed_weights
from streams.settings.privacy import pseudonyms_of
from streams.settings.service import ApiSettings, Settings
from streams.settings.wiring import kafka_config, qdrant_config, triton_encoder
from streams.store.catalogue import Catalogue
from streams.store.cohorts import CohortReader
from streams.store.reader import StoreReader

_TEXTS_CACHE_MIB = 8
_BEYOND_DEADLINE_S = 1.0
_PROMETHEUS_WITHIN_S = 4.0
_SHARE_OF_DEADLINE = 0.8  # of a request: what is left says that Prometheus is away

Popularity = Callable[[Iterable[str], int], Awaitable[Mapping[str, float]]]
"""Decayed masses of positive evidence by item id, at a moment in ms; items nobody touched are left out."""


@dataclass(slots=True, kw_only=True)
class Backends:
    """Everything a route needs."""

    settings: Settings
    policy: NodePolicy
    ranking: RankPolicy
    names: NodeNames
    metrics: ApiMetrics
    access: Access
    limits: RateLimits
    reader: StoreReader
    catalogue: Catalogue
    switches: Switches
    sender: RecordSender
    priors: Priors
    popularity: Popularity
    ranking_reader: RankingReader
    weights: ServedWeights
    weights_follower: WeightsFollower | None
    retention: Retention
    pending_erasures: PendingErasures
    hub: Hub
    item_changes: ItemChanges
    pseudonyms: Pseudonyms | None
    dashboards: DashboardReader
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _hub_start: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Get ready for requests, inside the loop that serves them; nothing is waited for."""
        self.item_changes.start()
        self.pending_erasures.start()
        self.switches.start()
        self.dashboards.source.start()
        if self.weights_follower is not None:
            self.weights_follower.start()

    async def started_hub(self) -> Hub:
        """The hub of live trees; the first watcher starts it, and all wait until it has started.

        ConfigurationError, for each watcher, where the broker refuses this service.
        """
        if self._hub_start is None:
            self._hub_start = asyncio.create_task(self.hub.start())
        await asyncio.shield(self._hub_start)
        return self.hub

    async def close(self) -> None:
        """Close every connection."""
        self.stopping.set()
        await end(self._hub_start)
        await self.hub.close()
        await self.item_changes.close()
        await self.pending_erasures.close()
        await self.dashboards.source.close()
        if self.weights_follower is not None:
            await self.weights_follower.close()
        await self.sender.close()
        await self.switches.close()
        await self.reader.close()

    def stored_as(self, user_id: str) -> str:
        """The id a user's nodes are kept under: their own, or their pseudonym."""
        return self.pseudonyms.of(user_id) if self.pseudonyms else user_id

    async def encode(self, texts: list[str]) -> Vector:
        """Vectors of texts, shape (n, dim), made by the encoder that made the stored ones."""
        encoder = await self.switches.encoder_of((await self.reader.names()).encoder_id)
        encoded = await encoder.encode(texts)
        if encoded.poison:
            raise next(iter(encoded.poison.values()))
        return encoded.vectors


def make_backends(settings: Settings, *, wait_for_keys: bool = False) -> Backends:
    """What these settings name; nothing connects before its first use. `wait_for_keys`: see `create_app`."""
    api, metrics = settings.api, ApiMetrics()
    # A slow server runs into the request's own deadline first: that answers 504, a server that is away 503.
    reader = StoreReader(
        replace(qdrant_config(settings), deadline_s=api.deadline_s + _BEYOND_DEADLINE_S), metrics.store_called
    )
    catalogue = Catalogue(reader, cards_bytes=api.cards_cache_mib << 20, cards_ttl_s=api.cards_ttl_s)
    make_encoder = partial(_text_encoder, settings, metrics)
    encoder = make_encoder(settings.triton.model)
    kafka = kafka_config(settings.kafka)
    cohorts = CohortReader(reader, settings.kafka.group, settings.population.popularity_half_life_s)
    terms = PriorTerms(settings.population.priors(), settings.nodes.policy(), settings.population.policy())
    ranking = settings.ranking.policy()
    weights = ServedWeights(fixed_weights(ranking), int(settings.ranking.weights_max_age_s * 1000))
    topic = settings.kafka.ranking_weights_topic
    hub = Hub(kafka, settings.kafka.updated_topic, watchers=api.live_streams, share=api.live_share)

    def switched(group: str) -> None:
        cohorts.follow(group)
        hub.follow(group)

    metrics.watch_caches({"cards": catalogue.cache_stats, "texts": encoder.cache_stats})
    return Backends(
        settings=settings,
        policy=settings.nodes.policy(),
        ranking=ranking,
        names=NodeNames(settings.concepts.file),
        metrics=metrics,
        access=Access(api, metrics.keys_file, wait=wait_for_keys),
        limits=RateLimits(api.rate),
        reader=reader,
        catalogue=catalogue,
        switches=Switches(reader, encoder, settings.kafka.group, settings.triton.model, make_encoder, switched),
        sender=RecordSender(kafka, api.deadline_s),
        priors=Priors(cohorts, terms),
        popularity=cohorts.popularity,
        ranking_reader=RankingReader(
            cards=catalogue.cards,
            popularity=cohorts.item_popularity,
            partners=cohorts.partners,
            popularity_half_life_s=settings.population.popularity_half_life_s,
            together_half_life_s=settings.population.together_half_life_s,
        ),
        weights=weights,
        weights_follower=WeightsFollower(kafka, topic, weights) if topic and settings.ranking.learned else None,
        retention=Retention(kafka, settings.kafka),
        pending_erasures=PendingErasures(partial(erasure_holds, reader), metrics.erasure_pending.set),
        hub=hub,
        item_changes=ItemChanges(kafka, settings.kafka.items_topic, catalogue),
        pseudonyms=pseudonyms_of(settings),
        dashboards=_dashboards(api, metrics),
    )


def _dashboards(api: ApiSettings, metrics: ApiMetrics) -> DashboardReader:
    """The dashboards from the Prometheus that the settings name, or from scrapes of this process's own."""
    failed = partial(_count, metrics.dashboard_failures)
    source: PanelSource
    if api.prometheus_url is not None:
        token = secret(None, api.prometheus_token_file, "api.prometheus_token")
        deadline_s = min(_PROMETHEUS_WITHIN_S, _SHARE_OF_DEADLINE * api.deadline_s)
        source = PrometheusSource(api.prometheus_url, token=token, deadline_s=deadline_s, failed=failed)
    else:
        source = ScrapedSource(api.metrics_urls, every_s=api.scrape_every_s, own_page=metrics.text, failed=failed)
    return DashboardReader(source, every_s=api.scrape_every_s, runbook_url=api.runbook_url)


def _count(counter: Counter, source: str) -> None:
    counter.labels(source).inc()


def _text_encoder(settings: Settings, metrics: ApiMetrics, model: str) -> TritonEncoder:
    """A client of one of Triton's models, for the texts of questions."""
    cache_mib = min(_TEXTS_CACHE_MIB, settings.triton.cache_mib)
    triton = settings.triton.model_copy(update={"cache_mib": cache_mib, "model": model})
    deadline_s = min(triton.deadline_s, settings.api.encode_deadline_s)
    return triton_encoder(triton, observer=metrics, deadline_s=deadline_s)
