"""Which incarnation of broker, topics and group this is. Pure.

Offsets and generations are comparable only within one incarnation. The control point remembers what was seen
last; whatever has gone backwards, or is another cluster, is new. Two numbers follow: `epoch` is the high part of
the fence and goes up with every new incarnation; `log` names the incarnation of the topics and goes up only when their
offsets start anew, so that a group the broker forgot still recognises a log it has already applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from streams.store.base import Control


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """What a worker sees of broker and group now.

    `highwater` is the next offset the broker will give, by `topic/partition`, for partitions fetched so far.
    """

    generation: int
    leader: str
    cluster: str
    partitions: Mapping[str, int]
    highwater: Mapping[str, int]


def judge(stored: Control | None, seen: GroupView) -> tuple[Control, str]:
    """The control point that fits what is seen, and why it is a new incarnation ("" if it is not).

    A new log: another cluster, another number of partitions, or a log that ends before what was folded from it.
    A new group only: a generation below the stored one, or the same generation under another leader.
    """
    if stored is None:
        return _anew(seen, epoch=1, log=1), ""
    log_reason = _new_log(stored, seen)
    if log_reason:
        return _anew(seen, epoch=stored.epoch + 1, log=stored.log + 1), log_reason
    partitions = {**stored.partitions, **seen.partitions}
    known = replace(
        stored,
        generation=seen.generation,
        leader=seen.leader,
        cluster=seen.cluster or stored.cluster,
        partitions=partitions,
    )
    if seen.generation < stored.generation:
        return replace(known, epoch=stored.epoch + 1), f"generation {seen.generation} is below {stored.generation}"
    if seen.generation == stored.generation and stored.leader and seen.leader != stored.leader:
        return replace(known, epoch=stored.epoch + 1), f"generation {seen.generation} has another leader"
    return known, ""


def _anew(seen: GroupView, *, epoch: int, log: int) -> Control:
    """A control point of a log of which nothing has been folded."""
    return Control(
        epoch=epoch,
        log=log,
        generation=seen.generation,
        leader=seen.leader,
        cluster=seen.cluster,
        partitions=dict(seen.partitions),
        highest={},
    )


def _new_log(stored: Control, seen: GroupView) -> str:
    if stored.cluster and seen.cluster and stored.cluster != seen.cluster:
        return "another cluster"
    for topic, count in seen.partitions.items():
        if stored.partitions.get(topic, count) != count:
            return f"topic {topic} has {count} partitions, had {stored.partitions[topic]}"
    for slot, end in seen.highwater.items():
        if end <= stored.highest.get(slot, -1):
            return f"{slot} ends at {end}, offset {stored.highest[slot]} was folded in"
    return ""


def raised(highest: Mapping[str, int], seen: Mapping[str, int]) -> dict[str, int]:
    """The higher of both for every partition."""
    return {slot: max(highest.get(slot, -1), seen.get(slot, -1)) for slot in {**highest, **seen}}
