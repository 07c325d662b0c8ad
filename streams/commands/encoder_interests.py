"""`interests encoder export-interests`: a trained model of learned interests into Triton's repository."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.base.errors import ConfigurationError
from streams.commands.evaluation_log import ReplayLog, judge, read
from streams.commands.options import Backend, Cache, Encoder, OptionalEvents, OptionalItems, Repository, Triton
from streams.commands.progress import meter
from streams.commands.shell import console, extra, load_settings, run

if TYPE_CHECKING:
    from encoders.hierarchy_files import LearnedHierarchy
    from encoders.histories import Histories
    from streams.evaluation.ground import EncoderPlan

INTERESTS_EXAMPLE: Final = "interests encoder export-interests .interests/model --out model_repo"
_MOST_PEOPLE: Final = 512

Trained = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="What `interests train --out` wrote.")
]
Name = Annotated[str, typer.Option("--name", help="What Triton calls it (setting learned.model).")]
Precision = Annotated[
    str, typer.Option("--precision", help="f32, bf16 or int8, on a CPU; auto measures whether the others are worth it.")
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Cores it may use on a CPU; 0: half of them.")]
EncoderPrecision = Annotated[
    str, typer.Option("--encoder-precision", help="Its precision: float, int8, or auto: as it was trained.")
]


def export_interests(
    trained: Trained, out: Repository = Path("model_repo"), backend: Backend = "auto", precision: Precision = "auto",
    threads: Threads = 0, name: Name = "interest_encoder", items: OptionalItems = None, events: OptionalEvents = None,
    model: Encoder = "multilingual-e5-small", encoder_precision: EncoderPrecision = "auto", triton: Triton = None,
    cache: Cache = Path(".cache/interests"),
) -> None:  # fmt: skip
    """Put a trained model of learned interests into Triton's repository, after it has answered here as it was trained.

    Says how fast each precision is here, and how far it moves a cosine and a probability at most: on the people of a
    log, where one is named, else on made-up ones. Restart Triton afterwards, and name the model in the setting
    learned.model.
    """
    if bool(items) != bool(events):
        raise ConfigurationError("--items and --events go together")
    log = read(items, events, None, None, only_met=True) if items and events else None
    if log is not None:
        judge(log)
    with extra("encoder"):
        from encoders.hierarchy_files import load_learned
        from encoders.interest_export import export_interests as export_trained
        from streams.encoder.base import model_errors
        from streams.evaluation.ground import EncoderPlan

        with model_errors():
            histories = None
            if log is not None:
                learned = load_learned(trained)
                if encoder_precision == "auto":
                    encoder_precision = "int8" if "int8" in learned.encoder_id.split("-") else "float"
                plan = EncoderPlan(model=model, precision=encoder_precision, triton=triton, cache=cache)
                histories = _people_of(log, plan, learned)
            exported = export_trained(
                trained, out, backend=backend, precision=precision, threads=threads, name=name, histories=histories
            )
    on = "made-up histories" if exported.made_up else "the log"
    for kind, one in exported.measured.items():
        console().print(
            f"{kind}: {one.people_per_s:,} people/s; cosines within {one.cosine_loss:.4f}, probabilities within "
            f"{one.probability_loss:.4f} ({on})"
        )
    console().print(f"{exported.folder}: {exported.model_id} for {exported.encoder_id}, {exported.backend}")


def _people_of(log: ReplayLog, plan: EncoderPlan, learned: LearnedHierarchy) -> Histories:
    """The people of a log as they stand at its end, some hundreds at most, for this model."""
    from encoders.histories import TrainingSet, histories_at
    from streams.evaluation.ground import encoder_of
    from streams.training.training_set import training_set

    settings = load_settings()

    async def data() -> TrainingSet:
        async with encoder_of(settings, plan) as named:
            if named.encoder_id != learned.encoder_id:
                raise ConfigurationError(
                    f"{learned.model_id} was trained on vectors of {learned.encoder_id}, these are of "
                    f"{named.encoder_id}: name its encoder (--encoder, --encoder-precision, --triton)"
                )
            with meter(console(), "encode", 0) as step:
                made = await training_set(
                    log.items, log.events, named.encoder, settings.weights.table(), now_ms=log.last_ms,
                    progress=step.to,
                )  # fmt: skip
            return made.data

    return histories_at(run(data()), math.inf, learned.config.history)[:_MOST_PEOPLE]
