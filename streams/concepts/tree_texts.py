"""All texts that a written tree is encoded by, in one list, and the tree that their vectors make."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from streams.base.errors import ConfigurationError
from streams.concepts.topic_head import HeadTexts, TopicHead, train_head
from streams.concepts.tree import Concept, ConceptTree, Floats, build_tree

#: Under which a taxonomy is too thin to learn topics from: they are then the nearest by their descriptions.
MIN_EXAMPLES: Final = 8
ALIASES_ENCODED: Final = 20


class TreeTexts:
    """The texts of a tree: `texts` is to be encoded, and `tree` makes one of their vectors, in that order.

    Examples, and texts that say nothing, are read in `languages` and in those that no concept is described in.
    """

    def __init__(
        self, concepts: Sequence[Concept], says_nothing: Mapping[str, tuple[str, ...]],
        languages: Collection[str] | None = None,
    ) -> None:  # fmt: skip
        self._concepts, self._says_nothing = concepts, says_nothing
        self._named = texts_of(concepts, languages)
        unread = {lang for concept in concepts for lang in concept.descriptions} - set(languages or ())
        unread = unread if languages is not None else set()
        topics = sorted(concept.id for concept in concepts if concept.is_topic)
        self._numbers = {name: number for number, name in enumerate(topics)}
        self._examples = [_read(concept.examples, unread) for concept in concepts]
        self._nothing = _read(says_nothing, unread)
        self.texts = [text for mine in (*self._named, *self._examples, self._nothing) for text in mine]

    def tree(self, version: str, encoder_id: str, vectors: Floats) -> ConceptTree:
        """The tree of these texts' vectors, shape (texts, dim), L2-normalised; with a head where examples suffice."""
        if len(vectors) != len(self.texts):
            raise ConfigurationError(f"concept tree: got {len(vectors)} vectors for {len(self.texts)} texts")
        ends = np.cumsum([len(mine) for mine in self._named])
        bare = build_tree(version, encoder_id, self._concepts, np.split(vectors[: ends[-1]], ends[:-1]))
        return ConceptTree(
            version, encoder_id, bare.concepts, bare.vectors, head=self._head(vectors), says_nothing=self._says_nothing
        )

    def _head(self, vectors: Floats) -> TopicHead | None:
        of_concept = [self._numbers[concept.topic] for concept in self._concepts]
        counts = np.zeros(len(self._numbers), np.int64)
        for number, examples in zip(of_concept, self._examples, strict=True):
            counts[number] += len(examples)
        if len(counts) < 2 or counts.min() < MIN_EXAMPLES:
            return None
        named = np.repeat(of_concept, [len(mine) for mine in self._named])
        shown = np.repeat(of_concept, [len(mine) for mine in self._examples])
        topics = np.concatenate([named, shown, np.full(len(self._nothing), len(counts))])
        example = (np.arange(len(topics)) >= len(named)) & (topics < len(counts))
        return train_head(HeadTexts(vectors, topics, example), len(counts))


def _read(texts: Mapping[str, tuple[str, ...]], unread: Collection[str]) -> list[str]:
    return [text for lang, mine in texts.items() if lang.partition("-")[0] not in unread for text in mine]


def texts_of(concepts: Sequence[Concept], languages: Collection[str] | None = None) -> list[list[str]]:
    """The texts to encode each concept by, in each language that describes it: its name, and with its description.

    Then its name with its aliases, those in Latin letters and the others apart. `languages` keeps to some of them.
    """
    texts: list[list[str]] = []
    for concept in concepts:
        kept = [lang for lang in concept.names if languages is None or lang in languages]
        described = [(concept.names[lang], concept.descriptions[lang]) for lang in kept if lang in concept.descriptions]
        mine = [text for name, description in described for text in (name, f"{name}: {description}")]
        words = [alias.replace("-", " ") for alias in concept.aliases]
        for latin, comma in ((True, ", "), (False, "、")):
            own = [word for word in words if word.isascii() == latin][:ALIASES_ENCODED]
            name = next((concept.names[lang] for lang in kept if concept.names[lang].isascii() == latin), None)
            mine += [comma.join([name, *own])] if name and own else []
        texts.append(mine or list(concept.names.values()))
    return texts
