"""`interests replay`: play a log of events, and the catalogue it speaks of, into Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands import playback
from streams.commands.connections import admin_of
from streams.commands.event_log import EventLog
from streams.commands.lag_wait import until_folded
from streams.commands.playback import Tally, stopping
from streams.commands.progress import meter
from streams.commands.sender import Sender, sender_of
from streams.commands.shell import EXIT_FAILED, EXIT_INTERRUPTED, console, load_settings, print_error, register, run
from streams.commands.when import ago, lasting, parse_time, stamp
from streams.events.drafts import topic_of_type

if TYPE_CHECKING:
    from streams.settings.service import Settings

_EXAMPLE = "interests replay --items items.jsonl.gz --events events.jsonl.gz --shift-to now --wait"
_OLD_MS = 30 * 86_400_000

Events = Annotated[
    list[Path] | None,
    typer.Option("--events", exists=True, dir_okay=False, help="JSON lines of events, gzip or not. Repeatable."),
]
Items = Annotated[
    list[Path] | None,
    typer.Option("--items", exists=True, dir_okay=False, help="JSON lines of items; sent first. Repeatable."),
]
Speed = Annotated[str, typer.Option("--speed", help="Times as fast as it happened: 1 is real time, max is at once.")]
ShiftTo = Annotated[
    str,
    typer.Option("--shift-to", help="Move all times by one amount so that the last event is at: now, a time, or keep."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many events in time order.")]
Topic = Annotated[str | None, typer.Option("--topic", help="One topic for all events, whatever their type.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return once the workers have folded everything.")]
Deadline = Annotated[float, typer.Option("--deadline-s", min=1, help="With --wait: give up after so many seconds.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayPlan:
    """What to replay, and how."""

    events: tuple[Path, ...]
    items: tuple[Path, ...]
    speed: float | None
    shift_to: str
    limit: int | None
    topic: str | None
    wait: bool
    deadline_s: float


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "replay", example=_EXAMPLE)(replay)


def replay(
    events: Events = None, items: Items = None, speed: Speed = "max", shift_to: ShiftTo = "keep", limit: Limit = None,
    topic: Topic = None, wait: Wait = False, deadline_s: Deadline = 600.0,
) -> None:  # fmt: skip
    """Play a log into Kafka: items first, then events in time order.

    Every line is checked as the worker will check it; lines it would refuse are counted and left out. Events go to
    topics by their type, keyed by user. Interests fade from the time in the event on: a log that ended years ago needs
    --shift-to now to be seen. With --wait the items are described before the first event is sent. Ctrl-C ends it after
    the batch at hand; replaying again is harmless, since events are known by their event_id.
    """
    if not events and not items:
        raise ConfigurationError("expected --events FILE, --items FILE, or both")
    if shift_to not in {"keep", "now"}:
        parse_time(shift_to, int(time() * 1000))
    plan = ReplayPlan(
        events=tuple(events or ()), items=tuple(items or ()), speed=parse_speed(speed), shift_to=shift_to, limit=limit,
        topic=topic, wait=wait, deadline_s=deadline_s,
    )  # fmt: skip
    code = run(_replay(load_settings(), plan, console()))
    if code:
        raise typer.Exit(code)


def parse_speed(text: str) -> float | None:
    """A factor above 0; None for `max`."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise ConfigurationError(f"got --speed {text!r}, expected a number above 0, or max")
    return speed


def shift_of(plan: ReplayPlan, last_ms: int | None, now_ms: int) -> int:
    """How far, in ms, `--shift-to` moves a log whose last event is at `last_ms`."""
    if plan.shift_to == "keep" or last_ms is None:
        return 0
    return parse_time(plan.shift_to, now_ms) - last_ms


async def _replay(settings: Settings, plan: ReplayPlan, out: Console) -> int:
    tally = Tally()
    with EventLog(plan.events, plan.limit) as log, stopping() as stop:
        shift_ms = shift_of(plan, log.last_ms, int(time() * 1000))
        try:
            async with sender_of(settings) as sender:
                done = await _play(settings, plan, out, sender, log, shift_ms, tally, stop)
        finally:
            out.print(summary(tally))
        _hint(out, log, shift_ms)
        stopped = stop.is_set()
    if stopped:
        print_error("stopped before the end; replaying the same log again is harmless")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if tally.refused or not done else 0


async def _play(
    settings: Settings, plan: ReplayPlan, out: Console, sender: Sender, log: EventLog, shift_ms: int, tally: Tally,
    stop: asyncio.Event,
) -> bool:  # fmt: skip
    kafka = settings.kafka

    def choose(event_type: str | None) -> str:
        return plan.topic or topic_of_type(event_type, kafka.event_topics)

    if plan.items:
        sender.check([kafka.items_topic])
        with meter(out, "items", playback.count_lines(plan.items)) as bar:
            await playback.send_items(sender, plan.items, kafka.items_topic, shift_ms, tally, bar, stop)
        if plan.wait and plan.events and not await _wait(settings, plan, out, [kafka.items_topic], stop):
            return False
    if plan.events and not stop.is_set():
        pace = playback.Pace(log.first_ms or 0, plan.speed)
        with meter(out, "events", log.count) as bar:
            await playback.send_events(sender, log, choose, shift_ms, pace, tally, bar, stop)
    if plan.wait and not stop.is_set():
        topics = {*kafka.event_topics, kafka.items_topic, kafka.unresolved_topic}
        return await _wait(settings, plan, out, sorted(topics), stop)
    return True


async def _wait(settings: Settings, plan: ReplayPlan, out: Console, topics: list[str], stop: asyncio.Event) -> bool:
    async with admin_of(settings) as admin:
        with meter(out, "folded", 0) as bar:
            waited = await until_folded(admin, settings.kafka.group, topics, plan.deadline_s, bar, stop)
    if not waited.left or waited.stopped:
        return True
    behind = ", ".join(f"{lag:,} in {name}" for name, lag in waited.left.items())
    who = f"{waited.members} workers are at it" if waited.members else "no worker runs: start one (interests worker)"
    print_error(f"not folded after {plan.deadline_s:g} s: {behind}; {who}")
    return False


def summary(tally: Tally) -> Table:
    """What was sent where, and what was refused, why and where it was written."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    total = sum(tally.sent.values())
    for topic, count in sorted(tally.sent.items()):
        table.add_row(f"[green]{count:,}[/]", f"sent to {topic}")
    for reason, count in tally.refused.most_common():
        more = ", …" if count > len(tally.examples[reason]) else ""
        table.add_row(f"[red]{count:,}[/]", f"refused: {reason} ({', '.join(tally.examples[reason])}{more})")
    table.add_row(f"{total:,}", f"sent in {lasting(tally.sending_s)}, {total / max(tally.sending_s, 1e-3):,.0f}/s")
    return table


def _hint(out: Console, log: EventLog, shift_ms: int) -> None:
    if log.first_ms is None or log.last_ms is None:
        return
    first_ms, last_ms, now_ms = log.first_ms + shift_ms, log.last_ms + shift_ms, int(time() * 1000)
    moved = f", moved by {lasting(abs(shift_ms) / 1000)}" if shift_ms else ""
    out.print(f"events from {stamp(first_ms)} to {stamp(last_ms)}{moved}", style="dim")
    if now_ms - last_ms > _OLD_MS:
        out.print(
            f"the last event is {ago(last_ms, now_ms)}: what it says has largely faded by now; "
            "--shift-to now brings the log up to today", style="yellow",
        )  # fmt: skip
