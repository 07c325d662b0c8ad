"""The ten best of all items that a user could meet: what share of the catalogue is shown, how alike, in what language.

All items are ranked, and not a sample; by the weights that the sampled lists had taught by then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from streams.evaluation.prequential import Case
from streams.evaluation.world import Floats

_TEN: Final = 10


@dataclass
class TopTens:
    """What scorers would show first; `items` is how many items there are."""

    scorers: Mapping[str, Callable[[Case], Floats]]
    items: int
    _shown: dict[str, set[str]] = field(default_factory=dict)
    _alike: dict[str, list[float]] = field(default_factory=dict)
    _own_language: dict[str, list[float]] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        """Look at the first ten of a case."""
        targets = case.rows.targets
        language = _main_language(case)
        for name, scorer in self.scorers.items():
            first = np.argsort(-scorer(case), kind="stable")[:_TEN]
            self._shown.setdefault(name, set()).update(targets.ids[row] for row in first)
            if len(first) > 1:
                near = targets.vectors[first] @ targets.vectors[first].T
                pairs = len(first) * (len(first) - 1)
                self._alike.setdefault(name, []).append(float(near.sum() - np.trace(near)) / pairs)
            if language:
                same = [targets.langs[row] == language for row in first]
                self._own_language.setdefault(name, []).append(float(np.mean(same)))

    def as_json(self) -> dict[str, dict[str, float]]:
        """By scorer: the share of the items that anybody is shown, how different a user's ten are, 1 - their mean
        cosine, and how many of them are in the language of most of the user's recent items."""
        return {
            name: {
                "coverage": round(len(self._shown[name]) / self.items, 5),
                "diversity": round(1.0 - float(np.mean(self._alike[name])), 5),
                "own language": round(float(np.mean(self._own_language.get(name, [np.nan]))), 5),
            }
            for name in self._shown
        }


def _main_language(case: Case) -> str | None:
    weights: dict[str, float] = {}
    for one in case.rows.person.recents:
        if one.lang and one.weight > 0:
            weights[one.lang] = weights.get(one.lang, 0.0) + one.weight
    return max(weights, key=lambda lang: weights[lang], default=None)
