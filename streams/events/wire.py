"""What producers send, field by field, with the limits of each; the JSON Schemas are made from these classes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from streams.events.text import INVISIBLE

MAX_ID_CHARS: Final = 256
MAX_EVENT_ID_CHARS: Final = 128
MAX_TEXT_CHARS: Final = 8_000
MAX_SHOWN: Final = 500
MAX_CONTEXT_KEYS: Final = 16
MAX_CONTEXT_KEY_CHARS: Final = 64
MAX_WORD_CHARS: Final = 256
MAX_CATEGORIES: Final = 16
MAX_TAGS: Final = 64
MAX_TITLE_CHARS: Final = 2_000
MAX_DESCRIPTION_CHARS: Final = 50_000
MAX_MEDIA: Final = 16
MAX_URI_CHARS: Final = 2_048
MAX_EXACT_INT: Final = 2**53
MIN_EVENT_TS_MS: Final = 631_152_000_000  # 1990-01-01: older logs are not of this kind, a reset clock says 1980 or so
MIN_ITEM_TS_MS: Final = 31_536_000_000  # 1971-01-01: items may be old; a time in seconds stays below it until 2969
MAX_TS_MS: Final = 4_102_444_800_000  # 2100-01-01

EventType = Literal[
    "click", "view", "post", "comment", "like", "dislike", "bookmark", "share", "follow", "purchase", "rating",
    "search", "hide", "impression", "unlike", "undislike", "unbookmark", "unfollow", "unhide", "erase",
]  # fmt: skip

# Escaped, so that the schema's pattern is plain ASCII; "not", as Python's `$` would let a last newline pass.
_INVISIBLE_CLASS: Final = "".join(char if char == "-" else f"\\u{ord(char):04x}" for char in INVISIBLE)
_NO_INVISIBLE: dict[str, Any] = {"not": {"pattern": f"[{_INVISIBLE_CLASS}]"}}

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, extra_json_schema=_NO_INVISIBLE)]
EventId = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID_CHARS, extra_json_schema=_NO_INVISIBLE)]
Word = Annotated[str, Meta(max_length=MAX_WORD_CHARS)]
Rfc3339 = Annotated[datetime, Meta(tz=True)]
# Whole numbers, also written as 5.0: JSON Schema counts that as an integer, and so does the parser.
ItemTime = (
    Annotated[int, Meta(ge=MIN_ITEM_TS_MS, lt=MAX_TS_MS)]
    | Annotated[float, Meta(ge=MIN_ITEM_TS_MS, lt=MAX_TS_MS)]
    | Rfc3339
    | None
)
EventTime = (
    Annotated[int, Meta(ge=MIN_EVENT_TS_MS, lt=MAX_TS_MS)]
    | Annotated[float, Meta(ge=MIN_EVENT_TS_MS, lt=MAX_TS_MS)]
    | Rfc3339
    | None
)
Dwell = Annotated[int, Meta(ge=0, le=MAX_EXACT_INT)] | Annotated[float, Meta(ge=0, le=MAX_EXACT_INT)] | None
Shown = Annotated[tuple[Id, ...], Meta(max_length=MAX_SHOWN)]
Context = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=MAX_CONTEXT_KEY_CHARS)], Word | float | bool | None],
    Meta(max_length=MAX_CONTEXT_KEYS),
]


def _about(text: str) -> Meta:
    return Meta(description=text)


class WireMedia(Struct, frozen=True, gc=False):
    """A picture or sound of an item: where it lies, or its bytes in base64."""

    kind: Annotated[Literal["image", "audio"], _about("What it is.")]
    uri: Annotated[Annotated[str, Meta(max_length=MAX_URI_CHARS)] | None, _about("Where it lies.")] = None
    data: Annotated[str | None, _about("Its bytes in base64, within the record's 256 KiB.")] = None


class WireItemContent(Struct, frozen=True, gc=False, kw_only=True):
    """What can be said of an item."""

    title: Annotated[
        Annotated[str, Meta(max_length=MAX_TITLE_CHARS)] | None, _about("Its name, as people read it.")
    ] = None
    description: Annotated[
        Annotated[str, Meta(max_length=MAX_DESCRIPTION_CHARS)] | None, _about("What it is about.")
    ] = None
    categories: Annotated[
        Annotated[tuple[Word, ...], Meta(max_length=MAX_CATEGORIES)] | None,
        _about("Its place in the catalogue, a path from coarse to fine."),
    ] = None
    tags: Annotated[
        Annotated[tuple[Word, ...], Meta(max_length=MAX_TAGS)] | None, _about("Words it is filed under.")
    ] = None
    brand: Annotated[Word | None, _about("Who makes or publishes it.")] = None
    lang: Annotated[Annotated[str, Meta(max_length=35)] | None, _about("Language of its text, as in BCP 47.")] = None
    ts: Annotated[
        ItemTime, _about("When it was published: milliseconds since 1970, or RFC 3339 with an offset; from 1971 on.")
    ] = None
    media: Annotated[
        Annotated[tuple[WireMedia, ...], Meta(max_length=MAX_MEDIA)] | None, _about("Pictures and sounds.")
    ] = None
    deleted: Annotated[bool | None, _about("True takes the item out of the catalogue, as a null record does.")] = None


class WireItem(WireItemContent, frozen=True, gc=False, kw_only=True):
    """An item of the catalogue. The record's key is its `item_id`."""

    item_id: Annotated[Id, _about("The item's id; the record's key is the same.")]


class WireInlineItem(WireItemContent, frozen=True, gc=False, kw_only=True):
    """An item's content inside an event, for those who have no catalogue topic."""

    item_id: Annotated[Id | None, _about("The item's id; the event's own where it is absent.")] = None


class WireEvent(Struct, frozen=True, gc=False, kw_only=True):
    """Something a user did. The record's key is the `user_id`."""

    event_id: Annotated[EventId | None, _about("Unique; without it the record's topic-partition-offset serves.")] = None
    user_id: Annotated[Id, _about("Who did it; the record's key is the same.")]
    type: Annotated[EventType, _about("What was done.")]
    ts: Annotated[
        EventTime,
        _about(
            "When it happened: milliseconds since 1970, or RFC 3339 with an offset; from 1990 to 2099. "
            "Without it the record's timestamp. More than 5 minutes in the future is moved back to that timestamp."
        ),
    ] = None
    item_id: Annotated[Id | None, _about("What it was done to. Required but for search, impression and erase.")] = None
    text: Annotated[
        Annotated[str, Meta(max_length=MAX_TEXT_CHARS)] | None, _about("The comment, the post or the search.")
    ] = None
    rating: Annotated[Annotated[float, Meta(ge=0.5, le=5)] | None, _about("Stars; required for a rating.")] = None
    dwell_ms: Annotated[Dwell, _about("How long the user stayed with it, in milliseconds.")] = None
    items: Annotated[Shown | None, _about("Impression only: the ids of the items that were shown.")] = None
    clicked: Annotated[Shown | None, _about("Impression only: those of `items` that were taken.")] = None
    item: Annotated[WireInlineItem | None, _about("The item's content.")] = None
    context: Annotated[
        Context | None,
        _about(
            "The situation: device, place, session, locale and the like; null counts as absent. The part of the day "
            "is worked out with utc_offset_min: how far the user's clock is ahead of UTC, in minutes."
        ),
    ] = None


class StrictMedia(WireMedia, frozen=True, gc=False, forbid_unknown_fields=True):
    """WireMedia that refuses fields it does not know."""


class StrictItem(WireItem, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """WireItem that refuses fields it does not know: how the parser learns that there are any."""

    media: Annotated[tuple[StrictMedia, ...], Meta(max_length=MAX_MEDIA)] | None = None


class StrictInlineItem(WireInlineItem, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """WireInlineItem that refuses fields it does not know."""

    media: Annotated[tuple[StrictMedia, ...], Meta(max_length=MAX_MEDIA)] | None = None


class StrictEvent(WireEvent, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """WireEvent that refuses fields it does not know."""

    item: StrictInlineItem | None = None
