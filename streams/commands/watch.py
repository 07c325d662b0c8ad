"""`interests watch USER`: a person's tree in the terminal, moving as events arrive."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from time import time
from typing import Annotated, Final

import typer
from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from streams.api.models import EvidenceEntry, InterestNode, LiveEvent, LiveUpdate
from streams.client import InterestClient, TryLater
from streams.commands.api_client import ApiUrl, KeyFile, open_client
from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of
from streams.commands.options import Evidence, User
from streams.commands.shell import EXIT_FAILED, console, print_error, register
from streams.commands.tree_drawing import draw_lines
from streams.commands.tree_view import Branch, Reason, TreeView, grow
from streams.commands.when import ago
from streams.interests.decay import decayed

_EXAMPLE = "interests watch u17"
_PER_S = 4
_EVENTS_KEPT: Final = 200

Updates = Annotated[
    int | None, typer.Option("--updates", min=1, help="End after so many; the first is the whole tree.")
]
All = Annotated[bool, typer.Option("--all", help="Small interests too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Each update as a line of JSON, for programs.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "watch", example=_EXAMPLE)(watch)


def watch(
    user: User, updates: Updates = None, evidence: Evidence = 0, everything: All = False, as_json: AsJson = False,
    api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Watch a person's tree and their last events until Ctrl-C.

    In a terminal the tree moves; where the output is piped, the tree is printed once and then a line an event. A lost
    connection is made again. Exit code 0: Ctrl-C; 1: the API is away for longer than five minutes.
    """
    out = console()
    with open_client(api, key_file) as client:
        try:
            if as_json:
                _as_json(client, user, updates)
            else:
                _watch(client, user, out, updates, evidence, fold=not everything)
        except KeyboardInterrupt:
            return  # the way to end it
    if updates is None:
        raise typer.Exit(EXIT_FAILED)


def _as_json(client: InterestClient, user: str, most: int | None) -> None:
    for number, update in enumerate(client.live(user, on_wait=_print_wait), 1):
        typer.echo(update.model_dump_json())
        if number == most:
            return


def _print_wait(error: TryLater, wait_s: float) -> None:
    print_error(f"{error}; trying again in {wait_s:.1f} s")


def _watch(client: InterestClient, user: str, out: Console, most: int | None, evidence: int, *, fold: bool) -> None:
    live_tree = WatchedTree(user, evidence)
    if out.is_terminal:
        _live(client, live_tree, out, most, fold=fold)
    else:
        _lines(client, live_tree, out, most, fold=fold)


def _live(client: InterestClient, live_tree: WatchedTree, out: Console, most: int | None, *, fold: bool) -> None:
    """Draw the tree anew four times a second; what is left at the end is its last state."""
    status = "connecting"

    def draw() -> Group | Text:
        return Group(*draw_live_tree(live_tree, int(time() * 1000), out, status, fold=fold))

    def wait(error: TryLater, wait_s: float) -> None:
        nonlocal status
        status = f"{error.title}: connecting again in {wait_s:.1f} s"

    with Live(get_renderable=draw, console=out, refresh_per_second=_PER_S):
        for update in client.live(live_tree.user_id, on_wait=wait):
            live_tree.apply(update)
            changes = live_tree.updates - 1
            status = f"live, {changes} change{'' if changes == 1 else 's'} so far; Ctrl-C ends it"
            if live_tree.updates == most:
                return


def _lines(client: InterestClient, live_tree: WatchedTree, out: Console, most: int | None, *, fold: bool) -> None:
    """The tree once, then a line an event."""
    for update in client.live(live_tree.user_id, on_wait=_print_wait):
        live_tree.apply(update)
        now_ms = int(time() * 1000)
        if live_tree.updates == 1:
            out.print(Group(*draw_tree(live_tree, now_ms, out, fold=fold), ""))
        for event in sorted(update.events, key=lambda event: event.ts_ms):
            out.print(event_line(event, now_ms, out))
        if live_tree.updates == most:
            return


@dataclass(slots=True)
class WatchedTree:
    """A tree that moves: its nodes as last sent, the last events (newest first), and how many updates there were.

    Between updates masses are aged with the half-life of each node.
    """

    user_id: str
    evidence: int = 1
    updates: int = field(default=0, init=False)
    events: deque[LiveEvent] = field(init=False, default_factory=lambda: deque(maxlen=_EVENTS_KEPT))
    _erased_at_ms: int = field(init=False, default=0)
    _nodes: dict[str, tuple[InterestNode, int]] = field(init=False, default_factory=dict)

    def apply(self, update: LiveUpdate) -> None:
        """Take an update: the whole tree, or the nodes that changed."""
        self.updates += 1
        if update.whole or update.erased:
            self._nodes = {}
        if update.erased:
            self.events.clear()
        self._erased_at_ms = update.erased_at_ms or self._erased_at_ms
        self._nodes = {**self._nodes, **{node.id: (node, update.at_ms) for node in update.nodes}}
        self.events.extendleft(sorted(update.events, key=lambda event: event.ts_ms))

    def view(self, now_ms: int) -> TreeView:
        """The tree at a moment."""
        nodes = [node for node, _ in self._nodes.values()]
        leaves = [leaf for leaf in (self._leaf(*entry, now_ms) for entry in self._nodes.values()) if not leaf.expired]
        profile = next((node for node in nodes if node.level == "profile"), None)
        grown = grow(leaf for leaf in leaves if leaf.level != "profile")
        return TreeView(
            user_id=self.user_id, at_ms=now_ms,
            first_ms=profile.first_ms if profile else 0, last_ms=profile.last_ms if profile else 0,
            count=profile.count if profile else 0, erased_at_ms=self._erased_at_ms,
            topics=grown.topics, session=grown.session, contexts=grown.contexts, aversions=grown.aversions, expired=0,
        )  # fmt: skip

    def name_of(self, path: str) -> str:
        """What the API calls a path, as far as a node names it."""
        return next((node.name for node, _ in self._nodes.values() if node.path == path), path)

    def _leaf(self, node: InterestNode, at_ms: int, now_ms: int) -> Branch:
        # An update's clock is the server's: one that runs ahead must not make masses grow.
        mass = node.mass
        if node.half_life_s is not None:
            mass = decayed(mass, at_ms, now_ms, node.half_life_s * 1000)
        return Branch(
            level=node.level, path=node.path, name=node.name, mass=mass, share=0.0, net=node.net,
            first_ms=node.first_ms, last_ms=node.last_ms, count=node.count, expired=node.expires_at_ms <= now_ms,
            reasons=tuple(_reason(entry) for entry in node.evidence[: self.evidence]),
        )  # fmt: skip


def _reason(entry: EvidenceEntry) -> Reason:
    return Reason(
        event_id=entry.event_id, type=entry.type or "", item_id=entry.item_id or "", title=entry.title or "", path="",
        ts_ms=entry.ts_ms, weight=entry.weight, share=entry.share,
    )  # fmt: skip


def draw_tree(live_tree: WatchedTree, now_ms: int, console: Console, *, fold: bool) -> list[Text]:
    """The tree as lines."""
    tree = live_tree.view(now_ms)
    lines = draw_lines(tree, console, live_tree.name_of, fold=fold)
    if tree.is_empty:
        lines += [Text(), Text("nothing yet: what they do will show here", "dim")]
    return lines


def draw_live_tree(live_tree: WatchedTree, now_ms: int, console: Console, status: str, *, fold: bool) -> list[Text]:
    """The tree and the last events in as many lines as the console has; `status` is the last."""
    glyphs = glyphs_of(console)
    lines = draw_tree(live_tree, now_ms, console, fold=fold)
    room = max(8, console.height - 1)
    events = list(live_tree.events)[: max(2, min(8, room // 4))]
    tail = [Text(), Text("Last events", "bold cyan"), *(event_line(event, now_ms, console) for event in events)]
    tail = tail if events else []
    free = room - len(tail) - 2
    if len(lines) > free:
        lines = [*lines[: free - 1], Text(f"{glyphs.cut} {len(lines) - free + 1} more lines", "dim")]
    return [*lines, *tail, Text(), Text(glyphs.cut_to(status, min(console.width, WIDEST) - 1), "dim")]


def event_line(event: LiveEvent, now_ms: int, console: Console) -> Text:
    """An event in one line: when, what, how much it weighs, and to which item."""
    glyphs = glyphs_of(console)
    line = Text(f"{ago(event.ts_ms, now_ms):>11}  ", "dim")
    line.append(f"{event.type:<10}", "not dim")
    line.append(f" {glyphs.signed(event.weight):>6}  ", "green not dim" if event.weight >= 0 else "red not dim")
    line.append(_item(event, glyphs, min(console.width, WIDEST) - 1 - cell_len(line.plain)), "not dim")
    return line


def _item(event: LiveEvent, glyphs: Glyphs, room: int) -> str:
    about = glyphs.quoted(" ".join(event.title.split())) if event.title else event.item_id or ""
    return glyphs.cut_to(about, room)
