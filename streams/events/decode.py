"""From bytes to the wire classes, and from a decoder's complaint to a reason that names no values."""

from __future__ import annotations

import codecs
import re
from difflib import get_close_matches
from typing import Final, TypeVar

import msgspec

from streams.base.errors import PoisonError
from streams.events.times import time_error
from streams.events.wire import StrictEvent, StrictItem, WireEvent, WireInlineItem, WireItem

MAX_DEPTH: Final = 64
MAX_OWN_BYTES: Final = 1 << 20  # no producer of ours sends more

STRICT_EVENT: Final = msgspec.json.Decoder(StrictEvent)
_EVENT: Final = msgspec.json.Decoder(WireEvent)
STRICT_ITEM: Final = msgspec.json.Decoder(StrictItem)
_ITEM: Final = msgspec.json.Decoder(WireItem)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])

_EVENT_FIELDS: Final = frozenset(WireEvent.__struct_fields__)
_ITEM_FIELDS: Final = frozenset(WireItem.__struct_fields__)
_INLINE_FIELDS: Final = frozenset(WireInlineItem.__struct_fields__)

# A string that never ends matches too: else each quote in it would be tried as a beginning, which is quadratic.
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
# Escapes as they follow each other: a whole pair, half of one (1), or any other escape.
_SURROGATES: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_RAW_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_NAMES_COMPARED: Final = 20
_BOUND: Final = re.compile(r"of length|out of range|[<>]")

W = TypeVar("W", WireEvent, WireItem)
T = TypeVar("T")


def tolerant_event(value: bytes, error: Exception) -> tuple[WireEvent, int]:
    """Decode an event that STRICT_EVENT refused with `error`; also the number of fields nobody knows.

    PoisonError says what is wrong, where it was more than an unknown field.
    """
    return _tolerant(value, error, _EVENT, _EVENT_FIELDS)


def tolerant_item(value: bytes, error: Exception) -> tuple[WireItem, int]:
    """Decode an item that STRICT_ITEM refused with `error`, as `tolerant_event` does."""
    return _tolerant(value, error, _ITEM, _ITEM_FIELDS)


def own_record(value: bytes | None, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Decode a record of the service's own making, `what`. PoisonError for anything else. Linear in its length."""
    if len(value or b"") > MAX_OWN_BYTES:
        raise PoisonError(f"not {what}: more than {MAX_OWN_BYTES} bytes", reason="too_large")
    try:
        return decoder.decode(value or b"")
    except UnicodeDecodeError as error:
        raise PoisonError(f"not {what}: not UTF-8", reason="not_utf8") from error
    except RecursionError as error:
        raise PoisonError(f"not {what}: nested too deep", reason="too_deep") from error
    except msgspec.ValidationError as error:
        raise PoisonError(f"not {what}: a field is missing or wrong", reason="wrong_type") from error
    except msgspec.DecodeError as error:
        raise PoisonError(f"not {what}: not one JSON document", reason="bad_json") from error


def key(raw: bytes | None, name: str) -> str:
    """Decode a record's key, which is the `name` of what it carries. PoisonError says what is wrong."""
    if not raw:
        raise PoisonError(f"the record has no key; expected the {name}", reason="empty_key")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise PoisonError("the key is not UTF-8", reason="not_utf8") from error


def key_error(raw: bytes | None, name: str) -> PoisonError:
    """Say why a key is not the `name` in the value."""
    try:
        key(raw, name)
    except PoisonError as error:
        return error
    return PoisonError(
        f"the key is not the {name}; the key chooses the partition, so two workers could own one {name}",
        reason="key_mismatch",
    )


def _tolerant(value: bytes, error: Exception, lenient: msgspec.json.Decoder[W], known: frozenset[str]) -> tuple[W, int]:
    _check_utf8(value)
    if not isinstance(error, msgspec.ValidationError):
        raise PoisonError(f"the value {why_no_json(value, f'is no JSON: {error}')}", reason="bad_json") from error
    if not str(error).startswith("Object contains unknown field"):
        raise _reason(error) from error
    # What follows a field that nobody knows has not been read yet, and the decoder skips it unchecked.
    _check_depth(value)
    try:
        return lenient.decode(value), _unknown_fields(value, known)
    except msgspec.DecodeError as later:
        reason = _reason(later)
        if reason.reason == "missing_field":
            raise PoisonError(str(reason) + nearly(value, known), reason=reason.reason) from later
        raise reason from later


def nearly_event(value: bytes) -> str:
    """As `nearly`, for an event's fields."""
    return nearly(value, _EVENT_FIELDS)


def nearly(value: bytes, known: frozenset[str] = _ITEM_FIELDS) -> str:
    """Name the known field that a field of an object is nearly called like, in brackets; "" where there is none.

    Bounded: so many names are compared, none longer than any that is known.
    """
    names = [name for name in list(_FIELDS.decode(value))[:_NAMES_COMPARED] if name not in known and len(name) < 16]
    for name in names:
        if alike := get_close_matches(name.lower(), known, 1, 0.75):
            return f" (a field that is not known has nearly the name {alike[0]}: did you mean that?)"
    return ""


def why_no_json(value: bytes, complaint: str) -> str:
    """Say what is wrong with bytes that are no JSON: the usual accidents by name, else the decoder's complaint."""
    if value.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "begins with a byte order mark of UTF-16; expected UTF-8"
    if value.startswith(codecs.BOM_UTF8):
        return "begins with a byte order mark; expected JSON in UTF-8 without one"
    if _RAW_SURROGATE.search(value) or any(match[1] for match in _SURROGATES.finditer(value)):
        return "holds half a surrogate pair, which is no character"
    return complaint


def _unknown_fields(value: bytes, known: frozenset[str]) -> int:
    fields = _FIELDS.decode(value)
    count = len(fields.keys() - known)
    inline = bytes(fields.get("item", b""))
    if inline.startswith(b"{") and "item" in known:
        count += len(_FIELDS.decode(inline).keys() - _INLINE_FIELDS)
    return max(count, 1)  # fields inside media are not told apart


def _check_utf8(value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        about = why_no_json(value, "is not UTF-8")
        raise PoisonError(f"the value {about}", reason="not_utf8") from error


def _check_depth(value: bytes) -> None:
    """Refuse deep nesting by counting, not by running out of stack: that depends on who calls. Linear."""
    if value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(value):
        first = value[match.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise PoisonError(f"the value is nested deeper than {MAX_DEPTH}", reason="too_deep")
        elif first in b"]}":
            depth -= 1


def _reason(error: Exception) -> PoisonError:
    """Turn the decoder's complaint into a reason; its text names fields and limits, and an enum's value, which goes."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return PoisonError(text, reason="bad_json")
    if text.endswith(("`$.ts`", "`$.item.ts`")):
        return time_error("item.ts" if text.endswith("`$.item.ts`") else "ts")
    if text.startswith("Invalid enum value"):
        if text.endswith("`$.type`"):
            return PoisonError("type: not one of the event types", reason="unknown_type")
        return PoisonError("media: kind is not one of image and audio", reason="bad_media")
    if text.startswith("Object missing required field"):
        reason = "missing_field"
    else:
        reason = "out_of_range" if _BOUND.search(text) else "wrong_type"
    return PoisonError(text, reason=reason)
