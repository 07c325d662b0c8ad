"""`interests erase USER`: forget a person, and show that it holds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from textwrap import wrap
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from streams.api.receipts import Receipt
from streams.base.errors import ConfigurationError
from streams.client import InterestClient
from streams.commands.api_client import ApiUrl, AsJson, KeyFile, open_client
from streams.commands.glyphs import WIDEST
from streams.commands.options import User, Yes
from streams.commands.shell import EXIT_FAILED, console, print_error, register
from streams.commands.when import lasting, stamp

_EXAMPLE = "interests erase u17 --yes"
_ASK_EVERY_S = 0.5

Verify = Annotated[bool, typer.Option("--verify", help="Erase nothing: look whether the last erasure holds.")]
EventId = Annotated[str | None, typer.Option("--event-id", help="With --verify: the erasure with this receipt.")]
DeadlineS = Annotated[
    float, typer.Option("--deadline-s", min=1, help="How long to wait until a read finds nothing, in seconds.")
]


def add(app: typer.Typer) -> None:
    """Register the command."""
    register(app, "erase", example=_EXAMPLE)(erase)


def erase(
    user: User, verify: Verify = False, event_id: EventId = None, yes: Yes = False, deadline_s: DeadlineS = 30.0,
    as_json: AsJson = False, api: ApiUrl = None, key_file: KeyFile = None,
) -> None:  # fmt: skip
    """Erase all that is kept of a person, wait until it has taken effect, and print the receipt.

    The receipt says which topics may still hold their records, and until when; a replay of those brings nothing back.
    Needs a key with the scope admin. Exit code 1: it is accepted and has not taken effect yet, or does not hold.
    """
    if event_id is not None and not verify:
        raise ConfigurationError("--event-id names a receipt to check: it goes with --verify")
    if not verify and not yes:
        if not sys.stdin.isatty():
            raise ConfigurationError("erasing asks first, and standard input is no terminal: --yes goes ahead")
        typer.confirm(f"Erase all that is kept of {user!r}? It cannot be taken back.", abort=True)
    with open_client(api, key_file) as client:
        receipt = client.erasure(user, event_id) if verify else _erased(client, user, deadline_s)
    if as_json:
        typer.echo(receipt.model_dump_json(indent=2))
    else:
        out = console()
        out.print(Group(*lines(receipt, min(out.width, WIDEST) - 1)))
    if not receipt.verified:
        print_error(_left(receipt))
        raise typer.Exit(EXIT_FAILED)


def _erased(client: InterestClient, user: str, deadline_s: float) -> Receipt:
    """Ask for the erasure, and look until it has taken effect or the deadline passes."""
    until = time.monotonic() + deadline_s
    receipt = client.delete_user(user)
    while not receipt.verified and time.monotonic() + _ASK_EVERY_S < until:
        time.sleep(_ASK_EVERY_S)
        later = client.erasure(user, receipt.event_id)
        receipt = later.model_copy(update={"nodes_before": receipt.nodes_before, "shared": receipt.shared})
    return receipt


def lines(receipt: Receipt, width: int) -> Iterator[Text]:
    """The receipt, a fact a line."""
    yield Text(receipt.user_id, "bold", overflow="ellipsis", no_wrap=True)
    for name, value, style in _facts(receipt):
        for number, part in enumerate(wrap(value, max(20, width - 12), break_on_hyphens=False)):
            yield Text.assemble(("  " + (name if not number else "").ljust(10), "dim"), (part, style))


def _facts(receipt: Receipt) -> Iterator[tuple[str, str, str]]:
    if receipt.event_id:
        yield "receipt", receipt.event_id, ""
    yield "asked", stamp(receipt.requested_ms), ""
    yield "erased", stamp(receipt.erased_at_ms) if receipt.erased_at_ms else "not yet", ""
    before = f"{receipt.nodes_before} before, " if receipt.nodes_before else ""
    yield "nodes", f"{before}{receipt.nodes_left} left", ""
    holds = "a read finds nothing but the mark of the erasure"
    yield "holds", *(("yes: " + holds, "green") if receipt.verified else ("no", "red"))
    by_retention: dict[int | None, list[str]] = {}
    for topic in receipt.retained:
        by_retention.setdefault(topic.retention_ms, []).append(topic.topic)
    for number, (retention_ms, topics) in enumerate(by_retention.items()):
        until = "no end is known" if retention_ms is None else f"{lasting(retention_ms / 1000)} at most"
        yield "" if number else "still in", f"{', '.join(topics)} ({until})", ""
    for number, shared in enumerate(receipt.shared):
        known = "" if shared.taken_back is None else f"{shared.taken_back} known contributions taken back; "
        rest = f"what the profile did not know halves every {lasting(shared.half_life_s)}"
        yield "" if number else "shared", f"{shared.what}: {known}{rest}", ""


def _left(receipt: Receipt) -> str:
    if not receipt.erased_at_ms:
        event = f" --event-id {receipt.event_id}" if receipt.event_id else ""
        return f"accepted, not done yet: does a worker run? `interests erase USER --verify{event}` looks again"
    return f"{receipt.nodes_left} nodes hold events from before the erasure: is an old worker still writing?"
