"""The contest: every scorer ranks every case; means and standard errors by group of cases."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.evaluation.prequential import Case
from streams.evaluation.scorers import Scorer
from streams.ranking import measures

#: What each group holds, in the order of the tables.
GROUPS: Mapping[str, str] = {
    "next": "every next new item",
    "next, not own": "without items that the event itself made",
    "next, liked": "the event spoke for its item",
    "next, disliked": "the event spoke against its item: lower is better",
    "next, half a": "the users that the constants were tuned on",
    "next, half b": "the other users",
    "impression": "what was shown, and clicked",
    "impression, half a": "the users that the constants were tuned on",
    "impression, half b": "the other users",
}


def half_of(user_id: str) -> str:
    """One of two halves of the users, `a` or `b`, by the user id's CRC-32."""
    return "ab"[zlib.crc32(user_id.encode()) & 1]


def groups_of(case: Case) -> list[str]:
    """The groups a case counts in."""
    groups = [case.kind, f"{case.kind}, half {half_of(case.event.user_id)}"]
    if case.kind == "next":
        groups += [] if case.own else ["next, not own"]
        groups += ["next, liked"] if case.weight > 0 else ["next, disliked"] if case.weight < 0 else []
    return groups


@dataclass(frozen=True, slots=True)
class Mean:
    """A measure's mean over the cases of a group, and its standard error."""

    mean: float
    error: float


@dataclass
class Contest:
    """Scorers by name, and how each has ranked the cases so far."""

    scorers: Mapping[str, Scorer]
    _values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    _cases: dict[str, int] = field(default_factory=dict)

    def add(self, case: Case) -> None:
        """Let every scorer rank a case."""
        groups = groups_of(case)
        for group in groups:
            self._cases[group] = self._cases.get(group, 0) + 1
        for name, scorer in self.scorers.items():
            scores = scorer(case)
            if case.kind == "next":
                values = measures.next_item(scores, int(np.argmax(case.relevant)))
            else:
                values = measures.impression(scores, case.relevant)
            for group in groups:
                kept = self._values.setdefault(group, {}).setdefault(name, {})
                for measure, value in values.items():
                    kept.setdefault(measure, []).append(value)

    def cases(self) -> dict[str, int]:
        """How many cases each group has, in the order of `GROUPS`; groups without any are left out,
        and `next, not own` where it is every next item."""
        counts = {group: self._cases[group] for group in GROUPS if group in self._cases}
        if counts.get("next, not own") == counts.get("next"):
            counts.pop("next, not own", None)
        return counts

    def results(self) -> dict[str, dict[str, dict[str, Mean]]]:
        """Means by group, scorer and measure."""
        return {
            group: {
                name: {measure: _mean(values) for measure, values in by_measure.items()}
                for name, by_measure in self._values[group].items()
            }
            for group in self.cases()
        }

    def as_json(self) -> dict[str, Any]:
        """The results as plain numbers, rounded to what the errors allow."""
        cases = self.cases()
        return {
            group: {
                "cases": cases[group],
                "scorers": {
                    name: {m: {"mean": round(v.mean, 5), "error": round(v.error, 5)} for m, v in by_measure.items()}
                    for name, by_measure in scorers.items()
                },
            }
            for group, scorers in self.results().items()
        }


def _mean(values: list[float]) -> Mean:
    array = np.array(values)
    return Mean(float(array.mean()), float(array.std() / np.sqrt(len(array))))
