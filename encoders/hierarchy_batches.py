"""A step of training: examples drawn by the step's own generator, read by the model, and their losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from encoders.answers import TASKS
from encoders.hierarchy_examples import (
    Anchors,
    Candidates,
    Lists,
    Log,
    candidates,
    clicks_of,
    not_met,
    positives_ahead,
    shown_together,
)
from encoders.hierarchy_losses import beta_binomial, contrast, divergence, listwise, task_logits, yes_or_no
from encoders.hierarchy_model import HierarchyModel, Read
from encoders.hierarchy_settings import TrainingConfig
from encoders.histories import Floats, gather

Losses = dict[str, torch.Tensor]

MOST_HIDDEN = 512
"""So many hidden items of a batch are foretold."""


class Batch(NamedTuple):
    """A step's examples: anchors first, lists after them, `positive_new` (a,) those whose target is to be found."""

    anchors: Anchors
    lists: Lists
    positive_new: npt.NDArray[Any]
    hidden_items: Floats
    noise: Floats
    candidates: Candidates
    rows: npt.NDArray[Any]
    there: npt.NDArray[Any]
    shown: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def make_batch(
    log: Log, anchors: Anchors, lists: Lists, shares: Floats, config: TrainingConfig, size: int, step: list[int]
) -> Batch:
    """Draw what a step needs, from a generator of the seed and the step alone: a resumed training draws the same.

    `size` is the bottleneck's, `step` the numbers that name the step.
    """
    rng = np.random.default_rng([config.seed, *step])
    times = log.events.times_ms[anchors.places]
    rows, there = not_met(log, anchors.people, anchors.places, times, config.sampled, rng)
    histories = np.concatenate([anchors.histories, lists.histories])
    used = histories >= 0
    hidden = (rng.random(used.shape) < config.hidden_share) & used & (used.sum(1, keepdims=True) >= 3)
    return Batch(
        anchors,
        lists,
        log.positive(anchors) & log.new[anchors.places],
        hidden.astype(np.float32),
        rng.standard_normal((len(histories), size)).astype(np.float32),
        candidates(log, anchors, shares, config.negatives, rng),
        np.concatenate([log.events.rows[anchors.places][:, None], rows], 1),
        np.concatenate([np.ones((len(rows), 1), bool), there], 1),
        shown_together(lists, config.list_items, rng),
    )


def losses_of(model: HierarchyModel, log: Log, items: torch.Tensor, batch: Batch, config: TrainingConfig) -> Losses:
    """The step's losses by name; `items` (m, dim) are the log's on the model's device."""
    made = gather(log.items, log.events, np.concatenate([batch.anchors.histories, batch.lists.histories]))
    read = model.read(
        *(_on(items, one) for one in (made.vectors, made.types, made.weights, made.ages_s)),
        hidden_items=_on(items, batch.hidden_items),
        noise=_on(items, batch.noise),
    )
    count, has_lists = len(batch.anchors.places), len(log.lists.people) > 0
    losses: Losses = {}
    of, wanted = batch.candidates, batch.positive_new
    if wanted.any():
        losses["next"] = contrast(
            read.interests[:count, 0][_on(items, wanted)], items[_on(items, of.rows)], _on(items, of.log_drawn),
            _on(items, of.allowed[wanted]), _on(items, of.targets[wanted]), model.sharpness,
        )  # fmt: skip
    losses |= _task_losses(model, log, items, batch, read)
    counts = clicks_of(batch.lists) if has_lists else positives_ahead(log, batch.anchors)
    if len(counts):
        rates = read.click_through[count:] if has_lists else read.click_through[:count]
        losses["click_through"] = beta_binomial(rates, _on(items, counts))
    losses |= _masked_loss(model, log, items, read, batch)
    losses["divergence"] = config.kl_weight * divergence(read.mean, read.log_variance, config.free_bits)
    return losses


def labels_of(log: Log, anchors: Anchors, width: int) -> Mapping[str, npt.NDArray[Any]]:
    """What each task says of anchors' targets, which stand in column 0, and of others after them: (a, width) each."""
    labels = {name: np.zeros((len(anchors.places), width), bool) for name in TASKS}
    labels["exposure"][:, 0] = True
    labels["purchase"][:, 0] = log.purchases(anchors)
    labels["click"][:, 0] = log.positive(anchors)
    return labels


def _task_losses(model: HierarchyModel, log: Log, items: torch.Tensor, batch: Batch, read: Read) -> Losses:
    """A loss a task: over targets and what was not met, and for clicks over shown lists where the log has any."""
    count, has_lists = len(batch.anchors.places), len(log.lists.people) > 0
    vectors = items[_on(items, batch.rows)]
    labels, there = labels_of(log, batch.anchors, batch.rows.shape[1]), _on(items, batch.there)
    losses: Losses = {}
    for at, name in enumerate(model.config.tasks):
        direction, scale, bias = read.interests[:, 1 + at], read.scales[:, at], read.biases[:, at]
        if name != "click" or not has_lists:
            logits = task_logits(direction[:count], scale[:count], bias[:count], vectors)
            losses[name] = yes_or_no(logits, _on(items, labels[name]), there)
        elif len(batch.lists.people):
            rows, clicked, shown = (_on(items, one) for one in batch.shown)
            logits = task_logits(direction[count:], scale[count:], bias[count:], items[rows])
            losses[name] = yes_or_no(logits, clicked, shown) + listwise(logits, clicked, shown)
    return losses


def _masked_loss(model: HierarchyModel, log: Log, items: torch.Tensor, read: Read, batch: Batch) -> Losses:
    """Which items were hidden, told from the last level's states at their places (Sun et al. 2019)."""
    people, columns = np.nonzero(batch.hidden_items)
    people, columns = people[:MOST_HIDDEN], columns[:MOST_HIDDEN]
    histories = np.concatenate([batch.anchors.histories, batch.lists.histories])
    rows, targets, counts = np.unique(
        log.events.rows[histories[people, columns]], return_inverse=True, return_counts=True
    )
    if len(rows) < 2:
        return {}
    states = read.states[_on(items, people), _on(items, columns)]
    directions = nn.functional.normalize(model.masked_items(states), dim=-1, eps=1e-6)
    allowed = torch.ones((len(people), len(rows)), dtype=torch.bool, device=items.device)
    drawn = _on(items, np.log(counts / len(people)).astype(np.float32))
    loss = contrast(
        directions, items[_on(items, rows)], drawn, allowed, _on(items, targets.reshape(-1)), model.sharpness
    )
    return {"masked": loss}


def _on(items: torch.Tensor, array: npt.NDArray[Any]) -> torch.Tensor:
    """An array as a tensor where the items are; whole numbers as int64, to index with."""
    whole = array.astype(np.int64) if array.dtype.kind == "i" else array
    return torch.from_numpy(np.ascontiguousarray(whole)).to(items.device)
