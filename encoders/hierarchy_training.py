"""Training a model of the hierarchy on a log: split in time, steps, validation, checkpoints, calibration."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from encoders.checkpoints import read_checkpoint, write_checkpoint
from encoders.errors import ModelError
from encoders.hierarchy_batches import losses_of, make_batch
from encoders.hierarchy_examples import Anchors, Lists, Log, read_log
from encoders.hierarchy_files import LearnedHierarchy, save_learned
from encoders.hierarchy_losses import UncertaintyWeights
from encoders.hierarchy_model import HierarchyConfig, HierarchyModel
from encoders.hierarchy_settings import Progress, TrainingConfig
from encoders.hierarchy_validation import Cases, baselines, calibrate, make_cases, score
from encoders.histories import TYPES, Floats, TrainingSet

LOSSES = ("next", "click", "exposure", "purchase", "click_through", "masked")
"""What is weighed by uncertainty; the divergence is added with a weight of its own."""
FAST = 10.0
"""Single numbers (what age, weight and dislike count, sharpness, gates) learn so much faster than matrices."""
SLOW = 0.1
"""Maps of the tasks learn so much more slowly: a task has fewer examples than the interest it sets out from."""
WARM_UP = 30
RUNS = "runs"


class Trained(NamedTuple):
    """A trained model, and figures for its card: plain values, to be written as JSON."""

    learned: LearnedHierarchy
    figures: dict[str, Any]


class Split(NamedTuple):
    """What teaches, and what validates: the first before `validation_ms`, the second from it on."""

    teaching: Anchors
    teaching_lists: Lists
    validating: Anchors
    validating_lists: Lists
    validation_ms: float


def train(
    data: TrainingSet,
    out: Path,
    *,
    encoder_id: str,
    model: HierarchyConfig,
    training: TrainingConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Trained:
    """Train a model and write it into the folder `out`, with a checkpoint every few steps and the logs of TensorBoard.

    `encoder_id` names the text encoder of the vectors. Where `out` has a checkpoint of the same training, it goes on
    from there and ends with the same weights as if it had not been ended. On a GPU where one is found; on a CPU with
    the threads torch has, and the same numbers for the same number of threads.
    Raises ModelError where the log is too small, or the folder holds another training's checkpoint.
    """
    training = training or TrainingConfig()
    if data.dim != model.dim:
        raise ModelError(f"the log's vectors have {data.dim} values, the model is for {model.dim}")
    log = read_log(data, model.history)
    split = split_in_time(data, log, training)
    if not len(split.teaching.places) or not len(split.validating.places):
        raise ModelError("the log is too small: no events are left to learn from, or to validate with")
    run = _Run(log, split, out, encoder_id, model, training, _fingerprint(data, encoder_id, model, training))
    with torch.random.fork_rng(devices=[run.device] if run.device.type == "cuda" else []):
        run.train(progress)
        return run.finish(data)


def split_in_time(data: TrainingSet, log: Log, config: TrainingConfig) -> Split:
    """Events and lists before the moment of validation, and from it on up to `until_ms`.

    With people held out, theirs alone validate, and theirs teach nothing.
    """
    times, lists = log.events.times_ms[log.anchors.places], log.lists
    cases = lists.times_ms if len(lists.people) else times
    until_ms = math.inf if config.until_ms is None else config.until_ms
    cases = cases[cases < until_ms]
    if not len(cases):
        raise ModelError("the log has no events before the moment up to which it may be looked at")
    moment = float(cases[int(len(cases) * (1 - config.validation_share))])
    out = np.array([zlib.crc32(one.user_id.encode()) % 1000 < 1000 * config.people_held_out for one in data.people])
    of_events, of_lists = out[log.anchors.people], out[lists.people]
    validating = (times >= moment) & (times < until_ms) & (of_events == bool(config.people_held_out))
    lists_validating = (
        (lists.times_ms >= moment) & (lists.times_ms < until_ms) & (of_lists == bool(config.people_held_out))
    )
    return Split(
        log.anchors.some((times < moment) & ~of_events),
        lists.some((lists.times_ms < moment) & ~of_lists),
        log.anchors.some(validating),
        lists.some(lists_validating),
        moment,
    )


class _Run:
    """One training: what it works on, and its state, which `_state` has whole and `_restore` takes back."""

    def __init__(
        self,
        log: Log,
        split: Split,
        out: Path,
        encoder_id: str,
        model: HierarchyConfig,
        config: TrainingConfig,
        fingerprint: str,
    ) -> None:
        self.log, self.split, self.out, self.config, self.fingerprint = log, split, out, config, fingerprint
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(found if config.device == "auto" else config.device)
        self.cases: Cases = make_cases(log, split.validating, split.validating_lists, config)
        self.items = torch.from_numpy(np.ascontiguousarray(log.items)).to(self.device)
        self.shares, prior = self._targets()
        _seed(config.seed, 0)
        self.model = HierarchyModel(model)
        self.model.newcomer.data = torch.from_numpy(prior * np.float32(model.dim**0.5))
        self.model.to(self.device)
        self.average = HierarchyModel(model).to(self.device)
        self.average.load_state_dict(self.model.state_dict())
        self.learned = LearnedHierarchy(self.average, encoder_id)
        self.weights = UncertaintyWeights(LOSSES).to(self.device)
        self.optimiser = torch.optim.AdamW(_groups(self.model, self.weights, config), lr=config.learning_rate)
        self.round, self.step, self.steps_done, self.worse = 0, 0, 0, 0
        self.summed: dict[str, float] = {}
        self.validations: list[dict[str, float]] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_score = math.inf

    @property
    def steps(self) -> int:
        """Steps of a round."""
        return max(1, min(self.config.round_anchors, len(self.split.teaching.places)) // self.config.batch)

    def _targets(self) -> tuple[Floats, Floats]:
        """How often each item is a positive target, as shares (m,), and the mean of the targets' vectors (dim,)."""
        teaching = self.split.teaching
        rows = self.log.events.rows[teaching.places[self.log.positive(teaching)]]
        counts = np.bincount(rows, minlength=len(self.log.items)).astype(np.float32)
        shares = counts / max(1.0, float(counts.sum()))
        return shares, (shares @ self.log.items).astype(np.float32)

    def train(self, progress: Callable[[Progress], None] | None) -> None:
        """Go on from a checkpoint or from the start, up to the last round."""
        state = read_checkpoint(self.out, self.fingerprint, str(self.device))
        if state is None:
            self._validate()
        else:
            self._restore(state)
        board = _board(self.out, self.steps_done)
        order = self._order()
        while self.round < self.config.rounds and self.worse < self.config.patience:
            self._step(order)
            self.step += 1
            self.steps_done += 1
            if self.step == self.steps:
                self._validate()
                for name, value in self._means().items():
                    board.add_scalar(f"loss/{name}", value, self.steps_done)
                for name, value in self.validations[-1].items():
                    board.add_scalar(f"validation/{name}", value, self.steps_done)
                self.validations[-1]["loss"] = self._means().get("all", math.nan)
                self.round, self.step, self.summed = self.round + 1, 0, {}
                order = self._order()
            if self.step == 0 or self.steps_done % self.config.checkpoint_steps == 0:
                write_checkpoint(self.out, self._state())
            if progress is not None:
                progress(self._progress())
        board.close()

    def _order(self) -> Any:
        """The order of the anchors in this round, shape (a,): of its seed and number alone."""
        rng = np.random.default_rng([self.config.seed, 2, self.round])
        return rng.permutation(len(self.split.teaching.places))

    def _step(self, order: Any) -> None:
        config, split = self.config, self.split
        anchors = split.teaching.some(order[self.step * config.batch : (self.step + 1) * config.batch])
        lists = split.teaching_lists
        if len(lists.people):
            at = (self.steps_done * config.lists + np.arange(config.lists)) % len(lists.people)
            lists = lists.some(np.random.default_rng([config.seed, 3]).permutation(len(lists.people))[at])
        batch = make_batch(
            self.log, anchors, lists, self.shares, config, self.model.config.bottleneck, [4, self.round, self.step]
        )
        _seed(config.seed, 1 + self.steps_done)  # dropout: a resumed training draws what this one would have
        self.model.train()
        losses = losses_of(self.model, self.log, self.items, batch, config)
        divergence = losses.pop("divergence")
        total = self.weights(losses) + divergence
        warm = min(1.0, (self.steps_done + 1) / WARM_UP)
        for group in self.optimiser.param_groups:
            group["lr"] = group["full_lr"] * warm
        self.optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        keep = min(config.average, (1 + self.steps_done) / (10 + self.steps_done))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        for name, loss in {**losses, "divergence": divergence, "all": total}.items():
            self.summed[name] = self.summed.get(name, 0.0) + float(loss.detach())

    def _means(self) -> dict[str, float]:
        return {name: value / max(1, self.step) for name, value in self.summed.items()}

    def _validate(self) -> None:
        figures = score(self.learned, self.log, self.cases)
        self.validations.append(figures)
        if figures["score"] < self.best_score:
            self.best_score, self.worse = figures["score"], 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.average.state_dict().items()}
        else:
            self.worse += 1

    def _progress(self) -> Progress:
        loss = self._means().get("all", self.validations[-1].get("loss", math.nan))
        score_now = self.validations[-1]["score"]
        return Progress(self.round, self.config.rounds, self.step, self.steps, loss, score_now, self.best_score)

    def _state(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint, "model": self.model.state_dict(), "average": self.average.state_dict(),
            "weights": self.weights.state_dict(), "optimiser": self.optimiser.state_dict(), "best": self.best,
            "best_score": self.best_score, "round": self.round, "step": self.step, "steps_done": self.steps_done,
            "worse": self.worse, "summed": self.summed, "validations": self.validations,
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.weights.load_state_dict(state["weights"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.best_score = state["best"], state["best_score"]
        self.round, self.step, self.steps_done = state["round"], state["step"], state["steps_done"]
        self.worse, self.summed, self.validations = state["worse"], state["summed"], state["validations"]

    def finish(self, data: TrainingSet) -> Trained:
        """The best weights, calibrated, measured and written."""
        self.average.load_state_dict(self.best)
        tasks = calibrate(self.learned, self.log, self.cases, self.config.sampled)
        best = int(np.argmin([one["score"] for one in self.validations]))
        figures = {
            "data": self._counts(data),
            "validation": self.validations[best],
            "untrained": self.validations[0],
            "baselines": baselines(self.log, self.cases),
            "tasks": tasks,
            "best_round": best,
            "rounds": self.validations,
            "parameters": sum(one.numel() for one in self.average.parameters()),
        }
        save_learned(self.learned, self.out, {"training": dataclasses.asdict(self.config)})
        (self.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        return Trained(self.learned, figures)

    def _counts(self, data: TrainingSet) -> dict[str, Any]:
        split, found = self.split, self.cases.found
        lists = len(self.log.lists.people) > 0
        return {
            "items": len(data.items), "people": len(data.people), "events": len(self.log.events.rows),
            "lists": len(self.log.lists.people), "taught_events": len(split.teaching.places),
            "taught_lists": len(split.teaching_lists.people), "validated_events": len(self.cases.anchors.places),
            "validated_next": int(found.sum()), "validated_lists": len(self.cases.lists.people),
            "validation_from_ms": split.validation_ms, "strongest_type": TYPES[self.log.strongest - 1],
            "click": "what was clicked of shown lists" if lists else "positive events against items not met",
            "click_through": "clicks of shown lists" if lists else "the positive share of the next events",
        }  # fmt: skip


def _groups(model: HierarchyModel, weights: UncertaintyWeights, config: TrainingConfig) -> list[dict[str, Any]]:
    """Parameters in groups: matrices decay, vectors do not, tasks learn slowly and single numbers fast."""
    matrices: list[Any] = []
    tasks: list[Any] = []
    vectors: list[Any] = []
    numbers: list[Any] = list(weights.parameters())
    for name, one in model.named_parameters():
        few = one.dim() == 0 or name == "gates"
        of_task = name.startswith("task_maps")
        (numbers if few else tasks if of_task else matrices if one.dim() > 1 else vectors).append(one)
    rate = config.learning_rate
    return [
        {"params": matrices, "weight_decay": config.weight_decay, "full_lr": rate},
        {"params": tasks, "weight_decay": config.weight_decay, "full_lr": SLOW * rate},
        {"params": vectors, "weight_decay": 0.0, "full_lr": rate},
        {"params": numbers, "weight_decay": 0.0, "full_lr": FAST * rate},
    ]


def _seed(seed: int, step: int) -> None:
    torch.manual_seed((seed * 1_000_003 + step) % 2**63)


def _fingerprint(data: TrainingSet, encoder_id: str, model: HierarchyConfig, config: TrainingConfig) -> str:
    """What a checkpoint belongs to: data, text encoder, model and settings, as hexadecimal."""
    said = json.dumps([encoder_id, dataclasses.asdict(model), dataclasses.asdict(config)], default=str)
    found = zlib.crc32(said.encode())
    found = zlib.crc32(np.ascontiguousarray(data.items).tobytes(), found)
    for one in data.people:
        for array in (one.times_ms, one.rows, one.weights):
            found = zlib.crc32(np.ascontiguousarray(array).tobytes(), found)
    return f"{found:08x}"


def _board(out: Path, steps_done: int) -> Any:
    """The writer of TensorBoard's logs; what a killed run wrote after its checkpoint is taken back."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # of the extra `training`
    except ImportError as error:
        raise ModelError("training needs TensorBoard: pip install 'interest-streams[training]'") from error
    return SummaryWriter(str(out / RUNS), purge_step=steps_done or None)
