"""The learned level as the API reads it: nodes in a real Qdrant engine, no model, no Triton, no broker."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import numpy as np
import pytest
import pytest_asyncio

from streams.api.app import create_app
from streams.api.backends import Backends
from streams.api.keys import make_key
from streams.api.live_response import LiveTree
from streams.api.models import LiveUpdate
from streams.events.items import Item
from streams.interests.evidence import Evidence, Strongest
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import LearnedPart, Level, Node, NodeKey
from streams.interests.recents import Recent, pack_recents
from streams.ranking.rows import NAMES, VERSION
from streams.ranking.weights import PublishedWeights
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.base import Fence
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from tests.fixtures.qdrant import QdrantServer

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

DIM: Final = 8
MODEL, OLD_MODEL = "interest-hierarchy-5f1c09ab", "interest-mean-00000000"
NOW: Final = int(time.time() * 1000)
MADE: Final = NOW - 60_000
UNIT: Final = np.eye(DIM, dtype=np.float32)
CATALOGUE: Final = {"kettle": 0, "grinder": 1, "derby": 2}
FENCE: Final = Fence(1, 1)
#: scale and bias of each task
TASKS: Final = {"/click": (6.0, -2.0), "/exposure": (2.0, 0.5), "/purchase": (9.0, -5.0)}


def node(user: str, level: Level, path: str, axis: int, **more: Any) -> Node:
    fields = {
        "direction": UNIT[axis], "norm": 4.0, "mass": 4.0, "net": 4.0, "t0_ms": MADE, "first_ms": NOW - 9_000_000,
        "last_ms": NOW - 120_000, "count": 5, **more,
    }  # fmt: skip
    return Node(key=NodeKey(user, level, path), **fields)


def learned(user: str, path: str, axis: int, model: str = MODEL, **more: Any) -> Node:
    scale, bias = TASKS.get(path, (1.0, 0.0))
    part = LearnedPart(model, scale, bias, made_ms=MADE)
    if path == "/click":
        part = part._replace(mean=0.2, variance=0.01)
    attention = [
        Evidence("", "kettle", NOW - 200_000, 0.75, "click"),
        Evidence("", "derby", NOW - 300_000, 0.25, "like"),
    ]
    return node(user, "learned", path, axis, learned=part, evidence=Strongest.of(attention), **more)


def tree(user: str, *more: Node) -> list[Node]:
    """A profile, a topic, and what is given besides."""
    recents = pack_recents([Recent("kettle", NOW - 200_000, 1.0, "click"), Recent("derby", NOW - 300_000, 2.0, "like")])
    profile = node(user, "profile", "/", 0, recents=recents, last_ms=NOW - 100_000)
    return [profile, node(user, "topic", "/food", 0), *more]


def whole(user: str, **more: Any) -> list[Node]:
    """All that a model makes: the interest at the kettle, a click near the grinder, a purchase near the derby."""
    return [
        learned(user, "/", 0, **more), learned(user, "/click", 1, **more), learned(user, "/exposure", 0, **more),
        learned(user, "/purchase", 2, **more),
    ]  # fmt: skip


def sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


class Served:
    """The API, in this process."""

    def __init__(self, settings: Settings, key: str) -> None:
        self.app = create_app(settings)
        self.backends: Backends = self.app.state.backends
        transport = httpx.ASGITransport(self.app)
        self.http = httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=20, headers={"x-api-key": key}
        )

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def post(self, url: str, **body: Any) -> dict[str, Any]:
        answer = await self.http.post(url, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def predict(self, user: str, *items: str) -> dict[str, Any]:
        return await self.post(f"/v1/users/{user}/predict", items=list(items))

    async def weigh(self, value: float) -> None:
        """Rank by weights that are `value` for all that is learned, and 0.5 for the rest."""
        values = {name: value if name.startswith("learned") else 0.5 for name in NAMES}
        encoder = (await self.backends.reader.names()).encoder_id
        self.backends.weights.take(
            PublishedWeights(
                encoder=encoder, kind="next", version=7, features=VERSION, lists=9, made_ms=int(time.time() * 1000),
                serve=True, values=values,
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str, str]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    (key, line), (other, second) = make_key("reader", frozenset({"read"})), make_key("sender", frozenset({"ingest"}))
    file.write_text(f"{line}\n{second}\n", encoding="utf-8")
    return file, key, other


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantServer]:
    """An engine whose aliases no other test moves."""
    server = QdrantServer(tmp_path_factory.mktemp("qdrant") / "data")
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(engine: QdrantServer, keys: tuple[Any, str, str]) -> AsyncIterator[Served]:
    settings = Settings(
        qdrant={"host": engine.host, "grpc_port": engine.grpc_port, "http_port": engine.http_port},
        triton={"url": "127.0.0.1:1"}, kafka={"brokers": "127.0.0.1:1"}, api={"keys_file": keys[0], "rate": ""},
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip
    store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), Collections("learned-test", DIM))
    await store.prepare()
    await store.put_items(
        [ItemPoint(Item(name, title=name.title()), UNIT[at], "/food") for name, at in CATALOGUE.items()]
    )
    faded = whole("fay", t0_ms=NOW - 400 * 86_400_000)
    mixed = [learned("moe", path, 2, OLD_MODEL, t0_ms=MADE - 5_000) for path in ("/", "/exposure")]
    people = [
        *tree("ana", *whole("ana")), *tree("bo"), *tree("fay", *faded),
        *tree("moe", *mixed, learned("moe", "/click", 1)), *tree("cy", learned("cy", "/purchase", 1)),
    ]  # fmt: skip
    await store.write(people, FENCE)
    made = Served(settings, keys[1])
    yield made
    await made.http.aclose()
    await made.backends.close()
    await store.close()


async def test_probabilities_are_those_of_the_nodes(served: Served) -> None:
    answer = await served.predict("ana", "grinder", "kettle", "grinder", "teapot", "derby")
    assert (answer["user_id"], answer["model"], answer["made_ms"]) == ("ana", MODEL, MADE)
    assert answer["behind_ms"] == 20_000
    assert answer["click_through"] == {"mean": pytest.approx(0.2), "variance": pytest.approx(0.01)}
    assert answer["unknown"] == ["teapot"]
    assert [one["item_id"] for one in answer["items"]] == ["grinder", "kettle", "derby"]  # as asked, each once
    grinder, kettle, derby = answer["items"]
    assert grinder["title"] == "Grinder"
    assert [one["cosine"] for one in answer["items"]] == pytest.approx([0.0, 1.0, 0.0])
    chances = {"click": sigmoid(4.0), "exposure": sigmoid(0.5), "purchase": sigmoid(-5.0)}
    assert grinder["probabilities"] == pytest.approx(chances)
    assert kettle["probabilities"]["exposure"] == pytest.approx(sigmoid(2.5))
    assert derby["probabilities"]["purchase"] == pytest.approx(sigmoid(4.0))


@pytest.mark.parametrize("user", ["bo", "fay", "nobody"])
async def test_of_people_without_a_learned_level_nothing_is_said(served: Served, user: str) -> None:
    """Nobody has made theirs, it has faded, or they are not known."""
    answer = await served.predict(user, "kettle", "teapot")
    assert [answer[name] for name in ("model", "made_ms", "behind_ms", "click_through")] == [None] * 4
    (kettle,) = answer["items"]
    assert (kettle["item_id"], kettle["title"], kettle["path"]) == ("kettle", "Kettle", "/food")
    assert (kettle["cosine"], kettle["probabilities"]) == (None, {})
    assert answer["unknown"] == ["teapot"]


async def test_two_models_are_not_mixed_and_tasks_may_be_missing(served: Served) -> None:
    answer = await served.predict("moe", "grinder")
    (grinder,) = answer["items"]
    assert answer["model"] == OLD_MODEL  # that of the interest; a task of another one is left out
    assert grinder["cosine"] is not None
    assert set(grinder["probabilities"]) == {"exposure"}


async def test_what_is_refused(served: Served, keys: tuple[Any, str, str]) -> None:
    ask = served.http.post
    url = "/v1/users/ana/predict"
    assert (await ask(url, json={"items": ["i"] * 501})).status_code == 422
    assert (await ask(url, json={"texts": ["t"] * 65})).status_code == 422
    assert (await ask(url, json={"texts": [""]})).status_code == 422
    assert (await ask(url, json={"item": ["i"]})).status_code == 422
    assert (await ask(url, content=b"{", headers={"content-type": "application/json"})).status_code == 400
    assert (await ask(url, json={}, headers={"x-api-key": "isk_nobody"})).status_code == 401
    assert (await ask(url, json={}, headers={"x-api-key": keys[2]})).status_code == 403
    assert (await ask(url, json={"texts": ["a kettle"]})).status_code == 503  # Triton is away
    assert (await served.predict("ana"))["items"] == []
    assert (await served.http.get(url)).status_code == 405


async def test_the_tree_tells_which_model_made_a_node(served: Served) -> None:
    nodes = (await served.get("/v1/users/ana/interests", prior=False))["nodes"]
    by_model = {(one["level"], one["path"]): (one["model"], one["made_ms"]) for one in nodes}
    assert by_model["learned", "/purchase"] == (MODEL, MADE)
    assert by_model["topic", "/food"] == (None, None)
    mine = (await served.get("/v1/users/ana/interests", level="learned", prior=False))["nodes"]
    assert {one["path"] for one in mine} == {"/", "/click", "/exposure", "/purchase"}
    assert {one["share"] for one in mine} == {1.0}
    assert [(entry["item_id"], entry["title"], entry["share"]) for entry in mine[0]["evidence"]] == [
        ("kettle", "Kettle", 0.75), ("derby", "Derby", 0.25),
    ]  # fmt: skip


async def test_by_default_scores_are_as_without_a_model(served: Served) -> None:
    scores = [
        {one["item_id"]: one["score"] for one in (await ranked(served, user))["items"]} for user in ("ana", "bo")
    ]  # fmt: skip
    assert scores[0] == pytest.approx(scores[1])
    why = await served.get("/v1/users/ana/explain/grinder", prior=False)
    assert {one["level"] for one in why["pulls"]} <= {"profile", "topic"}
    values = {one["name"]: one["value"] for one in why["features"]}
    assert values["learned_click"] == pytest.approx(sigmoid(4.0))  # known, and not weighed
    assert why["parts"]["learned"] == 0.0


async def ranked(served: Served, user: str) -> dict[str, Any]:
    answer = await served.http.post(
        f"/v1/users/{user}/rank", json={"items": list(CATALOGUE), "at_ms": NOW}, params={"prior": "false"}
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


async def test_with_weights_that_learned_it_the_level_moves_scores_and_is_explained(served: Served) -> None:
    await served.weigh(2.0)
    try:
        why = await served.get("/v1/users/ana/explain/grinder", prior=False)
        learned_pulls = {one["path"]: one for one in why["pulls"] if one["level"] == "learned"}
        assert learned_pulls["/click"]["contribution"] == pytest.approx(2 * sigmoid(4.0))
        assert "/" not in learned_pulls  # its cosine is 0
        assert [(one["item_id"], one["share"]) for one in learned_pulls["/click"]["evidence"]] == [
            ("kettle", 0.75), ("derby", 0.25),
        ]  # fmt: skip
        added = [one["contribution"] for part in ("pulls", "recents", "others") for one in why[part]]
        assert sum(added) == pytest.approx(why["score"])
        assert sum(one["contribution"] for one in learned_pulls.values()) == pytest.approx(why["parts"]["learned"])
        answer = await served.get("/v1/users/ana/recommendations", explain=True, prior=False, exclude_seen=False)
        for item in answer["items"]:
            assert sum(item["parts"].values()) == pytest.approx(item["score"])
            assert item["parts"]["learned"] > 0
        assert any(pull["level"] == "learned" for pull in answer["items"][0]["because"])
    finally:
        served.backends.weights.__init__(served.backends.weights._fixed.values, 1)  # type: ignore[misc]  # as it was


async def test_who_would_buy_it(served: Served) -> None:
    found = await served.post(
        "/v1/audiences/search", item_id="derby", levels=["learned"], path="/purchase", min_similarity=0.5
    )
    assert [one["user_id"] for one in found["members"]] == ["ana"]
    (node_shown,) = found["members"][0]["nodes"]
    assert (node_shown["level"], node_shown["path"]) == ("learned", "/purchase")
    found = await served.post(
        "/v1/audiences/search", item_id="grinder", levels=["learned"], path="/purchase", min_similarity=0.5
    )
    assert [one["user_id"] for one in found["members"]] == ["cy"]
    interested = await served.post("/v1/audiences/search", item_id="kettle", levels=["topic"], min_similarity=0.5)
    assert all(shown["level"] == "topic" for one in interested["members"] for shown in one["nodes"])


async def test_nothing_is_read_twice_for_it(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prediction reads a tree and the items; a ranking reads what it read before there was a level."""
    calls: list[str] = []
    reader = served.backends.reader
    tree_of = reader.tree

    async def counted(user_id: str, **more: Any) -> list[Node]:
        calls.append(user_id)
        return await tree_of(user_id, **more)

    monkeypatch.setattr(reader, "tree", counted)
    await asyncio.gather(served.predict("ana", "kettle"), ranked(served, "ana"))
    assert calls == ["ana", "ana"]


async def test_a_live_tree_brings_them_with_every_update(served: Served) -> None:
    for user, wanted in (("ana", {"learned"}), ("bo", set())):
        live = LiveTree(served.backends, user)
        whole_tree = await live.whole()
        assert {one.level for one in whole_tree.nodes} == {"profile", "topic"} | wanted
        update = await live.change(LiveUpdate(user_id=user, at_ms=NOW))
        assert {one.level for one in update.nodes} == wanted
        assert {one.model for one in update.nodes} <= {MODEL}
