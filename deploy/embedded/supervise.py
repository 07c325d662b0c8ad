"""One part's life: start, become ready, be started again when it ends by itself or says it is broken, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple

from deploy.embedded.parts import StackPart
from deploy.embedded.processes import Child, tail
from streams.base.errors import InterestsError

PROBE_EVERY_S = 0.1
STEADY_S = 10.0
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
_SAID = 120  # characters of a log in a line for people
BROKEN_ANSWERS = 3  # Triton calls a model's process dead, too, that was merely held up for a second

State = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped", "failed"]


class Change(NamedTuple):
    """What became of a part: `seconds` since it was last launched, `detail` for people."""

    part: str
    state: State
    seconds: float = 0.0
    detail: str = ""


class PartFailed(InterestsError):
    """A part did not become ready, or ended and is not to be started again."""

    def __init__(self, part: str, what: str, log_file: Path, *, means: str = "") -> None:
        message = f"{part} {what}; its log is {log_file}:\n{tail(log_file)}"
        super().__init__(f"{message}\n{means}" if means else message)
        self.part, self.log_file = part, log_file


class Supervised:
    """A part under watch. `on_failed` is called once, when the stack cannot go on without it."""

    def __init__(
        self, part: StackPart, log_dir: Path, observe: Callable[[Change], None], on_failed: Callable[[PartFailed], None]
    ) -> None:
        self.part = part
        self.log_file = log_dir / f"{part.name}.log"
        self.restarts = 0
        self._observe, self._on_failed = observe, on_failed
        self._child = self._new_child()
        self._watching: asyncio.Task[None] | None = None
        self._launched_s = monotonic()

    @property
    def pid(self) -> int:
        """Its process id; 0 before its first start."""
        return self._child.pid

    async def start(self) -> None:
        """Launch it, wait until it is ready, and watch it from then on. Raises PartFailed."""
        await self._launch()
        await self._until_ready()
        self._watching = asyncio.create_task(self._watch())

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self._child.running

    async def stop(self, within_s: float | None = None) -> None:
        """End it in order, within its own time or less, and watch it no longer."""
        await self._unwatch()
        if self.pid:
            self._report("stopping")
            started_s = monotonic()
            limit_s = self.part.stop_within_s if within_s is None else min(within_s, self.part.stop_within_s)
            in_order = await self._child.stop(limit_s)
            detail = "" if in_order else f"killed after {limit_s:g} s"
            self._observe(self._change("stopped", started_s, detail))
        self._child = self._new_child()

    async def kill(self) -> None:
        """End it at once, as a crash would, and watch it no longer."""
        await self._unwatch()
        await self._child.kill()
        self._child = self._new_child()

    def kill_now(self) -> None:
        """Send SIGKILL and do not wait: for a stop that must not take any longer."""
        self._child.kill_now()

    def _new_child(self) -> Child:
        part = self.part
        return Child(part.argv, part.env, self.log_file, part.on_orphaned, part.cwd, part.niceness)

    async def _launch(self) -> None:
        self._child = self._new_child()
        self._launched_s = monotonic()
        self._report("starting")
        await self._child.start()

    async def _until_ready(self) -> None:
        deadline_s = self._launched_s + self.part.ready_within_s
        while not await self.part.ready():
            if self._child.returncode is not None:
                raise self._failure(f"ended with {self._child.returncode} while starting")
            if monotonic() > deadline_s:
                await self._child.kill()
                raise self._failure(f"was not ready within {self.part.ready_within_s:.0f} s")
            await asyncio.sleep(PROBE_EVERY_S)
        self._report("ready")

    async def _watch(self) -> None:
        most, within_s = self.part.restarts
        ends_s: deque[float] = deque()
        quick = 0
        while True:
            end = await self._end()
            await self._child.kill()  # whatever it started that outlived it; itself, where it is broken
            ends_s.append(monotonic())
            while ends_s[0] < ends_s[-1] - within_s:
                ends_s.popleft()
            if len(ends_s) > most:
                self._give_up(end, len(ends_s))
                return
            quick = 1 if monotonic() - self._launched_s > STEADY_S else quick + 1
            pause_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** (quick - 1))
            self._report("restarting", f"{end}, again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            self.restarts += 1
            with contextlib.suppress(PartFailed, OSError):  # it has ended, or could not begin: the next turn counts it
                await self._launch()
                await self._until_ready()

    def _give_up(self, end: str, times: int) -> None:
        within_min = self.part.restarts.within_s / 60
        what = end + (f", end number {times} within {within_min:g} minutes" if times > 1 else "")
        self._observe(self._change("failed", self._launched_s, what))
        self._on_failed(self._failure(what))

    async def _end(self) -> str:
        """Wait until it has ended or is known to be broken, and say which. No answer is no news: a CPU may be slow."""
        alive, broken = self.part.alive, 0
        if not self._child.pid:
            return "could not be started"
        ended = asyncio.create_task(self._child.wait())
        try:
            while broken < BROKEN_ANSWERS:
                await asyncio.wait({ended}, timeout=self.part.alive_every_s if alive else None)
                if ended.done() or not alive:
                    return self._how(await ended)
                answer = await alive()
                if answer is not None:
                    broken = 0 if answer else broken + 1
        finally:
            ended.cancel()
        return f"answered {broken} times in a row that it is broken, and was killed"

    async def _unwatch(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def _how(self, code: int) -> str:
        """Why it ended, as far as that can be seen: the signal, or its exit code and its log's last word."""
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        said = tail(self.log_file, 1) if code else ""
        return f"ended with {code}" + (f" ({said[:_SAID]})" if said else "")

    def _failure(self, what: str) -> PartFailed:
        return PartFailed(self.part.name, what, self.log_file, means=self.part.end_means)

    def _report(self, state: State, detail: str = "") -> None:
        self._observe(self._change(state, self._launched_s, detail))

    def _change(self, state: State, since_s: float, detail: str) -> Change:
        return Change(part=self.part.name, state=state, seconds=monotonic() - since_s, detail=detail)
