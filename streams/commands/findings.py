"""What a check found, and how checks are timed, bounded and drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, TypeVar

from rich.table import Table
from rich.text import Text

from streams.base.credentials import without_credentials
from streams.base.errors import InterestsError

T = TypeVar("T")
Status = Literal["OK", "WARN", "FAIL"]

DEADLINE_S: Final = 5.0
_STYLE: Final[dict[Status, str]] = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: how it went, of what, what was seen, what to do about it ("" nothing), and how long it took."""

    status: Status
    what: str
    seen: str
    to_do: str = ""
    took_s: float | None = None


@dataclass(slots=True)
class Findings:
    """The checks of one part, in the order they were made."""

    part: str
    entries: list[Finding] = field(default_factory=list)
    _took_s: float | None = None

    async def ask(self, what: str, call: Awaitable[T], to_do: str) -> T | None:
        """Await a call for five seconds at most; where it fails that is a FAIL with what to do, and None."""
        began = monotonic()
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await call
        except TimeoutError:
            self.fail(what, f"no answer within {DEADLINE_S:g} s", to_do)
            return None
        except InterestsError as error:
            self._took_s = monotonic() - began
            self.fail(what, str(error), to_do)
            return None
        self._took_s = monotonic() - began
        return answer

    def ok(self, what: str, seen: str) -> None:
        """All is well."""
        self._add("OK", what, seen, "")

    def warn(self, what: str, seen: str, to_do: str) -> None:
        """It works, but somebody should know."""
        self._add("WARN", what, seen, to_do)

    def fail(self, what: str, seen: str, to_do: str) -> None:
        """It does not work."""
        self._add("FAIL", what, seen, to_do)

    @property
    def failed(self) -> bool:
        """Whether anything here does not work."""
        return any(one.status == "FAIL" for one in self.entries)

    def _add(self, status: Status, what: str, seen: str, to_do: str) -> None:
        self.entries.append(
            Finding(status=status, what=what, seen=without_credentials(seen), to_do=to_do, took_s=self._took_s)
        )
        self._took_s = None


def findings_table(parts: Iterable[Findings]) -> Table:
    """All findings as a table, what to do under what was seen."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for justify in ("left", "left", "left", "right"):
        table.add_column(justify=justify, overflow="fold")
    for part in parts:
        table.add_row("", Text(without_credentials(part.part), "bold cyan"))
        for one in part.entries:
            seen = Text(one.seen)
            if one.to_do:
                seen.append(f"\n→ {one.to_do}", _STYLE[one.status])
            took = "" if one.took_s is None else f"{one.took_s * 1000:,.0f} ms"
            table.add_row(Text(one.status, _STYLE[one.status]), one.what, seen, Text(took, "dim"))
    return table
