"""`interests encoder migrate`: a second group fills another encoder's collections, while the first serves on."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.base.errors import ConfigurationError
from streams.commands.connections import encoder_of
from streams.commands.encoder_models import check_learned, model_info
from streams.commands.encoder_plan import estimate
from streams.commands.encoder_sides import servers_of
from streams.commands.lag_wait import by_topic
from streams.commands.options import Yes
from streams.commands.progress import Meter, meter
from streams.commands.shell import EXIT_FAILED, EXIT_INTERRUPTED, console, load_settings, print_error, run
from streams.commands.topics import read_topics
from streams.commands.when import parse_time

if TYPE_CHECKING:
    from streams.broker.admin import Admin
    from streams.broker.group_offsets import Start
    from streams.commands.encoder_sides import Servers
    from streams.encoder.client import TritonEncoder
    from streams.encoder.text_model import EncoderInfo
    from streams.settings.service import Settings

MIGRATE_EXAMPLE: Final = "interests encoder migrate --to text_encoder_2 --dry-run"
_ASK_EVERY_S: Final = 0.5
_STAYS: Final = 3  # times that nothing is left, until it counts as done

To = Annotated[
    str, typer.Option("--to", help="The model's name in Triton, or another Triton: HOST:PORT or HOST:PORT/NAME.")
]
Group = Annotated[
    str | None, typer.Option("--group", help="The second group's name; else the first's and the encoder.")
]
Concepts = Annotated[
    Path | None,
    typer.Option("--concepts", dir_okay=False, help="Concept tree for the new encoder; made of the present one's "
                 "concepts where there is no such file."),
]  # fmt: skip
Learned = Annotated[
    str, typer.Option("--learned", help="Triton's model of learned interests for the new encoder; else it has none.")
]
From = Annotated[str, typer.Option("--from", help="Events from: beginning, or a time such as -7d or 2026-01-31.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")]
Follow = Annotated[bool, typer.Option("--follow", help="Go on folding once nothing is left, until Ctrl-C.")]
NoWorker = Annotated[bool, typer.Option("--no-worker", help="Run no worker here: only prepare, and watch others.")]
MetricsPort = Annotated[int, typer.Option("--metrics-port", min=0, help="Where its worker is watched; 0: any port.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOptions:
    """What was asked for."""

    to: str
    group: str | None
    concepts: Path | None
    learned: str
    since: str
    dry_run: bool
    yes: bool
    follow: bool
    no_worker: bool
    metrics_port: int


def migrate(
    to: To, group: Group = None, concepts: Concepts = None, learned: Learned = "", since: From = "beginning",
    dry_run: DryRun = False, yes: Yes = False, follow: Follow = False, no_worker: NoWorker = False,
    metrics_port: MetricsPort = 0,
) -> None:  # fmt: skip
    """Fill another encoder's collections from the log, by a second group of workers, while the present one serves on.

    It says what that will cost, asks, makes the collections, has all items described first and then the events folded,
    and ends once nothing is left. Run again after a kill or Ctrl-C it goes on where its group is. Nothing that is
    served changes: interests encoder compare, then interests encoder switch. Exit code 1: its worker had to end; 130:
    stopped before the end.
    """
    options = MigrationOptions(
        to=to, group=group, concepts=concepts, learned=learned, since=since, dry_run=dry_run, yes=yes, follow=follow,
        no_worker=no_worker, metrics_port=metrics_port,
    )  # fmt: skip
    code = run(_migrate(load_settings(), options))
    if code:
        raise typer.Exit(code)


def settings_for(settings: Settings, to: str) -> Settings:
    """The settings under which the model that `--to` names is asked; its group and tree come later."""
    address, _, name = to.partition("/") if ":" in to else ("", "", to)
    triton = {"model": name or settings.triton.model} | ({"url": address} if address else {})
    return settings.model_copy(update={"triton": settings.triton.model_copy(update=triton)})


def second_group(settings: Settings, encoder: str, named: str | None) -> str:
    """What the second group is called: by its encoder, so that a third migration's group is not named after two."""
    return named or f"{settings.kafka.group.partition('--')[0]}--{encoder}"


async def _migrate(settings: Settings, options: MigrationOptions) -> int:
    from streams.broker.group_offsets import has_begun, starts_of
    from streams.settings.wiring import kafka_config

    out, there = console(), settings_for(settings, options.to)
    async with servers_of(settings) as servers, encoder_of(there) as encoder:
        info = await model_info(there, options.to)
        serving = await servers.serving()
        if info.encoder_id == serving:
            raise ConfigurationError(f"{options.to} is {serving}, which serves already: nothing to migrate")
        group = second_group(settings, info.encoder_id, options.group)
        if group == settings.kafka.group:
            raise ConfigurationError(f"--group {group} is the group that serves: the second one needs its own name")
        there = _second(there, group, options)
        await check_learned(there, info)
        config = kafka_config(there.kafka)
        lags = await servers.admin.lag(group, read_topics(there))
        begun = has_begun(lags)
        starts = await starts_of(config, _starts(there, options.since))
        if begun:
            positions = {(row.topic, row.partition): row.committed for row in lags if row.committed is not None}
            starts = {
                source: (positions.get((source.topic, source.partition), at), end)
                for source, (at, end) in starts.items()
            }
        points = (await servers.side(serving)).nodes
        cost = await estimate(there, encoder, starts, points)
        goes_on = " (goes on where it was)" if begun else ""
        out.print(f"from {serving} to [bold]{info.encoder_id}[/], group {group}{goes_on}")
        out.print(cost.table())
        if options.dry_run:
            out.print("nothing was changed (--dry-run)")
            return 0
        _ask(options)
        made = options.concepts is not None and await asyncio.to_thread(options.concepts.exists)
        there = await _with_tree(settings, there, encoder, info, options.concepts, made=made)
        await _prepare(servers, there, info, serving)
        if not begun:
            from streams.broker.group_offsets import begin_group

            await begin_group(config, {source: at for source, (at, _) in starts.items()})
        return await _run(servers.admin, there, info.encoder_id, cost.items, options)


def _starts(settings: Settings, since: str) -> dict[str, Start]:
    """Where the second group begins: with all items, the events asked for, and of what groups write nothing."""
    kafka = settings.kafka
    start: Start = "beginning" if since == "beginning" else parse_time(since, int(time() * 1000))
    others = {kafka.unresolved_topic, *kafka.derived_topics}
    # Others' waiting events and votes are no business of a new group: its own come after the end.
    return {kafka.items_topic: "beginning", **dict.fromkeys(kafka.event_topics, start), **dict.fromkeys(others, "end")}


def _second(there: Settings, group: str, options: MigrationOptions) -> Settings:
    """Its model of learned interests is not the present one, which reads vectors of the present encoder."""
    return there.model_copy(
        update={
            "kafka": there.kafka.model_copy(update={"group": group}),
            "learned": there.learned.model_copy(update={"model": options.learned}),
            "worker": there.worker.model_copy(update={"metrics_port": options.metrics_port}),
        }
    )


def _ask(options: MigrationOptions) -> None:
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError("migrating asks first, and standard input is no terminal: --yes goes ahead")
    typer.confirm("Begin?", abort=True)


async def _with_tree(
    settings: Settings, there: Settings, encoder: TritonEncoder, info: EncoderInfo, wanted: Path | None, *, made: bool
) -> Settings:
    """The settings with a concept tree of the new encoder: the same concepts, so that paths can be compared."""
    from streams.concepts.tree_file import load_taxonomy, load_tree, save_tree
    from streams.encoder.concept_tree import encode_tree, read_tree

    present = settings.concepts.file
    if wanted is None:
        if present is not None and load_tree(present).encoder_id != info.encoder_id:
            raise ConfigurationError(
                f"concepts.file {present} was made with another encoder: name one for {info.encoder_id} with "
                "--concepts FILE; where it is not there yet it is made of the same concepts"
            )
        return there
    if not made:
        tree = load_tree(present) if present else load_taxonomy()
        console().print(f"encoding {len(tree.concepts):,} concepts for {wanted}", style="dim")
        save_tree(await encode_tree(tree, encoder, info.encoder_id), wanted)
    read_tree(wanted, info.encoder_id, info.dim)
    return there.model_copy(update={"concepts": there.concepts.model_copy(update={"file": wanted})})


async def _prepare(servers: Servers, there: Settings, info: EncoderInfo, serving: str) -> None:
    """Make the collections, and leave the marks of erasures that the log may no longer hold."""
    from streams.settings.wiring import qdrant_config
    from streams.store.collections import Collections
    from streams.store.qdrant import QdrantStore

    names = Collections(info.encoder_id, info.dim, there.qdrant.hnsw_interests)
    store = QdrantStore(qdrant_config(there), there.nodes.policy(), names)
    try:
        await store.prepare()
    finally:
        await store.close()
    erased = await servers.scan.erased(await servers.collections(serving))
    await servers.data.put_tombstones(names, erased, there.nodes.policy())


async def _run(admin: Admin, there: Settings, encoder: str, items: int, options: MigrationOptions) -> int:
    from streams.pipeline import faultpoints
    from streams.settings.logs import set_up
    from streams.settings.service import LogSettings

    faultpoints.arm(os.environ.get(faultpoints.VARIABLE, ""))  # tests only
    set_up(LogSettings(level="warning", form=there.log.form))
    print_environment(there)
    steps: list[tuple[str, Sequence[str], bool]] = [("events", read_topics(there), False)]
    if items:
        steps.insert(0, ("items", [there.kafka.items_topic], True))
    for label, topics, only_items in steps:
        follow = options.follow and not only_items
        code = await _step(
            admin, there, label, topics, only_items=only_items, follow=follow, no_worker=options.no_worker
        )
        if code is not None:
            return code
    out = console()
    out.print(f"[green]{encoder} has all that is in the log[/]")
    out.print(
        "next: keep its workers running, interests encoder compare, then interests encoder switch --to " + encoder
    )
    return 0


def print_environment(there: Settings) -> None:
    """Say what workers of the second group are started with elsewhere."""
    out = console()
    out.print("workers of the second group, here or elsewhere, are started with:", style="dim")
    values = {
        "KAFKA__GROUP": there.kafka.group, "TRITON__URL": there.triton.url, "TRITON__MODEL": there.triton.model,
        "CONCEPTS__FILE": there.concepts.file, "LEARNED__MODEL": there.learned.model,
    }  # fmt: skip
    for name, value in values.items():
        if value is not None:
            out.print(f"    export INTERESTS_{name}={value}", highlight=False)
    out.print("    interests worker     # once the items are described", style="dim")


async def _step(
    admin: Admin, there: Settings, label: str, topics: Sequence[str], *, only_items: bool, follow: bool,
    no_worker: bool,
) -> int | None:  # fmt: skip
    """Fold until nothing is left of some topics; an exit code where it ended before that, or was followed."""
    from streams.worker.run import run as run_worker

    stop = asyncio.Event()
    working = None
    if not no_worker:
        working = asyncio.create_task(run_worker(there, stop=stop, only_items=only_items))
    try:
        with meter(console(), label, 0) as bar:
            finished = await _watch(admin, there.kafka.group, topics, bar, working, follow=follow)
    finally:
        stop.set()
        code = await working if working is not None else 0
    if code:
        print_error("the second group's worker had to end (see above): the same command goes on where it was")
        return EXIT_FAILED
    if not finished:
        print_error("stopped before the end: the same command goes on where it was")
        return EXIT_INTERRUPTED
    return None


async def _watch(
    admin: Admin, group: str, topics: Sequence[str], bar: Meter, working: asyncio.Task[int] | None, *, follow: bool
) -> bool:
    """Show how much is left, until nothing is three times in a row, or the worker has ended; whether nothing was."""
    most, nothing = 0, 0
    while True:
        left = sum(by_topic(await admin.lag(group, topics)).values())
        most = max(most, left)
        bar.to(most - left, most)
        nothing = 0 if left else nothing + 1
        if nothing >= _STAYS and not follow:
            return True
        if working is None:
            await asyncio.sleep(_ASK_EVERY_S)
            continue
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(working), _ASK_EVERY_S)
            return nothing >= _STAYS
