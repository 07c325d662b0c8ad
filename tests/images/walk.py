"""One event through worker and API of an installed tree, and their end in order."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from deploy.embedded.ports import free_ports
from tests.fixtures.path import Rig, environment
from tests.images.tree import UID, Tree, may_be_contained

_ITEM = {"item_id": "kettle", "title": "A gooseneck kettle for pour-over coffee"}


def walk(tree: Tree, rig: Rig, logs: Path) -> dict[str, float]:
    """Make the topics, start worker and API, fold an event, look at the health checks, end both; seconds of each step.

    Fails where the event's tree does not come, a process runs as another user than 10001 (where it can be contained), a
    health check is wrong, or one does not end with 0 within 40 seconds of SIGTERM. Logs go to the folder `logs`.
    """
    start, environ = time.monotonic(), environment(rig.settings)
    code, out = tree.run(["interests", "topics", "create"], environ)
    assert code == 0, out
    seconds = {"interests topics create": time.monotonic() - start}
    start = time.monotonic()
    files = [logs / "worker.log", logs / "api.log"]
    processes = [tree.start(["interests", file.stem], environ, file) for file in files]
    url, user = f"http://127.0.0.1:{rig.settings.api.port}", rig.user()
    try:
        event = {"user_id": user, "type": "click", "item_id": "kettle", "item": _ITEM}
        asyncio.run(rig.produce(rig.clicks, [event]))
        asyncio.run(_has_a_tree(url, user, processes, files))
        seconds["worker and API, until the first event's tree is read"] = time.monotonic() - start
        if may_be_contained():
            assert [_uid(process) for process in processes] == [UID, UID]
        for port in (rig.settings.api.port, rig.settings.worker.metrics_port):
            assert _live(tree, port) == (0, "")
        code, out = _live(tree, free_ports(1)[0])
        assert code == 1
        assert "refused" in out
        for process, file in zip(processes, files, strict=True):
            start = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, file.read_text(errors="replace")
            seconds[f"end of the {file.stem} after SIGTERM"] = time.monotonic() - start
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return seconds


def _live(tree: Tree, port: int) -> tuple[int, str]:
    return tree.run(["python", "-m", "deploy.images.live", f"http://127.0.0.1:{port}/healthz"], {})


def _uid(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])


async def _has_a_tree(
    url: str, user: str, processes: Sequence[subprocess.Popen[bytes]], logs: Sequence[Path], within_s: float = 60.0
) -> None:
    """Wait until the API shows the user's tree; fails with the logs."""
    said: object = "nothing"
    try:
        async with asyncio.timeout(within_s), httpx.AsyncClient(trust_env=False, timeout=5) as client:
            while all(process.poll() is None for process in processes):
                try:
                    answer = await client.get(f"{url}/v1/users/{user}/interests")
                    said = answer.text
                    if answer.is_success and answer.json()["nodes"]:
                        return
                except httpx.TransportError as error:
                    said = repr(error)
                await asyncio.sleep(0.2)
    except TimeoutError:
        pass
    ends = [log.read_text(errors="replace")[-4_000:] for log in logs]
    raise AssertionError("\n".join([f"the API answered {said}", *ends]))
