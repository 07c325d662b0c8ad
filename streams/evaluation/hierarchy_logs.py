"""The learned hierarchy on several logs, one after another: replayed, trained, measured, written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from encoders.hierarchy_settings import TrainingConfig
from streams.base.errors import ConfigurationError
from streams.evaluation import hierarchy_tables
from streams.evaluation.everything import LogRecords
from streams.evaluation.ground import EncoderPlan, Meter, NamedEncoder, encoder_of, prepare
from streams.evaluation.kept_cases import KeptLog, keep
from streams.evaluation.learned_hierarchy import study, trained_on
from streams.settings.service import Settings
from streams.training.many import train_all
from streams.training.parsed_log import FEWEST_CASES
from streams.training.training_set import training_set
from streams.training.variants import FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyPlan:
    """Logs by name; how many seeds, how many trainings at once, and where results go.

    `began_s` is when it began, for the minutes that it took. What is trained is kept in the encoder's cache: a run that
    was stopped goes on, another one takes it up.
    """

    logs: Mapping[str, LogRecords]
    out: Path
    encoder: EncoderPlan
    training: TrainingConfig
    seeds: int = 1
    processes: int = 2
    began_s: float = field(default_factory=monotonic)


async def keep_logs(settings: Settings, plan: HierarchyPlan, meter: Meter) -> list[KeptLog]:
    """Replay every log and keep its cases. ConfigurationError where a log has too few cases or teaches nothing."""
    async with encoder_of(settings, plan.encoder) as named:
        return [await _kept(settings, named, name, log, meter) for name, log in plan.logs.items()]


def hierarchy_logs(kept: Sequence[KeptLog], plan: HierarchyPlan, meter: Meter) -> dict[str, Any]:
    """Train, measure and write; gives the figures. It is no coroutine: Ctrl-C would wait for the end of its training.

    Raises ConfigurationError where a log teaches nothing.
    """
    seeds = [replace(plan.training, seed=plan.training.seed + more) for more in range(plan.seeds)]

    def train(name: str, jobs: Sequence[Any]) -> Any:
        with meter(f"{name}: train", len(jobs)) as step:
            return train_all(jobs, plan.processes, lambda: step.add(1))

    trained = [trained_on(log, train, plan.encoder.cache / "hierarchy", seeds) for log in kept]
    logs: dict[str, Any] = {}
    with meter("measure", len(trained)) as step:
        for one in trained:
            others = [other for other in trained if other is not one and other.log.kind == one.log.kind]
            logs[one.log.name] = study(one, {other.log.name: other.variants[FULL] for other in others})
            step.add(1)
    figures = {
        "encoder": kept[0].encoder_id, "seeds": plan.seeds, "minutes": round((monotonic() - plan.began_s) / 60, 1),
        "logs": logs,
    }  # fmt: skip
    write(figures, plan.out)
    return figures


def write(figures: Mapping[str, Any], out: Path) -> None:
    """Write figures, tables and pictures into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "hierarchy.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "hierarchy.md").write_text(hierarchy_tables.page(figures), encoding="utf-8")
    for name, picture in hierarchy_tables.pictures(figures).items():
        (out / f"{name}.svg").write_text(picture, encoding="utf-8")


async def _kept(settings: Settings, named: NamedEncoder, name: str, records: LogRecords, meter: Meter) -> KeptLog:
    items, events, last_ms = records
    ground = await prepare(settings, named, items, events, now_ms=last_ms, undated="known", meter=meter)
    made = await training_set(items, events, named.encoder, settings.weights.table(), now_ms=last_ms)
    log = await keep(name, ground, made, meter, seed=7)
    if len(log.cases) < FEWEST_CASES:
        raise ConfigurationError(
            f"{name} has {len(log.cases)} cases, expected at least {FEWEST_CASES}: take a longer log"
        )
    if not log.last_fifth():
        raise ConfigurationError(
            f"{name} has no case of a person with a past: a log needs people who go on to items that are new to them"
        )
    return log
