"""`interests eval-hierarchy`: the learned model, its levels and what stands beside it, on logs split in time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands.evaluation_log import judge, read
from streams.commands.options import Cache, Encoder, LogName, OptionalEvents, OptionalItems, Results, Triton, Users
from streams.commands.progress import meter
from streams.commands.shell import EXIT_INTERRUPTED, console, extra, load_settings, print_error, register, run

if TYPE_CHECKING:
    from streams.evaluation.everything import LogRecords

_EXAMPLE: Final = "interests eval-hierarchy --items items.jsonl.gz --events events.jsonl.gz --name forum"
#: A training dips after its first rounds: with fewer it would end there.
_PATIENCE: Final = 7
_LOGS: Final = ("cardano", "magazines", "mind-zh", "movielens-small")

Data = Annotated[Path | None, typer.Option("--data", file_okay=False, help="Instead: a folder with a folder each log.")]
Log = Annotated[
    list[str] | None, typer.Option("--log", help="With --data: which logs; else the usual ones. Repeatable.")
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Train each model so many times and take the mean.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="At most so many rounds a training.")]
Processes = Annotated[int, typer.Option("--processes", min=1, help="So many trainings at once, a thread each.")]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "eval-hierarchy", example=_EXAMPLE)(eval_hierarchy)


def eval_hierarchy(
    items: OptionalItems = None, events: OptionalEvents = None, data: Data = None, log: Log = None,
    name: LogName = None, out: Results = Path(".interests/eval-hierarchy"), seeds: Seeds = 1, rounds: Rounds = 16,
    processes: Processes = 2, users: Users = None, model: Encoder = "multilingual-e5-small", triton: Triton = None,
    cache: Cache = Path(".cache/interests"),
) -> None:  # fmt: skip
    """Train the hierarchy on the first three fifths of a log and measure it on the last: alone, and in the score.

    Beside the whole model: without each of its levels, a transformer, a mean, the closed-form tree and the learned
    score; by models that have not seen a person, of other logs, for newcomers; and whether probabilities hold. Models
    are kept, so that a run that was stopped goes on. Results are hierarchy.json, hierarchy.md and two pictures.
    """
    if data is None and (not items or not events):
        raise ConfigurationError("got no --items or no --events, expected both, or --data")
    if data is not None:
        logs = {one: _of_folder(data, one, users) for one in log or _LOGS}
    else:
        called = name or (events or [])[0].resolve().parent.name
        logs = {called: _of_files(called, items or [], events or [], users)}
    with extra("encoder"):
        from encoders.hierarchy_settings import TrainingConfig
        from streams.evaluation.ground import EncoderPlan
        from streams.evaluation.hierarchy_logs import HierarchyPlan, hierarchy_logs, keep_logs
    plan = HierarchyPlan(
        logs=logs, out=out, encoder=EncoderPlan(model=model, triton=triton, cache=cache), seeds=seeds,
        processes=processes, training=TrainingConfig(rounds=rounds, patience=_PATIENCE),
    )  # fmt: skip
    shown = console()
    try:
        kept = run(keep_logs(load_settings(), plan, lambda step, n: meter(shown, step, n)))
        figures = hierarchy_logs(kept, plan, lambda step, n: meter(shown, step, n))
    except KeyboardInterrupt:
        print_error("stopped; the same command goes on with what is trained")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    for one, of_log in figures["logs"].items():
        shown.print(_table(one, of_log))
    shown.print(f"{out / 'hierarchy.md'}, figures and pictures beside it", soft_wrap=True)


def _of_folder(data: Path, name: str, users: int | None) -> LogRecords:
    files = data / name / "items.jsonl.gz", data / name / "events.jsonl.gz"
    if missing := [str(file) for file in files if not file.is_file()]:
        raise ConfigurationError(
            f"{' and '.join(missing)} cannot be found: --data names the folder of the logs, --log a folder in it"
        )
    return _of_files(name, files[:1], files[1:], users)


def _of_files(name: str, items: Sequence[Path], events: Sequence[Path], users: int | None) -> LogRecords:
    """A log, read and judged. One with lists has many more items than anybody was shown: only those that were met."""
    from streams.evaluation.everything import LogRecords
    from streams.training.parsed_log import FEWEST_CASES, FEWEST_PEOPLE

    log = read(items, events, users, None, only_met=False)
    if any(b'"impression"' in (draft.value or b"") for draft in log.events):
        log = read(items, events, users, None, only_met=True)
    judge(log, name=name, people=FEWEST_PEOPLE, cases=FEWEST_CASES)
    return LogRecords(log.items, log.events, log.last_ms)


def _table(name: str, log: Mapping[str, Any]) -> Table:
    group = log["groups"]["last fifth"]
    table = Table(title=f"{name}: the last fifth, {group['cases']:,} cases", title_justify="left")
    table.add_column("ranked by")
    measures = list(next(iter(group["rankings"].values())))
    for measure in measures:
        table.add_column(measure, justify="right")
    for ranking, by in group["rankings"].items():
        table.add_row(ranking, *(f"{by[m]['mean']:.3f} ({by[m]['low']:.3f}–{by[m]['high']:.3f})" for m in measures))
    return table
