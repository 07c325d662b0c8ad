"""The tree itself: paths by table, by labels' vectors and by items' vectors, on vectors made for the purpose."""

from __future__ import annotations

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.concepts.labels import slug
from streams.concepts.tree import NOWHERE, Concept, ConceptTree, Match, build_tree
from streams.concepts.tree_texts import texts_of

CONCEPTS = [
    Concept(
        "sports",
        {"en": "Sports", "zh": "体育", "zh-Hant": "體育"},
        {"en": "Games", "zh": "比赛"},
        aliases=("athletics",),
    ),
    Concept("sports/football", {"en": "Football (soccer)", "zh": "足球"}, aliases=("soccer", "world-cup")),
    Concept("sports/tennis", {"en": "Tennis", "zh": "网球"}, aliases=("racket-sports",), local=("rackets",)),
    Concept("food", {"en": "Food & drink", "zh": "美食"}, aliases=("cooking-food-wine", "grocery")),
    Concept("food/recipes", {"en": "Recipes", "zh": "菜谱"}, aliases=("cooking", "recipes-techniques")),
    Concept("food/wine", {"en": "Wine & spirits", "zh": "酒"}, aliases=("wines",), local=("rackets",)),
    Concept("weather", {"en": "Weather", "zh": "天气"}),
]
IDS = [concept.id for concept in CONCEPTS]


def axis(number: int) -> np.ndarray:
    vector = np.zeros(8, np.float32)
    vector[number] = 1
    return vector


def vector_of(concept_id: str) -> np.ndarray:
    """Each topic has an axis, each interest leans from its topic's towards one of its own."""
    axes = {"sports": 0, "food": 1, "weather": 2, "sports/football": 3, "sports/tennis": 4, "food/recipes": 5}
    axes["food/wine"] = 6
    own = axis(axes[concept_id])
    vector = own if "/" not in concept_id else axis(axes[concept_id.partition("/")[0]]) + own
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def nowhere() -> np.ndarray:
    """A vector at right angles to every concept, once the concepts' mean is taken off."""
    return np.asarray(np.stack([vector_of(i) for i in IDS]).mean(axis=0) + axis(7), np.float32)


@pytest.fixture
def tree() -> ConceptTree:
    return ConceptTree("1", "made-up", CONCEPTS, np.stack([vector_of(i) for i in IDS]))


@pytest.mark.parametrize(
    ("categories", "tags", "path", "unknown"),
    [
        (["Sports", "Football (soccer)"], [], "/sports/football", ()),
        (["体育", "足球"], [], "/sports/football", ()),
        (["體育"], [], "/sports", ()),
        (["Magazine Subscriptions", "Cooking, Food & Wine", "Recipes & Techniques"], [], "/food/recipes", ()),
        (["Everything", "Soccer"], [], "/sports/football", ()),
        (["sports/football"], [], "/sports/football", ()),
        (["Sports > Tennis"], [], "/sports/tennis", ()),
        (["Sports", "rackets"], [], "/sports/tennis", ()),  # a word with a meaning below its topic only
        (["Food & drink", "rackets"], [], "/food/wine", ()),
        (["rackets"], [], None, ("rackets",)),
        (["sports", "sports_tennis"], [], "/sports/tennis", ()),  # the finer step repeats the coarser
        (["Sports", "Wines"], [], "/food/wine", ()),  # a finer step may move to another topic
        (["Sports", "Curling", "Brooms"], [], "/sports", ("Curling", "Brooms")),
        (["Weather & Food"], [], "/weather", ()),
        (["Weather & Food", "Recipes"], [], "/food/recipes", ()),
        (["Sports"], ["clay", "TENNIS"], "/sports/tennis", ()),
        (["Curling"], ["soccer"], "/sports/football", ()),
        ([], ["cooking", "wine", "recipes"], "/food/recipes", ()),
        ([], ["soccer", "wine"], "/food/wine", ()),  # a tie goes to the lowest id
        ([], ["weathers"], "/weather", ()),
        ([], ["nothing", "known"], None, ()),
        ([], [], None, ()),
        (["", " - ", "🙂"], ["", "🙂"], None, ()),
    ],
)
def test_the_table_places_what_it_knows(
    tree: ConceptTree, categories: list[str], tags: list[str], path: str | None, unknown: tuple[str, ...]
) -> None:
    match = tree.path_of(categories, tags)
    assert match.path == path
    assert match.unknown == unknown


def test_items_get_the_nearest_topic_and_interest(tree: ConceptTree) -> None:
    assert tree.assign(np.stack([vector_of(i) for i in IDS if "/" in i])) == [f"/{i}" for i in IDS if "/" in i]
    assert tree.assign(vector_of("weather")[None, :]) == ["/weather"]
    assert tree.assign(np.empty((0, 8), np.float32)) == []


def test_what_is_near_nothing_gets_no_path(tree: ConceptTree) -> None:
    assert tree.assign(nowhere()[None, :]) == [NOWHERE]
    assert tree.place([Match()], nowhere()[None, :]) == [NOWHERE]


def test_an_exact_tie_goes_to_the_lowest_id() -> None:
    pair = [Concept("b", {"en": "B"}), Concept("a", {"en": "A"}), Concept("c", {"en": "C"})]
    tree = ConceptTree("1", "x", pair, np.stack([axis(0), axis(0), axis(1)]))
    assert [concept.id for concept in tree.concepts] == ["a", "b", "c"]
    assert tree.assign(axis(0)[None, :]) == ["/a"]


def test_categories_decide_the_topic_and_the_vector_the_interest(tree: ConceptTree) -> None:
    tennis, wine = vector_of("sports/tennis"), vector_of("food/wine")
    matches = [tree.path_of(["Sports"]), tree.path_of(["Sports"]), tree.path_of([])]
    paths = tree.place(matches, np.stack([tennis, wine, wine]))
    assert paths[0] == "/sports/tennis"
    assert paths[1].startswith("/sports")
    assert paths[2] == "/food/wine"


def test_a_single_tag_gives_way_to_a_vector_that_is_sure(tree: ConceptTree) -> None:
    wine = vector_of("food/wine")[None, :]
    assert tree.path_of([], ["soccer"]).path == "/sports/football"
    assert tree.place([tree.path_of([], ["soccer"])], wine) == ["/food/wine"]
    assert tree.place([tree.path_of([], ["wine"])], wine) == ["/food/wine"]
    leaning = vector_of("food") * 0.51 + vector_of("sports") * 0.49
    assert tree.place([tree.path_of([], ["soccer"])], leaning[None, :].astype(np.float32)) == ["/sports/football"]


def test_unknown_labels_go_by_their_own_vectors(tree: ConceptTree) -> None:
    labels = {"ball games": vector_of("sports"), "goals": vector_of("sports/football")}
    labels |= {"zzz": nowhere(), "Qqq": nowhere()}
    anything = nowhere()[None, :]

    def placed(*categories: str) -> str:
        return tree.place([tree.path_of(categories)], anything, labels)[0]

    assert placed("ball games") == "/sports"
    assert placed("ball games", "goals") == "/sports/football"
    assert placed("zzz", "ball games", "goals") == "/sports/football"
    assert placed("Sports", "goals") == "/sports/football"
    assert placed("Sports", "Qqq") == "/sports/qqq"
    assert placed("zzz", "Qqq") == "/zzz/qqq"
    assert placed("ball games", "Qqq") == "/sports/qqq"


def test_labels_without_vectors_leave_it_to_the_item(tree: ConceptTree) -> None:
    item = vector_of("food/wine")[None, :]
    assert tree.place([tree.path_of(["zzz"])], item) == ["/food/wine"]
    assert tree.place([tree.path_of(["Food", "zzz"])], item) == ["/food/wine"]


def test_nearest_label_is_none_under_its_floor(tree: ConceptTree) -> None:
    rows = np.stack([vector_of("food"), nowhere()])
    assert tree.nearest_label(rows) == ["food", None]
    assert tree.nearest_label(vector_of("food/wine")[None, :], "food") == ["food/wine"]
    assert tree.nearest_label(vector_of("weather")[None, :], "weather") == [None]


@pytest.mark.parametrize(
    ("path", "lang", "name"),
    [
        ("/sports", "en", "Sports"),
        ("/sports", "zh", "体育"),
        ("/sports", "zh-Hans", "体育"),
        ("/sports", "zh-TW", "體育"),
        ("/sports", "zh-Hant", "體育"),
        ("/food/wine", "zh-Hant", "酒"),  # no name in Traditional script: the base language's
        ("/food/wine", "fr", "Wine & spirits"),
        ("/food/slow-cooking", "en", "slow cooking"),
        ("/other", "en", "other"),
        ("/", "en", ""),
    ],
)
def test_names_fall_back_to_what_there_is(tree: ConceptTree, path: str, lang: str, name: str) -> None:
    assert tree.name(path, lang) == name


def test_vectors_of_another_size_are_refused(tree: ConceptTree) -> None:
    with pytest.raises(ConfigurationError, match=r"expected \(n, 8\)"):
        tree.assign(np.zeros((2, 5), np.float32))
    with pytest.raises(ConfigurationError, match="the encoder that is served"):
        tree.nearest_label(np.zeros(8, np.float32))


def test_vectors_cannot_be_changed(tree: ConceptTree) -> None:
    with pytest.raises(ValueError, match="read-only"):
        tree.vectors[0, 0] = 1


@pytest.mark.parametrize(
    "concepts",
    [
        [Concept("a/b", {"en": "B"})],  # its topic is missing
        [Concept("a", {"en": "A"}), Concept("a", {"en": "A"})],
        [Concept("A", {"en": "A"})],
        [Concept("a", {"en": "A"}), Concept("a/b", {"en": "B"}), Concept("a/b/c", {"en": "C"})],
        [],
    ],
)
def test_malformed_trees_are_refused(concepts: list[Concept]) -> None:
    with pytest.raises(ConfigurationError):
        ConceptTree("1", "x", concepts, np.ones((len(concepts), 3), np.float32))


def test_a_vector_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="NaN"):
        ConceptTree("1", "x", [Concept("a", {"en": "A"})], np.full((1, 3), np.nan, np.float32))


def test_a_concept_is_the_mean_of_its_texts() -> None:
    texts = texts_of(CONCEPTS[:2])
    assert texts[0] == ["Sports", "Sports: Games", "体育", "体育: 比赛", "Sports, athletics"]
    assert texts[1] == ["Football (soccer), soccer, world cup"]
    tree = build_tree("1", "x", CONCEPTS[:2], [np.stack([axis(0), axis(1)]), axis(2)[None, :]])
    np.testing.assert_allclose(tree.vectors[0], (axis(0) + axis(1)) / np.sqrt(2), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Home & Garden", "home-garden"),
        ("Women's  Fashion", "womens-fashion"),
        ("football_nfl", "football-nfl"),
        ("ＦＩＦＡ 世界杯", "fifa-世界杯"),
        ("家居·园艺", "家居-园艺"),
        ("Ćafé/Bar", "ćafé-bar"),
        ("हिन्दी समाचार", "हिन्दी-समाचार"),
        ("a\u200bb", "ab"),
        ("--", ""),
        ("x" * 300, "x" * 48),
    ],
)
def test_slugs(text: str, expected: str) -> None:
    assert slug(text) == expected
