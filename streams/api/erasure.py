"""Erasure: an `erase` event sent, its effect waited for, and a receipt that can be checked again later.

The receipt's event id carries the moment of the request, so any process can verify it: nothing is kept here.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from time import monotonic

import msgspec

from streams.api.backends import Backends
from streams.api.erased import erased_at, receipt_of
from streams.api.ingest import send_events
from streams.api.problems import ApiProblem, not_found
from streams.api.receipts import Receipt, SharedSum
from streams.api.scopes import Principal
from streams.interests.neighbours import pairs_standing
from streams.interests.nodes import Node

_EVENT_ID = re.compile(r"erase-(\d{1,15})-[0-9a-f]{16}")
_CHECK_EVERY_S = 0.1


async def erase(backends: Backends, user_id: str, at_ms: int, caller: Principal) -> Receipt:
    """Ask for the erasure and wait for its effect; `verified` False: it was accepted and is still to come."""
    stored_id = backends.stored_as(user_id)
    before = await backends.reader.stored(stored_id)
    event_id = f"erase-{at_ms}-{secrets.token_hex(8)}"
    event = {"event_id": event_id, "user_id": user_id, "type": "erase", "ts": at_ms}
    until = monotonic() + backends.settings.api.erase_wait_s
    await send_events(backends, [msgspec.json.encode(event)], at_ms, caller)
    backends.pending_erasures.add(stored_id, at_ms)  # also where the caller goes away, or Qdrant does
    while True:
        receipt = receipt_of(stored_id, event_id, at_ms, await backends.reader.stored(stored_id))
        if receipt.verified or monotonic() + _CHECK_EVERY_S > until:
            break
        await asyncio.sleep(_CHECK_EVERY_S)
    if receipt.verified:
        backends.pending_erasures.done(stored_id, at_ms)
    retained = await backends.retention.topics()
    shared = _shared(backends, before)
    return receipt.model_copy(update={"nodes_before": len(before), "retained": retained, "shared": shared})


async def verify(backends: Backends, stored_id: str, event_id: str | None) -> Receipt:
    """Read again what is left of a user after an erasure, by its receipt's event id or the last one there was."""
    nodes = await backends.reader.stored(stored_id)
    erased_at_ms = erased_at(nodes)
    if event_id is None:
        if not erased_at_ms:
            raise not_found("no-erasure", "No erasure of this user has taken effect.")
        requested_ms = erased_at_ms
    else:
        match = _EVENT_ID.fullmatch(event_id)
        if match is None:
            raise ApiProblem(422, "bad-event-id", "event_id: expected the one of an erasure's receipt.")
        requested_ms = int(match[1])
    receipt = receipt_of(stored_id, event_id or "", requested_ms, nodes)
    return receipt.model_copy(update={"retained": await backends.retention.topics(), "shared": _shared(backends, None)})


def _shared(backends: Backends, before: Sequence[Node] | None) -> list[SharedSum]:
    """The sums over everybody that are kept; of `before`, the nodes when the erasure was asked for, what they knew."""
    kafka, population = backends.settings.kafka, backends.settings.population
    votes = pairs = firsts = None
    if before is not None:
        pairs = sum(pairs_standing(node.votes, population.together_places) for node in before)
        votes = sum(len({(vote.topic, vote.item_id) for vote in node.votes}) for node in before)
        firsts = sum(first.weight > 0 for node in before for first in node.firsts)
    popularity = SharedSum(what="popularity", taken_back=votes, half_life_s=population.popularity_half_life_s)
    together = SharedSum(what="together", taken_back=pairs, half_life_s=population.together_half_life_s)
    priors = SharedSum(what="priors", taken_back=firsts, half_life_s=population.half_life_s)
    kept = (
        (kafka.popularity_topic, popularity), (kafka.together_topic, together), (kafka.population_topic, priors),
    )  # fmt: skip
    return [shared for topic, shared in kept if topic]
