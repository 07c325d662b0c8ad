"""Changed copies of labelled comments, so that a head learns what the change does not say. The label stays.

Words, sentences and positions are others than those by which robustness is measured (`perturbations.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from encoders.align import is_chinese, neutral_texts
from encoders.labelled import held_out
from encoders.perturbations import Aim, Lexicon, dropped, typos

_STUFFING: Final[Mapping[str, Mapping[bool, tuple[str, ...]]]] = {
    "en": {
        True: (
            "good",
            "nice",
            "fantastic",
            "brilliant",
            "fun",
            "beautiful",
            "enjoyable",
            "happy",
            "delightful",
            "cool",
        ),
        False: ("boring", "poor", "dull", "disappointing", "stupid", "waste", "annoying", "ugly", "sad", "mess"),
    },
    "zh": {
        True: ("好吃", "不错", "真赞", "很棒", "开心", "推荐", "好评", "给力", "漂亮", "舒服"),
        False: ("差评", "难受", "恶心", "太慢", "坑人", "后悔", "骗人", "不值", "冷掉了", "烦人"),
    },
}
_NOTHING: Final = Lexicon({}, {}, {}, {})
_NO_AIM: Final = Aim("", good=True)
_AGAINST: Final = 0.7
"""The share of stuffing that speaks against the comment: the rest speaks for it, so that stuffing says nothing."""


def augmented(texts: Sequence[str], good: npt.NDArray[np.int64], seed: int) -> list[str]:
    """One changed copy of each text: half are stuffed with words of a sign, the others mistyped, cut or padded."""
    random = Random(seed)  # noqa: S311  # an experiment's numbers, no secret
    plain = {
        language: [text for text in neutral_texts() if is_chinese(text) == (language == "zh") and not held_out(text)]
        for language in ("en", "zh")
    }
    return [_one(text, bool(label), random, plain) for text, label in zip(texts, good, strict=True)]


def _one(text: str, good: bool, random: Random, plain: dict[str, list[str]]) -> str:
    way = random.random()
    language = "zh" if is_chinese(text) else "en"
    if way < 0.5:
        words = _STUFFING[language][good != (random.random() < _AGAINST)]
        return _stuffed(text, words, random, language)
    if way < 0.65:
        return typos(random.choice((0.03, 0.06, 0.1)))(text, random, _NOTHING, _NO_AIM)
    if way < 0.75:
        return dropped(0.15)(text, random, _NOTHING, _NO_AIM)
    sentences = random.choices(plain[language], k=random.choice((2, 4, 8, 16)))
    return " ".join([text, *sentences])


def _stuffed(text: str, words: Sequence[str], random: Random, language: str) -> str:
    count = random.choice((2, 3, 5, 10, 20))
    several = random.random() < 0.5
    chosen = [random.choice(words) for _ in range(count)] if several else [random.choice(words)] * count
    parts = [text, " ".join(chosen) if language == "en" else "，".join(chosen)]
    if random.random() < 0.3:
        parts.reverse()
    return (" " if language == "en" else "，").join(parts)
