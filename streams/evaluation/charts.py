"""The pictures of docs/evaluation.md, from the figures of `everything`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from streams.evaluation.groups import COHORTS
from streams.evaluation.log_study import DELAYS_S
from streams.evaluation.scorers import FIXED, SERVICE
from streams.evaluation.svg import OURS, PLAIN, SECOND, Bar, Line, bars, curves

Figures = Mapping[str, Any]
T = TypeVar("T")
#: The measure that a picture shows of a kind.
SHOWN: Final = {"next": "mrr", "impression": "ndcg@10"}
_BASELINES: Final = (
    "30-day average + freshness + popularity",
    "freshness + popularity",
    "popularity",
    "last item",
    "mean",
)
_SHORT: Final = {"30-day average + freshness + popularity": "30-day average + both"}


def drawn(figures: Figures) -> dict[str, str]:
    """The pictures by name, as SVG."""
    logs: Figures = figures["logs"]

    def each(draw: Callable[[Figures], T]) -> dict[str, T]:
        return {_name(name, log): draw(log) for name, log in logs.items()}

    return {
        "ranking": bars("How well the next item is foretold", each(_ranking)),
        "parts": bars("What is lost without a part", each(_parts)),
        "cohorts": bars("By how much the learned weights are ahead of the fixed ones", each(_cohorts)),
        "delay": curves("What a delay of updates costs", ["none", *DELAYS_S], each(_delays)),
    }


def _name(name: str, log: Figures) -> str:
    return f"{name}, {SHOWN[log['kind']].replace('mrr', 'MRR').replace('ndcg', 'nDCG')}"


def _scorers(log: Figures) -> Figures:
    scorers: Figures = log["groups"][log["kind"]]["scorers"]
    return scorers


def _ranking(log: Figures) -> list[Bar]:
    measure, scorers = SHOWN[log["kind"]], _scorers(log)
    colours = {SERVICE: OURS, FIXED: SECOND}
    return [
        Bar(_SHORT.get(name, name), one["mean"], one["error"], colours.get(name, PLAIN))
        for name in (SERVICE, FIXED, *_BASELINES)
        for one in [scorers[name][measure]]
    ]


def _parts(log: Figures) -> list[Bar]:
    measure, scorers = SHOWN[log["kind"]], _scorers(log)
    ours = scorers[SERVICE][measure]["mean"]
    return [
        Bar(name.removeprefix("without "), lost, 0.0, OURS if lost > 0 else PLAIN)
        for name, by in scorers.items()
        if name.startswith("without ")
        for lost in [ours - by[measure]["mean"]]
    ]


def _cohorts(log: Figures) -> list[Bar]:
    kind = log["kind"]
    rows = []
    for cohort in COHORTS:
        margin = log["margins"].get(f"{kind}, {cohort}")
        if margin is not None:
            one = margin[SHOWN[kind]]
            error = (one["high"] - one["low"]) / (2 * 1.96)
            rows.append(Bar(cohort, one["mean"], error, OURS if one["mean"] > 0 else PLAIN))
    return rows


def _delays(log: Figures) -> list[Line]:
    measure, now = SHOWN[log["kind"]], _scorers(log)

    def line(name: str, colour: str) -> Line:
        values = [one[name][measure]["mean"] for one in (now, *log["delays"].values())]
        return Line(name, values, colour, dashed=name == FIXED)

    return [line(SERVICE, OURS), line(FIXED, SECOND)]
