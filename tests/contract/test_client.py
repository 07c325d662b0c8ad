"""Both clients, one suite, against the real API on a real broker, Triton, Qdrant engine and worker."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from streams.api.models import LiveUpdate
from streams.client import (
    AsyncInterestClient,
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    InterestClient,
    NotFound,
    RateLimited,
    Retries,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]
NO_RETRIES = Retries(attempts=1)


class Either:
    """One of the two clients, called alike: what is awaited in the one is made in a thread with the other."""

    def __init__(self, kind: type[InterestClient | AsyncInterestClient]) -> None:
        self.kind = kind
        self._open: list[Any] = []

    def __call__(self, url: str, **more: Any) -> Either.Caller:
        made = self.kind(url, **more)
        self._open.append(made)
        return Either.Caller(made)

    async def close(self) -> None:
        for client in self._open:
            done = client.close()
            if inspect.isawaitable(done):
                await done

    class Caller:
        def __init__(self, client: Any) -> None:
            self.client = client

        def within(self, deadline_s: float) -> Either.Caller:
            return Either.Caller(self.client.within(deadline_s))

        def __getattr__(self, name: str) -> Callable[..., Any]:
            method = getattr(self.client, name)
            if inspect.iscoroutinefunction(method):
                return method  # type: ignore[no-any-return]  # a method of the client
            return lambda *args, **named: asyncio.to_thread(method, *args, **named)

        async def each(self, name: str, *args: Any, first: int | None = None, **named: Any) -> list[Any]:
            """The rows of an iterator, or its first ones."""
            rows: list[Any] = []
            made = getattr(self.client, name)(*args, **named)
            if hasattr(made, "__aiter__"):
                async with aclosing(made):
                    async for row in made:
                        rows.append(row)
                        if len(rows) == first:
                            break
                return rows

            def read() -> None:
                for row in made:
                    rows.append(row)
                    if len(rows) == first:
                        break
                made.close()

            await asyncio.to_thread(read)
            return rows


@pytest.fixture(params=[InterestClient, AsyncInterestClient], ids=["sync", "async"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Either]:
    made = Either(request.param)
    yield made
    await made.close()


@pytest.fixture
def mine(client: Either, api: ApiServer) -> Either.Caller:
    return client(api.url, key=api.keys["all"])


async def until(met: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """What `met` gives once it is true."""
    end = time.monotonic() + timeout_s
    while not (told := await met()):
        assert time.monotonic() < end, "not met in time"
        await asyncio.sleep(0.1)
    return told


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
