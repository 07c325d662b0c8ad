"""The changes by which robustness is measured: the same everywhere, and what their names say."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from encoders.augmentation import augmented
from encoders.perturbations import PERTURBATIONS, Aim, Lexicon, Perturbation, language_of, perturbed, read_lexicon
from streams.events.lookalikes import as_read
from streams.events.text import normalise_text

ENGLISH = "The football match was a great success, and the film about chess had a poor start in the museum."
CHINESE = "这场足球比赛非常成功，关于国际象棋的电影在博物馆开场不佳，大人都说很好看。"
AIM = Aim("food", good=False)
BY_NAME = {one.name: one for one in PERTURBATIONS}


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return read_lexicon()


@pytest.mark.parametrize(
    ("one", "text"),
    [(one, text) for text in (ENGLISH, CHINESE) for one in PERTURBATIONS if language_of(text) in one.languages],
    ids=lambda value: value.name if isinstance(value, Perturbation) else language_of(value),
)
def test_it_changes_its_texts_and_does_so_again(one: Perturbation, text: str, lexicon: Lexicon) -> None:
    changed = perturbed(one, text, 7, lexicon, AIM)
    assert changed != text
    assert perturbed(one, text, 7, lexicon, AIM) == changed


def test_names_are_of_one_each() -> None:
    assert len(BY_NAME) == len(PERTURBATIONS)


@pytest.mark.parametrize(
    "name", ["Cyrillic letters, all", "zero-width characters, 30 %", "strokes through letters, 30 %"]
)
def test_what_is_read_is_what_was_there(name: str, lexicon: Lexicon) -> None:
    assert as_read(normalise_text(perturbed(BY_NAME[name], ENGLISH, 7, lexicon, AIM))) == ENGLISH


def test_full_width_is_the_same_to_a_tokeniser(lexicon: Lexicon) -> None:
    wide = perturbed(BY_NAME["full width"], ENGLISH, 7, lexicon, AIM)
    assert unicodedata.normalize("NFKC", wide) == ENGLISH


def test_stuffing_is_of_what_is_aimed_at(lexicon: Lexicon) -> None:
    added = perturbed(BY_NAME["5 words of a topic"], CHINESE, 7, lexicon, AIM).removeprefix(CHINESE).split("，")
    assert len(added) == 6
    assert all(word in lexicon.topics["food"]["zh"] for word in added[1:])
    assert perturbed(BY_NAME["one word of the other sign, 3 times"], ENGLISH, 7, lexicon, AIM).endswith(
        " terrible terrible terrible"
    )


def test_augmented_copies_are_the_same_each_time() -> None:
    texts, good = [ENGLISH, CHINESE] * 20, np.array([1, 0] * 20, np.int64)
    copies = augmented(texts, good, 3)
    assert copies == augmented(texts, good, 3)
    assert sum(copy != text for copy, text in zip(copies, texts, strict=True)) > 30
