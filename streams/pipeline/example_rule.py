"""Which events give an example of what their person chose: one rule for the worker and for the evaluation. Pure."""

from __future__ import annotations

from typing import Final

from streams.events.event import Event
from streams.interests.nodes import Node, seen_of
from streams.interests.signed_weight import UNDOES, WeightTable
from streams.ranking.examples import MOST_TARGETS
from streams.ranking.parts import Kind

#: A new item stands among as many targets at least, itself included; fewer are no list.
LEAST_TARGETS: Final = 10


def example_kind(event: Event, profile: Node | None, weights: WeightTable) -> Kind | None:
    """What example an event may give: of whoever is known, and of what they did not make themselves.

    `profile` is the person's before the event. A `next` that may be given is given where the event's signed weight,
    which its text has a part in, is above 0 too, and `LEAST_TARGETS` are there.
    """
    if profile is None or profile.count <= 0 or profile.reread:
        return None
    if event.type == "impression":
        return "impression" if event.clicked and len(event.items) <= MOST_TARGETS else None
    may_speak_for = event.type not in UNDOES and weights.base[event.type] > 0
    new = event.item_id is not None and event.item_id not in seen_of(profile)
    return "next" if may_speak_for and new and event.type != "post" else None


def gives_example(event: Event, profile: Node | None, weights: WeightTable, weight: float, targets: int) -> bool:
    """Whether an event of a signed weight `weight` gives an example, where there are `targets` to choose from."""
    kind = example_kind(event, profile, weights)
    return kind == "impression" or (kind == "next" and weight > 0 and targets >= LEAST_TARGETS)
