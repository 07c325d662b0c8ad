"""Both clients, one suite, against the real API on a real broker, Triton, Qdrant engine and worker."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from streams.api.models import LiveUpdate
from streams.client import (
    ApiError,
    BadRequest,
    Forbidden,
    InterestClient,
    NotFound,
    RateLimited,
    Retries,
    TryLater,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from tests.fixtures.api import ApiServer
from tests.fixtures.clients import Either, Relay
from tests.fixtures.path import Rig

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]
NO_RETRIES = Retries(attempts=1)


@pytest.fixture
def mine(client: Either, api: ApiServer) -> Either.Caller:
    return client(api.url, key=api.keys["all"])


async def until(met: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """What `met` gives once it is true."""
    end = time.monotonic() + timeout_s
    while not (value := await met()):
        assert time.monotonic() < end, "not met in time"
        await asyncio.sleep(0.1)
    return value


async def fan(mine: Either.Caller, user: str, *item_ids: str) -> None:
    """Send clicks and wait until they are folded."""
    rows = [{"user_id": user, "type": "click", "item_id": item_id} for item_id in item_ids]
    done = await mine.send_events(rows)
    assert done.accepted == len(rows)

    async def folded() -> bool:
        return bool((await mine.interests(user, prior=False)).events >= len(rows)) if await known() else False

    async def known() -> bool:
        try:
            await mine.interests(user, prior=False)
        except NotFound:
            return False
        return True

    await until(folded)


async def test_a_tree_is_made_of_what_is_sent_and_read_in_pages(mine: Either.Caller, path: Rig) -> None:
    user = f"{path.user()}/😀 ?#%2F.."
    await fan(mine, user, "football", "jazz", "茶")
    tree = await mine.interests(user, evidence=2)
    assert tree.user_id == user
    assert tree.events == 3
    assert {"/sports", "/sports/football"} <= {node.path for node in tree.nodes}
    assert {entry.item_id for node in tree.nodes for entry in node.evidence} == {"football", "jazz", "茶"}
    assert all(node.vector is None for node in tree.nodes)
    nodes = await mine.each("iter_interests", user, levels=["topic", "interest"], vectors=True, page=2)
    assert len(nodes) > 2
    assert {node.level for node in nodes} == {"topic", "interest"}
    assert len({node.id for node in nodes}) == len(nodes)
    assert all(len(node.vector) == 384 for node in nodes)
    assert {node.path for node in (await mine.interests(user, path="/sports", levels=["interest"])).nodes} == {
        "/sports/football"
    }


async def test_people_are_listed_one_by_one(mine: Either.Caller, path: Rig) -> None:
    users = [path.user() for _ in range(3)]
    await asyncio.gather(*(fan(mine, user, "jazz") for user in users))
    assert len((await mine.users(limit=2)).users) == 2
    listed = [card.user_id for card in await mine.each("iter_users", page=2)]
    assert set(users) <= set(listed)
    assert len(set(listed)) == len(listed)


async def test_recommendations_ranks_and_explanations_agree(mine: Either.Caller, path: Rig) -> None:
    user = path.user()
    await fan(mine, user, "football")
    answer = await mine.recommendations(user, k=2, explain=True, exclude_seen=False, diversity=0.0)
    assert answer.items[0].item_id == "football"
    assert len(answer.items) == 2
    for item in answer.items:
        parts = item.parts
        whole = parts.relevance + parts.aversion + parts.freshness + parts.popularity
        assert item.score == pytest.approx(whole, abs=1e-6)
        assert item.because
    assert "football" not in {item.item_id for item in (await mine.recommendations(user)).items}
    ranked = await mine.rank(
        user, items=["jazz", "football", "nope"], texts=["A goal in the last minute"], context={"daypart": "evening"}
    )
    assert ranked.unknown == ["nope"]
    assert [item.item_id for item in ranked.items if item.item_id] == ["football", "jazz"]
    assert [item.text_index for item in ranked.items if item.item_id is None] == [0]
    predicted = await mine.predict(user, items=["jazz", "nope"], texts=["A goal in the last minute"])
    assert predicted.model is None  # none is in use
    assert [(one.item_id, one.text_index) for one in predicted.items] == [("jazz", None), (None, 0)]
    assert predicted.unknown == ["nope"]
    why = await mine.explain(user, "football")
    pulled = sum(pull.contribution for pull in why.pulls)
    assert why.score == pytest.approx(pulled + why.parts.freshness + why.parts.popularity, abs=1e-6)
    assert {entry.item_id for pull in why.pulls for entry in pull.evidence} == {"football"}
    assert (await mine.item("football")).title == "The striker scored twice in the cup final"


async def test_recent_items_and_what_was_taken_back(mine: Either.Caller, path: Rig) -> None:
    user = path.user()
    await fan(mine, user, "football")
    now_ms = int(time.time() * 1000) + 1000
    rows = [("unlike", "jazz", 3), ("like", "jazz", 2), ("hide", "茶", 1)]
    await mine.send_events([{"user_id": user, "type": t, "item_id": i, "ts": now_ms + at} for t, i, at in rows])

    async def listed() -> Any:
        items = (await mine.recents(user)).items
        return items if len(items) == 3 else None

    items = await until(listed)
    assert [(one.item_id, one.weight) for one in items] == [("jazz", 0.0), ("茶", -2.0), ("football", 1.0)]
    assert [one.ts_ms for one in items[:2]] == [now_ms + 2, now_ms + 1]
    assert [one.item_id for one in (await mine.recents(user, limit=1)).items] == ["jazz"]
    assert (await mine.recents(path.user())).items == []


async def test_audiences_and_similar_people(mine: Either.Caller, path: Rig) -> None:
    one, other = path.user(), path.user()
    await asyncio.gather(fan(mine, one, "茶"), fan(mine, other, "茶"))
    found = await mine.audience(item_id="茶", min_similarity=0.5, levels=["interest", "topic"], limit=1000)
    members = {member.user_id: member for member in found.members}
    assert {one, other} <= set(members)
    assert all(member.similarity >= 0.5 for member in found.members)
    rows = await mine.each("export_audience", item_id="茶", min_similarity=0.5, limit=1000)
    assert {row.user_id for row in rows} == set(members)
    assert one not in {m.user_id for m in (await mine.audience(text="tea", path="/sports")).members}
    alike = await mine.similar_items("football", by="content", k=2)
    assert (alike.by, [item.found_by for item in alike.items]) == ("content", [["content"]] * 2)
    near = await mine.similar(one, k=100)
    assert other in {user.user_id for user in near.users}


async def test_items_and_events_go_in_and_bad_ones_are_named(mine: Either.Caller, path: Rig) -> None:
    item_id = f"{path.user()}/an item"
    done = await mine.put_item(item_id, {"title": "A hand grinder for the road"})
    assert done.accepted == 1
    assert done.placed[0].topic == path.items_topic
    more = await mine.put_items(
        [{"item_id": item_id, "title": "A hand grinder"}, {"item_id": "jazz2", "title": "Jazz"}]
    )
    assert more.accepted == 2
    one = await mine.send_event({"user_id": path.user(), "type": "search", "text": "tea"})
    assert one.accepted == 1
    with pytest.raises(BadRequest) as caught:
        await mine.send_events([{"user_id": "u", "type": "search", "text": "tea"}, {"user_id": "u", "type": "klick"}])
    assert [row.index for row in caught.value.rejected] == [1]
    assert (caught.value.status, caught.value.kind) == (422, "rejected")


async def test_a_live_tree_begins_whole_and_moves(mine: Either.Caller, path: Rig) -> None:
    user = path.user()
    began = asyncio.Event()
    loop = asyncio.get_running_loop()

    def moved(updates: list[LiveUpdate]) -> bool:
        loop.call_soon_threadsafe(began.set)
        return bool(updates[-1].events)

    watching = asyncio.create_task(mine.each("live", user, enough=moved))
    async with asyncio.timeout(40):
        await began.wait()
        await mine.send_event({"user_id": user, "type": "like", "item_id": "jazz"})
        seen = await watching
    assert seen[0].whole
    assert seen[0].nodes == []
    assert not seen[-1].whole
    assert {event.type for event in seen[-1].events} == {"like"}
    assert {node.level for node in seen[-1].nodes} >= {"profile", "interest"}


async def test_an_erasure_is_seen_to_have_taken_effect(mine: Either.Caller, path: Rig) -> None:
    user = path.user()
    await fan(mine, user, "jazz")
    receipt = await mine.delete_user(user)
    assert receipt.nodes_before > 0

    async def verified() -> Any:
        later = await mine.erasure(user, receipt.event_id)
        return later if later.verified else None

    later = await until(verified)
    assert (later.nodes_left, later.requested_ms) == (0, receipt.requested_ms)
    assert (await mine.interests(user, prior=False)).nodes == []


async def test_health_says_what_answers(mine: Either.Caller, running_path: Rig) -> None:
    ready = await mine.health()
    assert (ready.ready, ready.qdrant, ready.triton) == (True, True, True)


# -- errors, provoked --------------------------------------------------------------------------------------------------


async def test_refusals(client: Either, api: ApiServer) -> None:
    with pytest.raises(Unauthorized):
        await client(api.url).users()
    with pytest.raises(Unauthorized) as unknown:
        await client(api.url, key="isk_unknown").users()
    assert unknown.value.status == 401
    assert unknown.value.request_id
    with pytest.raises(Unauthorized):
        await client(api.url, token=lambda: "a.b.c").users()
    reader = client(api.url, key=api.keys["read"])
    with pytest.raises(Forbidden, match="admin"):
        await reader.delete_user("u")
    with pytest.raises(Forbidden, match="ingest"):
        await reader.send_event({"user_id": "u", "type": "search", "text": "tea"})
    with pytest.raises(Forbidden):
        await client(api.url, key=api.keys["ingest"]).each("live", "u")
    with pytest.raises(NotFound) as item:
        await reader.explain("u", "nope")
    assert item.value.kind == "unknown-item"
    with pytest.raises(NotFound) as user:
        await reader.interests("nobody at all", prior=False)
    assert user.value.kind == "unknown-user"
    with pytest.raises(BadRequest) as huge:
        await reader.recommendations("u", k=10**9)
    assert [one.field for one in huge.value.errors] == ["query.k"]
    with pytest.raises(BadRequest):
        await reader.interests("x" * 10_000)
    with pytest.raises(BadRequest):
        await reader.users(cursor="nonsense")
    with pytest.raises(NotFound):
        await client(f"{api.url}/elsewhere", key=api.keys["read"]).users()


async def test_another_server_is_not_mistaken_for_the_api(client: Either, running_path: Rig) -> None:
    with pytest.raises(ApiError, match="does the address name the API"):
        await client(f"http://{running_path.qdrant.host}:{running_path.qdrant.http_port}").users()


@pytest.fixture(scope="module")
def lame(running_path: Rig, make_api: Callable[..., ApiServer]) -> Iterator[ApiServer]:
    """An API whose Qdrant is away, and that lets a key ask six times in a window that ends in no test's time."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    nowhere = running_path.settings.qdrant.model_copy(update={"grpc_port": port, "http_port": port})
    server = make_api(running_path.settings.model_copy(update={"qdrant": nowhere}), rate="6/100 year")
    yield server
    server.kill()


async def test_what_is_away_and_what_is_too_much(client: Either, lame: ApiServer) -> None:
    flood = "flood" if client.kind is InterestClient else "flood2"
    mine = client(lame.url, key=lame.keys[flood], retries=NO_RETRIES)
    with pytest.raises(Unavailable) as away:
        await mine.interests("u")
    assert away.value.status == 503
    assert away.value.retry_after_s >= 1
    ready = await mine.health()
    assert (ready.ready, ready.qdrant, ready.triton) == (False, False, True)

    async def flood_it() -> None:
        for _ in range(7):
            with suppress(Unavailable):
                await mine.users()

    with pytest.raises(RateLimited) as limited:
        await flood_it()
    assert limited.value.retry_after_s > 60
    patient = client(lame.url, key=lame.keys[flood], deadline_s=2.0)
    began = time.monotonic()
    with pytest.raises(RateLimited):  # it is beyond the deadline: the wait is not begun
        await patient.users()
    assert time.monotonic() - began < 2.0


async def test_a_call_is_tried_again_until_the_api_is_there(client: Either, api: ApiServer) -> None:
    relay = Relay(api.port)
    with pytest.raises(Unreachable):
        await client(relay.url, key=api.keys["all"], retries=NO_RETRIES).users()
    mine = client(relay.url, key=api.keys["all"], deadline_s=30.0, retries=Retries(attempts=100, cap_s=0.2))
    asking = asyncio.create_task(mine.users(limit=1))
    done, _ = await asyncio.wait({asking}, timeout=0.5)
    assert not done
    await relay.give()
    try:
        assert len((await asking).users) <= 1
    finally:
        await relay.take()


async def test_a_broken_stream_is_connected_again_and_begins_whole(client: Either, api: ApiServer, path: Rig) -> None:
    relay = Relay(api.port)
    await relay.give()
    mine = client(relay.url, key=api.keys["all"], deadline_s=30.0)
    began = asyncio.Event()
    loop = asyncio.get_running_loop()
    broken: list[TryLater] = []

    def connected_again(updates: list[LiveUpdate]) -> bool:
        loop.call_soon_threadsafe(began.set)
        return bool(broken and updates[-1].whole)

    def note(error: TryLater, wait_s: float) -> None:
        assert wait_s > 0
        broken.append(error)

    live = asyncio.create_task(
        mine.each("live", path.user(), patience_s=60.0, on_wait=note, enough=connected_again)
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            await began.wait()
            await relay.take()
            await relay.give()
            updates = await live
    finally:
        await relay.take()
    assert isinstance(broken[0], Unreachable)
    assert [update.whole for update in (updates[0], updates[-1])] == [True, True]
