"""What a model says of a person, on the page: a section of the tree, and a reason for a score."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import httpx
import pytest
from playwright.async_api import expect

from streams.interests.evidence import Evidence
from streams.interests.nodes import LearnedPart, NodeKey, profile_key
from streams.store.base import Fence
from tests.browser.test_page import live, publish, row
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]

MODEL: Final = "interest-hierarchy-5f1c09ab"
READ: Final = "The striker scored twice in the cup final"


async def learn(rig: Rig, user: str) -> None:
    """Write the nodes that a model would make of somebody who likes football."""
    now_ms = int(time.time() * 1000)
    attention = (Evidence("", "football", now_ms - 60_000, 0.75, "like"),)
    profile = (await rig.tree(user))[profile_key(user)]
    bare = replace(profile, evidence=attention, ring=b"", seen=b"", recents="", marks=(), votes=(), firsts=())
    part = LearnedPart(MODEL, 4.0, -1.0, made_ms=now_ms)
    nodes = [
        replace(bare, key=NodeKey(user, "learned", path), learned=part)
        for path in ("/", "/click", "/exposure", "/purchase")
    ]
    store = rig.store()
    try:
        await store.write(nodes, Fence(1, 1))
    finally:
        await store.close()


async def test_it_is_a_section_of_the_tree_with_the_model_s_name(
    rig: Rig, server: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}])
    page = await visit(user)
    await live(page)
    await expect(row(page, "Sports").first).to_be_visible()
    await expect(page.locator("#tree-table")).not_to_contain_text("Learned")
    await learn(rig, user)
    await page.reload()
    await live(page)
    await expect(page.locator("#tree-table tr.group").last).to_have_text(f"Learned · by {MODEL}")
    wanted = row(page, "What they want most")
    await expect(wanted).to_be_visible()
    await expect(wanted.locator(".bar")).to_be_hidden()
    await wanted.click()
    facts, first = page.locator("#detail-facts"), page.locator("#detail-events li").first
    await expect(facts).to_contain_text(MODEL)
    await expect(facts).not_to_contain_text("Weight now")
    await expect(first).to_contain_text(f"like {READ}")
    await expect(first).to_contain_text(re.compile(r"75\s?%"))
    await expect(page.locator("#events li")).to_have_count(1)  # attention is no event
    phone = await visit(user, viewport={"width": 390, "height": 1240})
    await live(phone)
    await expect(phone.locator("#tree-table tr.group").last).to_have_text(f"Learned · by {MODEL}")
    assert await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
    await publish(rig, 5, serve=True, learned_click=0.7)
    try:
        async with asyncio.timeout(20), httpx.AsyncClient(base_url=server.url) as http:
            while (await http.get(f"/v1/users/{user}/recommendations")).json()["weights_version"] != 5:
                await asyncio.sleep(0.1)
        await page.get_by_label("Diversity").press("ArrowRight")  # asks again
        await expect(page.locator("#weights-version")).to_have_text("learned weights, version 5 of next")
        shown = page.locator("#recommended > li").filter(has_text="A quartet records an evening of slow jazz")
        await expect(shown.locator(".because")).to_contain_text("what they click (learned) +0.")
        await shown.get_by_text("Why?").click()
        await expect(shown.locator(".why-table")).to_contain_text(re.compile(rf"{READ} \(like 75\s?%\)"))
    finally:
        await publish(rig, 6, serve=False)
