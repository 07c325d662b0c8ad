"""Drawing scored items on a terminal: a bar of the parts of each score, and the interests that made it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from streams.api.models import EvidenceEntry
from streams.api.score_models import Explanation, Pull, RankedItem, RecentPull, ScoreParts
from streams.commands.glyphs import WIDEST, Glyphs, glyphs_of, percent
from streams.commands.when import ago, stamp
from streams.ranking.parts import Kind

_STYLES: Final = {"interest": "green", "recent": "yellow", "fresh": "cyan", "popular": "magenta", "taken": "red"}
_OTHERS: Final = {
    "freshness": "How new it is", "popularity": "How popular it is", "touched": "When anybody last took it up",
    "shares": "How much of their interest its topic has",
}  # fmt: skip
#: Parts that learned weights give an item and no interest or recent item, as they are called in a line of reasons.
_BESIDES: Final[dict[str, str]] = {"shares": "share of its topic", "touched": "taken up lately"}
_REASONS: Final = 3
_SLIGHT: Final = 0.005
"""Share of a score below which what moved it is summed up with the rest."""
_PRIOR: Final = "little is known of them: interests of their cohort, people who began alike, are added"
_NOTHING: Final = "nothing is known of them: this is what is new and popular"


def draw_ranked(
    user_id: str, at_ms: int, items: Sequence[RankedItem], console: Console, *, prior: bool,
    erased_at_ms: int | None = None, texts: Sequence[str] = (), weights: int = 0, kind: Kind | None = None,
) -> RenderableType:  # fmt: skip
    """Items in order, each with its bar and, where they were asked for, its reasons; `texts` are those ranked.

    `weights` is the version of the weights, 0 for the fixed ones, `kind` that of the lists they were learned from.
    """
    drawing = _Scores(glyphs_of(console), min(console.width, WIDEST) - 1, at_ms, weights, kind)
    return Group(*drawing.list(user_id, items, texts, prior=prior, erased_at_ms=erased_at_ms))


def draw_explained(explanation: Explanation, console: Console, *, evidence: int, fold: bool = True) -> RenderableType:
    """Why an item has its score: the interests that pulled and pushed, up to `evidence` events each, and the sum.

    With `fold` those that hardly moved it are summed up.
    """
    drawing = _Scores(
        glyphs_of(console),
        min(console.width, WIDEST) - 1,
        explanation.at_ms,
        explanation.weights_version,
        explanation.weights_kind,
    )
    return Group(*drawing.explanation(explanation, evidence, fold=fold))


def label(pull: Pull) -> str:
    """What to call the interest behind a pull."""
    name = pull.name[:1].upper() + pull.name[1:]
    if pull.level == "aversion":
        name = "All they turn away from" if pull.path == "/" else f"Turned away from {name}"
    if pull.level == "context" and pull.path != "/":
        name = pull.path.strip("/").replace("/", ": ", 1).capitalize()
    if pull.level == "learned":
        name = f"{name} (learned)"
    return f"{name} (prior)" if pull.prior else name


@dataclass(frozen=True, slots=True)
class _Scores:
    glyphs: Glyphs
    width: int
    at_ms: int
    weights: int
    kind: Kind | None

    def list(
        self, user_id: str, items: Sequence[RankedItem], texts: Sequence[str], *, prior: bool, erased_at_ms: int | None
    ) -> Iterator[Text]:
        yield Text(self.glyphs.cut_to(user_id, self.width), "bold")
        count = f"{len(items):,} item{'' if len(items) == 1 else 's'}" if not texts else f"{len(items):,} in order"
        summary = [count, "best first", f"as of {stamp(self.at_ms)}", *self.learned()]
        yield Text(self.glyphs.cut_to(f" {self.glyphs.dot} ".join(summary), self.width), "dim")
        moved = any(
            item.parts.relevance or item.parts.aversion or item.parts.recent or item.parts.learned for item in items
        )
        if erased_at_ms:
            yield Text(self.glyphs.cut_to(_erased(erased_at_ms), self.width), "yellow")
        if prior or not moved:
            yield Text(self.glyphs.cut_to(_PRIOR if prior else _NOTHING, self.width), "yellow")
        yield Text()
        most = max((_gained(item.parts) for item in items), default=0.0)
        for number, item in enumerate(items, 1):
            yield from self.item(number, item, most, texts)
        yield Text()
        yield self.legend()

    def item(self, number: int, item: RankedItem, most: float, texts: Sequence[str]) -> Iterator[Text]:
        bar = max(10, min(30, self.width // 4))
        name = self.width - 4 - bar - 8
        text = texts[item.text_index] if item.text_index is not None and item.text_index < len(texts) else None
        title = self.glyphs.quoted(text) if text is not None else item.title or item.item_id or ""
        line = Text.assemble((f"{number:>3} ", "dim"), (self.glyphs.fit(" ".join(title.split()), name), "bold"), " ")
        line.append_text(self.bar(item.parts, most, bar))
        line.append(f"{self.glyphs.number(item.score):>7}")
        yield line
        about = [item.path] if item.path not in {"", "/"} else []
        about += [item.lang] if item.lang else []
        about += [ago(item.ts_ms, self.at_ms)] if item.ts_ms is not None else []
        about += [item.item_id] if item.item_id and item.title else []
        if about:
            yield Text("    " + self.glyphs.cut_to(f" {self.glyphs.dot} ".join(about), self.width - 4), "dim")
        if item.because or item.recents:
            yield self.because(item)

    def because(self, item: RankedItem) -> Text:
        """The strongest interests, recent items and what came besides in one line; what does not fit is left out."""
        reasons = [(label(pull), pull.contribution) for pull in item.because]
        reasons += [(self.recent_label(one), one.contribution) for one in item.recents]
        reasons += [(_BESIDES[one.part], one.contribution) for one in item.others if one.part in _BESIDES]
        line = Text("    ")
        for number, (name, by) in enumerate(sorted(reasons, key=lambda reason: -abs(reason[1]))[:_REASONS]):
            value = self.glyphs.signed(by)
            part = f"{self.glyphs.cut_to(name, self.width - 5 - len(value))} {value}"
            if number:
                part = f"   {part}"
            if cell_len(line.plain) + cell_len(part) > self.width:
                break
            line.append(part, "green" if by >= 0 else "red")
        return line

    def recent_label(self, recent: RecentPull) -> str:
        return self.glyphs.quoted(" ".join((recent.title or recent.item_id).split()))

    def learned(self) -> tuple[str, ...]:
        """The version of the weights, and of which kind of lists, where they were learned."""
        return (f"weights {self.weights} of {self.kind}",) if self.weights else ()

    def bar(self, parts: ScoreParts, most: float, cells: int) -> Text:
        """What was gained, part by part; at its end what was taken off again."""
        gained = _gained(parts)
        length = round(cells * gained / most) if most > 0 else 0
        taken = min(length, round(cells * _taken(parts) / most)) if most > 0 else 0
        row: list[str] = []
        sofar = 0.0
        for name, value in _gains(parts).items():
            sofar += value
            row += [name] * (round(length * sofar / gained) - len(row) if gained else 0)
        row[length - taken :] = ["taken"] * taken
        bar = Text()
        for name in row:
            bar.append(self.glyph(name), _STYLES[name])
        bar.append(" " * (cells - len(row)))
        return bar

    def glyph(self, part: str) -> str:
        return {
            "interest": self.glyphs.liked, "recent": self.glyphs.recent, "fresh": self.glyphs.fresh,
            "popular": self.glyphs.popular, "taken": self.glyphs.disliked,
        }[part]  # fmt: skip

    def legend(self) -> Text:
        names = {
            "interest": "interest", "fresh": "fresh", "popular": "popular", "taken": "taken off again",
        }  # fmt: skip
        if self.weights:
            names = {"interest": "interest", "recent": "recent items", **names}
        line = Text(style="dim")
        for part, name in names.items():
            if cell_len(line.plain) + cell_len(name) + 4 > self.width:
                break
            line.append(self.glyph(part), _STYLES[part])
            line.append(f" {name}  ")
        line.rstrip()
        return line

    def explanation(self, explanation: Explanation, evidence: int, *, fold: bool) -> Iterator[Text]:
        title = explanation.title or explanation.item_id
        yield Text(self.glyphs.cut_to(title, self.width), "bold")
        about = [explanation.path] if explanation.path not in {"", "/"} else []
        about += [*self.learned(), f"for {explanation.user_id}", f"as of {stamp(self.at_ms)}"]
        yield Text(self.glyphs.cut_to(f" {self.glyphs.dot} ".join(about), self.width), "dim")
        if explanation.erased_at_ms:
            yield Text(self.glyphs.cut_to(_erased(explanation.erased_at_ms), self.width), "yellow")
        if explanation.prior:
            yield Text(self.glyphs.cut_to(_PRIOR, self.width), "yellow")
        yield Text()
        yield Text(f"{'adds':>{self.width - 7}} {'share':>6}", "dim")
        moves = sorted(self.moves(explanation), key=lambda move: -abs(move.value))
        most = max((abs(move.value) for move in moves), default=0.0)
        shown = [move for move in moves if not fold or move.share >= _SLIGHT]
        for move in shown:
            yield self.pull(move.name, move.value, move.share, most)
            yield from (self.entry(entry, move) for entry in move.evidence[:evidence])
        if rest := moves[len(shown) :]:
            name = f"and {len(rest)} more (--all shows them)"
            yield self.pull(name, sum(move.value for move in rest), sum(move.share for move in rest), most)
        yield Text()
        yield Text(f"{'score':<{self.width - 15}}{self.glyphs.signed(explanation.score, 3):>8}", "bold")

    def moves(self, explanation: Explanation) -> Iterator[_Move]:
        for pull in explanation.pulls:
            yield _Move(
                name=label(pull), value=pull.contribution, share=pull.share, evidence=pull.evidence,
                away=pull.level == "aversion", attention=pull.level == "learned",
            )  # fmt: skip
        for one in explanation.recents:
            name = f"{self.recent_label(one)}, {ago(one.ts_ms, self.at_ms)}"
            yield _Move(name, one.contribution, one.share)
        yield from (_Move(_OTHERS.get(o.part, o.part), o.contribution, o.share) for o in explanation.others)

    def pull(self, name: str, value: float, share: float, most: float) -> Text:
        bar = max(8, min(30, self.width // 4))
        cells = round(bar * abs(value) / most) if most else 0
        glyph, style = (self.glyphs.liked, "green") if value >= 0 else (self.glyphs.disliked, "red")
        line = Text(self.glyphs.fit(name, self.width - bar - 17) + " ")
        line.append((glyph * cells if cells else self.glyphs.trace if value else "").ljust(bar), style)
        line.append(f" {self.glyphs.signed(value, 3):>7}", style)
        line.append(f" {percent(share):>6}", "dim")
        return line

    def entry(self, entry: EvidenceEntry, move: _Move) -> Text:
        """An event behind an interest; what turned somebody away counts against the item."""
        weight = -abs(entry.weight) if move.away else entry.weight
        weighed = f"{self.glyphs.signed(weight)} = {percent(entry.share)} of it, {ago(entry.ts_ms, self.at_ms)}"
        if move.attention:
            weighed = f"{percent(entry.share)} of the model's attention, {ago(entry.ts_ms, self.at_ms)}"
        about = self.glyphs.quoted(entry.title) if entry.title else entry.item_id
        item = " ".join(part for part in (entry.type, about) if part) or entry.event_id
        room = self.width - cell_len(weighed) - 6
        return Text(f"  {self.glyphs.dot} {self.glyphs.fit(' '.join(item.split()), room)}  {weighed}", "dim")


class _Move(NamedTuple):
    """Something that moved a score."""

    name: str
    value: float
    share: float
    evidence: Sequence[EvidenceEntry] = ()
    away: bool = False
    attention: bool = False


def _gains(parts: ScoreParts) -> dict[str, float]:
    """What a score has gained, by what is drawn of it."""
    recent = (parts.recent, parts.together, parts.attributes, parts.shares)
    return {
        "interest": max(0.0, parts.relevance) + max(0.0, parts.learned), "recent": sum(max(0.0, one) for one in recent),
        "fresh": max(0.0, parts.freshness), "popular": max(0.0, parts.popularity) + max(0.0, parts.touched),
    }  # fmt: skip


def _gained(parts: ScoreParts) -> float:
    return sum(_gains(parts).values())


def _taken(parts: ScoreParts) -> float:
    return -sum(min(0.0, float(value)) for value in parts.model_dump().values())


def _erased(at_ms: int) -> str:
    return f"erased on {stamp(at_ms)}: nothing older is known of them"
