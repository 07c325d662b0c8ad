"""How often the default model's tree is right: the demo's catalogue, AG News, THUCNews and three real catalogues.

The floors lie a few points under what was measured (docs/concepts.md); chance is one in thirty-two. `captions.jsonl`
has texts that say nothing, and captions on a topic, in two styles: constants were chosen with the first, `development`.
`headlines.jsonl` has the same sentence in two languages.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.demo.traffic import catalogue, topic_of
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.locate import DEFAULT_MODEL, cache_dir
from streams.concepts.catalogue_tree import build_from_catalogue, build_from_taxonomy, text_of
from streams.concepts.tree import NOWHERE, ConceptTree, Match
from streams.concepts.tree_file import load_tree, save_tree

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
DATA = ROOT / ".." / "shared" / "data"

AG_NEWS = {
    "World": {"politics", "society"},
    "Sports": {"sports"},
    "Business": {"finance", "business", "real-estate"},
    "Sci/Tech": {"technology", "science", "games"},
}
THUC_NEWS = {
    "game": {"games"},
    "society": {"society"},
    "stocks": {"finance"},
    "finance": {"finance"},
    "sports": {"sports"},
    "realty": {"real-estate"},
    "education": {"education"},
    "politics": {"politics"},
    "science": {"technology", "science"},
    "entertainment": {"entertainment", "film-tv", "music"},
}

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def encoder() -> LoadedEncoder:
    return load_encoder(DEFAULT_MODEL, cache=cache_dir(ROOT), precision="int8")  # as it is served


@pytest.fixture(scope="module")
def tree(encoder: LoadedEncoder, tmp_path_factory: pytest.TempPathFactory) -> ConceptTree:
    path = tmp_path_factory.mktemp("tree") / "tree.npz"
    save_tree(build_from_taxonomy(lambda texts: encoder.encode(texts)[0], encoder.encoder_id), path)
    return load_tree(path)


def rows_of(path: str, keep: Callable[[int], bool]) -> list[dict[str, Any]]:
    file = DATA / path
    if not file.exists():
        pytest.skip(f"needs the real data {path} beside the repository")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for number, line in enumerate(lines) if keep(number)]


def written(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FIXTURES / file).read_text(encoding="utf-8").splitlines()]


def topics(paths: list[str]) -> list[str]:
    return [path.split("/")[1] if path else "" for path in paths]


def whatever_it_is(tree: ConceptTree) -> ConceptTree:
    """The tree that gives every text a path, however unsure."""
    return tree.with_floors(replace(tree.floors, confidence=0.0, interest_confidence=0.0))


@pytest.mark.parametrize(
    ("file", "labels", "every", "floor"),
    [("topics/agnews.jsonl.gz", AG_NEWS, 19, 0.74), ("topics/thucnews-dev.jsonl.gz", THUC_NEWS, 25, 0.61)],
)
def test_news_finds_its_topic(
    encoder: LoadedEncoder, tree: ConceptTree, file: str, labels: Mapping[str, set[str]], every: int, floor: float
) -> None:
    rows = rows_of(file, lambda number: number % every == 0)
    vectors = encoder.encode([row["text"] for row in rows])[0]
    placed = whatever_it_is(tree).placements([Match()] * len(rows), vectors)
    found = topics([one.path for one in placed])
    right = np.array([topic in labels[row["label"]] for topic, row in zip(found, rows, strict=True)])
    assert right.mean() > floor
    sure = np.array([one.confidence for one in placed])
    assert right[np.argsort(-sure)[: len(rows) // 2]].mean() > floor + 0.08  # the surer half
    assert abs(sure.mean() - right.mean()) < 0.2
    kept = np.array([path != NOWHERE for path in tree.assign(vectors)])
    assert kept.mean() > 0.85
    assert right[kept].mean() > right.mean()


@pytest.mark.parametrize(("half", "without"), [("development", 0.92), ("held-out", 0.87)])
def test_what_says_nothing_gets_no_path(encoder: LoadedEncoder, tree: ConceptTree, half: str, without: float) -> None:
    rows = [row for row in written("captions.jsonl") if row["half"] == half]
    found = topics(tree.assign(encoder.encode([row["text"] for row in rows])[0]))
    assert np.mean([topic == "" for topic, row in zip(found, rows, strict=True) if row["topic"] is None]) > without
    said = [(topic, row["topic"]) for topic, row in zip(found, rows, strict=True) if row["topic"] is not None]
    assert np.mean([topic == wanted for topic, wanted in said]) > 0.8  # with the platform's words and hashtags in them
    assert np.mean([topic not in ("", wanted) for topic, wanted in said]) < 0.12


def test_a_sentence_in_two_languages_is_of_one_topic(encoder: LoadedEncoder, tree: ConceptTree) -> None:
    rows = written("headlines.jsonl")
    found = topics(whatever_it_is(tree).assign(encoder.encode([row[lang] for row in rows for lang in ("en", "zh")])[0]))
    assert np.mean([one == other for one, other in zip(found[::2], found[1::2], strict=True)]) > 0.8
    assert np.mean([topic == row["topic"] for topic, row in zip(found[::2], rows, strict=True)]) > 0.88
    assert np.mean([topic == row["topic"] for topic, row in zip(found[1::2], rows, strict=True)]) > 0.8


def test_the_demos_items_find_their_place(encoder: LoadedEncoder, tree: ConceptTree) -> None:
    items = catalogue()
    vectors = encoder.encode([text_of(item) for item in items])[0]
    matches = [tree.path_of(item.get("categories", ()), item.get("tags", ())) for item in items]
    found = topics(tree.place(matches, vectors))
    right = np.array([topic == topic_of(item["item_id"]) for topic, item in zip(found, items, strict=True)])
    said = np.array([bool(item.get("categories") or item.get("tags")) for item in items])
    assert right[said].mean() > 0.97
    assert right[~said].mean() > 0.68
    assert (
        np.mean([t == topic_of(i["item_id"]) for t, i in zip(topics(tree.assign(vectors)), items, strict=True)]) > 0.7
    )


def test_a_forum_of_one_subject_stays_together(encoder: LoadedEncoder, tree: ConceptTree) -> None:
    items = rows_of("cardano/items.jsonl.gz", lambda number: number % 5 == 0)
    vectors = encoder.encode([text_of(item, 400) for item in items])[0]
    found = tree.place([tree.path_of((), item.get("tags") or ()) for item in items], vectors)
    assert np.mean([topic == "technology" for topic in topics(found)]) > 0.88
    assert np.mean([path == "/technology/blockchain" for path in found]) > 0.7


def test_categories_of_two_catalogues_are_known(encoder: LoadedEncoder, tree: ConceptTree) -> None:
    for file, share in (("magazines/items.jsonl.gz", 0.9), ("mind-zh/items.jsonl.gz", 0.95)):
        items = [item for item in rows_of(file, lambda _: True) if item.get("categories")]
        assert np.mean([tree.path_of(item["categories"]).topic is not None for item in items]) > share


@pytest.mark.parametrize(
    ("label", "topic"),
    [("Deportes", "sports"), ("Bücher", "books"), ("Autos y motos", "cars"), ("投資理財專欄", "finance")],
)
def test_labels_in_other_languages_are_near_their_topic(
    encoder: LoadedEncoder, tree: ConceptTree, label: str, topic: str
) -> None:
    assert tree.nearest_label(encoder.encode([label])[0]) == [topic]


def test_labels_that_say_nothing_are_near_nothing(encoder: LoadedEncoder, tree: ConceptTree) -> None:
    labels = ["uncategorized", "Level 3", "其他", "new arrivals", "Midwest", "Reference"]
    assert tree.nearest_label(encoder.encode(labels)[0]) == [None] * len(labels)


def test_a_catalogues_own_tree_separates_its_topics(encoder: LoadedEncoder) -> None:
    rows = rows_of("topics/agnews.jsonl.gz", lambda number: number % 19 == 0)
    vectors = encoder.encode([row["text"] for row in rows])[0]
    items = [{"item_id": str(n), "title": row["text"]} for n, row in enumerate(rows)]
    own = build_from_catalogue(items, vectors, encoder.encoder_id, topics=8)
    found = topics(own.assign(vectors))
    pure = sum(
        max(sum(row["label"] == label for row, t in zip(rows, found, strict=True) if t == topic) for label in AG_NEWS)
        for topic in set(found)
    )
    assert pure / len(rows) > 0.7
