"""Examples of the dashboards in the OpenAPI document; a test holds them to the models."""

from __future__ import annotations

from typing import Any, Final

_T: Final = 1_785_000_000_000

DASHBOARDS: Final[dict[str, Any]] = {
    "source": "prometheus",
    "dashboards": [
        {
            "key": "overview",
            "title": "Overview",
            "about": "Events in and applied, how late they are, and what goes wrong.",
            "panels": [
                {
                    "key": "lag", "title": "Lag", "about": "Records that are not folded yet, by topic.",
                    "unit": "number", "warn": 2000.0, "bad": 20000.0, "below": False,
                    "runbook": "interestslaggrowing", "queries": ["sum by (topic) (interests_lag_records)"],
                }
            ],
        }
    ],
}  # fmt: skip
DASHBOARD: Final[dict[str, Any]] = {
    "key": "overview",
    "range": "5m",
    "from_ms": _T - 15_000,
    "until_ms": _T,
    "step_ms": 5000,
    "jobs": [{"job": "worker", "known": 1, "up": 1, "reason": None}],
    "panels": [
        {
            "key": "lag", "state": "well", "reason": None, "left_out": 0, "left_out_at_zero": True,
            "lines": [{"name": "clicks", "now": 4.0, "values": [None, 0.0, 12.0, 4.0]}],
        }
    ],
}  # fmt: skip
