"""A file of keys that is read again and again: who is taken out of it is out within a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Final, Generic, TypeVar

import structlog

from streams.api.scopes import CredentialsRefused
from streams.base.credentials import read
from streams.base.errors import ConfigurationError

#: How long a change of the file may go unseen.
CHECK_EVERY_S: Final = 1.0
_MAX_FILE_BYTES: Final = 1 << 20

Held = TypeVar("Held")
log = structlog.get_logger(__name__)


class KeysUnreadable(CredentialsRefused):
    """A file of keys cannot be read or does not fit: nobody is let in by it until it is whole again."""


class CredentialsFile(Generic[Held]):
    """What the file of a setting holds, as it was last read: a second ago at most.

    The file's bytes are compared, not its times: a change within one tick of the clock counts too, and a file that was
    replaced, and one that may no longer be read. While it is not whole, which `parse` says with ConfigurationError, it
    holds nothing. Where it is not whole at the start: ConfigurationError, or with `wait` the same as later on.
    """

    def __init__(
        self, file: Path, setting: str, parse: Callable[[bytes], Held], clock: Callable[[], float] = monotonic,
        on_change: Callable[[bool], None] = lambda usable: None, *, wait: bool = False,
    ) -> None:  # fmt: skip
        self._file, self._setting, self._parse, self._clock, self._on_change = file, setting, parse, clock, on_change
        self._content: bytes | None = None
        self._held: Held | None = None
        try:
            self._read()
        except ConfigurationError as error:
            if not wait:
                raise
            self._refused(error)
        self._check_at = clock() + CHECK_EVERY_S
        on_change(self._held is not None)

    def held(self) -> Held | None:
        """What it holds; None while it is not whole."""
        if self._clock() < self._check_at:
            return self._held
        self._check_at = self._clock() + CHECK_EVERY_S
        before = self._held
        try:
            self._read()
        except ConfigurationError as error:
            self._content, self._held = None, None
            if before is not None:
                self._refused(error)
                self._on_change(False)
        else:
            if before is None:
                self._on_change(True)
            if self._held is not before:
                log.info("keys_file_read", setting=self._setting)
        return self._held

    def _read(self) -> None:
        content = read(self._file, self._setting, limit=_MAX_FILE_BYTES, plain=True)
        if content != self._content:
            self._held = self._parse(content)
            self._content = content

    def _refused(self, error: ConfigurationError) -> None:
        log.error("keys_file_refused", setting=self._setting, reason=str(error), effect="nobody is let in by it")
