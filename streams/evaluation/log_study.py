"""All that is measured on one log, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from streams.evaluation import studies
from streams.evaluation.contest import Contest
from streams.evaluation.experiment import ranked
from streams.evaluation.ground import Ground, Meter
from streams.evaluation.online import OnlineRanking, every_touch, scored
from streams.evaluation.prequential import Case, ListCase, PrequentialProtocol
from streams.evaluation.scorers import FIXED, SCORE_PARTS, SERVICE, TOUCHES, ablations, baselines, fixed
from streams.evaluation.signs import NoSentiment, unsigned
from streams.evaluation.top_ten import TopTens
from streams.evaluation.world import Floats
from streams.ranking.parts import Kind
from streams.ranking.rows import COLUMN, LEVELS, fixed_weights

#: What is not known of an event until later, in s.
DELAYS_S: Final[Mapping[str, float]] = {"1 min": 60.0, "1 h": 3_600.0, "1 day": 86_400.0}


@dataclass(frozen=True, slots=True)
class LogStudy:
    """What came of a log: its figures, its cases in order of time, and the weights that are served at its end."""

    kind: Kind
    figures: dict[str, Any]
    cases: list[ListCase]
    weights: Floats


async def study(ground: Ground, kind: Kind, meter: Meter, seed: int = 7) -> LogStudy:
    """Measure everything on a log of which cases of one kind are ranked."""
    policy = ground.settings.ranking.policy()
    weights = fixed_weights(policy)
    protocol = PrequentialProtocol(seed=seed, kinds=frozenset({kind}), first=True)
    ours = OnlineRanking(fixed=weights)
    contest: Contest[Case] = Contest({
        SERVICE: ours, TOUCHES: OnlineRanking(fixed=weights, teaches=every_touch), FIXED: fixed(policy),
        **baselines(policy, seed), **_levels_alone(), **ablations(policy, SCORE_PARTS),
    })  # fmt: skip
    cases: list[ListCase] = []
    replay = await ground.replay(protocol)
    async for case in ranked(ground, replay, meter):
        contest.add(case)
        cases.append(case.bare())
    figures: dict[str, Any] = {
        "kind": kind, "log": {"items": len(ground.points), **asdict(replay.counts)}, "groups": contest.as_json(),
        "margins": margins(contest, SERVICE, FIXED), "experts": ours.shares(kind),
        "split": means(studies.temporal_split([case for case in cases if case.events], weights)),
        "others": means(studies.by_other_people(cases, weights)),
        "delays": await _delayed(ground, protocol, meter),
        "unsigned": await _without_signs(ground, protocol, cases, meter),
    }  # fmt: skip
    if kind == "next":
        figures["everything"] = await _of_everything(ground, replace(protocol, negatives=None), ours.served, meter)
    return LogStudy(kind, figures, cases, ours.weights(kind))


def means(contest: Contest[Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Means and errors of all cases with a past, by scorer and measure."""
    group = next(iter(contest.results().values()))
    return {
        name: {measure: {"mean": round(v.mean, 5), "error": round(v.error, 5)} for measure, v in by_measure.items()}
        for name, by_measure in group.items()
    }


def margins(contest: Contest[Any], scorer: str, other: str) -> dict[str, Any]:
    """By how much one scorer is ahead, by group and measure."""
    return {
        group: {measure: {name: round(value, 5) for name, value in asdict(one).items()} for measure, one in by.items()}
        for group, by in contest.margins(scorer, other).items()
    }


def _levels_alone() -> dict[str, Any]:
    def alone(level: str) -> Any:
        return lambda case: case.values[:, COLUMN[f"relevance_{level}"]]

    return {f"{level} alone": alone(level) for level in LEVELS}


async def _delayed(ground: Ground, protocol: PrequentialProtocol, meter: Meter) -> dict[str, Any]:
    found: dict[str, Any] = {}
    weights = fixed_weights(ground.settings.ranking.policy())
    for name, delay_s in DELAYS_S.items():
        contest: Contest[Case] = Contest({SERVICE: OnlineRanking(fixed=weights), FIXED: _fixed(weights)})
        replay = await ground.replay(replace(protocol, delay_ms=round(delay_s * 1000), first=False))
        async for case in ranked(ground, replay, meter, f"delay {name}"):
            contest.add(case)
        found[name] = means(contest)
    return found


def _fixed(weights: Floats) -> Any:
    return lambda case: scored(case.values, weights)


async def _without_signs(
    ground: Ground, protocol: PrequentialProtocol, signed: Sequence[ListCase], meter: Meter
) -> dict[str, Any]:
    """The log with every event speaking for its item; what was liked and disliked as it was."""
    weights = fixed_weights(ground.settings.ranking.policy())
    of_event = {case.index: case.weight for case in signed}
    contest: Contest[Case] = Contest({SERVICE: OnlineRanking(fixed=weights), FIXED: _fixed(weights)})
    replay = await ground.replay(
        protocol, encoder=NoSentiment(ground.encoder), weights=unsigned(ground.settings.weights.table())
    )
    async for case in ranked(ground, replay, meter, "without signs"):
        case.weight = of_event[case.index]
        contest.add(case)
    return contest.as_json()


async def _of_everything(
    ground: Ground, protocol: PrequentialProtocol, served: Mapping[int, Floats], meter: Meter
) -> dict[str, Any]:
    """All items that a user could meet, ranked by what the samples had taught by then; and the ten best of them."""
    policy = ground.settings.ranking.policy()
    scorers: dict[str, Any] = {
        SERVICE: lambda case: scored(case.values, served[case.index]), FIXED: fixed(policy),
        "freshness + popularity": baselines(policy, protocol.seed)["freshness + popularity"],
    }  # fmt: skip
    contest: Contest[Case] = Contest(scorers)
    tens = TopTens(scorers, len(ground.points))
    targets: list[int] = []
    async for case in ranked(ground, await ground.replay(replace(protocol, first=False)), meter, "all items"):
        contest.add(case)
        tens.add(case)
        targets.append(len(case.relevant))
    return {"targets": float(np.mean(targets)), "ranking": means(contest), "ten": tens.as_json()}
