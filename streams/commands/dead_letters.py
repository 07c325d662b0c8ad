"""`interests dead-letters`: a pair of keys to seal them with, and what sealed ones hold."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.base.errors import ConfigurationError
from streams.commands.connections import producer_of
from streams.commands.shell import EXIT_FAILED, console, load_settings, print_error, register, run
from streams.events.dead_letters import BODY, OURS, PREFIX

if TYPE_CHECKING:
    from streams.broker.fetched_batch import Record
    from streams.broker.producer import Outgoing
    from streams.events.privacy import Original
    from streams.settings.service import Settings

_ORIGIN = f"{PREFIX}topic"

dead_letters = typer.Typer(
    help="Dead letters: keys to seal them with, and what sealed ones hold.", no_args_is_help=True
)

Private = Annotated[Path, typer.Argument(help="The private key's file, made readable by its owner only.")]
Public = Annotated[Path, typer.Argument(help="The public key's file, for privacy.dead_letter_key_file.")]
Topic = Annotated[str, typer.Argument(help="A topic of dead letters, such as clicks.dead.", metavar="TOPIC")]
Key = Annotated[Path | None, typer.Option("--key", help="The private key's file; for sealed dead letters.")]
Again = Annotated[bool, typer.Option("--again", help="Produce the records to the topics they came from once more.")]


def add(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(dead_letters, name="dead-letters")
    register(dead_letters, "keys", example="interests dead-letters keys private.pem public.pem")(keys)
    register(dead_letters, "open", example="interests dead-letters open clicks.dead --key private.pem")(open_)


def keys(private: Private, public: Public) -> None:
    """Make a pair of keys to seal dead letters with (X25519, PEM).

    Workers get the public one. Keep the private one away from them: whoever has it reads what people wrote.
    """
    from streams.settings.privacy import new_pair

    if private.resolve() == public.resolve():
        raise ConfigurationError(f"got {private} for both keys, expected two files")
    for file in (private, public):
        if file.exists():
            raise ConfigurationError(f"{file} exists: name another file, or move it away")
    pair = new_pair()
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file_of_key:
        file_of_key.write(pair.private)
    public.write_bytes(pair.public)
    console().print(f"wrote {private} and {public}: set privacy.dead_letter_bodies to seal and dead_letter_key_file")


def open_(topic: Topic, key: Key = None, again: Again = False) -> None:
    """Print the records of a topic of dead letters as JSON lines, sealed ones opened.

    They hold what people wrote: mind where the output goes. Keys and values are text, or base64 where they are none.
    """
    if not topic.endswith(".dead"):
        raise ConfigurationError(f"got {topic}, expected a topic of dead letters, which ends with .dead")
    run(_open(load_settings(), topic, key, again))


async def _open(settings: Settings, topic: str, key: Path | None, again: bool) -> None:
    from streams.broker.producer import Outgoing, sane_ms
    from streams.broker.read_all import read_topic
    from streams.settings.privacy import private_key
    from streams.settings.wiring import kafka_config

    private = private_key(key) if key else None
    back: dict[str, list[Outgoing]] = {}
    foreign = 0
    async for records in read_topic(kafka_config(settings.kafka), topic):
        for record in records:
            opened = original(record, private)
            headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
            typer.echo(json.dumps(_line(headers, opened), ensure_ascii=False))
            origin = headers.get(_ORIGIN)
            if origin is None:
                foreign += 1
            elif opened is not None and opened.value is not None:
                at_ms = sane_ms(record.timestamp)
                out = Outgoing(opened.key, opened.value, headers=tuple(opened.headers), timestamp_ms=at_ms)
                back.setdefault(origin, []).append(out)
    if again:
        async with producer_of(settings) as producer:
            for origin, outgoing in back.items():
                await producer.send_many(origin, outgoing)
    if foreign:
        print_error(
            f"{foreign:,} of the records of {topic} lack the header {_ORIGIN}: no worker wrote them"
            f"{', and they were not produced again' if again else ''}"
        )
        raise typer.Exit(EXIT_FAILED)


def original(record: Record, private: Any) -> Original | None:
    """The record that a dead letter carries; None where it was dropped, or is sealed and there is no key."""
    from streams.events.privacy import SEALED, Original, open_sealed

    body = dict(record.headers).get(BODY)
    if body == SEALED:
        return open_sealed(record.value or b"", record.headers, private) if private else None
    if body is not None:
        return None
    kept = [header for header in record.headers if header[0] not in OURS]
    return Original(record.key, record.value, kept)


def _line(headers: dict[str, str], opened: Original | None) -> dict[str, Any]:
    line: dict[str, Any] = {name.removeprefix(PREFIX): text for name, text in headers.items() if name in OURS}
    if opened is not None:
        line |= {"key": _text(opened.key), "value": _text(opened.value)}
    return line


def _text(raw: bytes | None) -> str | dict[str, str] | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw or b"").decode()}
