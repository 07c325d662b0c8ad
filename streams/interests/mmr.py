"""Diversity: order items so that what comes next is good and unlike what came before. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.interests.nodes import Vector


def mmr(vectors: Vector, scores: NDArray[np.float64], k: int, diversity: float) -> list[int]:
    """The rows of the `k` best of n items, one after the other, by maximal marginal relevance.

    Each step takes the highest (1 - diversity) * score - diversity * (greatest cosine to what was taken), with the
    scores stretched to [0, 1]; ties go to the lower row. `vectors` is float32 (n, dim) with unit rows, `scores`
    (n,). A diversity of 0 is plain order, 1 the most diverse. After Carbonell and Goldstein (1998).
    """
    n = len(scores)
    k = max(0, min(k, n))
    if diversity <= 0 or k <= 1:
        return [int(row) for row in np.argsort(-scores, kind="stable")[:k]]
    spread = float(np.ptp(scores))
    worth = (scores - scores.min()) / spread if spread > 0 else np.zeros(n)
    nearest = np.zeros(n)
    taken = [int(np.argmax(scores))]
    left = np.ones(n, dtype=bool)
    while len(taken) < k:
        left[taken[-1]] = False
        cosines = vectors @ vectors[taken[-1]]
        nearest = np.maximum(nearest, cosines) if len(taken) > 1 else cosines.astype(np.float64)
        marginal = np.where(left, (1.0 - diversity) * worth - diversity * nearest, -np.inf)
        taken.append(int(np.argmax(marginal)))
    return taken
