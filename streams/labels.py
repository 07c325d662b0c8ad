"""Categories and tags to concepts, by table: slugs, names and aliases in every language. No vectors here."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

MAX_SLUG_CHARS: Final = 48
MAX_LABEL_CHARS: Final = 256  # a label is a word or two; what is longer is cut before any work is done on it

_STEPS: Final = re.compile(r"\s*(?:>|»|/|\||::)\s*")  # one string that holds a whole path
_SIBLINGS: Final = re.compile(r"\s*(?:[,&;+、，；]|\band\b|[和与與及])\s*", re.IGNORECASE)
_APOSTROPHES: Final = str.maketrans("", "", "'’`´\u200b\u200c\u200d\ufeff")


class Labelled(Protocol):
    """A concept as the table reads it: its id and every word it goes by."""

    @property
    def id(self) -> str: ...
    @property
    def labels(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Match:
    """What a table knew of an item's labels: a topic, an interest below it, and the labels it did not know.

    `unknown` is in the order given. Under a known topic it holds the finer categories that followed it; without
    one, all categories. Their vectors may still place them (`ConceptTree.settle`).
    """

    topic: str | None = None
    interest: str | None = None
    unknown: tuple[str, ...] = ()

    @property
    def path(self) -> str | None:
        """The deepest path known by table, None where nothing was."""
        found = self.interest or self.topic
        return None if found is None else f"/{found}"

    @property
    def complete(self) -> bool:
        """Tell whether nothing finer is left to find."""
        return self.interest is not None


def slug(text: str) -> str:
    """A label as one step of a path: NFKC, lower case, letters, digits and marks of any script, joined by hyphens.

    Apostrophes and zero-width characters vanish. At most MAX_SLUG_CHARS characters; empty where nothing is left.
    Applying it twice changes nothing.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_LABEL_CHARS].translate(_APOSTROPHES)).lower()
    plain = unicodedata.normalize("NFKC", plain).translate(_APOSTROPHES)
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in plain)
    return "-".join(kept.split())[:MAX_SLUG_CHARS].strip("-")


class LabelTable:
    """Looks labels up among the names, slugs and aliases of a tree's concepts.

    Where two concepts of one level share a label, the one that comes first in `concepts` has it.
    """

    def __init__(self, concepts: Iterable[Labelled]) -> None:
        self._topics: dict[str, str] = {}
        self._interests: dict[str, str] = {}
        self._within: dict[tuple[str, str], str] = {}
        for concept in concepts:
            topic, _, fine = concept.id.partition("/")
            own = slug((fine or topic).replace("-", " "))
            for word in dict.fromkeys([own, *filter(None, map(slug, concept.labels))]):
                if fine:
                    self._interests.setdefault(word, concept.id)
                    self._within.setdefault((topic, word), concept.id)
                else:
                    self._topics.setdefault(word, concept.id)

    def match(self, categories: Sequence[str], tags: Sequence[str]) -> Match:
        """Place an item by its categories, coarse to fine, else by a vote of its tags.

        Leading categories that say nothing (a shop's own root) are skipped. A finer category may move to another
        topic by naming it outright. Tags fill in the interest where the categories only knew the topic.
        """
        found = self._walk(categories)
        if found.complete or not tags:
            return found
        if found.topic is None:
            voted = self._vote(tags)
            return voted if voted.topic is not None else found
        interest = self._vote(tags, found.topic).interest
        return found if interest is None else Match(found.topic, interest)

    def _walk(self, categories: Sequence[str]) -> Match:
        steps = [step for label in categories for step in self._steps(label)]
        topics: list[str] = []
        unknown: list[str] = []
        for step in steps:
            here, interest = self._read(step, topics)
            if interest is not None:
                return Match(interest.partition("/")[0], interest)
            if here and here != topics:
                topics, unknown = here, []
            elif not here:
                unknown.append(step)
        return Match(topics[0] if topics else None, None, tuple(unknown))

    def _steps(self, label: str) -> list[str]:
        label = label[:MAX_LABEL_CHARS]
        if self._find(slug(label), self._topics) or self._find(slug(label), self._interests):
            return [label]
        return [step for step in _STEPS.split(label) if slug(step)]

    def _read(self, step: str, topics: list[str]) -> tuple[list[str], str | None]:
        """The topics a step names and the interest it names, given those named by the steps before it."""
        word = slug(step)
        for topic in topics:
            interest = self._below(topic, word)
            if interest is not None:
                return [topic], interest
        whole = self._find(word, self._topics)
        if whole is not None:
            return [whole], None
        if not topics:
            alone = self._find(word, self._interests)
            if alone is not None:
                return [alone.partition("/")[0]], alone
        return self._read_siblings(_SIBLINGS.split(step), topics)

    def _read_siblings(self, parts: Sequence[str], topics: list[str]) -> tuple[list[str], str | None]:
        words = [word for word in map(slug, parts) if word]
        if len(words) < 2:
            return [], None
        for topic in topics:
            for word in words:
                interest = self._below(topic, word)
                if interest is not None:
                    return [topic], interest
        named = list(dict.fromkeys(filter(None, (self._find(word, self._topics) for word in words))))
        if named or topics:
            return (named if not topics else [t for t in topics if t in named]), None
        alone = next(filter(None, (self._find(word, self._interests) for word in words)), None)
        return ([alone.partition("/")[0]], alone) if alone else ([], None)

    def _vote(self, tags: Sequence[str], topic: str | None = None) -> Match:
        """The topic most tags speak for, and within it the interest; a tie goes to the lowest id."""
        words = sorted({word for word in map(slug, tags) if word})
        interests: Counter[str] = Counter()
        topics: Counter[str] = Counter()
        for word in words:
            interest = self._below(topic, word) if topic else self._find(word, self._interests)
            named = self._find(word, self._topics)
            interests.update([interest] if interest else [])
            topics.update({t for t in (named, interest and interest.partition("/")[0]) if t})
        best = topic or _winner(topics)
        if best is None:
            return Match()
        return Match(best, _winner(Counter({i: n for i, n in interests.items() if i.startswith(f"{best}/")})))

    def _below(self, topic: str, word: str) -> str | None:
        return next((self._within[topic, form] for form in _forms(word) if (topic, form) in self._within), None)

    @staticmethod
    def _find(word: str, table: dict[str, str]) -> str | None:
        return next((table[form] for form in _forms(word) if form in table), None)


def _forms(word: str) -> tuple[str, ...]:
    """A slug as it stands, then with its English plural taken off or put on."""
    if not word.isascii():
        return (word,)
    if word.endswith("ies"):
        return (word, word[:-3] + "y")
    return (word, word.removesuffix("s")) if word.endswith("s") else (word, word + "s")


def _winner(votes: Counter[str]) -> str | None:
    return min(votes, key=lambda key: (-votes[key], key)) if votes else None
