"""What a Prometheus or a page of metrics may not do to the API: hang it, fill its memory, or end a request with 500."""

from __future__ import annotations

import asyncio
import gzip
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest

from streams.api.dashboards import DashboardReader
from streams.api.panel_sources import JobState, Unanswered
from streams.api.problems import ApiProblem
from streams.api.prometheus_source import MOST_CURVES, PrometheusSource
from streams.api.scraped_source import MOST_BYTES, MOST_LINE, NotRead, ScrapedSource, samples_of
from streams.dashboards.evaluate import Grid, evaluate
from streams.dashboards.history import MOST_SERIES, History, Sample
from streams.dashboards.panels import Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Value

T = 1_700_000_000_000
GRID = Grid(T - 60_000, T, 15_000, 60_000)
LAG = Value("interests_lag_records")
BOARD = Dashboard(
    key="board", title="Board", about="",
    panels=(Panel(key="lag", title="Lag", about="", unit="number", lines=(Line(LAG, "lag"),)),),
)  # fmt: skip

Answer = Callable[[StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    """The address of a server that answers each request so."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass  # its end is the test's
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


def whole(body: bytes, *headers: str) -> Answer:
    async def answer(writer: StreamWriter) -> None:
        head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers])
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return answer


async def drips(writer: StreamWriter) -> None:
    """A byte each tenth of a second: no single read of it lasts."""
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\n#\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


def prometheus(url: str, failed: list[str]) -> PrometheusSource:
    return PrometheusSource(url, token=None, deadline_s=0.5, failed=failed.append)


async def test_a_prometheus_that_never_ends_is_away_for_every_question() -> None:
    failed: list[str] = []
    async with server(drips) as url:
        source = prometheus(url, failed)
        for question in (source.ask([LAG], GRID), source.jobs()):
            started = monotonic()
            with pytest.raises(ApiProblem, match="did not answer within"):
                await asyncio.wait_for(question, 5)
            assert monotonic() - started < 2
        await source.close()
    assert failed == ["prometheus"] * 2


def matrix(sample: str, *, lines: int = 1) -> bytes:
    return ('{"data":{"result":[' + ",".join([f'{{"metric":{{}},"values":[{sample}]}}'] * lines) + "]}}").encode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":' + b"[" * 100_000,
        matrix('[1700000000,"abc"]'),
        matrix('[1e308,"1"]'),
        matrix('[-1,"1"]'),
        b'{"data":{"result":[{"metric":{"a":"\xff"}}]}}',
        b"<html>welcome</html>",
    ],
)
async def test_what_is_no_answer_of_prometheus_is_never_a_defect_of_the_api(body: bytes) -> None:
    async with server(whole(body)) as url:
        source = prometheus(url, [])
        with pytest.raises(ApiProblem, match="no Prometheus"):
            await source.ask([LAG], GRID)
        await source.close()


async def test_of_a_query_with_very_many_lines_that_is_said_and_nothing_drawn() -> None:
    sample = f'[{GRID.end_ms // 1000},"1"]'
    for lines, refused in ((MOST_CURVES, False), (MOST_CURVES + 1, True)):
        async with server(whole(matrix(sample, lines=lines))) as url:
            source = prometheus(url, [])
            [answer] = await source.ask([LAG], GRID)
            assert isinstance(answer, Unanswered) is refused
            await source.close()


async def scraped(answer: Answer) -> JobState:
    async with server(answer) as url:
        source = ScrapedSource({"worker": url}, every_s=1, own_page=lambda: b"", failed=lambda _: None)
        await asyncio.wait_for(source.scrape(), 5)
        state = (await source.jobs())["worker"]
        await source.close()
    return state


async def test_a_page_of_metrics_that_never_ends_holds_up_no_other() -> None:
    assert (await scraped(drips)).reason.endswith("did not answer in time")


async def test_a_page_is_not_unpacked_and_one_that_is_none_counts_as_down() -> None:
    packed = gzip.compress(b"#" * (4 * MOST_BYTES))
    for answer in (whole(packed, "Content-Encoding: gzip"), whole(b"<html>welcome</html>")):
        state = await scraped(answer)
        assert (state.up, state.reason.partition(" ")[2]) == (0, "is no page of metrics")


def test_a_page_is_taken_with_so_many_series_and_no_more() -> None:
    page = "".join(f'interests_lag_records{{topic="{n}"}} 1\n' for n in range(MOST_SERIES))
    assert len(samples_of(page.encode())) == MOST_SERIES
    with pytest.raises(NotRead, match="series for the dashboards"):
        samples_of((page + "interests_lag_records 1\n").encode())
    with pytest.raises(NotRead, match="characters"):
        samples_of(b'interests_lag_records{topic="' + b"a" * MOST_LINE + b'"} 1\n')


def test_a_bucket_whose_bound_is_no_number_is_left_out() -> None:
    history = History(keep_s=600, every_s=15)
    for at_ms, grown in ((T - 30_000, 0.0), (T - 15_000, 4.0), (T, 8.0)):
        history.add(
            at_ms, {"job": "worker"},
            [Sample("h_bucket", {"le": bound}, grown) for bound in ("1", "+Inf", "abc", "nan")],
        )  # fmt: skip
    [curve] = evaluate(Quantile(0.5, "h"), history.select, GRID)
    assert curve.values[-1] == 0.5


async def test_who_asks_while_a_dashboard_is_read_waits_for_the_same_answer() -> None:
    asked = 0

    async def answer(writer: StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        await whole(b'{"data":{"result":[]}}')(writer)

    async with server(answer) as url:
        source = PrometheusSource(url, token=None, deadline_s=4, failed=lambda _: None)
        reader = DashboardReader(source, every_s=15)
        await reader.read(BOARD, "5m", T)
        once, asked = asked, 0
        leaves, *stay = [asyncio.create_task(reader.read(BOARD, "1h", T)) for _ in range(50)]
        await asyncio.sleep(0.02)
        leaves.cancel()
        answers = await asyncio.gather(*stay)
        assert {id(one) for one in answers} == {id(answers[0])}
        assert asked <= once + 1, "one question more: over a long range the value now is asked for by itself"
        await source.close()
