"""Drawing a user's tree on a terminal of any width: names, bars, shares, when last seen, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of, percent
from streams.commands.tree_view import Branch, LearnedLevel, NameOf, Reason, Touched, TreeView
from streams.commands.when import ago, lasting, stamp

_NARROW: Final = 60
_FOLD: Final = (8, 6)
"""Topics, and interests of one topic, that are drawn before the rest is summed up."""
_RECENTS: Final = 5
"""Recent items that are drawn before the rest is summed up."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Widths, in cells, of name and bar; the columns to their right are fixed."""

    name: int
    bar: int
    last: bool

    @staticmethod
    def of(width: int) -> Columns:
        """Share a line of `width` cells out."""
        width = min(width, WIDEST) - 1
        last = width >= _NARROW - 1
        free = width - (7 + 7 + (13 if last else 0)) - 1
        bar = max(8, free * 2 // 5)
        return Columns(max(12, free - bar), bar, last)

    @property
    def width(self) -> int:
        """The whole line."""
        return self.name + 1 + self.bar + 7 + 7 + (13 if self.last else 0)


def draw(tree: TreeView, console: Console, name_of: NameOf, *, fold: bool = True) -> RenderableType:
    """The tree as lines for `console`; with `fold` small branches are summed up."""
    return Group(*draw_lines(tree, console, name_of, fold=fold))


def draw_lines(tree: TreeView, console: Console, name_of: NameOf, *, fold: bool = True) -> list[Text]:
    """The lines of the drawing."""
    drawing = _Drawing(
        tree=tree, columns=Columns.of(console.width), glyphs=glyphs_of(console), name_of=name_of, fold=fold
    )
    return list(drawing.lines())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawing:
    tree: TreeView
    columns: Columns
    glyphs: Glyphs
    name_of: NameOf
    fold: bool

    def lines(self) -> Iterator[Text]:
        yield from self.header()
        if self.tree.topics:
            yield from self.block("Interests", self.tree.topics)
        if self.tree.session:
            yield from self.session(self.tree.session)
        if self.tree.contexts:
            yield from self.block("Situations", self.tree.contexts)
        if self.tree.aversions:
            yield from self.block("Pushed away", self.tree.aversions)
        if self.tree.learned:
            yield from self.learned(self.tree.learned)
        if self.tree.recents and not self.tree.is_empty:
            yield from self.recents(self.tree.recents)
        yield from self.footer()

    def header(self) -> Iterator[Text]:
        tree = self.tree
        yield Text(self.glyphs.cut_to(tree.user_id, self.columns.width), "bold")
        facts = [f"{tree.count:,} event{'' if tree.count == 1 else 's'}"]
        if tree.last_ms:
            facts.append(f"last {ago(tree.last_ms, tree.at_ms)}")
        if tree.first_ms:
            facts.append(f"since {stamp(tree.first_ms)[:10]}")
        facts.append(f"as of {stamp(tree.at_ms)}")
        while cell_len(line := f" {self.glyphs.dot} ".join(facts)) > self.columns.width:
            facts.pop()
        yield Text(line, "dim")
        if tree.erased_at_ms:
            rest = "nothing came since" if tree.is_empty else "what follows came later"
            yield Text(f"erased on {stamp(tree.erased_at_ms)}; {rest}", "yellow")

    def block(self, title: str, branches: Sequence[Branch]) -> Iterator[Text]:
        yield Text()
        heading = Text(f"{'share':>6} {'net':>6}" + ("  last seen" if self.columns.last else ""), "dim")
        yield Text.assemble((self.glyphs.fit(title, self.columns.name + 1 + self.columns.bar), "bold cyan"), heading)
        most = max(branch.mass for branch in branches)
        shown = branches[: _FOLD[0]] if self.fold else branches
        for branch in shown:
            yield from self.branch(branch, most, "", "")
        yield from self.rest(branches[len(shown) :], "")

    def branch(self, branch: Branch, most: float, lead: str, below: str) -> Iterator[Text]:
        """A branch's line, its reasons where nothing lies below it, and its children."""
        yield self.row(branch, most, lead)
        children = branch.children[: _FOLD[1]] if self.fold else branch.children
        more = branch.children[len(children) :]
        if not children:
            yield from (self.reason(reason, below) for reason in branch.reasons)
        for child in children:
            is_last = child is children[-1] and not more
            lead_of = self.glyphs.last if is_last else self.glyphs.child
            yield from self.branch(child, most, below + lead_of, below + ("   " if is_last else self.glyphs.beside))
        yield from self.rest(more, below + self.glyphs.last)

    def row(self, branch: Branch, most: float, lead: str) -> Text:
        style = "dim" if branch.expired else "" if lead else "bold"
        name = self.label(branch)
        line = Text.assemble((lead, "dim"))
        line.append(self.glyphs.fit(name, self.columns.name - cell_len(lead)), style)
        line.append(" ")
        line.append_text(self.bar(branch, most))
        line.append(f"{percent(branch.share):>6} ")
        line.append(f"{self.glyphs.signed(branch.net):>6}", "green" if branch.net >= 0 else "red")
        if self.columns.last:
            line.append(f"  {'faded' if branch.expired else ago(branch.last_ms, self.tree.at_ms)}", "dim")
        return line

    def label(self, branch: Branch) -> str:
        if branch.path == "/":
            return "Everything"
        if branch.level == "context":
            return branch.path.strip("/").replace("/", ": ", 1)
        name = branch.name or branch.path
        return name[:1].upper() + name[1:]

    def bar(self, branch: Branch, most: float) -> Text:
        """The mass as a bar; of it, what was liked and what was pushed away."""
        cells = round(self.columns.bar * branch.mass / most) if most else 0
        if not cells:
            trace = self.glyphs.trace if branch.net >= 0 else self.glyphs.disliked
            return Text(self.glyphs.fit(trace, self.columns.bar), "green" if branch.net >= 0 else "red")
        disliked = round(cells * (1 - branch.net) / 2)
        bar = Text(self.glyphs.liked * (cells - disliked), "dim" if branch.expired else "green")
        bar.append(self.glyphs.disliked * disliked, "red")
        bar.append(" " * (self.columns.bar - cells))
        return bar

    def learned(self, learned: LearnedLevel) -> Iterator[Text]:
        """Which model says something of them, of what, and which events it looked at most."""
        yield Text()
        line = Text.assemble(("Learned", "bold cyan"), (f"  by {learned.model}", ""))
        if learned.made_ms:
            line.append(f", made {ago(learned.made_ms, self.tree.at_ms)}", "dim")
        line.truncate(self.columns.width)
        yield line
        tasks = ", ".join(path.strip("/") or "interest" for path in learned.paths)
        late_s = (self.tree.last_ms - learned.last_ms) / 1000
        late = f" {self.glyphs.dot} it has not seen the last {lasting(late_s)}" if late_s > 0 else ""
        yield Text(self.glyphs.cut_to(f"{tasks}{late}", self.columns.width), "dim")
        yield from (self.reason(reason, "", attention=True) for reason in learned.reasons)

    def reason(self, reason: Reason, below: str, *, attention: bool = False) -> Text:
        """One contribution, cut to the line: its item, its event, its weight then, its share, when."""
        when = ago(reason.ts_ms, self.tree.at_ms)
        weighed = f"{self.glyphs.signed(reason.weight)} = {percent(reason.share)} of it, {when}"
        if attention:
            weighed = f"{percent(reason.share)} of its attention, {when}"
        lead = f"{below}{self.glyphs.dot} "
        room = self.columns.width - cell_len(lead) - cell_len(weighed) - 2
        quoted = self.quoted(reason.item_id, reason.title)
        item = " ".join(part for part in (reason.type, quoted) if part)
        event_room = min(cell_len(reason.event_id), max(0, room - 24)) if item else room
        line = Text.assemble((lead, "dim"))
        if item:
            line.append(self.glyphs.fit(item, room - event_room - (1 if event_room else 0)), "dim italic")
            line.append(" " if event_room else "")
        line.append(self.glyphs.fit(reason.event_id, event_room), "dim")
        line.append(f"  {weighed}", "dim")
        return line

    def quoted(self, item_id: str, title: str) -> str:
        """What to call an item."""
        return f"{self.glyphs.quotes[0]}{title}{self.glyphs.quotes[1]}" if title else item_id

    def recents(self, recents: Sequence[Touched]) -> Iterator[Text]:
        yield Text()
        yield Text("Last items", "bold cyan")
        shown = recents[:_RECENTS] if self.fold else recents
        for one in shown:
            weight = self.glyphs.signed(one.weight) if one.weight else "taken back"
            said = f"{weight}, {ago(one.ts_ms, self.tree.at_ms)}"
            lead = f"{self.glyphs.dot} "
            room = self.columns.width - cell_len(lead) - cell_len(said) - 2
            item = self.glyphs.fit(self.quoted(one.item_id, one.title), room)
            yield Text.assemble((lead, "dim"), (item, "dim italic"), (f"  {said}", "dim"))
        if more := len(recents) - len(shown):
            yield Text(f"and {more} more (--all shows them)", "dim")

    def rest(self, branches: Sequence[Branch], lead: str) -> Iterator[Text]:
        if branches:
            share = percent(sum(branch.share for branch in branches))
            yield Text(f"{lead}and {len(branches)} more with {share} (--all shows them)", "dim")

    def session(self, session: Branch) -> Iterator[Text]:
        yield Text()
        paths = Counter(reason.path for reason in session.reasons if reason.path)
        about = ", ".join(self.trail(path) for path, _ in paths.most_common(2))
        line = Text.assemble(("Right now", "bold cyan"), (f"  {ago(session.last_ms, self.tree.at_ms)}", "dim"))
        if about:
            line.append(self.glyphs.fit(f"  mostly {about}", self.columns.width - cell_len(line.plain)).rstrip())
        yield line
        yield from (self.reason(reason, "") for reason in session.reasons)

    def trail(self, path: str) -> str:
        """The names along a path: `Sports › Football`."""
        steps = path.strip("/").split("/")
        names = (self.name_of("/" + "/".join(steps[: n + 1])) for n in range(len(steps)))
        return self.glyphs.into.join(name[:1].upper() + name[1:] for name in names)

    def footer(self) -> Iterator[Text]:
        tree = self.tree
        if not tree.is_empty:
            yield Text()
            g = self.glyphs
            legend = f"{g.liked} liked {g.disliked} pushed away {g.dot} net: from {g.minus}1 to 1"
            yield Text(g.cut_to(legend, self.columns.width), "dim")
        if tree.expired and not tree.is_empty:
            yield Text(f"{tree.expired} node{'s have' if tree.expired > 1 else ' has'} faded (--all shows them)", "dim")
