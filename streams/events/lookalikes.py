"""A text as its reader sees it: lookalike letters, characters that draw nothing and strokes through letters undone.

Only what the encoder reads goes through here; what is stored and shown stays as it was written. Plain texts stay as
they are: of 142,000 news, comments and questions in English and Chinese none is changed (docs/evaluation.md).
"""

from __future__ import annotations

import re
from typing import Final

from streams.events.text import normalise_text

# Letters drawn as Latin ones in most fonts: from Unicode's confusables (UTS #39), without those that science and
# mathematics write between Latin letters (beta, mu, pi and the like).
_CYRILLIC: Final = dict(zip("асеорхуіјѕһԁԛԝӏАВСЕНІЈКМОРЅТХУ", "aceopxyijshdqwlABCEHIJKMOPSTXY", strict=True))
_GREEK: Final = dict(zip("αονιυκγρΑΒΕΗΙΚΜΝΟΡΤΧΥΖ", "aoviukypABEHIKMNOPTXYZ", strict=True))
_TO_LATIN: Final = str.maketrans(_CYRILLIC | _GREEK)
_TO_CYRILLIC: Final = str.maketrans({latin: cyrillic for cyrillic, latin in _CYRILLIC.items()})
_LATIN: Final = "A-Za-z\u00c0-\u024f"
_OTHERS: Final = "\u0370-\u03ff\u0400-\u052f"
_OTHER: Final = re.compile(f"[{_OTHERS}]")
_MARKS: Final = "\u0300-\u036f"
_WORD: Final = re.compile(f"[{_LATIN}{_OTHERS}{_MARKS}]+")
_LATIN_LETTER: Final = re.compile(f"[{_LATIN}]")
_CYRILLIC_LETTER: Final = re.compile("[\u0400-\u052f]")
_BOTH: Final = re.compile(f"[{_LATIN}][{_MARKS}]*[\u0400-\u052f]|[\u0400-\u052f][{_MARKS}]*[{_LATIN}]")
_SCIENCE: Final = frozenset("ανκγρ")  # Greek lookalikes that formulas and names of substances are written with
_JOINED: Final = "A-Za-z\u00c0-\u052f\u3040-\u30ff\u4e00-\u9fff"
# Between words of Thai, Lao, Khmer and Burmese a space is one of no width (200B); Mongolian spells with 180E.
_PARTED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u18af\ua9e0-\ua9ff\uaa60-\uaa7f"
# They draw nothing. The two joiners (200C, 200D) have a meaning in emoji and in scripts that join, not between these.
_UNSEEN: Final = re.compile(
    f"(?<=[{_JOINED}])[\u00ad\u180e\u200b-\u200d\u2060-\u2064]+(?=[{_JOINED}])|[\u00ad\u2060-\u2064]"
    f"|(?<![{_PARTED}])[\u180e\u200b]"
)
_STROKES: Final = re.compile(
    "(?<![<=>\u2190-\u22ff\u2a00-\u2aff])[\u0334-\u0338\u0489\u20d2-\u20d4\u20e5\u20e6\u20ea\u20eb]"
)
"""Overlays, which no language's spelling has: composed letters such as đ are characters of their own. Through a sign of
mathematics one means not."""


def as_read(text: str) -> str:
    """Undo what changes a normalised text's characters and not its looks. Applying it twice changes nothing. Linear.

    A word that mixes scripts is written in that of its letters without a lookalike: `pаypаl` in Latin, `пpивет` in
    Cyrillic; a word that has some of both stays. A Cyrillic word of nothing but lookalikes may be meant (`СССР`,
    `сахар`): it becomes Latin where another word mixes the two, and the text has no other Cyrillic letters. A text of
    which nothing would be left stays.
    """
    if text.isascii():
        return text
    if (bare := _UNSEEN.sub("", _STROKES.sub("", text))) != text:
        # Marks that were apart may meet: composed again, and bounded again.
        text = normalise_text(bare) or text
    if not _OTHER.search(text) or not _LATIN_LETTER.search(text):
        return text
    foreign = set(_CYRILLIC_LETTER.findall(text))
    if foreign and foreign <= _CYRILLIC.keys() and _BOTH.search(text):
        text = text.translate(_CYRILLIC_TO_LATIN)
    # A mark that a letter of one script takes apart may be composed with that of the other.
    return normalise_text(_WORD.sub(_in_one_script, text))


def _in_one_script(found: re.Match[str]) -> str:
    word = found.group()
    if word.isascii() or not _OTHER.search(word) or not (latin := _LATIN_LETTER.findall(word)):
        return word
    if not _OTHER.search(folded := word.translate(_TO_LATIN)):
        return word if len(latin) == 1 or _is_scientific(word) else folded
    if not _CYRILLIC_LETTER.search(word):
        return word  # `kΩ`, `ΔH`: what Greek there is has no lookalike
    cyrillic = word.translate(_TO_CYRILLIC)
    return word if _LATIN_LETTER.search(cyrillic) else cyrillic


def _is_scientific(word: str) -> bool:
    """Whether a Greek letter at either end is itself: beside capitals (`IFNα`, `γGTP`) or few letters (`sinα`)."""
    for greek, rest, few in ((word[0], word[1:], 2), (word[-1], word[:-1], 3)):
        if greek in _SCIENCE and not _OTHER.search(rest) and (len(rest) <= few or not rest.islower()):
            return True
    return False


_CYRILLIC_TO_LATIN: Final = str.maketrans(_CYRILLIC)
