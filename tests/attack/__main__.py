"""`make attack`: attacks a stack of its own, or a running one, and ends with a table of what came back."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.embedded.stack import Stack
from tests.attack import access, bombs, connections, pages, streams  # noqa: F401  # they register their attacks
from tests.attack.issuer import Issuer
from tests.attack.registry import ATTACKS, Attack, Outcome, Target, fitting, perform
from tests.fixtures.api import ApiServer


def main() -> int:
    """0: every attack was held; 1: one was not; 130 after Ctrl-C."""
    arguments = _arguments()
    console = Console(highlight=False, width=160 if not sys.stdout.isatty() else None)
    if arguments.list:
        table = Table("attack", "group", "what is tried")
        for one in ATTACKS.values():
            table.add_row(one.name, one.group, one.tried)
        console.print(table)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stack is stopped too
    try:
        results = asyncio.run(_run(arguments, console))
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    console.print(_table(results))
    broken = [one.name for one, outcome in results if not outcome.held]
    console.print(f"{len(results)} attacks, {len(broken)} not held{': ' if broken else ''}{', '.join(broken)}")
    return 1 if broken or not results else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("names", nargs="*", help="attacks; all by default")
    parser.add_argument("--list", action="store_true", help="name the attacks and end")
    parser.add_argument("--short", action="store_true", help="fewer bytes and connections, as in `make test`")
    parser.add_argument("--api", help="attack a running API without keys, such as http://127.0.0.1:8080")
    parser.add_argument("--qdrant", help="with --api: its Qdrant's REST, http://127.0.0.1:6333")
    parser.add_argument("--worker", help="with --api: its worker's status port, http://127.0.0.1:9108")
    parser.add_argument("--triton", help="with --api: Triton's HTTP, http://127.0.0.1:8000")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in ATTACKS:
            parser.error(f"no attack {name!r}; --list names them")
    return arguments


async def _run(arguments: argparse.Namespace, console: Console) -> list[tuple[Attack, Outcome]]:
    results = []
    async with _target(arguments, console) as target:
        chosen = [one for one in fitting(target) if not arguments.names or one.name in arguments.names]
        for number, one in enumerate(chosen, start=1):
            console.print(f"[{number}/{len(chosen)}] {one.name}: {one.tried}", markup=False)
            results.append((one, await perform(one, target)))
    return results


@asynccontextmanager
async def _target(arguments: argparse.Namespace, console: Console) -> AsyncIterator[Target]:
    if arguments.api:
        yield Target(
            open_api=arguments.api, qdrant=arguments.qdrant, worker=arguments.worker, triton=arguments.triton,
            short=arguments.short,
        )  # fmt: skip
        return
    console.print("a stack of its own starts …")
    with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as folder:
        async with Stack(Path(folder) / "stack", ports="free") as stack:
            issuer = Issuer(Path(folder))
            keyed = ApiServer(stack.settings, Path(folder), **issuer.settings)
            await asyncio.to_thread(keyed.start)
            try:
                found = stack.addresses()
                yield Target(
                    open_api=stack.api_url, keyed_api=keyed.url, keys=keyed.keys,
                    keys_file=keyed.settings.api.keys_file, issuer=issuer, kafka=stack.settings.kafka,
                    qdrant=found["Qdrant (REST)"], worker=stack.worker_metrics_url.removesuffix("/metrics"),
                    triton=found["Triton (HTTP)"], pids=stack.pids(), short=arguments.short,
                )  # fmt: skip
            finally:
                await asyncio.to_thread(keyed.stop)


def _table(results: list[tuple[Attack, Outcome]]) -> Table:
    table = Table("attack", "what was tried", "what came back", "held")
    for one, outcome in results:
        style = None if outcome.held else "red"
        table.add_row(one.name, one.tried, escape(outcome.came_back), "yes" if outcome.held else "NO", style=style)
    return table


if __name__ == "__main__":
    sys.exit(main())
