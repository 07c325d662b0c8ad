"""A broker that forgets everything: what comes after its restart lands on the trees of before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.interests.nodes import NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.path import Rig

pytestmark = pytest.mark.integration


async def test_the_second_lot_lands_on_the_trees_of_the_first_after_the_broker_forgot_everything(
    tansu: Broker, make_rig: Callable[..., Rig]
) -> None:
    path = make_rig(tansu)
    await path.prepare()
    run = Rig.unique_run()
    lot = [{"event_id": f"{run}-{n}", "user_id": run, "type": "search", "text": f"search number {n}"} for n in range(6)]
    worker = path.worker()
    await path.produce(path.events, lot[:3])
    await path.until(lambda o: o.get("applied", 0) == 3)
    assert worker.stop() == 0
    tansu.stop()
    tansu.start()
    await path.prepare()
    await path.produce(path.events, lot[3:])
    worker.start()
    await path.until(lambda o: o.get("applied", 0) == 3)
    profile = (await path.tree(run))[NodeKey(run, "profile", "/")]
    assert profile.count == 6
    assert {e.event_id for e in profile.evidence} == {e["event_id"] for e in lot}
    assert profile.applied.log == 2
