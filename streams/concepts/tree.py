"""The concept tree: topics and interests with names and vectors, and the paths that items get from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from streams.base.errors import ConfigurationError
from streams.concepts.labels import LabelTable, Match, slug
from streams.concepts.zeroshot import ZeroShot, unit
from streams.events.languages import best

__all__ = ["OTHER", "Concept", "ConceptTree", "Floors", "Match", "build_tree", "slug", "texts_of"]

Floats = npt.NDArray[np.float32]

OTHER: Final = "/other"
ALIASES_ENCODED: Final = 20
VOTE: Final = 0.2  # what one tag's vote adds to a centred cosine (figures in docs/concepts.md)
MAX_VOTES: Final = 3


@dataclass(frozen=True, slots=True)
class Concept:
    """A topic (`sports`) or an interest below one (`sports/football`), with the words it goes by.

    `names` and `descriptions` are by language tag (`en`, `zh`, `zh-Hant`). `local` are words that mean it only
    below its topic: `women` under fashion.
    """

    id: str
    names: Mapping[str, str]
    descriptions: Mapping[str, str] = field(default_factory=dict)
    _: KW_ONLY
    aliases: tuple[str, ...] = ()
    local: tuple[str, ...] = ()

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
    """Centred cosines under which no concept is given; measured with multilingual-e5-small (docs/concepts.md).

    An item under `topic` goes to `/other`, one under `interest` stays at its topic; a label under `label` keeps
    the catalogue's own path.
    """

    topic: float = 0.1
    interest: float = 0.12
    label: float = 0.25


class ConceptTree:
    """Concepts with their vectors; immutable. What it answers depends on its contents alone.

    `concepts` is in the order of the ids; `vectors` has shape (n, dim), float32, L2-normalised, one row a concept.
    `encoder_id` says which encoder made them: vectors of another cannot be assigned with this tree.
    """

    def __init__(
        self, version: str, encoder_id: str, concepts: Sequence[Concept], vectors: Floats, floors: Floors | None = None
    ) -> None:
        _check(concepts, vectors)
        order = sorted(range(len(concepts)), key=lambda row: concepts[row].id)
        self.version = version
        self.encoder_id = encoder_id
        self.floors = floors or Floors()
        self.concepts = tuple(concepts[row] for row in order)
        self.vectors: Floats = unit(vectors[order].astype(np.float64)).astype(np.float32)
        self.vectors.setflags(write=False)
        self._rows = {concept.id: row for row, concept in enumerate(self.concepts)}
        self._table = LabelTable(self.concepts)
        parents = [-1 if concept.is_topic else self._rows[concept.topic] for concept in self.concepts]
        self._near = ZeroShot(self.vectors, np.array(parents, np.int64))

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    def get(self, path: str) -> Concept | None:
        """The concept at a path, None for `/`, `/other` and a catalogue's own paths."""
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
        """The nearest topic and, below it, the nearest interest, for vectors of shape (n, dim): one path each.

        Under `floors.topic` the path is `/other`, under `floors.interest` it stops at the topic. A tie goes to the
        lowest id. Raises ConfigurationError where the dimension does not fit.
        """
        self._fits(vectors)
        topics = self._near.topics(vectors)
        below = self._interest_paths(vectors, topics.rows)
        return [path if score >= self.floors.topic else OTHER for path, score in zip(below, topics.scores, strict=True)]

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
        """The final paths of a batch: by table, then by unknown labels' vectors, then by the items' own vectors.

        `matches` come from `path_of`; `vectors` has shape (n, dim), in their order. `labels` maps an unknown label
        to its vector, shape (dim,); a category near no concept gives the catalogue's own path. Labels it does not
        hold are passed over: what they left open the item's vector decides.
        """
        self._fits(vectors)
        paths = [match.path if match.settled else self._by_labels(match, labels or {}) for match in matches]
        open_ = [n for n, path in enumerate(paths) if path is None]
        favour = self._favour([matches[n] for n in open_])
        near = self._near.topics(vectors[open_], favour)
        named = np.array([self._named_topic(matches[n]) for n in open_], np.int64)
        below = self._interest_paths(vectors[open_], np.where(named < 0, near.rows, named), favour)
        for n, path, score, row in zip(open_, below, near.scores, named, strict=True):
            paths[n] = path if row >= 0 or score >= self.floors.topic else OTHER
        return [path or OTHER for path in paths]

    def _named_topic(self, match: Match) -> int:
        """The row of the topic that an item's categories name, −1 where they name none."""
        return -1 if match.topic is None or match.votes else self._rows[match.topic]

    def _favour(self, matches: Sequence[Match]) -> npt.NDArray[np.float64] | None:
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
        self, vectors: Floats, topics: npt.NDArray[np.int64], favour: npt.NDArray[np.float64] | None = None
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


def build_tree(version: str, encoder_id: str, concepts: Sequence[Concept], encoded: Sequence[Floats]) -> ConceptTree:
    """A tree whose concepts' vectors are the normalised means over their texts.

    `encoded` holds, for each concept, the L2-normalised vectors of its texts (`texts_of`), shape (texts, dim).
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
