"""`make fault`: injects every fault, or those named, and ends with a table of what the oracle found."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import _pytest.outcomes
from rich.console import Console
from rich.table import Table

from deploy.embedded.concepts import tree_file
from streams.settings.servers import TritonSettings
from streams.settings.service import Settings
from tests.fault.arena import Arena, Options
from tests.fault.catalogue import SCENARIOS
from tests.fault.models import InterestModels
from tests.fault.mutant_worker import MUTANTS
from tests.fault.page import write
from tests.fault.registry import Result, Scenario, perform
from tests.fixtures.brokers import make_broker
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import ROOT, TritonServer

#: Which faults show a mutant for what it is.
SHOWS = {
    "no-fence": ["zombie", "learned-takeover"], "early-ack": ["kill-before-upsert"],
    "no-applied": ["kill-after-upsert"], "no-tombstone": ["erase-replayed"],
    "no-sweep": ["learned-killed", "learned-model-swapped"],
    "forgetful-queue": ["learned-model-gone"],
}  # fmt: skip


def main() -> int:
    """Exit code 0 where every fault left nothing lost, doubled or rolled back; 1 where one did not; 2 for a usage."""
    arguments = _arguments()
    console = Console(highlight=False, width=160 if not sys.stdout.isatty() else None)
    if arguments.list:
        _list(console)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended too
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # that a broker is away is the point
    chosen = _chosen(arguments)
    options = Options(
        seed=arguments.seed, mutant=arguments.mutant, kills=arguments.kills, away_s=arguments.away,
        broker_away_s=arguments.broker_away, minutes=arguments.minutes, data=arguments.data,
    )  # fmt: skip
    started = time.monotonic()
    with _arena(arguments.broker, options) as arena:
        results = asyncio.run(_run(chosen, arena, console))
    console.print(_table(results, arguments.broker, options))
    if arguments.out:
        write(arguments.out, results, arguments.broker, options, time.monotonic() - started)
    console.print(f"{len(results)} faults in {(time.monotonic() - started) / 60:.1f} min")
    for result in results:
        if not result.fine:
            console.print(f"{result.name}: {result.problem}", markup=False)
    return 0 if all(result.fine for result in results) else 1


def _arguments() -> argparse.Namespace:
    default = Options()
    parser = argparse.ArgumentParser(prog="make fault NAME=...", description=__doc__)
    parser.add_argument("names", nargs="*", help="faults; all that are not marked as long by default")
    parser.add_argument("--list", action="store_true", help="name the faults and end")
    parser.add_argument("--broker", choices=["tansu", "kafka"], default="tansu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutant", choices=[*MUTANTS], default="", help="a worker with a guard taken out: must fail")
    parser.add_argument("--kills", type=int, default=default.kills)
    parser.add_argument("--away", type=float, default=default.away_s, help="seconds that Qdrant is away")
    parser.add_argument("--broker-away", type=float, default=default.broker_away_s, help="seconds without a broker")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="length of the random mix")
    parser.add_argument("--data", type=Path, help="folder of a real log (items and events in JSON lines) to be played")
    parser.add_argument("--out", type=Path, help="write the table to this page")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in SCENARIOS:
            parser.error(f"no fault {name!r}; --list names them")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[Scenario]:
    if arguments.names:
        return [SCENARIOS[name] for name in arguments.names]
    if arguments.mutant:
        return [SCENARIOS[name] for name in SHOWS[arguments.mutant]]
    return [one for one in SCENARIOS.values() if one.plain and arguments.broker in one.brokers]


@contextmanager
def _arena(kind: str, options: Options) -> Iterator[Arena]:
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fault-", ignore_cleanup_errors=True)))
        try:
            broker = make_broker(kind, work / "broker")
        except _pytest.outcomes.Skipped as reason:
            sys.exit(f"error: {reason}")
        triton, qdrant = TritonServer(ROOT / "model_repo", work / "triton"), QdrantServer(work / "qdrant")
        for server in (broker, triton, qdrant):
            server.start()
            stack.callback(server.stop)
        concepts = asyncio.run(tree_file(Settings(triton=TritonSettings(url=triton.grpc_url)), ROOT))
        models = InterestModels(work / "models")
        stack.callback(models.stop)
        yield Arena(broker, triton, qdrant, str(concepts), work, options, models=models)


async def _run(chosen: list[Scenario], arena: Arena, console: Console) -> list[Result]:
    results = []
    for number, one in enumerate(chosen, start=1):
        console.print(f"[{number}/{len(chosen)}] {one.name}: {one.about}", markup=False)
        results.append(result := await perform(one, arena))
        told = (result.skipped and f"skipped: {result.skipped}") or result.problem or "nothing lost, nothing twice"
        console.print(f"    {result.took_s:.0f} s: {told[:3000]}", markup=False)
    return results


def _table(results: list[Result], broker: str, options: Options) -> Table:
    title = f"faults on {broker}, seed {options.seed}" + (f", mutant {options.mutant}" if options.mutant else "")
    table = Table(title=title)
    for column in ("fault", "injected"):
        table.add_column(column)
    for column in ("events", "lost", "doubled", "rolled back", "recovered s"):
        table.add_column(column, justify="right")
    for r in results:
        if r.skipped:
            table.add_row(r.name, f"skipped: {r.skipped}", *[""] * 5)
            continue
        v = r.verdict
        figures = [str(n) for n in (v.events, len(v.lost), v.doubled, v.rolled_back)]
        table.add_row(r.name, r.injected, *figures, f"{r.recovered_s:.1f}", style=None if r.fine else "red")
    return table


def _list(console: Console) -> None:
    table = Table("fault", "group", "what it does", "brokers")
    for one in SCENARIOS.values():
        table.add_row(one.name, one.group, one.about + ("" if one.plain else " (by name only)"), ", ".join(one.brokers))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
