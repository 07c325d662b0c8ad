"""The taxonomy that ships: its size, its languages, and that no word means two things."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from streams.concepts.labels import LabelTable, key, slug
from streams.concepts.tree import Concept
from streams.concepts.tree_file import load_taxonomy

FIXTURES = Path(__file__).parents[1] / "fixtures"
TAXONOMY = load_taxonomy()
TOPICS = [concept for concept in TAXONOMY.concepts if concept.is_topic]
INTERESTS = [concept for concept in TAXONOMY.concepts if not concept.is_topic]


def words_of(concept: Concept) -> set[str]:
    return {key(concept.id.rpartition("/")[2]), *map(key, concept.labels)}


def test_it_is_broad_enough() -> None:
    assert len(TOPICS) >= 25
    below = Counter(concept.topic for concept in INTERESTS)
    assert {concept.id for concept in TOPICS} == set(below)
    assert min(below.values()) >= 8


def test_ids_are_slugs_and_unique() -> None:
    ids = [concept.id for concept in TAXONOMY.concepts]
    assert len(set(ids)) == len(ids)
    assert all(step == slug(step) for i in ids for step in i.split("/"))


@pytest.mark.parametrize("lang", ["en", "zh", "zh-Hant"])
def test_every_concept_is_named_in_every_language(lang: str) -> None:
    names = [concept.names.get(lang, "") for concept in TAXONOMY.concepts]
    assert all(names)
    for level in (TOPICS, INTERESTS):
        assert len({concept.names[lang] for concept in level}) == len(level)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_concept_is_described(lang: str) -> None:
    assert all(len(concept.descriptions.get(lang, "")) >= 6 for concept in TAXONOMY.concepts)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_interest_has_examples(lang: str) -> None:
    assert all(len(concept.examples.get(lang, ())) >= 2 for concept in INTERESTS)
    sentences = [text for concept in TAXONOMY.concepts for text in concept.examples.get(lang, ())]
    assert len(set(sentences)) == len(sentences)


def test_no_text_of_the_tests_is_one_that_the_tree_has_learned_from() -> None:
    learned = {text for concept in TAXONOMY.concepts for texts in concept.examples.values() for text in texts}
    learned |= {text for texts in TAXONOMY.says_nothing.values() for text in texts}
    assert len(learned) > 1_000
    for file, fields in (("captions.jsonl", ["text"]), ("headlines.jsonl", ["en", "zh"])):
        rows = [json.loads(line) for line in (FIXTURES / file).read_text(encoding="utf-8").splitlines()]
        assert not learned & {row[field] for row in rows for field in fields}


@pytest.mark.parametrize("level", [TOPICS, INTERESTS], ids=["topics", "interests"])
def test_no_word_means_two_concepts_of_a_level(level: list[Concept]) -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for concept in level:
        for word in words_of(concept):
            owners[word].append(concept.id)
    assert {word: ids for word, ids in owners.items() if len(ids) > 1} == {}


def test_no_local_word_means_two_interests_of_a_topic() -> None:
    owners = Counter((concept.topic, key(word)) for concept in INTERESTS for word in concept.local)
    assert [pair for pair, n in owners.items() if n > 1] == []


def test_every_word_leads_back_to_its_concept() -> None:
    """Below its own topic; a word of two levels, such as `photography`, is the topic's where nothing is above it."""
    table = LabelTable(TAXONOMY.concepts)
    for concept in INTERESTS:
        for word in (*concept.labels, *concept.local):
            assert table.match([concept.topic, word], []).interest == concept.id, word


def test_chinese_words_are_there_in_both_scripts() -> None:
    table = LabelTable(TAXONOMY.concepts)
    for simplified, traditional in [("足球", "足球"), ("房产", "房產"), ("区块链", "區塊鏈"), ("电视剧", "電視劇")]:
        assert table.match([simplified], []).path == table.match([traditional], []).path is not None


@pytest.mark.parametrize(
    ("categories", "path"),
    [
        (["Home & Garden", "Design & Decoration"], "/home-garden/interior-design"),
        (["sports", "football_nfl"], "/sports/american-football"),
        (["foodanddrink", "recipes"], "/food/recipes"),
        (["Fashion & Style", "Women"], "/fashion/womens-fashion"),
        (["Health", "Women"], "/health/womens-health"),
        (["Arts, Music & Photography", "Photography"], "/photography"),
        (["finance", "finance-taxes"], "/finance/taxes"),
        (["news", "newspolitics"], "/politics"),
        (["财经", "股票"], "/finance/stocks"),
        (["體育", "籃球"], "/sports/basketball"),
        (["Video Games", "Action"], "/games/shooters"),
        (["Movies & TV", "Crime"], "/film-tv/thriller"),
    ],
)
def test_catalogues_of_several_kinds_find_their_place(categories: list[str], path: str) -> None:
    assert LabelTable(TAXONOMY.concepts).match(categories, []).path == path
