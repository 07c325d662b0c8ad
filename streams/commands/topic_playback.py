"""Playing other topics' events into the service's own: each to the topic of its type, the partition of its user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Final

import msgspec

from streams.base.errors import ConfigurationError
from streams.commands.playback import Tally, Throttle, send
from streams.commands.progress import Meter
from streams.commands.sender import Sender
from streams.events.drafts import Line, draft_events
from streams.events.event import RecordLike, Source

if TYPE_CHECKING:
    from streams.broker.read_window import LogWindow
    from streams.settings.servers import KafkaSettings

_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE: Final = msgspec.json.Encoder()


def check_sources(topics: Sequence[str], kafka: KafkaSettings) -> None:
    """ConfigurationError where a topic is one that the workers fold already."""
    own = {*kafka.event_topics, kafka.unresolved_topic, kafka.items_topic, *kafka.derived_topics}
    if folded := sorted(own.intersection(topics)):
        raise ConfigurationError(
            f"{', '.join(folded)}: the workers fold this topic already, so a replay of it would only make it longer; "
            "to fold it into fresh collections, run workers of another kafka.group (docs/operations.md)"
        )


async def send_topics(
    sender: Sender, window: LogWindow, choose: Callable[[str | None], str], tally: Tally, meter: Meter,
    stop: asyncio.Event, throttle: Throttle,
) -> None:  # fmt: skip
    """Send the events of a window, each partition's in its order.

    An event without `event_id` gets its record's place as one, and one without `ts` its record's time: the copy is the
    same event, however often it is sent.
    """
    began = monotonic()
    async for records, read in window.batches():
        for start in range(0, len(records), throttle.at_once):
            some = records[start : start + throttle.at_once]
            await throttle.wait(len(some), stop)
            if stop.is_set():
                break
            lines = [Line(record.offset, named(record)) for record in some]
            drafts = draft_events(lines, choose, int(time() * 1000), check=True)
            tally.refuse(Path(f"{some[0].topic}-{some[0].partition}"), drafts.refused)
            await send(sender, drafts, tally)
        if stop.is_set():
            break
        meter.to(read)
    tally.sending_s += monotonic() - began


def named(record: RecordLike, settled_ms: int | None = None) -> bytes:
    """A record's event with an id and a time, which are the record's own where it brings none.

    With `settled_ms` that is its time, whatever it brings.
    """
    body = record.value or b""
    try:
        fields = _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body  # the parser says why
    if bytes(fields.get("event_id", b"null")) == b"null":
        fields["event_id"] = msgspec.Raw(_ENCODE.encode(str(Source(record.topic, record.partition, record.offset))))
    elif settled_ms is None and bytes(fields.get("ts", b"null")) != b"null":
        return body
    if settled_ms is not None or bytes(fields.get("ts", b"null")) == b"null":
        fields["ts"] = msgspec.Raw(str(record.timestamp if settled_ms is None else settled_ms).encode())
    return _ENCODE.encode(fields)
