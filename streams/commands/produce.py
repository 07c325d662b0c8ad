"""`interests produce`: send one event, or lines of events and items, and say where they lie."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import msgspec
import typer

from streams.base.errors import ConfigurationError
from streams.commands.json_lines import STDIN, read_lines
from streams.commands.sender import sender_of
from streams.commands.shell import EXIT_FAILED, load_settings, print_error, register, run
from streams.commands.when import parse_time
from streams.events.drafts import Drafts, Line, RefusedLine, draft_events, draft_items, topic_of_type
from streams.events.wire import EventType

if TYPE_CHECKING:
    from streams.settings.service import Settings

_BATCH = 500
_EXAMPLE = "interests produce --user u1 --type comment --item i1 --text 'Well put.'"

File = Annotated[Path | None, typer.Argument(help="JSON lines, gzip or not; - reads standard input.")]
User = Annotated[str | None, typer.Option("--user", help="One event: who did it.")]
Type = Annotated[str | None, typer.Option("--type", help=f"What was done: {', '.join(get_args(EventType))}.")]
ItemId = Annotated[str | None, typer.Option("--item", help="The item it was done to.")]
InlineTitle = Annotated[
    str | None, typer.Option("--inline-title", help="The item's title, where no catalogue describes it.")
]
Text = Annotated[str | None, typer.Option("--text", help="The comment, the post or the search.")]
Rating = Annotated[float | None, typer.Option("--rating", help="Stars, 0.5 to 5.")]
DwellMs = Annotated[int | None, typer.Option("--dwell-ms", help="How long they stayed, in milliseconds.")]
At = Annotated[str | None, typer.Option("--ts", help="When: now, -2h, ms since 1970 or RFC 3339; now where left out.")]
EventId = Annotated[str | None, typer.Option("--event-id", help="Its own id; topic-partition-offset where left out.")]
Shown = Annotated[list[str] | None, typer.Option("--shown", help="Impression: an item shown. May be repeated.")]
Clicked = Annotated[list[str] | None, typer.Option("--clicked", help="Impression: one of those taken. Repeatable.")]
Context = Annotated[list[str] | None, typer.Option("--context", help="name=value of the situation. Repeatable.")]
Items = Annotated[bool, typer.Option("--items", help="The lines are items of the catalogue, not events.")]
Topic = Annotated[str | None, typer.Option("--topic", help="Topic to send to, whatever the type.")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Send as it is, also what will be a dead letter.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Do not print where each record lies.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "produce", example=_EXAMPLE)(produce)


def produce(
    file: File = None, user: User = None, type_: Type = None, item: ItemId = None,
    inline_title: InlineTitle = None, text: Text = None,
    rating: Rating = None, dwell_ms: DwellMs = None, ts: At = None, event_id: EventId = None, shown: Shown = None,
    clicked: Clicked = None, context: Context = None, items: Items = False, topic: Topic = None,
    no_check: NoCheck = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Send one event made of options, or the lines of a file.

    Clicks and views go to the topic clicks, comments and posts to comments, the rest to events. Every line is checked
    as the worker will check it; bad lines are named and left out, the others sent. Prints topic-partition-offset of
    every record once the broker has acknowledged it.
    """
    when = _time(ts, check=not no_check)
    fields = {
        "event_id": event_id, "user_id": user, "type": type_, "item_id": item, "text": text, "rating": rating,
        "dwell_ms": dwell_ms, "ts": when, "items": shown, "clicked": clicked, "context": _context(context or []),
        "item": None if inline_title is None else {"title": inline_title},
    }  # fmt: skip
    given = {name: value for name, value in fields.items() if value is not None}
    if (file is None) == (not given):
        raise ConfigurationError("expected either a FILE (- for standard input) or one event: --user, --type …")
    if items and given:
        raise ConfigurationError("--items takes lines from a FILE")
    settings = load_settings()
    one = [Line(1, msgspec.json.encode(given))] if given else []
    # One event is judged before anything connects.
    refused = _drafts(settings, one, items=False, topic=topic, check=not no_check).refused
    if not refused:
        lines = iter(one) if one else read_lines(file or STDIN)
        refused = run(_send(settings, lines, items=items, topic=topic, check=not no_check, quiet=quiet))
    if refused:
        _print_refused(refused, one=bool(given))
        raise typer.Exit(EXIT_FAILED)


async def _send(
    settings: Settings, lines: Iterator[Line], *, items: bool, topic: str | None, check: bool, quiet: bool
) -> list[RefusedLine]:
    refused: list[RefusedLine] = []
    sent = 0
    async with sender_of(settings) as sender:
        while chunk := list(islice(lines, _BATCH)):
            drafts = _drafts(settings, chunk, items=items, topic=topic, check=check)
            refused += drafts.refused
            for place in await sender.send(drafts.ready):
                sent += 1
                if not quiet:
                    typer.echo(place)
    if quiet or sent != 1:
        typer.echo(f"{sent} sent", err=True)
    return refused


def _drafts(settings: Settings, lines: Sequence[Line], *, items: bool, topic: str | None, check: bool) -> Drafts:
    now_ms = int(time.time() * 1000)
    kafka = settings.kafka
    if items:
        return draft_items(lines, topic or kafka.items_topic, now_ms, check=check)

    def choose(event_type: str | None) -> str:
        return topic or topic_of_type(event_type, kafka.event_topics)

    return draft_events(lines, choose, now_ms, check=check)


def _print_refused(refused: Sequence[RefusedLine], *, one: bool) -> None:
    for line in refused[:20]:
        print_error(f"{'' if one else f'line {line.number}: '}{line.reason}: {line.message}")
    if len(refused) > 20:
        print_error(f"and {len(refused) - 20} more lines")


def _time(text: str | None, *, check: bool) -> int | str | None:
    """Milliseconds, of whatever `--at` takes elsewhere; unchecked, what is no time is sent as it is."""
    if text is None:
        return None
    try:
        return parse_time(text, int(time.time() * 1000))
    except ConfigurationError:
        if check:
            raise
        return int(text) if text.isdecimal() and len(text) < 20 else text


def _context(pairs: Sequence[str]) -> dict[str, Any] | None:
    context: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigurationError(f"--context {pair!r}: expected name=value")
        try:
            context[name] = msgspec.json.decode(value, type=float | bool)
        except msgspec.DecodeError:
            context[name] = value
    return context or None
