"""An item that is deleted or described anew is so in every API process at once, not when its card is old."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

WITHIN_S = 20.0


def until(answers: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not answers():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_in_the_process_that_took_it_and_in_another(running_path: Rig, make_api: Callable[..., ApiServer]) -> None:
    servers = [make_api(running_path.settings, keys_file=None, rate="", cards_ttl_s=3600) for _ in range(2)]
    here, there = (f"{server.url}/v1/items/fleeting" for server in servers)

    def title(url: str) -> Any:
        answer = httpx.get(url, timeout=10)
        return answer.json()["title"] if answer.status_code == 200 else answer.status_code

    assert httpx.put(here, json={"title": "A probe of a day"}, timeout=20).status_code == 202
    until(lambda: title(here) == title(there) == "A probe of a day")
    assert httpx.put(here, json={"title": "A probe of two days"}, timeout=20).status_code == 202
    until(lambda: title(here) == title(there) == "A probe of two days")
    assert httpx.put(here, json={"deleted": True}, timeout=20).status_code == 202
    assert title(here) == 404, "at once, before a worker has read it"
    until(lambda: title(there) == 404)
    assert httpx.put(there, json={"title": "A probe that is back"}, timeout=20).status_code == 202
    until(lambda: title(here) == title(there) == "A probe that is back")
