"""What holds for every tree: answers depend on the vector alone, slugs settle, paths are paths, files are faithful."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.concepts.labels import MAX_SLUG_CHARS, slug
from streams.concepts.tree import NOWHERE, Concept, ConceptTree
from streams.concepts.tree_file import load_taxonomy

DIM = 12
STEPS = st.text("abcdefgh", min_size=1, max_size=3)
WORDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["Sports", "足球", "Food & Drink", "recipes", "Sports > Tennis"])
)
TAXONOMY = load_taxonomy()


def rows_of(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


SHIPPED = ConceptTree(TAXONOMY.version, "made-up", TAXONOMY.concepts, rows_of(len(TAXONOMY.concepts), 3))


@st.composite
def trees(draw: st.DrawFn) -> ConceptTree:
    topics = sorted(draw(st.sets(STEPS, min_size=1, max_size=6)))
    ids = [*topics, *(f"{topic}/{fine}" for topic in topics for fine in draw(st.sets(STEPS, max_size=4)))]
    order = draw(st.permutations(ids))
    seed = draw(st.integers(0, 2**32 - 1))
    vectors = dict(zip(sorted(ids), rows_of(len(ids), seed), strict=True))
    return ConceptTree("1", "x", [Concept(i, {"en": i}) for i in order], np.stack([vectors[i] for i in order]))


def is_path(path: str) -> bool:
    steps = path.split("/")[1:]
    return path.startswith("/") and 1 <= len(steps) <= 2 and all(step and step == slug(step) for step in steps)


@given(trees(), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_a_vector_is_assigned_alike_alone_and_in_any_company(tree: ConceptTree, seed: int, count: int) -> None:
    rows = rows_of(count, seed)
    together = tree.assign(rows)
    assert tree.assign(rows[::-1])[::-1] == together
    assert [path for row in rows for path in tree.assign(row[None, :])] == together


@given(trees(), st.integers(0, 2**32 - 1))
def test_the_order_in_which_concepts_are_given_changes_nothing(tree: ConceptTree, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(tree.concepts))
    again = ConceptTree("1", "x", [tree.concepts[row] for row in order], tree.vectors[order])
    rows = rows_of(20, seed)
    assert again.assign(rows) == tree.assign(rows)


@given(trees(), st.integers(0, 2**32 - 1))
def test_assigned_paths_are_concepts_of_the_tree_or_none(tree: ConceptTree, seed: int) -> None:
    for path in tree.assign(rows_of(20, seed)):
        assert path == NOWHERE or (is_path(path) and tree.get(path) is not None)


@given(st.lists(WORDS, max_size=5), st.lists(WORDS, max_size=5), st.integers(0, 2**32 - 1), st.booleans())
def test_every_item_gets_a_valid_path_or_none(categories: list[str], tags: list[str], seed: int, encoded: bool) -> None:
    match = SHIPPED.path_of(categories, tags)
    labels = {label: rows_of(1, seed + n)[0] for n, label in enumerate(match.unknown)} if encoded else None
    (path,) = SHIPPED.place([match], rows_of(1, seed), labels)
    assert path == NOWHERE or (is_path(path) and SHIPPED.name(path))
    assert match.path is None or is_path(match.path)


@given(st.lists(WORDS, max_size=6), st.randoms())
def test_the_order_of_tags_changes_nothing(tags: list[str], random: st.randoms) -> None:  # type: ignore[valid-type]  # hypothesis gives a Random
    shuffled = list(tags)
    random.shuffle(shuffled)
    assert SHIPPED.path_of((), tags) == SHIPPED.path_of((), shuffled)


@given(st.lists(st.tuples(st.lists(WORDS, max_size=3), st.lists(WORDS, max_size=3)), min_size=1, max_size=8))
def test_items_are_placed_alike_alone_and_in_any_company(items: list[tuple[list[str], list[str]]]) -> None:
    matches = [SHIPPED.path_of(categories, tags) for categories, tags in items]
    rows = rows_of(len(items), 5)
    together = SHIPPED.place(matches, rows)
    assert [SHIPPED.place([m], row[None, :])[0] for m, row in zip(matches, rows, strict=True)] == together


@given(st.text(max_size=80))
def test_a_slug_is_its_own_slug(text: str) -> None:
    once = slug(text)
    assert slug(once) == once
    assert len(once) <= MAX_SLUG_CHARS
    assert "/" not in once
    assert once == once.strip("-")


@pytest.mark.parametrize("text", ["İstanbul", "ﬁne", "ǅ", "ͅa", "가", "ſ", "a\u0301" * 60, "ß" * 60])
def test_slugs_of_letters_that_change_when_normalised(text: str) -> None:
    assert slug(slug(text)) == slug(text) != ""
