"""The page /dashboard on the real stack: charts with data, what it says without, on a desktop and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from deploy.embedded.ports import free_ports
from streams.dashboards.overview import OVERVIEW
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]

HERE = Path(__file__).parent
FAULTS, CONTRASTS = ((HERE / name).read_text("utf-8") for name in ("faults.js", "contrasts.js"))
LAG = next(one for one in OVERVIEW.panels if one.key == "lag")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def watching(rig: Rig, make_api: Callable[..., ApiServer]) -> ApiServer:
    """An API that scrapes the worker and Qdrant every second; the learner that it is told of does not run."""
    nobody = free_ports(1)[0]
    urls = {
        "worker": rig.workers[0].metrics_url,
        "qdrant": f"{rig.qdrant.url}/metrics",
        "learner": f"http://127.0.0.1:{nobody}/metrics",
    }
    return make_api(rig.settings, keys_file=None, metrics_urls=urls, scrape_every_s=1.0)


def panel(page: Page, title: str) -> Any:
    """A panel by its title."""
    return page.get_by_role("region", name=title, exact=True)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
async def test_charts_are_drawn_and_nothing_is_too_faint_or_too_wide(
    rig: Rig, watching: ApiServer, visit: Callable[..., Any], size: dict[str, Any], scheme: str
) -> None:
    user = rig.user()
    await rig.produce(rig.clicks, [{"event_id": f"{user}-1", "user_id": user, "type": "click", "item_id": "football"}])
    page = await visit(url=watching.url, path="/dashboard#range=5m", color_scheme=scheme, **size)
    events = panel(page, "Events")
    # An API that has just started packs the chart library first, and has scraped once or twice.
    await expect(events.locator(".chart path.js-line").first).to_be_visible(timeout=60_000)
    await expect(events.locator("tbody tr").filter(has_text="applied")).to_contain_text("/")
    lag = panel(page, "Lag")
    await expect(lag.locator(".state")).to_have_text("✓ well")
    await expect(lag).to_contain_text(f"Warning from {LAG.warn:,.0f}, bad from {LAG.bad:,.0f}.")
    await expect(page.locator("#live-words")).to_have_text(re.compile(r"Live, as of \d\d:\d\d:\d\d"))
    await expect(page.locator("#jobs")).to_contain_text("✓ worker")
    await expect(page.locator("#jobs")).to_contain_text(re.compile(r"✕ learner: http://\S+/metrics does not answer"))
    widths = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1], "it scrolls sideways"
    assert await page.evaluate(FAULTS) == []
    before = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await seen_well(page)
    await page.get_by_role("button", name="Dark mode").click()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    await seen_well(page)


async def seen_well(page: Page) -> None:
    """Nothing is too faint."""
    least = await page.evaluate(CONTRASTS)
    assert len(least) > 20
    assert {name: ratio for name, ratio in least.items() if ratio < 4.5} == {}, "WCAG 2.1 AA asks for 4.5"


async def test_tabs_ranges_and_pause_go_by_keyboard_and_by_address(
    watching: ApiServer, visit: Callable[..., Any]
) -> None:
    page = await visit(url=watching.url, path="/dashboard#dashboard=store&range=5m")
    await expect(page.get_by_role("heading", name="Store", level=2)).to_be_visible()
    await expect(page.get_by_role("radio", name="5 min")).to_be_checked()
    await expect(page.get_by_role("link", name="Store")).to_have_attribute("aria-current", "page")
    link = page.get_by_role("link", name="Freshness")
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Freshness", level=2)).to_be_visible()
    await expect(panel(page, "Lag by partition").locator(".chart .main-svg").first).to_be_visible()
    await page.get_by_role("radio", name="5 min").focus()
    async with page.expect_response(lambda answer: "range=1h" in answer.url):
        await page.keyboard.press("ArrowRight")
    assert page.url.endswith("#dashboard=freshness&range=1h")
    await page.get_by_role("button", name="Pause").press("Enter")
    await expect(page.locator("#live-words")).to_contain_text("Paused")
    await page.get_by_role("button", name="Go on").press("Enter")
    await expect(page.locator("#live-words")).to_contain_text("Live")
    await page.go_back()
    await expect(page.get_by_role("radio", name="5 min")).to_be_checked()


async def test_it_refreshes_by_itself(rig: Rig, watching: ApiServer, visit: Callable[..., Any]) -> None:
    page = await visit(url=watching.url, path="/dashboard#range=5m")
    words = page.locator("#live-words")
    await expect(words).to_contain_text("Live, as of")
    before = await words.inner_text()
    await expect(words).not_to_have_text(before)
    await expect(words).to_contain_text("Live, as of")


async def test_a_panel_without_data_says_why(watching: ApiServer, visit: Callable[..., Any]) -> None:
    page = await visit(url=watching.url, path="/dashboard#dashboard=quality")
    recall = panel(page, "recall@10 by ranker")
    await expect(recall.locator(".state")).to_have_text("– no data")
    await expect(recall.locator(".reason")).to_contain_text("No answer to scrapes of learner")
    await page.get_by_role("link", name="Encoder").click()
    await expect(panel(page, "Triton: requests").locator(".reason")).to_contain_text("Nobody scrapes triton")


async def test_the_key_is_asked_for_and_a_prometheus_that_is_away_is_told_and_asked_again(
    rig: Rig, make_api: Callable[..., ApiServer], visit: Callable[..., Any]
) -> None:
    server = make_api(rig.settings, prometheus_url=f"http://127.0.0.1:{free_ports(1)[0]}")
    page = await visit(url=server.url, path="/dashboard")
    visit.watched[-1][0].allowed += ["401", "503"]  # type: ignore[attr-defined]  # set by the fixture
    await page.get_by_label("Key or token").fill(server.keys["read"])
    await page.keyboard.press("Enter")
    problem = page.locator("#board-problem")
    await expect(problem).to_contain_text("No numbers from Prometheus: it does not answer")
    await expect(problem).to_contain_text("api.prometheus_url")
    await expect(page.locator("#live-words")).to_have_text("Not live")
    await expect(page.get_by_role("heading", name="Overview", level=2)).to_be_visible()
    async with page.expect_response(lambda answer: "/v1/dashboards/overview" in answer.url):
        await problem.get_by_role("button", name="Try again").click()
    await expect(problem).to_be_visible()


WRITTEN = [
    (0.0421, "s", "42.1 ms"), (1.2, "s", "1.2 s"), (0, "s", "0 s"), (600, "s", "10 min"), (2e-5, "s", "20 µs"),
    (7200, "s", "2 h"), (42_100, "us", "42.1 ms"), (2_000_000, "us", "2 s"), (0, "bytes", "0 B"),
    (1536, "bytes", "1.5 KiB"), (5 << 30, "bytes", "5 GiB"), (0.991, "share", "99.1 %"), (0, "share", "0 %"),
    (12.3, "per_s", "12.3/s"), (0.05, "per_s", "3/min"), (0.001, "per_s", "3.6/h"), (0, "per_s", "0/s"),
    (12_345, "number", "12,345"), (0.5, "number", "0.5"), (-3, "number", "−3"), (None, "number", "–"),
]  # fmt: skip
MARKED = [
    (0, 0.9, "s", ["0", "250 ms", "500 ms", "750 ms"]), (0, 1, "share", ["0", "25 %", "50 %", "75 %", "100 %"]),
    (0, 2200, "number", ["0", "1,000", "2,000"]), (0, 0.002, "per_s", ["0", "0.05/min", "0.1/min"]),
    (0, 3 << 20, "bytes", ["0", "1 MiB", "2 MiB", "3 MiB"]), (-1, 1, "number", ["−1", "−0.5", "0", "0.5", "1"]),
]  # fmt: skip


async def test_values_and_axes_have_the_right_units(watching: ApiServer, visit: Callable[..., Any]) -> None:
    page = await visit(url=watching.url, path="/dashboard")
    body = """async ([written, marked]) => {
      const units = await import("/ui/units.js");
      return [written.map(([value, unit]) => units.written(value, unit)), marked.map((row) => units.ticks(...row))];
    }"""
    words, marks = await page.evaluate(body, [[row[:2] for row in WRITTEN], [row[:3] for row in MARKED]])
    assert words == [row[2] for row in WRITTEN]
    assert [one["words"] for one in marks] == [row[3] for row in MARKED]
    assert all(row[0] <= at <= row[1] for row, one in zip(MARKED, marks, strict=True) for at in one["values"])
