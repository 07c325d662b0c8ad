"""Writing an export: trees from Qdrant or from the log, popularity, items and events, a page or a part at a time."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from rich.console import Console

from streams.base.errors import ConfigurationError, InterestsError
from streams.commands.export_features import write_features
from streams.commands.history_source import History, history_of, open_log, scan_of
from streams.commands.progress import meter
from streams.commands.when import rfc3339
from streams.concepts.tree_file import TAXONOMY_FILE
from streams.history import tables
from streams.history.folder import ExportFolder
from streams.history.refold import Folded, VoteCount
from streams.history.sift import By, Cut, Sifted
from streams.history.spool import Spool, part_of, parts_for
from streams.interests.nodes import Node, NodePolicy, is_alive, is_forgotten, is_put_back, is_sum
from streams.store import versions
from streams.store.collections import Collections
from streams.store.scan import Scan

if TYPE_CHECKING:
    from streams.settings.service import Settings

_NODES_A_PART: Final = 1_000_000
_MOST_PARTS: Final = 64
_ROW_BYTES: Final = 700  # a node without its vector: evidence, keys, sums
_ITEMS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """What is exported: as of when, and by which time; where to; from which log.

    With `replays` trees and popularity are folded from the log, else they are read as they are in Qdrant.
    """

    out: Path
    at_ms: int
    by: By
    replays: bool
    files: tuple[Path, ...] = ()
    events: bool = False
    text: bool = False
    features_of: Path | None = None

    @property
    def reads_log(self) -> bool:
        """Whether the log is needed at all."""
        return self.replays or self.events or self.features_of is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What an export would read and write, about; bytes are those before compression."""

    people: int
    nodes: int
    items: int
    offsets: int
    bytes: int
    free_bytes: int


def settings_hash(settings: Settings) -> str:
    """What trees depend on beside events and encoder: half-lives, weights and the concept tree; 16 digits."""
    parts = [section.model_dump(mode="json") for section in (settings.nodes, settings.weights)]
    digest = sha256(msgspec.json.encode(parts, order="sorted"))
    digest.update((settings.concepts.file or TAXONOMY_FILE).read_bytes())
    return digest.hexdigest()[:16]


async def estimated(settings: Settings, plan: ExportPlan) -> Estimate:
    """Count what would be exported; writes nothing."""
    async with scan_of(settings) as scan:
        collections = await scan.collections()
        people, nodes = await scan.count_people(collections), await scan.count(collections.interests)
        items, offsets = await scan.count(collections.items), 0
        if plan.reads_log:
            async with open_log(settings, plan.files) as log:
                offsets = log.total
    folder = next(one for one in (plan.out.parent.absolute(), *plan.out.parent.absolute().parents) if one.exists())
    row = 4 * collections.dim + _ROW_BYTES
    return Estimate(
        people=people, nodes=nodes, items=items, offsets=offsets, bytes=row * (nodes + items),
        free_bytes=shutil.disk_usage(folder).free,
    )  # fmt: skip


async def export(settings: Settings, plan: ExportPlan, out: Console) -> dict[str, int]:
    """Write an export and give the rows of each table. What it leaves on an error is called `.partial`."""
    async with scan_of(settings) as scan:
        collections = await scan.collections()
        dim, nodes = collections.dim, await scan.count(collections.interests)
        schemas = {
            "trees": tables.trees_schema(dim), "items": tables.items_schema(dim),
            "popularity": tables.POPULARITY_SCHEMA,
        }  # fmt: skip
        if plan.events:
            schemas["events"] = tables.EVENTS_SCHEMA
        if plan.features_of is not None:
            schemas["features"] = tables.FEATURES_SCHEMA
        parts = max(1, min(_MOST_PARTS, -(-nodes // _NODES_A_PART)))
        folder = ExportFolder(plan.out, schemas, _metadata(settings, plan, collections), parts)
        erased_at = await scan.erased(collections)
        with folder:
            writer = _Writer(settings, plan, folder, collections, erased_at)
            if not plan.replays:
                await writer.stored(scan, nodes, out)
            if plan.reads_log:
                async with history_of(settings, collections) as history:
                    if plan.replays or plan.events:
                        await writer.folded(history, out)
                    if plan.features_of is not None:
                        known = Sifted(erased_at=dict(erased_at))
                        await write_features(
                            history, scan, collections, folder, known, plan.files, plan.features_of, out
                        )
            await writer.items(scan, out)
            await _refuse_late_erasures(scan, collections, erased_at, folder)
            return folder.finish()


async def _refuse_late_erasures(
    scan: Scan, collections: Collections, before: Mapping[str, int], folder: ExportFolder
) -> None:
    """Who was erased while the export was made may be in it: then it is not kept."""
    late = [user for user, at_ms in (await scan.erased(collections)).items() if before.get(user, 0) < at_ms]
    if late:
        await asyncio.to_thread(shutil.rmtree, folder.partial)
        raise InterestsError(
            f"{len(late)} people were erased while the export was made, so it was deleted: run it again"
        )


def _metadata(settings: Settings, plan: ExportPlan, collections: Collections) -> dict[str, Any]:
    source = "qdrant" if not plan.replays else "files" if plan.files else "log"
    return {
        "schema_version": tables.SCHEMA_VERSION, "at": rfc3339(plan.at_ms), "at_ms": plan.at_ms, "by": plan.by,
        "source": source, "made": rfc3339(int(time() * 1000)), "encoder": collections.encoder_id,
        "dim": collections.dim, "settings": settings_hash(settings), "payload_version": versions.NODES,
        "pseudonyms": settings.privacy.user_id_key_file is not None,
    }  # fmt: skip


class _Writer:
    """The tables of one export."""

    def __init__(
        self, settings: Settings, plan: ExportPlan, folder: ExportFolder, collections: Collections,
        erased_at: Mapping[str, int],
    ) -> None:  # fmt: skip
        self._settings, self._plan, self._folder, self._collections = settings, plan, folder, collections
        self._erased_at, self._policy = erased_at, settings.nodes.policy()

    async def stored(self, scan: Scan, count: int, out: Console) -> None:
        """Trees and popularity as they are in Qdrant."""
        with meter(out, "trees", count) as bar:
            async for page in scan.nodes(self._collections):
                self._trees(node for node in page if self._stands(node))
                bar.add(len(page))
        async for items in scan.popularity(self._settings.kafka.group):
            self._popularity(items)

    async def folded(self, history: History, out: Console) -> None:
        """Trees, popularity and events as the log has them up to the moment."""
        plan, votes = self._plan, VoteCount(self._settings.population.popularity_half_life_s)
        async with open_log(self._settings, plan.files) as log:
            with Spool(parts_for(log.total)) as spool:
                cut = Cut(at_ms=plan.at_ms, by=plan.by)
                found = await history.sifted(log, cut, spool, self._erased_at, out)
                async for _, part in history.folded(spool, found, out):
                    if plan.replays:
                        self._trees(node for nodes in part.trees.values() for node in nodes)
                        votes.add(part.votes)
                    self._events(part)
        counted = list(votes.items.values())
        for start in range(0, len(counted), _ITEMS_AT_ONCE):
            self._popularity(counted[start : start + _ITEMS_AT_ONCE])

    async def items(self, scan: Scan, out: Console) -> None:
        """Items as they are described now; of a past moment those that were not published later."""
        at_ms, dim = self._plan.at_ms, self._collections.dim
        with meter(out, "items", await scan.count(self._collections.items)) as bar:
            async for page in scan.items(self._collections):
                there = [card for card in page if card.ts_ms is None or card.ts_ms <= at_ms]
                by_part: dict[int, list[Any]] = {}
                for card in there:
                    by_part.setdefault(part_of(card.item_id, self._folder.parts), []).append(card)
                for part, cards in by_part.items():
                    self._folder.add("items", part, tables.items_table(cards, dim))
                bar.add(len(page))

    def _stands(self, node: Node) -> bool:
        """Whether a stored node is a sum, as those folded from the log are, that no erasure has ended."""
        erased_at_ms, level = self._erased_at.get(node.key.user_id, 0), node.key.level
        return is_sum(level) and not is_forgotten(node) and not is_put_back(level, node.first_ms, erased_at_ms)

    def _trees(self, nodes: Iterable[Node]) -> None:
        at_ms, policy = self._plan.at_ms, self._policy
        for part, some in _by_part(_alive(nodes, at_ms, policy), self._folder.parts).items():
            for start in range(0, len(some), _ITEMS_AT_ONCE):
                rows = tables.trees_table(some[start : start + _ITEMS_AT_ONCE], at_ms, policy, self._collections.dim)
                self._folder.add("trees", part, rows)

    def _popularity(self, items: Sequence[Any]) -> None:
        half_life_s = self._settings.population.popularity_half_life_s
        counted = [one for one in items if one.count > 0]
        self._folder.add("popularity", 0, tables.popularity_table(counted, self._plan.at_ms, half_life_s))

    def _events(self, part: Folded) -> None:
        if not self._plan.events:
            return
        by_part: dict[int, list[Any]] = {}
        for one in part.events:
            by_part.setdefault(part_of(one.event.user_id, self._folder.parts), []).append(one)
        for number, events in by_part.items():
            for start in range(0, len(events), _ITEMS_AT_ONCE):
                rows = tables.events_table(events[start : start + _ITEMS_AT_ONCE], with_text=self._plan.text)
                self._folder.add("events", number, rows)


def _alive(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> Iterable[Node]:
    return (node for node in nodes if is_alive(node, at_ms, policy))


def _by_part(nodes: Iterable[Node], parts: int) -> dict[int, list[Node]]:
    found: dict[int, list[Node]] = {}
    for node in nodes:
        found.setdefault(part_of(node.key.user_id, parts), []).append(node)
    return found


def check_moment(at_ms: int, now_ms: int) -> None:
    """ConfigurationError for a moment that has not come yet."""
    if at_ms > now_ms:
        raise ConfigurationError(f"--at {rfc3339(at_ms)} has not come yet: expected now, or a time before it")
