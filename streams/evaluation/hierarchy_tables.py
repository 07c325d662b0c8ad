"""The tables and the picture of the learned hierarchy, from the figures of `learned_hierarchy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams.evaluation.contest import MEASURES
from streams.evaluation.learned_hierarchy import FIXED, NEWCOMERS, SCORE, TREE, alone, beside
from streams.evaluation.svg import OURS, PLAIN, SECOND, Bar, bars
from streams.training.variants import FULL

Figures = Mapping[str, Any]
LAST: Final = "last fifth"
_HEAD: Final = (
    "Written by `interests eval-hierarchy`; [evaluation.md](../evaluation.md#the-learned-hierarchy) says what is\n"
    "measured and what follows. Bounds of 95% are of drawing people with replacement."
)
_SHOWN: Final = {"next": "mrr", "impression": "ndcg@10"}


def page(figures: Figures) -> str:
    """One page with every table, as Markdown."""
    parts = [
        "# The learned hierarchy: all tables", _HEAD,
        f"Encoder `{figures['encoder']}`, seeds: {figures['seeds']}, {figures['minutes']} minutes in all.",
    ]  # fmt: skip
    for name, log in figures["logs"].items():
        parts += [
            f"## {name}", _trained(log), "### The last fifth in time", _rankings(log), "### Who is ahead",
            _margins(log["groups"][LAST], log["kind"]), "### Newcomers, and people the model has not seen",
            _newcomers(log), "### People cross-validated", *_crossed(log), "### Probabilities",
            _calibration(log["calibration"]),
        ]  # fmt: skip
        if figures["seeds"] > 1:
            parts += ["### Seed by seed", _by_seed(log)]
    return "\n\n".join(parts) + "\n"


def _trained(log: Figures) -> str:
    trained, last = log["trained on"], log["groups"][LAST]
    return (
        f"Trained on {trained['events']:,} events of {trained['people']:,} people. {last['cases']:,} cases of "
        f"{last['people']:,} people are the last fifth."
    )


def _rankings(log: Figures) -> str:
    measures = MEASURES[log["kind"]]
    of_group: Figures = log["groups"][LAST]["rankings"]
    best = {name: max(by[name]["mean"] for by in of_group.values()) for name in measures}
    rows = [[name, *(_cell(by[m], bold=by[m]["mean"] == best[m]) for m in measures)] for name, by in of_group.items()]
    return table(["ranked by", *measures], rows)


def _margins(group: Figures, kind: Any) -> str:
    measures = MEASURES[kind]
    rows = [[one["of"], one["over"], *(_signed(one[name]) for name in measures)] for one in group["margins"]]
    return table(["ahead is", "of", *measures], rows)


def _crossed(log: Figures) -> list[str]:
    group = log["groups"]["last fifth, other people"]
    if not group["cases"]:
        return ["Nobody in the last fifth."]
    measures = MEASURES[log["kind"]]
    rows = [[name, *(_cell(by[m], bold=False) for m in measures)] for name, by in group["rankings"].items()]
    said = f"{group['cases']:,} cases of {group['people']:,} people, by models that have not seen them."
    return [said, table(["ranked by", *measures], rows), _margins(group, log["kind"])]


def _by_seed(log: Figures) -> str:
    measure = MEASURES[log["kind"]][1]
    rows = [[name, ", ".join(f"{value:.3f}" for value in values)] for name, values in log["by seed"].items()]
    return table(["ranked by", f"{measure} of each seed"], rows)


def _newcomers(log: Figures) -> str:
    measure = MEASURES[log["kind"]][1]
    shown = [TREE, alone(FULL), FIXED, SCORE, beside(FULL)]
    rows = []
    for name in (*NEWCOMERS, "people the model has not seen"):
        of_group = log["groups"][name]
        if of_group["cases"]:
            cells = [f"{of_group['rankings'][one][measure]['mean']:.3f}" for one in shown]
            ahead = next(m for m in of_group["margins"] if m["of"] == beside(FULL) and m["over"] == SCORE)
            rows.append([name, f"{of_group['cases']:,}", *cells, _signed(ahead[measure])])
    return table([f"{measure} of cases", "cases", *shown, "as features ahead of the learned score"], rows)


def _calibration(calibration: Figures) -> str:
    rows = [
        [name, task, f"{one['answers']:,}", f"{one['came true']:.3f}", f"{one['foretold']:.3f}", f"{one['ece']:.3f}"]
        for name, tasks in calibration.items()
        for task, one in tasks.items()
    ]
    return table(["model", "task", "answers", "came true", "foretold", "ECE"], rows)


def pictures(figures: Figures) -> dict[str, str]:
    """Bars of the last fifth by the name of a file, as SVG, a panel a log: each model alone, and as features."""
    return {
        "hierarchy-alone": bars(
            "What ranks alone: the last fifth in time",
            {_title(name, log): _bars(log, alone(""), (TREE,)) for name, log in figures["logs"].items()},
        ),
        "hierarchy-features": bars(
            "Models as features of the learned score: the last fifth in time",
            {_title(name, log): _bars(log, beside(""), (FIXED, SCORE)) for name, log in figures["logs"].items()},
        ),
    }


def _title(name: str, log: Figures) -> str:
    return f"{name}, {_SHOWN[log['kind']].replace('mrr', 'MRR').replace('ndcg', 'nDCG')}"


def _bars(log: Figures, ending: str, plain: Sequence[str]) -> list[Bar]:
    of_group = log["groups"][LAST]["rankings"]
    names = [*plain, *(name for name in of_group if name.endswith(ending))]
    return [_bar(name, of_group[name][_SHOWN[log["kind"]]], ending) for name in names]


def _bar(name: str, value: Figures, ending: str) -> Bar:
    short = name.removesuffix(ending)
    colour = OURS if short == FULL else SECOND if short in (TREE, SCORE) else PLAIN
    return Bar(short, value["mean"], (value["high"] - value["low"]) / (2 * 1.96), colour)


def _cell(value: Figures, *, bold: bool) -> str:
    shown = f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
    return f"**{shown}**" if bold else shown


def _signed(value: Figures) -> str:
    return f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])
