"""The concept tree: topics and interests with names and vectors, and the paths that items get from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.base.errors import ConfigurationError
from streams.concepts.labels import LabelTable, Match, slug
from streams.concepts.topic_head import TopicHead
from streams.concepts.zeroshot import Doubles, Nearest, ZeroShot, unit
from streams.events.languages import best

__all__ = [
    "CERTAIN", "NOWHERE", "Concept", "ConceptTree", "Floors", "Match", "Placement", "build_tree", "slug",
]  # fmt: skip

Floats = npt.NDArray[np.float32]

NOWHERE: Final = ""  #: the path of what cannot be placed: it counts for the person and the session, for no topic
CERTAIN: Final = 1.0  #: the confidence of a topic that the item's categories name
VOTE: Final = 0.2  # what one tag's vote adds to a centred cosine (figures in docs/concepts.md)
VOTE_LOGITS: Final = 1.5  # and to a topic's logit, where a head was learned
MAX_VOTES: Final = 3


@dataclass(frozen=True, slots=True)
class Concept:
    """A topic (`sports`) or an interest below one (`sports/football`), with the words it goes by.

    `names`, `descriptions` and `examples` are by language tag (`en`, `zh`, `zh-Hant`). `local` are words that mean it
    only below its topic: `women` under fashion. `examples` are sentences on it, as a headline or a caption is written.
    """

    id: str
    names: Mapping[str, str]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    _: KW_ONLY
    aliases: tuple[str, ...] = ()
    local: tuple[str, ...] = ()
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        """The id of the topic it belongs to: its own where it is one."""
        return self.id.partition("/")[0]

    @property
    def is_topic(self) -> bool:
        """Tell a topic from an interest."""
        return "/" not in self.id

    @property
    def path(self) -> str:
        """Its path in a user's tree."""
        return f"/{self.id}"

    @property
    def labels(self) -> tuple[str, ...]:
        """Every word it goes by: its names in all languages, then its aliases."""
        return (*self.names.values(), *self.aliases)


@dataclass(frozen=True, slots=True)
class Floors:
    """Under which no concept is given; measured with multilingual-e5-small (docs/concepts.md).

    Centred cosines: an item under `topic` gets no path, one under `interest` stays at its topic; a label under `label`
    keeps the catalogue's own path. Probabilities, of trees with a learned head, which has no use for `topic`: an item
    under `confidence` gets no path, one under `interest_confidence` stays at its topic.
    """

    topic: float = 0.1
    interest: float = 0.12
    label: float = 0.25
    confidence: float = 0.3
    interest_confidence: float = 0.45


class Placement(NamedTuple):
    """Where an item belongs: its path, NOWHERE where nothing is clear enough, and how sure its topic is.

    `confidence` is a probability, CERTAIN where the item's categories name the topic, None where it is not known:
    without a learned head, and where the catalogue's own labels decide.
    """

    path: str
    confidence: float | None = None


class ConceptTree:
    """Concepts with their vectors; immutable. What it answers depends on its contents alone.

    `concepts` is in the order of the ids; `vectors` has shape (n, dim), float32, L2-normalised, one row a concept.
    `encoder_id` says which encoder made them: vectors of another cannot be assigned with this tree. With a `head` it
    says which topic a vector belongs to; without one the nearest is taken. `says_nothing` are texts by language that
    the head has learned to give no topic.
    """

    def __init__(
        self, version: str, encoder_id: str, concepts: Sequence[Concept], vectors: Floats, floors: Floors | None = None,
        *, head: TopicHead | None = None, says_nothing: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:  # fmt: skip
        _check(concepts, vectors)
        order = sorted(range(len(concepts)), key=lambda row: concepts[row].id)
        self.version = version
        self.encoder_id = encoder_id
        self.floors = floors or Floors()
        self.head = head
        self.says_nothing = dict(says_nothing or {})
        self.concepts = tuple(concepts[row] for row in order)
        self.vectors: Floats = unit(vectors[order].astype(np.float64)).astype(np.float32)
        self.vectors.setflags(write=False)
        self._rows = {concept.id: row for row, concept in enumerate(self.concepts)}
        self._table = LabelTable(self.concepts)
        parents = [-1 if concept.is_topic else self._rows[concept.topic] for concept in self.concepts]
        self._near = ZeroShot(self.vectors, np.array(parents, np.int64))
        if head is not None and head.weights.shape != (len(self._near.topic_rows) + 1, self.dim):
            raise ConfigurationError(f"concept tree: got a head of shape {head.weights.shape}; build the tree again")

    def with_floors(self, floors: Floors) -> ConceptTree:
        """The same tree with other floors."""
        return ConceptTree(
            self.version, self.encoder_id, self.concepts, self.vectors, floors, head=self.head,
            says_nothing=self.says_nothing,
        )  # fmt: skip

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    def get(self, path: str) -> Concept | None:
        """The concept at a path, None for `/`, NOWHERE and a catalogue's own paths."""
        row = self._rows.get(path.removeprefix("/"))
        return None if row is None else self.concepts[row]

    def name(self, path: str, lang: str = "en") -> str:
        """What to call a path: the concept's name in `lang` (`languages.best`), else in English, else its slug.

        The name of `/` is empty.
        """
        concept = self.get(path)
        if concept is None:
            return path.rpartition("/")[2].replace("-", " ")
        for wanted in (lang, "en"):
            if (found := best(concept.names, wanted)) is not None:
                return concept.names[found]
        return next(iter(concept.names.values()), concept.id.rpartition("/")[2])

    def path_of(self, categories: Sequence[str] = (), tags: Sequence[str] = ()) -> Match:
        """Place an item by its own labels and the table alone; see `LabelTable.match`."""
        return self._table.match(categories, tags)

    def assign(self, vectors: Floats) -> list[str]:
        """The topic and, below it, the nearest interest, for vectors of shape (n, dim): one path each.

        A path stops at the topic, or is NOWHERE, under the tree's floors. A tie goes to the lowest id. Raises
        ConfigurationError where the dimension does not fit.
        """
        return [one.path for one in self.placements([Match()] * len(vectors), vectors)]

    def likely(self, vector: Floats, count: int) -> list[tuple[str, float]]:
        """The topics nearest to a vector (dim,), the best first: with their probability, or, without a head, cosine."""
        self._fits(vector[None])
        if self.head is None:
            scores = self._near.topic_scores(vector[None])[0]
        else:
            scores = self.head.probabilities(self.head.logits(vector[None]))[0]
        order = np.argsort(-scores, kind="stable")[:count]
        return [(self.concepts[self._near.topic_rows[at]].path, float(scores[at])) for at in order]

    def nearest_label(self, vectors: Floats, topic: str | None = None) -> list[str | None]:
        """The id each label's own vector is nearest to: of a topic, or of an interest of the given `topic`.

        None where the nearest is under `floors.label` or the topic has no interests. Shape of vectors: (n, dim).
        """
        self._fits(vectors)
        if topic is None:
            near = self._near.topics(vectors)
        else:
            near = self._near.interests(vectors, np.full(len(vectors), self._rows[topic]))
        hits = zip(near.rows, near.scores, strict=True)
        return [self.concepts[row].id if score >= self.floors.label else None for row, score in hits]

    def place(self, matches: Sequence[Match], vectors: Floats, labels: Mapping[str, Floats] | None = None) -> list[str]:
        """The paths of `placements`."""
        return [one.path for one in self.placements(matches, vectors, labels)]

    def placements(
        self, matches: Sequence[Match], vectors: Floats, labels: Mapping[str, Floats] | None = None
    ) -> list[Placement]:
        """Where a batch's items belong: by table, then by unknown labels' vectors, then by the items' own vectors.

        `matches` come from `path_of`; `vectors` has shape (n, dim), in their order. `labels` maps an unknown label
        to its vector, shape (dim,); a category near no concept gives the catalogue's own path. Labels it does not
        hold are passed over: what they left open the item's vector decides.
        """
        self._fits(vectors)
        placed = [self._by_words(match, labels or {}) for match in matches]
        open_ = [n for n, one in enumerate(placed) if one is None]
        favour = self._favour([matches[n] for n in open_])
        near, sure = self._topics(vectors[open_], favour)
        named = np.array([self._named_topic(matches[n]) for n in open_], np.int64)
        topics = np.where(named < 0, near.rows, named)
        below = self._interest_paths(vectors[open_], topics, favour)
        for n, path, topic, row, score, confidence in zip(
            open_, below, topics, named, near.scores, sure.tolist(), strict=True
        ):
            if row >= 0:
                placed[n] = Placement(path, CERTAIN)
            elif self.head is None:
                placed[n] = Placement(path if score >= self.floors.topic else NOWHERE)
            elif confidence < self.floors.confidence:
                placed[n] = Placement(NOWHERE, confidence)
            else:
                whole = confidence >= self.floors.interest_confidence
                placed[n] = Placement(path if whole else self.concepts[topic].path, confidence)
        return [one or Placement(NOWHERE) for one in placed]

    def _topics(self, vectors: Floats, favour: Doubles | None) -> tuple[Nearest, Doubles]:
        """The topic of each vector, (n, dim), as rows of the tree, and how sure it is; NaN without a head."""
        if self.head is None:
            near = self._near.topics(vectors, favour)
            return near, np.full(len(vectors), np.nan)
        logits = self.head.logits(vectors)
        if favour is not None:
            logits[:, :-1] += favour[:, self._near.topic_rows] * (VOTE_LOGITS / VOTE)
        near, sure = self.head.topics(logits)
        return Nearest(self._near.topic_rows[near.rows], near.scores), sure

    def _by_words(self, match: Match, labels: Mapping[str, Floats]) -> Placement | None:
        """By the table, where it settles topic and interest, else by unknown labels' vectors; None: neither says."""
        if match.settled and match.path is not None:
            return Placement(match.path, CERTAIN)
        path = self._by_labels(match, labels)
        return None if path is None else Placement(path, CERTAIN if match.topic and not match.votes else None)

    def _named_topic(self, match: Match) -> int:
        """The row of the topic that an item's categories name, −1 where they name none."""
        return -1 if match.topic is None or match.votes else self._rows[match.topic]

    def _favour(self, matches: Sequence[Match]) -> Doubles | None:
        """What the tags' votes add to the cosines, shape (n, concepts)."""
        if not any(match.votes for match in matches):
            return None
        favour = np.zeros((len(matches), len(self.concepts)))
        for row, match in enumerate(matches):
            for name, votes in match.votes:
                favour[row, self._rows[name]] = VOTE * min(votes, MAX_VOTES)
        return favour

    def _by_labels(self, match: Match, vectors: Mapping[str, Floats]) -> str | None:
        """The path that the vectors of a match's unknown labels give, None where none of them is there."""
        known = [label for label in match.unknown if label in vectors and slug(label)]
        if not known:
            return None
        topic, finer = match.topic, known
        if topic is None:
            near = self.nearest_label(np.stack([vectors[label] for label in known]))
            first = next((n for n, found in enumerate(near) if found is not None), None)
            if first is None:
                return "/" + "/".join(slug(label) for label in known[:2])
            topic, finer = near[first], known[first + 1 :]
        if not finer:
            return f"/{topic}"
        near = self.nearest_label(np.stack([vectors[label] for label in finer]), topic)
        return f"/{next((found for found in near if found), f'{topic}/{slug(finer[0])}')}"

    def _interest_paths(
        self, vectors: Floats, topics: npt.NDArray[np.int64], favour: Doubles | None = None
    ) -> list[str]:
        near = self._near.interests(vectors, topics, favour)
        enough = near.scores >= self.floors.interest
        return [self.concepts[row].path for row in np.where(enough, near.rows, topics)]

    def _fits(self, vectors: Floats) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dim:
            raise ConfigurationError(
                f"concept tree {self.version} of {self.encoder_id}: got vectors of shape {vectors.shape}, expected "
                f"(n, {self.dim}); build the tree with the encoder that is served"
            )


def build_tree(version: str, encoder_id: str, concepts: Sequence[Concept], encoded: Sequence[Floats]) -> ConceptTree:
    """A tree whose concepts' vectors are the normalised means over their texts.

    `encoded` holds, for each concept, the L2-normalised vectors of its texts (`tree_texts`), shape (texts, dim).
    """
    if len(encoded) != len(concepts):
        raise ConfigurationError(f"concept tree: got vectors for {len(encoded)} concepts, expected {len(concepts)}")
    means = np.stack([np.asarray(rows, np.float32).mean(axis=0) for rows in encoded])
    return ConceptTree(version, encoder_id, concepts, means)


def _check(concepts: Sequence[Concept], vectors: Floats) -> None:
    ids = [concept.id for concept in concepts]
    if vectors.ndim != 2 or len(vectors) != len(ids) or not ids:
        raise ConfigurationError(f"concept tree: got {len(ids)} concepts and vectors of shape {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ConfigurationError("concept tree: a vector holds NaN or infinity; encode the concepts again")
    if len(set(ids)) != len(ids):
        raise ConfigurationError("concept tree: two concepts have the same id")
    topics = {i for i in ids if "/" not in i}
    for i in ids:
        steps = i.split("/")
        if len(steps) > 2 or any(step != slug(step) or not step for step in steps) or steps[0] not in topics:
            raise ConfigurationError(
                f"concept {i!r}: expected `topic` or `topic/interest`, both slugs, the topic given"
            )
