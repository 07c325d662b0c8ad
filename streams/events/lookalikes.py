"""A text as its reader sees it: lookalike letters, characters that draw nothing and strokes through letters undone.

Only what the encoder reads goes through here; what is stored and shown stays as it was written. Plain texts stay as
they are: of 138,000 news, comments and questions in English and Chinese none is changed (docs/evaluation.md).
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
_WORD: Final = re.compile(f"[{_LATIN}{_OTHERS}]+")
_LATIN_LETTER: Final = re.compile(f"[{_LATIN}]")
_CYRILLIC_LETTER: Final = re.compile("[\u0400-\u052f]")
_JOINED: Final = "A-Za-z\u00c0-\u052f\u3040-\u30ff\u4e00-\u9fff"
# They draw nothing. The two joiners (200C, 200D) have a meaning in emoji and in scripts that join, not between these.
_UNSEEN: Final = re.compile(
    f"(?<=[{_JOINED}])[\u00ad\u180e\u200b-\u200d\u2060-\u2064]+(?=[{_JOINED}])|[\u00ad\u180e\u200b\u2060-\u2064]"
)
_STROKES: Final = re.compile("[\u0334-\u0338\u0489\u20d2-\u20d4\u20e5\u20e6\u20ea\u20eb]")
"""Overlays, which no language's spelling has: composed letters such as đ are characters of their own."""


def as_read(text: str) -> str:
    """Undo what changes a normalised text's characters and not its looks. Applying it twice changes nothing. Linear.

    A word that mixes scripts is written in that of its letters without a lookalike: `pаypаl` in Latin, `пpивет` in
    Cyrillic; a word that has some of both stays. A Cyrillic word of nothing but lookalikes becomes Latin where the
    text has Latin letters and no other Cyrillic ones. A text of which nothing would be left stays.
    """
    if text.isascii():
        return text
    if (bare := _UNSEEN.sub("", _STROKES.sub("", text))) != text:
        # Marks that were apart may meet: composed again, and bounded again.
        text = normalise_text(bare) or text
    if not _OTHER.search(text) or not _LATIN_LETTER.search(text):
        return text
    foreign = set(_CYRILLIC_LETTER.findall(text))
    if foreign and foreign <= _CYRILLIC.keys():
        text = text.translate(_CYRILLIC_TO_LATIN)
    return _WORD.sub(_in_one_script, text)


def _in_one_script(found: re.Match[str]) -> str:
    word = found.group()
    if word.isascii() or not _OTHER.search(word) or not (latin := _LATIN_LETTER.findall(word)):
        return word
    if not _OTHER.search(folded := word.translate(_TO_LATIN)):
        # `dα`, `IFNα` and `TGFα` are written so: a Greek letter beside one, or at the end of capitals, is itself.
        return word if len(latin) == 1 or (word[:-1].isupper() and word[-1].islower()) else folded
    if not _CYRILLIC_LETTER.search(word):
        return word  # `kΩ`, `ΔH`: what Greek there is has no lookalike
    cyrillic = word.translate(_TO_CYRILLIC)
    return word if _LATIN_LETTER.search(cyrillic) else cyrillic


_CYRILLIC_TO_LATIN: Final = str.maketrans(_CYRILLIC)
