"""The learned head: it tells topics, says nothing where a text says nothing, and answers alike in any company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.concepts.topic_head import HeadTexts, TopicHead, train_head
from streams.concepts.tree import CERTAIN, NOWHERE, Concept, ConceptTree, Floors, Match
from streams.concepts.tree_texts import MIN_EXAMPLES, TreeTexts

DIM = 16
SPORTS, FOOD, NOTHING = 1, 0, 2  # topics go by their ids: food, sports


def around(centre: int, count: int, seed: int, spread: float = 0.15) -> np.ndarray:
    """Unit vectors near an axis, all with a common part, as those of the e5 family have."""
    rows = np.random.default_rng(seed).normal(size=(count, DIM)) * spread
    rows[:, centre] += 1
    rows[:, DIM - 1] += 2
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def examples(word: str) -> dict[str, tuple[str, ...]]:
    return {"en": tuple(f"{word} {n}" for n in range(MIN_EXAMPLES))}


CONCEPTS = [
    Concept("sports", {"en": "Sports"}),
    Concept("sports/tennis", {"en": "Tennis"}, examples=examples("tennis")),
    Concept("food", {"en": "Food"}, aliases=("cooking",), examples=examples("food")),
    Concept("food/wine", {"en": "Wine"}),
]
SAYS_NOTHING = {"en": tuple(f"like {n}" for n in range(6))}


def vector_of(text: str) -> np.ndarray:
    word = text.split(maxsplit=1)[0].rstrip(",").lower()
    centre = {"sports": 0, "tennis": 0, "food": 1, "wine": 1, "like": 2}[word]
    return around(centre, 1, sum(map(ord, text)))[0]


@pytest.fixture(scope="module")
def tree() -> ConceptTree:
    texts = TreeTexts(CONCEPTS, SAYS_NOTHING)
    return texts.tree("1", "made-up", np.stack([vector_of(text) for text in texts.texts]))


def topics(tree: ConceptTree, rows: np.ndarray) -> list[str]:
    return ["/".join(path.split("/")[:2]) for path in tree.assign(rows)]


def test_it_tells_topics_and_says_nothing_of_what_says_nothing(tree: ConceptTree) -> None:
    assert topics(tree, around(0, 40, 1)) == ["/sports"] * 40
    assert topics(tree, around(1, 40, 2)) == ["/food"] * 40
    assert tree.assign(around(2, 40, 3)) == [NOWHERE] * 40


def test_a_text_between_two_topics_is_less_sure(tree: ConceptTree) -> None:
    clear, between = around(0, 1, 4)[0], around(0, 1, 4, 0.0)[0] + around(1, 1, 5, 0.0)[0]
    sure, unsure = tree.placements([Match()] * 2, np.stack([clear, between]))
    assert sure.confidence is not None
    assert unsure.confidence is not None
    assert sure.confidence > 0.9
    assert unsure.confidence < 0.7
    (first, most), (_, least) = tree.likely(clear, 2)
    assert (first, most) == ("/sports", sure.confidence)
    assert least < 0.1


def test_under_the_floors_the_interest_goes_first_and_then_the_topic(tree: ConceptTree) -> None:
    row = around(0, 1, 4)
    confidence = tree.placements([Match()], row)[0].confidence
    assert confidence is not None
    assert tree.assign(row) == ["/sports/tennis"]
    only_topic = tree.with_floors(Floors(interest=-1, interest_confidence=confidence + 0.0001))
    assert only_topic.assign(row) == ["/sports"]
    nothing = tree.with_floors(replace(only_topic.floors, confidence=confidence + 0.0001))
    assert nothing.placements([Match()], row) == [(NOWHERE, confidence)]


def test_what_the_categories_name_is_certain(tree: ConceptTree) -> None:
    row = around(2, 1, 6)
    for categories, path in ((["Food", "Wine"], "/food/wine"), (["Sports"], "/sports")):
        (placed,) = tree.placements([tree.path_of(categories)], row)
        assert placed.confidence == CERTAIN
        assert placed.path.startswith(path)
    (own,) = tree.placements([tree.path_of(["zzz"])], row, {"zzz": around(9, 1, 1)[0]})
    assert own == ("/zzz", None)


def test_a_tag_adds_to_its_topic(tree: ConceptTree) -> None:
    row = (around(0, 1, 4) * 0.5 + around(1, 1, 5) * 0.5).astype(np.float32)
    bare, tagged = (tree.placements([tree.path_of([], tags)], row)[0] for tags in ([], ["wine"]))
    assert tagged.path.startswith("/food")
    assert (tagged.confidence or 0) > (bare.confidence or 0)


def test_the_same_texts_give_the_same_head_and_rows_are_judged_alike_in_any_company(tree: ConceptTree) -> None:
    texts = TreeTexts(CONCEPTS, SAYS_NOTHING)
    again = texts.tree("1", "made-up", np.stack([vector_of(text) for text in texts.texts]))
    assert tree.head is not None
    assert again.head is not None
    np.testing.assert_array_equal(again.head.weights, tree.head.weights)
    rows = np.concatenate([around(n, 20, n) for n in range(4)])
    together = tree.head.logits(rows)
    np.testing.assert_array_equal(np.concatenate([tree.head.logits(row[None]) for row in rows]), together)
    assert tree.head.logits(rows[:0]).shape == (0, 3)


def test_a_tie_goes_to_the_lowest_topic() -> None:
    head = TopicHead(np.zeros(2, np.float32), np.zeros((4, 2), np.float32), np.zeros(4, np.float32))
    near, sure = head.topics(head.logits(np.eye(2, dtype=np.float32)))
    assert near.rows.tolist() == [0, 0]
    assert sure[0] == pytest.approx(0.679 / 3, abs=1e-3)


def test_a_taxonomy_with_too_few_examples_goes_by_the_nearest_topic() -> None:
    few = [replace(one, examples={"en": tuple(one.examples.get("en", ())[1:])}) for one in CONCEPTS]
    texts = TreeTexts(few, SAYS_NOTHING)
    tree = texts.tree("1", "made-up", np.stack([vector_of(text) for text in texts.texts]))
    assert tree.head is None
    assert tree.placements([Match()], around(1, 1, 2))[0].confidence is None
    with pytest.raises(ValueError, match="without an example"):
        train_head(HeadTexts(around(0, 3, 1), np.zeros(3, np.int64), np.ones(3, bool)), 2)


def test_examples_in_a_language_that_is_not_read_are_left_out() -> None:
    concepts = [
        Concept("a", {"en": "A", "zh": "啊"}, {"en": "An A", "zh": "一"}, examples={"en": ("x",), "zh": ("一二",)}),
    ]
    nothing = {"en": ("like",), "zh": ("赞",), "zh-Hant": ("讚",), "es": ("gusta",)}
    assert TreeTexts(concepts, nothing, ["en"]).texts == ["A", "A: An A", "x", "like", "gusta"]
    assert TreeTexts(concepts, nothing).texts[4:] == ["x", "一二", "like", "赞", "讚", "gusta"]


def test_a_head_of_another_shape_is_refused(tree: ConceptTree) -> None:
    head = TopicHead(np.zeros(DIM, np.float32), np.zeros((9, DIM), np.float32), np.zeros(9, np.float32))
    with pytest.raises(ConfigurationError, match="head of shape"):
        ConceptTree("1", "x", tree.concepts, tree.vectors, head=head)
    with pytest.raises(ConfigurationError, match="got 1 vectors"):
        TreeTexts(CONCEPTS, {}).tree("1", "x", np.ones((1, DIM), np.float32))
