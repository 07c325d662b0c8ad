"""The model of the hierarchy: padding, causality, what an untrained one answers, and its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.errors import ModelError
from encoders.hierarchy_files import CONFIG_FILE, LearnedHierarchy, load_learned, save_learned
from encoders.hierarchy_levels import CausalTransformer, Convolutional, Recurrent
from encoders.hierarchy_model import KINDS, LEVELS, HierarchyConfig, HierarchyModel
from encoders.histories import Histories

DIM, LENGTH = 24, 12
SIZES = {"dim": DIM, "history": LENGTH, "hidden": 16, "bottleneck": 4, "rank": 4}


def _histories(lengths: list[int], seed: int = 1) -> Histories:
    rng = np.random.default_rng(seed)
    made = Histories.empty(len(lengths), LENGTH, DIM)
    for row, length in enumerate(lengths):
        vectors = rng.normal(size=(length, DIM))
        made.vectors[row, :length] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        made.types[row, :length] = rng.integers(1, 15, length)
        made.weights[row, :length] = rng.choice(np.array([-2.0, 0.5, 1.0, 3.0]), length)
        made.ages_s[row, :length] = np.sort(rng.integers(0, 10**6, length))[::-1]
    return made


def _model(kind: str = "hierarchy", levels: tuple[str, ...] = LEVELS, moved: bool = True) -> LearnedHierarchy:
    torch.manual_seed(3)
    model = HierarchyModel(HierarchyConfig(kind=kind, levels=levels, **SIZES))
    if moved:  # away from the zeros that training begins with
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return LearnedHierarchy(model, "text-encoder")


def _all_kinds() -> list[tuple[str, tuple[str, ...]]]:
    return [
        *((kind, LEVELS) for kind in KINDS),
        *(("hierarchy", (level,)) for level in LEVELS),
        ("hierarchy", LEVELS[:2]),
    ]


@pytest.mark.parametrize(("kind", "levels"), _all_kinds())
def test_padding_changes_nothing(kind: str, levels: tuple[str, ...]) -> None:
    learned, made = _model(kind, levels), _histories([0, 1, 5, 11, 12])
    before = learned.answers(made)
    padding = made.types == 0
    made.vectors[padding], made.weights[padding], made.ages_s[padding] = 7.0, -5.0, 1e6
    after = learned.answers(made)
    for name in ("interests", "scales", "biases", "click_through", "attention"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_allclose(before.attention.sum(1), [0, 1, 1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(before.interests, axis=2), 1, atol=1e-5)
    assert (before.scales > 0).all()
    assert (before.click_through > 0).all()
    assert (before.attention >= 0).all()
    assert not before.attention[padding].any()


@pytest.mark.parametrize("kind", KINDS)
def test_answers_do_not_depend_on_who_else_is_asked_about(kind: str) -> None:
    learned, made = _model(kind), _histories([4, 12, 0, 7])
    together, apart = learned.answers(made), learned.answers(made, rows=1)
    np.testing.assert_allclose(together.interests, apart.interests, atol=1e-6)
    assert len(learned.answers(made[:0]).interests) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_model_answers_with_the_weighted_mean(kind: str) -> None:
    learned, made = _model(kind, moved=False), _histories([1, 5, 12])
    made.weights[:] = np.abs(made.weights)
    mean = (made.vectors * made.weights[..., None]).sum(1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    found = learned.answers(made).interests
    for row in range(found.shape[1]):
        np.testing.assert_allclose(found[:, row], mean, atol=2e-3)


def test_a_disliked_item_pushes_away() -> None:
    learned, made = _model(moved=False), _histories([2])
    made.weights[:] = [[1.0, -1.0] + [0.0] * (LENGTH - 2)]
    interest = learned.answers(made).interests[0, 0]
    assert interest @ made.vectors[0, 0] > 0 > interest @ (made.vectors[0, 1] - made.vectors[0, 0] * 0.5)


@pytest.mark.parametrize("changed", [0, 3, 7])
def test_what_comes_later_does_not_reach_a_causal_level(changed: int) -> None:
    torch.manual_seed(1)
    states, ages = torch.randn(2, LENGTH, 16), torch.rand(2, LENGTH) * 1e6
    other = states.clone()
    other[:, changed] += 1.0
    convolutional, transformer = Convolutional(16, 0.2).eval(), CausalTransformer(16, LENGTH, 0.2).eval()
    for read in (convolutional, lambda one: transformer(one, ages)):
        moved = (read(states) != read(other)).any(-1).any(0)
        assert not moved[:changed].any()
        assert moved[changed]
        assert moved[changed + 1]


def test_the_recurrent_level_sees_both_ways_within_a_length() -> None:
    torch.manual_seed(1)
    level = Recurrent(16, 0.2).eval()
    states, used = torch.randn(1, LENGTH, 16), torch.zeros(1, LENGTH)
    used[:, :6] = 1
    short = level(states[:, :6], used[:, :6])
    torch.testing.assert_close(level(states, used)[:, :6], short)  # padding is as if it were not there
    for changed in (0, 5):
        other = states.clone()
        other[:, changed] += 1.0
        assert (level(other, used)[:, :6] != level(states, used)[:, :6]).any(-1).all()


def test_a_folder_gives_the_same_answers_and_tells_what_was_changed(tmp_path: Path) -> None:
    learned, made = _model("transformer"), _histories([3, 12])
    save_learned(learned, tmp_path, {"data": "a log"})
    again = load_learned(tmp_path)
    assert again.model_id == learned.model_id
    assert again.model_id.startswith("interest-transformer-")
    assert again.config == learned.config
    np.testing.assert_array_equal(again.answers(made).interests, learned.answers(made).interests)
    assert LearnedHierarchy(learned.model, "another").model_id != learned.model_id
    config = tmp_path / CONFIG_FILE
    config.write_text(config.read_text().replace("text-encoder", "another"))
    with pytest.raises(ModelError, match="the weights make it"):
        load_learned(tmp_path)
    config.write_text("{")
    with pytest.raises(ModelError, match="no trained model"):
        load_learned(tmp_path)
    with pytest.raises(ModelError, match="no trained model"):
        load_learned(tmp_path / "nowhere")


def test_what_a_model_cannot_be_is_refused() -> None:
    for wrong in ({"kind": "tree"}, {"levels": ()}, {"levels": ("sound",)}, {"history": 51}, {"hidden": 18}):
        with pytest.raises(ModelError):
            HierarchyConfig(**{**SIZES, **wrong})
    with pytest.raises(ModelError, match="reads histories of"):
        _model().answers(Histories.empty(1, LENGTH - 1, DIM))
