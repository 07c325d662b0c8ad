"""Grafana's files are those of the code, and hold together as far as that can be told without a Grafana."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from deploy.grafana.__main__ import FOLDER, files, main, stale
from deploy.grafana.model import CHOSEN, drawn
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import WINDOW, Value

ROOT: Final = Path(__file__).resolve().parents[2]
PROVISIONING: Final = ROOT / "deploy" / "grafana" / "provisioning"
MADE: Final = {name: json.loads(text) for name, text in files().items()}
each_file = pytest.mark.parametrize("name", MADE)


def test_the_files_are_those_of_the_code() -> None:
    assert stale(FOLDER, files()) == [], "run python -m deploy.grafana"


@each_file
def test_panels_have_ids_of_their_own_and_lie_beside_each_other(name: str) -> None:
    panels = MADE[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: list[tuple[int, int]] = []
    for grid in (panel["gridPos"] for panel in panels):
        assert grid["x"] + grid["w"] <= 24
        cells += itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"]))
    assert len(set(cells)) == len(cells)


@each_file
def test_every_panel_asks_the_data_source_for_what_is_chosen(name: str) -> None:
    for panel in MADE[name]["panels"]:
        assert panel["datasource"]["uid"] == "prometheus"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0
        for target in panel["targets"]:
            selectors = re.findall(r'\{((?:[^{}"]|"[^"]*")*)\}', target["expr"])  # a label's value may hold braces
            assert selectors
            assert all(selector.endswith(CHOSEN) for selector in selectors)
            assert ("rate(" in target["expr"]) == (WINDOW in target["expr"])
            assert target["legendFormat"]
            assert not re.search(r"(?<!\{)\{\w", target["legendFormat"])


@each_file
def test_units_are_grafanas_and_thresholds_rise_from_nothing(name: str) -> None:
    known = {value for value in vars(units).values() if isinstance(value, str)}
    for panel in MADE[name]["panels"]:
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in known
        first, *others = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert first is None
        assert others == sorted(others)


@each_file
def test_grafanas_own_types_read_a_file_and_give_it_again(name: str) -> None:
    read = models.Dashboard.from_json(MADE[name])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == MADE[name]


@each_file
def test_a_dashboard_refreshes_and_leads_to_the_others(name: str) -> None:
    dashboard = MADE[name]
    assert dashboard["refresh"] == "10s"
    (link,) = dashboard["links"]
    assert (link["type"], link["tags"]) == ("dashboards", dashboard["tags"])
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["job", "instance"]
    assert all(variable["datasource"]["uid"] == "prometheus" for variable in dashboard["templating"]["list"])


def test_uids_are_their_own() -> None:
    assert len({dashboard["uid"] for dashboard in MADE.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize(
    ("warn", "bad", "below", "steps"),
    [
        (None, None, False, [(None, "green")]),
        (1.0, 2.0, False, [(None, "green"), (1.0, "orange"), (2.0, "red")]),
        (None, 2.0, False, [(None, "green"), (2.0, "red")]),
        (2.0, 1.0, True, [(None, "red"), (1.0, "orange"), (2.0, "green")]),
        (None, 1.0, True, [(None, "red"), (1.0, "green")]),
        (1.0, None, True, [(None, "orange"), (1.0, "green")]),
    ],
)
def test_colours(warn: float | None, bad: float | None, below: bool, steps: list[tuple[float | None, str]]) -> None:
    panel = Panel(
        key="p", title="P", about="P.", unit="number", lines=(Line(Value("up"), "up"),), warn=warn, bad=bad, below=below
    )
    dashboard: Any = drawn(Dashboard(key="d", title="D", about="D.", panels=(panel,))).panels[0]
    assert [(step.value, step.color) for step in dashboard.field_config.defaults.thresholds.steps] == steps


def test_a_copy_links_to_your_own_pages_and_old_files_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gone.json").write_text("{}")
    arguments = ["--out", str(tmp_path), "--runbook", "https://docs.example.org/operations/"]
    main(arguments)
    assert set(capsys.readouterr().out.split()) == {"gone.json", *MADE}
    assert {path.name for path in tmp_path.iterdir()} == set(MADE)
    for path in tmp_path.iterdir():
        for panel in json.loads(path.read_text())["panels"]:
            (link,) = panel["links"]
            assert link["url"].startswith("https://docs.example.org/operations/#")
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--check"])
    assert ended.value.code == 0
    (tmp_path / "api.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"out of date: api\.json"):
        main([*arguments, "--check"])


def test_grafana_is_told_where_both_lie() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"], source["url"]) == ("prometheus", "prometheus", "$PROMETHEUS_URL")
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/interests.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
