"""What the page shows when updates are lost or Qdrant is away for a moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from playwright.async_api import expect

from streams.broker.producer import Outgoing, Producer
from streams.interests.updates import GROUP, ChangedNode, Happened, Update
from tests.browser.test_page import live
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]


def now_ms() -> int:
    return int(time.time() * 1000)


async def announce(rig: Rig, update: Update) -> None:
    """What the worker would send."""
    headers = ((GROUP, rig.config.group_id.encode()),)
    record = Outgoing(update.user_id.encode(), msgspec.json.encode(update), headers=headers)
    async with Producer(rig.config) as producer:
        await producer.send_many(rig.settings.kafka.updated_topic, [record])


def hidden(user: str) -> list[Happened]:
    return [Happened(event_id=f"{user}-2", type="hide", ts_ms=now_ms(), weight=-2.0, item_id="football")]


async def test_a_tree_sent_again_names_the_events_for_which_it_is_sent(
    rig: Rig, server: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    page = await visit(user)
    await live(page)
    await asyncio.sleep(4)
    before = server.interrupted()
    await announce(rig, Update(user, now_ms(), resync=True, events=hidden(user)))
    newest = page.locator("#events li").first
    await expect(newest).to_contain_text("hide")
    await expect(newest).to_contain_text("The striker scored twice in the cup final")
    assert server.interrupted() == before + 1


async def test_a_qdrant_that_is_away_for_a_moment_ends_no_stream(
    rig: Rig, server: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    page = await visit(user)
    await live(page)
    before = server.interrupted()
    at = now_ms()
    touched = ChangedNode(
        id=str(uuid4()), level="interest", path="/sports/football", mass=1.0, net=1.0, count=1, first_ms=at, last_ms=at,
        expires_at_ms=at + 3_600_000,
    )  # fmt: skip
    rig.qdrant.kill()
    try:
        await announce(rig, Update(user, at, nodes=[touched], events=hidden(user)))
        await asyncio.sleep(1)
    finally:
        await asyncio.to_thread(rig.qdrant.start)
    await expect(page.locator("#events li").first).to_contain_text("hide")
    assert server.interrupted() == before
