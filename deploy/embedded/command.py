"""`interests up`: the whole stack on this machine. An entry point of the group `interests.commands` names `add`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from streams.commands.options import writable
from streams.commands.shell import register

if TYPE_CHECKING:
    from deploy.embedded.ports import PortChoice
    from streams.broker.config import BrokerImplementation

DataDir = Annotated[
    Path, typer.Option("--data-dir", file_okay=False, callback=writable, help="Data, logs and addresses.")
]
Ports = Annotated[str, typer.Option("--ports", help="default; any: others where one is taken; free: always others.")]
Broker = Annotated[
    str, typer.Option("--broker", help="tansu: in memory; kafka: the Apache Kafka in KAFKA_HOME, kept on disk.")
]
FoldWithin = Annotated[
    float, typer.Option("--fold-within", min=0, metavar="SECONDS", help="How long Ctrl-C folds what was taken first.")
]

InterestModel = Annotated[
    Path | None,
    typer.Option(
        "--interest-model", exists=True, file_okay=False, metavar="DIR",
        help="A trained model of interests (interests train --out), to serve and keep the level learned with.",
    ),
]  # fmt: skip


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "up", example="interests up --ports any")(up)


def up(
    data_dir: DataDir = Path(".interests"), ports: Ports = "default", broker: Broker = "tansu",
    fold_within: FoldWithin = 60.0, interest_model: InterestModel = None,
) -> None:  # fmt: skip
    """Run everything on this machine until Ctrl-C: broker, Triton, Qdrant's engine, a worker.

    Nothing but pip packages is needed (the extra `embedded`). Prints a table of addresses. The broker keeps its records
    in memory: Ctrl-C first folds what it has taken, a second one skips that. With --broker kafka it keeps them in the
    data directory. Exit code 0: stopped on request; 1: a part failed; 2: a port is taken, a setting does not fit, or
    there is no Kafka.
    """
    if ports not in {"default", "any", "free"}:
        raise typer.BadParameter("expected default, any or free", param_hint="--ports")
    if broker not in {"tansu", "kafka"}:
        raise typer.BadParameter("expected tansu or kafka", param_hint="--broker")
    from deploy.embedded.up import up as run_stack  # noqa: PLC0415  # `interests --help` imports this module

    choice, kind = cast("PortChoice", ports), cast("BrokerImplementation", broker)
    code = run_stack(data_dir, ports=choice, broker=kind, fold_within_s=fold_within, interest_model=interest_model)
    raise typer.Exit(code)
