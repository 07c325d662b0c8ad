"""All dashboards, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from streams.dashboards.overview import OVERVIEW
from streams.dashboards.panels import Dashboard

DASHBOARDS: Final[tuple[Dashboard, ...]] = (OVERVIEW,)
