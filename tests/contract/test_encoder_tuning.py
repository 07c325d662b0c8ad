"""A small model of random weights, tuned for seconds on a planted relation; merged, resumed and exported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders.checkpoints import CHECKPOINT_FILE
from encoders.encoder import load_encoder
from encoders.errors import ModelError
from encoders.export import export
from encoders.layout import read_layout
from encoders.lora import LoraModel
from encoders.projection import write_dense
from encoders.sentiment import Head, load_head, write_head
from encoders.tuned_model import ModelPlan, tune_model
from encoders.tuning import TuningPlan, tune
from encoders.tuning_pairs import NOBODY, Pairs, TuningSet, batch_of, batches_of, split, steps_of
from tests.contract.test_encoder_decoder_only import write_model
from tests.fixtures.model_folders import written_once

ITEMS, CIRCLES = 24, 3
PLAN = TuningPlan(batch=16, epochs=5, patience=5, rate=1e-2, keep=0.1, temperature=0.1, minutes=5)


def planted(people: int = 75) -> TuningSet:
    """People who read items of one circle; which words make a circle is drawn, so that no text tells it."""
    draw = np.random.default_rng(8)
    circle = draw.permutation(ITEMS) % CIRCLES
    texts = [f"w{at} w{50 + at % 7}" for at in range(ITEMS)]
    anchors, positives, owners, met = [], [], [], []
    for person in range(people):
        read = draw.permutation(np.flatnonzero(circle == person % CIRCLES))[:5]
        for at in range(1, len(read)):
            latest = read[max(0, at - 3) : at].tolist()
            anchors.append([*latest, *[-1] * (3 - len(latest))])
            positives.append(read[at])
            owners.append(person)
        met.append(np.sort(read).astype(np.int32))
    order = draw.permutation(len(positives))
    history = Pairs(
        np.array(anchors, np.int32)[order], np.array(positives, np.int32)[order], np.array(owners, np.int32)[order],
        np.arange(len(order), dtype=np.int64),
    )  # fmt: skip
    labels = [f"w{55 + c}" for c in range(CIRCLES)]
    of_labels = Pairs(
        np.arange(ITEMS, dtype=np.int32)[:, None], (ITEMS + circle).astype(np.int32),
        np.full(ITEMS, NOBODY, np.int32), np.zeros(ITEMS, np.int64),
    )  # fmt: skip
    return TuningSet([*texts, *labels], ITEMS, history, of_labels, met)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory.mktemp("models"), write_model)


def lora(folder: Path, data: TuningSet, blocks: int = 2) -> LoraModel:
    return LoraModel(read_layout(folder), data.texts, blocks=blocks, rank=4, seed=1, device="cpu")


@pytest.mark.parametrize(("kind", "family"), [("lora", "bert"), ("lora", "qwen3"), ("linear", "bert")])
def test_a_planted_relation_is_found_and_exported(
    kind: str, family: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    data, out = planted(), tmp_path / "tuned"
    came = tune_model(
        str(folders(family)), data, PLAN, ModelPlan(kind=kind, rank=8 if kind == "lora" else 24), out,
        cache=tmp_path, device="cpu", backend="torch", about={"events": 300},
    )  # fmt: skip
    assert came.after > came.before + (0.2 if kind == "lora" else 0.03), came
    assert came.figures[-1]["loss"] < came.figures[0]["loss"]
    card = json.loads((out / "card.json").read_text())
    assert card["held_out_mrr"] == [came.before, came.after]
    assert "| epoch | loss |" in (out / "card.md").read_text()
    assert list((out / "runs").glob("events.out.tfevents.*"))
    exported = export(str(out), tmp_path / "repo", backend="torch", cache=tmp_path)
    before = load_encoder(str(folders(family)), backend="torch", cache=tmp_path)
    assert exported.encoder_id.startswith("tuned-")
    assert exported.dim == before.dim
    after = load_encoder(str(out), backend="torch", cache=tmp_path)
    circle = data.labels.positives
    alike = [(v := one.encode(data.texts[:ITEMS])[0]) @ v.T for one in (before, after)]
    same = (circle[:, None] == circle[None, :]) & ~np.eye(ITEMS, dtype=bool)
    gap = [one[same].mean() - one[circle[:, None] != circle[None, :]].mean() for one in alike]
    assert gap[1] > gap[0] + (0.05 if kind == "lora" else 0.0)


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_merged_weights_are_the_adapters(family: str, folders: Callable[[str], Path], tmp_path: Path) -> None:
    data = planted(20)
    model = lora(folders(family), data)
    rows = np.arange(len(data.texts))
    frozen = load_encoder(str(folders(family)), backend="torch", cache=tmp_path, device="cpu", head=Head())
    np.testing.assert_allclose(model.all_pooled(rows), frozen.pooled(data.texts), atol=1e-5)  # blocks left out below
    with torch.no_grad():
        for name, parameter in model.parameters.items():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.2)
    applied = model.all_pooled(rows)
    with model.frozen():
        np.testing.assert_allclose(model.all_pooled(rows), frozen.pooled(data.texts), atol=1e-5)
    model.write(tmp_path / "merged")
    merged = load_encoder(str(tmp_path / "merged"), backend="torch", cache=tmp_path, device="cpu", head=Head())
    np.testing.assert_allclose(merged.pooled(data.texts), applied, atol=1e-5)
    assert np.abs(applied - frozen.pooled(data.texts)).max() > 0.1
    assert merged.encoder_id != frozen.encoder_id
    kept, written = ({p.name for p in folder.iterdir()} for folder in (folders(family), tmp_path / "merged"))
    assert kept <= written
    assert (folders(family) / "config.json").read_text().split() == (
        tmp_path / "merged/config.json"
    ).read_text().split()


def test_a_training_that_was_killed_goes_on_to_the_same_end(folders: Callable[[str], Path], tmp_path: Path) -> None:
    data = planted()
    plan = dataclasses.replace(PLAN, epochs=2, accumulate=2, checkpoint_every=3)
    whole, parts = lora(folders("bert"), data), lora(folders("bert"), data)
    ended = tune(whole, data, Head(), plan, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(done: int, _: int) -> None:
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        tune(parts, data, Head(), plan, tmp_path / "parts", progress=kill)
    assert (tmp_path / "parts" / CHECKPOINT_FILE).is_file()
    again, seen = lora(folders("bert"), data), []
    went_on = tune(again, data, Head(), plan, tmp_path / "parts", progress=lambda done, _: seen.append(done))
    assert seen[0] == 7
    for one, other in zip(went_on.figures, ended.figures, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    rows = np.arange(len(data.texts))
    np.testing.assert_allclose(again.all_pooled(rows), whole.all_pooled(rows), atol=1e-4)
    with pytest.raises(ModelError, match="another training"):
        tune(lora(folders("bert"), data), data, Head(), dataclasses.replace(plan, seed=9), tmp_path / "parts")


def test_a_model_that_gets_no_better_is_left_as_it_was(folders: Callable[[str], Path], tmp_path: Path) -> None:
    data = planted()
    noise = np.random.default_rng(3).permutation(data.history.positives)
    history = dataclasses.replace(data.history, positives=noise)
    data = dataclasses.replace(data, history=history, labels=data.labels.at(np.arange(0)))
    model = lora(folders("bert"), data)
    rows = np.arange(ITEMS)
    before = model.all_pooled(rows)
    came = tune(model, data, Head(), dataclasses.replace(PLAN, rate=0.0, patience=1), tmp_path)
    assert (came.epoch, came.ended, len(came.figures)) == (0, "no better any more", 1)
    np.testing.assert_allclose(model.all_pooled(rows), before, atol=1e-6)


def test_a_centred_models_head_is_fitted_to_the_new_vectors(folders: Callable[[str], Path], tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "bert")
    dim = 32
    languages = np.linalg.qr(np.random.default_rng(1).normal(size=(dim, 4)))[0].T.astype(np.float32)
    write_head(Head(mean=np.full(dim, 0.01, np.float32), languages=languages), source / "interests_head.npz")
    out = tmp_path / "tuned"
    plan = dataclasses.replace(PLAN, epochs=1)
    tune_model(
        str(source), planted(20), plan, ModelPlan(kind="linear"), out, cache=tmp_path, device="cpu", backend="torch"
    )
    head = load_head("tuned", out)
    assert head.mean is not None
    assert head.languages is not None
    assert np.abs(head.mean).max() > 0.05
    assert load_encoder(str(out), backend="torch", cache=tmp_path).encoder_id.startswith("tuned-centred-")


def test_what_cannot_be_tuned_is_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    data = planted(20)
    with pytest.raises(ModelError, match="lora, linear"):
        tune_model(str(folders("bert")), data, PLAN, ModelPlan(kind="full"), tmp_path)
    dense = write_model(tmp_path / "dense", "bert", dense=1)
    write_dense(np.eye(32, dtype=np.float32), dense / "2_Dense")
    with pytest.raises(ModelError, match="--kind linear"):
        tune_model(str(dense), data, PLAN, ModelPlan(), tmp_path / "out", cache=tmp_path)
    few = dataclasses.replace(data, history=data.history.at(np.arange(1)), labels=data.labels.at(np.arange(0)))
    with pytest.raises(ModelError, match="too few"):
        tune(lora(folders("bert"), data), few, Head(), PLAN, tmp_path / "few")


class TestPairs:
    def test_no_pair_is_its_own_foe(self) -> None:
        """The same positive twice, an item the person took at another time: neither counts against a pair."""
        pairs = Pairs(
            np.array([[0, -1], [1, 2], [3, -1]], np.int32), np.array([4, 4, 5], np.int32),
            np.array([0, 1, NOBODY], np.int32), np.zeros(3, np.int64),
        )  # fmt: skip
        batch = batch_of(pairs, [np.array([0, 4, 5], np.int32), np.array([1, 2, 4], np.int32)])
        assert batch.rows.tolist() == [0, 1, 2, 3, 4, 5]
        np.testing.assert_allclose(batch.anchors[1], [0, 0.5, 0.5, 0, 0, 0])
        assert batch.rows[batch.positives].tolist() == [4, 4, 5]
        assert batch.excluded.tolist() == [[False, True, True], [True, False, False], [False, False, False]]

    def test_an_epoch_has_every_pair_once_and_its_order_follows_from_the_seed(self) -> None:
        data = planted(20)
        once = list(batches_of(data, 16, 3, 0, 1))
        assert len(once) == steps_of(data, 16)
        taken = sorted(row for batch in once for row in batch.rows[batch.positives].tolist())
        left = len(data.history) % 16 == 1
        assert len(taken) == len(data.history) - left + len(data.labels)
        again = list(batches_of(data, 16, 3, 0, 1))
        assert all(np.array_equal(a.rows, b.rows) for a, b in zip(once, again, strict=True))
        other = list(batches_of(data, 16, 3, 1, 1))
        assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(once, other, strict=False))

    def test_what_is_held_out_is_later_and_nothing_of_it_is_known(self) -> None:
        data = planted(20)
        early, late = split(data, 0.2)
        assert early.history.times_ms.max() < late.times_ms.min()
        for person, rows in enumerate(early.met):
            mine = early.history.people == person
            known = {*early.history.anchors[mine].reshape(-1).tolist(), *early.history.positives[mine].tolist()} - {-1}
            assert set(rows.tolist()) == known
