"""Batches in their order: what fails is raised, and nothing stays at work behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from streams.broker.in_order import Before, in_order


async def test_a_failure_is_raised_and_closes_where_the_batches_come_from() -> None:
    closed: list[bool] = []

    async def batches() -> AsyncGenerator[Any]:
        try:
            while True:
                yield SimpleNamespace(at_work=nullcontext)
        finally:
            closed.append(True)

    async def fails(_: Any, begin: Any, before: Before) -> None:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        await in_order(batches(), fails)
    assert closed == [True]
