"""The dashboards' numbers from Prometheus' own query API, at the address that `api.prometheus_url` names."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar

import httpx
import msgspec
import numpy as np
import structlog

from streams.api.bounded_body import PLAIN, bounded_body
from streams.api.panel_sources import JobState, SourceName, Unanswered
from streams.api.problems import ApiProblem
from streams.base.credentials import without_credentials
from streams.base.jobs import JOBS, Job
from streams.dashboards.evaluate import Curve, Grid
from streams.dashboards.history import Floats
from streams.dashboards.jobs import UP
from streams.dashboards.queries import Query

log = structlog.get_logger(__name__)
T = TypeVar("T")

MOST_BYTES: Final = 4 << 20
#: Lines of one answer; a panel shows ten of them.
MOST_CURVES: Final = 1000
_AT_ONCE: Final = 8
_RETRY_S: Final = 5.0
_MOST_WORDS: Final = 500  # of an error, in the log
_REFUSED: Final = frozenset({400, 422})
_NEEDS: Final = {
    401: "it asks who is there: name `api.prometheus_token_file`, or put user and password into the address",
    403: "it lets this service ask nothing: give it the right to",
    404: "there is no query API: set `api.prometheus_url` to the address before `/api/v1`",
}


_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Number = Annotated[str, msgspec.Meta(pattern=r"^[+-]?(Inf|NaN|[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)$")]
_Sample = tuple[_Moment, _Number]


class _Line(msgspec.Struct):
    metric: dict[str, str]
    values: list[_Sample] = []  # msgspec copies it
    value: _Sample | None = None


class _Data(msgspec.Struct):
    result: list[_Line]


class _Answer(msgspec.Struct):
    data: _Data


class PrometheusSource:
    """Asks a Prometheus. `failed` is called for each time that it did not answer."""

    name: SourceName = "prometheus"
    kept_s: float | None = None

    def __init__(
        self, url: str, *, token: str | None, deadline_s: float, failed: Callable[[str], None],
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._shown, self._deadline_s, self._failed = without_credentials(url), deadline_s, failed
        headers = {**PLAIN, "Authorization": f"Bearer {token}"} if token else PLAIN
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/", headers=headers, timeout=deadline_s, trust_env=False, transport=transport,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
        )  # fmt: skip

    def start(self) -> None:
        """There is nothing to begin."""

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    async def ask(self, queries: Sequence[Query], grid: Grid) -> list[Sequence[Curve] | Unanswered]:
        """The lines of each query at the moments of `grid`."""
        return await self._in_time(self._all(queries, grid))

    async def _in_time(self, answer: Awaitable[T]) -> T:
        """The deadline of the HTTP client is for each read alone."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await answer
        except TimeoutError:
            raise self._away(f"it did not answer within {self._deadline_s:g} s") from None

    async def _all(self, queries: Sequence[Query], grid: Grid) -> list[Sequence[Curve] | Unanswered]:
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._range(query, grid)) for query in queries]
        except* ApiProblem as away:
            raise away.exceptions[0] from None
        return [task.result() for task in asked]

    async def jobs(self) -> Mapping[Job, JobState]:
        """The jobs that it scrapes."""
        answer = await self._in_time(self._get("api/v1/query", {"query": UP}))
        if isinstance(answer, Unanswered):
            return {}
        ups: defaultdict[str, list[bool]] = defaultdict(list)
        for line in answer:
            if line.value is not None:
                ups[line.metric.get("job", "")].append(float(line.value[1]) > 0)
        return {job: JobState(len(ups[job]), sum(ups[job])) for job in JOBS if job in ups}

    async def _range(self, query: Query, grid: Grid) -> Sequence[Curve] | Unanswered:
        times = {"start": grid.start_ms / 1000, "end": grid.end_ms / 1000, "step": grid.step_ms / 1000}
        asked = {"query": query.promql(f"{grid.window_ms}ms"), "timeout": f"{self._deadline_s:g}s", **times}
        asked["limit"] = MOST_CURVES + 1  # Prometheus 2 does not know it, and sends all
        answer = await self._get("api/v1/query_range", asked)
        if isinstance(answer, Unanswered):
            return answer
        curves = [Curve(line.metric, _on_grid(line.values, grid)) for line in answer]
        return [curve for curve in curves if not np.isnan(curve.values).all()]

    async def _get(self, path: str, asked: dict[str, Any]) -> list[_Line] | Unanswered:
        try:
            async with self._http.stream("GET", path, params=asked) as response:
                body = await bounded_body(response, MOST_BYTES)
        except httpx.HTTPError as error:
            raise self._away(f"it does not answer ({type(error).__name__})") from error
        if body is None:
            raise self._away(f"an answer of it has more than {MOST_BYTES} bytes: has it too many lines?")
        if response.status_code in _REFUSED:
            words = body[:_MOST_WORDS].decode("utf-8", "replace")
            log.warning("query_refused", prometheus=self._shown, query=asked["query"], answer=words)
            self._failed("prometheus")
            return Unanswered("Prometheus could not work this out; the log of the API says why.")
        if response.status_code != httpx.codes.OK:
            raise self._away(_NEEDS.get(response.status_code, f"it answers with status {response.status_code}"))
        try:
            found = msgspec.json.decode(body, type=_Answer).data.result
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self._away(f"what answers is no Prometheus: {_NEEDS[404]}") from error
        if len(found) > MOST_CURVES:
            log.warning("too_many_lines", prometheus=self._shown, query=asked["query"], most=MOST_CURVES)
            self._failed("prometheus")
            return Unanswered(f"Prometheus has more than {MOST_CURVES} lines for this.")
        return found

    def _away(self, why: str) -> ApiProblem:
        log.warning("prometheus_away", prometheus=self._shown, reason=why)
        self._failed("prometheus")
        detail = (
            f"No numbers from Prometheus: {why}. See that it runs and that `api.prometheus_url` leads to it; without "
            "that setting the API scrapes the services itself."
        )
        return ApiProblem(503, "prometheus-away", detail, retry_after_s=_RETRY_S)


def _on_grid(values: Sequence[tuple[float, str]], grid: Grid) -> Floats:
    """Prometheus leaves out moments without a value: the values of all moments (n,), NaN where there is none."""
    found = np.full((grid.end_ms - grid.start_ms) // grid.step_ms + 1, np.nan)
    for at_s, text in values:
        place = round((at_s * 1000 - grid.start_ms) / grid.step_ms)
        if 0 <= place < len(found):
            found[place] = float(text)
    return found
