"""`interests train`: a model of what people do next, trained on a log."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from encoders.served import SHIPPED, precision_for, served_encoder
from streams.base.errors import ConfigurationError
from streams.commands.evaluation_log import ReplayLog, judge, read
from streams.commands.options import Cache, Encoder, Events, Items, Limit, Triton, Users, writable
from streams.commands.progress import Meter, meter
from streams.commands.shell import EXIT_INTERRUPTED, console, extra, load_settings, print_error, register, run

if TYPE_CHECKING:
    from encoders.hierarchy_settings import Progress
    from streams.evaluation.ground import EncoderPlan
    from streams.training.run import TrainingPlan

_EXAMPLE: Final = "interests train --items items.jsonl.gz --events events.jsonl.gz --out models/forum"

Out = Annotated[
    Path,
    typer.Option("--out", file_okay=False, callback=writable, help="Folder of the model, its card and checkpoints."),
]
Kind = Annotated[str, typer.Option("--kind", help="hierarchy, transformer or mean.")]
WithoutLevel = Annotated[
    list[str] | None,
    typer.Option("--without-level", help="Leave out language, recurrent or convolutional. Repeatable."),
]
Ablation = Annotated[bool, typer.Option("--ablation", help="Also train it without each level, and what stands beside.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from the checkpoint in --out, if any.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed, log and threads give the same model.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="At most so many; it stops when validation says so.")]
Validation = Annotated[
    float, typer.Option("--validation", min=0.01, max=0.8, help="Share of the log, the last in time, that validates.")
]
History = Annotated[int, typer.Option("--history", min=1, max=50, help="How many of a person's last items it reads.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Threads of a CPU; 0: as many as it has cores.")]
Precision = Annotated[
    str,
    typer.Option(
        "--encoder-precision", help="float, int8 (vectors with an id of their own), or auto: as model_repo serves it."
    ),
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "train", example=_EXAMPLE)(train)


def train(
    items: Items, events: Events, out: Out = Path(".interests/model"), kind: Kind = "hierarchy",
    without_level: WithoutLevel = None, ablation: Ablation = False, resume: Resume = True, seed: Seed = 0,
    rounds: Rounds = 80, validation: Validation = 0.15, history: History = 32, users: Users = None,
    limit: Limit = None, threads: Threads = 0, model: Encoder = "multilingual-e5-small",
    encoder_precision: Precision = "auto", triton: Triton = None, cache: Cache = Path(".cache/interests"),
) -> None:  # fmt: skip
    """Train a model of people's interests on a log: what they do next, told from what they did.

    Texts are encoded once and kept. What happened last in the log is not learned from: it decides when to stop. Ctrl-C
    and kills lose a few seconds of work: the same command goes on from the checkpoint in --out. A checkpoint of another
    log, model or setting is refused: delete it, name another folder, or begin anew with --no-resume. A GPU is used
    where one is found. The folder gets the model, a card with data, figures and limits (card.md, card.json), and logs
    for TensorBoard (runs/).
    """
    from streams.training.parsed_log import FEWEST_PEOPLE

    precision, why = _precision(model, encoder_precision, triton)
    plan = _plan(out, kind, without_level or [], history, seed, rounds, validation, resume, ablation, why)
    with extra("encoder"):
        import torch

        from streams.evaluation.ground import EncoderPlan
    log = read(items, events, users, limit, only_met=False)
    judge(log, people=FEWEST_PEOPLE)
    if threads:
        torch.set_num_threads(threads)
    encoder = EncoderPlan(model=model, precision=precision, triton=triton, cache=cache)
    shown = console()
    try:
        card = _trained(log, plan, encoder, shown)
    except KeyboardInterrupt:
        print_error(f"stopped; the same command goes on from the checkpoint in {out}, with --no-resume it begins anew")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    shown.print(_table(card))
    shown.print(f"{card['model_id']} and its card lie in {out}", soft_wrap=True)
    serve = f"interests up --interest-model {out}, or interests encoder export-interests {out} for a Triton of yours"
    shown.print(f"to serve it: {serve}", soft_wrap=True)


def _precision(model: str, asked: str, triton: str | None) -> tuple[str, str]:
    """The text encoder's precision, and a few words on it for the output and the card."""
    if triton is not None:
        return "float", "as a running Triton serves it"
    if asked != "auto":
        return asked, f"{asked}, as was asked for"
    repos = Path("model_repo"), SHIPPED
    precision, why = precision_for(model, served_encoder(*repos, name=load_settings().triton.model))
    return precision, f"{precision}, {why}"


def _plan(
    out: Path, kind: str, without: list[str], history: int, seed: int, rounds: int, validation: float, resume: bool,
    ablation: bool, encoded: str,
) -> TrainingPlan:  # fmt: skip
    with extra("encoder"):
        from encoders.hierarchy_model import LEVELS
        from encoders.hierarchy_settings import TrainingConfig
        from streams.training.run import TrainingPlan
    if unknown := [level for level in without if level not in LEVELS]:
        raise ConfigurationError(f"got --without-level {', '.join(unknown)}, expected some of {', '.join(LEVELS)}")
    if without and kind != "hierarchy":
        raise ConfigurationError(f"--without-level goes with --kind hierarchy, not with {kind}")
    return TrainingPlan(
        out=out, kind=kind, levels=tuple(level for level in LEVELS if level not in without), history=history,
        training=TrainingConfig(seed=seed, rounds=rounds, validation_share=validation), resume=resume,
        ablation=ablation, encoded=encoded,
    )  # fmt: skip


def _trained(log: ReplayLog, plan: TrainingPlan, encoder: EncoderPlan, shown: Console) -> Mapping[str, Any]:
    """Encode the log, train on it and write everything; gives the card."""
    from streams.evaluation.ground import encoder_of
    from streams.training.run import run as train_on
    from streams.training.training_set import LogSet, training_set

    settings = load_settings()

    async def log_set() -> tuple[LogSet, str]:
        async with encoder_of(settings, encoder) as named:
            with meter(shown, "encode", 0) as step:
                made = await training_set(
                    log.items, log.events, named.encoder, settings.weights.table(), now_ms=log.last_ms,
                    progress=step.to,
                )  # fmt: skip
            return made, named.encoder_id

    data, encoder_id = run(log_set())
    shown.print(f"text encoder {encoder_id}: {plan.encoded}", soft_wrap=True)
    rounds = _Rounds(shown)
    with meter(shown, "train", 0) as step:
        return train_on(data, encoder_id, plan, lambda name, one: rounds.show(step, name, one))


class _Rounds:
    """A bar of steps, and a line a round."""

    def __init__(self, shown: Console) -> None:
        self._shown = shown
        self._last: tuple[str, int] | None = None

    def show(self, step: Meter, name: str, one: Progress) -> None:
        """Move the bar; say how a round ended."""
        step.to(one.round * one.steps + one.step, one.rounds * one.steps)
        if one.step == 0 and self._last != (name, one.round):
            self._last = (name, one.round)
            best = ", the best" if one.score <= one.best else ""
            scores = f"loss {one.loss:.4f}, validation {one.score:.4f}{best}"
            self._shown.print(f"{name}, round {one.round} of at most {one.rounds}: {scores}", style="dim")


def _table(card: Mapping[str, Any]) -> Table:
    """What validates, by the model and by what it has to beat."""
    from streams.training.card import SHOWN, ranked

    by_name = ranked(card) | {name: one["validation"] for name, one in card["ablation"].items()}
    measures = [name for name in SHOWN if name in card["validation"]]
    table = Table(title="what validates", title_justify="left")
    table.add_column("ranked by")
    for name in measures:
        table.add_column(name.replace("_10", "@10").replace("_", " "), justify="right")
    for name, one in by_name.items():
        table.add_row(name, *(f"{one[m]:.3f}" if m in one else "" for m in measures))
    return table
