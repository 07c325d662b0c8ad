"""Names of nodes come from the tree's file, and from it anew once it has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.api.node_names import LOOK_EVERY_S, NodeNames
from streams.concepts.tree import Concept, ConceptTree
from streams.concepts.tree_file import save_tree


def save(name: str, file: Path) -> None:
    save_tree(ConceptTree("v", "e5", [Concept("sports", {"en": name})], np.ones((1, 4), np.float32)), file)


def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file, now = tmp_path / "concepts.npz", [0.0]
    save("Sports", file)
    names = NodeNames(file, lambda: now[0])
    save("Sport", file)
    assert names("topic", "/sports") == "Sports"
    now[0] += LOOK_EVERY_S
    assert names("topic", "/sports") == "Sport"
    file.write_bytes(b"half a file")
    now[0] += LOOK_EVERY_S
    assert names("topic", "/sports") == "Sport"
    assert names("profile", "/") == "All interests"
