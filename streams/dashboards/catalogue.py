"""All dashboards, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from streams.dashboards.api import API
from streams.dashboards.encoder import ENCODER
from streams.dashboards.freshness import FRESHNESS
from streams.dashboards.overview import OVERVIEW
from streams.dashboards.panels import Dashboard
from streams.dashboards.quality import QUALITY
from streams.dashboards.store import STORE

DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW, FRESHNESS, QUALITY, ENCODER, STORE, API)
