"""The service image's tree: installed as the Dockerfile does, run read-only as uid 10001 on the real servers."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import httpx
import pytest

from deploy.embedded.ports import free_ports
from tests.fixtures.path import Rig, environment
from tests.images.tree import UID, Tree, interpreter, may_be_contained

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]
#: What would make it large, or belongs to the tests.
TOO_MUCH = {"torch", "transformers", "openvino", "nvidia-pytriton", "qdrant-edge-py", "scikit-learn", "pytest", "pip"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tree, without the extra that is large."""
    python = interpreter()
    if python is None:
        pytest.skip("no Python from 3.11 on with pip that every user may run")
    folder = tmp_path_factory.mktemp("image")
    made = Tree(folder / "interests")
    made.install("service", python, EXTRAS="tracing")
    return made


@pytest.fixture
def settings(make_rig: Callable[..., Rig], broker: object, tree: Tree, concept_file: str) -> Iterator[Rig]:
    inside = tree.directory / Path(concept_file).name
    shutil.copy(concept_file, inside)
    inside.chmod(0o644)
    return make_rig(broker, concepts={"file": str(inside)}, api={"port": free_ports(1)[0]})


def test_worker_and_api_of_the_image_fold_an_event_and_end_in_order(tree: Tree, settings: Rig, tmp_path: Path) -> None:
    assert {"interest-streams", "faust-streaming", "qdrant-client", "opentelemetry-sdk"} <= installed(tree)
    assert installed(tree) & TOO_MUCH == set()
    rig, environ = settings, environment(settings.settings)
    code, out = tree.run(["interests", "topics", "create"], environ)
    assert code == 0, out
    worker_log, api_log = tmp_path / "worker.log", tmp_path / "api.log"
    worker = tree.start(["interests", "worker"], environ, worker_log)
    api = tree.start(["interests", "api"], environ, api_log)
    user, url = rig.user(), f"http://127.0.0.1:{rig.settings.api.port}"
    item = {"item_id": "kettle", "title": "A gooseneck kettle for pour-over coffee"}
    try:
        asyncio.run(rig.produce(rig.clicks, [{"user_id": user, "type": "click", "item_id": "kettle", "item": item}]))
        asyncio.run(_has_a_tree(url, user, [worker, api], [worker_log, api_log]))
        if may_be_contained():
            assert [_uid(process) for process in (worker, api)] == [UID, UID]
        for port in (rig.settings.api.port, rig.settings.worker.metrics_port):
            assert tree.run(["python", "-m", "deploy.images.live", f"http://127.0.0.1:{port}/healthz"], {}) == (0, "")
        code, out = tree.run(["python", "-m", "deploy.images.live", f"http://127.0.0.1:{free_ports(1)[0]}/healthz"], {})
        assert code == 1
        assert "refused" in out
        for process, log in ((worker, worker_log), (api, api_log)):
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, log.read_text()
    finally:
        for process in (worker, api):
            process.kill()
            process.wait()


def installed(tree: Tree) -> set[str]:
    [packages] = (tree.directory / "lib").glob("python*/site-packages")
    return {one.metadata["Name"].lower().replace("_", "-") for one in metadata.distributions(path=[str(packages)])}


def _uid(process: subprocess.Popen[bytes]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])


async def _has_a_tree(
    url: str, user: str, processes: list[subprocess.Popen[bytes]], logs: list[Path], within_s: float = 60.0
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
    raise AssertionError(
        "\n".join([f"the API said {said}", *(log.read_text(errors="replace")[-4_000:] for log in logs)])
    )
