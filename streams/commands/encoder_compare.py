"""`interests encoder compare`: the encoder that serves and another one, on the same events."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Table

from streams.base.errors import ConfigurationError, EncoderUnavailable
from streams.commands.connections import encoder_of
from streams.commands.encoder_sides import HEADINGS, Side, rows_of, servers_of
from streams.commands.options import EncoderInUse
from streams.commands.shell import console, load_settings, run
from streams.commands.topics import table_of

if TYPE_CHECKING:
    from streams.broker.admin import Admin
    from streams.learner.paired import Figures, Paired
    from streams.settings.service import Settings
    from streams.store.encoder_data import Alike

COMPARE_EXAMPLE: Final = "interests encoder compare --to text_encoder_2"
_READ_BYTES: Final = 256 << 20  # of examples, the latest: some 27,000 lists
_TEXTS: Final = [f"{number} plain sentences of ten words, more or less, about tea" for number in range(64)]

Items = Annotated[int, typer.Option("--items", min=0, max=2000, help="Items whose neighbours are compared, at most.")]


def compare(to: EncoderInUse, items: Items = 100) -> None:
    """Show the encoder that serves and another one side by side: what they have, how fast, how well they rank.

    Workers of both make lists of the same events (ranking.examples); each list is ranked by the fixed weights and by
    nearness to the last item, and what the person took says how well. Differences come with their standard error: one
    within twice that says nothing. It changes nothing.
    """
    run(_compare(load_settings(), to, items))


async def _compare(settings: Settings, to: str, items: int) -> None:
    out = console()
    async with servers_of(settings) as servers:
        serving, note = await servers.serving(), await servers.note_of(to)
        wanted = note.encoder if note else to
        if wanted == serving:
            raise ConfigurationError(f"{wanted} serves: name another one with --to")
        now, new = await servers.side(serving), await servers.side(wanted)
        table = table_of(*HEADINGS, "texts/s")
        for side, row in zip((now, new), rows_of([now, new]), strict=True):
            table.add_row(*row, await _texts_per_s(settings, side))
        out.print(table)
        one, other = await servers.collections(serving), await servers.collections(wanted)
        out.print()
        out.print(_alike(await servers.data.alike(one, other, items)))
        found, kept = await _paired(settings, servers.admin, serving, wanted)
        out.print()
        if not found:
            out.print(f"no event has a list of both encoders yet, among {kept:,} lists: let the workers of both run")
        for ranker, pairs in found.items():
            out.print(_figures(ranker, pairs))
        against = await servers.objections(now, new, 0)
        for reason in against:
            out.print(f"[yellow]not ready to serve[/]: {reason}")
        if not against:
            out.print(f"[green]ready[/]: interests encoder switch --to {wanted}")


async def _texts_per_s(settings: Settings, side: Side) -> str:
    """How many short texts its model encodes a second, asked once; a dash where this Triton does not serve it."""
    if not side.model:
        return "-"
    there = settings.model_copy(update={"triton": settings.triton.model_copy(update={"model": side.model})})
    try:
        async with encoder_of(there) as client:
            if (await client.info()).encoder_id != side.encoder:
                return "-"
            began_s = monotonic()
            await client.encode(_TEXTS)
            return f"{len(_TEXTS) / (monotonic() - began_s):,.0f}"
    except (EncoderUnavailable, ConfigurationError):
        return "-"


async def _paired(settings: Settings, admin: Admin, before: str, new: str) -> tuple[dict[str, Paired], int]:
    """What the lists of both encoders say, and how many lists of either there were."""
    from streams.base.errors import PoisonError
    from streams.broker.read_spans import read_spans
    from streams.events.spans import Span
    from streams.learner.paired import paired
    from streams.ranking.examples import Example, unpack_example
    from streams.ranking.rows import fixed_weights
    from streams.settings.wiring import kafka_config

    topic = settings.kafka.examples_topic
    if not topic:
        return {}, 0
    ends = {(row.topic, row.partition): row.end for row in await admin.lag(settings.kafka.group, [topic]) if row.end}
    if not ends:
        return {}, 0
    config = replace(kafka_config(settings.kafka), max_unpacked_bytes=_READ_BYTES)
    read = await read_spans(config, {slot: Span(0, end - 1) for slot, end in ends.items()}, lambda _: True)
    examples: list[Example] = []
    for record in read.records:
        try:
            example = unpack_example(record.value)
        except PoisonError:
            continue
        if example is not None and example.encoder in (before, new):
            examples.append(example)
    return paired(examples, before, new, fixed_weights(settings.ranking.policy())), len(examples)


def _alike(alike: Alike) -> Table:
    table = table_of("of the items of both", "")
    table.add_row("compared", f"{alike.items:,}")
    table.add_row("ten nearest items in common", f"{alike.neighbours:.0%}")
    table.add_row("the same path", f"{alike.paths:.0%}")
    return table


def _figures(ranker: str, pairs: Paired) -> Table:
    table = table_of(f"{ranker}, {pairs.lists:,} lists of the same events", "before", "new", "difference")
    for name, figures in (("recall@10", pairs.recall), ("MRR", pairs.reciprocal_rank)):
        table.add_row(name, f"{figures.before:.3f}", f"{figures.new:.3f}", _difference(figures))
    table.add_row("one alone has it first", "", "", f"{pairs.disagree:.0%}")
    return table


def _difference(figures: Figures) -> str:
    return f"{figures.new - figures.before:+.3f} ± {figures.error:.3f}"
