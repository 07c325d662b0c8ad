"""`interests topics`: make the service's topics, and see how far the group is behind in each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from streams.commands.connections import admin_of
from streams.commands.shell import console, load_settings, register, run

if TYPE_CHECKING:
    from streams.broker.admin import Group, Lag, Topic
    from streams.settings.service import Settings

topics = typer.Typer(help="Make the service's topics and look at them.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(topics, name="topics")
    register(topics, "create", example="interests topics create")(create)
    register(topics, "list", example="interests topics list")(list_)


def create() -> None:
    """Make every topic the service reads or writes; what exists is left as it is.

    Partitions and replication are kafka.partitions and kafka.replication of the settings.
    """
    created = run(_create(load_settings()))
    table = table_of("topic", "partitions", "")
    for topic in created:
        table.add_row(topic.name, str(topic.partitions), "[green]created[/]" if topic.created else "existed")
    console().print(table)


def list_() -> None:
    """List the service's topics with their partitions, their records and the group's lag."""
    settings = load_settings()
    existing, lags, group = run(_list(settings))
    table = table_of("topic", "partitions", "end", "lag")
    read = read_topics(settings)
    for name in service_topics(settings):
        own = [lag for lag in lags if lag.topic == name]
        if name not in existing:
            table.add_row(name, "[red]missing[/]", "", "")
            continue
        behind = sum(lag.lag for lag in own)
        table.add_row(
            name, str(existing[name].partitions), f"{sum(lag.end for lag in own):,}",
            ("[yellow]" if behind else "[green]") + f"{behind:,}[/]" if name in read else "",
        )  # fmt: skip
    console().print(table)
    members = f"{len(group.members)} member{'' if len(group.members) == 1 else 's'}"
    console().print(f"group {group.group_id}: {group.state.lower()}, {members}")
    if any(name not in existing for name in service_topics(settings)):
        console().print("[yellow]topics are missing: run[/] interests topics create")


def read_topics(settings: Settings) -> list[str]:
    """The names of the topics that the workers' group reads."""
    kafka = settings.kafka
    return [*kafka.event_topics, kafka.items_topic, kafka.unresolved_topic, *kafka.derived_topics]


def service_topics(settings: Settings) -> list[str]:
    """The names of the service's topics, those of dead letters last."""
    kafka, read = settings.kafka, read_topics(settings)
    others = filter(None, (kafka.updated_topic, kafka.examples_topic, kafka.ranking_weights_topic))
    dead = (f"{name}.dead" for name in (*read, *filter(None, [kafka.examples_topic])))
    return [*read, *others, *dead]


async def _create(settings: Settings) -> list[Topic]:
    from streams.settings.wiring import topic_specs

    async with admin_of(settings) as admin:
        return await admin.create_topics(topic_specs(settings.kafka))


async def _list(settings: Settings) -> tuple[dict[str, Topic], list[Lag], Group]:
    async with admin_of(settings) as admin:
        existing = await admin.topics(service_topics(settings))
        lags = await admin.lag(settings.kafka.group, list(existing))
        return existing, lags, await admin.group(settings.kafka.group)


def table_of(*headings: str) -> Table:
    """An empty table; all but its first column are aligned to the right."""
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 3, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
    return table
