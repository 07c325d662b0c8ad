"""`interests export`: trees, items, popularity and events as Parquet files, as of a time."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands.shell import EXIT_INTERRUPTED, console, extra, load_settings, print_error, register, run
from streams.commands.when import parse_time, stamp

if TYPE_CHECKING:
    from streams.commands.export_tables import Estimate, ExportPlan

_EXAMPLE: Final = "interests export --at 2026-06-01 --out trees-june --events"

Out = Annotated[Path, typer.Option("--out", file_okay=False, help="The folder to make; it may not exist yet.")]
At = Annotated[str, typer.Option("--at", help="now, -7d, or a time such as 2026-06-01T12:00Z.")]
By = Annotated[
    str, typer.Option("--by", help="What belongs to a past time: events that had `happened`, or had `arrived` by then.")
]
Replay = Annotated[
    bool, typer.Option("--replay", help="Fold the log for `now` too, instead of reading what is in Qdrant.")
]
FromEvents = Annotated[
    list[Path] | None,
    typer.Option("--from-events", exists=True, dir_okay=False, help="The log from files, not topics. Repeatable."),
]
Events = Annotated[bool, typer.Option("--events", help="The events too, each once, without what people wrote.")]
WithText = Annotated[bool, typer.Option("--with-text", help="With --events: what people wrote, too.")]
FeaturesOf = Annotated[
    Path | None,
    typer.Option(
        "--features-of",
        exists=True,
        dir_okay=False,
        help="A file of rows user_id, item_id, ts: what the ranking knew of the item for the user before that time.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be read and written.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "export", example=_EXAMPLE)(export)


def export(
    out: Out, at: At = "now", by: By = "happened", replay: Replay = False, from_events: FromEvents = None,
    events: Events = False, with_text: WithText = False, features_of: FeaturesOf = None,
    dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Write trees, items and popularity as Parquet, as of a time; DuckDB, pandas and Spark read it.

    As of now trees are read from Qdrant. As of a past time they are folded from the log once more: what retention has
    removed is not in them. The folder is called OUT.partial until it is whole. Whoever was erased, whenever that was,
    is not in it; users are named as in Qdrant, by pseudonyms where these are set. It is personal data all the same:
    only this user may read the files, and an erasure does not reach them later.
    """
    with extra("parquet"):
        from streams.commands import export_tables
    now_ms = int(time() * 1000)
    at_ms = parse_time(at, now_ms)
    export_tables.check_moment(at_ms, now_ms)
    if by not in {"happened", "arrived"}:
        raise ConfigurationError(f"got --by {by!r}, expected happened or arrived")
    if with_text and not events:
        raise ConfigurationError("--with-text goes with --events")
    replays = replay or at != "now" or bool(from_events)
    plan = export_tables.ExportPlan(
        out=out, at_ms=at_ms, by="arrived" if by == "arrived" else "happened", replays=replays,
        files=tuple(from_events or ()), events=events, text=with_text, features_of=features_of,
    )  # fmt: skip
    settings, screen = load_settings(), console()
    if dry_run:
        screen.print(_shown(run(export_tables.estimated(settings, plan)), plan))
        return
    try:
        rows = run(export_tables.export(settings, plan, screen))
    except KeyboardInterrupt:
        print_error(f"stopped before the end; what there is lies in {out}.partial: delete it")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    names = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    screen.print(f"{out}: {names}, as of {stamp(at_ms)}")


def _shown(estimate: Estimate, plan: ExportPlan) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_row(f"{estimate.people:,}", "people, by Qdrant")
    table.add_row(f"{estimate.nodes:,}", "nodes" + (" (a past time has others)" if plan.replays else ""))
    table.add_row(f"{estimate.items:,}", "items")
    if plan.reads_log:
        table.add_row(f"{estimate.offsets:,}", "records of the log to read and to fold")
    table.add_row(f"{estimate.bytes / 2**20:,.0f} MiB", "to write, about, before compression")
    table.add_row(f"{estimate.free_bytes / 2**20:,.0f} MiB", "free there")
    return table
