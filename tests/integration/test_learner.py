"""The learner as a process, on a real broker and Qdrant's engine: what it finds, what it survives, what it gives up."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from streams.ranking.rows import COLUMN
from streams.ranking.weights import PublishedWeights
from streams.settings.wiring import qdrant_config
from streams.store.learner_state import LearnerStates
from tests.fixtures.brokers import Broker
from tests.fixtures.learner import (
    ENCODER,
    WISHES,
    LearnerProcess,
    LearnerRig,
    examples,
    known,
    lists,
    planted,
    replayed,
)
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.released import HERE

pytestmark = pytest.mark.integration
Make = Callable[..., LearnerRig]


async def test_planted_weights_are_found_and_published(broker: Broker, make_learner: Make) -> None:
    rig = await make_learner(broker).prepare()
    learner = rig.learner()
    await rig.send(examples(600))
    await rig.learned(learner, 600)
    await asyncio.sleep(1.2)  # once more, as a sign of life
    assert learner.stop() == 0, learner.log()
    published = await rig.published()
    assert one_record_a_version(published)
    last = published[-1]
    assert (last.lists, last.serve, last.kind) == (600, True, "next")
    assert len({one.made_ms for one in published if one.version == last.version}) >= 2
    found, wished = last.array(), planted()
    assert float(found @ wished) / np.linalg.norm(found) / np.linalg.norm(wished) > 0.9
    assert all(np.sign(found[COLUMN[name]]) == np.sign(weight) for name, weight in WISHES.items())


async def test_killed_at_random_it_knows_what_an_uninterrupted_learner_knows(
    broker: Broker, make_learner: Make
) -> None:
    rig = await make_learner(broker, commit_s=0.05, commit_examples=37).prepare()
    made = examples(600)
    chance = random.Random(7)
    learner = rig.learner()
    for start in range(0, 600, 200):
        await rig.until(learner.ready)
        again = made[max(0, start - 20) : start]  # a worker that died sends some again
        await rig.send([*again, *made[start : start + 200]])
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        learner.kill()
        learner.start()
    await rig.learned(learner, 600)
    assert learner.stop() == 0, learner.log()
    state = await rig.state()
    assert known(state) == known(replayed(made, rig.rules()))
    assert state.kinds["next"].learner.lists == 600
    assert one_record_a_version(await rig.published())


def one_record_a_version(published: Sequence[PublishedWeights]) -> bool:
    """Whether versions rise, each with what it stands for, and nothing has two."""
    versions = [one.version for one in published]
    pairs = {(one.version, one.digest) for one in published}
    return versions == sorted(versions) and len(pairs) == len(set(versions)) == len({digest for _, digest in pairs})


async def test_of_two_learners_the_older_ends_and_nothing_counts_twice(tansu: Broker, make_learner: Make) -> None:
    rig = await make_learner(tansu).prepare()
    old = rig.learner()
    await rig.send(examples(100))
    await rig.learned(old, 100)
    new = rig.learner()
    await rig.until(new.ready)
    await rig.send(examples(100, start=100, seed=1))
    assert await asyncio.to_thread(old.wait) == 1
    assert "another learner has begun" in old.log()
    await rig.learned(new, 200)
    assert new.stop() == 0, new.log()
    assert known(await rig.state()) == known(replayed([*examples(100), *examples(100, start=100, seed=1)], rig.rules()))


async def test_clicks_at_random_make_it_fall_back_by_itself_and_it_comes_back(
    tansu: Broker, make_learner: Make
) -> None:
    rig = await make_learner(tansu).prepare()
    learner = rig.learner()
    wishes = rig.rules().fixed + planted({"recent_mean": 0.7})  # the fixed weights are good, and can be bettered
    phases = [(200, wishes), (200, np.zeros_like(wishes)), (100, wishes), (400, wishes)]
    served, sent = [], 0
    for seed, (count, of_phase) in enumerate(phases):
        await rig.send(examples(count, wishes=of_phase, start=sent, seed=seed))
        sent += count
        await rig.learned(learner, sent)
        await rig.until(partial(published, learner, sent))
        served.append((await rig.published())[-1].serve)
    assert served == [True, True, False, True]
    assert learner.stop() == 0, learner.log()


def published(learner: LearnerProcess, count: int) -> bool:
    return learner.metrics().get('interests_weights_lists{kind="next"}') == count


async def test_after_an_upgrade_it_goes_on_from_what_the_version_before_had_learned(
    tansu: Broker, qdrant: QdrantServer, make_learner: Make
) -> None:
    rig = await make_learner(tansu).prepare()
    written = (HERE / "features-1" / "state.json").read_text("utf-8")
    before = LearnerStates(qdrant_config(rig.settings), f"{rig.topic}\x1f{ENCODER}\x1f1", "the version before")
    await before.prepare()
    assert await before.take() is None
    await before.write(written)
    learner = rig.learner()
    await rig.until(learner.ready)
    await rig.send(examples(10, start=50, seed=8, group="others"))
    await rig.until(lambda: lists(learner.metrics()) >= 60)  # 50 of before, of both kinds
    assert learner.stop() == 0, learner.log()
    state = await rig.state()
    assert state.kinds["next"].learner.lists == 50
    assert "state_of_earlier_features" in learner.log()
    assert await before.of(f"{rig.topic}\x1f{ENCODER}\x1f1") == written  # who goes back finds it
    await before.close()


async def test_what_nobody_can_read_goes_to_the_dead_letters(tansu: Broker, make_learner: Make) -> None:
    rig = await make_learner(tansu).prepare()
    learner = rig.learner()
    await rig.send([*examples(5), b"no JSON", b"", b'{"group": 1}', *examples(5, start=5)])
    await rig.learned(learner, 10)
    assert learner.stop() == 0, learner.log()
    assert sorted(await rig.values(f"{rig.topic}.dead")) == [b"", b"no JSON", b'{"group": 1}']
    assert (await rig.state()).place.next == {0: 13}


async def test_other_encoders_and_shadow_weights_are_scored_and_not_served(
    tansu: Broker, make_learner: Make, tmp_path: Path
) -> None:
    shadows = tmp_path / "shadows.json"
    shadows.write_text(json.dumps({"wishes": WISHES}))
    rig = await make_learner(tansu, shadow_weights=str(shadows)).prepare()
    learner = rig.learner()
    await rig.send([*examples(50), *examples(50, encoder="shadow", group="shadow-workers")])
    await rig.until(lambda: lists(learner.metrics()) >= 100)
    metrics = learner.metrics()
    assert lists(metrics, "shadow:wishes") == 100
    late = 'interests_live_mrr_late{cohort="heavy",encoder="shadow",kind="next",ranker='
    assert metrics[late + '"shadow:wishes"}'] > metrics[late + '"fixed"}'] + 0.3
    assert metrics['interests_learner_examples_total{outcome="scored"}'] == 50
    assert learner.stop() == 0, learner.log()
    assert (await rig.state()).kinds["next"].learner.lists == 50
    assert {one.encoder for one in await rig.published()} == {"an-encoder"}


async def test_qdrant_away_and_the_broker_made_anew(
    tansu: Broker, own_qdrant: Callable[[], QdrantServer], make_learner: Make
) -> None:
    qdrant = own_qdrant()
    rig = await make_learner(tansu, qdrant).prepare()
    learner = rig.learner()
    await rig.send(examples(50))
    await rig.learned(learner, 50)
    qdrant.kill()
    await rig.send(examples(50, start=50, seed=1))
    await rig.until(lambda: not learner.ready())
    assert httpx.get(f"{learner.url}/healthz", trust_env=False).status_code == 200
    qdrant.start()
    await rig.learned(learner, 100)
    tansu.kill()
    await rig.until(lambda: not learner.ready())
    tansu.start()  # it has forgotten everything: another cluster, offsets from 0
    await rig.prepare()
    await rig.send(examples(50, start=100, seed=2))
    await rig.learned(learner, 150, timeout_s=40)
    assert learner.metrics()["interests_learner_log"] == 2
    assert learner.stop() == 0, learner.log()
    state = await rig.state()
    assert (state.kinds["next"].learner.lists, state.place.next) == (150, {0: 50})
