"""The two builders of concept trees: from a written taxonomy, and from a catalogue by hierarchical k-means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xxhash

from streams.base.errors import ConfigurationError
from streams.concepts.naming import Text, name_clusters
from streams.concepts.tree import Concept, ConceptTree, build_tree, slug
from streams.concepts.tree_file import TAXONOMY_FILE, load_taxonomy
from streams.concepts.tree_texts import TreeTexts
from streams.concepts.zeroshot import unit
from streams.events.items import Item, item_text

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Encode = Callable[[Sequence[str]], Floats]

MAX_TOPICS: Final = 48
MAX_INTERESTS: Final = 12  # a topic's
MIN_ITEMS: Final = 8  # a cluster of fewer says more about chance than about interests

MAX_CHARS: Final = 2_000  # of an item's text; an encoder reads no more
READS_SHARE: Final = 0.5

_ROUNDS: Final = 50
_RESTARTS: Final = 4


def build_from_taxonomy(encode: Encode, encoder_id: str, path: Path = TAXONOMY_FILE) -> ConceptTree:
    """A tree from a written taxonomy: each concept's names, descriptions and aliases encoded and averaged.

    Where every topic has examples, a head learns from them which topic a vector belongs to.
    `encode` maps texts to L2-normalised vectors of shape (n, dim). The tree's version is the taxonomy's with eight
    hex digits of its contents.
    """
    taxonomy = load_taxonomy(path)
    texts = TreeTexts(taxonomy.concepts, taxonomy.says_nothing, languages_read(encode, taxonomy.concepts))
    version = f"{taxonomy.version}-{xxhash.xxh3_64_hexdigest(path.read_bytes())[:8]}"
    return texts.tree(version, encoder_id, encode(texts.texts))


def languages_read(encode: Encode, concepts: Sequence[Concept]) -> list[str]:
    """The description languages that the encoder understands: the first, and those it can match with the first.

    In each further language the topics' descriptions are looked for among those in the first. A model that finds
    under half of them would add noise to the concepts: of the 32 Chinese ones MiniLM, made for English, finds 12,
    multilingual-e5-small all. Without descriptions every language of the names counts as understood.
    """
    topics = [concept for concept in concepts if concept.is_topic and concept.descriptions]
    if not topics:
        return list(dict.fromkeys(lang for concept in concepts for lang in concept.names))
    first, *others = topics[0].descriptions
    described = [topic for topic in topics if all(lang in topic.descriptions for lang in (first, *others))]
    if not described or not others:
        return [first, *others]
    rows = [_centred(encode([topic.descriptions[lang] for topic in described])) for lang in (first, *others)]
    hits = [float(np.mean((row @ rows[0].T).argmax(axis=1) == np.arange(len(described)))) for row in rows[1:]]
    return [first, *(lang for lang, share in zip(others, hits, strict=True) if share >= READS_SHARE)]


def build_from_catalogue(
    items: Sequence[Mapping[str, Any]],
    vectors: Floats,
    encoder_id: str,
    *,
    topics: int | None = None,
    interests: int | None = None,
    seed: int = 7,
) -> ConceptTree:
    """A tree from a catalogue: spherical k-means over item vectors, then again within each topic.

    `items` are in the item contract, `vectors` of shape (n, dim) in their order. `topics` and `interests` (a
    topic's most) default to what the catalogue's size bears. Concepts are named by the words that stand out in
    their items. The same items, vectors and seed give the same tree. ConfigurationError under 2 · MIN_ITEMS items.
    """
    if len(items) != len(vectors) or len(items) < 2 * MIN_ITEMS:
        raise ConfigurationError(
            f"hierarchy: got {len(items)} items and {len(vectors)} vectors, expected as many of both and at least "
            f"{2 * MIN_ITEMS}; use the built-in taxonomy for a small catalogue"
        )
    centred = _centred(vectors)
    wanted = topics or min(MAX_TOPICS, max(2, round(math.sqrt(len(items) / MIN_ITEMS))))
    upper = spherical_kmeans(centred, wanted, seed=seed)
    lower = _split_topics(centred, upper, interests, seed)
    texts = [_text(item) for item in items]
    concepts, rows = _named(texts, upper, lower)
    means = [vectors[members].mean(axis=0, keepdims=True) for members in rows]
    digest = xxhash.xxh3_64_hexdigest(vectors.tobytes())[:8]
    return build_tree(f"catalogue-{len(items)}-{seed}-{digest}", encoder_id, concepts, means)


def spherical_kmeans(vectors: Doubles, k: int, *, seed: int) -> Integers:
    """Labels of shape (n,), 0 to at most k − 1, by k-means on the unit sphere with k-means++ starts.

    `vectors` has shape (n, dim), L2-normalised. Clusters under MIN_ITEMS are dissolved into their nearest
    neighbours, so fewer than `k` may come back; labels go by falling size. The best of a few starts is kept.
    Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", 2001.
    """
    random = np.random.default_rng(seed)
    runs = [_run(vectors, min(k, len(vectors)), random) for _ in range(_RESTARTS)]
    _, centres = max(runs, key=lambda run: run[0])
    while True:
        labels: Integers = (vectors @ centres.T).round(9).argmax(axis=1)
        sizes = np.bincount(labels, minlength=len(centres))
        if len(centres) == 1 or sizes.min() >= MIN_ITEMS:
            break
        centres = np.delete(centres, int(sizes.argmin()), axis=0)
    order = np.argsort(-sizes, kind="stable")
    return np.argsort(order, kind="stable")[labels]


def _centred(vectors: Floats) -> Doubles:
    doubles = vectors.astype(np.float64)
    return unit(doubles - doubles.mean(axis=0))


def _run(vectors: Doubles, k: int, random: np.random.Generator) -> tuple[float, Doubles]:
    centres = _starts(vectors, k, random)
    labels = np.full(len(vectors), -1)
    total = -math.inf
    for _ in range(_ROUNDS):
        scores = vectors @ centres.T
        nearest = scores.round(9).argmax(axis=1)
        total = float(scores[np.arange(len(vectors)), nearest].sum())
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, vectors)
        filled = np.bincount(labels, minlength=k) > 0
        centres = np.where(filled[:, None], unit(sums), centres)
    return total, centres


def _starts(vectors: Doubles, k: int, random: np.random.Generator) -> Doubles:
    chosen = [int(random.integers(len(vectors)))]
    distance = 1 - vectors @ vectors[chosen[0]]
    while len(chosen) < k:
        weights = np.clip(distance, 0, None) ** 2
        if weights.sum() <= 0:
            break
        chosen.append(int(random.choice(len(vectors), p=weights / weights.sum())))
        distance = np.minimum(distance, 1 - vectors @ vectors[chosen[-1]])
    picked: Doubles = vectors[chosen]
    return picked


def _split_topics(vectors: Doubles, upper: Integers, most: int | None, seed: int) -> Integers:
    """Labels within each topic, shape (n,); −1 where a topic is too small to be split."""
    lower: Integers = np.full(len(vectors), -1, np.int64)
    for topic in range(int(upper.max()) + 1):
        members = np.flatnonzero(upper == topic)
        k = min(most or MAX_INTERESTS, MAX_INTERESTS if most is None else most, len(members) // (2 * MIN_ITEMS))
        if k < 2:
            continue
        inside = unit(vectors[members] - vectors[members].mean(axis=0))
        lower[members] = spherical_kmeans(inside, k, seed=seed + 1 + topic)
    return lower


def _named(texts: Sequence[Text], upper: Integers, lower: Integers) -> tuple[list[Concept], list[Integers]]:
    concepts: list[Concept] = []
    rows: list[Integers] = []
    topic_names = name_clusters(texts, upper)
    taken: set[str] = set()
    for topic, name in enumerate(topic_names):
        members = np.flatnonzero(upper == topic)
        top = _free(slug(name), taken)
        concepts.append(Concept(top, {"und": name}))
        rows.append(members)
        labels = lower[members]
        if labels.max() < 1:
            continue
        names = name_clusters([texts[row] for row in members], labels, avoid=name)
        below: set[str] = set()
        for interest, fine in enumerate(names):
            concepts.append(Concept(f"{top}/{_free(slug(fine), below)}", {"und": fine}))
            rows.append(members[labels == interest])
    return concepts, rows


def _free(name: str, taken: set[str]) -> str:
    """A slug nobody has yet: the name's own, else with the lowest number that is free."""
    name = name or "cluster"
    free = next(s for s in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if s not in taken)
    taken.add(free)
    return free


def _text(item: Mapping[str, Any]) -> Text:
    words = [*(item.get("categories") or ()), *(item.get("tags") or ())]
    return Text(f"{item.get('title') or ''}. {item.get('description') or ''}", tuple(map(str, words)))


def text_of(item: Mapping[str, Any], max_chars: int = MAX_CHARS) -> str:
    """The text an item of the catalogue is encoded by: the same as on the path (`streams.events.items.item_text`)."""
    labelled = Item(
        item_id=str(item.get("item_id", "")),
        title=item.get("title"),
        description=item.get("description"),
        categories=tuple(item.get("categories") or ()),
        tags=tuple(item.get("tags") or ()),
        brand=item.get("brand"),
    )
    return item_text(labelled, max_chars) or ""
