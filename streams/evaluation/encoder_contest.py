"""Encoders against each other: a log replayed with each, and the same lists compared, case by case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from encoders.tuned_model import CARD
from encoders.tuning_pairs import Fold
from streams.base.errors import ConfigurationError
from streams.evaluation.contest import Contest, Margin
from streams.evaluation.experiment import ranked
from streams.evaluation.ground import EncoderPlan, Meter, encoder_of, prepare
from streams.evaluation.online import OnlineRanking
from streams.evaluation.prequential import Case, ListCase, PrequentialProtocol
from streams.evaluation.scorers import FIXED, SERVICE, Scorer, baselines, fixed
from streams.evaluation.world import Floats
from streams.events.event import RecordLike
from streams.ranking.rows import fixed_weights
from streams.settings.service import Settings

_BASELINES: Final = ("mean", "30-day average", "30-day average + freshness + popularity")


class Part(NamedTuple):
    """A model and whom it may be measured on: the people of `fold`, events from the one at `first` in time on."""

    model: str
    fold: Fold | None
    first: int


@dataclass(frozen=True, slots=True)
class Contestant:
    """An encoder: one model, or several that left out different people, of which each ranks for those."""

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class EncoderContest:
    """How an encoder ranks beside the first one, on the same cases.

    `figures` have by scorer and measure the mean, and by how much it is ahead of the first encoder's same scorer.
    """

    name: str
    about: str
    cases: int
    figures: Mapping[str, Mapping[str, tuple[float, Margin]]]


class _Ranked(NamedTuple):
    """All lists of a log, ranked with one model: scores by scorer, by the case's place in the log."""

    scores: dict[str, dict[int, Floats]]
    cases: dict[int, ListCase]


def contestants(models: Sequence[str]) -> list[Contestant]:
    """The encoders that names and directories stand for; those that left out parts of the people belong together."""
    alone: list[Contestant] = []
    folds: dict[str, list[Part]] = {}
    for model in models:
        part = _part(model)
        if part.fold is None:
            alone.append(Contestant(Path(model).name, (part,)))
        else:
            folds.setdefault(_kind(model), []).append(part)
    return [*alone, *(Contestant(f"{kind}, of other people", tuple(parts)) for kind, parts in folds.items())]


def _part(model: str) -> Part:
    log = _card(model).get("log", {})
    part, _, parts = str(log.get("people left out", "")).partition("/")
    events, first = int(log.get("events", 0)), int(log.get("first events learned from", 0))
    return Part(model, Fold(int(part), int(parts)) if parts else None, first if first < events else 0)


def _kind(model: str) -> str:
    return str(_card(model).get("kind", ""))


def _card(model: str) -> dict[str, Any]:
    path = Path(model) / CARD
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


async def run_contest(
    settings: Settings, encoders: Sequence[Contestant], items: Sequence[RecordLike], events: Sequence[RecordLike], *,
    now_ms: int, seed: int, cache: Path, meter: Meter,
) -> list[EncoderContest]:  # fmt: skip
    """Rank every next new item of a log with every encoder; the first one is what the others are compared with.

    Every measured case is one that its encoder did not learn from. Raises ConfigurationError and PoisonError.
    """
    found: dict[str, _Ranked] = {}
    for part in (part for encoder in encoders for part in encoder.parts):
        if part.model not in found:
            plan = EncoderPlan(model=part.model, cache=cache)
            found[part.model] = await _ranked(settings, plan, items, events, now_ms, seed, meter)
    base = found[encoders[0].parts[0].model]
    return [_compared(encoder, found, base) for encoder in encoders]


async def _ranked(
    settings: Settings, plan: EncoderPlan, items: Sequence[RecordLike], events: Sequence[RecordLike], now_ms: int,
    seed: int, meter: Meter,
) -> _Ranked:  # fmt: skip
    policy = settings.ranking.policy()
    plain = baselines(policy, seed)
    scorers: dict[str, Scorer] = {
        SERVICE: OnlineRanking(fixed=fixed_weights(policy)), FIXED: fixed(policy), **{n: plain[n] for n in _BASELINES},
    }  # fmt: skip
    came = _Ranked({name: {} for name in scorers}, {})
    async with encoder_of(settings, plan) as named:
        ground = await prepare(settings, named, items, events, now_ms=now_ms, undated="known", meter=meter)
        replay = await ground.replay(PrequentialProtocol(seed=seed, kinds=frozenset({"next"})))
        async for case in ranked(ground, replay, meter, Path(plan.model).name):
            for name, scorer in scorers.items():
                came.scores[name][case.index] = scorer(case)
            came.cases[case.index] = _light(case)
    return came


def _light(case: Case) -> ListCase:
    """A case without its rows."""
    bare = case.bare()
    bare.values = np.zeros((len(bare.relevant), 0))
    return bare


def _compared(encoder: Contestant, found: Mapping[str, _Ranked], base: _Ranked) -> EncoderContest:
    mine: dict[int, _Ranked] = {}
    for index, case in base.cases.items():
        for part in encoder.parts:
            if index >= part.first and (part.fold is None or part.fold.has(case.user_id)):
                mine[index] = found[part.model]
    if not mine:
        raise ConfigurationError(
            f"{encoder.name}: nothing that it did not learn from could be ranked: a log needs people who go on to "
            "items that are new to them"
        )
    names = list(base.scores)
    contest: Contest[ListCase] = Contest({
        **{name: _lookup(mine, name) for name in names},
        **{f"first: {name}": _lookup(dict.fromkeys(mine, base), name) for name in names},
    })  # fmt: skip
    for index in mine:
        contest.add(base.cases[index])
    results = contest.results()["next"]
    figures = {
        name: {
            measure: (results[name][measure].mean, margin)
            for measure, margin in contest.margins(name, f"first: {name}")["next"].items()
        }
        for name in names
    }
    first = encoder.parts[0].first
    about = "of people left out" if encoder.parts[0].fold else f"from event {first:,} on" if first else "in all"
    return EncoderContest(encoder.name, about, len(mine), figures)


def _lookup(by_case: Mapping[int, _Ranked], name: str) -> Callable[[ListCase], Floats]:
    return lambda case: by_case[case.index].scores[name][case.index]
