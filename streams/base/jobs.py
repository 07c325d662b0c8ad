"""The jobs whose metrics are scraped, by the names that Prometheus has for them."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Job: TypeAlias = Literal["worker", "learner", "api", "triton", "qdrant"]
JOBS: Final[tuple[Job, ...]] = get_args(Job)
