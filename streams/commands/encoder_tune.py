"""`interests encoder tune`: a language model tuned on a log; `evaluate`: several encoders on the same log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table

from streams.base.errors import ConfigurationError
from streams.commands.evaluation_log import ReplayLog, judge, read
from streams.commands.options import Cache, Events, Items, ModelCache, ModelFolder, Samples, writable
from streams.commands.progress import meter
from streams.commands.shell import EXIT_INTERRUPTED, console, extra, load_settings, print_error, run
from streams.commands.topics import table_of

if TYPE_CHECKING:
    from encoders.tuned_model import ModelPlan
    from encoders.tuning import Tuned, TuningPlan
    from encoders.tuning_pairs import TuningSet
    from streams.evaluation.encoder_contest import EncoderContest
    from streams.training.pairs import PairPlan

TUNE_EXAMPLE: Final = (
    "interests encoder tune multilingual-e5-small --items items.jsonl --events events.jsonl --out forum-e5"
)
EVALUATE_EXAMPLE: Final = (
    "interests encoder evaluate multilingual-e5-small forum-e5 --items items.jsonl.gz --events events.jsonl.gz"
)

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL_DIR", help="The encoder to compare with, then others. Repeatable.")
]
Out = Annotated[
    Path,
    typer.Option("--out", file_okay=False, callback=writable, help="The directory of the tuned model; it names it."),
]
Kind = Annotated[str, typer.Option("--kind", help="lora, or linear: a map on vectors that stay as they are.")]
Rank = Annotated[int, typer.Option("--rank", min=0, help="Rank of adapters or map; 0: 8 for lora, 32 for linear.")]
Blocks = Annotated[int, typer.Option("--blocks", min=1, help="How many of the last blocks get adapters.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=8, help="Cut texts here while learning.")]
Share = Annotated[float, typer.Option("--share", min=0.01, max=1, help="Learn from this first share of the events.")]
Without = Annotated[
    str, typer.Option("--without-people", help="Leave out a part of the people: 0/5 is the first fifth.")
]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Learn from titles and categories or tags too.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="At most so many times over all pairs.")]
Minutes = Annotated[float, typer.Option("--minutes", min=0, help="Stop after so long, with what was best by then.")]
Batch = Annotated[int, typer.Option("--batch", min=2, help="Pairs in a batch: each is compared with the others'.")]
Accumulate = Annotated[int, typer.Option("--accumulate", min=1, help="Batches a step.")]
Rate = Annotated[float, typer.Option("--rate", min=0, help="The highest learning rate.")]
Keep = Annotated[float, typer.Option("--keep", min=0, help="How much a vector is held near to what it was.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed and log give the same model.")]


def tune(
    model: ModelFolder, items: Items, events: Events, out: Out, kind: Kind = "lora", rank: Rank = 0, blocks: Blocks = 2,
    max_tokens: MaxTokens = 48, share: Share = 1.0, without: Without = "", labels: Labels = True, epochs: Epochs = 6,
    minutes: Minutes = 10.0, batch: Batch = 32, accumulate: Accumulate = 1, rate: Rate = 1e-3, keep: Keep = 0.5,
    seed: Seed = 7, cache: ModelCache = None,
) -> None:  # fmt: skip
    """Tune a language model on what people did: recent items and the next one, titles and what they are filed under.

    It writes a model directory with a card; adapters are merged into its weights. Export it, and go over to it as to
    any other encoder. The last histories in time are not learned from: they decide when to stop. After a kill the same
    command goes on from the checkpoint. It takes minutes on a CPU; a GPU is used where one is found.
    """
    log = read(items, events, None, None, only_met=False)
    judge(log)
    with extra("training"):
        import peft  # noqa: F401
        import torch.utils.tensorboard  # noqa: F401
    with extra("encoder"):
        from encoders.tuned_model import ModelPlan
        from encoders.tuning import TuningPlan
        from streams.training.pairs import PairPlan, tuning_set
    pairs = PairPlan(share=share, without=_fold(without), labels=labels)
    data = tuning_set(log.items, log.events, load_settings().weights.table(), pairs, now_ms=log.last_ms)
    plan = TuningPlan(
        batch=batch, accumulate=accumulate, epochs=epochs, minutes=minutes, rate=rate, keep=keep, seed=seed
    )  # fmt: skip
    of_model = ModelPlan(kind=kind, rank=rank, blocks=blocks, max_tokens=max_tokens)
    shown = console()
    shown.print(f"{len(data.history):,} histories, {len(data.labels):,} labels, {data.items:,} items")
    try:
        came = _tuned(model, data, plan, of_model, out, cache, _about(log, pairs))
    except KeyboardInterrupt:
        print_error(f"stopped; the same command goes on from the checkpoint in {out}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    shown.print(
        f"MRR on later histories: {came.before:.3f} before, {came.after:.3f} after epoch {came.epoch} ({came.ended})"
    )
    shown.print(f"{out}: interests encoder export {out} --name text_encoder_2", soft_wrap=True)


def evaluate(
    models: Models, items: Items, events: Events, seed: Samples = 7, cache: Cache = Path(".cache/interests")
) -> None:
    """Rank a log with several encoders, as `interests eval` does, and say by how much each is ahead of the first.

    Tuned directories are measured on what they did not learn from: later events, or people that were left out; several
    that left out different people are one encoder. Bounds are at 95%, by drawing people.
    """
    log = read(items, events, None, None, only_met=False)
    judge(log)
    with extra("encoder"):
        from streams.evaluation.encoder_contest import contestants, run_contest
    shown = console()
    found = run(
        run_contest(
            load_settings(), contestants(models), log.items, log.events, now_ms=log.last_ms, seed=seed, cache=cache,
            meter=lambda step, n: meter(shown, step, n),
        )
    )  # fmt: skip
    for one in found:
        shown.print(_table(one))


def _tuned(
    model: str, data: TuningSet, plan: TuningPlan, of_model: ModelPlan, out: Path, cache: Path | None,
    about: dict[str, Any],
) -> Tuned:  # fmt: skip
    from encoders.tuned_model import tune_model
    from streams.encoder.base import model_errors

    with model_errors(), meter(console(), "tune", 0) as shown:
        return tune_model(model, data, plan, of_model, out, cache=cache, about=about, progress=shown.to)


def _about(log: ReplayLog, pairs: PairPlan) -> dict[str, Any]:
    without = pairs.without
    return {
        "events": len(log.events), "first events learned from": int(len(log.events) * pairs.share),
        "people left out": "" if without is None else f"{without.part}/{without.parts}",
    }  # fmt: skip


def _fold(without: str) -> Any:
    from encoders.tuning_pairs import Fold

    if not without:
        return None
    part, _, parts = without.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise ConfigurationError(f"got --without-people {without!r}, expected a part of so many, such as 0/5")
    return Fold(int(part), int(parts))


def _table(one: EncoderContest) -> Table:
    table = table_of(
        f"{one.name}, {one.cases:,} cases {one.about}", "recall@10", "ahead (95%)", "MRR", "ahead (95%)"
    )  # fmt: skip
    for scorer, by_measure in one.figures.items():
        cells = []
        for measure in ("recall@10", "mrr"):
            mean, margin = by_measure[measure]
            bounds = f"{margin.mean:+.3f} ({margin.low:+.3f} to {margin.high:+.3f})"
            cells += [f"{mean:.3f}", bounds]
        table.add_row(scorer, *cells)
    return table
