"""What the commands share that ask the API: where it is, with which key, and what to do when it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streams.base.errors import ConfigurationError, InterestsError
from streams.client import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    InterestClient,
    RateLimited,
    Unauthorized,
    Unreachable,
)
from streams.commands.shell import load_settings
from streams.commands.when import lasting

if TYPE_CHECKING:
    from streams.settings.service import ClientSettings

ApiUrl = Annotated[str | None, typer.Option("--api", help="Address of the API.", show_default="client.url")]
KeyFile = Annotated[
    Path | None, typer.Option("--key-file", help="A file with a key or a JWT.", show_default="client.key_file")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON as the API answered it, for programs.")]
Context = Annotated[
    list[str] | None,
    typer.Option("--context", help="name=value of the situation they are in, such as daypart=evening. Repeatable."),
]

_START: Final = (
    "`interests up` starts the whole stack, `interests api` the API alone; --api URL or client.url names another"
)
_NO_KEY: Final = (
    "asks for a key: name a file that holds one with --key-file or client.key_file; "
    "`interests api key NAME --scope read` makes one"
)
_ANOTHER_KEY: Final = "; `interests api key NAME --scope …` makes one that may"
_ADVICE: Final = {
    "unknown-item": "`interests produce --items FILE` describes items",
    "no-erasure": "`interests erase USER` asks for one",
    "keys-unreadable": "its log says which file of keys does not fit, and where",
    "unknown-user": "`interests produce --user … --type click --item …` sends an event",
}


@contextmanager
def open_client(api: str | None, key_file: Path | None, *, deadline_s: float | None = None) -> Iterator[InterestClient]:
    """A client of the API by options over settings; what it raises says what to do next."""
    settings = load_settings().client
    url, key = api or settings.url, _key(settings, key_file)
    try:
        with InterestClient(url, key=key, deadline_s=deadline_s or settings.deadline_s) as client:
            yield client
    except ApiError as error:
        raise with_advice(error, url, keyed=key is not None) from error


def with_advice(error: ApiError, url: str, *, keyed: bool) -> InterestsError:
    """The error of a call as a person at a terminal needs it: what is wrong, and what to do."""
    detail = error.detail.rstrip(".") or error.title
    if isinstance(error, Unreachable):
        return InterestsError(f"no API answers at {url} ({detail.rpartition('] ')[2].lower()}): {_START}")
    if isinstance(error, Unauthorized):
        return ConfigurationError(f"the API at {url} {f'does not take this key: {detail}' if keyed else _NO_KEY}")
    if isinstance(error, Forbidden | BadRequest):
        advice = _ANOTHER_KEY if isinstance(error, Forbidden) else ""
        return ConfigurationError(f"{detail}{advice}" if advice else str(error))
    if isinstance(error, RateLimited):
        return InterestsError(f"{detail}; in {lasting(error.retry_after_s + 0.99)}")
    advice = "set client.deadline_s" if isinstance(error, DeadlineExceeded) else _ADVICE.get(error.kind, "")
    return InterestsError(f"{detail}: {advice}") if advice else error


def parse_context(pairs: list[str] | None) -> dict[str, str | float | bool]:
    """A context from name=value pairs. ConfigurationError where one is no pair."""
    context: dict[str, str | float | bool] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            raise ConfigurationError(f"got --context {pair!r}, expected name=value such as daypart=evening")
        context[name] = value
    return context


def daypart_and_device(context: dict[str, str | float | bool]) -> tuple[str | None, str | None]:
    """Part of the day and device, which calls without a body take. ConfigurationError for other names."""
    unknown = sorted(context.keys() - {"daypart", "device"})
    if unknown:
        raise ConfigurationError(f"got --context {', '.join(unknown)}, expected daypart or device here")
    daypart, device = context.get("daypart"), context.get("device")
    return str(daypart) if daypart else None, str(device) if device else None


def _key(settings: ClientSettings, key_file: Path | None) -> str | None:
    path = key_file or (None if settings.key else settings.key_file)
    if path is None:
        return settings.key.get_secret_value() if settings.key else None
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the key file {path}: {error}") from error
    if len(lines) != 1:
        raise ConfigurationError(f"the key file {path} has {len(lines)} lines, expected the key alone")
    return lines[0]
