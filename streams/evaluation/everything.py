"""Every table and picture of docs/evaluation.md: all logs of a data folder, one after another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple

from msgspec import structs

from streams.base.errors import ConfigurationError
from streams.evaluation import charts, studies, tables
from streams.evaluation.contest import Contest
from streams.evaluation.experiment import ranked
from streams.evaluation.ground import EncoderPlan, Ground, Meter, NamedEncoder, encoder_of, prepare
from streams.evaluation.log_study import LogStudy, means, study
from streams.evaluation.online import OnlineRanking, scored
from streams.evaluation.prequential import Case, PrequentialProtocol
from streams.evaluation.ratings import rating_errors
from streams.evaluation.scorers import FIXED, SERVICE, fixed
from streams.evaluation.top_ten import TopTens
from streams.events.event import RecordLike
from streams.ranking.parts import Kind
from streams.ranking.rows import NAMES, fixed_weights
from streams.settings.service import Settings


class LogRecords(NamedTuple):
    """Records of items and events, and the time of the last event."""

    items: Sequence[RecordLike]
    events: Sequence[RecordLike]
    last_ms: int


class LogPlan(NamedTuple):
    """What is ranked of a log; None: its ratings are predicted. Of how many users, and whether of items met alone."""

    kind: Kind | None
    users: int | None = None
    only_met: bool = False


#: The logs, by the name of their folder.
LOGS: Final[Mapping[str, LogPlan]] = {
    "cardano": LogPlan("next"), "magazines": LogPlan("next"), "mind-zh": LogPlan("impression", 700, only_met=True),
    "movielens-small": LogPlan(None),
}  # fmt: skip
_FORUM, _SHOP, _NEWS = "cardano", "magazines", "mind-zh"

ReadLog = Callable[[Path, int | None, bool], LogRecords]
"""Reads a log's folder: the events of so many users, and all items or those that are met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingPlan:
    """Where the logs are, where the results go, which encoder, and how a log is read."""

    data: Path
    out: Path
    encoder: EncoderPlan
    read: ReadLog


async def everything(settings: Settings, plan: EverythingPlan, meter: Meter) -> Path:
    """Measure all and write it; gives the file of the tables. ConfigurationError where a log is missing."""
    if missing := [name for name in LOGS if not (plan.data / name).is_dir()]:
        raise ConfigurationError(f"{plan.data} has no {', '.join(missing)}: name the folder of the logs with --data")
    began = monotonic()
    policy = settings.ranking.policy()
    figures: dict[str, Any] = {"policy": asdict(policy) | {"levels": dict(policy.levels)}}
    grounds: dict[str, Ground] = {}
    found: dict[str, LogStudy] = {}
    async with encoder_of(settings, plan.encoder) as named:
        for name, log in LOGS.items():
            grounds[name] = await _ground(settings, named, plan.read(plan.data / name, log.users, log.only_met), meter)
            if log.kind is None:
                figures["ratings"] = {"log": name, "errors": await rating_errors(grounds[name], meter)}
            else:
                found[name] = await study(grounds[name], log.kind, meter)
        figures |= {"encoder": named.encoder_id, "tree": grounds[_FORUM].tree.version}
        figures["languages"] = await _two_languages(grounds[_FORUM], grounds[_NEWS], meter)
    weights = fixed_weights(policy)
    figures["transfer"] = {
        f"{there} to {here}": means(studies.transferred(found[here].cases, weights, found[there].weights))
        for there, here in ((_FORUM, _SHOP), (_SHOP, _FORUM))
    }
    figures["logs"] = {
        name: one.figures | {"weights": dict(zip(NAMES, one.weights.round(4).tolist(), strict=True))}
        for name, one in found.items()
    }
    figures["minutes"] = round((monotonic() - began) / 60, 1)
    return _written(figures, plan.out)


async def _ground(settings: Settings, named: NamedEncoder, log: LogRecords, meter: Meter) -> Ground:
    return await prepare(settings, named, log.items, log.events, now_ms=log.last_ms, undated="known", meter=meter)


async def _two_languages(one: Ground, other: Ground, meter: Meter) -> dict[str, Any]:
    """A log among as many items of another language, published when its own were: which language is shown."""
    guests = [
        replace(guest, item=structs.replace(guest.item, ts_ms=point.item.ts_ms))
        for guest, point in zip(other.points, one.points, strict=False)
    ]
    mixed = replace(one, points=[*one.points, *guests])
    policy = one.settings.ranking.policy()
    protocol = PrequentialProtocol(kinds=frozenset({"next"}))
    ours = OnlineRanking(fixed=fixed_weights(policy))
    contest: Contest[Case] = Contest({SERVICE: ours, FIXED: fixed(policy)})
    async for case in ranked(mixed, await mixed.replay(protocol), meter, "languages"):
        contest.add(case)
    scorers: dict[str, Any] = {
        SERVICE: lambda case: scored(case.values, ours.served[case.index]), FIXED: fixed(policy)
    }  # fmt: skip
    tens = TopTens(scorers, len(mixed.points))
    replay = await mixed.replay(replace(protocol, negatives=None))
    async for case in ranked(mixed, replay, meter, "languages, all"):
        tens.add(case)
    return {"ranking": means(contest), "ten": tens.as_json()}


def _written(figures: dict[str, Any], out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, picture in charts.drawn(figures).items():
        (out / f"{name}.svg").write_text(picture, encoding="utf-8")
    page = out / "tables.md"
    page.write_text(tables.page(figures), encoding="utf-8")
    return page
