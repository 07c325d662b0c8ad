"""Charts as SVG, drawn by hand: no browser is needed, and a change in a figure is a change in one line of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

OURS, SECOND, PLAIN = "#0b6e4f", "#7fb69e", "#b3b8bd"
_INK, _FAINT = "#24292f", "#8c959f"
_BAR, _LABEL, _WIDE, _GAP, _TOP, _VALUE = 20, 190, 300, 40, 46, 48
_PLOT_HIGH: Final = 180


class Bar(NamedTuple):
    """A bar: its name, length, standard error (0: none is drawn) and colour."""

    name: str
    value: float
    error: float = 0.0
    colour: str = PLAIN


def bars(title: str, panels: Mapping[str, Sequence[Bar]]) -> str:
    """Panels side by side, each with a scale of its own; negative bars go to the left."""
    high = _TOP + _BAR * max(len(rows) for rows in panels.values()) + 24
    drawn: list[str] = []
    for at, (name, rows) in enumerate(panels.items()):
        left = at * (_LABEL + _WIDE + _VALUE + _GAP)
        drawn.append(_text(left + _LABEL, _TOP - 10, name, bold=True))
        least = min(0.0, *(row.value - row.error for row in rows))
        most = max(0.0, *(row.value + row.error for row in rows)) or 1.0
        scale = _WIDE / (most - least)
        zero = left + _LABEL - least * scale
        for place, row in enumerate(rows):
            drawn += _bar(row, left, zero, scale, _TOP + place * _BAR)
    return _page(title, len(panels) * (_LABEL + _WIDE + _VALUE + _GAP), high, drawn)


def _bar(row: Bar, left: float, zero: float, scale: float, y: float) -> list[str]:
    end = zero + row.value * scale
    x, wide = min(zero, end), abs(end - zero)
    lines = [
        _text(left + _LABEL - 8, y + 14, row.name, anchor="end"),
        f'<rect x="{x:.1f}" y="{y + 3}" width="{wide:.1f}" height="{_BAR - 6}" fill="{row.colour}"/>',
        _text(left + _LABEL + _WIDE + 8, y + 14, f"{round(row.value, 3) + 0.0:.3f}"),
    ]
    if row.error:
        by = row.error * scale
        lines.append(f'<path d="M{end - by:.1f} {y + _BAR / 2}H{end + by:.1f}" stroke="{_INK}"/>')
    return lines


class Line(NamedTuple):
    """A line through points of equal distance, its colour, and whether it is dashed."""

    name: str
    values: Sequence[float]
    colour: str = PLAIN
    dashed: bool = False


def curves(title: str, places: Sequence[str], panels: Mapping[str, Sequence[Line]]) -> str:
    """Panels side by side, each with a scale of its own that does not begin at 0; values stand at their points,
    those of dashed lines below."""
    drawn: list[str] = []
    for at, (name, lines) in enumerate(panels.items()):
        left = 30 + at * (_WIDE + 2 * _GAP)
        drawn.append(_text(left, _TOP - 10, name, bold=True))
        values = [value for line in lines for value in line.values]
        least, most = min(values), max(values)
        scale = (_PLOT_HIGH - 40) / ((most - least) or 1.0)
        step = _WIDE / (len(places) - 1)
        for line in lines:
            points = [
                (left + place * step, _TOP + _PLOT_HIGH - 20 - (value - least) * scale)
                for place, value in enumerate(line.values)
            ]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            dashes = ' stroke-dasharray="5 4"' if line.dashed else ""
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dashes}/>')
            drawn += [
                _text(x, y + (16 if line.dashed else -6), f"{value:.3f}", colour=line.colour)
                for (x, y), value in zip(points, line.values, strict=True)
            ]
        for place, label in enumerate(places):
            drawn.append(_text(left + place * step, _TOP + _PLOT_HIGH + 10, label, colour=_FAINT))
        for place, line in enumerate(lines):
            drawn.append(_text(left + place * 130, _TOP + _PLOT_HIGH + 30, line.name, colour=line.colour, bold=True))
    return _page(title, 30 + len(panels) * (_WIDE + 2 * _GAP), _TOP + _PLOT_HIGH + 44, drawn)


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, colour: str = _INK) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{weight}>{escape(text)}</text>'


def _page(title: str, width: float, height: float, drawn: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>'
    )
    return "\n".join([head, f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>', *drawn, "</svg>", ""])
