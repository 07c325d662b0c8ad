"""`python -m tests.browser.pictures --out docs/pictures`: pictures of the pages for the README.

Plays the demo's invented day into a stack of its own and takes the pages on a desktop and on a phone. Some titles are
Chinese: without a font for them (apt-get install fonts-wqy-zenhei) they are boxes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page
from rich.console import Console

from deploy.demo.data import invented
from deploy.demo.player import MetricsPages, Player
from deploy.embedded.stack import Stack
from streams.commands.connections import admin_of
from streams.commands.event_log import EventLog
from streams.commands.sender import sender_of
from tests.browser.chromium import chromium, executable

READER = "reader-bo-invented"
SEARCH = "a light tent for one night"
WAIT_MS = 60_000
SHOTS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 1240}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 1240}, "color_scheme": "dark", "device_scale_factor": 1.5},
}


DASHBOARD_HEIGHTS = {"desktop": 1040, "phone": 1240}
GO_ON_S, EVENTS_PER_S = 330, 6


async def play(stack: Stack, folder: Path) -> Path:
    """Send the invented day, moved so that it ends now, and wait until it is folded; gives the file of its events."""
    data = invented(folder)
    with EventLog([data.events]) as log:
        shift_ms = int(time.time() * 1000) - (log.last_ms or 0)
        async with sender_of(stack.settings) as sender, admin_of(stack.settings) as admin:
            pages = MetricsPages(stack.worker_metrics_url, stack.learner_metrics_url)
            player = Player(stack.settings, sender, admin, pages, Console(stderr=True), shift_ms)
            try:
                await player.items(data.items)
                await player.events(log.lines(), "events")
            finally:
                await player.close()
    return data.events


async def go_on(url: str, events: Path) -> None:
    """Send events of the day once more, as new ones, a few a second: what a dashboard looks like at work."""
    lines = [json.loads(line) for line in events.read_text("utf-8").splitlines()]
    end = time.monotonic() + GO_ON_S
    async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
        for number, event in enumerate(cycle(lines)):
            if time.monotonic() > end:
                return
            again = {**event, "event_id": f"again-{number}", "ts": int(time.time() * 1000)}
            (await http.post("/v1/events", json=again)).raise_for_status()
            await http.get(f"/v1/users/{event['user_id']}/recommendations")
            await asyncio.sleep(random.expovariate(EVENTS_PER_S))


async def take(browser: Browser, url: str, out: Path, name: str, context: dict[str, Any]) -> None:
    """One picture: the page of a reader who searches for something while we watch."""
    opened = await browser.new_context(**context)
    page = await opened.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(f"{url}/ui#user={READER}")
    await page.locator("#live-words").get_by_text("Live").wait_for()
    await page.locator("#tree-chart .slice").first.wait_for()
    await search(page)
    await page.mouse.move(0, 0)
    await page.evaluate("window.scrollTo(0, 0)")
    await page.wait_for_timeout(3000)  # marks of what is new have faded, charts have come to rest
    await page.screenshot(path=out / f"page-{name}.png")
    await opened.close()


async def take_dashboard(browser: Browser, url: str, out: Path, name: str, context: dict[str, Any]) -> None:
    """One picture of the dashboards, after the day."""
    height = DASHBOARD_HEIGHTS[name]
    opened = await browser.new_context(**{**context, "viewport": {**context["viewport"], "height": height}})
    page = await opened.new_page()
    page.set_default_timeout(WAIT_MS)
    await page.goto(f"{url}/dashboard#dashboard=overview&range=5m")
    await page.locator("#panel-age .chart .main-svg").first.wait_for()
    await page.wait_for_timeout(3000)
    await page.screenshot(path=out / f"dashboard-{name}.png")
    await opened.close()


async def search(page: Page) -> None:
    """Send a search from the page, and wait until the tree and the recommendations have moved."""
    await page.get_by_label("Search words").fill(SEARCH)
    async with page.expect_response(lambda answer: "/recommendations" in answer.url):
        await page.get_by_role("button", name="Send").click()
        await page.locator("#send-words").get_by_text("In the tree after").wait_for()


async def main(out: Path) -> int:
    """Start, play, look, stop."""
    if executable() is None:
        sys.stderr.write("no chromium on PATH: apt-get install chromium\n")
        return 2
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with Stack(Path(folder) / "stack", ports="free") as stack:
            events = await play(stack, Path(folder))
            await go_on(stack.api_url, events)
            async with chromium() as browser:
                for name, context in SHOTS.items():
                    await take_dashboard(browser, stack.api_url, out, name, context)
                for name, context in SHOTS.items():
                    await take(browser, stack.api_url, out, name, context)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.browser.pictures", description="Pictures of the page.")
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"), help="folder to write to")
    sys.exit(asyncio.run(main(parser.parse_args().out)))
