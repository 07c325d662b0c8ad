"""Everybody can use the page: by keyboard, by screen reader, with any sight, on a phone, without motion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.fixtures.path import Rig

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]


HERE = Path(__file__).parent
FAULTS, CONTRASTS = ((HERE / name).read_text("utf-8") for name in ("faults.js", "contrasts.js"))
TOO_WIDE = """[...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > 361)
    .map((e) => e.outerHTML.slice(0, 80))"""


async def somebody(rig: Rig) -> str:
    """A user with interests for and against."""
    user = rig.user()
    events = [("click", "football"), ("like", "jazz"), ("hide", "football"), ("click", "茶")]
    for number, (kind, item) in enumerate(events):
        event = {"event_id": f"{user}-{number}", "user_id": user, "type": kind, "item_id": item}
        await rig.produce(rig.clicks if kind == "click" else rig.events, [event])
    return user


async def shown(page: Page) -> None:
    """Wait until all cards are filled."""
    await expect(page.locator("#who-events")).to_have_text("4")
    await expect(page.locator("#tree-table tr[data-node]").first).to_be_visible()
    await expect(page.locator("#tree-chart .slice").first).to_be_visible()
    await expect(page.locator("#recommended, #recommend-none").first).to_be_attached()


async def test_by_keyboard_alone(rig: Rig, visit: Callable[..., Any]) -> None:
    one, other = await somebody(rig), await somebody(rig)
    page = await visit(one)
    await shown(page)
    focus = page.locator(":focus")
    await page.keyboard.press("Tab")
    await expect(focus).to_have_text("Skip to the interests")
    await page.keyboard.press("Tab")
    await expect(focus).to_have_attribute("role", "combobox")
    await page.keyboard.type(other)
    await expect(page.locator("#user")).to_have_attribute("aria-activedescendant", "user-option-0")
    await expect(page.get_by_role("listbox").get_by_role("option", selected=True)).to_contain_text(other)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=other)).to_be_visible()
    await expect(page.locator("#user")).to_have_attribute("aria-expanded", "false")
    assert other in page.url
    await shown(page)
    for _ in range(6):  # theme, form of the picture, and then the tree as one stop
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.closest('#tree-table') !== null"):
            break
    await expect(focus).to_have_attribute("aria-level", "1")
    outline = await focus.evaluate("row => getComputedStyle(row).outlineStyle")
    assert outline == "solid"
    first = await focus.get_attribute("data-key")
    if await focus.get_attribute("aria-expanded") == "false":  # the topic that was heaviest at first is open
        await page.keyboard.press("ArrowRight")
    await expect(focus).to_have_attribute("aria-expanded", "true")
    await page.keyboard.press("ArrowRight")
    await expect(focus).to_have_attribute("aria-level", "2")
    await page.keyboard.press("Enter")
    await expect(focus).to_have_attribute("aria-selected", "true")
    name = await focus.locator(".name").inner_text()
    await expect(page.locator("#detail-name")).to_have_text(name)
    await page.keyboard.press("ArrowLeft")
    assert await focus.get_attribute("data-key") == first
    await page.keyboard.press("ArrowLeft")
    await expect(focus).to_have_attribute("aria-expanded", "false")
    await page.keyboard.press("End")
    assert await focus.get_attribute("data-key") != first
    here = await focus.get_attribute("data-key")
    await rig.produce(rig.events, [{"user_id": other, "type": "like", "item_id": "jazz"}])
    await expect(page.locator("#events li").first).to_contain_text("like")
    assert await focus.get_attribute("data-key") == here, "an update must not take the focus away"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_names_headings_and_contrast(rig: Rig, visit: Callable[..., Any], scheme: str) -> None:
    page = await visit(await somebody(rig), color_scheme=scheme)
    await shown(page)
    assert await page.evaluate(FAULTS) == []
    contrasts = await page.evaluate(CONTRASTS)
    assert len(contrasts) > 30
    assert {where: ratio for where, ratio in contrasts.items() if ratio < 4.5} == {}, "WCAG 2.1 AA asks for 4.5"
    await page.evaluate("document.querySelector('label[for=user]').remove()")
    assert [fault[:7] for fault in await page.evaluate(FAULTS)] == ["no name"], "the judge is not blind"
    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.get_by_role("button", name="Dark mode").click()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    await page.reload()
    await shown(page)
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != ground, "the choice is kept"


async def test_a_small_phone_and_no_motion(rig: Rig, visit: Callable[..., Any]) -> None:
    page = await visit(await somebody(rig), viewport={"width": 360, "height": 740}, reduced_motion="reduce")
    await shown(page)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360, await page.evaluate(TOO_WIDE)
    for name in ("weights-chart", "recommended", "audience-form"):
        await page.locator(f"#{name}").scroll_into_view_if_needed()
    await expect(page.locator("#weights-chart .legend")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360, await page.evaluate(TOO_WIDE)
    user = await page.locator("#who-name").inner_text()
    await rig.produce(rig.events, [{"user_id": user, "type": "like", "item_id": "jazz"}])
    await expect(page.locator("#events li.fresh")).to_be_visible()
    assert await page.evaluate("document.getAnimations().length") == 0
