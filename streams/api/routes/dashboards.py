"""The dashboards: what there is to watch, and its numbers. The page `/dashboard` draws them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from streams.api.admission import guard
from streams.api.dashboard_examples import DASHBOARD, DASHBOARDS
from streams.api.dashboard_models import DashboardList, DashboardSeries, RangeName
from streams.api.dashboards import board_of
from streams.api.examples import example
from streams.api.params import ApiBackends, now_ms
from streams.api.problems import not_found
from streams.api.responses import json_response, problems

router = APIRouter(prefix="/v1/dashboards", tags=["health"], dependencies=guard("read"))


@router.get(
    "", response_model=DashboardList, responses={**problems(), 200: example(DASHBOARDS)}, summary="What is watched"
)  # fmt: skip
async def dashboards(backends: ApiBackends) -> Response:
    """All dashboards: their panels, units, thresholds and queries. The same as in Grafana."""
    return json_response(backends.dashboards.catalogue())


@router.get(
    "/{key}", response_model=DashboardSeries, responses={**problems(404), 200: example(DASHBOARD)},
    summary="A dashboard's numbers",
)  # fmt: skip
async def dashboard(
    backends: ApiBackends,
    key: Annotated[str, Path(max_length=64, description="The dashboard's key.", examples=["overview"])],
    time: Annotated[RangeName, Query(alias="range", description="How far back it goes.")] = "1h",
) -> Response:
    """Every panel's lines over a range of time that ends now, at most ten of a panel, and how each panel stands.

    They come from the Prometheus of `api.prometheus_url`, or from what this process has scraped. Only the queries of
    the catalogue are asked: a request chooses a dashboard and a range, nothing else.
    """
    board = board_of(key)
    if board is None:
        raise not_found("unknown-dashboard", "There is no dashboard by this key; GET /v1/dashboards names them.")
    return json_response(await backends.dashboards.read(board, time, now_ms()))
