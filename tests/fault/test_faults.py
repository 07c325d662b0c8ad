"""Five minutes of `make fault`, in small: kills at every point, a zombie, outages, odd input; mutants that must fail.

None of them depends on timing: workers die and freeze at fault points, and what is compared is compared when all is
quiet.
"""

from __future__ import annotations

import pytest

from tests.fault.conftest import Inject

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]

on_one_broker = pytest.mark.parametrize("broker", ["tansu"], indirect=True)

EVERYWHERE = ["zombie"]
ON_ONE = ["kill-at-points", "qdrant-busy", "triton-wrong", "triton-poison-text", "produce-answers-dropped",
          "large-records", "erase-replayed", "null-headers", "hostile-waits"]  # fmt: skip
LEARNED = ["learned-killed", "learned-takeover", "learned-model-gone", "learned-model-swapped"]


async def is_fine(inject: Inject, name: str, *, more_than: int) -> None:
    """A fault costs nothing, on so many events that it had something to do."""
    result = await inject(name)
    assert result.fine, result.problem
    assert result.verdict.events > more_than


@pytest.mark.parametrize("name", EVERYWHERE)
async def test_no_effect_is_lost_or_doubled(inject: Inject, name: str) -> None:
    await is_fine(inject, name, more_than=50)


@on_one_broker
@pytest.mark.parametrize("name", ON_ONE)
async def test_no_effect_is_lost_or_doubled_by(inject: Inject, name: str) -> None:
    await is_fine(inject, name, more_than=20)


@on_one_broker
@pytest.mark.parametrize("name", LEARNED)
async def test_learned_nodes_are_of_everybodys_last_state(inject: Inject, name: str) -> None:
    await is_fine(inject, name, more_than=20)


@on_one_broker
async def test_without_the_fence_a_zombie_rolls_back_what_its_heir_did(inject: Inject) -> None:
    verdict = (await inject("zombie", mutant="no-fence")).verdict
    assert verdict.rolled_back > 0
    assert verdict.lost


@on_one_broker
async def test_acknowledged_before_it_is_written_an_event_is_lost_in_a_crash(inject: Inject) -> None:
    assert (await inject("kill-before-upsert", mutant="early-ack")).verdict.lost


@on_one_broker
async def test_without_applied_a_redelivered_event_counts_twice(inject: Inject) -> None:
    assert (await inject("kill-after-upsert", mutant="no-applied")).verdict.doubled > 0
