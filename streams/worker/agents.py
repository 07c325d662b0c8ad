"""The agents: what a worker listens to. Each gathers what was fetched into batches and hands them on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from streams.base.clock import now_ms
from streams.broker.app import BrokerApp
from streams.broker.batches import gather_batches
from streams.broker.in_order import in_order, one_by_one
from streams.pipeline.derive import Derived, Deriving, count_votes, join_partners, learn_beginnings
from streams.settings.service import Settings
from streams.worker.batch_worker import BatchWorker, Derive

#: What everybody shares may be a moment late, and one write of an item then holds many events.
_DERIVED_LINGER_S = 0.5
_MORE_PAIRS = 4  # times the records and bytes of a batch: an event makes some
_WAITING_RECORDS = 200  # few, so that what is due soon does not wait behind what is due later


def register(
    app: BrokerApp, worker: BatchWorker, settings: Settings, deriving: Deriving, *, only_items: bool = False
) -> None:  # fmt: skip
    """Add the agents of items, of events, of events that wait for their item and of the derived topics to `app`.

    One agent reads all topics of events, batch after batch: acknowledging in order is what keeps a failure from being
    committed past. The next is folded while the one before is on its way to the store.
    """
    kafka, limits = settings.kafka, settings.worker
    gather = partial(gather_batches, app, max_bytes=limits.batch_bytes, within_s=limits.batch_linger_ms / 1000)

    @app.agent(app.topic(kafka.items_topic), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
    async def items(stream: Any) -> None:
        await one_by_one(gather(stream, max_records=limits.batch_records), worker.describe)

    if only_items:
        return

    @app.agent(app.topic(*kafka.event_topics), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
    async def events(stream: Any) -> None:
        await in_order(gather(stream, max_records=worker.pace.limit), worker.fold)

    @app.agent(app.topic(kafka.unresolved_topic), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
    async def unresolved(stream: Any) -> None:
        await one_by_one(gather(stream, max_records=_WAITING_RECORDS), worker.fold_when_due)

    def folded(fold: Callable[..., Awaitable[Derived]]) -> Derive:
        return lambda records, owner: fold(records, deriving, owner.fence, owner.log, now_ms=now_ms())

    late = partial(gather_batches, app, max_bytes=limits.batch_bytes, within_s=_DERIVED_LINGER_S)
    if kafka.popularity_topic:

        @app.agent(app.topic(kafka.popularity_topic), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
        async def popularity(stream: Any) -> None:
            batches = late(stream, max_records=limits.batch_records)
            await one_by_one(batches, partial(worker.derive, fold=folded(count_votes)))

    if kafka.together_topic:

        @app.agent(app.topic(kafka.together_topic), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
        async def together(stream: Any) -> None:
            linger_s, most = limits.together_linger_s, _MORE_PAIRS * limits.batch_records
            batches = late(stream, max_records=most, max_bytes=_MORE_PAIRS * limits.batch_bytes, within_s=linger_s)
            await one_by_one(batches, partial(worker.derive, fold=folded(join_partners)))

    if kafka.population_topic:

        @app.agent(app.topic(kafka.population_topic), concurrency=1)  # type: ignore[untyped-decorator]  # faust is untyped
        async def population(stream: Any) -> None:
            batches = late(stream, max_records=limits.batch_records)
            await one_by_one(batches, partial(worker.derive, fold=folded(learn_beginnings)))
