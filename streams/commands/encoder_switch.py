"""`interests encoder switch`, `rollback`, `prune`: which encoder serves, by alias; an end to one that does not."""

from __future__ import annotations

import asyncio
import sys
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from streams.base.clock import now_ms
from streams.base.errors import ConfigurationError, InterestsError
from streams.commands.encoder_sides import HEADINGS, Servers, Side, rows_of, servers_of
from streams.commands.options import EncoderInUse, Yes
from streams.commands.shell import EXIT_FAILED, console, load_settings, print_error, run
from streams.commands.topics import table_of

if TYPE_CHECKING:
    from streams.settings.service import Settings

SWITCH_EXAMPLE: Final = "interests encoder switch --to text_encoder_2"
ROLLBACK_EXAMPLE: Final = "interests encoder rollback"
PRUNE_EXAMPLE: Final = "interests encoder prune --encoder all-minilm-l6-v2-int8-54ccc908 --dry-run"
_ASK_EVERY_S: Final = 0.5

MostLag = Annotated[int, typer.Option("--most-lag", min=0, help="Records its group may be behind.")]
Within = Annotated[float, typer.Option("--within-s", min=0, help="How long to wait until nothing speaks against it.")]
Force = Annotated[bool, typer.Option("--force", help="Switch whatever speaks against it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Encoder = Annotated[str, typer.Option("--encoder", help="Id of the encoder to delete.")]


def switch(
    to: EncoderInUse, most_lag: MostLag = 0, within_s: Within = 15.0, force: Force = False, dry_run: DryRun = False
) -> None:
    """Let another encoder serve: both aliases move in one request, and the API follows within ten seconds.

    First it looks whether the other one is complete: its workers run and are not behind, it has the items, and every
    erasure. Exit code 1: something speaks against it, and nothing was changed. On a busy log a group is never quite at
    the end: allow as many records as come in some seconds with --most-lag.
    """
    code = run(_switch(load_settings(), to, most_lag, within_s, force=force, dry_run=dry_run))
    if code:
        raise typer.Exit(code)


def rollback(most_lag: MostLag = 0, within_s: Within = 15.0, force: Force = False, dry_run: DryRun = False) -> None:
    """Let the encoder serve again that did before the last switch; its group must have gone on meanwhile.

    The same is looked at as before a switch. Exit code 1: something speaks against it, and nothing was changed.
    """
    code = run(_switch(load_settings(), None, most_lag, within_s, force=force, dry_run=dry_run))
    if code:
        raise typer.Exit(code)


def prune(encoder: Encoder, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Delete all that is kept of an encoder that does not serve; it cannot be taken back.

    Its collections in Qdrant, its groups' control points, popularity and partners, what its learner has learned, and
    its groups' offsets in Kafka. Stop its workers first. What it left halfway is done by the same command again.
    """
    code = run(_prune(load_settings(), encoder, dry_run=dry_run, yes=yes))
    if code:
        raise typer.Exit(code)


async def _switch(
    settings: Settings, to: str | None, most_lag: int, within_s: float, *, force: bool, dry_run: bool
) -> int:
    async with servers_of(settings) as servers:
        wanted = await _wanted(servers, to)
        serving = await servers.serving()
        if wanted == serving:
            console().print(f"{wanted} serves already: nothing to do")
            return 0
        now, new, against = await _looked_at(servers, serving, wanted, most_lag, within_s)
        out = console()
        out.print(_table([now, new]))
        for reason in against:
            print_error(reason)
        if against and not force:
            return EXIT_FAILED
        if dry_run:
            out.print("nothing was changed (--dry-run)")
            return 0
        await _move(servers, serving, wanted)
        _say_what_follows(now, new)
        return 0


async def _wanted(servers: Servers, to: str | None) -> str:
    if to is not None:
        note = await servers.note_of(to)
        return note.encoder if note else to
    last = (await servers.encoders.served()).switch
    if last is None:
        raise ConfigurationError("there was no switch yet: name the encoder with interests encoder switch --to")
    return last.before


async def _looked_at(
    servers: Servers, serving: str, wanted: str, most_lag: int, within_s: float
) -> tuple[Side, Side, list[str]]:
    """Both sides, and what speaks against the switch, once that is nothing or the time is over."""
    end = monotonic() + within_s
    while True:
        now, new = await servers.side(serving), await servers.side(wanted)
        against = await servers.objections(now, new, most_lag)
        if not against or monotonic() > end:
            return now, new, against
        await asyncio.sleep(_ASK_EVERY_S)


async def _move(servers: Servers, serving: str, wanted: str) -> None:
    from streams.store.encoders import Switch

    await servers.encoders.switch(Switch(before=serving, now=wanted, at_ms=now_ms()))


def _say_what_follows(now: Side, new: Side) -> None:
    out = console()
    out.print(f"[green]{new.encoder} serves[/]")
    out.print("API and learner follow within ten seconds; live pages read their trees again")
    out.print(
        f"group {new.group or 'unknown'} sends dead letters and announces changes from now on; "
        f"group {now.group or 'unknown'} stops within a minute"
    )
    if new.model and new.model != now.model:
        out.print(f"texts in questions are encoded by model {new.model} of the same Triton; set triton.model to it")
    out.print("leave the workers of both running while you may want: interests encoder rollback", style="dim")


async def _prune(settings: Settings, encoder: str, *, dry_run: bool, yes: bool) -> int:
    from streams.learner.run import state_names
    from streams.store.collections import Collections

    async with servers_of(settings) as servers:
        groups = await _idle_groups(servers, encoder)
        names = Collections(encoder, 1)
        found = {name: await servers.scan.count(name) for name in (names.interests, names.items, names.population)}
        if not groups and not any(found.values()):
            print_error(f"nothing is kept of {encoder}: interests encoder compare shows which there are")
            return EXIT_FAILED
        out = console()
        for name, points in found.items():
            out.print(f"{points:>12,}  points of {name}")
        out.print(f"{'':>12}  groups {', '.join(groups) or 'unknown'}: control points, popularity, partners, offsets")
        if dry_run:
            out.print("nothing was deleted (--dry-run)")
            return 0
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigurationError("deleting asks first, and standard input is no terminal: --yes goes ahead")
            typer.confirm(f"Delete all of {encoder}? It cannot be taken back.", abort=True)
            groups = await _idle_groups(servers, encoder)  # much may happen before somebody answers
        for group in groups:
            await servers.admin.delete_group(group)
        await servers.data.delete(names, groups, state_names(settings.kafka.examples_topic, encoder))
        out.print(f"[green]{encoder} is deleted[/]")
        return 0


async def _idle_groups(servers: Servers, encoder: str) -> list[str]:
    """The groups of an encoder that can be deleted. ConfigurationError where it serves, InterestsError at work."""
    if encoder == await servers.serving():
        raise ConfigurationError(f"{encoder} serves: switch to another one first")
    groups = [one.group for one in await servers.encoders.notes() if one.encoder == encoder]
    at_work = [group for group in groups if (await servers.admin.group(group)).members]
    if at_work:
        raise InterestsError(f"workers of {', '.join(at_work)} run: stop them first")
    return groups


def _table(sides: list[Side]) -> Table:
    table = table_of(*HEADINGS)
    for row in rows_of(sides):
        table.add_row(*row)
    return table
