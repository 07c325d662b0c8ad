"""How far changed texts move, worked out with an encoder that counts pairs of characters."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console
from typer.testing import CliRunner

from encoders.perturbations import PERTURBATIONS, read_lexicon
from streams.commands.cli import app
from streams.commands.robustness import table
from streams.concepts.tree import Concept, build_tree
from streams.evaluation.robustness import RobustnessPlan, Texts, half_of, robustness

COMMENTS = [f"the {noun} was {how} and I would {do}" for noun in ("food", "film", "room", "trip")
            for how in ("good", "awful", "slow") for do in ("go again", "tell you", "wait")]  # fmt: skip


def pairs(texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors of pairs of characters, hashed; the sign is whether `good` stands in a text."""
    block = np.zeros((len(texts), 64), np.float32)
    for row, text in enumerate(texts):
        for one, two in itertools.pairwise(text):
            block[row, zlib.crc32(f"{one}{two}".encode()) % 64] += 1
    signs = np.array([0.5 if "good" in text else -0.5 for text in texts], np.float32)
    return block / np.linalg.norm(block, axis=1, keepdims=True), signs


def measured(**plan: Any) -> dict[str, Any]:
    concepts = [Concept(name, {"en": name}) for name in ("food", "film", "travel")]
    tree = build_tree("t", "pairs", concepts, [pairs([one.id])[0] for one in concepts])
    sets = [
        Texts("items", "topic", COMMENTS),
        Texts("comments", "sign", COMMENTS, [int("good" in text) for text in COMMENTS]),
    ]
    meter = nullcontext(SimpleNamespace(add=lambda _: None))
    lexicon = read_lexicon()
    return robustness(sets, pairs, tree, lexicon, RobustnessPlan(**plan), lambda *_: meter)


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return measured(most=12, among=30)


def test_every_perturbation_of_a_kind_is_measured(figures: dict[str, Any]) -> None:
    for name, kind in (("items", "topic"), ("comments", "sign")):
        assert list(figures[name]["perturbations"]) == [
            one.name for one in PERTURBATIONS if kind in one.kinds and "en" in one.languages
        ]
    assert figures["comments"]["right"] == 1
    assert measured(most=12, among=30) == figures


def test_what_is_read_as_it_was_does_not_move(figures: dict[str, Any]) -> None:
    found = figures["items"]["perturbations"]["zero-width characters, 30 %"]
    assert found["written"]["cosine"] < 0.95
    assert found["read"] == {
        "cosine": 1,
        "neighbours_kept": 1,
        "topic_changed": 0,
        "interest_changed": 0,
        "aimed_at": 0,
    }
    assert figures["comments"]["perturbations"]["zero-width characters, 30 %"]["read"]["flipped"] == 0
    assert "read" not in figures["items"]["perturbations"]["padding, 200 words"]


def test_halves_and_families_are_kept_apart() -> None:
    assert {half_of(text) for text in COMMENTS} == {"a", "b"}
    few = measured(most=2, among=5, half="a", families=frozenset({"stuffing"}))
    assert {found["family"] for found in few["items"]["perturbations"].values()} == {"stuffing"}


def test_a_table_shows_both_sides(figures: dict[str, Any]) -> None:
    console = Console(width=160, record=True, file=None, quiet=True)
    console.quiet = False
    with console.capture() as shown:
        console.print(table("items", figures["items"]))
    text = shown.get()
    assert "items: 12 texts" in text
    assert "→ 1.000" in text
    assert "aim reached" in text


def test_a_folder_without_the_sets_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "--robustness", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "topics/agnews.jsonl.gz" in result.output
