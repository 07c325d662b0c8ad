"""The rooms of the code, measured and drawn from its imports: `make architecture`, or `python -m deploy.architecture`.

A room is a package directly below `streams`, or `encoders` and `deploy` as a whole. A room's floor is the longest
chain of imports below it. Arrows that follow from others are left out of the picture, not out of the figures.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Final

import grimp
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[1]
PICTURE: Final = ROOT / "docs" / "pictures" / "architecture.svg"
PACKAGES: Final = ("streams", "encoders", "deploy")

_WIDTH, _GAP_X, _GAP_Y, _MARGIN = 310, 28, 46, 20
_LINE, _HEAD, _CHARS = 15, 30, 44
_EXCEPTION: Final = re.compile(r"#\s*(?:noqa|type: ignore)")
_STYLE: Final = """
:root { color-scheme: light dark }
text { font: 12px system-ui, sans-serif; fill: #222 } .name { font: 600 15px system-ui, sans-serif }
.small { fill: #555 } rect { fill: #f4f6f8; stroke: #8a97a5 } path { fill: none; stroke: #8a97a5; stroke-width: 1.2 }
.back { fill: #fff; stroke: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 } .small { fill: #aab } rect { fill: #1f2630; stroke: #66748a } .back { fill: #14181e }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room: its sentence (of its `__init__`), what lies directly in it, and its figures."""

    name: str
    about: str
    modules: tuple[str, ...]
    files: int
    lines: int
    floor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """All rooms, and who imports whom how often."""

    rooms: Mapping[str, Room]
    imports: Mapping[tuple[str, str], int]
    loose: tuple[str, ...]
    module_floors: int
    module_circles: int
    exceptions: int

    @property
    def floors(self) -> int:
        """How many floors the rooms stand on."""
        return 1 + max(room.floor for room in self.rooms.values())


def room_of(module: str) -> str:
    """The room of a module: `streams.store.codec` lies in `store`, `encoders.text` in `encoders`."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "streams" and rest else package


def survey(root: Path) -> House:
    """Read the code below `root`, which must come first on `sys.path`."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    modules = sorted(graph.modules)
    imports: dict[tuple[str, str], int] = {}
    for importer in modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = (room_of(importer), room_of(imported))
            if pair[0] != pair[1]:
                imports[pair] = imports.get(pair, 0) + 1
    files = {module: _file(root, module) for module in modules}
    loose = tuple(
        m for m in modules if m.count(".") == 1 and m.startswith("streams.") and files[m].name != "__init__.py"
    )
    names = sorted({room_of(module) for module in modules if module != "streams"} - {room_of(m) for m in loose})
    below = _below({name: {b for a, b in imports if a == name} for name in names})
    inner = {m: set(graph.find_modules_directly_imported_by(m)) for m in modules}
    circles = [group for group in _circles(inner) if len(group) > 1]
    return House(
        rooms={name: _room(name, below[name], [m for m in modules if room_of(m) == name], files) for name in names},
        imports=imports, loose=loose, module_floors=1 + max(_below(inner).values()), module_circles=len(circles),
        exceptions=sum(len(_EXCEPTION.findall(file.read_text(encoding="utf-8"))) for file in files.values()),
    )  # fmt: skip


def _file(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _room(name: str, floor: int, modules: Sequence[str], files: Mapping[str, Path]) -> Room:
    package = next((module for module in modules if files[module].name == "__init__.py"), modules[0])
    text = files[package].read_text(encoding="utf-8")
    quoted = re.match(r'"""(.*?)(?:"""|\n\n)', text, re.DOTALL)
    own = sorted({module.removeprefix(f"{package}.").partition(".")[0] for module in modules if module != package})
    lines = sum(len(files[module].read_text(encoding="utf-8").splitlines()) for module in modules)
    return Room(
        name=name,
        about=" ".join(quoted[1].replace("`", "").split()) if quoted else "",
        modules=tuple(own),
        files=len(modules),
        lines=lines,
        floor=floor,
    )


def _circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other; those of one node are no circle."""
    reach = {node: _reached(node, edges) for node in edges}
    groups: dict[frozenset[str], None] = {}
    for node in edges:
        groups[frozenset({other for other in reach[node] if node in reach.get(other, ())} | {node})] = None
    return [sorted(group) for group in groups]


def _reached(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = list(edges.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += edges.get(node, ())
    return seen


def _below(edges: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """The longest chain of imports below each node; a circle counts as one node."""
    group_of = {node: tuple(group) for group in _circles(edges) for node in group}
    floors: dict[tuple[str, ...], int] = {}

    def floor(group: tuple[str, ...]) -> int:
        if group not in floors:
            under = {group_of[one] for node in group for one in edges.get(node, ()) if one in group_of} - {group}
            floors[group] = 1 + max((floor(other) for other in under), default=-1)
        return floors[group]

    return {node: floor(group) for node, group in group_of.items()}


def needed(imports: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The arrows that do not follow from others (the transitive reduction)."""
    edges: dict[str, set[str]] = {}
    for importer, imported in imports:
        edges.setdefault(importer, set()).add(imported)
    return [
        (importer, imported)
        for importer, targets in sorted(edges.items())
        for imported in sorted(targets)
        if not any(imported in _reached(other, edges) for other in targets - {imported})
    ]


def drawn(house: House) -> str:
    """The picture, as SVG: rooms on their floors, upper ones import from lower ones."""
    rows = [
        sorted(room.name for room in house.rooms.values() if room.floor == floor)
        for floor in reversed(range(house.floors))
    ]
    widest = max(len(row) for row in rows)
    width = 2 * _MARGIN + widest * _WIDTH + (widest - 1) * _GAP_X
    places: dict[str, tuple[float, float, float]] = {}
    boxes: list[str] = []
    y: float = _MARGIN
    for row in rows:
        texts = {name: _lines(house.rooms[name]) for name in row}
        height = _HEAD + _LINE * max(len(lines) for lines in texts.values()) + 8
        x = (width - len(row) * _WIDTH - (len(row) - 1) * _GAP_X) / 2
        for name in row:
            places[name] = (x, y, height)
            boxes += _box(name, texts[name], x, y, height)
            x += _WIDTH + _GAP_X
        y += height + _GAP_Y
    arrows = [_arrow(places[a], places[b]) for a, b in needed(house.imports) if a in places and b in places]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {y - _GAP_Y + _MARGIN:g}" role="img">',
        "<title>The rooms of the code and who imports whom</title>", f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
        '<path d="M0 0 L8 4 L0 8" /></marker></defs>', '<rect class="back" width="100%" height="100%" />',
        *arrows, *boxes, "</svg>", "",
    ])  # fmt: skip


def _lines(room: Room) -> list[tuple[str, str]]:
    about = [("", line) for line in wrap(room.about, _CHARS)]
    return about + [("small", line) for line in wrap(", ".join(room.modules), _CHARS)]


def _box(name: str, lines: Sequence[tuple[str, str]], x: float, y: float, height: float) -> list[str]:
    box = [f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{height:g}" rx="6" />',
           f'<text class="name" x="{x + 12:g}" y="{y + 21:g}">{escape(name)}</text>']  # fmt: skip
    for number, (kind, line) in enumerate(lines):
        place = f'x="{x + 12:g}" y="{y + _HEAD + 10 + number * _LINE:g}"'
        box.append(f'<text class="{kind}" {place}>{escape(line)}</text>')
    return box


def _arrow(above: tuple[float, float, float], under: tuple[float, float, float]) -> str:
    x, y = above[0] + _WIDTH / 2, above[1] + above[2]
    to_x, to_y = under[0] + _WIDTH / 2, under[1]
    bend = (to_y - y) / 2
    curve = f"M{x:g} {y:g} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y - 2:g}"
    return f'<path d="{curve}" marker-end="url(#tip)" />'


def table(house: House) -> Table:
    """The figures of the house: its rooms, floors, circles, loose modules, lines and exceptions of the checks."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("floor", "room", "modules", "lines", "imports from"):
        made.add_column(heading, justify="right" if heading in ("floor", "modules", "lines") else "left")
    for room in sorted(house.rooms.values(), key=lambda room: (-room.floor, room.name)):
        targets = ", ".join(sorted(b for a, b in house.imports if a == room.name))
        made.add_row(str(room.floor), room.name, str(room.files), f"{room.lines:,}", targets)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures and write the picture; with --check write nothing and end with 1 where it is out of date."""
    parser = argparse.ArgumentParser(prog="python -m deploy.architecture", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only look whether the picture is that of the code")
    check = parser.parse_args(arguments).check
    house = survey(ROOT)
    out = Console(highlight=False)
    out.print(table(house))
    out.print(
        f"{house.floors} floors of rooms, {house.module_floors} of modules; {house.module_circles} circles; "
        f"{len(house.loose)} loose modules in streams/; {house.exceptions} exceptions of the checks"
    )
    picture = drawn(house)
    if check:
        sys.exit(PICTURE.read_text(encoding="utf-8") != picture)
    PICTURE.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
