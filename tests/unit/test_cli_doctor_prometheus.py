"""What the doctor makes of Prometheus and its alerts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.commands.findings import Findings
from streams.commands.prometheus_check import check_alerts, check_prometheus
from streams.settings.service import Settings
from tests.fixtures.alerting import receiving


def rule(name: str, state: str = "inactive", severity: str = "critical", health: str = "ok") -> dict[str, Any]:
    return {"name": name, "state": state, "labels": {"severity": severity}, "health": health}


@pytest.mark.parametrize(
    ("rules", "status", "seen"),
    [
        ([], "WARN", "it has none of this service"),
        ([rule("InterestsNoWorker"), rule("InterestsNewEpoch", "firing", "info")], "OK", "2 rules, none fires"),
        ([rule("InterestsNoWorker", "pending")], "OK", "1 rules, none fires"),
        ([rule("InterestsNoWorker", "firing"), rule("InterestsApiSlow", "firing", "warning")], "WARN",
         "firing: InterestsApiSlow, InterestsNoWorker"),
        ([rule("InterestsNoWorker", health="err")], "WARN", "it cannot work out InterestsNoWorker"),
    ],
)  # fmt: skip
def test_alerts_that_fire_or_are_not_there_are_told(rules: list[dict[str, Any]], status: str, seen: str) -> None:
    findings = Findings("Prometheus")
    check_alerts(findings, rules)
    [one] = findings.entries
    assert (one.status, one.seen) == (status, seen)
    assert bool(one.to_do) == (status == "WARN")


def said(url: str | None, token: Path | None = None) -> Findings | None:
    api = Settings().api.model_copy(update={"prometheus_url": url, "prometheus_token_file": token})
    return asyncio.run(check_prometheus(Settings().model_copy(update={"api": api})))


def test_what_does_not_answer_or_is_no_prometheus_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert said(None) is None
    with receiving() as other:
        for url, token, seen in (
            ("http://127.0.0.1:9", None, "no answer: ConnectError"),
            (other.url, None, "status 501"),
            (other.url, tmp_path / "none", "token"),
        ):
            findings = said(url, token)
            assert findings is not None
            [one] = findings.entries
            assert seen in one.seen or seen == one.what
            assert one.to_do
