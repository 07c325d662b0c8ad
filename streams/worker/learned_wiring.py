"""What keeps a worker's learned nodes: the model's client, calls to Qdrant beside the path's, a task while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import structlog

from streams.base.background import end, note_end
from streams.interests.item_vectors import StoredItem
from streams.pipeline.report import Report
from streams.pipeline.service_metrics import ServiceMetrics
from streams.settings.service import Settings
from streams.settings.wiring import interest_client, qdrant_config
from streams.store.base import Fence
from streams.store.cached import CachedStore
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.worker.learned_level import LearnedLevel, LearnedLimits, LearnedSources
from streams.worker.learned_queue import LearnedQueue
from streams.worker.learned_sweep import LearnedSweep, SweepSources
from streams.worker.metrics import Metrics

log = structlog.get_logger(__name__)


class KeptLearned:
    """A level that is kept, and the sweep that finds who is behind."""

    def __init__(self, level: LearnedLevel, sweep: LearnedSweep) -> None:
        self._level, self.sweep = level, sweep

    def changed(self, report: Report, fence: Fence) -> None:
        """Have the people asked about whom a batch has changed; call it once its nodes are durable.

        What a batch finds done already, another worker may have done that did not come to ask about anybody.
        """
        self._level.changed(report.nodes, fence)
        if report.events.get("redelivered"):
            self.sweep.again()


@asynccontextmanager
async def keeping_learned(
    settings: Settings, names: Collections, store: CachedStore, metrics: Metrics
) -> AsyncIterator[KeptLearned | None]:
    """Keep learned nodes by these settings while it is entered; None where no model is named.

    On the way out it goes on for at most `learned.deadline_s` where people wait.
    """
    learned, client = settings.learned, interest_client(settings, names.encoder_id, observer=metrics)
    if client is None:
        yield None
        return
    # Its calls are no progress of the path's: a batch that stands still is to be seen beside them.
    config = replace(qdrant_config(settings), deadline_s=min(settings.qdrant.deadline_s, learned.deadline_s))
    qdrant = QdrantStore(config, settings.nodes.policy(), names, called=partial(ServiceMetrics.store_called, metrics))

    async def items(item_ids: Iterable[str]) -> Mapping[str, StoredItem]:
        return await store.items_through(item_ids, qdrant.items)

    def dropped(reason: str, people: int) -> None:
        metrics.learned_dropped(reason, people)
        if reason == "queue_full":
            sweep.again()

    limits = LearnedLimits(
        people_a_call=learned.people_a_call, history=learned.history, evidence=settings.nodes.evidence_length
    )
    queue = LearnedQueue(learned.queue, dropped)
    metrics.watch_learned(queue.__len__, queue.oldest_s)
    sources = LearnedSources(model=client, items=items, write=qdrant.write_late, observer=metrics)
    level = LearnedLevel(sources, queue, limits)
    sweep = LearnedSweep(
        SweepSources(
            model=client, behind=qdrant.learned_behind, control=partial(qdrant.control, settings.kafka.group),
            queue=queue, filled=level.filled, observer=metrics,
        ), limits,
    )  # fmt: skip
    running = asyncio.create_task(level.run())
    running.add_done_callback(note_end)
    try:
        yield KeptLearned(level, sweep)
        level.stop()
        await asyncio.wait({running}, timeout=learned.deadline_s)
        if len(queue):
            log.info("learned_level_stopped", people_left=len(queue), effect="the next worker finds them")
    finally:
        await end(running)
        await client.close()
        await qdrant.close()
