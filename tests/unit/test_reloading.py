"""Files that are read again: once they hold still, never where they are broken, and each change under a version."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streams.base.errors import ConfigurationError
from streams.concepts.tree import Concept, ConceptTree
from streams.concepts.tree_file import save_tree
from streams.encoder.concept_tree import read_tree
from streams.interests.signed_weight import WeightTable
from streams.worker.reloading import Reloading, Tables, tables_of


def tree_of(*ids: str, encoder: str = "e5") -> ConceptTree:
    vectors = np.eye(len(ids), 4, dtype=np.float32)
    return ConceptTree(f"v{len(ids)}", encoder, [Concept(one, {"en": one}) for one in ids], vectors)


class Files:
    """A tree's file, a table, and what was taken up of them."""

    def __init__(self, folder: Path) -> None:
        self.tree, self.settings = folder / "concepts.npz", folder / "interests.toml"
        save_tree(tree_of("sports"), self.tree)
        self.settings.write_text("click 1")
        self.weights = WeightTable()
        self.taken: list[Tables] = []
        self.counted: list[tuple[str, str]] = []
        self.reloading = Reloading(
            tables_of(tree_of("sports"), self.weights, self.tree), tree_file=self.tree,
            read_tree=lambda path: read_tree(path, "e5", 4), weights_file=self.settings,
            read_weights=lambda: self.weights, most=100.0, taken_up=self._keep(),
            count=lambda what, outcome: self.counted.append((what, outcome)),
        )  # fmt: skip

    def _keep(self) -> Callable[[Tables], Awaitable[None]]:
        async def keep(tables: Tables) -> None:
            self.taken.append(tables)

        return keep

    def weigh(self, text: str, **base: float) -> None:
        self.weights = WeightTable(base={**WeightTable().base, **base})
        self.settings.write_text(text)

    async def look_twice(self) -> None:
        await self.reloading.look()
        await self.reloading.look()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def test_nothing_changed_is_nothing_read(files: Files) -> None:
    await files.look_twice()
    os.utime(files.tree)  # touched, not changed
    await files.look_twice()
    assert (files.taken, files.counted) == ([], [])


async def test_a_changed_tree_counts_once_it_holds_still(files: Files) -> None:
    save_tree(tree_of("sports", "food"), files.tree)
    await files.reloading.look()
    assert files.taken == []
    await files.reloading.look()
    await files.look_twice()
    [taken] = files.taken
    assert taken.tree.version == "v2"
    assert taken.concepts_digest == hashlib.sha256(files.tree.read_bytes()).hexdigest()[:8]
    assert files.counted == [("concepts", "taken_up")]


async def test_a_file_that_is_still_written_is_not_read(files: Files) -> None:
    whole = files.tree.read_bytes()
    for size in (10, 200, 900):
        files.tree.write_bytes(whole[:size])
        await files.reloading.look()
    files.tree.write_bytes(whole)
    await files.look_twice()
    assert ("concepts", "refused") not in files.counted


@pytest.mark.parametrize("broken", [b"no archive", b""])
async def test_a_broken_tree_changes_nothing_until_it_is_whole(files: Files, broken: bytes) -> None:
    files.tree.write_bytes(broken)
    await files.look_twice()
    await files.look_twice()
    assert (files.taken, files.counted) == ([], [("concepts", "refused")])
    save_tree(tree_of("sports", "food"), files.tree)
    await files.look_twice()
    assert [one.tree.version for one in files.taken] == ["v2"]


async def test_a_tree_of_another_encoder_and_a_file_that_is_gone_are_refused(files: Files) -> None:
    save_tree(tree_of("sports", "food", encoder="minilm"), files.tree)
    files.settings.unlink()
    await files.look_twice()
    assert files.taken == []
    assert sorted(files.counted) == [("concepts", "refused"), ("weights", "refused")]


async def test_a_tree_of_other_dimensions_is_refused(files: Files) -> None:
    vectors = np.eye(2, 8, dtype=np.float32)
    save_tree(ConceptTree("v2", "e5", [Concept(one, {"en": one}) for one in ("sports", "food")], vectors), files.tree)
    await files.look_twice()
    assert (files.taken, files.counted) == ([], [("concepts", "refused")])


async def test_a_tree_that_is_replaced_while_it_is_read_is_read_again(files: Files) -> None:
    read = files.reloading._read_tree
    save_tree(tree_of("sports", "food"), files.tree)

    def slowly(path: Path) -> ConceptTree:
        tree = read(path)
        if tree.version == "v2":
            save_tree(tree_of("sports", "food", "music"), path)
        return tree

    files.reloading._read_tree = slowly
    await files.look_twice()
    await files.look_twice()
    assert [one.tree.version for one in files.taken] == ["v3"]


async def test_changed_weights_count_and_the_tree_stays(files: Files) -> None:
    before = tables_of(tree_of("sports"), WeightTable(), files.tree)
    files.weigh("click 3", click=3.0)
    await files.look_twice()
    [taken] = files.taken
    assert taken.weights.base["click"] == 3.0
    assert taken.concepts_digest == before.concepts_digest
    assert taken.weights_digest != before.weights_digest
    assert replace(taken, weights=WeightTable()).weights_digest == before.weights_digest


async def test_weights_that_nobody_would_believe_are_refused(files: Files) -> None:
    files.weigh("click 101", click=101.0)
    await files.look_twice()
    assert (files.taken, files.counted) == ([], [("weights", "refused")])


async def test_settings_that_do_not_fit_are_refused(files: Files) -> None:
    def wrong() -> WeightTable:
        raise ConfigurationError("weights.base: expected numbers")

    files.reloading._read_weights = wrong
    files.weigh("click x")
    await files.look_twice()
    assert (files.taken, files.counted) == ([], [("weights", "refused")])
