"""`interests up`: the whole stack on this machine until Ctrl-C. Also `python -m deploy.embedded.up`."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from deploy.embedded.data_directory import is_open
from deploy.embedded.last_fold import WITHIN_S, LastFold
from deploy.embedded.ports import PortChoice, Ports
from deploy.embedded.stack import Stack
from deploy.embedded.status import StackStatus, addresses_table, quiet, wide_console
from streams.base.errors import ConfigurationError, InterestsError
from streams.broker.config import BrokerImplementation
from streams.commands.shell import print_error

DATA_DIR = Path(".interests")
EXIT_STOPPED, EXIT_FAILED, EXIT_CONFIGURATION, EXIT_KILLED = 0, 1, 2, 130
TRY_NEXT = (
    ('interests produce --user ana --type search --text "pour-over coffee"', "an event"),
    ("interests show ana", "her tree"),
    ("interests doctor", "is all well?"),
)
FORGETS = (
    "  This broker keeps its records in memory: what is not in a tree when it ends is gone. Ctrl-C folds\n"
    "  first what was taken; events that wait for an item and dead letters go all the same. A Kafka\n"
    "  keeps them: `interests up --broker kafka` runs one in the data folder (where KAFKA_HOME and Java\n"
    "  are), INTERESTS_KAFKA__BROKERS names one of your own to `interests worker`."
)
OPEN = "  Others on this machine may look into {0}, though not into the data: `chmod 700 {0}` shuts it."
UNREAD = "  What Kafka keeps in {} stays there, and is not read: this run has a broker of its own."
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(
    data_dir: Path = DATA_DIR, *, ports: PortChoice | Ports = "default", broker: BrokerImplementation = "tansu",
    fold_within_s: float = WITHIN_S, interest_model: Path | None = None,
) -> int:  # fmt: skip
    """Run the stack until SIGINT, SIGTERM or SIGHUP (exit code 0), or until a part fails for good (1).

    Where the broker forgets, a signal first has what it took folded, for `fold_within_s` seconds at most; a second
    one skips that. 2 says that something must be changed first: a port is taken, a stack runs on the directory
    already, a setting does not fit. A further signal kills whatever has not stopped yet (130).
    """
    quiet()
    console = wide_console()
    status, last_fold = StackStatus(console), LastFold(console, fold_within_s)
    stack = Stack(data_dir, ports=ports, broker=broker, interest_model=interest_model, observe=status.changed)
    return asyncio.run(until_signal(stack, _serve(stack, status, console, last_fold), last_fold))


class Stoppable(Protocol):
    """What a signal acts upon."""

    @property
    def stopping(self) -> bool:
        """Whether it is being stopped."""

    def kill_now(self) -> None:
        """End every process at once."""


async def until_signal(stack: Stoppable, body: Coroutine[Any, Any, int], last_fold: LastFold | None = None) -> int:
    """Run `body`, which enters the stack, to its end or until a signal; gives its result or the exit code that fits.

    The first signal cancels the body, which stops the stack in order. The next one skips the last fold where the body
    is at it, else it kills every part.
    """
    running = asyncio.create_task(body)
    loop = asyncio.get_running_loop()
    killed = False

    def stop(number: signal.Signals) -> None:
        nonlocal killed
        if last_fold is not None and not running.cancelling():
            last_fold.bar = number == signal.SIGINT  # somebody looks
        if not (stack.stopping or running.cancelling()):
            running.cancel()
        elif last_fold is None or not last_fold.skip():
            killed = True
            stack.kill_now()

    # Under `nohup` SIGHUP is to be ignored.
    handled = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    for number in handled:
        loop.add_signal_handler(number, stop, number)
    try:
        return await running
    except asyncio.CancelledError:
        return EXIT_KILLED if killed else EXIT_STOPPED
    except InterestsError as error:
        print_error(str(error))
        return EXIT_CONFIGURATION if isinstance(error, ConfigurationError) else EXIT_FAILED
    finally:
        for number in handled:
            loop.remove_signal_handler(number)


async def _serve(stack: Stack, status: StackStatus, console: Console, last_fold: LastFold) -> int:
    console.print(Text("Starting interest-streams on this machine", "bold"))
    with status:
        async with stack:
            status.end()
            greet(stack, console)
            try:
                failure = await stack.failed()
            except asyncio.CancelledError:
                await last_fold.run(stack)
                raise
            console.print("A part has failed: stopping the others")
            await last_fold.count_lost(stack, failure)
            raise failure


def greet(stack: Stack, console: Console) -> None:
    """Say where everything answers and what to try next."""
    console.print()
    console.print(addresses_table(stack.addresses()))
    console.print()
    console.print(f"  logs in {_short(stack.data_dir / 'logs')}; Ctrl-C stops everything in order")
    if is_open(stack.data_dir):
        console.print(Text(OPEN.format(_short(stack.data_dir)), "yellow"))
    if stack.forgets:
        console.print()
        console.print(Text(FORGETS, "yellow"))
        if (stack.data_dir / "kafka").is_dir():
            console.print(Text(UNREAD.format(_short(stack.data_dir / "kafka")), "yellow"))
    console.print()
    console.print(Text("Try, in another terminal:", "bold"))
    read_env = f". {shlex.quote(_short(stack.data_dir / 'env'))}"
    for command, meaning in ((read_env, "first, in each shell"), *TRY_NEXT):
        console.print(Text(f"  {command:<74}") + Text(meaning, "dim"))


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main() -> int:
    """The command line of `python -m deploy.embedded.up`."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.up", description=up.__doc__)
    parser.add_argument("--data-dir", type=Path, default=DATA_DIR, help="directory of data, logs and addresses")
    parser.add_argument(
        "--ports",
        choices=("default", "any", "free"),
        default="default",
        help="default; any: others where one is taken; free: always others",
    )
    parser.add_argument(
        "--broker", choices=("tansu", "kafka"), default="tansu", help="tansu: in memory; kafka: that of KAFKA_HOME"
    )
    parser.add_argument(
        "--fold-within", type=float, default=WITHIN_S, metavar="SECONDS", help="how long a stop folds first, at most"
    )
    parser.add_argument("--interest-model", type=Path, metavar="DIR", help="what `interests train --out` wrote")
    given = parser.parse_args()
    return up(
        given.data_dir, ports=given.ports, broker=given.broker, fold_within_s=given.fold_within,
        interest_model=given.interest_model,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
