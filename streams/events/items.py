"""Items after validation: what the catalogue, or an event that brings its item along, says of one, and its text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from streams.base.errors import PoisonError
from streams.events.text import normalise_text, shorten
from streams.events.wire import WireItemContent, WireMedia

_ENDS_SENTENCE = ".!?…。！？"


class Media(Struct, frozen=True, gc=False):
    """A picture or sound of an item. Exactly one of `uri` and `data` (base64) is set."""

    kind: Literal["image", "audio"]
    uri: str | None
    data: str | None


class Item(Struct, frozen=True, gc=False):
    """An item's content, text normalised. `ts_ms` is when it was published, None where it is not known."""

    item_id: str
    title: str | None = None
    description: str | None = None
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    brand: str | None = None
    lang: str | None = None
    ts_ms: int | None = None
    media: tuple[Media, ...] = ()
    deleted: bool = False

    @property
    def has_content(self) -> bool:
        """Tell whether there is anything that a text encoder could read."""
        return bool(self.title or self.description or self.categories or self.tags or self.brand)


def item_of(wire: WireItemContent, item_id: str, ts_ms: int | None) -> Item:
    """Normalise an item's content. PoisonError `bad_media` where a medium has no place and no bytes, or both."""
    return Item(
        item_id=item_id,
        title=_text(wire.title),
        description=_text(wire.description),
        categories=_texts(wire.categories),
        tags=_texts(wire.tags),
        brand=_text(wire.brand),
        lang=_text(wire.lang),
        ts_ms=ts_ms,
        media=tuple(_medium(medium) for medium in wire.media or ()),
        deleted=bool(wire.deleted),
    )


def item_text(item: Item, max_chars: int) -> str | None:
    """Compose what the encoder reads of an item: title, description, then categories, tags and brand as words.

    At most `max_chars` characters. A long description is cut first, so that the words (at most a quarter of
    the room) are still read. None where the item has nothing to read.
    """
    words = shorten(_words([*item.categories, *item.tags, *([item.brand] if item.brand else [])]), max_chars // 4)
    head = shorten(item.title or "", max_chars)
    room = max_chars - len(head) - len(words) - 4  # two joins of two characters
    body = shorten(item.description or "", room) if room > 0 else ""
    if not head and not body:
        words = shorten(_words([*item.categories, *item.tags, *([item.brand] if item.brand else [])]), max_chars)
    return shorten(_sentences(part for part in (head, body, words) if part), max_chars) or None


def _words(parts: Iterable[str]) -> str:
    seen = dict.fromkeys(part.replace("_", " ") for part in parts)
    return ", ".join(part for part in seen if part)


def _sentences(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        if text:
            text += " " if text[-1] in _ENDS_SENTENCE else ". "
        text += part
    return text


def _text(text: str | None) -> str | None:
    return (normalise_text(text) or None) if text else None


def _texts(texts: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(filter(None, map(normalise_text, texts))) if texts else ()


def _medium(wire: WireMedia) -> Media:
    if bool(wire.uri) == bool(wire.data):
        raise PoisonError("media: expected exactly one of uri and data", reason="bad_media")
    return Media(wire.kind, wire.uri or None, wire.data or None)
