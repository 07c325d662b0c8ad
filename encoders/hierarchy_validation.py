"""How well a model foretells what came later: the next new item, tasks, lists; and how well a mean does."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.answers import Answers
from encoders.calibration import fit, measured
from encoders.hierarchy_batches import labels_of
from encoders.hierarchy_examples import Anchors, Bools, Lists, Log, Longs, not_met, shown_together
from encoders.hierarchy_files import LearnedHierarchy
from encoders.hierarchy_settings import TrainingConfig
from encoders.histories import Floats, Histories, gather

OTHERS = 49
"""The next new item stands among so many others, drawn once."""
MOST_CASES = 2000
SHARPNESS = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
"""What cosines are multiplied with: the best counts, so that a sharp model is not taken for a bad one."""
DAY_S = 86_400.0


class Cases(NamedTuple):
    """What is asked at each validation, drawn once: anchors with what they could have met instead, and lists.

    `rows` and `there` (a, 1 + OTHERS) with the target in column 0; `found` (a,) whether it is positive and new.
    `shown` are rows, clicked, there of the lists, each (s, items).
    """

    anchors: Anchors
    rows: Longs
    there: Bools
    found: Bools
    lists: Lists
    shown: tuple[Longs, Bools, Bools]
    histories: Histories


def make_cases(log: Log, anchors: Anchors, lists: Lists, config: TrainingConfig) -> Cases:
    """Cases of anchors and lists, at most MOST_CASES of either, evenly over time."""
    anchors, lists = anchors.some(_evenly(len(anchors.places))), lists.some(_evenly(len(lists.people)))
    rng = np.random.default_rng([config.seed, 1])
    rows, there = not_met(log, anchors.people, anchors.places, log.events.times_ms[anchors.places], OTHERS, rng)
    return Cases(
        anchors,
        np.concatenate([log.events.rows[anchors.places][:, None].astype(np.int64), rows], 1),
        np.concatenate([np.ones((len(rows), 1), bool), there], 1),
        log.positive(anchors) & log.new[anchors.places],
        lists,
        shown_together(lists, config.list_items, rng),
        gather(log.items, log.events, np.concatenate([anchors.histories, lists.histories])),
    )


def _evenly(count: int) -> Longs:
    """Places among `count`, at most MOST_CASES, evenly."""
    return np.asarray(np.arange(min(count, MOST_CASES)) * count // max(1, min(count, MOST_CASES)), np.int64)


def score(learned: LearnedHierarchy, log: Log, cases: Cases) -> dict[str, float]:
    """The figures that decide when to stop: `score`, lower is better, and what it is made of.

    It is the loss of the next new item among the others, at the best sharpness, as a share of chance; with lists, the
    mean of it and of that of their clicks.
    """
    answers = learned.answers(cases.histories)
    count, found = len(cases.anchors.places), cases.found
    figures: dict[str, float] = {}
    parts: list[float] = []
    if found.any():
        cosines = _cosines(log.items, answers.interests[:count, 0][found], cases.rows[found])
        first = np.zeros(cosines.shape, bool)
        first[:, 0] = True
        losses = [_list_loss(sharpness * cosines, first, cases.there[found]) for sharpness in SHARPNESS]
        figures["next_loss"] = min(losses)
        figures |= next_figures(cosines, cases.there[found])
        parts.append(figures["next_loss"])
    if len(cases.lists.people) and "click" in learned.config.tasks:
        rows, clicked, there = cases.shown
        figures["click_loss"] = _list_loss(_logits(learned, log.items, answers, "click", rows, count), clicked, there)
        figures["click_auc"] = list_auc(_logits(learned, log.items, answers, "click", rows, count), clicked, there)
        figures["interest_auc"] = list_auc(_cosines(log.items, answers.interests[count:, 0], rows), clicked, there)
        parts.append(figures["click_loss"])
    figures["score"] = float(np.mean(parts)) if parts else float("nan")
    return figures


def _cosines(items: Floats, directions: Floats, rows: Longs) -> Floats:
    """Of each direction (n, dim) with items (n, c), shape (n, c)."""
    return np.asarray(np.einsum("nd,ncd->nc", directions, items[rows]))


def _logits(learned: LearnedHierarchy, items: Floats, answers: Answers, task: str, rows: Longs, start: int) -> Floats:
    """A task's logits for items (n, c), of the people from `start` on."""
    at = learned.config.tasks.index(task)
    part = slice(start, start + len(rows))
    cosines = _cosines(items, answers.interests[part, 1 + at], rows)
    return answers.scales[part, at, None] * cosines + answers.biases[part, at, None]


def _list_loss(logits: Floats, yes: Bools, there: Bools) -> float:
    """A softmax over what is there against what was taken, as a share of what chance would lose."""
    shown = np.where(there, logits, -1e9).astype(np.float64)
    shown -= shown.max(1, keepdims=True)
    log_shares = shown - np.log(np.exp(shown).sum(1, keepdims=True))
    has = yes.any(1) & (~yes & there).any(1)
    if not has.any():
        return 1.0
    each = -(log_shares * yes).sum(1)[has] / yes.sum(1)[has] / np.log(there.sum(1)[has])
    return float(each.mean())


def next_figures(scores: Floats, there: Bools) -> dict[str, float]:
    """recall@10 and MRR of column 0 among what is there; ties share the mean of their places."""
    others = np.where(there[:, 1:], scores[:, 1:], -np.inf)
    place = 1 + (others > scores[:, :1]).sum(1) + 0.5 * (others == scores[:, :1]).sum(1)
    return {"recall_10": float((place <= 10).mean()), "mrr": float((1 / place).mean())}


def list_auc(scores: Floats, yes: Bools, there: Bools) -> float:
    """The mean over lists of the share of pairs, taken and left, that are in the right order; nan without any."""
    found = []
    for row, taken, shown in zip(scores, yes, there, strict=True):
        above, below = row[taken & shown], row[~taken & shown]
        if len(above) and len(below):
            ahead = (above[:, None] > below).mean() + 0.5 * (above[:, None] == below).mean()
            found.append(float(ahead))
    return float(np.mean(found)) if found else float("nan")


def baselines(log: Log, cases: Cases, half_life_s: float = 30 * DAY_S) -> dict[str, dict[str, float]]:
    """The same figures of the signed weighted mean of the history, and of the average that fades in 30 days."""
    made, count = cases.histories, len(cases.anchors.places)
    fading = made.weights * 0.5 ** (made.ages_s / half_life_s)
    figures = {}
    for name, weights in (("mean", made.weights), ("average_30d", fading)):
        direction = np.einsum("nl,nld->nd", weights, made.vectors)
        direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
        found = cases.found
        cosines = _cosines(log.items, direction[:count][found], cases.rows[found])
        figures[name] = next_figures(cosines, cases.there[found])
        if len(cases.lists.people):
            rows, clicked, there = cases.shown
            figures[name]["interest_auc"] = list_auc(_cosines(log.items, direction[count:], rows), clicked, there)
    return figures


def calibrate(learned: LearnedHierarchy, log: Log, cases: Cases, sampled: int) -> dict[str, dict[str, Any]]:
    """Fit each task's factor and offset on the cases, set them in the model, and say how well they hold.

    What is said of after is of people that were not fitted on. Targets stand against `sampled` others, as in training,
    so probabilities are for lists of 1 + `sampled` of which one is met; clicks against what was shown with them.
    """
    answers = learned.answers(cases.histories)
    labels = labels_of(log, cases.anchors, 1 + sampled)
    count, has_lists = len(cases.anchors.places), len(cases.lists.people) > 0
    figures = {}
    for at, task in enumerate(learned.config.tasks):
        if task == "click" and has_lists:
            rows, yes, there = cases.shown
            people, start = cases.lists.people, count
        else:
            rows, yes, there = cases.rows[:, : 1 + sampled], labels[task], cases.there[:, : 1 + sampled]
            people, start = cases.anchors.people, 0
        logits = _logits(learned, log.items, answers, task, rows, start)[there].astype(np.float32)
        factor, offset = fit(logits, yes[there])
        halves = np.broadcast_to((people % 2 == 0)[:, None], there.shape)[there]
        figures[task] = measured(logits, yes[there], halves) | {"factor": factor, "offset": offset}
        figures[task]["auc"] = round(_auc(logits, yes[there]), 4)
        learned.model.calibration[at, 0] *= factor
        learned.model.calibration[at, 1] = learned.model.calibration[at, 1] * factor + offset
    return figures


def _auc(scores: Floats, yes: npt.NDArray[np.bool_]) -> float:
    """The area under the curve over all examples; .5 without both answers. Ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]
    above, below = int(yes.sum()), int((~yes).sum())
    return float((ranks[yes].sum() - above * (above + 1) / 2) / (above * below)) if above and below else 0.5
