"""Two encoders' lists of the same events: how well each ranks what was taken, and how sure that is. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.interests.score import Floats
from streams.learner.rankers import Quality, qualities
from streams.ranking.examples import Example
from streams.ranking.rows import COLUMN, NAMES


@dataclass(frozen=True, slots=True)
class Figures:
    """A measure of the encoder before and of the new one; `error` is the standard error of the mean difference."""

    before: float
    new: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What a ranker made of `lists` pairs; in the share `disagree` of them one encoder alone has a taken item first."""

    lists: int
    recall: Figures
    reciprocal_rank: Figures
    disagree: float


_LAST_ITEM: Final = "recent_last"


def paired(examples: Iterable[Example], before: str, new: str, fixed: Floats) -> dict[str, Paired]:
    """Compare by the fixed weights (F,), and by nearness to the last item alone, which is the encoder's alone.

    Events are known by where their records lie; those that only one encoder has a list of are left out. Nothing where
    there are fewer than two pairs.
    """
    lists: dict[object, dict[str, Example]] = {}
    for example in examples:
        lists.setdefault((example.source, example.kind), {})[example.encoder] = example
    alone = np.zeros(len(NAMES))
    alone[COLUMN[_LAST_ITEM]] = 1.0
    rankers = {"fixed": fixed, "last_item": alone}
    pairs: dict[str, list[tuple[Quality, Quality]]] = {name: [] for name in rankers}
    for by_encoder in lists.values():
        if before in by_encoder and new in by_encoder:
            found = [qualities(rankers, by_encoder[one].values(), by_encoder[one].relevant()) for one in (before, new)]
            for name, rows in pairs.items():
                rows.append((found[0][name], found[1][name]))
    return {name: _summed(rows) for name, rows in pairs.items() if len(rows) > 1}


def _summed(rows: list[tuple[Quality, Quality]]) -> Paired:
    table = np.array(rows)  # (pairs, encoders, measures)
    first = table[:, :, 1] >= 1.0
    return Paired(
        lists=len(rows),
        recall=_figures(table[:, :, 0]),
        reciprocal_rank=_figures(table[:, :, 1]),
        disagree=float(np.mean(first[:, 0] != first[:, 1])),
    )


def _figures(values: Floats) -> Figures:
    differences = values[:, 1] - values[:, 0]
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    before, new = values.mean(axis=0)
    return Figures(float(before), float(new), error)
