"""API keys by their hash: how one is made, the lines they are kept as, and who is let in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from streams.api.credentials_file import CredentialsFile, KeysUnreadable
from streams.api.scopes import SCOPES, Scope
from streams.base.errors import ConfigurationError

KEY_PREFIX = "isk_"
_KEY_BYTES = 32


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
    """The keys that are let in: those of the settings, and those of a file that is read again every second."""

    def __init__(
        self, fixed: str, file: Path | None, clock: Callable[[], float] = monotonic,
        on_change: Callable[[bool], None] = lambda usable: None, *, wait: bool = False,
    ) -> None:  # fmt: skip
        self._fixed = read_keys(fixed)
        self._file = (
            None if file is None
            else CredentialsFile(file, "api.keys_file", _keys_of_file, clock, on_change, wait=wait)
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._fixed) + len(self._of_file() or ())

    @property
    def usable(self) -> bool:
        """Whether the file is whole; true where there is none."""
        return self._of_file() is not None

    @property
    def lets_in(self) -> bool:
        """Whether there are keys that do not depend on the file, or a file that is whole."""
        return bool(self._fixed) or (self._file is not None and self.usable)

    def find(self, given: str) -> Key | None:
        """The key that was given. Every kept one is compared, each in constant time.

        Raises KeysUnreadable where the file is not whole and the key is none of the settings'.
        """
        digest = hashlib.sha256(given.encode()).digest()
        match, of_file = None, self._of_file()
        for key in (*self._fixed, *(of_file or ())):
            if hmac.compare_digest(key.digest, digest):
                match = key
        if match is None and of_file is None:
            raise KeysUnreadable("the file of keys cannot be used now")
        return match

    def _of_file(self) -> list[Key] | None:
        return [] if self._file is None else self._file.held()


def _keys_of_file(content: bytes) -> list[Key]:
    try:
        return read_keys(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError("api.keys_file: not UTF-8") from None
