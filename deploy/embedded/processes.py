"""Child processes: each in a session of its own, with a log file, and gone when whoever started them is gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_LAUNCH = Path(__file__).with_name("launch.py")
_GONE_S = 5.0
_CHECK_EVERY_S = 0.1
_TAIL_BYTES = 64 << 10
_TAIL_WIDTH = 400
_ERROR = re.compile(r"error|fatal|panic|exception|cannot|refused", re.IGNORECASE)

#: In the environment of every process of a stack: the data directory, so that leftovers are recognised.
MARK = "INTERESTS_STACK_DIR"


def tied(argv: Sequence[str], on_orphaned: signal.Signals, niceness: int = 0) -> list[str]:
    """The command that becomes `argv`, gets a signal when this process is gone, and lets others go first."""
    launcher = [sys.executable, "-I", "-S", str(_LAUNCH)]
    return [*launcher, str(os.getpid()), str(int(on_orphaned)), str(niceness), *argv]


class Child:
    """One process. Start it in the thread that outlives it: Linux ties the death signal to the parent's thread."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], log_file: Path,
        on_orphaned: signal.Signals = signal.SIGTERM, cwd: Path | None = None, niceness: int = 0,
    ) -> None:  # fmt: skip
        self._argv, self._env, self._on_orphaned, self._cwd = list(argv), dict(env), on_orphaned, cwd
        self._niceness = niceness
        self.log_file = log_file
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def returncode(self) -> int | None:
        """Its exit code, the negative signal that ended it, or None while it runs."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Launch it; its output goes to the end of the log file."""
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied(self._argv, self._on_orphaned, self._niceness), env=self._env, cwd=self._cwd,
                start_new_session=True, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def wait(self) -> int:
        """Wait for its end."""
        if self._process is None:
            raise RuntimeError("got a process that was not started, expected start() first")
        return await self._process.wait()

    async def stop(self, within_s: float) -> bool:
        """End it in order; True if it ended by itself within the time, else it was killed."""
        if self._process is None:
            return True
        in_order = True
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), within_s)
            except TimeoutError:
                in_order = False
        await self.kill()
        return in_order

    async def kill(self) -> None:
        """End it and whatever it started, at once."""
        if self._process is None:
            return
        self.kill_now()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _GONE_S)

    def kill_now(self) -> None:
        """Send SIGKILL to its group and do not wait."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def tail(log_file: Path, lines: int = 6) -> str:
    """What a log says of its end, for an error message: its last lines that speak of an error, else its last lines."""
    try:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - _TAIL_BYTES))
            written = [line[:_TAIL_WIDTH] for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return ""
    return "\n".join(([line for line in written if _ERROR.search(line)] or written)[-lines:])


def marked(data_dir: Path) -> list[int]:
    """Ids of running processes that a stack on this data directory started, other than this one."""
    variable = f"{MARK}={data_dir}".encode()
    pids = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                if variable in (process / "environ").read_bytes().split(b"\0"):
                    pids.append(int(process.name))
    return pids


async def clear_leftovers(data_dir: Path, within_s: float = 10.0) -> int:
    """Wait for processes of a killed stack to end, then kill them; how many had to be killed.

    Call it while holding the directory's lock: then whatever carries its mark has lost its parent.
    """
    left = marked(data_dir)
    for _ in range(int(within_s / _CHECK_EVERY_S)):
        if not left:
            break
        await asyncio.sleep(_CHECK_EVERY_S)
        left = marked(data_dir)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for _ in range(int(_GONE_S / _CHECK_EVERY_S)):  # until their ports and locks are free
        if set(left).isdisjoint(marked(data_dir)):
            break
        await asyncio.sleep(_CHECK_EVERY_S)
    return len(left)
