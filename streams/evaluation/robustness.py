"""How far vector, sentiment and path move when a text is changed: typos, lookalikes, other words, stuffing.

Each text is encoded as it comes and changed, the changed one also as the service reads it (`as_read`). What is tuned
is tuned on half a of the texts, by the CRC-32 of each; half b is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.perturbations import PERTURBATIONS, Aim, Kind, Lexicon, Perturbation, language_of, perturbed
from streams.concepts.tree import ConceptTree
from streams.events.lookalikes import as_read
from streams.events.text import normalise_text

Floats = NDArray[np.float32]
Encode = Callable[[Sequence[str]], tuple[Floats, Floats]]
"""Texts to vectors of length 1, shape (n, dim), and sentiments, shape (n,)."""
Half = Literal["a", "b"]

NEIGHBOURS: Final = 10


class Step(Protocol):
    """Shows how far a step is."""

    def add(self, count: int) -> None:
        """`count` more are done."""


Meter = Callable[[str, int], AbstractContextManager[Step]]
"""Opens a step by its name and how many it has."""


class Texts(NamedTuple):
    """A set of texts of one language: items (`topic`), or comments (`sign`) with labels, 1 good and 0 bad."""

    name: str
    kind: Kind
    texts: Sequence[str]
    labels: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessPlan:
    """What is measured: `most` texts of each set's half; neighbours are sought among `among` of its clean texts.

    `families` keeps to perturbations of these; None: all.
    """

    seed: int = 7
    families: frozenset[str] | None = None
    half: Half = "b"
    most: int = 150
    among: int = 600


class _Clean(NamedTuple):
    """The chosen texts as they come: vectors, sentiments, paths, and the texts whose neighbours they are."""

    texts: list[str]
    labels: NDArray[np.int64]
    vectors: Floats
    signs: Floats
    paths: list[str]
    others: Floats
    near: list[set[int]]


def robustness(
    sets: Sequence[Texts], encode: Encode, tree: ConceptTree, lexicon: Lexicon, plan: RobustnessPlan, meter: Meter
) -> dict[str, Any]:
    """Figures by set and perturbation: `written` is the changed text as it comes, `read` as the service reads it."""
    figures: dict[str, Any] = {}
    for one in sets:
        clean = _clean(one, encode, tree, plan)
        mine = [
            p
            for p in PERTURBATIONS
            if one.kind in p.kinds
            and language_of(one.texts[0]) in p.languages
            and (plan.families is None or p.family in plan.families)
        ]
        found: dict[str, Any] = {}
        with meter(one.name, len(mine)) as step:
            for perturbation in mine:
                found[perturbation.name] = _moved(perturbation, clean, one.kind, encode, tree, lexicon, plan)
                step.add(1)
        figures[one.name] = {"kind": one.kind, "texts": len(clean.texts), "perturbations": found}
        if len(clean.labels):
            figures[one.name]["right"] = _right(clean.signs, clean.labels)
    return figures


def half_of(text: str) -> Half:
    """The half that a text belongs to."""
    return "b" if zlib.crc32(text.encode()) % 2 else "a"


def _clean(one: Texts, encode: Encode, tree: ConceptTree, plan: RobustnessPlan) -> _Clean:
    order = sorted(range(len(one.texts)), key=lambda row: (zlib.crc32(one.texts[row].encode()[::-1]), row))
    mine = [row for row in order if half_of(one.texts[row]) == plan.half][: plan.most]
    chosen = set(mine)
    rest = [row for row in order if row not in chosen][: max(plan.among - len(mine), 0)] if one.kind == "topic" else []
    vectors, signs = encode([normalise_text(one.texts[row]) for row in (*mine, *rest)])
    count = len(mine)
    return _Clean(
        texts=[one.texts[row] for row in mine],
        labels=np.array([one.labels[row] for row in mine] if one.labels else [], np.int64),
        vectors=vectors[:count], signs=signs[:count], paths=tree.assign(vectors[:count]), others=vectors,
        near=list(_nearest(vectors[:count], vectors)),
    )  # fmt: skip


def _moved(
    perturbation: Perturbation, clean: _Clean, kind: Kind, encode: Encode, tree: ConceptTree, lexicon: Lexicon,
    plan: RobustnessPlan,
) -> dict[str, Any]:  # fmt: skip
    aims = [_aim(clean, row, lexicon, plan.seed) for row in range(len(clean.texts))]
    written = [
        normalise_text(perturbed(perturbation, text, plan.seed, lexicon, aim))
        for text, aim in zip(clean.texts, aims, strict=True)
    ]
    rows = [row for row, text in enumerate(written) if text and text != normalise_text(clean.texts[row])]
    figures: dict[str, Any] = {"family": perturbation.family, "changed": len(rows) / len(clean.texts)}
    if not rows:
        return figures
    texts = [written[row] for row in rows]
    read = [as_read(text) for text in texts]
    vectors, signs = encode(texts)
    measure = _items if kind == "topic" else _comments
    figures["written"] = measure(clean, rows, vectors, signs, tree, aims)
    undone = [place for place, (one, other) in enumerate(zip(texts, read, strict=True)) if one != other]
    if undone:
        vectors[undone], signs[undone] = encode([read[place] for place in undone])
        figures["read"] = measure(clean, rows, vectors, signs, tree, aims)
    return figures


def _aim(clean: _Clean, row: int, lexicon: Lexicon, seed: int) -> Aim:
    """A topic that the text does not have, and the sign that it does not have."""
    own = _topic(clean.paths[row])
    random = Random(f"{seed}|{clean.texts[row]}")  # noqa: S311  # an experiment's numbers, no secret
    good = bool(clean.labels[row] == 0) if len(clean.labels) else bool(clean.signs[row] < 0)
    return Aim(random.choice([topic for topic in lexicon.topics if topic != own]), good)


def _items(
    clean: _Clean, rows: Sequence[int], vectors: Floats, signs: Floats, tree: ConceptTree, aims: Sequence[Aim]
) -> Mapping[str, float]:  # signs: comments alone have one that counts
    del signs
    paths = tree.assign(vectors)
    topics = [(_topic(path), _topic(clean.paths[row])) for path, row in zip(paths, rows, strict=True)]
    near = list(_nearest(vectors, clean.others, rows))
    return _rounded(
        cosine=np.mean(_cosines(clean.vectors[list(rows)], vectors)),
        neighbours_kept=np.mean([len(a & clean.near[row]) / NEIGHBOURS for a, row in zip(near, rows, strict=True)]),
        topic_changed=np.mean([one != other for one, other in topics]),
        interest_changed=np.mean([path != clean.paths[row] for path, row in zip(paths, rows, strict=True)]),
        aimed_at=np.mean([one == aims[row].topic for (one, _), row in zip(topics, rows, strict=True)]),
    )


def _comments(
    clean: _Clean, rows: Sequence[int], vectors: Floats, signs: Floats, tree: ConceptTree, aims: Sequence[Aim]
) -> Mapping[str, float]:  # tree and aims: items alone have a path
    del tree, aims
    before = clean.signs[list(rows)]
    return _rounded(
        cosine=np.mean(_cosines(clean.vectors[list(rows)], vectors)),
        flipped=np.mean((signs > 0) != (before > 0)),
        moved=np.mean(np.abs(signs - before)),
        right=_right(signs, clean.labels[list(rows)]),
    )


def _nearest(vectors: Floats, others: Floats, own: Sequence[int] | None = None) -> Iterator[set[int]]:
    """The rows of the ten nearest of `others`, without the vector's own row: row n for vector n, or `own[n]`."""
    for place, vector in enumerate(vectors):
        scores = others @ vector
        scores[place if own is None else own[place]] = -np.inf
        yield set(np.argsort(-scores, kind="stable")[:NEIGHBOURS].tolist())


def _topic(path: str) -> str:
    """The topic of a path; empty where it has none."""
    return path.removeprefix("/").partition("/")[0]


def _cosines(one: Floats, other: Floats) -> Floats:
    return np.asarray((one * other).sum(axis=1), np.float32)


def _right(signs: Floats, labels: NDArray[np.int64]) -> float:
    return round(float(np.mean((signs > 0) == (labels == 1))), 4)


def _rounded(**figures: Any) -> Mapping[str, float]:
    return {name: round(float(value), 4) for name, value in figures.items()}
