"""Trees and taxonomies on disk: what is read back answers as what was written, and other files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.concepts.topic_head import TopicHead
from streams.concepts.tree import Concept, ConceptTree, Floors, Match
from streams.concepts.tree_file import load_taxonomy, load_tree, save_tree


def tree_of(dim: int = 16) -> ConceptTree:
    taxonomy = load_taxonomy()
    rows = np.random.default_rng(5).normal(size=(len(taxonomy.concepts), dim)).astype(np.float32)
    return ConceptTree(taxonomy.version, "made-up", taxonomy.concepts, rows, Floors(topic=0.2, interest=0.1, label=0.3))


def test_a_tree_comes_back_as_it_was_written(tmp_path: Path) -> None:
    tree, path = tree_of(), tmp_path / "tree.npz"
    save_tree(tree, path)
    back = load_tree(path)
    assert (back.version, back.encoder_id, back.floors) == (tree.version, tree.encoder_id, tree.floors)
    assert back.concepts == tree.concepts
    np.testing.assert_array_equal(back.vectors, tree.vectors)
    rows = np.random.default_rng(6).normal(size=(200, 16)).astype(np.float32)
    assert back.assign(rows) == tree.assign(rows)
    assert back.path_of(["體育", "足球"]) == tree.path_of(["體育", "足球"])


def test_a_head_and_what_it_learned_from_come_back_too(tmp_path: Path) -> None:
    concepts = [Concept("a", {"en": "A"}, examples={"en": ("one", "two")}), Concept("b", {"en": "B"})]
    random = np.random.default_rng(4)
    head = TopicHead(*(random.normal(size=shape).astype(np.float32) for shape in (5, (3, 5), 3)))
    vectors = random.normal(size=(2, 5)).astype(np.float32)
    tree = ConceptTree("1", "x", concepts, vectors, head=head, says_nothing={"en": ("like",)})
    path = tmp_path / "tree.npz"
    save_tree(tree, path)
    back = load_tree(path)
    assert (back.concepts, back.says_nothing, back.floors) == (tree.concepts, {"en": ("like",)}, Floors())
    rows = random.normal(size=(30, 5)).astype(np.float32)
    assert back.placements([Match()] * 30, rows) == tree.placements([Match()] * 30, rows)


def test_a_tree_of_the_first_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    np.savez(path, vectors=np.eye(1, 3, dtype=np.float32), about=np.frombuffer(about(), np.uint8))
    back = load_tree(path)
    assert (back.head, back.says_nothing, back.floors) == (None, {}, Floors())


@pytest.mark.parametrize(
    "parts", [{"head_bias": np.zeros(9)}, {"head_bias": np.array([np.nan, 0])}, {"head_mean": np.zeros(2)}]
)
def test_a_head_that_does_not_fit_is_refused(tmp_path: Path, parts: dict[str, np.ndarray]) -> None:
    fits = {"head_mean": np.zeros(3), "head_weights": np.zeros((2, 3)), "head_bias": np.zeros(2)}
    path = tmp_path / "tree.npz"
    np.savez(path, vectors=np.eye(1, 3), about=np.frombuffer(about(format=2), np.uint8), **(fits | parts))
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)


def test_the_same_tree_gives_the_same_bytes_and_nothing_else_is_left_behind(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        save_tree(tree_of(), tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    save_tree(load_tree(tmp_path / "one.npz"), tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.npz", "two.npz"]


def test_files_that_are_no_trees_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)
    save_tree(tree_of(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)


def about(**fields: object) -> bytes:
    """A file of one concept, with other fields than it should have."""
    given = {"format": 1, "version": "v", "encoder_id": "e", "floors": {}, "concepts": [{"id": "a", "names": {}}]}
    return json.dumps(given | fields).encode()


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b"[1]", about(floors={"topic": "high"}), about(floors={"topic": float("nan")})]
)
def test_fields_that_do_not_fit_are_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "tree.npz"
    np.savez(path, vectors=np.ones((1, 2), np.float32), about=np.frombuffer(text, np.uint8))
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)


def test_a_tree_with_some_bytes_of_another_file_is_refused_or_read(tmp_path: Path) -> None:
    """Nothing else may come of it: a worker reads it while it works."""
    path, random, refused = tmp_path / "tree.npz", np.random.default_rng(7), 0
    save_tree(tree_of(2), path)
    whole = path.read_bytes()
    heads = [at for mark in (b"PK\x01\x02", b"PK\x03\x04") for at in range(len(whole)) if whole.startswith(mark, at)]
    for _ in range(300):
        broken = bytearray(whole)
        broken[random.choice(heads) + random.integers(4, 46)] = random.integers(256)
        path.write_bytes(broken)
        try:
            load_tree(path)
        except ConfigurationError:
            refused += 1
    assert refused > 100


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    np.savez_compressed(path, vectors=np.zeros(257 << 20, np.uint8), about=np.frombuffer(about(), np.uint8))
    with pytest.raises(ConfigurationError, match="unpacks to 257 MiB"):
        load_tree(path)


def test_a_tree_with_pickled_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    np.savez(path, vectors=np.array([{"a": 1}], dtype=object), about=np.frombuffer(b"{}", np.uint8))
    with pytest.raises(ConfigurationError, match="build it again"):
        load_tree(path)


def test_a_tree_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tree.npz"
    about = np.frombuffer(json.dumps({"format": 99}).encode(), np.uint8)
    np.savez(path, vectors=np.ones((1, 2), np.float32), about=about)
    with pytest.raises(ConfigurationError, match="got format 99"):
        load_tree(path)


def test_a_written_taxonomy_can_be_anybodys(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(
        json.dumps({"version": 3, "concepts": [{"id": "tea", "names": {"en": "Tea"}, "aliases": ["chai"]}]})
    )
    assert load_taxonomy(path) == ("3", [Concept("tea", {"en": "Tea"}, aliases=("chai",))], {})
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match="version"):
        load_taxonomy(path)
