"""Chromium for tests and pictures, and what a page did while it was open."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Page, Response, async_playwright

#: A real page may ask this machine only; the other switches keep Chromium itself from asking anybody.
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def executable() -> str | None:
    """Where Chromium is, or None."""
    return shutil.which("chromium")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A headless Chromium, closed at the end."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=executable(), args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Watched:
    """Hosts a page asked, what it complained of, statuses that are errors. `allowed` words are expected."""

    page: Page
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    @classmethod
    def on(cls, page: Page) -> Watched:
        """Begin to watch."""
        watched = cls(page)
        page.on("request", lambda request: watched.hosts.add(urlsplit(request.url).netloc))
        page.on("console", watched._on_console)
        page.on("pageerror", lambda error: watched.complaints.append(f"error in the page: {error}"))
        page.on("dialog", watched._dialog)
        page.on("response", watched._answered)
        return watched

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "trace"}:
            self.complaints.append(message.text)

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status} of {response.url}")

    async def _dialog(self, dialog: Any) -> None:
        self.complaints.append(f"a dialog: {dialog.message}")
        await dialog.dismiss()

    def hold(self, host: str) -> None:
        """Fail where anybody but `host` was asked, or the page complained of what was not allowed."""
        assert self.hosts <= {host, ""}, self.hosts  # data: and blob: have no host
        left = [one for one in self.complaints if not any(words in one for words in self.allowed)]
        assert not left, left
