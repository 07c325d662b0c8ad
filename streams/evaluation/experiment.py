"""One evaluation from records to figures: load the encoder, describe the items, replay, compare."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

from streams.evaluation.contest import Contest
from streams.evaluation.ground import EncoderPlan, Ground, Meter, encoder_of, prepare
from streams.evaluation.online import OnlineRanking
from streams.evaluation.prequential import Case, Counts, PrequentialProtocol, Replay
from streams.evaluation.scorers import FIXED, SERVICE, ablations, baselines, fixed
from streams.evaluation.world import Undated
from streams.events.event import RecordLike
from streams.ranking.parts import KINDS, Kind
from streams.ranking.rows import fixed_weights
from streams.settings.service import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """What to evaluate."""

    name: str
    kinds: frozenset[Kind] = frozenset(KINDS)
    without: tuple[str, ...] = ()
    negatives: int = 49
    seed: int = 7
    undated: Undated = "known"
    encoder: EncoderPlan = field(default_factory=EncoderPlan)


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """What came of it: `figures` are plain JSON, without any id or text of the log."""

    contest: Contest[Case]
    counts: Counts
    figures: dict[str, Any]

    def json_text(self) -> str:
        """The result as text."""
        return json.dumps(self.figures, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


async def run(
    settings: Settings, plan: ExperimentPlan, items: Sequence[RecordLike], events: Sequence[RecordLike], *, now_ms: int,
    meter: Meter,
) -> ExperimentResult:  # fmt: skip
    """Replay `events` in their order; times up to `now_ms` are believed. Raises ConfigurationError and PoisonError."""
    began = monotonic()
    policy = settings.ranking.policy()
    ours = OnlineRanking(fixed=fixed_weights(policy))
    contest: Contest[Case] = Contest({
        SERVICE: ours, FIXED: fixed(policy), **ablations(policy, plan.without), **baselines(policy, plan.seed),
    })  # fmt: skip
    async with encoder_of(settings, plan.encoder) as named:
        ground = await prepare(settings, named, items, events, now_ms=now_ms, undated=plan.undated, meter=meter)
        replay = await ground.replay(
            PrequentialProtocol(negatives=plan.negatives, seed=plan.seed, kinds=plan.kinds, first=True)
        )
        async for case in ranked(ground, replay, meter):
            contest.add(case)
    figures = {
        "name": plan.name, "encoder": ground.encoder_id, "tree": ground.tree.version,
        "protocol": {"negatives": plan.negatives, "seed": plan.seed, **asdict(ground.everybody)},
        "policy": asdict(policy) | {"levels": dict(policy.levels)},
        "learner": {**asdict(ours.learner), **asdict(ours.judge)},
        "log": {"items": len(ground.points), **asdict(replay.counts)},
        "seconds": round(monotonic() - began, 1),
        "groups": contest.as_json(),
    }  # fmt: skip
    return ExperimentResult(contest, replay.counts, figures)


async def ranked(ground: Ground, replay: Replay, meter: Meter, step: str = "rank") -> AsyncIterator[Case]:
    """The cases of a replay, while a meter shows how far it is; small products on one thread."""
    with meter(step, len(ground.events)) as shown, threadpool_limits(1, user_api="blas"):
        done = 0
        async for case in replay.cases(ground.events, now_ms=ground.now_ms):
            yield case
            shown.add(case.index - done)
            done = case.index
        shown.add(len(ground.events) - done)
