"""Measures of a ranking: recall@10, MRR, nDCG@10 and AUC. Pure numpy; ties count as the mean of their orders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def rank_of(scores: Floats, row: int) -> float:
    """The place, from 1, of `row` among `scores` (n,): ties share the mean of their places."""
    mine = scores[row]
    return 1.0 + float((scores > mine).sum()) + (float((scores == mine).sum()) - 1.0) / 2.0


def next_item(scores: Floats, row: int) -> dict[str, float]:
    """recall@10, MRR and nDCG@10 of one wanted row: 1 or 0, 1/rank, and 1/log2(1 + rank) within the first ten."""
    rank = rank_of(scores, row)
    hit = float(rank <= 10.0)
    return {"recall@10": hit, "mrr": 1.0 / rank, "ndcg@10": hit / float(np.log2(1.0 + rank))}


def impression(scores: Floats, relevant: NDArray[np.bool_]) -> dict[str, float]:
    """AUC and nDCG@10 of one impression; `relevant` (n,) has both kinds in it."""
    ranks = np.array([rank_of(scores, row) for row in np.flatnonzero(relevant)])
    n, good = len(scores), len(ranks)
    # Mann and Whitney's U from the sum of the relevant ranks, counted from the worst.
    auc = (float((n + 1 - ranks).sum()) - good * (good + 1) / 2.0) / (good * (n - good))
    gains = np.where(ranks <= 10.0, 1.0 / np.log2(1.0 + ranks), 0.0).sum()
    ideal = (1.0 / np.log2(2.0 + np.arange(min(good, 10)))).sum()
    return {"auc": auc, "ndcg@10": float(gains / ideal)}


def places(scores: Floats, relevant: NDArray[np.bool_]) -> tuple[float, float]:
    """Recall@10 and reciprocal rank of one list: the share of what is relevant among the first ten, and 1 / best rank.

    `relevant` (n,) has at least one in it.
    """
    ranks = [rank_of(scores, int(row)) for row in np.flatnonzero(relevant)]
    return sum(rank <= 10.0 for rank in ranks) / len(ranks), 1.0 / min(ranks)
