"""The API on a real Qdrant engine with trees and items made by hand: what it reads, scores, filters and refuses."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from streams.api.app import create_app
from streams.api.backends import Backends
from streams.api.candidates import candidates
from streams.events.items import Item
from streams.interests.evidence import Evidence, extend_seen, seen_entry
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Level, Node, NodeKey, Vector, profile_key
from streams.interests.popularity import ItemPopularity
from streams.interests.recents import Recent, pack_recents
from streams.interests.score import Interest
from streams.interests.together import ItemPartners
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.base import Fence
from streams.store.catalogue import ItemFilter
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration

DIM, DAY_MS = 8, 86_400_000
NOW = int(time.time() * 1000)
COLLECTIONS = Collections("toy", DIM)
SPORTS, COFFEE, JAZZ, KITCHEN = range(4)
#: What one search makes of somebody of whom nothing else is known.
FIRST_SEARCH: list[tuple[Level, str]] = [
    ("profile", "/"), ("session", "/"), ("topic", "/food"), ("interest", "/food/cookware"),
]  # fmt: skip


def axis(main: int, other: int = 7, tilt: float = 0.0) -> Vector:
    """A unit vector along an axis, tilted towards another."""
    row = np.zeros(DIM, np.float32)
    row[main], row[other] = np.cos(tilt), np.sin(tilt)
    return row


def node(user: str, level: Level, path: str, direction: Vector, mass: float, **more: Any) -> Node:
    fields = {
        "net": mass,
        "count": max(1, round(mass)),
        "t0_ms": NOW,
        "first_ms": NOW - 5 * DAY_MS,
        "last_ms": NOW - 1000,
    }
    return Node(key=NodeKey(user, level, path), direction=direction, norm=mass, mass=mass, **{**fields, **more})


def person(user: str, weights: dict[int, float], **profile: Any) -> list[Node]:
    """A person with an interest an axis; evidence of items seen."""
    names = {SPORTS: "/sports/football", COFFEE: "/food/coffee-tea", JAZZ: "/music/jazz"}
    rows = [
        node(user, level, path, axis(at), mass, evidence=(Evidence(f"{user}-e{at}", f"seen-{at}", NOW - DAY_MS, 0.5),))
        for at, mass in weights.items()
        for level, path in (("interest", names[at]), ("topic", "/" + names[at].split("/")[1]))
    ]  # type: ignore[misc]  # the levels are levels
    direction = sum((np.float32(mass) * axis(at) for at, mass in weights.items()), np.zeros(DIM, np.float32))
    return [node(user, "profile", "/", direction / np.linalg.norm(direction), sum(weights.values()), **profile), *rows]


ITEMS = [
    (f"{name}-{n}", at, path, lang, NOW - n * DAY_MS)
    for name, at, path in (
        ("ball", SPORTS, "/sports/football"), ("bean", COFFEE, "/food/coffee-tea"), ("sax", JAZZ, "/music/jazz"),
    )
    for n, lang in enumerate(["en", "de", "en-US", "en", "zh", "en"])
]  # fmt: skip


async def fill(settings: Settings) -> None:
    store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), COLLECTIONS)
    await store.prepare()
    points = [
        ItemPoint(Item(item_id, title=f"About {item_id}", lang=lang, ts_ms=ts, categories=("Made", "By Hand")),
                  axis(at, 4 + place % 3, 0.05 + 0.05 * (place % 6)), path)
        for place, (item_id, at, path, lang, ts) in enumerate(ITEMS)
    ]  # fmt: skip
    points.append(ItemPoint(Item("no/time 😀", title="Nobody knows when"), axis(COFFEE, 5, 0.3), "/food"))
    points += [ItemPoint(Item(f"pan-{n}", title="Cast iron"), axis(KITCHEN, 4 + n % 3, 0.8), "/food") for n in range(4)]
    points += [ItemPoint(Item(f"seen-{at}", title=f"Seen {at}"), axis(at), "/") for at in range(3)]
    await store.put_items(points)
    seen = extend_seen(b"", [seen_entry("bean-0"), seen_entry("bean-1")], 512)
    recents = pack_recents([Recent("bean-0", NOW - 5, 2.0), Recent("lost", NOW - 9, 0.0), Recent("sax-1", 7, -2.0)])
    people = [
        person("fan", {SPORTS: 8.0, COFFEE: 2.0}), person("barista", {COFFEE: 9.0}, seen=seen, recents=recents),
        person("a/b 😀", {JAZZ: 3.0}),
        [node("cook", level, path, axis(KITCHEN), 1.0, count=1) for level, path in FIRST_SEARCH],
        [*person("torn", {SPORTS: 4.0, JAZZ: 4.0}), node("torn", "aversion", "/", axis(JAZZ), 6.0, net=-6.0)],
        [*person("evening", {SPORTS: 3.0}), node("evening", "context", "/daypart/evening", axis(JAZZ), 50.0)],
        [node("faded", "profile", "/", axis(0), 0.001, t0_ms=NOW - 900 * DAY_MS, last_ms=NOW - 900 * DAY_MS)],
        [Node(key=profile_key("gone"), direction=axis(0) * 0, t0_ms=NOW - DAY_MS, erased_at_ms=NOW - DAY_MS,
              recents=recents)],
        person("back", {SPORTS: 1.0}, erased_at_ms=NOW - 90 * DAY_MS),
    ]  # fmt: skip
    await store.write([one for nodes in people for one in nodes], Fence(0, 1))
    await store.close()
    cohorts = CohortStore(
        qdrant_config(settings), settings.population.policy(), COLLECTIONS, group=settings.kafka.group,
        half_life_s=7 * 86_400.0,
    )  # fmt: skip
    await cohorts.prepare()
    popular = ItemPopularity(item_id="ball-5", masses=(40.0, 1.0, 5.0, 9.0), t0_ms=NOW, last_ms=NOW, count=40)
    await cohorts.put_popularity([popular], Fence(0, 1))
    partners = {
        "ball-0": {"ball-5": 4.0, "sax-3": 9.0, "nobody described it": 20.0},
        "sax-3": {"ball-0": 9.0},
        "ball-5": {},
    }
    await cohorts.put_partners(
        [ItemPartners(item_id=name, counts=of, total=40.0, t0_ms=NOW) for name, of in partners.items()], Fence(0, 1)
    )
    cohort = [
        node("*", "profile", "/", axis(JAZZ), 30.0, count=30), node("*", "interest", "/music/jazz", axis(JAZZ), 20.0),
        node("first=/sports", "profile", "/", axis(SPORTS), 25.0, count=25),
        node("first=/sports", "interest", "/sports/football", axis(SPORTS), 25.0),
        node("device=mobile", "profile", "/", axis(COFFEE), 2.0, count=2),
    ]  # fmt: skip
    await cohorts.write(cohort, Fence(0, 1))
    await cohorts.close()


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[QdrantServer, Settings]]:
    """An engine of the module's own, filled; Triton and the broker are away."""
    server = QdrantServer(tmp_path_factory.mktemp("api-qdrant") / "data")
    server.start()
    settings = Settings(
        qdrant={"host": server.host, "grpc_port": server.grpc_port, "http_port": server.http_port},
        triton={"url": "127.0.0.1:1"}, kafka={"brokers": "127.0.0.1:1"},
        api={"deadline_s": 3.0, "encode_deadline_s": 0.5, "erase_wait_s": 0.3},
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip
    try:
        asyncio.run(fill(settings))
        yield server, settings
    finally:
        server.kill()


@pytest.fixture
async def http(seeded: tuple[QdrantServer, Settings]) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(seeded[1])) as made:
        yield made


class client_of:  # noqa: N801  # reads as a function where it is used
    """A client of an application in this process, which is closed with it."""

    def __init__(self, app: FastAPI) -> None:
        self._backends: Backends = app.state.backends
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=20)

    async def __aenter__(self) -> httpx.AsyncClient:
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._backends.close()


async def get(http: httpx.AsyncClient, url: str, **params: Any) -> dict[str, Any]:
    answer = await http.get(url, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


async def test_a_tree_has_names_shares_and_evidence_with_titles(http: httpx.AsyncClient) -> None:
    tree = await get(http, "/v1/users/fan/interests", prior=False, at_ms=NOW)
    nodes = {(one["level"], one["path"]): one for one in tree["nodes"]}
    assert tree["events"] == 10
    assert nodes["interest", "/sports/football"]["mass"] == pytest.approx(8.0)
    assert nodes["interest", "/sports/football"]["share"] == pytest.approx(0.8)
    assert nodes["interest", "/food/coffee-tea"]["name"] == "Coffee & tea"
    (entry,) = nodes["topic", "/food"]["evidence"]
    assert (entry["item_id"], entry["title"]) == ("seen-1", "Seen 1")
    assert entry["share"] == pytest.approx(0.5 * 2 ** (-1 / 21) / 2.0)
    for level in ("topic", "interest"):
        assert sum(one["share"] for one in tree["nodes"] if one["level"] == level) == pytest.approx(1.0)
    later = await get(http, "/v1/users/fan/interests", prior=False, at_ms=NOW + 7 * DAY_MS, level="interest")
    assert [one["mass"] for one in later["nodes"]] == pytest.approx([4.0, 1.0])


async def test_a_tree_is_filtered_ordered_and_paged(http: httpx.AsyncClient) -> None:
    only = await get(http, "/v1/users/fan/interests", prior=False, path="/sports", evidence=0, vectors=True)
    assert {one["path"] for one in only["nodes"]} == {"/sports", "/sports/football"}
    assert all(one["evidence"] == [] and len(one["vector"]) == DIM for one in only["nodes"])
    direction = await get(http, "/v1/users/fan/interests", prior=False, at_ms=NOW)
    pages, cursor = [], {}
    while cursor is not None:
        page = await get(http, "/v1/users/fan/interests", prior=False, at_ms=NOW, limit=2, **cursor)
        pages += page["nodes"]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None  # type: ignore[assignment]  # ends the loop
    assert pages == direction["nodes"]


async def test_people_known_unknown_faded_and_erased(http: httpx.AsyncClient) -> None:
    assert (await http.get("/v1/users/nobody/interests", params={"prior": False})).status_code == 404
    assert (await get(http, "/v1/users/faded/interests", prior=False))["nodes"] == []
    gone = await get(http, "/v1/users/gone/interests", prior=False)
    assert (gone["nodes"], gone["erased_at_ms"], gone["last_ms"]) == ([], NOW - DAY_MS, 0)
    assert (await get(http, "/v1/users/a%2Fb%20%F0%9F%98%80/interests"))["user_id"] == "a/b 😀"
    listed, cursor = set(), {}
    while cursor is not None:
        page = await get(http, "/v1/users", limit=2, **cursor)
        listed |= {one["user_id"] for one in page["users"]}
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None  # type: ignore[assignment]  # ends the loop
    assert listed == {"fan", "barista", "a/b 😀", "torn", "evening", "faded", "back", "cook"}


async def test_who_was_erased_is_lent_nothing_until_there_is_new_evidence(http: httpx.AsyncClient) -> None:
    """Every answer about them says since when, and none has a prior or a node of theirs."""
    for name, erased_at_ms, lent in (
        ("gone", NOW - DAY_MS, False),
        ("back", NOW - 90 * DAY_MS, True),
        ("new", None, True),
    ):
        url = f"/v1/users/{name}"
        ranked = await http.post(f"{url}/rank", json={"items": ["ball-1", "sax-1"], "at_ms": NOW})
        answers = [
            await get(http, f"{url}/interests", at_ms=NOW), await get(http, f"{url}/recommendations", at_ms=NOW),
            ranked.json(), await get(http, f"{url}/explain/sax-1", at_ms=NOW),
        ]  # fmt: skip
        for answer in answers:
            assert (answer["erased_at_ms"], answer["prior"]) == (erased_at_ms, lent), (name, answer)
        if not lent:
            assert answers[0]["nodes"] == answers[3]["pulls"] == []
            assert not any(item["parts"]["relevance"] for item in answers[1]["items"] + answers[2]["items"])
            assert answers[1]["items"], "what is new and popular"
    similar = await get(http, "/v1/users/gone/similar")
    assert (similar["erased_at_ms"], similar["users"]) == (NOW - DAY_MS, [])
    assert (await get(http, "/v1/users/back/similar"))["erased_at_ms"] == NOW - 90 * DAY_MS


async def test_recent_items_are_listed_with_titles_and_what_was_taken_back(http: httpx.AsyncClient) -> None:
    answer = await get(http, "/v1/users/barista/recents")
    assert [(one["item_id"], one["title"], one["ts_ms"], one["weight"]) for one in answer["items"]] == [
        ("bean-0", "About bean-0", NOW - 5, 2.0), ("lost", None, NOW - 9, 0.0), ("sax-1", "About sax-1", 7, -2.0)
    ]  # fmt: skip
    assert (await get(http, "/v1/users/barista/recents", limit=1))["items"] == answer["items"][:1]
    assert (await get(http, "/v1/users/fan/recents"))["items"] == []
    gone = await get(http, "/v1/users/gone/recents")
    assert (gone["items"], gone["erased_at_ms"]) == ([], NOW - DAY_MS)
    assert await get(http, "/v1/users/nobody/recents") == {"user_id": "nobody", "erased_at_ms": None, "items": []}
    assert (await http.get("/v1/users/barista/recents?limit=0")).status_code == 422


async def test_recommendations_follow_the_interests_and_leave_out_what_was_seen(http: httpx.AsyncClient) -> None:
    best = await get(http, "/v1/users/barista/recommendations", k=5, diversity=0, prior=False)
    assert {one.split("-")[0] for one in ids(best)[:4]} <= {"bean", "no/time 😀"}
    assert not {"bean-0", "bean-1", "seen-1"} & set(ids(best))
    scores = [one["score"] for one in best["items"]]
    assert scores == sorted(scores, reverse=True)
    again = await get(http, "/v1/users/barista/recommendations", k=20, diversity=0, prior=False, exclude_seen=False)
    assert {"bean-0", "bean-1", "seen-1"} <= set(ids(again))


@pytest.mark.parametrize(
    ("params", "fits"),
    [
        ({"category": "/music"}, lambda item: item[2] == "/music/jazz"),
        ({"category": "/sports/football", "lang": "de"}, lambda item: item[1:4:2] == (SPORTS, "de")),
        ({"category": "By Hand"}, lambda item: True),
        ({"category": "by-hand"}, lambda item: True),
        ({"category": "/Music/JAZZ"}, lambda item: item[2] == "/music/jazz"),
        ({"lang": "EN"}, lambda item: item[3].startswith("en")),
        ({"lang": "en-us"}, lambda item: item[3] == "en-US"),
        ({"category": "/nowhere"}, lambda item: False),
        ({"category": "Nothing"}, lambda item: False),
        ({"max_age_s": 2.5 * 86_400}, lambda item: item[4] > NOW - 2.5 * DAY_MS),
    ],
)  # fmt: skip
async def test_filters_hold(http: httpx.AsyncClient, params: dict[str, Any], fits: Any) -> None:
    answer = await get(http, "/v1/users/fan/recommendations", k=200, prior=False, **params)
    assert sorted(ids(answer)) == sorted(item[0] for item in ITEMS if fits(item))


async def test_diversity_brings_what_is_unlike_and_popularity_what_others_took(http: httpx.AsyncClient) -> None:
    plain = await get(http, "/v1/users/fan/recommendations", k=6, diversity=0, prior=False)
    mixed = await get(http, "/v1/users/fan/recommendations", k=6, diversity=0.9, prior=False)
    kinds = [len({one.split("-")[0] for one in ids(answer)}) for answer in (plain, mixed)]
    assert kinds[0] < kinds[1]
    (popular,) = [one for one in plain["items"] if one["item_id"] == "ball-5"] or [None]
    asked = await http.post("/v1/users/fan/rank", json={"items": ["ball-5", "ball-4"]}, params={"prior": False})
    parts = {one["item_id"]: one["parts"] for one in asked.json()["items"]}
    assert parts["ball-5"]["popularity"] > 0 == parts["ball-4"]["popularity"]
    assert popular is None or popular["parts"]["popularity"] == pytest.approx(parts["ball-5"]["popularity"], rel=1e-3)
    card = await get(http, "/v1/items/ball-5")
    assert card["popularity"] == pytest.approx(40.0, rel=1e-3)


@pytest.mark.parametrize("user", ["fan", "torn", "evening", "barista", "nobody"])
@pytest.mark.parametrize("item", ["ball-0", "sax-3", "no%2Ftime%20%F0%9F%98%80"])
async def test_an_explanation_adds_up_to_the_score_and_says_nothing_else(
    http: httpx.AsyncClient, user: str, item: str
) -> None:
    answer = await get(http, f"/v1/users/{user}/explain/{item}", at_ms=NOW, daypart="evening")
    parts, pulls = answer["parts"], answer["pulls"]
    assert sum(parts.values()) == pytest.approx(answer["score"], abs=1e-9)
    assert sum(one["contribution"] for one in pulls) == pytest.approx(parts["relevance"] + parts["aversion"], abs=1e-9)
    assert sum(one["contribution"] for one in pulls if one["level"] == "aversion") == pytest.approx(parts["aversion"])
    shares = sum(one["share"] for one in pulls)
    moved = sum(abs(one["contribution"]) for one in pulls)
    assert shares == pytest.approx(moved / (moved + abs(parts["freshness"]) + abs(parts["popularity"]) or 1))
    tree = await get(http, f"/v1/users/{user}/interests", at_ms=NOW, daypart="evening", evidence=8)
    known = {one["id"]: one for one in tree["nodes"]}
    for pull in pulls:
        assert pull["evidence"] == known[pull["node_id"]]["evidence"]
        assert (pull["name"], pull["prior"]) == (known[pull["node_id"]]["name"], known[pull["node_id"]]["prior"])
    ranked = await http.post(
        f"/v1/users/{user}/rank",
        json={"items": [answer["item_id"]], "at_ms": NOW, "context": {"daypart": "evening"}},
    )
    assert ranked.json()["items"][0]["score"] == pytest.approx(answer["score"], abs=1e-9)


async def test_aversion_pushes_and_a_situation_speaks_only_in_its_own(http: httpx.AsyncClient) -> None:
    torn = await get(http, "/v1/users/torn/explain/sax-0", prior=False)
    assert torn["parts"]["aversion"] < -0.1
    day = await get(http, "/v1/users/evening/recommendations", k=1, diversity=0, prior=False)
    night = await get(http, "/v1/users/evening/recommendations", k=1, diversity=0, prior=False, daypart="evening")
    assert (ids(day)[0].split("-")[0], ids(night)[0].split("-")[0]) == ("ball", "sax")


async def test_a_newcomers_first_search_comes_before_what_others_began_with(http: httpx.AsyncClient) -> None:
    """A prior weighs more than one search, and has items that match it exactly: they stay behind what was asked for."""
    found = await get(http, "/v1/users/cook/recommendations", k=10, diversity=0, at_ms=NOW)
    assert found["prior"]
    alone = await get(http, "/v1/users/cook/recommendations", k=10, diversity=0, at_ms=NOW, prior=False)
    assert ids(found)[:4] == ids(alone)[:4]
    assert {one.partition("-")[0] for one in ids(found)[:4]} == {"pan"}
    assert len(found["items"]) == 10


async def test_a_newcomer_borrows_and_it_is_said(http: httpx.AsyncClient) -> None:
    lent = await get(http, "/v1/users/nobody/interests")
    assert lent["prior"]
    assert lent["nodes"]
    assert all(one["prior"] and one["evidence"] == [] for one in lent["nodes"])
    answer = await get(http, "/v1/users/nobody/recommendations", k=3, explain=True)
    assert answer["prior"]
    assert ids(answer)[0].startswith("sax")
    assert all(pull["prior"] for one in answer["items"] for pull in one["because"])
    alone = await get(http, "/v1/users/nobody/recommendations", k=3, prior=False, diversity=0)
    assert not alone["prior"]
    assert all(one["parts"]["relevance"] == 0 for one in alone["items"])  # what is fresh and popular
    own = await get(http, "/v1/users/fan/interests")
    assert len(own["nodes"]) >= len((await get(http, "/v1/users/fan/interests", prior=False))["nodes"])


async def test_similar_people_and_what_they_share(http: httpx.AsyncClient) -> None:
    answer = await get(http, "/v1/users/fan/similar", k=2)
    assert answer["users"][0]["user_id"] in {"evening", "torn", "back"}
    assert "/sports/football" in answer["users"][0]["shared_paths"]
    assert (await http.get("/v1/users/nobody/similar")).status_code == 404
    assert (await get(http, "/v1/users/gone/similar"))["users"] == []


async def test_items_like_an_item_by_content_by_who_touched_them_and_by_both(http: httpx.AsyncClient) -> None:
    near = await get(http, "/v1/items/ball-0/similar", by="content", k=3)
    assert {one["item_id"].partition("-")[0] for one in near["items"]} == {"ball", "seen"}
    assert [one["score"] for one in near["items"]] == sorted((one["content"] for one in near["items"]), reverse=True)
    assert all(one["found_by"] == ["content"] for one in near["items"])

    touched = await get(http, "/v1/items/ball-0/similar", by="together", at_ms=NOW)
    found = {one["item_id"]: one for one in touched["items"]}
    assert list(found) == ["sax-3", "ball-5"]  # not what nobody described
    sax = found["sax-3"]
    assert sax["score"] == sax["together"] == pytest.approx(9.0 / 43.0)
    assert (sax["people"], sax["found_by"], sax["content"]) == (9.0, ["together"], pytest.approx(0, abs=0.1))
    assert found["ball-5"]["together"] == pytest.approx(4.0 / 43.0)

    both = await get(http, "/v1/items/ball-0/similar", k=200)
    ways = {one["item_id"]: one["found_by"] for one in both["items"]}
    assert ways["ball-5"] == ["content", "together"]
    assert both["items"][0]["found_by"] == ["content", "together"]
    assert len(ways) == len(both["items"])
    assert "ball-0" not in ways
    assert [one["score"] for one in both["items"]] == sorted((one["score"] for one in both["items"]), reverse=True)


@pytest.mark.parametrize(
    ("params", "fits"),
    [
        ({"category": "/music"}, {"sax-3"}), ({"category": "/sports"}, {"ball-5"}), ({"category": "by-hand"}, None),
        ({"category": "/mus"}, set()), ({"lang": "en"}, None), ({"lang": "de"}, set()), ({"category": "no"}, set()),
        ({"max_age_s": 4 * 86_400}, {"sax-3"}),
    ],
)  # fmt: skip
async def test_filters_hold_for_partners_as_for_what_is_near(
    http: httpx.AsyncClient, params: dict[str, Any], fits: set[str] | None
) -> None:
    found = await get(http, "/v1/items/ball-0/similar", by="together", **params)
    assert set(ids(found)) == ({"sax-3", "ball-5"} if fits is None else fits)
    near = await get(http, "/v1/items/ball-0/similar", by="content", k=200, **params)
    assert {"sax-3", "ball-5"} & set(ids(near)) == set(ids(found))


async def test_an_item_that_nobody_touched_or_described(http: httpx.AsyncClient) -> None:
    assert (await get(http, "/v1/items/bean-0/similar", by="together"))["items"] == []
    answer = await http.get("/v1/items/nobody%20described%20it/similar")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (404, "unknown-item")
    assert (await http.get("/v1/items/ball-0/similar", params={"by": "chance"})).status_code == 422


async def test_what_was_touched_together_with_recent_items_is_a_candidate(
    seeded: tuple[QdrantServer, Settings],
) -> None:
    api = seeded[1].api.model_copy(update={"candidates": 1})
    app = create_app(seeded[1].model_copy(update={"api": api}))
    sports = [Interest("n", "interest", "/sports/football", axis(SPORTS), 1.0, 1.0)]

    async def found(*recents: Recent, **wanted: Any) -> set[str]:
        backends = app.state.backends
        cards = await candidates(backends, sports, recents, ItemFilter(**wanted), k=1, seen=0, at_ms=NOW)
        return {card.item_id for card in cards}

    async with client_of(app):
        near = await found()
        assert "sax-3" not in near
        ball = Recent("ball-0", NOW, 1.0)
        assert await found(ball) == near | {"sax-3", "ball-5"}
        assert await found(ball, Recent("sax-3", NOW, 1.0)) == near | {"ball-5"}  # known already
        assert await found(ball._replace(weight=-1.0)) == near
        assert "sax-3" not in await found(ball, category="/sports")


async def test_audiences_are_grouped_filtered_and_exported(http: httpx.AsyncClient) -> None:
    asked = {"item_id": "ball-0", "min_similarity": 0.5}
    answer = (await http.post("/v1/audiences/search", json=asked)).json()
    everybody = ["fan", "torn", "evening", "back"]  # who came again after an erasure is found like anybody
    assert [one["user_id"] for one in answer["members"]] == everybody
    assert [one["strength"] for one in answer["members"]] == sorted(
        (m["strength"] for m in answer["members"]), reverse=True
    )
    first = answer["members"][0]
    assert first["since_ms"] == NOW - 5 * DAY_MS
    assert first["strength"] == pytest.approx(first["nodes"][0]["similarity"] * first["nodes"][0]["mass"])
    heavy = (await http.post("/v1/audiences/search", json={**asked, "min_mass": 3.5})).json()
    assert [one["user_id"] for one in heavy["members"]] == ["fan", "torn"]
    below = (await http.post("/v1/audiences/search", json={**asked, "path": "/music"})).json()
    assert below["members"] == []
    fine = (await http.post("/v1/audiences/search", json={**asked, "levels": ["interest"], "limit": 1})).json()
    assert [{n["level"] for n in one["nodes"]} for one in fine["members"]] == [{"interest"}]
    lines = await http.post("/v1/audiences/search", json=asked, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line)["user_id"] for line in lines.text.splitlines()] == everybody
    for bad in ({}, {"text": "a", "item_id": "b"}, {"item_id": "ball-0", "level": ["topic"]}):
        assert (await http.post("/v1/audiences/search", json=bad)).status_code == 422
    assert (await http.post("/v1/audiences/search", json={"item_id": "nothing"})).status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/users/fan/recommendations?k=201", 422), ("/v1/users/fan/recommendations?k=1e9", 422),
        ("/v1/users/fan/recommendations?diversity=nan", 422), ("/v1/users/fan/recommendations?max_age_s=inf", 422),
        ("/v1/users/fan/interests?level=everything", 422), ("/v1/users/fan/interests?path=sports", 422),
        ("/v1/users/fan/interests?cursor=AAAA", 422), ("/v1/users?cursor=" + "x" * 300, 422),
        ("/v1/users/fan/interests?at_ms=-1", 422), ("/v1/users/fan/explain/nothing", 404), ("/v1/items/nothing", 404),
        ("/v1/users/fan/erasure", 404), ("/v1/users/fan/erasure?event_id=mine", 422), ("/v1/users//interests", 404),
        ("/v1/users/%00/interests", 422), ("/v1/users/fan", 405), ("/v2/users", 404),
    ],
)  # fmt: skip
async def test_bad_questions_are_answered_with_what_is_wrong(http: httpx.AsyncClient, path: str, status: int) -> None:
    answer = await http.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_triton_texts_are_a_503_and_trees_go_on(http: httpx.AsyncClient) -> None:
    for path, body in (("/v1/users/fan/rank", {"texts": ["tea"]}), ("/v1/audiences/search", {"text": "tea"})):
        answer = await http.post(path, json=body)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "encoder-away")
    assert (await get(http, "/v1/users/fan/interests"))["nodes"]
    assert (await get(http, "/readyz")) == {"ready": True, "qdrant": True, "triton": False, "keys": True}


async def test_without_the_broker_nothing_is_accepted(http: httpx.AsyncClient) -> None:
    click = {"user_id": "fan", "type": "click", "item_id": "ball-0"}
    # The first read connects to Qdrant, which on a busy machine takes most of a deadline.
    assert (await http.get("/v1/users/fan/interests")).status_code == 200
    for method, path, body in (
        ("POST", "/v1/events", click),
        ("PUT", "/v1/items/x", {"title": "X"}),
        ("DELETE", "/v1/users/fan", None),
    ):
        answer = await http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "broker-away"), path
        assert int(answer.headers["retry-after"]) >= 1
    assert (await get(http, "/v1/users/fan/interests"))["nodes"]
    for bad, status in (
        (b"{", 400),
        (b"[]", 422),
        (b"[" * 9_000, 400),
        (b'{"user_id": "u"}', 422),
        (b"\xff", 400),
        (b'"x"', 422),
    ):
        answer = await http.post("/v1/events", content=bad, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
    mixed = (await http.post("/v1/events", json=[click, {**click, "type": "stare"}])).json()
    assert [(one["index"], one["reason"]) for one in mixed["rejected"]] == [(1, "unknown_type")]
    assert (await http.put("/v1/items/x", json={"item_id": "y", "title": "Y"})).status_code == 422
    assert (await http.post("/v1/events", content=b"a=b", headers={"Content-Type": "text/plain"})).status_code == 415


async def test_an_engine_that_is_frozen_is_a_504_and_one_that_is_gone_a_503(
    seeded: tuple[QdrantServer, Settings],
) -> None:
    server, settings = seeded
    quick = settings.model_copy(update={"api": settings.api.model_copy(update={"deadline_s": 0.7})})
    async with client_of(create_app(quick)) as http:
        assert (await http.get("/v1/users/fan/interests")).status_code == 200
        os.kill(server.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            frozen = await http.get("/v1/users/fan/interests")
            assert time.monotonic() - started < 2.5
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert (frozen.status_code, frozen.json()["type"].rpartition(":")[2]) == (504, "deadline")
        await until(http, 200)
        server.stop()
        try:
            gone = await http.get("/v1/users/fan/interests")
            assert (gone.status_code, gone.json()["type"].rpartition(":")[2]) == (503, "store-away")
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/readyz")).status_code == 503
        finally:
            server.start()
        await until(http, 200)


async def until(http: httpx.AsyncClient, status: int) -> None:
    """Wait for a tree to be answered so."""
    async with asyncio.timeout(20):
        while (await http.get("/v1/users/fan/interests")).status_code != status:
            await asyncio.sleep(0.1)
