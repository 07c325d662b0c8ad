"""A newcomer asks for something in particular: through the API, the broker, the real encoder and back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httpx
import pytest

from tests.fixtures.api import ApiServer
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ROOT, Rig

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

PANS = {
    "pan-skillet": ("A cast-iron skillet, seasoned", "Heavy pan for searing steaks; lasts for generations."),
    "pan-casserole": ("Enamelled cast iron casserole", "For stews and bread."),
    "pan-care": ("How to clean a cast iron pan", "Salt, oil and no soap at all."),
    "pan-grill": ("Cast iron grill pan", "Ridges for grilling on the stove."),
}
PEOPLE, FAVOURITES = 24, 8


async def test_what_was_searched_for_is_among_the_first_ten_whatever_others_began_with(
    broker: Broker, make_rig: Callable[..., Rig], make_api: Callable[..., ApiServer]
) -> None:
    """The demo's catalogue and four items that match; the first likes of others make a prior and what is popular."""
    rig = make_rig(broker)
    await rig.prepare()
    rig.worker()
    catalogue = [json.loads(line) for line in (ROOT / "deploy/demo/catalogue.jsonl").read_text().splitlines()]
    pans = [{"item_id": name, "title": title, "description": text} for name, (title, text) in PANS.items()]
    await rig.items([*catalogue, *pans])
    await rig.items_known(len(catalogue) + len(pans), timeout_s=120)
    liked = [item["item_id"] for item in catalogue[:: len(catalogue) // FAVOURITES]][:FAVOURITES]
    now = int(time.time() * 1000)
    clicks = [
        {"user_id": f"u{n}", "type": "like", "item_id": liked[(n + k) % FAVOURITES], "ts": now - 1_000 * k}
        for n in range(PEOPLE)
        for k in range(4)
    ]
    await rig.produce(rig.clicks, clicks)
    await rig.until(lambda outcomes: outcomes.get("applied", 0) == len(clicks))

    api = make_api(rig.settings)
    async with httpx.AsyncClient(base_url=api.url, headers={"X-API-Key": api.keys["all"]}, timeout=30) as http:
        search = {"user_id": "cook", "type": "search", "text": "cast iron pan"}
        assert (await http.post("/v1/events", json=search)).status_code == 202
        await rig.until(lambda outcomes: outcomes.get("applied", 0) == len(clicks) + 1)
        end = time.monotonic() + 60
        while True:
            answer = (await http.get("/v1/users/cook/recommendations", params={"k": 10})).json()
            if answer["prior"]:  # the cohorts' own topic is folded beside the events
                break
            assert time.monotonic() < end, answer
            await asyncio.sleep(0.5)
    found = [item["item_id"] for item in answer["items"]]
    assert len(found) == 10
    assert PANS.keys() <= set(found), found
