"""What makes a worker's examples: reads of its own, beside the path's, and the topic that they go to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.broker.producer import Producer
from streams.pipeline.ranking_examples import (
    ExampleLabels,
    ExampleSources,
    MakeExamples,
    RankingExamples,
    make_none,
)
from streams.pipeline.ranking_view import RankingReader
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.catalogue import Catalogue
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from streams.store.reader import StoreReader
from streams.worker.metrics import Metrics
from streams.worker.outputs import ExamplesProducer

_CARDS_BYTES = 16 << 20


@asynccontextmanager
async def making_examples(
    settings: Settings, names: Collections, cohorts: CohortStore, producer: Producer, metrics: Metrics
) -> AsyncIterator[MakeExamples]:
    """Make examples on these settings: none where their topic has no name, or none a second are wanted."""
    population, per_s = settings.population, settings.learning.examples_per_s
    if not (settings.kafka.examples_topic and per_s):
        yield make_none
        return
    reader = StoreReader(qdrant_config(settings), metrics.store_called, names)
    catalogue = Catalogue(reader, cards_bytes=_CARDS_BYTES, cards_ttl_s=settings.worker.items_ttl_s)
    sources = ExampleSources(
        trees=reader,
        drawn=catalogue.drawn,
        reader=RankingReader(
            cards=catalogue.cards, popularity=cohorts.popularity, partners=cohorts.partners,
            popularity_half_life_s=population.popularity_half_life_s,
            together_half_life_s=population.together_half_life_s,
        ),
        ranking=settings.ranking.policy(), nodes=settings.nodes.policy(), weights=settings.weights.table(),
        send=ExamplesProducer(producer=producer, topic=settings.kafka.examples_topic), observer=metrics,
    )  # fmt: skip
    try:
        yield RankingExamples(sources, ExampleLabels(settings.kafka.group, names.encoder_id), per_s)
    finally:
        await reader.close()
