"""Rules and alerts: they are what Prometheus takes, name metrics that exist, and each has an entry of the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from streams.commands.metrics_document import entries, of_api, of_worker
from streams.dashboards.overview import OVERVIEW
from streams.dashboards.panels import AGE_PROMISE_S
from streams.learner.metrics import LearnerMetrics
from tests.unit.test_dashboards import THEIRS

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "prometheus"
FILES: Final = sorted((FOLDER / "rules").glob("*.yml"))
TESTS: Final = sorted((FOLDER / "rules" / "tests").glob("*.yml"))
RUNBOOK: Final = (ROOT / "docs" / "operations.md").read_text("utf-8").split("\n## Runbook\n")[1].split("\n## ")[0]
SILENT: Final = 'ALERTS{alertstate="firing"}'

_METRIC: Final = re.compile(r"\b(?:(?:interests|nv)_\w+|up)\b(?=[{\[)\s]|$)")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on PATH (make tools)")


def rules_of(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


ALERTS: Final = rules_of(FOLDER / "rules" / "alerts.yml")
RECORDED: Final = rules_of(FOLDER / "rules" / "recording.yml")
NAMES: Final = sorted({rule["alert"] for rule in ALERTS})


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    run("promtool", "check", "rules", *map(str, FILES))


@needs_promtool
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_each_alert_fires_in_its_case_and_not_in_the_next(file: Path) -> None:
    run("promtool", "test", "rules", str(file))


def test_every_alert_has_a_case_in_which_it_fires_and_one_without() -> None:
    fires, silent = set(), set()
    for file in TESTS:
        names = set(re.findall(r"alertname=\"(\w+)\"", file.read_text()))
        for case in yaml.safe_load(file.read_text())["tests"]:
            expected = [sample["labels"] for one in case["promql_expr_test"] for sample in one.get("exp_samples", [])]
            fires |= {name for labels in expected for name in re.findall(r"alertname=\"(\w+)\"", labels)}
            if not expected:
                assert any(one["expr"] == SILENT for one in case["promql_expr_test"])
                silent |= names
    assert sorted(fires) == sorted(silent) == NAMES


def test_the_panel_of_the_age_asks_what_its_alert_asks() -> None:
    [panel] = [panel for panel in OVERVIEW.panels if panel.key == "age"]
    shown = {re.sub(r"\s+", " ", line.query.promql("5m")) for line in panel.lines}
    assert shown == {rule["expr"] for rule in RECORDED if "age_at_apply" in rule["record"]}


@pytest.mark.skipif(shutil.which("amtool") is None, reason="no amtool on PATH (make tools)")
def test_alertmanager_takes_its_configuration_and_routes_every_severity() -> None:
    config = str(FOLDER / "alertmanager.yml")
    run("amtool", "check-config", config)
    for severity, receiver in (("critical", "on-call"), ("warning", "team"), ("info", "record")):
        run(
            "amtool", "config", "routes", "test", f"--config.file={config}", f"--verify.receivers={receiver}",
            f"severity={severity}",
        )  # fmt: skip


def test_alertmanager_holds_back_alerts_that_exist() -> None:
    inhibited = re.findall(r"Interests\w+", (FOLDER / "alertmanager.yml").read_text())
    assert set(inhibited) <= set(NAMES)
    assert inhibited


def test_rules_name_metrics_that_exist() -> None:
    ours: set[str] = set()
    for metrics in (of_worker(), LearnerMetrics(), of_api()):
        for entry in entries(metrics):
            ends = ("_bucket", "_sum", "_count") if entry.kind == "histogram" else ("",)
            ours |= {entry.name + end for end in ends}
    recorded = {rule["record"] for rule in RECORDED}
    assert all(re.fullmatch(r"[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", name) for name in recorded)
    used: set[str] = set()
    for rule in (*RECORDED, *ALERTS):
        expr = re.sub(r"\"[^\"]*\"", '""', rule["expr"])
        levels = set(re.findall(r"\w+:\w+:\w+", expr))
        assert levels <= recorded
        used |= levels
        names = set(_METRIC.findall(re.sub(r"\w+:\w+:\w+", "", expr)))
        assert names | levels, expr
        assert names <= ours | THEIRS.keys() | {"up"}, names - ours
    assert sum(name in used for name in recorded) > 10


def test_the_promise_is_the_one_that_dashboards_show() -> None:
    [rule] = [rule for rule in ALERTS if rule["alert"] == "InterestsAgeAtApplyOverPromise"]
    assert rule["expr"].endswith(f"> {AGE_PROMISE_S:g}")


def test_every_alert_says_how_bad_it_is_what_to_do_first_and_where_to_read_on() -> None:
    for rule in ALERTS:
        about = rule["annotations"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert about.keys() == {"summary", "description", "runbook_url"}
        assert about["description"].endswith(".")
        assert about["runbook_url"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_runbook_has_an_entry_for_every_alert_and_none_besides() -> None:
    entries_by_name = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", RUNBOOK, re.M | re.S))
    assert sorted(entries_by_name) == NAMES
    for name, text in entries_by_name.items():
        assert re.findall(r"^- \*\*(\w+)\*\*: ", text, re.M) == ["Means", "Felt", "Look", "Do", "Over"], name
