"""What may go wrong stands at 0 from the start: a counter that is first seen at 1 has not grown for Prometheus."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from streams.api.telemetry import ApiMetrics
from streams.base.errors import PoisonError
from streams.events.dead_letters import STAGES, DeadLetter, DeadLetterReason
from streams.learner.metrics import LearnerMetrics
from streams.worker.metrics import Metrics
from tests.fixtures.records import click, record

STREAMS: Final = Path(__file__).resolve().parents[2] / "streams"
#: Each process's counters that nothing but what happens can name: which route was asked, which event came.
BY_WHAT_COMES: Final = {"interests_api_requests", "interests_live_lists", "interests_live_recall_at_10"} | {
    "interests_live_reciprocal_rank"
}


def worker() -> Metrics:
    metrics = Metrics()
    metrics.expect(("clicks", "items"))
    metrics.expect_events(("clicks",))
    return metrics


def learner() -> LearnerMetrics:
    metrics = LearnerMetrics()
    metrics.expect(["ranking.examples"])
    return metrics


@pytest.mark.parametrize("made", [worker, learner, ApiMetrics])
def test_every_counter_has_samples_and_they_are_0(made: type[Metrics | LearnerMetrics | ApiMetrics]) -> None:
    for family in made().registry.collect():
        if family.type == "counter" and family.name not in BY_WHAT_COMES:
            values = [one.value for one in family.samples if one.name.endswith("_total")]
            assert values, family.name
            assert len(values) == len(family.samples), "no series beside them that says when they were made"
            assert set(values) == {0.0}, family.name


def test_the_first_dead_letter_of_a_kind_grows_from_0() -> None:
    metrics = worker()
    labels = {"topic": "clicks", "stage": "parse", "reason": "bad_json"}
    read = metrics.registry.get_sample_value
    assert read("interests_dead_letters_total", labels) == 0
    metrics.dead_lettered([DeadLetter.of(record(click()), PoisonError("no JSON", reason="bad_json"))])
    assert read("interests_dead_letters_total", labels) == 1
    assert read("interests_events_total", {"topic": "clicks", "type": "click", "outcome": "applied"}) == 0


def test_every_reason_that_a_help_text_names_is_there() -> None:
    for made, name in ((worker, "interests_ranking_examples_dropped"), (ApiMetrics, "interests_api_live_interrupted")):
        registry: CollectorRegistry = made().registry
        (family,) = [one for one in registry.collect() if one.name == name]
        shown = {one.labels["reason"] for one in family.samples if one.name.endswith("_total")}
        assert shown == set(re.findall(r"`(\w+)`", family.documentation))


def raised() -> Iterator[tuple[str, str]]:
    """Reason and stage of every PoisonError that events, items and their texts can end in."""
    paths = [*(STREAMS / "events").glob("*.py"), STREAMS / "encoder/client.py"]
    for path in paths:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("PoisonError", "DeadLetter"):
                given = {one.arg: one.value for one in call.keywords}
                reason, stage = given["reason"], given.get("stage", ast.Constant("parse"))
                if isinstance(reason, ast.Constant) and isinstance(stage, ast.Constant):
                    yield reason.value, stage.value


def test_reasons_have_the_stage_in_which_they_come_out() -> None:
    found = set(raised())
    assert len(found) > 15
    assert found <= set(STAGES.items())
    assert STAGES.keys() == set(get_args(DeadLetterReason))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH: `make tools` brings it")
@pytest.mark.parametrize("made", [worker, learner, ApiMetrics])
def test_promtool_finds_nothing_to_say(made: type[Metrics | LearnerMetrics | ApiMetrics]) -> None:
    page = generate_latest(made().registry)
    told = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=20, check=False)
    assert (told.returncode, told.stdout + told.stderr) == (0, b"")
