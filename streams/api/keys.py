"""API keys by their hash: how one is made, the lines they are kept as, and the file that is read again and again."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import Final

import structlog

from streams.api.scopes import SCOPES, CredentialsRefused, Scope
from streams.base.credentials import read
from streams.base.errors import ConfigurationError

KEY_PREFIX = "isk_"
_KEY_BYTES = 32
#: How long a change of the file may go unseen.
CHECK_EVERY_S: Final = 1.0
_MAX_FILE_BYTES: Final = 1 << 20

log = structlog.get_logger(__name__)


class KeysUnreadable(CredentialsRefused):
    """The keys file cannot be read or has a line that is no key: none of its keys is let in until it is whole again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as it is kept: never itself, only its SHA-256."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes


def make_key(name: str, scopes: frozenset[Scope]) -> tuple[str, str]:
    """A new key, and the line that lets it in. ConfigurationError where the name does not fit a line."""
    if not name or not name.isprintable() or set(name) & set(": #"):
        raise ConfigurationError("a key's name: expected printable characters without colon, space or #")
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    ordered = ",".join(scope for scope in SCOPES if scope in scopes)
    return key, f"{name}:{ordered}:{hashlib.sha256(key.encode()).hexdigest()}"


def read_keys(text: str) -> list[Key]:
    """Keys of lines `name:scope,scope:sha256`; empty lines and those that begin with # are skipped."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [_key(number, entry) for number, line in enumerate(lines, 1) for entry in line.split()]


def _key(number: int, line: str) -> Key:
    fields = line.rsplit(":", 2)
    try:
        name, scopes, digest = fields[0], frozenset(fields[1].split(",")), bytes.fromhex(fields[2])
    except (IndexError, ValueError):
        name, scopes, digest = "", frozenset(), b""
    if not name or not scopes <= set(SCOPES) or not scopes or len(digest) != hashlib.sha256().digest_size:
        raise ConfigurationError(
            f"API keys, line {number}: expected name:scope,scope:sha256 with scopes of {', '.join(SCOPES)}; "
            "`interests api key NAME` makes one"
        )
    return Key(name=name, scopes=scopes, digest=digest)  # type: ignore[arg-type]  # held against SCOPES above


class Keys:
    """The keys that are let in: those of the settings, and those of a file that is read again every second.

    The file's bytes are compared, not its times: a change within one tick of the clock counts too, and a file that was
    replaced, and one that may no longer be read. While the file is not whole none of its keys is let in; those of the
    settings are. Where it is not whole at the start: ConfigurationError, or with `wait` the same as later on.
    """

    def __init__(
        self, fixed: str, file: Path | None, clock: Callable[[], float] = monotonic,
        on_change: Callable[[bool], None] = lambda usable: None, *, wait: bool = False,
    ) -> None:  # fmt: skip
        self._fixed, self._file, self._clock, self._on_change = read_keys(fixed), file, clock, on_change
        self._of_file: list[Key] = []
        self._content: bytes | None = None
        self._usable = True
        self._check_at = -inf
        if wait:
            self._refresh()
        elif file is not None:
            self._take(read(file, "api.keys_file", limit=_MAX_FILE_BYTES, plain=True))
            self._check_at = clock() + CHECK_EVERY_S
        on_change(self._usable)

    def __len__(self) -> int:
        return len(self._fixed) + len(self._of_file)

    @property
    def usable(self) -> bool:
        """Whether the file is whole, as it was last read: a second ago at most."""
        self._refresh()
        return self._usable

    @property
    def lets_in(self) -> bool:
        """Whether there are keys that do not depend on the file, or the file is whole."""
        return bool(self._fixed) or self.usable

    def find(self, given: str) -> Key | None:
        """The key that was given. Every kept one is compared, each in constant time.

        Raises KeysUnreadable where the file is not whole and the key is none of the settings'.
        """
        self._refresh()
        digest = hashlib.sha256(given.encode()).digest()
        match = None
        for key in (*self._fixed, *self._of_file):
            if hmac.compare_digest(key.digest, digest):
                match = key
        if match is None and not self._usable:
            raise KeysUnreadable("the file of keys cannot be used now")
        return match

    def _refresh(self) -> None:
        if self._file is None or self._clock() < self._check_at:
            return
        self._check_at = self._clock() + CHECK_EVERY_S
        try:
            content = read(self._file, "api.keys_file", limit=_MAX_FILE_BYTES, plain=True)
            if content == self._content:
                return
            self._take(content)
        except ConfigurationError as error:
            self._content, self._of_file = None, []
            if self._usable:
                log.error(  # noqa: TRY400  # a wrong line is no defect: its reason says all
                    "keys_file_refused", reason=str(error), effect="none of its keys is let in"
                )
            self._set_usable(False)
        else:
            log.info("keys_file_read", keys=len(self._of_file))
            self._set_usable(True)

    def _take(self, content: bytes) -> None:
        try:
            self._of_file = read_keys(content.decode("utf-8"))
        except UnicodeDecodeError:
            raise ConfigurationError(f"api.keys_file {self._file}: not UTF-8") from None
        self._content = content

    def _set_usable(self, usable: bool) -> None:
        if usable != self._usable:
            self._usable = usable
            self._on_change(usable)
