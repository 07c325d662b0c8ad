"""The learned hierarchy on a log: the model, its levels one by one, and what stands beside it, on the same cases.

A model is trained on what happened before the cut of the log, and asked about the cases after it: alone, by the order
of what it foretells, and as features of the learned score, which learns their worth online from the cut on. The last
fifth of the cases in time is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash

from encoders.hierarchy_files import LearnedHierarchy
from encoders.hierarchy_settings import TrainingConfig
from encoders.histories import TrainingSet
from streams.evaluation import model_answers
from streams.evaluation.case_measures import Values, group, mean_over, values_of
from streams.evaluation.contest import MEASURES
from streams.evaluation.kept_cases import KeptCase, KeptLog
from streams.evaluation.model_answers import Said, said_of
from streams.evaluation.online import OnlineRanking
from streams.evaluation.prequential import ListCase
from streams.evaluation.studies import FOLDS, fold_of, frozen
from streams.ranking.rows import COLUMN, PART_OF
from streams.training.many import Job
from streams.training.parts import before, of_people
from streams.training.variants import FULL, VARIANTS

TrainAll = Callable[[str, Sequence[Job]], Sequence[LearnedHierarchy]]
"""Trains jobs of a log, by its name."""

TREE, FIXED, SCORE = "tree alone", "fixed weights", "learned score"
OTHER_PEOPLE: Final = f"{FULL} of other people"
#: By which of its features a model ranks alone.
ALONE: Final = "learned_click"
#: With more events only one fifth of the people is tested by a model of the others.
MANY_EVENTS: Final = 20_000
#: Cases by how many events of their person were known.
NEWCOMERS: Final[Mapping[str, tuple[int, int]]] = {
    "after 0 events": (0, 0), "after 1 event": (1, 1), "after 2 or 3 events": (2, 3), "after 4 to 10 events": (4, 10),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedLog:
    """A log and the models that were trained on it before its cut, one a seed: by variant, and by fold of the people
    that a model has not seen.
    """

    log: KeptLog
    variants: Mapping[str, Sequence[LearnedHierarchy]]
    folds: Mapping[int, Sequence[LearnedHierarchy]]


def alone(name: str) -> str:
    """What a model is called where it ranks alone."""
    return f"{name}, alone"


def beside(name: str) -> str:
    """What a model is called where its answers are features of the learned score."""
    return f"{name}, as features"


#: What models of other people are called: they are asked about some people's cases only.
_CROSSED: Final = (alone(OTHER_PEOPLE), beside(OTHER_PEOPLE))


def trained_on(log: KeptLog, train_all: TrainAll, out: Path, training: Sequence[TrainingConfig]) -> TrainedLog:
    """Train all models of a log, once for each of `training`, into folders below `out`."""
    known = before(log.events.data, log.cut_ms)
    jobs = [_job(log, out, known, name, config) for name in VARIANTS for config in training]
    folds = range(FOLDS if log.events.counts.records <= MANY_EVENTS else 1)
    parts = {fold: of_people(known, _not_of(fold)) for fold in folds}
    jobs += [_job(log, out, parts[fold], FULL, config, f"-fold-{fold}") for fold in folds for config in training]
    models = iter(train_all(log.name, jobs))
    variants = {name: [next(models) for _ in training] for name in VARIANTS}
    return TrainedLog(log=log, variants=variants, folds={fold: [next(models) for _ in training] for fold in folds})


def study(trained: TrainedLog, elsewhere: Mapping[str, Sequence[LearnedHierarchy]]) -> dict[str, Any]:
    """Everything that is measured on a log, as plain numbers; `elsewhere` are full models of other logs, by name."""
    log = trained.log
    known, later = before(log.events.data, log.cut_ms), log.later()
    said = {name: [said_of(model, log, later) for model in runs] for name, runs in trained.variants.items()}
    crossed = zip(*trained.folds.values(), strict=True)
    said[OTHER_PEOPLE] = [_of_others(log, later, models) for models in crossed]
    by_others = {index for runs in said[OTHER_PEOPLE] for index in runs}
    said |= {f"{FULL} of {there}": [said_of(model, log, later) for model in runs] for there, runs in elsewhere.items()}
    by_name, by_seed = _values(log, later, said, by_others)
    return {
        "kind": log.kind, "cut_ms": log.cut_ms, "cases": len(log.cases),
        "trained on": {"people": len(known.people), "events": sum(len(person.rows) for person in known.people)},
        "groups": _groups(log, known, later, by_name, by_others),
        "calibration": {name: model_answers.calibration(runs, log.last_fifth()) for name, runs in said.items()
                        if name != OTHER_PEOPLE},
        "by seed": by_seed,
    }  # fmt: skip


def _job(
    log: KeptLog, out: Path, data: TrainingSet, variant: str, config: TrainingConfig, more: str = ""
) -> Job:  # fmt: skip
    folder = out / f"{log.name}-{_digest(data, config)}" / f"{variant.replace(' ', '-')}{more}-seed-{config.seed}"
    return Job(data=data, variant=variant, training=config, out=folder, encoder_id=log.encoder_id)


def _digest(data: TrainingSet, config: TrainingConfig) -> str:
    """Names the data and the constants of a training: a folder is never taken for that of another one."""
    digest = xxhash.xxh3_64(data.items.tobytes() + str(replace(config, seed=0)).encode())
    for person in data.people:
        digest.update(person.times_ms.tobytes() + person.rows.tobytes() + person.weights.tobytes())
    return digest.hexdigest()[:8]


def _of_others(log: KeptLog, later: Sequence[KeptCase], models: Sequence[LearnedHierarchy]) -> Said:
    """Cases by a model that was trained on the people of other folds than their own, as far as there is one."""
    return {
        index: values
        for fold, model in enumerate(models)
        for index, values in said_of(model, log, [one for one in later if fold_of(one.user_id) == fold]).items()
    }


def _values(
    log: KeptLog, later: Sequence[KeptCase], said: Mapping[str, Sequence[Said]], by_others: set[int]
) -> tuple[dict[str, Values], dict[str, list[float]]]:
    """The measures of every ranking over the later cases, a mean over seeds; and of each seed in the last fifth.

    Models of other people count by the cases that they were asked about.
    """
    tree = log.fixed.copy()
    tree[[column for name, column in COLUMN.items() if PART_OF[name] not in ("relevance", "aversion")]] = 0.0
    by_name: dict[str, Values] = {
        TREE: values_of(later, frozen(tree)), FIXED: values_of(later, frozen(log.fixed)),
        SCORE: _last(values_of(log.cases, OnlineRanking(fixed=log.fixed)), len(later)),
    }  # fmt: skip
    runs = {alone(name): [values_of(later, model_answers.alone(one, ALONE)) for one in of_model]
            for name, of_model in said.items()}  # fmt: skip
    runs |= {
        beside(name): [_last(values_of(log.cases, model_answers.with_features(one, log.fixed)), len(later))
                       for one in of_model]
        for name, of_model in said.items()
    }  # fmt: skip
    last = {case.index for case in log.last_fifth()}
    in_last = np.array([case.index in last for case in later])
    asked = in_last & np.array([case.index in by_others for case in later])
    measure, by_seed = MEASURES[log.kind][1], {}
    for name, some in runs.items():
        counted = asked if name in _CROSSED else in_last
        if counted.any():
            by_seed[name] = [round(float(one[measure][counted].mean()), 5) for one in some]
    return by_name | {name: mean_over(some) for name, some in runs.items()}, by_seed


def _last(values: Values, count: int) -> Values:
    return {name: of_cases[-count:] for name, of_cases in values.items()}


def _groups(
    log: KeptLog, known: TrainingSet, later: Sequence[KeptCase], by_name: Mapping[str, Values], by_others: set[int]
) -> dict[str, Any]:
    """Figures by group; cases of people whom no model of other people was asked about are in none of theirs."""
    last = {case.index for case in log.last_fifth()}
    trained = {person.user_id for person in known.people}
    tests: dict[str, Callable[[ListCase], bool]] = {
        "last fifth": lambda case: case.index in last,
        "after the cut": lambda case: case.events > 0,
        "people the model has not seen": lambda case: case.events > 0 and case.user_id not in trained,
    }
    tests |= {name: _between(*events) for name, events in NEWCOMERS.items()}
    plain = {name: values for name, values in by_name.items() if name not in _CROSSED}
    found = {name: group(later, plain, test, _pairs(plain)) for name, test in tests.items()}
    some = {name: by_name[name] for name in (TREE, SCORE, alone(FULL), beside(FULL), *_CROSSED)}
    pairs = [(alone(OTHER_PEOPLE), TREE), (alone(FULL), alone(OTHER_PEOPLE)), (beside(OTHER_PEOPLE), SCORE),
             (beside(FULL), beside(OTHER_PEOPLE))]  # fmt: skip
    return found | {"last fifth, other people": group(later, some, lambda case: case.index in last & by_others, pairs)}


def _not_of(fold: int) -> Callable[[str], bool]:
    return lambda user_id: fold_of(user_id) != fold


def _between(least: int, most: int) -> Callable[[ListCase], bool]:
    return lambda case: least <= case.events <= most


def _pairs(by_name: Mapping[str, Values]) -> list[tuple[str, str]]:
    """Each model against the tree or the learned score without it, and the full one against each of the others."""
    pairs = []
    for name in by_name:
        if name in (TREE, FIXED, SCORE):
            continue
        as_features = name.endswith(beside(""))
        pairs.append((name, SCORE if as_features else TREE))
        full = beside(FULL) if as_features else alone(FULL)
        if name != full:
            pairs.append((full, name))
    return pairs
