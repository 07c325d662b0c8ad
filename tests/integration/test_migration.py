"""From one encoder to another: filled beside, killed in the middle, compared, switched, taken back, deleted."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from deploy.embedded.concepts import tree_file
from encoders.export import export
from encoders.interest_export import export_interests
from encoders.locate import cache_dir
from streams.broker.admin import Admin
from streams.interests.levels import LEARNED
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.settings.servers import TritonSettings
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.collections import Collections, aliases
from streams.store.points import PointsClient
from streams.store.qdrant import QdrantStore
from tests.fixtures.api import ApiServer
from tests.fixtures.brokers import Broker
from tests.fixtures.learned import random_model, trained_folder
from tests.fixtures.path import ROOT, Rig, WorkerProcess, environment
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer

pytestmark = pytest.mark.integration

SECOND, SECOND_LEARNED = "text_encoder_2", "interest_encoder_2"
USERS = [f"reader-{n}" for n in range(9)]
GONE = "reader-gone"
TOPICS = ("football", "jazz", "oolong tea", "chess", "gardens", "sailing", "bread", "comets")


def items() -> list[dict[str, Any]]:
    made = [
        {
            "item_id": f"i{n}",
            "title": f"A story of {TOPICS[n % 8]}, part {n}",
            "description": f"All about {TOPICS[n % 8]}",
        }
        for n in range(32)
    ]
    made[0]["categories"] = ["Sports", "Football"]
    return made


def events(first: int, count: int, users: list[str] = USERS) -> list[dict[str, Any]]:
    now, kinds = int(time.time() * 1000) - 600_000, ("click", "comment", "like", "view", "like", "unlike")
    made = []
    for n in range(first, first + count):
        body = {"event_id": f"e{n}", "user_id": users[n % len(users)], "type": kinds[n % 6], "ts": now + n,
                "item_id": f"i{n % 32 if n % 6 < 4 else n % 4}"}  # fmt: skip
        made.append(body | ({"text": f"What a fine piece on {TOPICS[n % 8]}, number {n}"} if n % 6 == 1 else {}))
    return made


class Migration:
    """One path with two models, and the commands that go from one to the other."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self.folder, self.env = rig, folder, {**os.environ, **environment(rig.settings)}

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "streams.commands.cli", *words]
        return subprocess.Popen(
            command, env={**self.env, **env}, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    async def interests(self, *words: str, code: int = 0, **env: str) -> str:
        """Run a command to its end and give what it said."""
        process = self.start(*words, **env)
        try:
            said = (await asyncio.to_thread(process.communicate, timeout=100))[0]
        finally:
            process.kill()
        assert process.returncode == code, said
        return said

    async def migrate(self, *more: str, code: int = 0, **env: str) -> str:
        concepts = str(self.folder / "second.npz")
        return await self.interests(
            "encoder", "migrate", "--to", SECOND, "--concepts", concepts, "--learned", SECOND_LEARNED, "--yes", *more,
            code=code, **env,
        )  # fmt: skip

    def second(self, encoder: str) -> Settings:
        """Settings of the second group's workers, as `migrate` prints them."""
        settings = self.rig.settings
        return settings.model_copy(
            update={
                "kafka": settings.kafka.model_copy(update={"group": f"{settings.kafka.group}--{encoder}"}),
                "triton": settings.triton.model_copy(update={"model": SECOND}),
                "concepts": settings.concepts.model_copy(update={"file": self.folder / "second.npz"}),
                "learned": settings.learned.model_copy(update={"model": SECOND_LEARNED}),
                "worker": settings.worker.model_copy(update={"metrics_port": 0}),
            }
        )

    async def tree(self, encoder: str, user: str) -> dict[NodeKey, Node]:
        settings = self.rig.settings
        store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), Collections(encoder, 384))
        try:
            return {node.key: node for node in await store.tree(user)}
        finally:
            await store.close()

    async def learned_by(self, encoder: str, user: str, model: str) -> None:
        """Within twenty seconds a person's learned nodes are of their profile as it is, made by a model."""
        end = time.monotonic() + 20
        while True:
            tree = await self.tree(encoder, user)
            nodes = [node for key, node in tree.items() if key.level == LEARNED]
            said = {(node.learned.model if node.learned else "", node.count) for node in nodes}
            if said == {(model, tree[profile_key(user)].count)}:
                return
            assert time.monotonic() < end, nodes
            await asyncio.sleep(0.5)

    async def profile(self, encoder: str, user: str) -> Node:
        return (await self.tree(encoder, user))[profile_key(user)]

    async def aliased(self) -> dict[str, str]:
        points = PointsClient(qdrant_config(self.rig.settings))
        try:
            return await aliases(points.collections)
        finally:
            await points.close()

    async def lag(self, group: str) -> int:
        async with Admin(self.rig.config) as admin:
            return sum(row.lag for row in await admin.lag(group, self.rig.settings.kafka.event_topics))


@pytest.fixture
def two_models(tmp_path: Path, triton_of: Callable[[Path], TritonServer]) -> tuple[TritonServer, str]:
    """A Triton that serves the committed model and MiniLM under a second name, with a model of learned interests on
    MiniLM's vectors; and MiniLM's id.
    """
    repo = tmp_path / "models"
    shutil.copytree(ROOT / "model_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    made = export("all-minilm-l6-v2", repo, cache=cache_dir(ROOT), precision="int8", name=SECOND)
    learned = trained_folder(random_model(made.encoder_id, dim=384), tmp_path / "trained")
    export_interests(learned, repo, precision="f32", name=SECOND_LEARNED, backend="openvino", threads=1)
    return triton_of(repo), made.encoder_id


@pytest.fixture
def migration(
    broker: Broker, two_models: tuple[TritonServer, str], own_qdrant: Callable[..., QdrantServer], tmp_path: Path
) -> Iterator[Migration]:
    triton, qdrant = two_models[0], own_qdrant()
    concepts = str(asyncio.run(tree_file(Settings(triton=TritonSettings(url=triton.grpc_url)), ROOT)))
    rig = Rig(
        broker, triton, qdrant, tmp_path, concepts={"file": concepts},
        worker={"batch_records": 40, "batch_linger_ms": 1.0}, learning={"examples_per_s": 100.0},
    )  # type: ignore[arg-type]  # fmt: skip
    yield Migration(rig, tmp_path)
    for worker in rig.workers:
        worker.kill()


async def follows(api: ApiServer, user: str, profile: Node) -> None:
    """Within ten seconds the API shows the tree of the encoder that serves, and encodes texts by its model."""
    headers, end = {"Authorization": f"Bearer {api.keys['all']}"}, time.monotonic() + 30
    async with httpx.AsyncClient(base_url=api.url, timeout=20, headers=headers) as client:
        while True:
            query = {"vectors": "true", "prior": "false", "level": "profile"}
            tree = (await client.get(f"/v1/users/{user}/interests", params=query)).json()
            near = [float(np.dot(one["vector"], profile.direction)) for one in tree.get("nodes", [])]
            ranked = await client.post(
                f"/v1/users/{user}/rank", json={"texts": ["a story of jazz", "bread and butter"]}
            )
            if near and near[0] > 0.999 and ranked.status_code == 200:
                return
            assert time.monotonic() < end, (near, ranked.status_code, ranked.text[:300], api.log())
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("broker", ["tansu"], indirect=True)
@pytest.mark.timeout(400)  # some ten commands and two models; on a busy machine
async def test_a_second_encoder_is_filled_compared_switched_to_taken_back_and_deleted(
    migration: Migration, two_models: tuple[TritonServer, str], make_api: Callable[..., ApiServer], tmp_path: Path
) -> None:
    rig, second = migration.rig, two_models[1]
    first, kafka = rig._encoder_id(), rig.settings.kafka
    group = f"{kafka.group}--{second}"
    await rig.prepare()
    rig.worker()
    await rig.items(items())
    await rig.items_known(32)
    made = events(0, 480) + events(10_000, 12, [GONE])
    await rig.produce(rig.clicks, made)
    await rig.produce_raw(rig.clicks, [(b"reader-1", b"no event at all")])
    await rig.until(lambda o: o.get("applied", 0) == len(made) and o.get("dead", 0) == 1)

    said = await migration.interests("encoder", "migrate", "--to", SECOND, "--dry-run")
    assert "493" in said  # records of events
    assert set((await migration.aliased()).values()) == {f"interests__{first}", f"items__{first}"}
    assert "does not serve" in await migration.interests("encoder", "migrate", "--to", "nobody", code=2)
    assert "--learned nobody: " in await migration.migrate("--learned", "nobody", code=2)

    # killed in the middle of the events, with some of them written and not acknowledged
    killed = await migration.migrate(code=-signal.SIGKILL, INTERESTS_FAULTPOINTS="after_upsert:kill@6")
    assert "items" in killed
    assert 0 < await migration.lag(group) < len(made)
    erase = {"event_id": "gone", "user_id": GONE, "type": "erase", "ts": int(time.time() * 1000)}
    await rig.produce(rig.events, [erase])  # an erasure that comes meanwhile
    await rig.produce(rig.comments, events(20_000, 60))
    refused = await migration.interests("encoder", "switch", "--to", second, "--within-s", "0", code=1)
    assert "records behind" in refused
    await migration.migrate()
    assert await migration.lag(group) == 0
    refused = await migration.interests("encoder", "switch", "--to", second, "--within-s", "0", code=1)
    assert "no worker" in refused

    beside = WorkerProcess(migration.second(second), tmp_path / "second.log")
    beside.start()
    api = make_api(rig.settings)
    try:
        await rig.produce(rig.clicks, events(30_000, 60))
        await rig.until(lambda o: o.get("applied", 0) == len(made) + 121)
        shown = await migration.interests("encoder", "compare", "--to", SECOND)
        assert "nearest items in common" in shown
        async with Admin(rig.config) as admin:
            announced = sum(row.end for row in await admin.lag("nobody", [kafka.updated_topic]))
        groups = {dict(one.headers)["group"] for one in await rig.read(kafka.updated_topic, announced)}
        assert groups == {kafka.group.encode()}  # the second group announces nothing
        await migration.interests("encoder", "switch", "--to", SECOND, "--within-s", "40")
        assert set((await migration.aliased()).values()) == {f"interests__{second}", f"items__{second}"}
        await follows(api, USERS[0], await migration.profile(second, USERS[0]))
        for user in USERS:
            await migration.learned_by(second, user, random_model(second, dim=384).model_id)

        # node by node what a fresh fold of the whole log gives
        verified = await migration.interests("verify", "--all", **environment(migration.second(second)))
        assert "10 trees" in verified
        for encoder in (first, second):
            assert set(await migration.tree(encoder, GONE)) <= {profile_key(GONE)}

        # what only the group that serves sends
        [dead] = await rig.read(f"{rig.clicks}.dead", 1)
        assert dead.value == b"no event at all"
        async with Admin(rig.config) as admin:
            assert sum(row.end for row in await admin.lag("nobody", [f"{rig.clicks}.dead"])) == 1

        await migration.interests("encoder", "rollback", "--within-s", "40")
        assert set((await migration.aliased()).values()) == {f"interests__{first}", f"items__{first}"}
        await follows(api, USERS[0], await migration.profile(first, USERS[0]))
        assert "stop them" in await migration.interests("encoder", "prune", "--encoder", second, "--yes", code=1)
        assert beside.stop() == 0
    finally:
        beside.kill()
        api.stop()
    await migration.interests("encoder", "prune", "--encoder", second, "--yes")
    points = PointsClient(qdrant_config(rig.settings))
    try:
        left = await points.collections.names()
    finally:
        await points.close()
    assert not any(second in name for name in left)
    async with Admin(rig.config) as admin:
        assert {row.committed for row in await admin.lag(group, [rig.clicks])} == {None}
