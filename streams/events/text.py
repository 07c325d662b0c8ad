"""Text as the path uses it: NFC, one line, no control or bidi characters"""

from __future__ import annotations

import re
import unicodedata

# Line and tab characters part words, so they become a space.
_BREAKS = "\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029"
# C0 and C1 controls, bidi marks and embeddings, the byte order mark: they draw nothing and can hide what is drawn.
INVISIBLE = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_BREAK = re.compile(f"[{_BREAKS}]")
_INVISIBLE = re.compile(f"[{INVISIBLE}]")


def normalise_text(text: str) -> str:
    """Bring a text into the one form that is encoded and cached: NFC, one line, trimmed.

    Line breaks and tabs become spaces; other control and bidi characters are taken out. Applying it twice
    changes nothing. Empty where nothing is left.
    """
    # All that INVISIBLE names is unprintable to Python, so most texts take neither substitution.
    if not text.isprintable():
        text = _INVISIBLE.sub("", _BREAK.sub(" ", text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.strip()


def has_invisible(text: str) -> bool:
    """Tell whether a text holds a control, bidi or separator character, which no id may."""
    return not text.isprintable() and _INVISIBLE.search(text) is not None


def shorten(text: str, max_chars: int) -> str:
    """Cut a text to `max_chars` characters, at a space where one is in the last fifth."""
    if len(text) <= max_chars:
        return text
    cut = text[:max_chars]
    space = cut.rfind(" ")
    return (cut[:space] if space >= max_chars * 4 // 5 else cut).rstrip()
