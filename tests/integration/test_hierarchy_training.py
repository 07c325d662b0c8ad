"""A model of the hierarchy learns what a mean cannot see, is killed and goes on, and says how sure it is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.calibration import calibration_error, fit, measured, probabilities
from encoders.checkpoints import CHECKPOINT_FILE
from encoders.errors import ModelError
from encoders.hierarchy_examples import candidates, not_met, read_log
from encoders.hierarchy_files import load_learned
from encoders.hierarchy_losses import beta_binomial, contrast, divergence
from encoders.hierarchy_model import HierarchyConfig
from encoders.hierarchy_settings import Progress, TrainingConfig
from encoders.hierarchy_training import split_in_time, train
from encoders.histories import PersonLog, TrainingSet, histories_at
from tests.integration.planted_log import DIM, STEPS, planted_log, shortly_trained, trained

FOUND = 0.6
"""recall@10 of the next item among 50, which only the order of the last two topics tells. By chance it is .2."""


@pytest.mark.timeout(300)  # ten seconds of computing, which a busy machine stretches
def test_the_order_is_found_and_the_folder_gives_it_back(tmp_path: Path) -> None:
    learned, figures = trained(tmp_path)
    assert figures["validation"]["recall_10"] > FOUND
    assert figures["validation"]["mrr"] > 1.5 * max(one["mrr"] for one in figures["baselines"].values())
    histories = histories_at(planted_log(), np.inf, 8)
    again = load_learned(tmp_path)
    assert again.model_id == learned.model_id
    np.testing.assert_array_equal(again.answers(histories).interests, learned.answers(histories).interests)
    assert json.loads((tmp_path / "figures.json").read_text())["validation"] == figures["validation"]
    assert any((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(("kind", "levels"), [("hierarchy", ("language",)), ("mean", ("language",))])
def test_without_the_levels_that_read_the_order_it_is_not_found(
    tmp_path: Path, kind: str, levels: tuple[str, ...]
) -> None:
    _, figures = trained(tmp_path, kind, levels)
    assert figures["validation"]["recall_10"] < FOUND - 0.1
    assert max(one["recall_10"] for one in figures["baselines"].values()) < FOUND - 0.1


def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    program = [sys.executable, "-m", "tests.integration.planted_log", str(cut)]
    running = subprocess.Popen(program, env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 80
    while not (cut / CHECKPOINT_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (cut / "figures.json").exists()
    assert 0 < torch.load(cut / CHECKPOINT_FILE, weights_only=True)["steps_done"] < 3 * STEPS
    resumed, expected = shortly_trained(cut), shortly_trained(whole)
    assert resumed.figures == expected.figures
    assert len(resumed.figures["rounds"]) == 1 + 3
    assert resumed.learned.model_id == expected.learned.model_id


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    trained(tmp_path, "mean", rounds=1)
    with pytest.raises(ModelError, match="of another training"):
        trained(tmp_path, "mean", rounds=2)
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="is no checkpoint, or damaged"):
        trained(tmp_path, "mean", rounds=2)


def test_lists_teach_clicks(tmp_path: Path) -> None:
    _, figures = trained(tmp_path, "hierarchy", ("convolutional",), lists=True)
    assert figures["data"]["click"] == "what was clicked of shown lists"
    assert figures["validation"]["click_auc"] > 0.62
    assert figures["baselines"]["mean"]["interest_auc"] < 0.58
    assert figures["tasks"]["click"]["examples"] == 6 * figures["data"]["validated_lists"]


def test_progress_is_told_and_wrong_data_refused(tmp_path: Path) -> None:
    told: list[Progress] = []
    model = HierarchyConfig(dim=DIM, history=4, hidden=8, bottleneck=2, rank=2, kind="mean")
    short = TrainingConfig(rounds=2, people_held_out=0.3)
    train(planted_log(20), tmp_path, encoder_id="x", model=model, training=short, progress=told.append)
    assert [one.round for one in told if one.step == 0] == [1, 2]
    assert all(one.best <= one.score for one in told)
    with pytest.raises(ModelError, match="values"):
        train(planted_log(2), tmp_path, encoder_id="x", model=HierarchyConfig(dim=DIM + 1))
    with pytest.raises(ModelError, match="no events before"):
        train(planted_log(2), tmp_path, encoder_id="x", model=model, training=TrainingConfig(until_ms=0))
    with pytest.raises(ModelError, match="validation_share"):
        TrainingConfig(validation_share=1)


def test_nothing_after_the_cut_is_looked_at_and_people_held_out_teach_nothing() -> None:
    data = planted_log(40)
    log = read_log(data, 4)
    times = log.events.times_ms
    cut = float(np.quantile(times, 0.8))
    split = split_in_time(data, log, TrainingConfig(until_ms=cut, people_held_out=0.4))
    assert times[split.teaching.places].max() < split.validation_ms <= times[split.validating.places].min()
    assert times[split.validating.places].max() < cut
    assert not set(split.teaching.people) & set(split.validating.people)


def test_what_was_not_known_or_was_met_is_no_negative() -> None:
    person = PersonLog(
        "u", np.array([10, 20, 30]), np.array([0, 1, 2], np.int32), np.ones(3, np.int8), np.ones(3, np.float32)
    )
    dated = np.array([np.nan, 15, 25, np.nan, 25, 100])
    data = TrainingSet(np.eye(6, dtype=np.float32), [f"i{n}" for n in range(6)], [person], dated)
    log = read_log(data, 2)
    rng = np.random.default_rng(1)
    of = candidates(log, log.anchors, np.full(6, 1 / 6, np.float32), 10, rng)
    assert of.allowed.tolist() == [
        [True, False, False, True, False, False],
        [False, True, False, True, False, False],
        [False, False, True, True, True, False],
    ]
    assert of.rows[of.targets].tolist() == [0, 1, 2]
    rows, there = not_met(log, log.anchors.people, log.anchors.places, log.events.times_ms, 2, rng)
    for at, allowed in enumerate(({3}, {3}, {3, 4})):
        assert set(rows[at][there[at]]) == allowed


def test_popular_items_are_not_pushed_down_by_being_drawn_often() -> None:
    """With the correction the loss over drawn candidates is least where the loss over all items is."""
    rng = np.random.default_rng(3)
    wanted = np.array([0.6, 0.3, 0.1])
    drawn = np.array([0.9, 0.5, 0.1])  # how often each is among the candidates
    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.02)
    for _ in range(600):
        target = rng.choice(3, size=32, p=wanted)
        allowed = rng.random((32, 3)) < drawn
        allowed[np.arange(32), target] = True
        # A direction that holds the logits, items that are unit vectors: cosines are the logits.
        loss = contrast(
            logits.expand(32, 3), torch.eye(3), torch.log(torch.tensor(drawn, dtype=torch.float32)),
            torch.from_numpy(allowed), torch.from_numpy(target), torch.zeros(()),
        )  # fmt: skip
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert logits.softmax(0).argsort(descending=True).tolist() == [0, 1, 2]


def test_rates_are_likeliest_at_the_share_that_was_clicked() -> None:
    counts = torch.tensor([[2.0, 10.0], [3.0, 10.0], [1.0, 10.0]])
    losses = [float(beta_binomial(torch.tensor([[mean, 50.0]] * 3), counts)) for mean in (0.05, 0.2, 0.5)]
    assert losses[1] == min(losses)
    assert float(divergence(torch.zeros(4, 2), torch.zeros(4, 2), 0.05)) == pytest.approx(0.1)  # the free bits


def test_calibration_lowers_the_error_of_people_it_was_not_fitted_on() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=4000)
    labels = rng.random(4000) < probabilities(truth)
    said = (3.0 * truth + 2.0).astype(np.float32)  # too sure, and too high
    factor, offset = fit(said, labels)
    assert factor == pytest.approx(1 / 3, abs=0.05)
    assert offset == pytest.approx(-2 / 3, abs=0.1)
    found = measured(said, labels, np.arange(4000) % 2 == 0)
    assert found["ece_after"] < 0.03
    assert found["ece_before"] > 0.15
    assert sum(one["count"] for one in found["reliability_after"]) == 4000
    assert calibration_error(probabilities(said), labels) == pytest.approx(found["ece_before"], abs=1e-4)
    assert fit(said[:20], labels[:20]) == (1.0, 0.0)  # too few
    assert fit(-said, labels)[0] == pytest.approx(0.01)  # the wrong way round
