"""What people and attackers do to a text: typing errors, lookalike letters, other words, stuffing. For measuring only.

Each function is pure: the same text and random numbers give the same result. English and Chinese; words come from the
taxonomy, whose names and aliases are this project's own. Lookalikes are those of Unicode's confusables (UTS #39) that
are drawn alike in most fonts.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final, Literal, NamedTuple

from encoders.align import TAXONOMY, is_chinese

Kind = Literal["topic", "sign"]

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_CYRILLIC: Final = dict(zip("aceopxyijshdqwlABCEHIJKMOPSTXY", "асеорхуіјѕһԁԛԝӏАВСЕНІЈКМОРЅТХУ", strict=True))
_GREEK: Final = dict(zip("aoviukypABEHIKMNOPTXYZ", "αονιυκγρΑΒΕΗΙΚΜΝΟΡΤΧΥΖ", strict=True))
_LEET: Final = dict(zip("aeiostb", "4310578", strict=True))
_WIDE: Final = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)}
_RADICALS: Final = {unicodedata.normalize("NFKC", chr(code)): chr(code) for code in range(0x2F00, 0x2FD6)}
_STROKE: Final = "\u0336"
_UNSEEN: Final = "\u200b\u200c\u200d\u2060\u00ad"

#: Words for stuffing a comment; what trains the head uses others.
SIGN_WORDS: Final[Mapping[str, Mapping[bool, tuple[str, ...]]]] = {
    "en": {
        True: ("great", "excellent", "wonderful", "perfect", "love", "amazing", "best", "superb"),
        False: ("terrible", "awful", "horrible", "worst", "bad", "hate", "useless", "disgusting"),
    },
    "zh": {
        True: ("很好", "非常棒", "完美", "喜欢", "优秀", "满意", "超赞", "最好"),
        False: ("很差", "糟糕", "太烂", "讨厌", "失望", "难吃", "垃圾", "最差"),
    },
}
_FILLER: Final = {
    "en": (
        "On Monday the office opens at nine and the bus stops in front of the door. The form has two pages and a line "
        "for the date. There are four chairs in the room and a clock on the wall. Please keep the receipt with the "
        "number. The second door on the left leads to the stairs, the third one to the yard."
    ),
    "zh": (
        "办公室星期一九点开门，公交车停在门口。表格有两页，上面有填日期的地方。房间里有四把椅子，墙上有一个钟。"
        "请把有号码的收据保存好。左边第二扇门通往楼梯，第三扇门通往院子。"
    ),
}


@dataclass(frozen=True, slots=True)
class Lexicon:
    """The taxonomy's words by what they may be changed into, lower case.

    `synonyms` and `translations` map a word to others of the same concept, in its own and in the other language;
    `topics` maps a topic's id to the words of it and its interests, by language.
    """

    synonyms: Mapping[str, tuple[str, ...]]
    translations: Mapping[str, tuple[str, ...]]
    topics: Mapping[str, Mapping[str, tuple[str, ...]]]
    pattern: Mapping[str, re.Pattern[str]] = field(repr=False)


class Aim(NamedTuple):
    """What stuffing is for: the topic that it wants, and the sign (True: good)."""

    topic: str
    good: bool


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A way to change a text. `kinds` are the texts it is measured on: items (`topic`) and comments (`sign`)."""

    name: str
    family: str
    apply: Callable[[str, Random, Lexicon, Aim], str]
    kinds: frozenset[Kind] = frozenset({"topic", "sign"})
    languages: frozenset[str] = frozenset({"en", "zh"})


def language_of(text: str) -> str:
    """`zh` where a text holds a Han character, else `en`."""
    return "zh" if is_chinese(text) else "en"


def read_lexicon(path: Path = TAXONOMY) -> Lexicon:
    """The words of a taxonomy file; a word that means two concepts is left out of what is changed."""
    concepts = json.loads(path.read_text(encoding="utf-8"))["concepts"]
    groups: list[dict[str, list[str]]] = []
    topics: dict[str, dict[str, list[str]]] = {}
    for concept in concepts:
        words = [*concept["names"].values(), *(alias.replace("-", " ") for alias in concept.get("aliases", ()))]
        by_language: dict[str, list[str]] = {"en": [], "zh": []}
        for word in dict.fromkeys(word.lower() for word in words):
            if word.isascii() or is_chinese(word):
                by_language[language_of(word)].append(word)
        groups.append(by_language)
        mine = topics.setdefault(concept["id"].partition("/")[0], {"en": [], "zh": []})
        for language, found in by_language.items():
            mine[language] += found
    owners: dict[str, int] = {}
    for group in groups:
        for word in {*group["en"], *group["zh"]}:
            owners[word] = owners.get(word, 0) + 1
    synonyms: dict[str, tuple[str, ...]] = {}
    translations: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for language, other in (("en", "zh"), ("zh", "en")):
            for word in group[language]:
                if owners[word] > 1 or len(word) < 2:
                    continue
                synonyms[word] = tuple(one for one in group[language] if one != word)
                translations[word] = tuple(group[other][:1])
    return Lexicon(
        synonyms, translations, {key: {k: tuple(v) for k, v in words.items()} for key, words in topics.items()},
        {"synonyms": _any_of(synonyms), "translations": _any_of(translations)},
    )  # fmt: skip


def perturbed(one: Perturbation, text: str, seed: int, lexicon: Lexicon, aim: Aim) -> str:
    """The text changed; the same arguments give the same text on every machine."""
    random = Random(f"{seed}|{one.name}|{text}")  # noqa: S311  # an experiment's numbers, no secret
    return one.apply(text, random, lexicon, aim)


def typos(rate: float) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Hit a key beside, swap two letters, or leave one out, at `rate` of the letters. Chinese: swap or leave out."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        out = list(text)
        for at, char in enumerate(text):
            if not char.isalpha() or random.random() >= rate:
                continue
            way = random.randrange(3)
            if way == 0 and char.lower() in _NEIGHBOURS:
                out[at] = random.choice(_NEIGHBOURS[char.lower()])
            elif way == 1 and at + 1 < len(text) and text[at + 1].isalpha():
                out[at], out[at + 1] = out[at + 1], out[at]
            else:
                out[at] = ""
        return "".join(out)

    return apply


def replaced(table: Mapping[str, str], rate: float) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Put another character for `rate` of those that the table has."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        return "".join(table[c] if c in table and random.random() < rate else c for c in text)

    return apply


def inserted(characters: str, rate: float) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Put one of `characters` behind `rate` of the letters that another letter follows."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        pairs = zip(text, text[1:] + " ", strict=True)
        return "".join(
            a + random.choice(characters) if a.isalpha() and b.isalpha() and random.random() < rate else a
            for a, b in pairs
        )

    return apply


def other_words(which: Literal["synonyms", "translations"]) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Put another word of the same concept for each word that the taxonomy has."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        table: Mapping[str, tuple[str, ...]] = getattr(lexicon, which)
        return lexicon.pattern[which].sub(lambda found: random.choice(table[found.group().lower()]), text)

    return apply


def dropped(rate: float) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Leave out `rate` of the words; of a Chinese text, of the characters."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        if is_chinese(text):
            return "".join(char for char in text if random.random() >= rate) or text
        return " ".join(word for word in text.split() if random.random() >= rate) or text

    return apply


def topic_words(count: int) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Append `count` words of the topic that is aimed at, in the text's language."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:
        language = language_of(text)
        words = [random.choice(lexicon.topics[aim.topic][language]) for _ in range(count)]
        return _appended(text, words, language)

    return apply


def sign_words(count: int, *, same: bool) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Append `count` words of the sign that is aimed at: one again and again, or several."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        language = language_of(text)
        words = SIGN_WORDS[language][aim.good]
        chosen = [words[0]] * count if same else [random.choice(words) for _ in range(count)]
        return _appended(text, chosen, language)

    return apply


def padded(words: int) -> Callable[[str, Random, Lexicon, Aim], str]:
    """Append about `words` words that say nothing; of Chinese, one and a half characters for each."""

    def apply(text: str, random: Random, lexicon: Lexicon, aim: Aim) -> str:  # one shape for all
        language = language_of(text)
        filler = _FILLER[language]
        size, length = (words, len(filler.split())) if language == "en" else (words * 3 // 2, len(filler))
        many = filler if size <= length else (filler + (" " if language == "en" else "")) * (size // length + 1)
        return f"{text} " + (" ".join(many.split()[:size]) if language == "en" else many[:size])

    return apply


def _appended(text: str, words: list[str], language: str) -> str:
    return f"{text} {' '.join(words)}" if language == "en" else f"{text}，{'，'.join(words)}"


def _neighbours() -> dict[str, str]:
    """The letters beside each letter of a keyboard: in its row, and in the rows above and below."""
    beside: dict[str, str] = {}
    for y, row in enumerate(_ROWS):
        for x, char in enumerate(row):
            near = [
                _ROWS[j][i]
                for j in (y - 1, y, y + 1)
                for i in (x - 1, x, x + 1)
                if 0 <= j < len(_ROWS) and 0 <= i < len(_ROWS[j]) and (i, j) != (x, y)
            ]
            beside[char] = "".join(near)
    return beside


def _any_of(table: Mapping[str, tuple[str, ...]]) -> re.Pattern[str]:
    """A pattern of the words that have something to be changed into, the longest first; Latin ones whole."""
    words = sorted((word for word, others in table.items() if others), key=lambda word: (-len(word), word))
    parts = [rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word) for word in words]
    return re.compile("|".join(parts), re.IGNORECASE)


_NEIGHBOURS: Final = _neighbours()
_EN: Final = frozenset({"en"})
_ZH: Final = frozenset({"zh"})
_ITEMS: Final[frozenset[Kind]] = frozenset({"topic"})
_COMMENTS: Final[frozenset[Kind]] = frozenset({"sign"})

PERTURBATIONS: Final = (
    Perturbation("typos, 3 % of letters", "typos", typos(0.03)),
    Perturbation("typos, 10 % of letters", "typos", typos(0.1)),
    Perturbation("words left out, 15 %", "typos", dropped(0.15)),
    Perturbation("Cyrillic letters, 30 %", "lookalikes", replaced(_CYRILLIC, 0.3), languages=_EN),
    Perturbation("Cyrillic letters, all", "lookalikes", replaced(_CYRILLIC, 1.0), languages=_EN),
    Perturbation("Greek letters, 30 %", "lookalikes", replaced(_GREEK, 0.3), languages=_EN),
    Perturbation("full width", "lookalikes", replaced(_WIDE, 1.0), languages=_EN),
    Perturbation("radicals for characters", "lookalikes", replaced(_RADICALS, 1.0), languages=_ZH),
    Perturbation("digits for letters, 30 %", "lookalikes", replaced(_LEET, 0.3), languages=_EN),
    Perturbation("zero-width characters, 30 %", "lookalikes", inserted(_UNSEEN, 0.3)),
    Perturbation("strokes through letters, 30 %", "lookalikes", inserted(_STROKE, 0.3)),
    Perturbation("words in the other language", "words", other_words("translations")),
    Perturbation("synonyms", "words", other_words("synonyms")),
    Perturbation("5 words of a topic", "stuffing", topic_words(5), _ITEMS),
    Perturbation("20 words of a topic", "stuffing", topic_words(20), _ITEMS),
    Perturbation("one word of the other sign, 3 times", "stuffing", sign_words(3, same=True), _COMMENTS),
    Perturbation("one word of the other sign, 20 times", "stuffing", sign_words(20, same=True), _COMMENTS),
    Perturbation("5 words of the other sign", "stuffing", sign_words(5, same=False), _COMMENTS),
    Perturbation("padding, 200 words", "stuffing", padded(200)),
)  # fmt: skip
"""All that is measured; a name is what a table calls it."""
