"""Dashboards name metrics and labels that exist, and show every metric that the service exports."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from streams.commands.metrics_document import entries, of_api, of_worker
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Query, Rate, Ratio, Value
from streams.learner.metrics import LearnerMetrics

#: What Triton and Qdrant export of which dashboards make use, with the labels; the stack's test asks for each of them.
THEIRS: Final = {
    "nv_inference_request_success": {"model", "version"},
    "nv_inference_request_failure": {"model", "version", "reason"},
    "nv_inference_queue_duration_us": {"model", "version"},
    "nv_inference_compute_infer_duration_us": {"model", "version"},
    "nv_inference_request_duration_us": {"model", "version"},
    "nv_inference_pending_request_count": {"model", "version"},
    "nv_inference_count": {"model", "version"},
    "nv_inference_exec_count": {"model", "version"},
    "collection_points": {"id"},
    "collections_total": set[str](),
    "grpc_responses_total": {"endpoint", "status"},
    "rest_responses_total": {"endpoint", "status"},
}
OURS: Final = {entry.name: entry for metrics in (of_worker(), LearnerMetrics(), of_api()) for entry in entries(metrics)}
PANELS: Final = [(dashboard, panel) for dashboard in DASHBOARDS for panel in dashboard.panels]
each_panel = pytest.mark.parametrize(
    ("dashboard", "panel"), PANELS, ids=[f"{dashboard.key}-{panel.key}" for dashboard, panel in PANELS]
)


def parts(query: Query) -> Iterator[tuple[str, set[str], str]]:
    """The metrics of a query as the service declares them, the labels that are asked for, and the type it must have."""
    match query:
        case Rate(counter=name):
            base = re.sub(r"_(sum|count)$", "", name)
            of_histogram = base in OURS and OURS[base].kind == "histogram"
            yield base if of_histogram else name, {*query.by, *query.where}, "histogram" if of_histogram else "counter"
        case Value(gauge=name):
            yield name, {*query.by, *query.where}, "gauge"
        case Quantile(histogram=name):
            yield name, {*query.by, *query.where}, "histogram"
        case Ratio(part=part, whole=whole):
            yield from (*parts(part), *parts(whole))


@each_panel
def test_a_panel_names_what_exists(dashboard: Dashboard, panel: Panel) -> None:
    for line in panel.lines:
        for name, labels, kind in parts(line.query):
            if name in THEIRS:
                assert labels <= THEIRS[name]
                continue
            assert name in OURS
            assert labels <= set(OURS[name].labels)
            assert OURS[name].kind == kind


@each_panel
def test_a_legend_names_the_labels_that_tell_its_lines_apart(dashboard: Dashboard, panel: Panel) -> None:
    for line in panel.lines:
        assert {field for _, field, _, _ in string.Formatter().parse(line.legend) if field} == by(line)
    legends = [line.legend for line in panel.lines]
    assert len(set(legends)) == len(legends)


def by(line: Line) -> set[str]:
    query = line.query.part if isinstance(line.query, Ratio) else line.query
    return set(query.by)


def test_both_rates_of_a_ratio_have_the_same_labels() -> None:
    ratios = [line.query for _, panel in PANELS for line in panel.lines if isinstance(line.query, Ratio)]
    assert ratios
    assert all(ratio.part.by == ratio.whole.by for ratio in ratios)


def test_every_metric_is_on_a_panel() -> None:
    shown = {name for _, panel in PANELS for line in panel.lines for name, _, _ in parts(line.query)}
    assert OURS.keys() | THEIRS.keys() == shown


def test_keys_are_unique_and_thresholds_are_in_order() -> None:
    assert len({dashboard.key for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        assert len({panel.key for panel in dashboard.panels}) == len(dashboard.panels)
    for _, panel in PANELS:
        if panel.warn is not None and panel.bad is not None:
            assert (panel.warn > panel.bad) == panel.below


def test_every_panel_says_what_it_shows_and_where_to_read_on() -> None:
    for _, panel in PANELS:
        assert panel.title
        assert panel.about.endswith(".")
        assert panel.runbook
        assert panel.lines


def test_a_runbook_is_an_entry_of_operations() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    headings = re.findall(r"^##+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {panel.runbook for _, panel in PANELS} <= anchors
