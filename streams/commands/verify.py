"""`interests verify`: fold the log once more and hold the trees in Qdrant against it, node by node."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands.shell import EXIT_FAILED, console, load_settings, register, run

if TYPE_CHECKING:
    from streams.commands.history_source import History, OpenLog
    from streams.history.compare import Verdict
    from streams.interests.nodes import Node
    from streams.settings.service import Settings
    from streams.store.collections import Collections
    from streams.store.scan import Scan

_EXAMPLE: Final = "interests verify --people 1000"
#: How often a tree that differs is read before it counts, and seconds between: an erasure deletes before it marks.
_READINGS: Final = 3
_BETWEEN_S: Final = 0.5

Events = Annotated[
    list[Path] | None,
    typer.Option("--events", exists=True, dir_okay=False, help="The log from files instead of topics. Repeatable."),
]
People = Annotated[int, typer.Option("--people", min=1, help="How many people, about; the same ones each time.")]
All = Annotated[bool, typer.Option("--all", help="Everybody.")]
User = Annotated[list[str] | None, typer.Option("--user", help="This person, by their own id. Repeatable.")]
Tolerance = Annotated[
    float, typer.Option("--tolerance", min=0, max=1, help="What directions, and masses by their share, may be off.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON, for programs.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "verify", example=_EXAMPLE)(verify)


def verify(
    events: Events = None, people: People = 1_000, everybody: All = False, user: User = None,
    tolerance: Tolerance = 1e-3, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Check that what is in Qdrant is what the log says: fold it once more, compare node by node.

    Reads the topics of events whole, or files that were replayed, and the trees of a sample of people; asks Triton for
    the texts of comments and searches. Counts and offsets must be equal, directions and masses within the tolerance.
    It cannot know what retention has removed, what another group folded into the same collections, nor how items were
    described when an event came: those it takes as they are now. Exit code 1: something differs.

    It changes nothing. What it reads lies on disk (TMPDIR) until it ends, and only this user may read it.
    """
    settings, as_lines = load_settings(), Console(stderr=True, highlight=False) if as_json else console()
    verdict = run(_verify(settings, tuple(events or ()), people, everybody, tuple(user or ()), tolerance, as_lines))
    if as_json:
        json.dump(_as_json(verdict), sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        show(verdict, as_lines)
    if not verdict.same:
        raise typer.Exit(EXIT_FAILED)


async def _verify(
    settings: Settings, files: Sequence[Path], people: int, everybody: bool, users: Sequence[str], tolerance: float,
    out: Console,
) -> Verdict:  # fmt: skip
    from streams.commands.history_source import history_of, open_log, scan_of

    async with scan_of(settings) as scan, open_log(settings, files) as log:
        collections = await scan.collections()
        async with history_of(settings, collections) as history:
            chosen, share = await _chosen(history, scan, collections, people, everybody, users)
            return await _compared(
                history, scan, collections, log, chosen, share, tolerance, out, from_files=bool(files)
            )


async def _chosen(
    history: History, scan: Scan, collections: Collections, people: int, everybody: bool, users: Sequence[str]
) -> tuple[Callable[[str], bool], float]:
    """Whose trees are compared, and about what share of all records is theirs."""
    from streams.history.spool import share_of

    if users and everybody:
        raise ConfigurationError("got --user and --all, expected one of them")
    total = await scan.count_people(collections)
    if users:
        pseudonyms = history.reading.pseudonyms
        named = {pseudonyms.of(user) if pseudonyms else user for user in users}
        return named.__contains__, len(named) / max(total, 1)
    share = 1.0 if everybody or people >= total else people / total
    return (lambda user_id: share_of(user_id) < share), share


async def _compared(
    history: History, scan: Scan, collections: Collections, log: OpenLog, chosen: Callable[[str], bool], share: float,
    tolerance: float, out: Console, *, from_files: bool,
) -> Verdict:  # fmt: skip
    from streams.commands.history_source import committed
    from streams.history.compare import NOWHERE, Known, Verdict, compare
    from streams.history.sift import Cut
    from streams.history.spool import Spool, part_of, parts_for

    verdict = Verdict()
    with Spool(parts_for(int(log.total * share))) as spool:
        found = await history.sifted(log, Cut(chosen=chosen), spool, await scan.erased(collections), out)
        known = Known(
            log=history.log, begins=log.bounds.begins, ends=log.bounds.ends, tolerance=tolerance,
            committed={} if from_files else await committed(history.settings),
            unresolved_topic=history.settings.kafka.unresolved_topic, has_offsets=not from_files,
        )  # fmt: skip
        stored: dict[int, set[str]] = {}
        async for page in scan.people(collections):
            for user_id in filter(chosen, page):
                stored.setdefault(part_of(user_id, spool.parts), set()).add(user_id)
        async for part, folded in history.folded(spool, found, out):

            def judge(
                user_id: str, tree: Sequence[Node], trees: Mapping[str, Sequence[Node]] = folded.trees
            ) -> Verdict:  # fmt: skip
                one, now_ms = Verdict(), int(time() * 1000)
                erasures = found.erasures.get(user_id, NOWHERE)
                compare(tree, trees.get(user_id, []), history.deps.policy, known, now_ms, one, erasures)
                return one

            users = sorted(folded.trees.keys() | stored.pop(part, set()))
            await _judged(users, partial(scan.trees, collections), judge, verdict)
    return verdict


async def _judged(
    users: Sequence[str], read: Callable[[Sequence[str]], Awaitable[Mapping[str, Sequence[Node]]]],
    judge: Callable[[str, Sequence[Node]], Verdict], verdict: Verdict, between_s: float = _BETWEEN_S,
) -> None:  # fmt: skip
    """Judge people's stored trees. One that differs is read again: a tree is read in pages while workers write it."""
    for left in reversed(range(_READINGS)):
        trees, again = await read(users), []
        for user_id in users:
            one = judge(user_id, trees.get(user_id, []))
            if one.same or not left:
                verdict.include(one)
            else:
                again.append(user_id)
        if not again:
            return
        users = again
        await asyncio.sleep(between_s)


def show(verdict: Verdict, out: Console) -> None:
    """The differences as a table, and what was compared."""
    if verdict.shown:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("user", "node", "differs in", "stored", "by the log"):
            table.add_column(name, overflow="fold")
        for one in verdict.shown:
            table.add_row(one.key.user_id, f"{one.key.level} {one.key.path}", one.what, one.stored, one.folded)
        out.print(table)
        total = sum(verdict.found.values())
        if total > len(verdict.shown):
            out.print(f"and {total - len(verdict.shown):,} more")
    out.print(f"{verdict.trees:,} trees of {verdict.nodes:,} nodes compared")
    for why, count in verdict.passed_over.most_common():
        out.print(f"{count:,} not compared: {why}", style="yellow")
    if verdict.same:
        same = "all that was compared is" if verdict.trees else "nothing could be compared that is not"
        out.print(f"[green]{same} what the log says[/]")
    else:
        kinds = ", ".join(f"{what} {count:,}" for what, count in verdict.found.most_common())
        out.print(f"[red]{len(verdict.different):,} trees differ[/]: {kinds}; docs/operations.md says what to do")


def _as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "same": verdict.same, "trees": verdict.trees, "nodes": verdict.nodes, "different": len(verdict.different),
        "found": dict(verdict.found), "not_compared": dict(verdict.passed_over),
        "differences": [
            {"user_id": one.key.user_id, "level": one.key.level, "path": one.key.path, "what": one.what,
             "stored": one.stored, "folded": one.folded}
            for one in verdict.shown
        ],
    }  # fmt: skip
