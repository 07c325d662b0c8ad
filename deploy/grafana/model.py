"""A dashboard's panels as Grafana has them: laid out in a grid, with units, thresholds, links and variables."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models

from streams.dashboards.panels import Dashboard, Panel, Unit

#: The data source that the provisioning names.
DATA_SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="prometheus")
TAG: Final = "interest-streams"
#: What every query must match besides: what is chosen at the top of a dashboard.
CHOSEN: Final = 'job=~"$job", instance=~"$instance"'
WIDTH: Final = 12
HEIGHT: Final = 8

_UNITS: Final[dict[Unit, str]] = {
    "s": units.Seconds,
    "us": units.Microseconds,
    "bytes": units.BytesIEC,
    "per_s": units.CountsPerSecond,
    "share": units.PercentUnit,
    "number": units.Short,
}
_ALL_ZERO: Final = models.MatcherConfig("byValue", {"reducer": "allIsZero", "op": "gte", "value": 0})
_HIDDEN: Final = models.DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": True, "viz": True})
_DOCUMENT: Final = "docs/operations.md"


def drawn(dashboard: Dashboard, runbook: str = "") -> models.Dashboard:
    """A dashboard as Grafana has it; `runbook` is the address of docs/operations.md where it is on the web."""
    made = (
        builders.Dashboard(f"Interest streams: {dashboard.title}")
        .uid(f"interests-{dashboard.key}")
        .description(dashboard.about)
        .tags([TAG])
        .time("now-1h", "now")
        .refresh("10s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            builders.DashboardLink("Dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .icon("external link")
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(_variable("job", "label_values(up, job)"))
        .with_variable(_variable("instance", 'label_values(up{job=~"$job"}, instance)'))
    )
    for number, panel in enumerate(dashboard.panels):
        made.with_panel(_panel(panel, number, runbook))
    return made.build()


def _variable(name: str, query: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(name.capitalize())
        .datasource(DATA_SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _panel(panel: Panel, number: int, runbook: str) -> timeseries.Panel:
    column, row = number % 2, number // 2
    made = (
        timeseries.Panel()
        .id(number + 1)
        .title(panel.title)
        .description(f"{panel.about}\n\nWhat to do: {_DOCUMENT}#{panel.runbook}")
        .datasource(DATA_SOURCE)
        .grid_pos(models.GridPos(h=HEIGHT, w=WIDTH, x=column * WIDTH, y=row * HEIGHT))
        .unit(_UNITS[panel.unit])
        .min(0)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(list(_steps(panel))))
        .thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED))
        .fill_opacity(8)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if panel.unit == "share":
        made.max(1)
    if panel.hide_zero:
        made.with_override(_ALL_ZERO, [_HIDDEN])
    if runbook:
        link = builders.DashboardLink("What to do").type(models.DashboardLinkType.LINK)
        made.links([link.url(f"{runbook}#{panel.runbook}").target_blank(True)])
    for ref_id, line in zip(string.ascii_uppercase, panel.lines, strict=False):
        made.with_target(
            prometheus.Dataquery()
            .ref_id(ref_id)
            .datasource(DATA_SOURCE)
            .expr(line.query.promql(also=CHOSEN))
            .legend_format(re.sub(r"\{(\w+)\}", r"{{\1}}", line.legend))
            .range()
        )
    return made


def _steps(panel: Panel) -> Iterator[models.Threshold]:
    """From which value on a line is of which colour, the lowest first; the first one has no value."""
    limits = [(panel.warn, "orange"), (panel.bad, "red")]
    colours = [(value, colour) for value, colour in limits if value is not None]
    if not panel.below:
        yield models.Threshold(None, "green")
        yield from (models.Threshold(value, colour) for value, colour in colours)
        return
    above = "green"
    steps: list[models.Threshold] = []
    for value, colour in colours:  # from the top down: what lies under a limit has its colour
        steps.insert(0, models.Threshold(value, above))
        above = colour
    yield models.Threshold(None, above)
    yield from steps
