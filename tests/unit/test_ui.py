"""The page's files: what is served, how, and what they must not hold."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from streams.api import ui

FOLDER = Path(ui.__file__).parent
FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in {".html", ".css", ".js", ".svg"})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application with the page."""
    app = FastAPI()
    ui.mount(app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as made:
        yield made


async def test_the_page_is_at_ui_with_and_without_slash(client: httpx.AsyncClient) -> None:
    moved = await client.get("/ui")
    assert (moved.status_code, moved.headers["location"]) == (307, "ui/"), "relative: a proxy may have a prefix"
    page = await client.get("/ui/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert (await client.get("/ui/index.html")).text == page.text


async def test_nothing_inline_and_nobody_else(client: httpx.AsyncClient) -> None:
    for name in sorted(ui.names()):
        policy = (await client.get(f"/ui/{name}")).headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "name", ["__init__.py", "..%2f__init__.py", "..%2fapi/app.py", "nothing.js", "a/b.js", "%00.js"]
)
async def test_what_is_not_there_is_a_problem(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/ui/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "urn:interest-streams:problem:not-found"
    assert answer.headers["content-security-policy"] == ui.POLICY


async def test_plotlys_own_bundle_compressed_and_asked_again(client: httpx.AsyncClient) -> None:
    plain = await client.get("/ui/plotly.min.js", headers={"accept-encoding": "identity"})
    assert plain.text.startswith("/**\n* plotly.js")
    assert "content-encoding" not in plain.headers
    packed = await client.get("/ui/plotly.min.js", headers={"accept-encoding": "gzip"})
    assert packed.content == plain.content
    assert packed.headers["content-encoding"] == "gzip"
    assert len(ui.asset("plotly.min.js").gzipped) < len(plain.content) / 3
    again = await client.get("/ui/plotly.min.js", headers={"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    old = await client.get("/ui/app.js", headers={"if-none-match": plain.headers["etag"]})
    assert old.status_code == 200, "another file's validator"
    assert gzip.decompress(ui.asset("app.js").gzipped) == (FOLDER / "app.js").read_bytes()


def test_plotly_still_looks_for_its_style_sheets_where_the_page_has_them() -> None:
    bundle = ui.asset("plotly.min.js").body.decode()
    (sheet,) = re.findall(r'MAP_STYLE = "(\w+)"', (FOLDER / "charts.js").read_text())
    assert f'getElementById("{sheet}")' in bundle, "the sheet's id has changed: charts.js names it"
    assert ".no-inline-styles" in bundle


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_small_and_hold_no_markup_from_text_and_no_other_host(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 300
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        " style=",
    ):
        assert forbidden not in text
    assert re.findall(r"(?:https?:)?//[\w-]+\.[\w.-]+", text.replace("http://www.w3.org/2000/svg", "")) == []
    assert not re.search(r"\son\w+=", text), "listeners are added in scripts"
    if path.suffix == ".html":
        assert not re.search(r"<script(?![^>]*\ssrc=)", text)


def test_a_hundred_who_ask_at_once_for_a_new_file_have_it_packed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[int] = []
    cache = ui.asset.cache
    assert cache is not None

    def compress(body: bytes, *args: Any, **options: Any) -> bytes:
        packed.append(len(body))
        return gzip.compress(body, 1)

    monkeypatch.setattr(ui, "gzip", SimpleNamespace(compress=compress))
    cache.clear()
    try:
        with ThreadPoolExecutor(100) as threads:
            found = list(threads.map(ui.asset, ["plotly.min.js"] * 100))
    finally:
        cache.clear()
    assert len(packed) == 1
    assert len({id(one) for one in found}) == 1
