"""Parameters that several routes share: ids in paths, moments, contexts, cursors."""

from __future__ import annotations

import base64
import binascii
from time import time
from typing import Annotated, cast
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Query, Request
from pydantic import AfterValidator, BeforeValidator

from streams.api.backends import Backends
from streams.api.models import MAX_ID, Context
from streams.api.problems import ApiProblem
from streams.events.text import has_invisible
from streams.events.times import not_seconds
from streams.events.wire import MAX_TS_MS, MIN_ITEM_TS_MS
from streams.store.catalogue import ItemFilter


def now_ms() -> int:
    """The wall clock, in ms since 1970."""
    return int(time() * 1000)


async def _backends(request: Request) -> Backends:
    return cast(Backends, request.app.state.backends)


# Dependencies are coroutines, all of them: FastAPI sends plain functions to a thread, which takes half a millisecond.
ApiBackends = Annotated[Backends, Depends(_backends)]


def decoded(segment: object) -> object:
    """An id from its path segment: percent-encoded UTF-8, so that it may hold a slash."""
    if not isinstance(segment, str):
        return segment
    try:
        return unquote_to_bytes(segment.encode("latin-1")).decode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise ValueError("expected percent-encoded UTF-8") from None


def plain(text: str) -> str:
    """Refuse an id that the parser of events would refuse."""
    if has_invisible(text):
        raise ValueError("expected no control, separator or bidi characters")
    return text


_ID = (BeforeValidator(decoded), AfterValidator(plain))
UserInPath = Annotated[
    str, *_ID, Path(min_length=1, max_length=MAX_ID, description="The user's id, percent-encoded.", examples=["u17"])
]
ItemInPath = Annotated[
    str, *_ID, Path(min_length=1, max_length=MAX_ID, description="The item's id, percent-encoded.", examples=["i9"])
]


async def _stored(backends: ApiBackends, user_id: UserInPath) -> str:
    return backends.stored_as(user_id)


User = Annotated[str, Depends(_stored)]
"""The user of a path, by the id that their nodes are kept under."""

AtMs = Annotated[
    int | None,
    BeforeValidator(not_seconds),
    Query(ge=MIN_ITEM_TS_MS, lt=MAX_TS_MS, description="The moment to answer for, in ms since 1970; by default now."),
]
Prior = Annotated[bool, Query(description="Give a newcomer a prior: the interests of people who began alike.")]
Daypart = Annotated[str | None, Query(max_length=32, description="Part of the day they are in, such as `evening`.")]
Device = Annotated[str | None, Query(max_length=64, description="Device they use, such as `mobile`.")]


Category = Annotated[
    str | None,
    Query(
        min_length=1, max_length=200, description="At or below a path (`/sports`), or a category's name, in any case."
    ),
]
ItemLang = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=35,
        description="Language of the items (BCP 47), in any case: `en` has `en-US` in it.",
    ),
]
MaxAgeS = Annotated[float | None, Query(gt=0, le=4e9, description="Only items published within so many seconds.")]


def wanted(category: str | None, lang: str | None, max_age_s: float | None, at_ms: int) -> ItemFilter:
    """What a request's items must be."""
    since = None if max_age_s is None else at_ms - int(max_age_s * 1000)
    return ItemFilter(category=category, lang=lang, since_ms=since)


def context_of(daypart: str | None, device: str | None) -> Context:
    """The situation that a request names."""
    values = {"daypart": daypart, "device": device}
    return {name: value for name, value in values.items() if value}


def cursor(*parts: object) -> str:
    """An opaque place to go on from."""
    return base64.urlsafe_b64encode(":".join(map(str, parts)).encode()).decode().rstrip("=")


def read_cursor(text: str, count: int) -> list[str]:
    """The parts of a cursor; 422 where it is none of ours."""
    try:
        parts = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        parts = []
    if len(parts) != count:
        raise bad_cursor()
    return parts


def bad_cursor() -> ApiProblem:
    """A cursor that this service did not make."""
    return ApiProblem(422, "bad-cursor", "The cursor is none that this service gave: begin without one.")
