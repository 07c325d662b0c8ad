"""Features of past moments for `interests export`: a file asks for rows, the log is replayed in time order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Final

import msgspec
from rich.console import Console

from streams.base.errors import ConfigurationError
from streams.commands.event_log import EventLog, time_of
from streams.commands.history_source import History, open_log
from streams.commands.log_files import place
from streams.commands.progress import Meter, meter
from streams.commands.topic_playback import named
from streams.evaluation.backfill import Asked, backfill
from streams.evaluation.prequential import PrequentialProtocol, Replay
from streams.evaluation.world import KnownItems, WorldPolicy
from streams.events.drafts import draft_events, topic_of_type
from streams.events.event import Event, RecordLike
from streams.events.items import Item
from streams.history.folder import ExportFolder
from streams.history.sift import Sifted
from streams.history.tables import features_table
from streams.interests.item_vectors import ItemPoint
from streams.store.cards import Card
from streams.store.collections import Collections
from streams.store.memory import MemoryStore
from streams.store.scan import Scan

_AT_ONCE: Final = 1_000


class _Row(msgspec.Struct):
    user_id: str
    item_id: str
    ts: object = None
    context: dict[str, str | float | bool] = {}


_ROW: Final = msgspec.json.Decoder(_Row)


async def write_features(
    history: History, scan: Scan, collections: Collections, folder: ExportFolder, sifted: Sifted,
    files: Sequence[Path], asked: Path, out: Console,
) -> None:  # fmt: skip
    """Write the features of the rows that a file asks for. ConfigurationError where it is not such a file.

    In memory are the trees of its users, the items that it or the log names, and everybody's votes.
    """
    with tempfile.TemporaryDirectory(prefix="interests-history-") as kept, EventLog([asked]) as wanted:
        users, items = _named(wanted, history)
        lines = Path(kept) / "events.jsonl"
        with lines.open("wb") as file:
            await _dump(history, files, file, sifted, items, out)
        with EventLog([lines]) as log:
            replay = await _replay(history, scan, collections, users, sorted(items))
            with meter(out, "features", wanted.count) as bar:
                events = _events(history, log, sifted)
                rows = (one for one in _asked(wanted, history) if sifted.outlives_at(one.user_id, one.ts_ms))
                await _write(replay, events, rows, history.reading.now_ms, folder, bar)


async def _write(
    replay: Replay, events: Iterator[tuple[Event, RecordLike]], rows: Iterator[Asked], now_ms: int,
    folder: ExportFolder, bar: Meter,
) -> None:  # fmt: skip
    async for made in backfill(replay, events, rows, now_ms):
        folder.add("features", 0, features_table(made))
        bar.add(len(made))


def _named(wanted: EventLog, history: History) -> tuple[set[str], set[str]]:
    """The users and items of a file of rows."""
    users, items = set(), set()
    for one in _asked(wanted, history):
        users.add(one.user_id)
        items.add(one.item_id)
    return users, items


def _asked(wanted: EventLog, history: History) -> Iterator[Asked]:
    """The rows of a file in time order, users by the names that trees have."""
    pseudonyms = history.reading.pseudonyms
    for ts_ms, file, line in wanted.lines():
        try:
            row = _ROW.decode(line.body)
        except msgspec.ValidationError as error:
            where = place(wanted.paths[file], line.number)
            raise ConfigurationError(f"{where}: expected user_id, item_id and ts: {error}") from error
        if time_of(line.body) is None or not row.user_id:
            raise ConfigurationError(f"{place(wanted.paths[file], line.number)}: expected a user_id and a time in ts")
        user_id = pseudonyms.of(row.user_id) if pseudonyms else row.user_id
        yield Asked(line.number, user_id, row.item_id, ts_ms, row.context)


async def _dump(
    history: History, files: Sequence[Path], file: IO[bytes], sifted: Sifted, items: set[str], out: Console
) -> None:
    """Keep the log's events on disk, each with an id and a time of its own, to be put in time order."""
    async with open_log(history.settings, files) as log:
        with meter(out, "reading", log.total) as bar:
            async for records, read in log.batches:
                for event, record in history.reading.events(records):
                    if event.type == "erase":
                        sifted.note_erasures({event.user_id: event.ts_ms})
                        continue
                    items.update(one for one in (event.item_id, *event.items) if one)
                    file.write(named(record, event.ts_ms).replace(b"\n", b" ") + b"\n")
                bar.to(read)


def _events(history: History, log: EventLog, sifted: Sifted) -> Iterator[tuple[Event, RecordLike]]:
    """The events in time order, without what an erasure ended."""
    entries, read = log.lines(), 0
    topics = history.settings.kafka.event_topics
    while chunk := list(islice(entries, _AT_ONCE)):
        drafts = draft_events(
            [entry.line for entry in chunk], lambda kind: topic_of_type(kind, topics), 0, check=False
        ).ready
        records = [
            draft._replace(offset=read + number, timestamp=entry.ts_ms)
            for number, (draft, entry) in enumerate(zip(drafts, chunk, strict=True))
        ]
        read += len(chunk)
        for event, record in history.reading.events(records):
            if sifted.outlives(event):
                yield event, record


async def _replay(
    history: History, scan: Scan, collections: Collections, users: set[str], items: Sequence[str]
) -> Replay:
    settings, deps = history.settings, history.deps
    points = [_point(card) for card in await scan.cards(collections, items)]
    store = MemoryStore(deps.policy)
    await store.put_items(points)
    population = settings.population
    return Replay(
        catalogue=KnownItems(points, collections.dim), encoder=deps.encoder, store=store, tree=deps.tree,
        nodes=deps.policy, weights=deps.weights, ranking=settings.ranking.policy(),
        everybody=WorldPolicy(
            popularity_half_life_s=population.popularity_half_life_s, partners=population.partners(),
            places=population.together_places,
        ),
        protocol=PrequentialProtocol(kinds=frozenset()), followed=users,
    )  # fmt: skip


def _point(card: Card) -> ItemPoint:
    item = Item(
        item_id=card.item_id, title=card.title, description=card.description, categories=card.categories,
        tags=card.tags, brand=card.brand, lang=card.lang, ts_ms=card.ts_ms,
    )  # fmt: skip
    return ItemPoint(item, card.vector, card.path)
