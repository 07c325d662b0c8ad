"""Tunes a language model on pairs: a contrastive loss, early stopping on later pairs, checkpoints that go on.

Whatever learns (adapters, a linear map) gives pooled states of rows of texts; the loss sees them as they will be
served, centred by the model's head. Nothing is drawn at random but what `seed` fixes, so a run that was killed and went
on ends with the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import xxhash

from encoders.checkpoints import read_checkpoint, write_checkpoint
from encoders.errors import ModelError
from encoders.sentiment import Head
from encoders.tuning_pairs import Batch, Pairs, TuningSet, batches_of, reciprocal_ranks, split, steps_of

Floats = npt.NDArray[np.float32]
RUNS = "runs"


class Tunable(Protocol):
    """Something that learns: adapters of a model, or a map behind it."""

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """What learns, by name."""
        ...

    def pooled(self, rows: npt.NDArray[np.intp]) -> torch.Tensor:
        """Pooled states (k, width) of texts, with a gradient."""
        ...

    def all_pooled(self, rows: npt.NDArray[np.intp]) -> Floats:
        """The same without one."""
        ...

    def frozen(self) -> AbstractContextManager[None]:
        """As it was before it learned."""
        ...

    def write(self, folder: Path) -> None:
        """Write what was learned as a model directory."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPlan:
    """How to tune. `temperature` divides cosines; `keep` weighs how near a vector stays to what it was.

    A step has `batch` · `accumulate` pairs, each batch its own foes, and of a history `reads` items. Training ends
    after `epochs`, after `patience` epochs without a better MRR on the last `held_out` share of the histories in time,
    or before the step that would begin after `minutes`. A checkpoint is written every `checkpoint_every` steps and with
    each epoch.
    """

    batch: int = 32
    reads: int = 1
    accumulate: int = 1
    epochs: int = 6
    patience: int = 2
    rate: float = 1e-3
    temperature: float = 0.05
    keep: float = 0.5
    held_out: float = 0.15
    seed: int = 7
    minutes: float = 10.0
    checkpoint_every: int = 25


@dataclass(slots=True)
class _State:
    """Where a training is: `step` of all, `best` MRR and when, figures by epoch, what was best, this epoch's losses."""

    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    figures: list[dict[str, float]] = field(default_factory=list)
    kept: dict[str, torch.Tensor] = field(default_factory=dict)
    losses: list[list[float]] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it: MRR on the held-out pairs before and after, the epoch that was kept, and why it ended.

    `figures` are by epoch: loss, kept (mean cosine to what a vector was), mrr.
    """

    before: float
    after: float
    epoch: int
    steps: int
    figures: list[dict[str, float]]
    ended: str


class Finish:
    """Pooled states to vectors as they are served: length 1, centred by a head where it has a mean, length 1."""

    def __init__(self, head: Head, device: str | torch.device) -> None:
        self._mean = None if head.mean is None else torch.from_numpy(head.mean).to(device)
        self._languages = None if head.languages is None else torch.from_numpy(head.languages).to(device)

    def __call__(self, pooled: torch.Tensor) -> torch.Tensor:
        """States (k, width) to vectors (k, width)."""
        vectors = torch.nn.functional.normalize(pooled, dim=-1)
        if self._mean is None:
            return vectors
        vectors = vectors - self._mean
        if self._languages is not None:
            vectors = vectors - (vectors @ self._languages.T) @ self._languages
        return torch.nn.functional.normalize(vectors, dim=-1)


def loss_of(vectors: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
    """The mean negative log-likelihood of each pair's positive among the batch's (InfoNCE, van den Oord et al. 2018).

    `vectors` (u, width) are those of the batch's texts, of length 1. Excluded ones are no foes.
    """
    weights = torch.from_numpy(batch.anchors).to(vectors.device)
    anchors = torch.nn.functional.normalize(weights @ vectors, dim=-1)
    logits = anchors @ vectors[torch.from_numpy(batch.positives).to(vectors.device)].T / temperature
    logits = logits.masked_fill(torch.from_numpy(batch.excluded).to(vectors.device), float("-inf"))
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(logits), device=vectors.device))


def tune(
    model: Tunable, data: TuningSet, head: Head, plan: TuningPlan, out: Path, *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:  # fmt: skip
    """Tune `model` in place; what was best on the held-out pairs is what it has at the end.

    A checkpoint below `out` is gone on from. Raises ModelError where it belongs to another training, or where there is
    nothing to learn from.
    """
    early, late = split(data, plan.held_out)
    if not len(late) or not steps_of(early, plan.batch):
        raise ModelError(f"got {len(data.history)} histories and {len(data.labels)} labels: too few to learn from")
    return _Training(model, early, late, head, plan, out).run(progress)


class _Training:
    def __init__(self, model: Tunable, early: TuningSet, late: Pairs, head: Head, plan: TuningPlan, out: Path) -> None:
        self._model, self._early, self._late, self._plan, self._out = model, early, late, plan, out
        self._parameters = model.parameters
        first = next(iter(self._parameters.values()))
        self._finish = Finish(head, first.device)
        self._optimiser = torch.optim.AdamW(self._parameters.values(), lr=plan.rate, weight_decay=0.01)
        self._per_epoch = max(1, steps_of(early, plan.batch) // plan.accumulate)
        self._total = self._per_epoch * plan.epochs
        told = json.dumps([asdict(plan), early.digest, [[n, list(p.shape)] for n, p in self._parameters.items()]])
        self._digest = xxhash.xxh3_64(told.encode()).hexdigest()
        self._frozen: dict[int, torch.Tensor] = {}

    def run(self, progress: Callable[[int, int], None]) -> Tuned:
        began, ended = monotonic(), "all epochs"
        with self._model.frozen():
            before = self._measured()
        state = self._read()
        writer = _writer(self._out / RUNS, state.step)
        while not state.done and state.step < self._total:
            epoch, skip = divmod(state.step, self._per_epoch)
            for parts in self._steps(epoch, skip):
                if monotonic() - began > 60 * self._plan.minutes:
                    state.done, ended = True, "out of time"
                    break
                state.losses.append(self._step(parts, state.step))
                state.step += 1
                progress(state.step, self._total)
                writer.add_scalar("loss", state.losses[-1][0], state.step)
                if state.step % self._plan.checkpoint_every == 0:
                    self._write(state)
            self._close(state, epoch + 1, before, writer)
            if epoch + 1 - state.best_epoch >= self._plan.patience:
                state.done, ended = True, "no better any more"
            self._write(state)
        writer.close()
        if state.kept:
            self._load(state.kept)
        after = max(state.best, before)
        return Tuned(before, after, state.best_epoch, state.step, state.figures, ended)

    def _close(self, state: _State, epoch: int, before: float, writer: Any) -> None:
        """End an epoch: measure, and keep what is better than all before it, what there was at the start too."""
        mrr = self._measured()
        if not state.kept:
            state.best, state.kept = before, {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        if mrr > state.best:
            state.best, state.best_epoch = mrr, epoch
            state.kept = {name: p.detach().clone() for name, p in self._parameters.items()}
        loss, kept = np.mean(state.losses, axis=0).tolist() if state.losses else (float("nan"), float("nan"))
        state.losses = []
        state.figures.append({"epoch": epoch, "loss": round(loss, 5), "kept": round(kept, 5), "mrr": round(mrr, 5)})
        writer.add_scalar("held out/mrr", mrr, state.step)
        writer.add_scalar("kept", kept, state.step)

    def _steps(self, epoch: int, skip: int) -> Iterator[list[Batch]]:
        """The batches of an epoch's steps from the one at `skip` on."""
        parts: list[Batch] = []
        made = 0
        for batch in batches_of(self._early, self._plan.batch, self._plan.seed, epoch, self._plan.reads):
            parts.append(batch)
            if len(parts) == self._plan.accumulate:
                if skip <= made < self._per_epoch:
                    yield parts
                made, parts = made + 1, []
        if made == 0 and parts and not skip:
            yield parts

    def _step(self, parts: list[Batch], step: int) -> list[float]:
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate * min(1.0, (step + 1) / max(1, self._total // 20)) * (1 - step / self._total)
        self._optimiser.zero_grad(set_to_none=True)
        losses, kept = [], []
        for batch in parts:
            pooled = self._model.pooled(batch.rows)
            near = torch.nn.functional.cosine_similarity(pooled, self._before(batch.rows), dim=-1).mean()
            loss = loss_of(self._finish(pooled), batch, self._plan.temperature)
            ((loss + self._plan.keep * (1 - near)) / len(parts)).backward()
            losses.append(float(loss.detach()))
            kept.append(float(near.detach()))
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
        self._optimiser.step()
        return [float(np.mean(losses)), float(np.mean(kept))]

    def _before(self, rows: npt.NDArray[np.intp]) -> torch.Tensor:
        """What the states of texts were before anything was learned."""
        missing = np.array([row for row in rows.tolist() if row not in self._frozen], np.intp)
        if len(missing):
            with self._model.frozen(), torch.no_grad():
                found = self._model.pooled(missing).detach()
            self._frozen.update(zip(missing.tolist(), found, strict=True))
        return torch.stack([self._frozen[row] for row in rows.tolist()])

    def _measured(self) -> float:
        """The mean reciprocal rank of the held-out pairs."""
        of_items = np.arange(self._early.items)
        needed = [
            of_items,
            self._late.positives,
            self._late.anchors[self._late.anchors >= 0],
            self._early.labels.positives,
        ]
        rows = np.unique(np.concatenate(needed)).astype(np.intp)
        pooled = self._model.all_pooled(rows)
        with torch.inference_mode():
            vectors = self._finish(torch.from_numpy(pooled).to(next(iter(self._parameters.values())).device))
        all_vectors = np.zeros((len(self._early.texts), vectors.shape[1]), np.float32)
        all_vectors[rows] = vectors.cpu().numpy()
        return float(reciprocal_ranks(all_vectors, self._late, self._early).mean())

    def _load(self, values: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])

    def _write(self, state: _State) -> None:
        values = {name: p.detach() for name, p in self._parameters.items()}
        whole = {"state": asdict(state), "values": values, "optimiser": self._optimiser.state_dict()}
        write_checkpoint(self._out, {"fingerprint": self._digest, **whole})

    def _read(self) -> _State:
        device = next(iter(self._parameters.values())).device
        kept = read_checkpoint(self._out, self._digest, str(device))
        if kept is None:
            return _State()
        self._load(kept["values"])
        self._optimiser.load_state_dict(kept["optimiser"])
        return _State(**kept["state"])


def _writer(folder: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  # of an extra of its own

    return SummaryWriter(str(folder), purge_step=step or None)
