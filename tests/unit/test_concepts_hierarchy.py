"""Trees from catalogues: clusters are found again, named by their words, and the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.concepts.catalogue_tree import (
    MIN_ITEMS,
    build_from_catalogue,
    build_from_taxonomy,
    languages_read,
    spherical_kmeans,
)
from streams.concepts.labels import slug
from streams.concepts.naming import Text, name_clusters, words_of
from streams.concepts.tree import Concept
from streams.concepts.tree_file import load_taxonomy
from streams.concepts.tree_texts import TreeTexts, texts_of
from streams.concepts.zeroshot import unit

WORDS = [
    [("goal", "match", "striker"), ("racket", "serve", "court")],
    [("onion", "sauce", "simmer"), ("grape", "bottle", "cork")],
    [("火箭", "卫星", "轨道"), ("化石", "恐龙", "地层")],
]


def made(per_interest: int = 20, seed: int = 1) -> tuple[list[dict[str, Any]], np.ndarray, list[tuple[int, int]]]:
    """Three topics of two interests each: vectors scattered around six directions, texts from six vocabularies."""
    random = np.random.default_rng(seed)
    topics = np.linalg.qr(random.normal(size=(24, 9)))[0].T
    items, rows, truth = [], [], []
    for topic, interests in enumerate(WORDS):
        for fine, words in enumerate(interests):
            for number in range(per_interest):
                centre = topics[topic] + 0.6 * topics[3 + 2 * topic + fine]
                rows.append(centre + 0.08 * random.normal(size=24))
                chosen = random.permutation(words)[:2]
                items.append({"item_id": f"{topic}-{fine}-{number}", "title": f"the {chosen[0]} and the {chosen[1]}"})
                truth.append((topic, fine))
    return items, unit(np.array(rows)).astype(np.float32), truth


def test_clusters_of_a_catalogue_become_topics_and_interests() -> None:
    items, vectors, truth = made()
    tree = build_from_catalogue(items, vectors, "made-up", topics=3)
    topics = [concept for concept in tree.concepts if concept.is_topic]
    assert len(topics) == 3
    assert len(tree.concepts) == 3 + 6
    placed: dict[tuple[int, int], set[str]] = {}
    for pair, path in zip(truth, tree.assign(vectors), strict=True):
        placed.setdefault(pair, set()).add(path)
    assert all(len(paths) == 1 for paths in placed.values())
    assert len({next(iter(paths)) for paths in placed.values()}) == 6
    for (topic, fine), (path,) in ((pair, tuple(paths)) for pair, paths in placed.items()):
        spoken = tree.name(path)
        assert any(word in spoken for word in WORDS[topic][fine]), spoken


def test_the_same_catalogue_gives_the_same_tree() -> None:
    items, vectors, _ = made()
    one, other = (build_from_catalogue(items, vectors, "made-up") for _ in range(2))
    assert one.version == other.version
    assert one.concepts == other.concepts
    np.testing.assert_array_equal(one.vectors, other.vectors)


def test_size_says_how_many_topics_and_small_clusters_are_dissolved() -> None:
    _, vectors, _ = made(per_interest=40)
    centred = unit(vectors.astype(np.float64))
    labels = spherical_kmeans(centred, 40, seed=3)
    sizes = np.bincount(labels)
    assert sizes.min() >= MIN_ITEMS
    assert list(sizes) == sorted(sizes, reverse=True)
    assert len(sizes) >= 6


def test_items_that_are_all_alike_make_one_topic() -> None:
    items = [{"item_id": str(n), "title": "the red shoes"} for n in range(40)]
    tree = build_from_catalogue(items, np.tile(np.eye(1, 8, dtype=np.float32), (40, 1)), "made-up", topics=4)
    assert len(tree.concepts) == 1
    assert tree.name(tree.concepts[0].path) == "red, shoes"


def test_a_catalogue_too_small_to_learn_from_is_refused() -> None:
    items, vectors, _ = made()
    with pytest.raises(ConfigurationError, match="built-in taxonomy"):
        build_from_catalogue(items[:10], vectors[:10], "made-up")
    with pytest.raises(ConfigurationError, match="119 vectors"):
        build_from_catalogue(items, vectors[:-1], "made-up")


class Reader:
    """Encodes a topic's English and Chinese description alike, or Chinese ones all the same; other texts by chance."""

    def __init__(self, *, reads_chinese: bool) -> None:
        topics = [concept for concept in load_taxonomy().concepts if concept.is_topic]
        self._rows = {text: row for row, c in enumerate(topics) for text in c.descriptions.values()}
        self._reads_chinese = reads_chinese
        self.asked: list[str] = []

    def __call__(self, texts: Any) -> np.ndarray:
        self.asked.extend(texts)
        return unit(np.stack([self._row(text) for text in texts])).astype(np.float32)

    def _row(self, text: str) -> np.ndarray:
        if not text.isascii() and not self._reads_chinese:
            return np.eye(1, 40)[0] + 0.01 * np.random.default_rng(len(text)).normal(size=40)
        return np.random.default_rng(self._rows.get(text, len(text))).normal(size=40)


def test_the_taxonomy_is_encoded_text_by_text() -> None:
    encode = Reader(reads_chinese=True)
    tree = build_from_taxonomy(encode, "made-up")
    taxonomy = load_taxonomy()
    wanted = TreeTexts(taxonomy.concepts, taxonomy.says_nothing).texts
    assert encode.asked[-len(wanted) :] == wanted
    assert any(not text.isascii() for text in wanted)
    assert tree.version.startswith(f"{taxonomy.version}-")
    assert tree.encoder_id == "made-up"
    assert {concept.id for concept in tree.concepts} == {concept.id for concept in taxonomy.concepts}
    assert tree.get("/sports/football") in taxonomy.concepts


def test_a_model_that_does_not_read_chinese_is_not_asked_to() -> None:
    concepts = load_taxonomy().concepts
    assert languages_read(Reader(reads_chinese=True), concepts) == ["en", "zh"]
    encode = Reader(reads_chinese=False)
    assert languages_read(encode, concepts) == ["en"]
    encode.asked.clear()
    tree = build_from_taxonomy(encode, "made-up")
    chinese = [text for text in encode.asked if "一" <= text[-1] <= "龥"]
    assert len(chinese) == sum(concept.is_topic for concept in concepts)
    assert tree.path_of(["体育", "足球"]).path == "/sports/football"  # the table still reads it


def test_a_taxonomy_in_one_language_is_read_in_it() -> None:
    concepts = [Concept("a", {"de": "Ah"}, {"de": "Ein Anfang"}), Concept("b", {"de": "Be"}, {"de": "Ein zweiter"})]
    assert languages_read(Reader(reads_chinese=False), concepts) == ["de"]
    assert languages_read(Reader(reads_chinese=False), [Concept("a", {"de": "Ah"})]) == ["de"]
    assert texts_of(concepts[:1], ["de"]) == [["Ah", "Ah: Ein Anfang"]]


def test_words_are_lower_case_without_small_talk_and_chinese_goes_by_pairs() -> None:
    assert list(words_of("The Goalkeeper's 3 saves")) == ["goalkeeper", "saves"]
    assert list(words_of("小球队进球")) == ["小球", "球队", "队进", "进球"]


def test_labels_weigh_more_than_running_text_and_names_differ() -> None:
    texts = [
        *(Text("a walk in the park", ("football",)) for _ in range(3)),
        *(Text("a walk in the hills", ("wine",)) for _ in range(3)),
        *(Text("a walk in the hills", ("wine",)) for _ in range(3)),
    ]
    names = name_clusters(texts, np.array([0, 0, 0, 1, 1, 1, 2, 2, 2]))
    assert names[0].startswith("football")
    assert names[1].startswith("wine")
    assert len(set(names)) == 3
    assert all(slug(name) for name in names)


def test_a_name_does_not_repeat_what_stands_above_it() -> None:
    texts = [Text("tennis serve"), Text("tennis serve"), Text("tennis court"), Text("tennis court")]
    assert name_clusters(texts, np.array([0, 0, 1, 1]), avoid="tennis") == ["serve", "court"]
