"""A path with a store of its own, which starts with nobody in it, its API without keys, and pages of Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.chromium import Watched, chromium, executable
from tests.fixtures.api import ApiServer
from tests.fixtures.brokers import Broker
from tests.fixtures.path import Rig, started
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer

WAIT_MS = 20_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="package")
def rig(
    broker: Broker, triton: TritonServer, concept_file: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """A worker on the shared broker and Triton, and a Qdrant of its own; `ITEMS` are described, nobody is known."""
    if executable() is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    work = tmp_path_factory.mktemp("browser")
    qdrant = QdrantServer(work / "qdrant")
    qdrant.start()
    made = Rig(broker, triton, qdrant, work, concepts={"file": concept_file})

    try:
        with started(made):
            yield made
    finally:
        qdrant.kill()


@pytest.fixture(scope="package")
def server(rig: Rig, make_lasting_api: Callable[..., ApiServer]) -> ApiServer:
    """The API on it; everybody may do everything."""
    return make_lasting_api(rig.settings, keys_file=None)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser(server: ApiServer) -> AsyncIterator[Browser]:
    """One Chromium for all tests."""
    async with chromium() as made:
        yield made


Open = Callable[..., Any]


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, server: ApiServer) -> AsyncIterator[Open]:
    """Open the page of a user as a new visitor. At the end no other host was asked and nothing was complained of."""
    async with AsyncExitStack() as closing:
        watched: list[tuple[Watched, str]] = []

        async def open_page(user: str | None = None, url: str = server.url, path: str = "/ui", **context: Any) -> Page:
            opened = await browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
            closing.push_async_callback(opened.close)
            page = await opened.new_page()
            page.set_default_timeout(WAIT_MS)
            watched.append((Watched.on(page), urlsplit(url).netloc))
            await page.goto(f"{url}{path}#user={quote(user, safe='')}" if user is not None else f"{url}{path}")
            return page

        open_page.watched = watched  # type: ignore[attr-defined]  # tests that expect complaints allow them
        yield open_page
        for one, host in watched:
            one.hold(host)
