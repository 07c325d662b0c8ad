"""Names for clusters of texts: the words that stand out in each, by class-based TF-IDF."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

NAME_WORDS: Final = 3
_LABEL_WEIGHT: Final = 3  # a word somebody filed an item under says more than one from its text
_MAX_SHARE: Final = 0.5  # of all items: a word in more than half of them names nothing
_MIN_ITEMS: Final = 2

_WORD: Final = re.compile(r"[^\W\d_][^\W_]+(?:['’][^\W_]+)?")
_CJK: Final = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
# Words that carry no topic in the two languages of the demo; others thin out by their share of items.
_STOP: Final = (
    "a about after again all also am an and any are as at be because been before being best but by can could did do "
    "does doing down during each every few first for from get gets getting had has have having he her here hers him "
    "his how if in into is it its itself just know like made make makes many may me more most much must my need new no "
    "nor not now of off on once one only or other our out over own same says she should so some such than that the "
    "their them then there these they this those through to too two under until up us use used using very want was way "
    "we were what when where which while who whom why will with without would year years you your yours day days time "
    "day's week old big great good"
)
_STOP_CJK: Final = (
    "一个 我们 他们 你们 没有 可以 什么 怎么 如何 自己 这个 那个 这些 那些 不是 就是 还是 但是 因为 所以 如果 已经 "
    "一次 一种 之后 以后 之前 时候 现在 今年 今天 一天 大家 有人 不到 不要 不会 只有 最后 第一 一年 一家 几个 两个 "
    "一個 我們 他們 你們 沒有 什麼 怎麼 這個 那個 這些 還是 因為 時候 現在 兩個 幾個"
)
_STOPS: Final = frozenset((_STOP + " " + _STOP_CJK).split())


class Text(NamedTuple):
    """An item as names are made from it: its running text and the labels it is filed under."""

    running: str
    labels: tuple[str, ...] = ()


def name_clusters(texts: Sequence[Text], labels: npt.NDArray[np.int64], avoid: str = "") -> list[str]:
    """A name of up to three words for each cluster 0 … k − 1, in the order of the clusters; no two alike.

    `labels` has shape (texts,). The weight of a word in a cluster is tf · log(1 + A / f): its share of the
    cluster's words, the mean number of words a cluster and the word's count over all (class-based TF-IDF,
    Grootendorst 2022). Words of `avoid` are passed over. Texts in Chinese or Japanese go by two characters.
    Linear in the texts' length, but for sorting each cluster's words and comparing its name with those before it.
    """
    passed = set(words_of(avoid))
    counted = [_counts(text, passed) for text in texts]
    spread = Counter(word for counts in counted for word in counts)
    most = max(_MIN_ITEMS, _MAX_SHARE * len(texts))
    kept = {word for word, n in spread.items() if _MIN_ITEMS <= n <= most} or set(spread)
    clusters = [Counter[str]() for _ in range(int(labels.max()) + 1)]
    everything = [Counter[str]() for _ in clusters]
    for counts, label in zip(counted, labels, strict=True):
        everything[label].update(counts)
        clusters[label].update({word: n for word, n in counts.items() if word in kept})
    clusters = [counts or all_ for counts, all_ in zip(clusters, everything, strict=True)]  # better than no name
    total = sum(clusters, Counter[str]())
    mean = sum(total.values()) / max(1, len(clusters))
    names: list[str] = []
    for number, counts in enumerate(clusters):
        size = sum(counts.values()) or 1
        weight = {word: n / size * math.log1p(mean / total[word]) for word, n in counts.items()}
        names.append(_unlike(_best(weight), names, number))
    return names


def words_of(text: str) -> Iterator[str]:
    """The words of a text in lower case without stop words; runs of CJK characters as overlapping pairs.

    Linear in the text's length.
    """
    for run in _CJK.findall(text):
        yield from (pair for pair in map("".join, pairwise(run)) if pair not in _STOPS)
    for word in _WORD.findall(_CJK.sub(" ", text.lower())):
        bare = word.replace("’", "'").removesuffix("'s")
        if bare not in _STOPS and len(bare) > 2:
            yield bare


def _counts(text: Text, passed: set[str]) -> Counter[str]:
    counts = Counter(set(words_of(text.running)))
    for word in {word for label in text.labels for word in words_of(label)}:
        counts[word] += _LABEL_WEIGHT
    return Counter({word: n for word, n in counts.items() if word not in passed})


def _best(weight: dict[str, float]) -> list[str]:
    """The heaviest words, none of which is part of, overlaps or repeats another."""
    chosen: list[str] = []
    for word in sorted(weight, key=lambda w: (-round(weight[w], 12), w)):
        if not any(_alike(word, other) for other in chosen):
            chosen.append(word)
        if len(chosen) == NAME_WORDS:
            break
    return chosen


def _alike(one: str, other: str) -> bool:
    if _CJK.match(one) and _CJK.match(other):
        return one[0] == other[-1] or one[-1] == other[0]
    return one.startswith(other[:5]) if len(other) > 5 else one.rstrip("s") == other.rstrip("s")


def _unlike(words: Sequence[str], taken: Sequence[str], number: int) -> str:
    name = ", ".join(words) or f"cluster {number + 1}"
    return name if name not in taken else f"{name} {number + 1}"
