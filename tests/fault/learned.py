"""Learned nodes under faults: whoever has events ends with the nodes that the model makes of them as they are then."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from collections.abc import Mapping, Sequence

from streams.encoder.interest_client import TritonInterests
from streams.interests.learned import LearnedSource, histories_of, learned_nodes, read_by_model, source_of
from streams.interests.nodes import Node
from tests.fault.arena import FaultyWorker
from tests.fault.models import InterestModels
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.learned_path import MODEL, text_encoder_id

_LEARNED = {"model": MODEL, "deadline_s": 2.0}
_NEAR = 0.9999  # cosine of what the same model says in two batches
_SHARE = 1e-2
_SOON_S = 60.0


@scenario(own="learned", learned=_LEARNED)
async def learned_killed(trial: Trial) -> None:
    """SIGKILL between a model's answers and their nodes, and after a write: the next worker finds all people."""
    worker = trial.worker("before_learned:wait=600@1")
    await trial.play(60, rounds=1)
    await trial.quiet()  # every event is acknowledged, and comes no more
    worker.kill()
    assert len(await behind(trial)) == len(trial.users), "nodes were written: the fault came too late"
    worker.start("after_learned:kill@1")
    assert await worker.ended() == -signal.SIGKILL, worker.log()
    worker.start()
    trial.over()
    await nobody_behind(trial)
    trial.injected = "SIGKILL with answers in hand, all events acknowledged, and once more after a write"


@scenario(own="learned", learned=_LEARNED)
async def learned_takeover(trial: Trial) -> None:
    """SIGSTOP with answers in hand and past the session; another goes on; after SIGCONT they are refused."""
    await trial.play(60, rounds=1)
    frozen = trial.worker("before_learned:stop@1,after_learned:stop@1")
    await frozen.frozen()
    heir = trial.worker()
    await trial.play(60, rounds=2)
    await trial.quiet()
    await nobody_behind(trial)
    before = await _made(trial)
    frozen.signal(signal.SIGCONT)
    await asyncio.sleep(0.3)
    await frozen.frozen()  # its write is behind it now
    late = {user for user, made in (await _made(trial)).items() if made != before[user]}
    assert not late, f"nodes of {late} were written over by older ones"
    trial.over()
    frozen.signal(signal.SIGCONT)
    await trial.play(40, rounds=1)
    await trial.quiet()
    await nobody_behind(trial)
    assert heir.running, heir.log()
    trial.injected = "SIGSTOP with answers in hand, takeover, SIGCONT"


@scenario(own="learned", learned=_LEARNED)
async def learned_model_gone(trial: Trial) -> None:
    """SIGKILL of the model's process while events come, and a restart: trees are as fresh, and nodes follow."""
    models, worker = _models(trial), trial.worker()
    await trial.play(60, rounds=1)
    await trial.joined(worker)
    await trial.quiet()
    await nobody_behind(trial)
    calm_s = await _paced(trial, worker)
    models.crash()
    try:
        gone_s = await _paced(trial, worker)
        metrics = await worker.metrics()
        assert metrics['interests_learned_failures_total{reason="triton"}'] >= 1
        assert metrics["interests_learned_oldest_seconds"] > 0
        assert metrics['interests_retries_total{server="triton"}'] == 0, "a batch has waited"
        assert '"learned_level_failed"' in worker.log()
        assert gone_s <= max(3 * calm_s, 1.0), f"95% of the events in {gone_s} s, before in {calm_s} s"
        sources, nodes = await _read(trial)
        old = [one.user_id for one in sources if nodes[one.user_id]["/"].count < one.events]
        assert len(old) == len(trial.users), f"only {old} are behind: the model was there"
    finally:
        await asyncio.to_thread(models.restart)
    trial.over()
    await nobody_behind(trial)
    assert worker.running, worker.log()
    trial.injected = f"SIGKILL of the model; 95% of the events applied within {gone_s:g} s, before {calm_s:g} s"


@scenario(own="learned", learned=_LEARNED, users=12)
async def learned_model_swapped(trial: Trial) -> None:
    """Another version is served from the middle of a run on: everybody's nodes end with it, whoever has events."""
    models, worker = _models(trial), trial.worker()
    await trial.play(60, rounds=1)
    await trial.quiet()
    await nobody_behind(trial)
    first = {nodes["/"][0] for nodes in (await _made(trial)).values()}
    item = trial.arena.items[0]["item_id"]
    swapping = asyncio.create_task(asyncio.to_thread(models.swap))
    while not swapping.done():
        await trial.send(trial.made.clicks_on(item, 6))  # half of the people
        await asyncio.sleep(0.5)
    second = await swapping
    await trial.send(trial.made.clicks_on(item, 6))
    trial.over()
    await trial.quiet()
    await nobody_behind(trial)
    last = {model for nodes in (await _made(trial)).values() for model, _ in nodes.values()}
    assert last == {second} != first, f"read nodes of {last}, served is {second} after {first}"
    assert worker.running, worker.log()
    trial.injected = "a restart with another model while half of the people have events"


async def nobody_behind(trial: Trial) -> None:
    """Until everybody's learned nodes are what the served model says of what their profiles keep."""
    found: list[str] = []

    async def met() -> bool:
        found[:] = await behind(trial)
        return not found

    try:
        await trial.until(met, "learned nodes are of the last state", _SOON_S)
    except AssertionError as error:
        raise AssertionError(f"{error}\nbehind: {found}") from error


async def behind(trial: Trial) -> list[str]:
    """Whose learned nodes are not what the served model says of their profiles, and why."""
    sources, found = await _read(trial)
    wanted = await _wanted(trial, sources)
    return [f"{user}: {why}" for user in trial.users if (why := _differs(found[user], wanted.get(user, {})))]


async def _read(trial: Trial) -> tuple[list[LearnedSource], dict[str, dict[str, Node]]]:
    """What to make learned nodes of, and those that are there by user and path."""
    store = trial.rig.store()
    try:
        trees = {user: await store.tree(user) for user in trial.users}
    finally:
        await store.close()
    profiles = [node for tree in trees.values() for node in tree if node.key.level == "profile"]
    sources = [source for profile in profiles if (source := source_of(profile)) is not None]
    learned = {
        user: {node.key.path: node for node in tree if node.key.level == "learned"} for user, tree in trees.items()
    }
    return sources, learned


async def _wanted(trial: Trial, sources: Sequence[LearnedSource]) -> dict[str, dict[str, Node]]:
    """The nodes of these people, made here and now, a call for each."""
    model = TritonInterests(trial.arena.triton.grpc_url, encoder_id=text_encoder_id())
    store = trial.rig.store()
    made: dict[str, dict[str, Node]] = {}
    try:
        info = await model.info()
        items = await store.items({one.item_id for source in sources for one in source.items()})
        for source in sources:
            read = read_by_model(source.items(), items, info.history)
            served = await model.answers(histories_of([read], items, info.history, info.dim))
            nodes = learned_nodes(
                source, read, served.answers, 0, model=served.info.model_id, tasks=info.tasks, made_ms=1,
                evidence_length=trial.rig.settings.nodes.evidence_length,
            )  # fmt: skip
            made[source.user_id] = {node.key.path: node for node in nodes}
    finally:
        await store.close()
        await model.close()
    return made


def _differs(found: Mapping[str, Node], wanted: Mapping[str, Node]) -> str:
    if found.keys() != wanted.keys():
        return f"has {sorted(found)}, expected {sorted(wanted)}"
    for path, want in wanted.items():
        has = found[path]
        assert has.learned is not None
        assert want.learned is not None
        if has.learned.model != want.learned.model:
            return f"{path} is of {has.learned.model}, served is {want.learned.model}"
        if (has.count, has.t0_ms, has.mass) != (want.count, want.t0_ms, want.mass):
            return f"{path} is of {has.count} events up to {has.t0_ms}, the profile of {want.count} to {want.t0_ms}"
        if float(has.direction @ want.direction) < _NEAR:
            return f"{path} points elsewhere"
        shares = [{one.item_id: one.weight for one in node.evidence} for node in (has, want)]
        if shares[0].keys() != shares[1].keys() or any(
            abs(shares[0][item] - share) > _SHARE for item, share in shares[1].items()
        ):
            return f"{path} looked at other items"
    return ""


async def _made(trial: Trial) -> dict[str, dict[str, tuple[str, int]]]:
    """By user and path: which model made the learned node, and when."""
    _, found = await _read(trial)
    return {
        user: {path: (node.learned.model, node.learned.made_ms) for path, node in nodes.items() if node.learned}
        for user, nodes in found.items()
    }


async def _paced(trial: Trial, worker: FaultyWorker) -> float:
    """Events for some seconds; within what bound of the histogram 95% of them were applied after they were sent, in s.

    They are about known items and words, and by everybody.
    """
    before = _ages(await worker.metrics())
    for _ in range(12):
        await trial.play(5)
        await asyncio.sleep(0.25)
    await trial.play(0, rounds=1)
    await trial.quiet()
    counts = _ages(await worker.metrics())
    counts.subtract(before)
    return next(bound for bound in sorted(counts) if counts[bound] >= 0.95 * counts[float("inf")])


def _ages(metrics: Mapping[str, float]) -> Counter[float]:
    counts: Counter[float] = Counter()
    for name, value in metrics.items():
        if name.startswith("interests_age_at_apply_seconds_bucket") and (le := re.search(r'le="([^"]+)"', name)):
            counts[float(le[1])] += int(value)
    return counts


def _models(trial: Trial) -> InterestModels:
    assert trial.arena.models is not None
    return trial.arena.models
