"""What losing workers does to the lag, by the model: `python -m deploy.capacity --events-per-s 10000 --workers 9`.

Costs are those of docs/capacity.md unless others are given. It takes no server, and seconds of time.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.capacity.model import Costs, Course, Group, Loss, least_workers, simulate

_EXAMPLES = (
    "Examples: python -m deploy.capacity --events-per-s 10000 --workers 9 --lose 3 · "
    "python -m deploy.capacity --events-per-s 50000 --workers 41 --store-cores 50 --lose 14 --back-after-s 45"
)
_LOST_AT_S = 60.0


def main(
    events_per_s: Annotated[float, typer.Option(min=1, help="Events a second.")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="Workers, a core each.")] = 9,
    partitions: Annotated[int, typer.Option(min=0, help="Partitions of a topic; 0: two a worker.")] = 0,
    lose: Annotated[int, typer.Option(min=0, help="Workers that die at once; 0: a third.")] = 0,
    back_after_s: Annotated[float, typer.Option(min=0, help="Others take their place after it; 0: never.")] = 0,
    store_cores: Annotated[int, typer.Option(min=1, help="Calls that the store works on at a time.")] = 25,
    worker_us: Annotated[float, typer.Option(min=0, help="Worker: processor µs an event.")] = 491,
    store_us: Annotated[float, typer.Option(min=0, help="Store: processor µs an event, all copies.")] = 1466,
    session_timeout_s: Annotated[float, typer.Option(min=1, help="kafka.session_timeout_s")] = 10,
    within_s: Annotated[float, typer.Option(min=0, help="Find the fewest workers that catch up within it.")] = 0,
    minutes: Annotated[float, typer.Option(min=1, max=60, help="How long after the loss to look.")] = 10,
) -> None:
    """Lose workers under an even load, and print what becomes of the lag."""
    costs = Costs(worker_event_s=worker_us / 1e6, store_event_s=store_us / 1e6, store_cores=store_cores)
    if events_per_s * costs.store_event_s > store_cores:
        least = ceil(events_per_s * costs.store_event_s)
        raise typer.BadParameter(
            f"got {store_cores}, expected {least} or more at this load", param_hint="--store-cores"
        )
    if within_s:
        workers = least_workers(costs, events_per_s, within_s=within_s, session_timeout_s=session_timeout_s)
    lost = lose or max(1, workers // 3)
    if lost >= workers and not back_after_s:
        raise typer.BadParameter(f"got {lost} of {workers} workers lost for good, expected fewer", param_hint="--lose")
    group = Group(workers=workers, partitions=partitions or 2 * workers, session_timeout_s=session_timeout_s)
    loss = Loss(workers=lost, at_s=_LOST_AT_S, back_after_s=back_after_s or None)
    course = simulate(costs, group, events_per_s, seconds=_LOST_AT_S + minutes * 60, loss=loss)
    console = Console()
    console.print(table_of(course, group, lost, events_per_s))
    console.print(advice(course, costs, group, lost, events_per_s))


def table_of(course: Course, group: Group, lost: int, events_per_s: float) -> Table:
    """The figures of a course."""
    table = Table("", "figure", title=f"{lost} of {group.workers} workers lost, {events_per_s:,.0f} events/s")
    caught_up = course.caught_up_s
    table.add_row("lag before, records", f"{course.steady:,.0f}")
    table.add_row("lag at most", f"{course.peak:,.0f}")
    table.add_row("a record waits at most", f"{max(course.oldest_s):,.1f} s")
    table.add_row("caught up after", "not in this time" if caught_up is None else f"{caught_up:,.0f} s")
    return table


def advice(course: Course, costs: Costs, group: Group, lost: int, events_per_s: float) -> str:
    """What the outcome hangs on."""
    if course.caught_up_s is not None:
        return "Most of the peak is the time until the loss is noticed: kafka.session_timeout_s."
    left = max(1, group.workers - lost)
    busiest = ceil(group.partitions / left) / group.partitions * events_per_s * costs.worker_event_s
    if busiest > 1:
        return (
            f"Of those left one has {busiest:.0%} of a core to do, with {ceil(group.partitions / left)} of "
            f"{group.partitions} partitions: more workers, or partitions that they share more evenly."
        )
    return "It catches up later: look longer (--minutes)."


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command(help=main.__doc__, epilog=_EXAMPLES)(main)
    app()
