"""The page on the real stack: it shows nobody, then somebody, and moves as events arrive."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Route, expect
from qdrant_client import QdrantClient
from qdrant_client.models import Filter, FilterSelector

from streams.interests.score import RankPolicy
from streams.ranking.rows import NAMES, VERSION, fixed_weights
from streams.ranking.weights import PublishedWeights, pack_weights
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]


@pytest.fixture(scope="module")
def guarded(rig: Rig, make_api: Callable[..., ApiServer]) -> ApiServer:
    """An API that asks for keys; a test may kill and start it."""
    return make_api(rig.settings)


async def mark(page: Page) -> None:
    """Leave a mark that a reload would wipe out."""
    await page.evaluate("window.neverReloaded = true")


async def live(page: Page) -> None:
    """Wait until the page follows the stream."""
    await expect(page.locator("#live-words")).to_have_text("Live")


def row(page: Page, name: str) -> Any:
    """The tree's row of an interest."""
    return page.locator("#tree-table tr[data-node]").filter(has=page.locator(".name", has_text=re.compile(f"^{name}$")))


async def send_first(rig: Rig, page: Page) -> str:
    """Send the first event of anybody, from the page, and return of whom it is."""
    user = rig.user()
    await page.get_by_label("Person", exact=True).last.fill(user)
    await page.get_by_label("Search words").fill("the striker scored twice")
    await page.get_by_role("button", name="Send").click()
    return user


def forget_everybody(rig: Rig) -> None:
    """Whoever other tests have left."""
    store = QdrantClient(url=rig.qdrant.url)
    store.delete("interests", FilterSelector(filter=Filter()), wait=True)
    store.close()


async def test_nobody_and_then_the_first_event_from_the_page_itself(rig: Rig, visit: Callable[..., Any]) -> None:
    forget_everybody(rig)
    page = await visit()
    await expect(page.get_by_role("heading", name="Nobody here yet")).to_be_visible()
    await expect(page.locator("#person")).to_be_hidden()
    await mark(page)
    user = await send_first(rig, page)
    await expect(page.get_by_role("heading", name=user)).to_be_visible()
    await expect(page.locator("#send-words")).to_have_text(re.compile(r"In the tree after \d+ ms"))
    await expect(page.locator("#events li").first).to_contain_text("search")
    await expect(page.locator("#tree-table tr[data-node]").first).to_be_visible()
    await expect(page.locator("#empty")).to_be_hidden()
    assert await page.evaluate("window.neverReloaded")


async def test_an_event_that_was_faster_than_the_page_is_seen_in_the_tree_it_made(
    rig: Rig, visit: Callable[..., Any]
) -> None:
    forget_everybody(rig)
    await rig.mark()
    applied = asyncio.Event()

    async def late(route: Route) -> None:
        await applied.wait()
        await route.continue_()

    page = await visit()
    await page.route(re.compile(r"/(interests|live)(\?|$)"), late)
    await send_first(rig, page)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) == 1)
    await rig.settled()
    applied.set()
    await expect(page.locator("#send-words")).to_have_text(re.compile(r"In the tree after \d+ ms"))
    await expect(page.locator("#events li").first).to_contain_text("search")


async def test_an_event_from_kafka_moves_tree_list_and_picture(rig: Rig, visit: Callable[..., Any]) -> None:
    user = rig.user()
    click = {"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}
    await rig.produce(rig.clicks, [click])
    page = await visit(user)
    await live(page)
    sports = row(page, "Sports").first  # once pushed away, it is there a second time, as that
    await expect(sports).to_contain_text("▲ for +1.00")
    await expect(sports.locator("td").nth(2)).to_have_text("1")
    await mark(page)
    hide = {"event_id": f"{user}-2", "user_id": user, "type": "hide", "item_id": "football"}
    await rig.produce(rig.events, [hide])
    newest = page.locator("#events li").first
    await expect(newest).to_contain_text("hide The striker scored twice in the cup final")
    await expect(newest).to_contain_text("▼ −2.0")
    await expect(sports).to_contain_text("▼ against −0.33")  # (1 - 2) / (1 + 2)
    await expect(sports.locator("td").nth(2)).to_have_text("2")
    await expect(page.locator("#tree-table")).to_contain_text("Pushed away")
    await expect(page.locator("#announcer")).to_contain_text("hide on The striker scored twice")
    await expect(page.locator("#tree-chart .slice").first).to_contain_text("Sports")
    await sports.click()
    await expect(page.locator("#detail-events")).to_contain_text("hide The striker scored twice in the cup final")
    assert await page.evaluate("window.neverReloaded")


async def test_recommendations_say_why_and_a_like_moves_them(rig: Rig, visit: Callable[..., Any]) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}])
    page = await visit(user)
    await live(page)
    first = page.locator("#recommended > li").filter(has_text="A quartet records an evening of slow jazz")
    await expect(first.locator(".because")).to_contain_text(re.compile(r"(Because of|Held back by).*[+−]\d\.\d\d"))
    await first.get_by_text("Why?").click()
    table = first.locator(".why-table")
    await expect(table.locator("tfoot td")).to_have_text(re.compile(r"[+−]?\d\.\d{3}"))
    parts = [_number(text) for text in await table.locator("tbody td").all_inner_texts()]
    total = _number(await table.locator("tfoot td").inner_text())
    assert abs(sum(parts) - total) < 0.0006 * (len(parts) + 1), (parts, total)  # each is rounded to three digits
    await first.get_by_role("button", name="Like").click()
    await expect(page.locator("#events li").first).to_contain_text("like")
    await expect(first).to_have_count(0)  # seen now
    knob = page.get_by_label("Diversity")
    await knob.focus()
    await knob.press("End")
    await expect(page.locator("#diversity-value")).to_have_text("1.00")


async def test_parts_of_a_score_and_the_version_of_its_weights_are_shown(
    rig: Rig, server: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}])
    page = await visit(user)
    await live(page)
    await expect(page.locator("#weights-version")).to_have_text("the fixed weights")
    await publish(rig, 3, serve=True)
    try:
        async with asyncio.timeout(20), httpx.AsyncClient(base_url=server.url) as http:
            while (await http.get(f"/v1/users/{user}/recommendations")).json()["weights_version"] != 3:
                await asyncio.sleep(0.1)
        await page.get_by_label("Diversity").press("End")  # asks again
        await expect(page.locator("#weights-version")).to_have_text("learned weights, version 3 of next")
        await expect(page.locator("#parts-legend")).to_contain_text("near recent items")
        first = page.locator("#recommended > li").first
        await expect(first.locator(".part-recent.for")).to_have_attribute("title", re.compile(r"near recent items \+"))
        await expect(first.locator(".because")).to_contain_text("“The striker scored twice in the cup final”")
        await first.get_by_text("Why?").click()
        table = first.locator(".why-table")
        await expect(table.locator("caption")).to_contain_text("learned weights, version 3 of next")
        await expect(table).to_contain_text("“The striker scored twice in the cup final”recent item")
        parts = [_number(text) for text in await table.locator("tbody td").all_inner_texts()]
        total = _number(await table.locator("tfoot td").inner_text())
        assert abs(sum(parts) - total) < 0.0006 * (len(parts) + 1), (parts, total)
    finally:
        await publish(rig, 4, serve=False)


async def publish(rig: Rig, version: int, *, serve: bool, **more: float) -> None:
    """Publish weights that look at recent items, as a learner does."""
    values = dict(zip(NAMES, fixed_weights(RankPolicy()).tolist(), strict=True)) | {"recent_mean": 0.6, **more}
    weights = PublishedWeights(
        encoder=rig._encoder_id(), kind="next", version=version, features=VERSION, lists=100, serve=serve,
        made_ms=int(time.time() * 1000), values=values,
    )  # fmt: skip
    await rig.produce_raw(rig.settings.kafka.ranking_weights_topic, [(weights.key, pack_weights(weights))])


async def test_the_last_items_are_listed_and_a_like_that_is_taken_back_is_undone(
    rig: Rig, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}])
    page = await visit(user)
    await live(page)
    items = page.locator("#recents li")
    await expect(items).to_have_count(1)
    await expect(items.first).to_contain_text("The striker scored twice in the cup final")
    await expect(items.first).to_contain_text("▲ +1.0")
    for kind, shown in (("like", "▲ +2.0"), ("unlike", "undone")):
        event = {"event_id": f"{user}-{kind}", "user_id": user, "type": kind, "item_id": "jazz"}
        await rig.produce(rig.events, [event])
        await expect(items.first).to_contain_text(shown)
        await expect(items).to_have_count(2)
    await expect(page.locator("#recents-none")).to_be_hidden()


async def test_an_audience_is_found_and_leads_to_its_people(rig: Rig, visit: Callable[..., Any]) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "jazz"}])
    page = await visit(user)
    await expect(page.locator("#tree-table tr[data-node]").first).to_be_visible()
    await page.get_by_label("A topic in your own words").fill("saxophone and drums")
    await page.get_by_role("button", name="Search").click()
    found = page.locator("#audience-rows").get_by_role("button", name=user)
    await expect(found).to_be_visible()
    async with page.expect_download() as saving:
        await page.get_by_role("button", name="Download as JSON lines").click()
    saved = await (await saving.value).path()
    assert f'"user_id":"{user}"' in saved.read_text("utf-8")


async def test_markup_in_ids_and_titles_stays_text(rig: Rig, visit: Callable[..., Any]) -> None:
    user = f"<img src=x onerror=alert(1)>&\"'/ü {rig.user()}"
    title = "<b>bold</b><script>alert(2)</script> $x$"
    item = {"item_id": "<i>id</i>", "title": title, "categories": ["<u>odd</u>"]}
    await rig.produce(rig.items_topic, [item], key="item_id")
    await rig.produce(rig.clicks, [{"user_id": user, "type": "click", "item_id": item["item_id"]}])
    page = await visit(user)
    await expect(page.locator("#who-name")).to_have_text(user)
    await expect(page.locator("#events li").first).to_contain_text(title)
    await page.locator("#user").click()
    print(
        "LIST", await page.locator("#user-list").evaluate("e => e.outerHTML"), await page.locator("#user").input_value()
    )
    await page.wait_for_timeout(2000)
    await expect(page.get_by_role("option").filter(has_text=user)).to_be_visible()
    await expect(page.locator("#tree-chart .slice").first).to_be_visible()
    assert await page.locator("main img, main script, main b, main u, main i").count() == 0


async def test_a_server_that_goes_away_is_told_and_waited_for(
    rig: Rig, guarded: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "jazz"}])
    server = guarded
    page = await visit(user, server.url)
    visit.watched[-1][0].allowed += ["401", "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_CONNECTION_RESET"]  # type: ignore[attr-defined]  # set by the fixture
    await page.get_by_label("Key or token").fill(server.keys["all"])
    await page.keyboard.press("Enter")
    await live(page)
    server.kill()
    await expect(page.locator("#live-words")).to_contain_text("Not live")
    await page.get_by_label("Diversity").press("End")
    problem = page.locator("#recommend-problem")
    await expect(problem).to_contain_text("The server does not answer.")
    server.start()
    await live(page)
    await problem.get_by_role("button", name="Try again").click()
    await expect(problem).to_be_hidden()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-2", "user_id": user, "type": "click", "item_id": "football"}])
    await expect(row(page, "Sports")).to_be_visible()


async def test_an_access_key_is_asked_for_once_and_kept_in_the_tab(
    rig: Rig, guarded: ApiServer, visit: Callable[..., Any]
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "jazz"}])
    server = guarded
    page = await visit(user, server.url)
    visit.watched[-1][0].allowed += ["401", "403"]  # type: ignore[attr-defined]  # set by the fixture
    key = page.get_by_label("Key or token")
    await key.fill("wrong")
    await page.get_by_role("button", name="Use it").click()
    await expect(page.locator("#key-refused")).to_be_visible()
    await key.fill(server.keys["read"])
    await key.press("Enter")
    await live(page)
    await expect(page.locator("#tree-table tr[data-node]").first).to_be_visible()
    await page.get_by_label("Search words").fill("jazz")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#send-problem")).to_contain_text("not allowed to do that")
    kept = await page.evaluate("[Object.values(sessionStorage), Object.values(localStorage), document.cookie]")
    assert kept == [[server.keys["read"]], [], ""]


def _number(text: str) -> float:
    return float(text.strip().replace("−", "-"))
