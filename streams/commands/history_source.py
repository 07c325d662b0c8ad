"""What verifications and exports read: the log, from topics or files, and the servers that a fold of it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Final

from rich.console import Console

from streams.base.errors import ConfigurationError
from streams.broker.read_window import LogBounds, log_window
from streams.commands.connections import admin_of, encoder_of, named
from streams.commands.event_log import EventLog
from streams.commands.progress import meter
from streams.encoder.concept_tree import read_or_encode_tree
from streams.events.drafts import draft_events, topic_of_type
from streams.events.event import RecordLike
from streams.events.spans import Slot
from streams.history.refold import Folded, RefoldDependencies, refold
from streams.history.sift import Cut, Reading, Sifted, sift
from streams.history.spool import Spool
from streams.settings.privacy import pseudonyms_of
from streams.settings.wiring import kafka_config, qdrant_config
from streams.store.cached import CachedStore
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from streams.store.scan import Scan

if TYPE_CHECKING:
    from streams.settings.service import Settings

_LINES: Final = 1_000
_ENCODE_WITHIN_S: Final = 180.0  # of one request: nobody waits for a page here
_NOTHING: Final = LogBounds(begins={}, starts={}, ends={})


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLog:
    """A log to be read once: how many records or offsets it has, and where its partitions begin and end."""

    batches: AsyncIterator[tuple[Sequence[RecordLike], int]]
    total: int
    bounds: LogBounds


@asynccontextmanager
async def open_log(settings: Settings, files: Sequence[Path]) -> AsyncIterator[OpenLog]:
    """The log of the topics of events, whole; or that of files, as a replay would send it."""
    if files:
        with EventLog(files) as log:
            yield OpenLog(batches=_of_files(settings, log), total=log.count, bounds=_NOTHING)
        return
    with named(f"Kafka at {settings.kafka.brokers}"):
        async with log_window(kafka_config(settings.kafka), settings.kafka.event_topics) as window:
            yield OpenLog(batches=window.batches(), total=window.bounds.offsets, bounds=window.bounds)


async def _of_files(settings: Settings, log: EventLog) -> AsyncIterator[tuple[Sequence[RecordLike], int]]:
    """Records as a replay would make them, each with its event's own time."""
    entries, read, now_ms = log.lines(), 0, int(time() * 1000)
    while chunk := list(islice(entries, _LINES)):
        drafts = draft_events(
            [entry.line for entry in chunk], lambda kind: topic_of_type(kind, settings.kafka.event_topics), now_ms,
            check=False,
        )  # fmt: skip
        yield (
            [
                draft._replace(offset=read + number, timestamp=entry.ts_ms or None)
                for number, (draft, entry) in enumerate(zip(drafts.ready, chunk, strict=True))
            ],
            read + len(chunk),
        )
        read += len(chunk)


async def committed(settings: Settings) -> Mapping[Slot, int]:
    """How far the group has committed, by partition of the topics of events."""
    async with admin_of(settings) as admin:
        lags = await admin.lag(settings.kafka.group, settings.kafka.event_topics)
    return {(lag.topic, lag.partition): lag.committed or 0 for lag in lags}


@asynccontextmanager
async def scan_of(settings: Settings) -> AsyncIterator[Scan]:
    """A read-only connection to Qdrant."""
    scan = Scan(qdrant_config(settings))
    with named(f"Qdrant at {settings.qdrant.host}:{settings.qdrant.grpc_port}"):
        try:
            yield scan
        finally:
            await scan.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What folds a log once more, and the incarnation of the topics that the group is in."""

    settings: Settings
    reading: Reading
    deps: RefoldDependencies
    log: int

    async def sifted(
        self, log: OpenLog, cut: Cut, spool: Spool, erased_at: Mapping[str, int], out: Console
    ) -> Sifted:  # fmt: skip
        """Read a log through, and keep on disk what belongs to a cut."""
        found = Sifted()
        with meter(out, "reading", log.total) as bar:
            async for records, read in log.batches:
                sift(records, self.reading, cut, spool, found)
                bar.to(read)
            bar.to(log.total)
        spool.flush()
        found.note_erasures(erased_at)
        return found

    async def folded(self, spool: Spool, found: Sifted, out: Console) -> AsyncIterator[tuple[int, Folded]]:
        """The parts, one after another, each folded."""
        with meter(out, "folding", found.kept) as bar:
            for part in range(spool.parts):
                yield part, await refold(spool.read(part), self.reading, found, self.deps, self.log)
                bar.add(spool.counts[part])


@asynccontextmanager
async def history_of(settings: Settings, collections: Collections) -> AsyncIterator[History]:
    """Connect what a fold needs. ConfigurationError where Triton serves another encoder than the trees are made by."""
    policy, config = settings.nodes.policy(), qdrant_config(settings)
    async with AsyncExitStack() as stack:
        encoder = await stack.enter_async_context(encoder_of(settings, _ENCODE_WITHIN_S))
        info = await encoder.info()
        if info.encoder_id != collections.encoder_id:
            raise ConfigurationError(
                f"Triton at {settings.triton.url} serves {info.encoder_id}, the alias `interests` points at trees of "
                f"{collections.encoder_id}: name the Triton that made them (triton.url)"
            )
        qdrant = QdrantStore(config, policy, collections)
        stack.push_async_callback(qdrant.close)
        control = await qdrant.control(settings.kafka.group)
        worker = settings.worker
        yield History(
            settings=settings,
            reading=Reading(
                now_ms=int(time() * 1000), unresolved_topic=settings.kafka.unresolved_topic,
                pseudonyms=pseudonyms_of(settings),
            ),
            deps=RefoldDependencies(
                encoder=encoder,
                catalogue=CachedStore(
                    qdrant, nodes_bytes=1, items_bytes=worker.items_cache_mib << 20, items_ttl_s=worker.items_ttl_s
                ),
                tree=settings.concepts.with_floors(
                    await read_or_encode_tree(settings.concepts.file, encoder, info.encoder_id, info.dim)
                ),
                policy=policy,
                weights=settings.weights.table(),
                popularity_half_life_s=settings.population.popularity_half_life_s,
                unresolved_topic=settings.kafka.unresolved_topic,
            ),
            log=control.log if control is not None else 0,
        )  # fmt: skip
