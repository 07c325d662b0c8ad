"""`interests encoder`: put a model into Triton's repository, ask which one is served, and go over to another one."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from streams.base.credentials import without_credentials
from streams.commands import encoder_compare, encoder_interests, encoder_migrate, encoder_switch, encoder_tune
from streams.commands.connections import encoder_of
from streams.commands.options import Backend, ModelCache, ModelFolder, Repository
from streams.commands.shell import console, extra, load_settings, register, run

if TYPE_CHECKING:
    from streams.encoder.text_model import EncoderInfo
    from streams.settings.service import Settings

_EXAMPLE = "interests encoder export multilingual-e5-small --out model_repo"
_SAMPLE = [f"{number} cups of tea, and a plain sentence of ten words or so" for number in range(64)]

encoder = typer.Typer(
    help="Export models for Triton, look at the one served, go over to another one.", no_args_is_help=True
)

MaxTokens = Annotated[int | None, typer.Option("--max-tokens", min=1, help="Cut texts here instead of at the model's.")]
Precision = Annotated[
    str, typer.Option("--precision", help="float, f32, bf16, f16 or int8; auto measures whether int8 is worth it here.")
]
Compiled = Annotated[
    bool, typer.Option("--compile/--no-compile", help="Compile torch's graph at each start; not yet measured on a GPU.")
]
Prompt = Annotated[
    str, typer.Option("--prompt", help="Which of the model's prompts goes before every text; none for no prompt.")
]
Dim = Annotated[int, typer.Option("--dim", min=0, help="Keep only so many numbers of a Matryoshka vector; 0: all.")]
Name = Annotated[
    str, typer.Option("--name", help="What Triton calls it (setting triton.model); two may stand side by side.")
]
Streams = Annotated[int, typer.Option("--streams", min=0, help="OpenVINO's parallel streams; 0 lets it choose.")]


def add(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(encoder, name="encoder")
    register(encoder, "export", example=_EXAMPLE)(export)
    register(encoder, "export-interests", example=encoder_interests.INTERESTS_EXAMPLE)(
        encoder_interests.export_interests
    )
    register(encoder, "info", example="interests encoder info")(info)
    register(encoder, "tune", example=encoder_tune.TUNE_EXAMPLE)(encoder_tune.tune)
    register(encoder, "evaluate", example=encoder_tune.EVALUATE_EXAMPLE)(encoder_tune.evaluate)
    register(encoder, "migrate", example=encoder_migrate.MIGRATE_EXAMPLE)(encoder_migrate.migrate)
    register(encoder, "compare", example=encoder_compare.COMPARE_EXAMPLE)(encoder_compare.compare)
    register(encoder, "switch", example=encoder_switch.SWITCH_EXAMPLE)(encoder_switch.switch)
    register(encoder, "rollback", example=encoder_switch.ROLLBACK_EXAMPLE)(encoder_switch.rollback)
    register(encoder, "prune", example=encoder_switch.PRUNE_EXAMPLE)(encoder_switch.prune)


def export(
    model: ModelFolder, out: Repository = Path("model_repo"), backend: Backend = "auto", cache: ModelCache = None,
    max_tokens: MaxTokens = None, streams: Streams = 0, precision: Precision = "auto",
    compiled: Compiled = False, prompt: Prompt = "", dim: Dim = 0, name: Name = "text_encoder",
) -> None:  # fmt: skip
    """Put a model into Triton's repository, after it has encoded a proof text here.

    Any encoder or decoder-only embedding model directory works: pooling and prefixes are read from its own files.
    Restart Triton afterwards. An encoder of another id writes to collections of its own.
    """
    with extra("encoder"):
        from encoders.export import export as export_model
        from streams.encoder.base import model_errors

        with model_errors():
            exported = export_model(
                model, out, backend=backend, cache=cache, max_tokens=max_tokens, streams=streams, precision=precision,
                compiled=compiled, prompt=prompt, keep=dim, name=name,
            )  # fmt: skip
    if exported.measured:
        console().print(exported.measured)
    console().print(f"{exported.repo / name}: {exported.encoder_id}, {exported.dim} dimensions, {exported.backend}")


def info() -> None:
    """Ask Triton which encoder it serves, and how fast it is."""
    settings = load_settings()
    served, took_s = run(_ask(settings))
    out = console()
    out.print(f"Triton at {without_credentials(settings.triton.url)}, model {settings.triton.model}")
    out.print(f"encoder {served.encoder_id}, {served.dim} dimensions, {served.max_batch} texts a request")
    out.print(f"{len(_SAMPLE)} short texts in {took_s * 1000:,.0f} ms, {len(_SAMPLE) / took_s:,.0f}/s")


async def _ask(settings: Settings) -> tuple[EncoderInfo, float]:
    async with encoder_of(settings) as client:
        served = await client.info()
        began = monotonic()
        await client.encode(_SAMPLE)
        return served, monotonic() - began
