"""Every query of every Grafana dashboard, asked of a real Prometheus while worker, learner and API are at work."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from deploy.embedded.ports import free_ports
from deploy.grafana.__main__ import FOLDER
from streams.api.dashboard_models import PanelSeries
from streams.api.dashboards import DashboardReader
from streams.api.panel_sources import PanelSource
from streams.api.prometheus_source import PrometheusSource
from streams.api.scraped_source import ScrapedSource
from streams.base.jobs import JOBS
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.queries import WINDOW
from tests.fixtures.api import ApiServer
from tests.fixtures.learner import LearnerProcess
from tests.fixtures.path import Rig
from tests.fixtures.prometheus import needs_prometheus, prometheus_with

pytestmark = [pytest.mark.integration, needs_prometheus, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]

ANSWERED_S: Final = 60.0
#: What Grafana puts in for its variables: all jobs, all instances, a window of some scrapes.
CHOSEN: Final = {"$job": ".*", "$instance": ".*", WINDOW: "30s"}
#: What has no value where the level `learned` is off, as here; tests/integration/test_learned_level.py sees it counted.
OFF: Final = re.compile("interests_learned_(round_seconds|call_seconds|model_info)")
OFF_PANELS: Final = frozenset({"learned_seconds"})
TITLES: Final = (
    "The keeper saved two penalties", "A late goal wins the league", "Clay courts and a five-set match",
    "A drummer on the road for forty years", "The saxophone, taken apart", "Green tea without bitterness",
    "Bread that rises over night", "How a pour-over is made", "A hand grinder for the road", "Vinyl is pressed again",
    "A kettle that holds its heat", "A stadium is built of wood", "Soup for the first cold day",
)  # fmt: skip


def expressions() -> Iterator[tuple[str, str]]:
    """A name and the PromQL of every target of every file, as Grafana would ask it."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in CHOSEN.items():
                    expression = expression.replace(variable, value)
                yield f"{path.stem}: {panel['title']} {target['refId']}", expression


class Traffic:
    """People, callers and what goes wrong, a little of everything at each round."""

    def __init__(self, rig: Rig, api: ApiServer) -> None:
        self._rig, self._numbers = rig, count()
        self.key = {"authorization": f"Bearer {api.keys['all']}"}
        self._http = httpx.AsyncClient(base_url=api.url, timeout=20.0, trust_env=False)
        self._run = rig.unique_run()
        self._ids = [f"{self._run}-i{n}" for n in range(len(TITLES))]

    async def describe(self) -> None:
        now = int(time.time() * 1000)
        items = [
            {"item_id": name, "title": title, "categories": ["Things", title.split()[1]], "ts": now - 3_600_000 * n}
            for n, (name, title) in enumerate(zip(self._ids, TITLES, strict=True))
        ]
        await self._rig.items(items)
        await self._rig.items_known(len(items))

    async def round(self) -> None:
        """One round of it: a few people come again and again, so that there are examples of what they choose."""
        number = next(self._numbers)
        ana, ben, eve = (f"{self._run}-{who}" for who in (f"ana-{number % 3}", f"ben-{number % 3}", f"eve-{number}"))
        new, liked, hidden = (self._ids[(number // 3 + n) % len(self._ids)] for n in (0, 5, 9))
        later = int(time.time() * 1000) + 3_600_000
        unknown = [] if number else [{"user_id": eve, "type": "click", "item_id": f"{self._run}-unknown"}]
        await self._rig.produce(
            self._rig.clicks,
            [
                {"user_id": ana, "type": "click", "item_id": new},
                {"user_id": ben, "type": "impression", "items": self._ids[:8], "clicked": [self._ids[number % 8]]},
                {"user_id": ben, "type": "like", "item_id": liked},
                {"user_id": eve, "type": "click", "item_id": new, "ts": later, "colour": "blue"},
                {"user_id": eve, "type": "hide", "item_id": hidden},
                *unknown,
            ],
        )
        await self._rig.produce(
            self._rig.comments,
            [{"user_id": eve, "type": "comment", "item_id": liked, "text": f"I love it, {number} times over"}],
        )
        await self._rig.produce_raw(self._rig.clicks, [(eve.encode(), b"{")])
        await self._ask(ana, number)
        httpx.get(f"{self._rig.qdrant.url}/collections", timeout=5, trust_env=False).raise_for_status()

    async def _ask(self, user: str, number: int) -> None:
        event = {"user_id": user, "type": "search", "text": f"a hand grinder, number {number}"}
        ranked = {"items": self._ids[:5]}
        for method, path, body in (
            ("POST", "/v1/events", event),
            ("GET", f"/v1/users/{user}/interests", None),
            ("GET", f"/v1/users/{user}/recommendations", None),
            ("POST", f"/v1/users/{user}/rank", ranked),
            ("POST", "/v1/audiences/search", {"text": f"tea and {number} more"}),
            ("DELETE", f"/v1/users/{self._run}-gone-{number}", None),
        ):
            answer = await self._http.request(method, path, json=body, headers=self.key)
            assert answer.is_success, (path, answer.text)
        assert (await self._http.get(f"/v1/users/{user}/interests")).status_code == 401
        async with self._http.stream("GET", f"/v1/users/{user}/live", headers=self.key) as live:
            assert live.status_code == 200
            await anext(live.aiter_bytes())

    async def close(self) -> None:
        await self._http.aclose()


def scraped(targets: Mapping[str, str], **more: Mapping[str, Any]) -> str:
    """A configuration that scrapes `host:port` by job every second; `more` are further fields of a job, by its name."""
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [target]}], **more.get(job, {})}
        for job, target in targets.items()
    ]
    return yaml.safe_dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs})


async def ask(url: str, expression: str) -> list[tuple[dict[str, str], float]]:
    """Labels and value of each sample that an expression has now; fails where Prometheus refuses it."""
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        answer = (await http.post(f"{url}/api/v1/query", data={"query": expression})).json()
    assert answer["status"] == "success", (expression, answer)
    return [(one["metric"], float(one["value"][1])) for one in answer["data"]["result"]]


def promtool_says(page: str) -> str:
    """What `promtool check metrics` has to say of a page of metrics."""
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, text=True, capture_output=True, timeout=20, check=False
    )
    return done.stdout + done.stderr


async def every_panel_is_drawn(source: PanelSource, traffic: Traffic) -> None:
    """The page's numbers, whichever source they come from: each panel has a line with a value, each job is up.

    A scrape that comes late, on a busy machine, leaves a gap in which nothing grows: traffic goes on until it is over.
    """
    reader, end = DashboardReader(source, every_s=1.0), time.monotonic() + ANSWERED_S
    while missing := await _not_drawn(reader):
        assert time.monotonic() < end, (source.name, missing)
        await traffic.round()


async def _not_drawn(reader: DashboardReader) -> list[tuple[str, str]]:
    """The jobs that are not up, and the panels without a value."""
    missing = []
    for board in DASHBOARDS:
        answer = await reader.read(board, "5m", int(time.time() * 1000))
        missing += [
            (board.key, job) for job in JOBS if (job, 1, 1) not in [(j.job, j.known, j.up) for j in answer.jobs]
        ]
        missing += [
            (board.key, panel.key) for panel in answer.panels if panel.key not in OFF_PANELS and not any(_values(panel))
        ]
    return missing


def _values(panel: PanelSeries) -> Iterator[bool]:
    return (value is not None for line in panel.lines for value in line.values)


@pytest.fixture
def learner(path: Rig, tmp_path: Path) -> Iterator[LearnerProcess]:
    """A learner of what the running path's worker makes, which writes and publishes often."""
    often = path.settings.learning.model_copy(
        update={"metrics_port": free_ports(1)[0], "commit_s": 0.2, "publish_s": 1.0}
    )
    process = LearnerProcess(path.settings.model_copy(update={"learning": often}), tmp_path / "learner.log")
    process.start()
    yield process
    process.kill()


async def test_every_query_of_every_dashboard_is_answered(
    path: Rig, learner: LearnerProcess, api: ApiServer, tmp_path: Path
) -> None:
    traffic = Traffic(path, api)
    pages = {
        "worker": path.workers[0].metrics_url, "learner": learner.url, "api": api.url,
        "triton": path.triton.metrics_url, "qdrant": path.qdrant.url,
    }  # fmt: skip
    targets = {job: urlsplit(url).netloc for job, url in pages.items()}
    config = scraped(targets, api={"authorization": {"credentials": api.keys["all"]}})
    own = ScrapedSource(
        {"worker": pages["worker"], "learner": f"http://{targets['learner']}/metrics",
         "triton": f"http://{targets['triton']}/metrics", "qdrant": f"http://{targets['qdrant']}/metrics"},
        every_s=1.0, own_page=lambda: httpx.get(f"{api.url}/metrics", headers=traffic.key).content, failed=print,
    )  # fmt: skip
    own.start()
    with prometheus_with([], tmp_path, config) as prometheus:
        theirs = PrometheusSource(prometheus, token=None, deadline_s=20, failed=print)
        try:
            await traffic.describe()
            missing = {name: expression for name, expression in expressions() if not OFF.search(expression)}
            assert len(missing) > 80
            end = time.monotonic() + ANSWERED_S
            while missing and time.monotonic() < end:
                await traffic.round()
                for name, expression in list(missing.items()):
                    if any(math.isfinite(value) for _, value in await ask(prometheus, expression)):
                        del missing[name]
            assert missing == {}, learner.log()
            assert {labels["job"]: up for labels, up in await ask(prometheus, "up")} == dict.fromkeys(pages, 1.0)
            await every_panel_is_drawn(theirs, traffic)
            await every_panel_is_drawn(own, traffic)
            (letters,) = await ask(prometheus, 'sum(increase(interests_dead_letters_total{reason="bad_json"}[1m]))')
            assert letters[1] > 0, "the first of a kind grows from 0"
        finally:
            await traffic.close()
            await theirs.close()
            await own.close()
    for job in ("worker", "learner", "api"):
        page = httpx.get(f"http://{targets[job]}/metrics", headers=traffic.key, trust_env=False).raise_for_status()
        assert promtool_says(page.text) == "", job
    await path.settled()
