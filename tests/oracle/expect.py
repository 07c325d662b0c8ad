"""The expected nodes: direct sums over events, from the formulas of the design, in float64. No line of the fold.

For every node, S = sum of s*2^((t-t0)/h)*v, W the same of |s| and P of s. A node here is simply the list of what
goes into it, so that it can be summed for whatever t0 the stored node has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.interests.signed_weight import WeightTable
from tests.oracle.generate import TAKES_BACK

Doubles = npt.NDArray[np.float64]
NodeName = tuple[str, str, str]
FUTURE_MS = 300_000


class Part(NamedTuple):
    """One event's share of a node: time, signed weight, unit vector, event and item."""

    ts_ms: int
    weight: float
    vector: Doubles
    event_id: str
    item_id: str


class Sums(NamedTuple):
    """What a node should hold at a reference time; `gross` counts what was taken back too."""

    direction: Doubles
    norm: float
    mass: float
    net: float
    gross: float
    number: int


@dataclass(slots=True)
class Expected:
    """One node's shares, and the weights and times of those that were given and taken back."""

    parts: list[Part] = field(default_factory=list)
    undone: list[tuple[int, float, str]] = field(default_factory=list)

    def at(self, t0_ms: int, half_life_s: float, dim: int) -> Sums:
        """The sums at `t0_ms`."""
        factors = [2.0 ** ((part.ts_ms - t0_ms) / (half_life_s * 1000)) for part in self.parts]
        total = np.zeros(dim)
        mass = net = 0.0
        for part, factor in zip(self.parts, factors, strict=True):
            total += part.weight * factor * part.vector
            mass += abs(part.weight) * factor
            net += part.weight * factor
        gross = mass + sum(abs(w) * 2.0 ** ((ts - t0_ms) / (half_life_s * 1000)) for ts, w, _ in self.undone)
        norm = float(np.linalg.norm(total))
        return Sums(total / norm if norm else total, norm, mass, net, gross, len(self.parts))


@dataclass(frozen=True, slots=True)
class World:
    """What events refer to: items as (vector, path), texts as (vector, sentiment), and the path of a text alone."""

    items: Mapping[str, tuple[Doubles, str]]
    texts: Mapping[str, tuple[Doubles, float]]
    path_of: Callable[[Doubles], str]
    weights: WeightTable
    faint_below: float

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return len(next(iter(self.texts.values()))[0])

    def knowing(self, texts: Mapping[str, tuple[Doubles, float]]) -> World:
        """The same world with more texts."""
        return replace(self, texts={**self.texts, **texts})


def erasures(events: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """When each user who asked for it was erased, for the last time."""
    erased: dict[str, int] = {}
    for event in events:
        if event["type"] == "erase":
            erased[event["user_id"]] = max(event["ts"], erased.get(event["user_id"], 0))
    return erased


def tree_of(events: Iterable[Mapping[str, Any]], world: World) -> dict[NodeName, Expected]:
    """All nodes of all users, from unique events.

    An `erase` takes everything of its user up to and with its own time, wherever in the log it lies, and nothing else.
    """
    events = list(events)
    erased = erasures(events)
    left = [e for e in events if e["type"] != "erase" and e["ts"] > erased.get(e["user_id"], -1)]
    taken_back: dict[tuple[str, str, str], int] = {}
    for event in left:
        if event["type"] in TAKES_BACK:
            about = (event["user_id"], TAKES_BACK[event["type"]], event["item_id"])
            taken_back[about] = max(event["ts"], taken_back.get(about, 0))
    nodes: dict[NodeName, Expected] = {}
    for event in left:
        stands = event["ts"] > taken_back.get((event["user_id"], event["type"], event.get("item_id") or ""), -1)
        for weight, vector, path, item_id in _says(event, world):
            part = Part(event["ts"], weight, vector, event["event_id"], item_id)
            for name, share in _spread(event["user_id"], part, path, world):
                node = nodes.setdefault(name, Expected())
                if stands:
                    node.parts.append(share)
                else:
                    node.undone.append((share.ts_ms, share.weight, share.item_id))
    return nodes


def _says(event: Mapping[str, Any], world: World) -> Iterable[tuple[float, Doubles, str, str]]:
    """(weight, vector, path, item) of everything one event says."""
    kind, text = event["type"], event.get("text")
    if kind in TAKES_BACK:
        return
    base = world.weights.base[kind]
    if kind == "impression":
        for item_id in dict.fromkeys(event["items"]):
            if item_id in world.items:
                vector, path = world.items[item_id]
                taken = item_id in event.get("clicked", ())
                share = world.weights.impression_clicked if taken else world.weights.impression_skipped
                yield base * share, vector, path, item_id
        return
    own = world.texts[text] if text and kind not in TAKES_BACK.values() else None
    weight = base * _factor(event, own[1] if own else None, world.weights)
    if event.get("item_id") is None:
        assert own is not None, "without an item it must be a search, which has a text"
        yield weight, own[0], world.path_of(own[0]), ""
        return
    vector, path = world.items[event["item_id"]]
    if own is not None:
        mixed = (1 - world.weights.own_text_share) * vector + world.weights.own_text_share * own[0]
        vector = mixed / np.linalg.norm(mixed)
    yield weight, vector, path, event["item_id"]


def _factor(event: Mapping[str, Any], sentiment: float | None, table: WeightTable) -> float:
    """rating * sentiment * dwell, each 1 where the event says nothing on it."""
    rating = event.get("rating")
    stars = max(-1.0, min(1.0, (rating - table.rating_neutral) / (5 - table.rating_neutral))) if rating else None
    factor = 1.0 if stars is None else stars
    if event["type"] == "comment" and sentiment is not None:
        e = table.comment_engagement
        feeling = e + (1 - e) * sentiment if sentiment >= 0 else e + (1 + e) * sentiment
        factor = feeling if stars is None else table.rating_share * stars + (1 - table.rating_share) * feeling
    if event["type"] in ("view", "click") and event.get("dwell_ms") is not None:
        factor *= max(0.1, min(1.0, math.log(1 + event["dwell_ms"] / 1000) / math.log(1 + table.dwell_full_s)))
    return factor


def _spread(user: str, part: Part, path: str, world: World) -> Iterable[tuple[NodeName, Part]]:
    """Whole person and session; topic and interest of the path; aversion, whole and by topic, for what is negative."""
    if part.weight == 0:
        return
    yield (user, "profile", "/"), part
    yield (user, "session", "/"), part
    if abs(part.weight) < world.faint_below:
        return
    topic, _, interest = path.strip("/").partition("/")
    if topic:
        yield (user, "topic", f"/{topic}"), part
    if interest:
        yield (user, "interest", f"/{topic}/{interest}"), part
    if part.weight < 0:
        against = part._replace(weight=-part.weight)
        yield (user, "aversion", "/"), against
        if topic:
            yield (user, "aversion", f"/{topic}"), against
