"""What a learned model says of the cases of a log: a ranking of its own, and features of the learned score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from encoders.answers import Answers
from encoders.calibration import calibration_error, reliability
from encoders.hierarchy_files import LearnedHierarchy
from encoders.hierarchy_settings import TrainingConfig
from streams.evaluation.kept_cases import KeptCase, KeptLog
from streams.evaluation.online import OnlineRanking
from streams.evaluation.prequential import ListCase
from streams.evaluation.studies import ListScorer
from streams.evaluation.world import Floats
from streams.ranking import learned_features
from streams.ranking.rows import COLUMN, PART_OF, LearnedNode

_CASES_AT_ONCE: Final = 1_024
#: Beside how many others a touched item stands where probabilities are calibrated.
SAMPLED: Final = TrainingConfig().sampled
FEATURES: Final = tuple(name for name, part in PART_OF.items() if part == "learned")
_COLUMNS: Final = [COLUMN[name] for name in FEATURES]

Said = Mapping[int, Floats]
"""By a case's place in the log the features (n, 4) that a model gives its targets."""


def said_of(model: LearnedHierarchy, log: KeptLog, cases: Sequence[KeptCase]) -> Said:
    """What a model says of cases, asked for many at once, as the service would fill the features."""
    found: dict[int, Floats] = {}
    for start in range(0, len(cases), _CASES_AT_ONCE):
        some = cases[start : start + _CASES_AT_ONCE]
        answers = model.answers(log.histories(some, model.config.history))
        for at, case in enumerate(some):
            found[case.index] = _features(answers, at, model.config.tasks, log, case)
    return found


def _features(answers: Answers, at: int, tasks: Sequence[str], log: KeptLog, case: KeptCase) -> Floats:
    nodes = [LearnedNode("", "/", answers.interests[at, 0])]
    nodes += [
        LearnedNode(
            "", f"/{task}", answers.interests[at, 1 + number], float(answers.scales[at, number]),
            float(answers.biases[at, number]),
        )
        for number, task in enumerate(tasks)
    ]  # fmt: skip
    values = np.zeros((len(case.chosen), len(FEATURES)))
    said = learned_features.answers(nodes, log.vectors[case.chosen])
    for column, node in enumerate(nodes):
        name = f"learned_{node.path.strip('/') or 'cosine'}"
        if name in FEATURES:
            values[:, FEATURES.index(name)] = said[:, column]
    return values


def alone(said: Said, feature: str) -> ListScorer:
    """The targets in the order of one of the model's features; all alike where the model was not asked."""
    column = FEATURES.index(feature)

    def scorer(case: ListCase) -> Floats:
        values = said.get(case.index)
        return np.zeros(len(case.relevant)) if values is None else values[:, column]

    return scorer


def with_features(said: Said, fixed: Floats) -> ListScorer:
    """The learned score, which learns what the model's features are worth too, from the first case it has any of.

    A case that the model says nothing of (it may have been trained on it) has 0 there, as in the service where a
    person has no node of the model.
    """
    ranking = OnlineRanking(fixed=fixed)

    def scorer(case: ListCase) -> Floats:
        values = case.values.copy()
        values[:, _COLUMNS] = said.get(case.index, 0.0)
        return ranking(replace(case, values=values))

    return scorer


def calibration(runs: Sequence[Said], cases: Sequence[KeptCase]) -> dict[str, dict[str, Any]]:
    """Whether probabilities hold, by task: how many there are, how many came true, what was foretold, and the error.

    As in training: of what was shown which were clicked; else one touched item among `sampled` others.
    """
    found: dict[str, dict[str, Any]] = {}
    tasks = ("click",) if cases[0].kind == "impression" else ("click", "exposure")
    for task in tasks:
        column = FEATURES.index(f"learned_{task}")
        foretold = [said[case.index][: _width(case), column] for said in runs for case in cases]
        true = [_true(case, task)[: _width(case)] for _ in runs for case in cases]
        p, yes = np.concatenate(foretold), np.concatenate(true)
        found[task] = {
            "answers": len(p), "came true": round(float(yes.mean()), 5), "foretold": round(float(p.mean()), 5),
            "ece": round(calibration_error(p, yes), 5), "reliability": reliability(p, yes),
        }  # fmt: skip
    return found


def _width(case: KeptCase) -> int:
    """How many of a list's targets are asked about; of a sampled list the first is the one that was touched."""
    return len(case.relevant) if case.kind == "impression" else 1 + SAMPLED


def _true(case: KeptCase, task: str) -> NDArray[np.bool_]:
    disliked = case.kind == "next" and task == "click" and case.weight <= 0
    return np.zeros_like(case.relevant) if disliked else case.relevant
