"""`interests eval`: replay a log through the real fold and see how well the trees foretell what comes next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands.evaluation_log import judge, read
from streams.commands.options import (
    Cache,
    Encoder,
    Limit,
    LogName,
    OptionalEvents,
    OptionalItems,
    Results,
    Samples,
    Triton,
    Users,
)
from streams.commands.progress import meter
from streams.commands.shell import console, extra, load_settings, register, run
from streams.commands.when import lasting

if TYPE_CHECKING:
    from streams.evaluation.contest import Contest
    from streams.evaluation.experiment import ExperimentResult
    from streams.evaluation.prequential import Case
    from streams.ranking.parts import Kind

_EXAMPLE = "interests eval --items items.jsonl.gz --events events.jsonl.gz --name forum --without freshness,session"
_CASES: Final[dict[str, frozenset[Kind]]] = {
    "all": frozenset({"next", "impression"}), "next": frozenset({"next"}), "impressions": frozenset({"impression"}),
}  # fmt: skip

All = Annotated[bool, typer.Option("--all", help="Make every table and picture of docs/evaluation.md instead.")]
Data = Annotated[
    Path, typer.Option("--data", file_okay=False, help="With --all or --robustness: the folder of the logs.")
]
Robust = Annotated[
    bool, typer.Option("--robustness", help="Measure how far changed texts move instead: typos, lookalikes, stuffing.")
]
Protocol = Annotated[str, typer.Option("--protocol", help="prequential: rank before each event, then fold it.")]
Cases = Annotated[str, typer.Option("--cases", help="all, next (new items) or impressions.")]
Without = Annotated[str, typer.Option("--without", help="Parts to leave out in turn, by commas; all: every one.")]
Negatives = Annotated[int, typer.Option("--negatives", min=1, help="Items sampled beside each next new item.")]
Undated = Annotated[
    str, typer.Option("--undated", help="Items without a time are known from the start, or once met: known or met.")
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "eval", example=_EXAMPLE)(evaluate)


def evaluate(
    items: OptionalItems = None, events: OptionalEvents = None, every: All = False, robustness: Robust = False,
    data: Data = Path("shared/data"), protocol: Protocol = "prequential", name: LogName = None,
    out: Results = Path(".interests/eval"), cases: Cases = "all", without: Without = "", users: Users = None,
    limit: Limit = None, negatives: Negatives = 49, seed: Samples = 7, undated: Undated = "known",
    model: Encoder = "multilingual-e5-small", triton: Triton = None, cache: Cache = Path(".cache/interests"),
) -> None:  # fmt: skip
    """Replay a log, rank before each event, and compare with baselines on the same candidates.

    Needs no server: texts are encoded in this process and kept, so that the next run is quick; events are folded by
    the worker's own code, and ranked with the score of the API. The next new item is ranked among sampled items that
    were known then (recall@10, MRR, nDCG@10), an impression among what it showed (AUC, nDCG@10). Weights learn from
    each list after it was ranked. Settings apply, such as INTERESTS_RANKING__BETA=5 or
    INTERESTS_WEIGHTS__COMMENT_ENGAGEMENT=0.9. Results are NAME.json and NAME.html, with --all tables.md, results.json
    and pictures; with --robustness robustness.json.
    """
    if robustness:
        with extra("encoder"):
            from streams.commands.robustness import measure_robustness
        measure_robustness(data, out, model, cache, seed, console())
        return
    if every:
        _write_everything(data, out, model, triton, cache)
        return
    if not items or not events:
        raise ConfigurationError("got no --items or no --events, expected both, or --all")
    if protocol != "prequential":
        raise ConfigurationError(f"got --protocol {protocol!r}, expected prequential")
    if cases not in _CASES:
        raise ConfigurationError(f"got --cases {cases!r}, expected {', '.join(_CASES)}")
    if undated not in {"known", "met"}:
        raise ConfigurationError(f"got --undated {undated!r}, expected known or met")
    log = read(items, events, users, limit, only_met=cases == "impressions")
    judge(log)
    with extra("encoder"):
        from streams.evaluation import experiment
        from streams.evaluation.ground import EncoderPlan
    plan = experiment.ExperimentPlan(
        name=name or events[0].resolve().parent.name, kinds=_CASES[cases], without=score_parts(without),
        negatives=negatives, seed=seed, undated="met" if undated == "met" else "known",
        encoder=EncoderPlan(model=model, triton=triton, cache=cache),
    )  # fmt: skip
    shown, settings = console(), load_settings()
    result = run(
        experiment.run(
            settings, plan, log.items, log.events, now_ms=log.last_ms, meter=lambda step, n: meter(shown, step, n)
        )
    )
    write_and_show(result, plan.name, out, shown)


def _write_everything(data: Path, out: Path, model: str, triton: str | None, cache: Path) -> None:
    with extra("encoder"):
        from streams.evaluation import everything
        from streams.evaluation.ground import EncoderPlan

    def logged(folder: Path, users: int | None, only_met: bool) -> everything.LogRecords:
        log = read([folder / "items.jsonl.gz"], [folder / "events.jsonl.gz"], users, None, only_met=only_met)
        return everything.LogRecords(log.items, log.events, log.last_ms)

    shown = console()
    plan = everything.EverythingPlan(
        data=data, out=out, encoder=EncoderPlan(model=model, triton=triton, cache=cache), read=logged
    )
    written = run(everything.everything(load_settings(), plan, lambda step, n: meter(shown, step, n)))
    shown.print(f"{written} and the pictures beside it", soft_wrap=True)


def score_parts(without: str) -> tuple[str, ...]:
    """The parts that `--without` names; ConfigurationError for an unknown one."""
    from streams.evaluation.scorers import SCORE_PARTS, known_score_parts

    return (
        tuple(SCORE_PARTS)
        if without == "all"
        else known_score_parts([part for part in without.split(",") if part.strip()])
    )


def write_and_show(result: ExperimentResult, name: str, out: Path, shown: Console) -> None:
    """Write the results to the folder `out` and show their tables; ConfigurationError where nothing was ranked."""
    from streams.evaluation.picture import write_picture

    counts = result.counts
    seen = f"{counts.events:,} events, {counts.dead:,} refused, {counts.deferred:,} about items that nobody described"
    if not result.contest.cases():
        raise ConfigurationError(f"no event could be ranked ({seen}): see docs/evaluation.md for what a log must hold")
    out.mkdir(parents=True, exist_ok=True)
    figures, page = out / f"{name}.json", out / f"{name}.html"
    figures.write_text(result.json_text(), encoding="utf-8")
    write_picture(result.figures, page)
    for table in tables(result.contest):
        shown.print(table)
    shown.print(f"{seen}; {result.figures['encoder']}; {lasting(result.figures['seconds'])}", style="dim")
    shown.print(f"{figures} and {page}", soft_wrap=True)


def tables(contest: Contest[Case]) -> list[Table]:
    """A table for each group of cases but the halves: a line a scorer, best of a column in bold."""
    from streams.evaluation.groups import about

    drawn = []
    for group, scorers in contest.results().items():
        if "half" in group:
            continue
        names = list(next(iter(scorers.values())))
        best = {m: max(by[m].mean for by in scorers.values()) for m in names}
        table = Table(title=f"{group}: {about(group)}, {contest.cases()[group]:,} cases", title_justify="left")
        best |= {m: min(by[m].mean for by in scorers.values()) for m in names} if "disliked" in group else {}
        table.add_column("ranked by")
        for measure in names:
            table.add_column(measure, justify="right")
        for name, by_measure in scorers.items():
            cells = [
                f"[bold]{v.mean:.3f}[/] ±{v.error:.3f}" if v.mean == best[m] else f"{v.mean:.3f} ±{v.error:.3f}"
                for m, v in by_measure.items()
            ]
            table.add_row(name, *cells)
        drawn.append(table)
    return drawn
