"""The tables of docs/evaluation.md, from the figures of `everything`, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams.evaluation.contest import MEASURES
from streams.evaluation.groups import about
from streams.evaluation.log_study import DELAYS_S
from streams.evaluation.scorers import FIXED, SERVICE

Figures = Mapping[str, Any]
_FIRST: Final = 2  # measures in tables of many columns


def page(figures: Figures) -> str:
    """One page with every table."""
    logs: Figures = figures["logs"]
    parts = [
        "# Evaluation: all tables",
        "Written by `interests eval --all`; [evaluation.md](../evaluation.md) says what is measured and what follows.",
        f"Encoder `{figures['encoder']}`, concept tree `{figures['tree']}`, {figures['minutes']} minutes in all.",
        "Means with standard errors over cases; margins with 95% bounds, by drawing users with replacement.",
    ]
    for name, log in logs.items():
        parts += [f"## {name}", *_of_log(log)]
    parts += ["## Across logs", *_across(figures)]
    return "\n\n".join(parts) + "\n"


def _of_log(log: Figures) -> list[str]:
    kind = log["kind"]
    groups: Figures = log["groups"]
    counts = log["log"]
    tens = ["### All items a user could meet", *_everything(log)] if "everything" in log else []
    experts = ", ".join(f"{name} {share:.2f}" for name, share in log["experts"].items())
    return [
        f"{counts['items']:,} items, {counts['events']:,} events. Belief in the experts at the end: {experts}.",
        "### Ranked by", _scorers(kind, groups[kind]["scorers"]),
        "### Groups", _groups(kind, log),
        "### Weights frozen, and learned from others", _scorers(kind, {
            "last fifth: learned before, frozen": log["split"]["learned before, frozen"],
            "last fifth: learned online": log["split"][SERVICE], "last fifth: fixed": log["split"][FIXED],
            "all: learned from other people": log["others"]["learned from others"],
        }),
        "### Updates that come later", _scorers(kind, {
            "at once": groups[kind]["scorers"][SERVICE],
            **{f"after {name}": log["delays"][name][SERVICE] for name in DELAYS_S},
            **{f"after {name}, fixed weights": log["delays"][name][FIXED] for name in DELAYS_S},
        }),
        "### Without signs", _signs(kind, log), *tens,
    ]  # fmt: skip


def _scorers(kind: Any, scorers: Figures) -> str:
    names: Sequence[str] = MEASURES[kind]
    best = {name: max(by[name]["mean"] for by in scorers.values()) for name in names}
    rows = ([label, *(_mean(by[name], best[name]) for name in names)] for label, by in scorers.items())
    return _table(["ranked by", *names], rows)


def _groups(kind: Any, log: Figures) -> str:
    first = MEASURES[kind][:_FIRST]
    rows = []
    for group, by in log["groups"].items():
        margin = log["margins"][group]
        rows.append([
            about(group), f"{by['cases']:,}", " / ".join(f"{by['scorers'][SERVICE][m]['mean']:.3f}" for m in first),
            " / ".join(f"{by['scorers'][FIXED][m]['mean']:.3f}" for m in first),
            *(f"{margin[m]['mean']:+.3f} ({margin[m]['low']:+.3f} to {margin[m]['high']:+.3f})" for m in first),
        ])  # fmt: skip
    heads = ["cases that are", "cases", " / ".join(first), "fixed", *(f"ahead in {name}" for name in first)]
    return _table(heads, rows)


def _signs(kind: Any, log: Figures) -> str:
    names = MEASURES[kind][:_FIRST]
    rows = []
    for group, label in (("", "all"), ("liked", "liked"), ("disliked", "disliked (lower is better)")):
        key = f"{kind}, {group}" if group else kind
        if key in log["unsigned"]:
            both = (log["groups"][key]["scorers"], log["unsigned"][key]["scorers"])
            cells = [by[name] for name in (SERVICE, FIXED) for by in both]
            rows.append([label, *(" / ".join(f"{cell[m]['mean']:.3f}" for m in names) for cell in cells)])
    return _table([f"{' / '.join(names)}", "signed", "unsigned", "fixed, signed", "fixed, unsigned"], rows)


def _everything(log: Figures) -> list[str]:
    whole, kind = log["everything"], log["kind"]
    tens = _table(
        ["first ten", "share of items shown", "1 - mean cosine", "in the user's language"],
        ([name, *(f"{value:.3f}" for value in by.values())] for name, by in whole["ten"].items()),
    )
    return [f"{whole['targets']:,.0f} targets a case.", _scorers(kind, whole["ranking"]), tens]


def _across(figures: Figures) -> list[str]:
    transfer = {
        f"{name}: {scorer}": by for name, scorers in figures["transfer"].items() for scorer, by in scorers.items()
    }
    languages, ratings = figures["languages"], figures["ratings"]
    errors = {name: value for name, value in ratings["errors"].items() if name != "ratings"}
    return [
        "### Weights from another log", _scorers("next", transfer),
        "### Among as many items of another language, published at the same times",
        _table(
            ["ranked by", "recall@10", "MRR", "of the first ten in the user's language"],
            ([name, *(f"{by[m]['mean']:.3f}" for m in MEASURES["next"][:_FIRST]),
              f"{languages['ten'][name]['own language']:.3f}"] for name, by in languages["ranking"].items()),
        ),
        f"### Ratings of {ratings['log']}", f"{ratings['errors']['ratings']:,.0f} ratings, each person's last fifth.",
        _table(["predicted by", "RMSE"], ([name, f"{value:.4f}"] for name, value in errors.items())),
    ]  # fmt: skip


def _mean(value: Mapping[str, float], best: float) -> str:
    shown = f"{value['mean']:.3f} ± {value['error']:.3f}"
    return f"**{shown}**" if value["mean"] == best else shown


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
