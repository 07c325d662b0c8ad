"""The attacks of tests/attack on the running path, in their short form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.attack import access, bombs, connections, pages, streams  # noqa: F401  # they register their attacks
from tests.attack.issuer import Issuer
from tests.attack.registry import ATTACKS, Target, fitting, perform
from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]


@pytest.fixture(scope="module")
def target(running_path: Rig, make_api: Callable[..., ApiServer], tmp_path_factory: pytest.TempPathFactory) -> Target:
    """An API without keys and one with, on the running path."""
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    without, keyed = make_api(running_path.settings, keys_file=None), make_api(running_path.settings, **issuer.settings)
    return Target(
        open_api=without.url, keyed_api=keyed.url, keys=keyed.keys, keys_file=keyed.settings.api.keys_file,
        qdrant=running_path.qdrant.url, worker=running_path.workers[0].metrics_url.removesuffix("/metrics"),
        triton=running_path.triton.http_url, issuer=issuer, kafka=running_path.settings.kafka,
        pids={"api": without.pid, "worker": running_path.workers[0].pid}, short=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_an_attack_is_held(name: str, target: Target) -> None:
    one = ATTACKS[name]
    if one not in fitting(target):
        pytest.skip("part of the whole form: make attack")
    outcome = await perform(one, target)
    assert outcome.held, outcome.came_back
