"""The arena on the suite's own servers, and a way to run a fault in a test."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from tests.fault.arena import Arena, Options
from tests.fault.catalogue import SCENARIOS
from tests.fault.models import InterestModels
from tests.fault.registry import Result, perform
from tests.fixtures.brokers import Broker, make_broker
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer

Inject = Callable[..., Awaitable[Result]]

#: What a fault lasts in a test; the command has the long values.
SHORT = Options(kills=4, away_s=3.0, broker_away_s=6.0, minutes=0.5)


@pytest.fixture(scope="session")
def arena(
    triton: TritonServer, qdrant: QdrantServer, concept_file: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    """The arena; its broker is put in by `inject`."""
    work = tmp_path_factory.mktemp("arena")
    models = InterestModels(work / "models")
    yield Arena(make_broker("tansu", work / "none"), triton, qdrant, concept_file, work, SHORT, models=models)
    models.stop()


@pytest.fixture
def inject(arena: Arena, broker: Broker) -> Inject:
    """Run a fault by name, perhaps on a mutant; skips with the fault's own reason."""

    async def run(name: str, *, mutant: str = "") -> Result:
        options = replace(arena.options, mutant=mutant)
        here = replace(arena, broker=broker, options=options)
        await arena_described(arena, here)
        result = await perform(SCENARIOS[name], here)
        if result.skipped:
            pytest.skip(result.skipped)
        return result

    return run


async def arena_described(arena: Arena, here: Arena) -> None:
    """Describe the items once a session, whichever broker it is on."""
    await here.describe()
    arena.described = here.described
