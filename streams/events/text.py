"""Text as the path uses it: NFC, one line, no control or bidi characters, no endless runs of combining marks.

Every function here takes time proportional to its text's length, whatever is in it; a test feeds each its worst.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Line and tab characters part words, so they become a space.
_BREAKS = "\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029"
# C0 and C1 controls, bidi marks and embeddings, the byte order mark: they draw nothing and can hide what is drawn.
INVISIBLE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
MAX_MARKS: Final = 30
"""Combining marks in a run, as in the Stream-Safe Text Format (UAX #15, section 13); no living script needs more."""

# Characters that draw nothing (Unicode's Default_Ignorable_Code_Point, and two that are blank): a text of them is none.
_BLANK = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
# The only characters that count as no marks (class zero) and become two: NFC would sort them as it does others.
_MARKS_IN_ONE: Final = {0x0F73: "\u0f71\u0f72", 0x0F75: "\u0f71\u0f74", 0x0F81: "\u0f71\u0f80"}
_MARK_IN_ONE = re.compile("[\u0f73\u0f75\u0f81]")
_BREAK = re.compile(f"[{_BREAKS}]")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def normalise_text(text: str) -> str:
    """Bring a text into the one form that is encoded and cached: NFC, one line, trimmed.

    Line breaks and tabs become spaces; other control and bidi characters are taken out, and so are combining marks
    after the thirtieth of a run. Applying it twice changes nothing. Empty where nothing is left that can be
    seen. Linear in the text.
    """
    # All that INVISIBLE names is unprintable to Python, so most texts take neither substitution.
    if not text.isprintable():
        text = _INVISIBLE.sub("", _BREAK.sub(" ", text))
    if not text.isascii():
        # Before, since NFC sorts a run of marks in quadratic time; after, since a mark may become two.
        text = stream_safe(unicodedata.normalize("NFC", stream_safe(text)))
        if _BLANK.fullmatch(text):
            return ""
    return text.strip()


def to_be_read(text: str) -> str:
    """Give back a text as it came. ValueError where nothing in it can be seen: its vector would mean nothing."""
    if not normalise_text(text):
        raise ValueError("expected a text with something to see in it")
    return text


def stream_safe(text: str) -> str:
    """Leave at most MAX_MARKS combining marks (characters whose combining class is not zero) in a run. Linear.

    Three Tibetan vowel signs of class zero, which are two marks each, are written as those two, as NFC does.
    UAX #15 parts a long run by U+034F; here the rest goes. It says nothing to a reader or an encoder, and would be
    tens of thousands of marks to whatever draws, compares or normalises the text next.
    """
    if _MARK_IN_ONE.search(text):
        text = text.translate(_MARKS_IN_ONE)
    # A run that is too long covers one of every 31 characters, and three in a row of every tenth: few texts are read
    # further, decomposed Vietnamese among those that are not.
    if not any(map(unicodedata.combining, text[MAX_MARKS :: MAX_MARKS + 1])):
        return text
    if max(map(len, bytes(map(unicodedata.combining, text[:: MAX_MARKS // 3])).split(b"\0"))) < 3:
        return text
    kept: list[str] = []
    run = 0
    for char in text:
        run = run + 1 if unicodedata.combining(char) else 0
        if run <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def has_invisible(text: str) -> bool:
    """Tell whether a text holds a control, bidi or separator character, which no id may. Linear."""
    return not text.isprintable() and _INVISIBLE.search(text) is not None


def shorten(text: str, max_chars: int) -> str:
    """Cut a text to `max_chars` characters, at a space where one is in the last fifth. Linear in `max_chars`."""
    if len(text) <= max_chars:
        return text
    cut = text[:max_chars]
    space = cut.rfind(" ")
    return (cut[:space] if space >= max_chars * 4 // 5 else cut).rstrip()
