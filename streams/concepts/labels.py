"""Categories and tags to concepts, by table: slugs, names and aliases in every language. No vectors here."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, Protocol

MAX_SLUG_CHARS: Final = 48
MAX_LABEL_CHARS: Final = 256  # a label is a word or two; what is longer is cut before any work is done on it
MAX_STEPS: Final = 32  # of all categories together: an unknown one costs a call of the encoder

_STEPS: Final = re.compile(r"\s*(?:>|»|/|\||::)\s*")  # one string that holds a whole path
_SIBLINGS: Final = re.compile(r"\s*(?:[,&;+、，；]|\band\b|[和与與及])\s*", re.IGNORECASE)
_UNSEEN: Final = str.maketrans("", "", "'’`´\u200b\u200c\u200d\ufeff")
_SHORTEST_PLURAL: Final = 4  # `ads` is not the plural of the coin `ada`


class Labelled(Protocol):
    """A concept as the table reads it."""

    @property
    def id(self) -> str: ...
    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def local(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What the table knew of an item's labels: a topic, an interest below it, and the labels it did not know.

    `unknown` is in the order given: under a known topic the finer categories that followed it, without one all
    categories. Their vectors may still place them. `votes` are the tags' (id, count), where only tags decided:
    tags are single words that mean several things, so the item's own vector may outweigh them
    (`ConceptTree.place`).
    """

    topic: str | None = None
    interest: str | None = None
    unknown: tuple[str, ...] = ()
    votes: tuple[tuple[str, int], ...] = ()

    @property
    def path(self) -> str | None:
        """The deepest path known by table, None where nothing was."""
        found = self.interest or self.topic
        return None if found is None else f"/{found}"

    @property
    def settled(self) -> bool:
        """Tell whether the categories alone gave topic and interest."""
        return self.interest is not None and not self.votes


class _Found(NamedTuple):
    topics: list[str]
    interest: str | None = None


def slug(text: str) -> str:
    """A label as one step of a path: NFKC, lower case, letters, digits and marks of any script, joined by hyphens.

    Apostrophes and zero-width characters vanish. At most MAX_SLUG_CHARS characters; empty where nothing is left.
    Applying it twice changes nothing. Bounded: MAX_LABEL_CHARS characters are looked at.
    """
    plain = unicodedata.normalize("NFKC", text[:MAX_LABEL_CHARS].translate(_UNSEEN)).lower()
    plain = unicodedata.normalize("NFKC", plain).translate(_UNSEEN)
    kept = "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in plain)
    return unicodedata.normalize("NFKC", "-".join(kept.split())[:MAX_SLUG_CHARS]).strip("-")


def key(text: str) -> str:
    """What labels are compared by: the slug without hyphens, so that `home-garden` and `homegarden` are one."""
    return slug(text).replace("-", "")


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
            words = [word for word in map(key, (fine or topic, *concept.labels)) if word]
            for word in words:
                (self._interests if fine else self._topics).setdefault(word, concept.id)
            for word in [*words, *map(key, concept.local)] if fine else []:
                self._within.setdefault((topic, word), concept.id)

    def match(self, categories: Sequence[str], tags: Sequence[str]) -> Match:
        """Place an item by its categories, coarse to fine, else by a vote of its tags.

        Categories that say nothing before the first that does (a shop's own root) are skipped. A finer category
        is looked up below the topic first, then anywhere: `Sports > Running` is fitness/running. Tags fill in the
        interest where the categories only knew the topic. Bounded: MAX_STEPS steps, MAX_LABEL_CHARS characters a
        label, a look at each tag.
        """
        steps = (step for label in categories for step in self._steps(label))
        found = self._walk(list(islice(steps, MAX_STEPS)))
        if found.interest is not None or not tags:
            return found
        if found.topic is None:
            voted = self._vote(tags)
            return voted if voted.topic is not None else found
        interest = self._vote(tags, found.topic).interest
        return found if interest is None else Match(topic=found.topic, interest=interest)

    def _walk(self, steps: Sequence[str]) -> Match:
        topics: list[str] = []
        unknown: list[str] = []
        before = ""
        for step in steps:
            found = self._read(step, topics, before)
            if found.interest is not None:
                return Match(topic=found.topics[0], interest=found.interest)
            if not found.topics:
                unknown.append(step)
            elif found.topics != topics:
                topics, unknown = found.topics, []
            before = key(step)
        return Match(topic=topics[0] if topics else None, interest=None, unknown=tuple(unknown))

    def _steps(self, label: str) -> list[str]:
        # One space for many: the patterns below would try each of a run as the beginning of another.
        label = " ".join(label[:MAX_LABEL_CHARS].split())
        word = key(label)
        if _find(word, self._topics) or _find(word, self._interests):
            return [label]
        return [step for step in _STEPS.split(label) if slug(step)]

    def _read(self, step: str, topics: list[str], before: str) -> _Found:
        """What one step names, given the topics the steps above it may mean and the key of the one just above.

        A step often repeats the one above (`finance > finance-taxes`): it is read without that part too.
        """
        word = key(step)
        bare = word.removeprefix(before)
        words = [w for w in dict.fromkeys((word, bare)) if w]
        interest = self._below(topics, words)
        if interest is not None:
            return _Found([_topic_of(interest)], interest)
        for w in words:
            topic = _find(w, self._topics)
            if topic is not None:
                return _Found([topic])
            interest = _find(w, self._interests)
            if interest is not None:
                return _Found([_topic_of(interest)], interest)
        return self._read_siblings([w for w in map(key, _SIBLINGS.split(step)) if w], topics)

    def _read_siblings(self, words: Sequence[str], topics: list[str]) -> _Found:
        """A step of several words (`Arts, Music & Photography`) may mean any of the topics that they name."""
        if len(words) < 2:
            return _Found([])
        interest = self._below(topics, words)
        if interest is not None:
            return _Found([_topic_of(interest)], interest)
        named = list(dict.fromkeys(filter(None, (_find(word, self._topics) for word in words))))
        if named:
            return _Found([topic for topic in topics if topic in named] or named)
        interest = next(filter(None, (_find(word, self._interests) for word in words)), None)
        return _Found([]) if interest is None else _Found([_topic_of(interest)], interest)

    def _below(self, topics: Sequence[str], words: Sequence[str]) -> str | None:
        hits = (self._within.get((topic, form)) for topic in topics for word in words for form in _forms(word))
        return next(filter(None, hits), None)

    def _vote(self, tags: Sequence[str], topic: str | None = None) -> Match:
        """The topic most tags speak for, and within it the interest; a tie goes to the lowest id."""
        topics: Counter[str] = Counter()
        interests: Counter[str] = Counter()
        for word in sorted({word for word in map(key, tags) if word}):
            fine = self._below([topic], [word]) if topic else _find(word, self._interests)
            coarse = {found for found in (_find(word, self._topics), fine and _topic_of(fine)) if found}
            interests.update([fine] if fine else [])
            topics.update(coarse)
        best = topic or _winner(topics)
        if best is None:
            return Match()
        interest = _winner(Counter({name: n for name, n in interests.items() if _topic_of(name) == best}))
        return Match(topic=best, interest=interest, votes=tuple(sorted((topics + interests).items())))


def _find(word: str, table: dict[str, str]) -> str | None:
    return next((table[form] for form in _forms(word) if form in table), None)


def _forms(word: str) -> tuple[str, ...]:
    """A key as it stands, then with its English plural taken off or put on."""
    if not word.isascii() or len(word) < _SHORTEST_PLURAL:
        return (word,)
    if word.endswith("ies"):
        return (word, f"{word[:-3]}y")
    return (word, word[:-1]) if word.endswith("s") else (word, f"{word}s")


def _topic_of(concept_id: str) -> str:
    return concept_id.partition("/")[0]


def _winner(votes: Counter[str]) -> str | None:
    return min(votes, key=lambda name: (-votes[name], name)) if votes else None
