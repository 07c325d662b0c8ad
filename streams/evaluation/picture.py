"""The results as a page of its own: bars with their errors, no server and no network needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plotly import graph_objects, subplots  # type: ignore[import-untyped]  # it has no types

_COLOURS = {"interests": "#0b6e4f", "without": "#7fb69e"}
_BASELINE = "#b3b8bd"
_BAR_PX = 24
_GAP_PX = 70


def write_picture(result: dict[str, Any], file: Path) -> None:
    """Draw a result of `interests eval` into one HTML file: a row of charts for each group, a chart a measure."""
    groups = [group for group in result["groups"] if "half" not in group]
    rows = [(group, list(next(iter(result["groups"][group]["scorers"].values())))) for group in groups]
    wide = max(len(measures) for _, measures in rows)
    titles = [
        f"{group}: {measures[at]} ({result['groups'][group]['cases']:,} cases)" if at < len(measures) else ""
        for group, measures in rows
        for at in range(wide)
    ]
    bars_high = len(next(iter(result["groups"].values()))["scorers"]) * _BAR_PX
    height = 160 + len(rows) * (bars_high + _GAP_PX)
    figure = subplots.make_subplots(
        rows=len(rows), cols=wide, subplot_titles=titles, shared_yaxes=True, vertical_spacing=_GAP_PX / height
    )
    for row, (group, measures) in enumerate(rows, start=1):
        scorers = result["groups"][group]["scorers"]
        names = list(reversed(scorers))
        for column, measure in enumerate(measures, start=1):
            means = [scorers[name][measure]["mean"] for name in names]
            bars = graph_objects.Bar(
                x=means, y=names, orientation="h", showlegend=False, marker_color=[_colour(name) for name in names],
                error_x={"array": [scorers[name][measure]["error"] for name in names], "thickness": 1, "width": 2},
                text=[f"{mean:.3f}" for mean in means], textposition="inside", insidetextanchor="start",
                textfont_size=11, textangle=0,
            )  # fmt: skip
            figure.add_trace(bars, row=row, col=column)
    figure.update_layout(
        title=f"{result['name']} · {result['encoder']}", template="plotly_white", height=height,
        margin={"l": 10, "r": 10}, font={"size": 12},
    )  # fmt: skip
    figure.update_yaxes(automargin=True)
    figure.write_html(file, include_plotlyjs=True, full_html=True)


def _colour(name: str) -> str:
    return _COLOURS.get(name.partition(" ")[0], _BASELINE)
