"""The stack's processes: restarts, failures, signals, ports, and what is left when the parent is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.data_directory import lock
from deploy.embedded.models import MODEL_REPO
from deploy.embedded.parts import Probes, Restarts, StackPart, triton
from deploy.embedded.ports import Ports, free_ports, is_free
from deploy.embedded.processes import MARK, clear_leftovers, marked
from deploy.embedded.supervise import Change, PartFailed, Supervised
from deploy.embedded.up import EXIT_KILLED, EXIT_STOPPED, until_signal
from streams.base.errors import ConfigurationError
from tests.fixtures.triton import crash_model

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {"PATH": os.environ["PATH"]}


async def at_once() -> bool:
    return True


def shell(script: str, **changes: object) -> StackPart:
    """A part that is a shell script."""
    fields: dict[str, Any] = {"ready": at_once, **changes}
    return StackPart(name="part", argv=["/bin/sh", "-c", script], env=CLEAN, **fields)


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Watched:
    """A supervised part with all it said."""

    def __init__(self, part: StackPart, tmp_path: Path) -> None:
        self.changes: list[Change] = []
        self.failures: list[PartFailed] = []
        self.one = Supervised(part, tmp_path, self.changes.append, self.failures.append)

    def states(self) -> list[str]:
        return [change.state for change in self.changes]


async def test_a_part_that_ends_is_started_again_and_given_up_after_so_many_times(tmp_path: Path) -> None:
    watched = Watched(shell("echo once more; exit 3", restarts=Restarts(2)), tmp_path)
    await watched.one.start()
    await until(lambda: bool(watched.failures))
    assert watched.states().count("restarting") == 2
    assert watched.states()[-1] == "failed"
    assert str(watched.one.log_file) in str(watched.failures[0])
    assert "ended with 3 (once more), end number 3 within 10 minutes" in str(watched.failures[0])
    assert watched.one.log_file.read_text() == "once more\n" * 3


async def test_ends_of_long_ago_are_not_counted(tmp_path: Path) -> None:
    watched = Watched(shell("sleep 0.2; exit 3", restarts=Restarts(1, within_s=0.5)), tmp_path)
    await watched.one.start()
    await until(lambda: watched.states().count("restarting") == 3)
    assert not watched.failures
    await watched.one.stop()


async def test_a_kill_is_named_and_what_is_lost_with_a_part_is_said(tmp_path: Path) -> None:
    watched = Watched(shell("exec sleep 60", restarts=Restarts(1), end_means="Gone: what it kept."), tmp_path)
    await watched.one.start()
    for lives in (1, 2):
        await until(lambda lives=lives: watched.states().count("ready") == lives)  # type: ignore[misc]
        os.kill(watched.one.pid, signal.SIGKILL)
    await until(lambda: bool(watched.failures))
    assert next(one for one in watched.changes if one.state == "restarting").detail == (
        "was ended by SIGKILL, again in 0.5 s"
    )
    assert str(watched.failures[0]).endswith("\nGone: what it kept.")


async def test_a_part_that_cannot_be_started_again_for_once_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    watched = Watched(shell("exec sleep 60", restarts=Restarts(5), cwd=folder), tmp_path)
    await watched.one.start()
    folder.rmdir()
    os.kill(watched.one.pid, signal.SIGKILL)
    await until(lambda: any("could not be started" in change.detail for change in watched.changes))
    folder.mkdir()
    await until(lambda: watched.states().count("ready") == 2)
    await watched.one.stop()


async def test_a_part_that_is_not_to_be_started_again_is_a_failure(tmp_path: Path) -> None:
    watched = Watched(shell("exit 0"), tmp_path)
    await watched.one.start()
    await until(lambda: bool(watched.failures))
    assert "restarting" not in watched.states()


async def test_a_part_that_ends_while_starting_says_why(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    watched = Watched(shell("echo cannot bind; exit 7", ready=never), tmp_path)
    with pytest.raises(PartFailed, match=r"ended with 7 while starting(.|\n)*cannot bind"):
        await watched.one.start()
    slow = Watched(shell("sleep 60", ready=never, ready_within_s=0.3), tmp_path)
    with pytest.raises(PartFailed, match="was not ready within"):
        await slow.one.start()
    assert not alive(slow.one.pid)


async def test_a_part_that_says_three_times_in_a_row_that_it_is_broken_is_started_again(tmp_path: Path) -> None:
    answers = [False, False, True, False, None, False, None, False]  # no answer is no news

    async def alive_says() -> bool | None:
        return answers.pop(0) if answers else True

    part = shell("exec sleep 60", restarts=Restarts(2), alive=alive_says, alive_every_s=0.01)
    watched = Watched(part, tmp_path)
    await watched.one.start()
    first = watched.one.pid
    await until(lambda: watched.states().count("ready") == 2)
    assert not answers
    assert not alive(first)
    assert alive(watched.one.pid)
    [change] = [change for change in watched.changes if change.state == "restarting"]
    assert "answered 3 times in a row that it is broken" in change.detail
    await watched.one.stop()
    assert watched.one.restarts == 1


async def test_a_triton_whose_model_has_died_comes_back_though_it_says_it_is_ready(tmp_path: Path) -> None:
    ports, probes = Ports.choose("free"), Probes()
    part = triton(ports, {MARK: str(tmp_path)}, tmp_path, probes, MODEL_REPO)
    watched = Watched(replace(part, alive_every_s=0.5), tmp_path)
    assert part.alive is not None
    try:
        assert await part.alive() is None  # nothing listens yet
        await watched.one.start()
        assert await part.alive() is True
        assert crash_model(watched.one.pid) == 1
        assert await part.alive() is False
        assert await part.ready()  # what makes the question necessary
        await until(lambda: watched.states().count("ready") == 2, 60)
        assert await part.alive() is True
    finally:
        await watched.one.stop()
        await probes.close()
    assert watched.one.restarts == 1
    assert not watched.failures


async def test_stopping_is_bounded_and_takes_the_children_along(tmp_path: Path) -> None:
    deaf = "trap '' TERM; sleep 61 & echo $! > child; while :; do sleep 0.1; done"
    watched = Watched(shell(f"cd {tmp_path}; {deaf}", stop_within_s=0.4), tmp_path)
    await watched.one.start()
    await until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text() != "")
    pid, child = watched.one.pid, int((tmp_path / "child").read_text())
    assert alive(child)
    began = time.monotonic()
    await watched.one.stop()
    assert time.monotonic() - began < 3
    assert watched.changes[-1].state == "stopped"
    assert "killed" in watched.changes[-1].detail
    await until(lambda: not alive(pid) and not alive(child))
    assert not watched.failures


PARENT = """
    import asyncio, signal, sys
    from pathlib import Path
    from deploy.embedded.processes import MARK, Child

    async def main():
        work = Path(sys.argv[1])
        env = {"PATH": "/usr/bin:/bin", MARK: str(work)}
        trap = "trap 'echo bye > orderly; exit' TERM; while :; do sleep 0.05; done"
        for name, number in (("orderly", signal.SIGTERM), ("at-once", signal.SIGKILL)):
            child = Child(["/bin/sh", "-c", f"cd {work}; {trap}"], env, work / f"{name}.log", number)
            await child.start()
            print(child.pid, flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


async def test_a_killed_parent_leaves_no_orphans(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        await asyncio.sleep(0.3)  # the launcher has become the shell, and the shell has set its trap
        assert all(map(alive, pids))
        assert sorted(pid for pid in marked(tmp_path) if pid in pids) == sorted(pids)
        parent.kill()
    await until(lambda: not any(map(alive, pids)))
    assert (tmp_path / "orderly").read_text() == "bye\n"  # the one that asked for it could stop in order


async def test_leftovers_of_a_killed_stack_are_cleared(tmp_path: Path) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], env={MARK: str(tmp_path)}) as left:
        await until(lambda: left.pid in marked(tmp_path))
        assert await clear_leftovers(tmp_path, within_s=0.2) == 1
        assert left.wait(5) == -signal.SIGKILL
    assert await clear_leftovers(tmp_path, within_s=0.2) == 0


def test_a_taken_port_is_named_with_what_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        names = [name for name, _ in Ports().items()]
        ports = Ports(**dict(zip(names, [taken, *free_ports(len(names) - 1)], strict=True)))
        with pytest.raises(ConfigurationError) as caught:
            ports.check()
        told = str(caught.value)
        assert f"port {taken} (broker)" in told
        assert f"pid {os.getpid()}" in told
        assert told.count("is held by") == 1
    ports.check()


def test_only_prometheus_makes_room_for_what_holds_its_port() -> None:
    """Debian's package starts one of its own at 9090."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:

        @dataclass(frozen=True, kw_only=True)
        class Held(Ports):
            prometheus: int = one.getsockname()[1]
            api: int = other.getsockname()[1]

        ports = Held.choose("default")
        assert ports.prometheus != Held().prometheus
        assert is_free(ports.prometheus)
        assert (ports.api, ports.broker) == (Held().api, Ports().broker)


def test_free_ports_are_different_and_free() -> None:
    ports = Ports.choose("free")
    assert len({port for _, port in ports.items()}) == len(fields(Ports))
    ports.check()


def test_free_ports_are_kept_from_connections_and_from_other_processes() -> None:
    """What was chosen is bound seconds later: nothing may take it meanwhile, be it the kernel or another stack."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    mine = free_ports(20)
    assert not any(low <= port <= high for port in mine)
    code = f"from deploy.embedded.ports import _reserve; print([port for port in {mine} if _reserve(port)])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert other.stdout.strip() == "[]"


def test_one_stack_a_directory(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(ConfigurationError, match=rf"\(pid {os.getpid()}\)"):
        lock(tmp_path)
    lock(tmp_path).close()


class Stopping:
    """A stack that takes long to stop unless it is killed."""

    def __init__(self) -> None:
        self.stopping = False
        self.killed = asyncio.Event()

    def kill_now(self) -> None:
        self.killed.set()

    async def body(self, *, stop_s: float) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            self.stopping = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.killed.wait(), stop_s)
        return 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_one_signal_stops_in_order(number: signal.Signals) -> None:
    stack = Stopping()
    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), number)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # this may run under `nohup`
    try:
        async with asyncio.timeout(10):
            assert await until_signal(stack, stack.body(stop_s=0.05)) == EXIT_STOPPED
    finally:
        signal.signal(signal.SIGHUP, before)
    assert not stack.killed.is_set()


async def test_the_second_signal_kills() -> None:
    stack = Stopping()
    loop = asyncio.get_running_loop()
    for delay_s in (0.05, 0.15):
        loop.call_later(delay_s, os.kill, os.getpid(), signal.SIGINT)
    assert await until_signal(stack, stack.body(stop_s=30)) == EXIT_KILLED


async def test_a_signal_while_a_failure_is_being_cleaned_up_kills() -> None:
    stack = Stopping()

    async def failing() -> int:
        stack.stopping = True
        await stack.killed.wait()
        raise PartFailed("broker", "ended", Path("broker.log"))

    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
    assert await until_signal(stack, failing()) == 1
