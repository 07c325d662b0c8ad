"""`interests collections`: make Qdrant's collections beforehand, with the shards and replicas of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from streams.commands.connections import encoder_of, maker_of
from streams.commands.shell import console, load_settings, register, run

if TYPE_CHECKING:
    from streams.settings.service import Settings
    from streams.store.collections import Collections
    from streams.store.placing import Placed

collections = typer.Typer(help="Make Qdrant's collections beforehand.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(collections, name="collections")
    register(collections, "create", example="interests collections create --dry-run")(create)


def create(
    encoder_id: Annotated[
        str | None, typer.Option("--encoder-id", help="Of which encoder; else Triton is asked.", metavar="ID")
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", help="Size of its vectors, with --encoder-id.", min=1, metavar="N")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made, and make nothing.")] = False,
) -> None:
    """Make every collection the service keeps, with its payload indexes; what exists is left as it is.

    Shards and replicas are qdrant.shard_number, qdrant.replication_factor and qdrant.write_consistency_factor of the
    settings. Where a collection that exists lies otherwise, the table says how, and below it what to do. Aliases that
    point nowhere are made too.
    """
    if (encoder_id is None) != (dim is None):
        raise typer.BadParameter("--encoder-id and --dim go together")
    settings = load_settings()
    placed = run(_create(settings, encoder_id, dim, dry_run))
    _print(placed, settings, dry_run)


async def _create(settings: Settings, encoder_id: str | None, dim: int | None, dry_run: bool) -> list[Placed]:
    names = await _names(settings, encoder_id, dim)
    async with maker_of(settings) as maker:
        return await (maker.look(names) if dry_run else maker.make(names))


async def _names(settings: Settings, encoder_id: str | None, dim: int | None) -> Collections:
    from streams.store.collections import Collections

    hnsw = settings.qdrant.hnsw_interests
    if encoder_id is not None and dim is not None:
        return Collections(encoder_id, dim, hnsw)
    async with encoder_of(settings, settings.qdrant.deadline_s) as encoder:
        info = await encoder.info()
    return Collections(info.encoder_id, info.dim, hnsw)


def _print(placed: list[Placed], settings: Settings, dry_run: bool) -> None:
    from streams.store.collections import shards_of
    from streams.store.placing import differences

    wanted = settings.qdrant.placement
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for number, heading in enumerate(("collection", "dimensions", "shards", "replicas", "acknowledged by", "")):
        table.add_column(heading, justify="left" if number in (0, 5) else "right")
    to_do: list[tuple[str, str, str]] = []
    for one in placed:
        name, lies = one.shape.name, one.copies
        if lies is None:
            asked = shards_of(name) or wanted.shard_number, wanted.replication_factor, wanted.write_consistency_factor
            cells, state = ["server's own" if number is None else str(number) for number in asked], "would be made"
        else:
            cells = [str(number) for number in lies]
            found = differences(name, lies, wanted)
            to_do += [(name, difference.what, difference.to_do) for difference in found]
            state = "[green]created[/]" if one.made else "existed"
            state += ", [yellow]differs[/]" if found else ""
        table.add_row(name, str(one.shape.dim), *cells, state)
    out = console()
    out.print(table)
    for name, what, how in to_do:
        out.print(f"[yellow]{name}[/]: {what}\n→ {how}")
    if dry_run:
        out.print("dry run: nothing was made")
