"""Batches in their order: what fails is raised, and nothing stays at work behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from streams.broker.in_order import in_order, one_by_one


@pytest.mark.parametrize("taken", [in_order, one_by_one])
async def test_a_failure_is_raised_and_closes_where_the_batches_come_from(taken: Callable[..., Any]) -> None:
    closed: list[bool] = []

    async def batches() -> AsyncGenerator[Any]:
        try:
            while True:
                yield SimpleNamespace(at_work=nullcontext)
        finally:
            closed.append(True)

    async def fails(*_: Any) -> None:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        await taken(batches(), fails)
    assert closed == [True]
