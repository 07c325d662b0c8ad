"""Probabilities that mean what they say: a factor and an offset for logits, fitted and measured. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.histories import Floats

Bools = npt.NDArray[np.bool_]

BINS = 10
FEWEST = 30
"""With fewer examples of either answer nothing is fitted."""


def probabilities(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """1 / (1 + e^−logit), of any shape."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(np.asarray(logits, np.float64), -60, 60))))


def fit(logits: Floats, labels: Bools) -> tuple[float, float]:
    """Factor, above 0, and offset that make logits (n,) likeliest for labels (n,): Platt 1999, Guo et al. 2017.

    Newton's method with a small penalty on moving away from (1, 0), which is what comes back of too few examples.
    """
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        return 1.0, 0.0
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], 1)
    start = np.array([1.0, 0.0])
    found, penalty = start.copy(), 1e-2
    for _ in range(50):
        p = probabilities(x @ found)
        slope = x.T @ (p - labels) + penalty * (found - start)
        curve = (x * (p * (1 - p))[:, None]).T @ x + penalty * np.eye(2)
        step = np.linalg.solve(curve, slope)
        step /= max(1.0, float(np.abs(step).max()))  # far from the end Newton leaps too far
        found -= step
        if np.abs(step).max() < 1e-9:
            break
    if found[0] <= 0.01:  # it ranks the wrong way round: say the base rate, and keep the order's sign
        rate = float(np.clip(labels.mean(), 1e-4, 1 - 1e-4))
        return 0.01, float(np.log(rate / (1 - rate)) - 0.01 * logits.mean())
    return float(found[0]), float(found[1])


def reliability(predicted: npt.NDArray[np.float64], labels: Bools) -> list[dict[str, float]]:
    """By bins of equal counts, lowest first: mean probability, share of yes, how many: a reliability curve."""
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "predicted": round(float(predicted[part].mean()), 4),
            "observed": round(float(labels[part].mean()), 4),
            "count": len(part),
        }
        for part in np.array_split(order, BINS)
        if len(part)
    ]


def calibration_error(predicted: npt.NDArray[np.float64], labels: Bools) -> float:
    """The expected calibration error (Naeini et al. 2015) over the bins of `reliability`."""
    bins = reliability(predicted, labels)
    total = sum(one["count"] for one in bins)
    return sum(abs(one["predicted"] - one["observed"]) * one["count"] for one in bins) / max(1, total)


def measured(logits: Floats, labels: Bools, halves: Bools) -> dict[str, Any]:
    """Calibration error and reliability curve before and after; after is fitted on the other half, (n,) each.

    `halves` says of which half an example is: by person, so that nobody is on both sides.
    """
    after = np.empty(len(logits), np.float64)
    for half in (halves, ~halves):
        factor, offset = fit(logits[~half], labels[~half])
        after[half] = probabilities(factor * logits[half] + offset)
    before = probabilities(logits)
    return {
        "examples": len(labels),
        "positive": int(labels.sum()),
        "ece_before": round(calibration_error(before, labels), 4),
        "ece_after": round(calibration_error(after, labels), 4),
        "reliability_before": reliability(before, labels),
        "reliability_after": reliability(after, labels),
    }
