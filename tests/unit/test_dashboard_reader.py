"""The dashboards over HTTP: moments, states and reasons, scrapes of the API's own, and a Prometheus that is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.api.app import create_app
from streams.api.dashboards import MOST_LINES, RANGES, DashboardReader, grid_of
from streams.api.keys import make_key
from streams.api.problems import ApiProblem
from streams.api.prometheus_source import MOST_BYTES, PrometheusSource
from streams.api.scraped_source import WANTED, NotRead, ScrapedSource, samples_of
from streams.base.errors import ConfigurationError
from streams.dashboards.evaluate import Grid
from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Value
from streams.settings.service import Settings, load
from tests.unit.test_api_middleware import NOWHERE

T = 1_700_000_000_000


def test_a_range_has_few_moments_and_ends_now() -> None:
    for name, (length_s, _) in RANGES.items():
        for every_s in (5.0, 15.0, 60.0):
            grid = grid_of(name, every_s, T + 7_321)
            assert len(grid.times_ms) <= 242
            assert 0 <= T + 7_321 - grid.end_ms <= 15_000
            assert length_s * 1000 - grid.step_ms <= grid.end_ms - grid.start_ms <= length_s * 1000
            assert grid.window_ms >= max(4 * every_s * 1000, grid.step_ms)
            assert len(grid.times_ms) == (grid.end_ms - grid.start_ms) // grid.step_ms + 1


class Pages:
    """Pages of metrics by path, as a server answers them; what is not there is 404."""

    def __init__(self, **pages: str) -> None:
        self.pages: dict[str, str] = pages
        self.app = Starlette(routes=[Route("/{name}/metrics", self._answer)])

    async def _answer(self, request: Request) -> Response:
        page = self.pages.get(request.path_params["name"])
        return Response(page or "", status_code=200 if page is not None else 404)


@asynccontextmanager
async def scraped(pages: Pages, *jobs: str) -> AsyncIterator[tuple[ScrapedSource, list[str]]]:
    failed: list[str] = []
    moments = count(T, 5000)
    source = ScrapedSource(
        {job: f"http://{job}:1/{job}/metrics" for job in jobs}, every_s=5, own_page=lambda: b"",  # type: ignore[misc]  # jobs
        failed=failed.append, clock_ms=lambda: next(moments) // 5000 // (len(jobs) + 1) * 5000,
        transport=httpx.ASGITransport(pages.app),
    )  # fmt: skip
    try:
        yield source, failed
    finally:
        await source.close()


LAG = Panel(
    key="lag", title="Lag", about="", unit="number", warn=10, bad=100,
    lines=(Line(Value("interests_lag_records", by=("topic",)), "{topic}"),),
)  # fmt: skip
TRITON = Panel(
    key="triton", title="Triton", about="", unit="per_s", lines=(Line(Rate("nv_inference_count"), "texts"),),
)  # fmt: skip
BOARD = Dashboard(key="board", title="Board", about="", panels=(LAG, TRITON))


async def read(source: ScrapedSource, board: Dashboard = BOARD) -> Any:
    [newest] = {one.times_ms[-1] for one in source._history.select("up", {"job": "api"})}
    return await DashboardReader(source, every_s=5).read(board, "5m", int(newest) + 1)


async def test_states_are_those_of_the_worst_line_now_and_why_there_is_no_data_is_said() -> None:
    pages = Pages(worker="")
    async with scraped(pages, "worker", "triton") as (source, failed):
        for lag, state in ((9, "well"), (10, "warn"), (100, "bad")):
            pages.pages["worker"] = f'interests_lag_records{{topic="a"}} {lag}\ninterests_lag_records{{topic="b"}} 1\n'
            await source.scrape()
            answer = await read(source)
            lines = answer.panels[0]
            assert (lines.state, lines.reason) == (state, None)
            assert [(line.name, line.now) for line in lines.lines] == [("a", lag), ("b", 1.0)]
        triton = answer.panels[1]
        assert triton.state == "none"
        missing = "http://triton:1/triton/metrics answers with status 404."
        assert triton.reason == f"No answer to scrapes of triton: {missing}"
        assert set(failed) == {"triton"}
        pages.pages["triton"] = "# TYPE nothing counter\nnothing 1\n"
        await source.scrape()
        assert (await read(source)).panels[1].reason == "Not counted yet by triton."
        del pages.pages["worker"]
        await source.scrape()
        gone = await read(source)
        assert gone.panels[0].reason.startswith("No answer to scrapes of worker:")
        assert any(value is not None for value in gone.panels[0].lines[0].values), "what was before stays drawn"
        jobs = {one.job: (one.known, one.up) for one in gone.jobs}
        assert jobs == {"worker": (1, 0), "triton": (1, 1), "api": (1, 1)}


async def test_a_job_that_nobody_scrapes_is_named() -> None:
    async with scraped(Pages()) as (source, _):
        await source.scrape()
        [lag, _] = (await read(source)).panels
        assert lag.reason == (
            "Nobody scrapes worker and learner: Prometheus has no such job, or `api.metrics_urls` does not name it."
        )


async def test_of_many_lines_the_largest_are_shown() -> None:
    page = "".join(f'interests_lag_records{{topic="t{n:02}"}} {n}\n' for n in range(40))
    async with scraped(Pages(worker=page), "worker") as (source, _):
        await source.scrape()
        [lag, _] = (await read(source)).panels
        assert [line.name for line in lag.lines] == [f"t{n}" for n in range(40 - MOST_LINES, 40)]
        assert (lag.left_out, lag.left_out_at_zero, lag.state) == (40 - MOST_LINES, False, "warn")


async def test_lines_that_stood_at_nought_are_not_all_shown_and_a_peak_that_is_over_is() -> None:
    pages = Pages()
    async with scraped(pages, "worker") as (source, _):
        for peak in (7, 0, 0):
            zeros = "".join(f'interests_lag_records{{topic="a{n}"}} 0\n' for n in range(9))
            pages.pages["worker"] = f'{zeros}interests_lag_records{{topic="z"}} {peak}\n'
            await source.scrape()
        [lag, _] = (await read(source)).panels
        assert [line.name for line in lag.lines] == ["a0", "a1", "a2", "z"]
        assert (lag.left_out, lag.left_out_at_zero, lag.state) == (6, True, "well")


AGE = Panel(
    key="age", title="Age", about="", unit="s", lines=(Line(Quantile(0.5, "interests_age_at_apply_seconds"), "median"),)
)  # fmt: skip


async def test_a_histogram_that_stood_still_is_not_called_missing() -> None:
    pages = Pages(worker="")
    board = Dashboard(key="age", title="", about="", panels=(AGE,))
    async with scraped(pages, "worker") as (source, _):
        for _ in range(3):
            await source.scrape()
        assert (await read(source, board)).panels[0].reason == "Not counted yet by worker."
        for bound in ("1.0", "+Inf"):
            pages.pages["worker"] += f'interests_age_at_apply_seconds_bucket{{le="{bound}"}} 3\n'
        for _ in range(3):
            await source.scrape()
        [age] = (await read(source, board)).panels
        assert (age.state, age.reason) == ("none", "There was nothing to count just now.")


async def test_lines_that_are_0_throughout_are_left_out_where_the_panel_says_so() -> None:
    board = replace(BOARD, panels=(replace(LAG, hide_zero=True),))
    for values, shown in (((0, 3, 0), ["t1"]), ((0,), ["t0"])):
        page = "".join(f'interests_lag_records{{topic="t{n}"}} {value}\n' for n, value in enumerate(values))
        async with scraped(Pages(worker=page), "worker") as (source, _):
            await source.scrape()
            [lag] = (await read(source, board)).panels
            assert ([line.name for line in lag.lines], lag.left_out) == (shown, len(values) - 1)


def test_only_what_the_dashboards_ask_for_is_read_of_a_page() -> None:
    page = b'# HELP up x\nup 1\nother{le="1"} 1\ninterests_lag_records{topic="a b",partition="1"} 3.0\n'
    [sample] = samples_of(page)
    assert (sample.name, sample.labels, sample.value) == (
        "interests_lag_records", {"topic": "a b", "partition": "1"}, 3.0,
    )  # fmt: skip
    assert "interests_age_at_apply_seconds_bucket" in WANTED
    with pytest.raises(NotRead):
        samples_of(b"interests_lag_records{topic= 3.0\n")


async def ask(answer: Response) -> tuple[Any, list[str]]:
    """What one query gets of a server that always answers like this."""
    failed: list[str] = []

    async def whatever(_: Request) -> Response:
        return answer

    app = Starlette(routes=[Route("/{path:path}", whatever)])
    source = PrometheusSource(
        "http://prometheus", token=None, deadline_s=2, failed=failed.append, transport=httpx.ASGITransport(app)
    )
    try:
        return (await source.ask([Value("up")], Grid(T, T + 5000, 5000, 20_000)))[0], failed
    finally:
        await source.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Response("", 401), "api.prometheus_token_file"),
        (Response("", 404), "the address before `/api/v1`"),
        (Response("", 302), "status 302"),
        (Response("<html>"), "is no Prometheus"),
        (Response('{"data": {"result": [{"metric": {"a": 1}, "values": []}]}}'), "is no Prometheus"),
        (Response("", 503), "status 503"),
        (Response(b"x" * (MOST_BYTES + 1)), "bytes"),
    ],
    ids=["401", "404", "302", "html", "shape", "503", "large"],
)
async def test_a_prometheus_that_answers_otherwise_is_a_problem_that_says_what_to_do(
    answer: Response, says: str
) -> None:
    with pytest.raises(ApiProblem) as raised:
        await ask(answer)
    assert (raised.value.status, raised.value.kind) == (503, "prometheus-away")
    assert says in raised.value.detail
    assert "api.prometheus_url" in raised.value.detail


async def test_a_query_that_prometheus_refuses_leaves_the_other_panels() -> None:
    answer, failed = await ask(Response('{"status": "error"}', 422))
    assert "the log of the API says why" in answer.reason
    assert failed == ["prometheus"]


def app_of(**api: Any) -> Any:
    return create_app(Settings(api={"port": 8080, **api}, **NOWHERE))  # type: ignore[arg-type]  # sections as dictionaries


@asynccontextmanager
async def client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        yield http
    await app.state.backends.close()


async def test_over_http_a_request_chooses_a_dashboard_and_a_range_only() -> None:
    async with client(app_of()) as http:
        listed = (await http.get("/v1/dashboards")).json()
        assert (listed["source"], listed["kept_s"]) == ("scrapes", 3600)
        assert listed["dashboards"][0]["key"] == "overview"
        answer = await http.get("/v1/dashboards/overview", params={"range": "5m", "query": "up", "url": "http://x"})
        assert answer.status_code == 200
        assert {panel["state"] for panel in answer.json()["panels"]} == {"none"}
        assert (await http.get("/v1/dashboards/up")).json()["type"].endswith(":unknown-dashboard")
        assert (await http.get("/v1/dashboards/overview?range=1y")).status_code == 422
        app: Any = http._transport.app  # type: ignore[attr-defined]
        for _ in range(2):
            await app.state.backends.dashboards.source.scrape()
        jobs = (await http.get("/v1/dashboards/api?range=1h")).json()["jobs"]
        assert jobs == [{"job": "api", "known": 1, "up": 1, "reason": None}]


async def test_with_keys_it_needs_what_metrics_needs(tmp_path: Path) -> None:
    key, line = make_key("reader", frozenset({"read"}))
    other, other_line = make_key("sender", frozenset({"ingest"}))
    (tmp_path / "keys").write_text(f"{line}\n{other_line}\n")
    async with client(app_of(keys_file=tmp_path / "keys")) as http:
        for path in ("/v1/dashboards", "/v1/dashboards/overview", "/metrics"):
            statuses = [
                (await http.get(path, headers={"X-API-Key": one} if one else {})).status_code
                for one in ("", other, key)
            ]
            assert statuses == [401, 403, 200], path


async def test_a_prometheus_that_is_away_is_a_problem_document_and_counted() -> None:
    async with client(app_of(prometheus_url="http://user:secret@127.0.0.1:9")) as http:
        assert (await http.get("/v1/dashboards")).json()["source"] == "prometheus"
        answer = await http.get("/v1/dashboards/overview")
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.json()["type"].endswith(":prometheus-away")
        assert "secret" not in answer.text
        assert answer.headers["retry-after"] == "5"
        counted = 'interests_api_dashboard_failures_total{source="prometheus"}'
        assert counted in (await http.get("/metrics")).text


@pytest.mark.parametrize(
    "wrong",
    [
        {"prometheus_url": "127.0.0.1:9090"}, {"prometheus_url": "file:///etc/passwd"}, {"prometheus_url": "http://"},
        {"metrics_urls": {"worker": "http://a, ftp://b"}}, {"metrics_urls": {"database": "http://a"}},
        {"prometheus_url": "http://a b"}, {"prometheus_url": "http://[::1"}, {"prometheus_url": "http://a:x"},
    ],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_at_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="api"):
        load(api=wrong)
