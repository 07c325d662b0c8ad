"""`interests replay`: play a log of events, and the catalogue it speaks of, into Kafka; files or topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands import log_files, playback
from streams.commands.connections import admin_of, surveyor_of
from streams.commands.event_log import EventLog
from streams.commands.lag_wait import Waited, until_folded
from streams.commands.options import Limit
from streams.commands.playback import Tally, Throttle, stopping
from streams.commands.progress import meter
from streams.commands.sender import Sender, sender_of
from streams.commands.shell import EXIT_FAILED, EXIT_INTERRUPTED, console, load_settings, print_error, register, run
from streams.commands.topic_playback import check_sources, send_topics
from streams.commands.when import ago, lasting, parse_time, rfc3339, stamp
from streams.events.drafts import topic_of_type

if TYPE_CHECKING:
    from streams.settings.service import Settings

_EXAMPLE = "interests replay --items items.parquet --events 2025.parquet --until 2026-01-01 --rate 2000 --wait"
_OLD_MS = 30 * 86_400_000

Events = Annotated[
    list[Path] | None,
    typer.Option(
        "--events", exists=True, dir_okay=False, help="Events: JSON lines, gzip or not, or Parquet. Repeatable."
    ),
]
Items = Annotated[
    list[Path] | None,
    typer.Option("--items", exists=True, dir_okay=False, help="Items, in the same forms; sent first. Repeatable."),
]
Speed = Annotated[str, typer.Option("--speed", help="Times as fast as it happened: 1 is real time, max is at once.")]
ShiftTo = Annotated[
    str,
    typer.Option("--shift-to", help="Move all times by one amount so that the last event is at: now, a time, or keep."),
]
Topic = Annotated[str | None, typer.Option("--topic", help="One topic for all events, whatever their type.")]
FromTopic = Annotated[
    list[str] | None, typer.Option("--from-topic", help="Events of a topic that no worker folds. Repeatable.")
]
Since = Annotated[
    str | None, typer.Option("--since", help="Only events from this time on; with --from-topic the records' times.")
]
Until = Annotated[str | None, typer.Option("--until", help="Only events before this time.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0.1, help="Records a second, at most.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Refuse where Qdrant holds people already.")]
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
    from_topics: tuple[str, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None
    rate: float | None = None
    fresh: bool = False


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "replay", example=_EXAMPLE)(replay)


def replay(
    events: Events = None, items: Items = None, speed: Speed = "max", shift_to: ShiftTo = "keep", limit: Limit = None,
    topic: Topic = None, from_topic: FromTopic = None, since: Since = None, until: Until = None, rate: Rate = None,
    fresh: Fresh = False, wait: Wait = False, deadline_s: Deadline = 900.0,
) -> None:  # fmt: skip
    """Play a log into Kafka: items first, then events in time order.

    Every line or row is checked as the worker will check it; what it would refuse is counted and left out. Events go to
    topics by their type, keyed by user. Interests fade from the time in the event on: a log that ended years ago needs
    --shift-to now to be seen. With --wait the items are described before the first event is sent. Ctrl-C ends it after
    the batch at hand and says where to go on; replaying again is harmless, since events are known by their event_id.

    To fill a new installation from history and go live: let producers send what happens from a moment on, replay what
    happened before it (--until), with --fresh, and --rate so that Kafka and the workers keep up.
    """
    if not (events or items or from_topic):
        raise ConfigurationError("expected --events FILE, --items FILE, --from-topic TOPIC, or several of them")
    if events and from_topic:
        raise ConfigurationError("got --events and --from-topic, expected one of them: play one log after the other")
    if from_topic and (speed != "max" or shift_to != "keep" or limit is not None):
        raise ConfigurationError("--speed, --shift-to and --limit are for files: with --from-topic expected --rate")
    now_ms = int(time() * 1000)
    if shift_to not in {"keep", "now"}:
        parse_time(shift_to, now_ms)
    plan = ReplayPlan(
        events=tuple(events or ()), items=tuple(items or ()), speed=parse_speed(speed), shift_to=shift_to, limit=limit,
        topic=topic, from_topics=tuple(from_topic or ()), since_ms=parse_time(since, now_ms) if since else None,
        until_ms=parse_time(until, now_ms) if until else None, rate=rate, fresh=fresh, wait=wait,
        deadline_s=deadline_s,
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
    check_sources(plan.from_topics, settings.kafka)
    if plan.fresh:
        await _refuse_people(settings)
    for name, columns in log_files.ignored_columns([*plan.events, *plan.items]).items():
        out.print(f"{name}: no fields of ours, not read: {', '.join(columns)}", style="dim")
    tally = Tally()
    with stopping() as stop, _opened(plan, out) as log:
        shift_ms = shift_of(plan, log.last_ms, int(time() * 1000))
        try:
            async with sender_of(settings) as sender:
                done = await _play(settings, plan, out, sender, log, shift_ms, tally, stop)
        finally:
            out.print(summary(tally))
        _hint(out, log, shift_ms, tally)
        stopped = stop.is_set()
    if stopped:
        again = f"; --since {rfc3339(tally.reached_ms)} goes on from here" if tally.reached_ms and plan.events else ""
        print_error(f"stopped before the end; replaying the same log again is harmless{again}")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if tally.refused or not done else 0


@contextmanager
def _opened(plan: ReplayPlan, out: Console) -> Iterator[EventLog]:
    """The log of the files, read through once, which takes its time where it has to be sorted."""
    log, opened = EventLog(plan.events, plan.limit, since_ms=plan.since_ms, until_ms=plan.until_ms), ExitStack()
    if plan.events:
        with meter(out, "reading", log_files.count(plan.events)) as bar:
            log.on_read = bar.add
            opened.enter_context(log)
    with opened:
        yield log


async def _refuse_people(settings: Settings) -> None:
    async with surveyor_of(settings) as surveyor:
        survey = await surveyor.survey()
    name = survey.aliases.get("interests")
    if name is not None and survey.collections[name].points:
        raise ConfigurationError(
            f"--fresh: {name} holds {survey.collections[name].points:,} nodes already: name another qdrant.host, or "
            "leave --fresh out to add to what is there"
        )


async def _play(
    settings: Settings, plan: ReplayPlan, out: Console, sender: Sender, log: EventLog, shift_ms: int, tally: Tally,
    stop: asyncio.Event,
) -> bool:  # fmt: skip
    kafka, throttle = settings.kafka, Throttle(plan.rate)

    def choose(event_type: str | None) -> str:
        return plan.topic or topic_of_type(event_type, kafka.event_topics)

    if plan.items:
        sender.check([kafka.items_topic])
        with meter(out, "items", log_files.count(plan.items)) as bar:
            await playback.send_items(sender, plan.items, kafka.items_topic, shift_ms, tally, bar, stop, throttle)
        follows = plan.events or plan.from_topics
        if plan.wait and follows and not await _wait(settings, plan, out, [kafka.items_topic], stop):
            return False
    if plan.events and not stop.is_set():
        pace = playback.Pace(log.first_ms or 0, plan.speed)
        with meter(out, "events", log.count) as bar:
            await playback.send_events(sender, log, choose, shift_ms, pace, tally, bar, stop, throttle)
    if plan.from_topics and not stop.is_set():
        from streams.broker.read_window import log_window
        from streams.settings.wiring import kafka_config

        config = kafka_config(kafka)
        async with log_window(config, plan.from_topics, since_ms=plan.since_ms, until_ms=plan.until_ms) as window:
            with meter(out, "offsets", window.bounds.offsets) as bar:
                await send_topics(sender, window, choose, tally, bar, stop, throttle)
    if plan.wait and not stop.is_set():
        topics = {*kafka.event_topics, kafka.items_topic, kafka.unresolved_topic}
        return await _wait(settings, plan, out, sorted(topics), stop)
    return True


async def _wait(settings: Settings, plan: ReplayPlan, out: Console, topics: list[str], stop: asyncio.Event) -> bool:
    async with admin_of(settings) as admin:
        with meter(out, "folded", 0) as bar:
            waited = await until_folded(admin, settings.kafka.group, topics, plan.deadline_s, bar, stop)
    if not waited.left:
        return True
    ended = "when it was stopped" if waited.stopped else f"after {plan.deadline_s:g} s"
    print_error(f"not folded {ended}: {unfolded(waited, settings)}")
    return waited.stopped


def unfolded(waited: Waited, settings: Settings) -> str:
    """What is left after a wait that ended too early, who works on it, and what to do."""
    behind = ", ".join(f"{lag:,} in {name}" for name, lag in waited.left.items())
    who = f"workers at it: {waited.members}" if waited.members else "no worker runs: start one (interests worker)"
    unresolved = settings.kafka.unresolved_topic
    if unresolved in waited.left:
        who += f"; those in {unresolved} wait for items that nobody has described: produce these, or let them become "
        who += f"dead letters after {settings.unresolved.deadline_s:g} s (unresolved.deadline_s)"
    return f"{behind}; {who}"


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


def _hint(out: Console, log: EventLog, shift_ms: int, tally: Tally) -> None:
    if tally.unnamed:
        out.print(f"{tally.unnamed:,} events have no event_id: sent again they would count again", style="yellow")
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
