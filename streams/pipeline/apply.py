"""A batch's path, on one screen: parse, gate, erase, reread, resolve, encode, weigh, plan, side outputs, fold, write.

Everything here that computes is pure and lives in a module of its own; what talks to a server is a field of
`PipelineDependencies`. The caller acknowledges after `apply` has returned: whatever raises leaves the batch
unacknowledged, and a batch that comes again changes nothing. Where it says `reach`, a test may kill the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from streams.base.errors import PoisonError
from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder
from streams.events.dead_letters import DeadLetter
from streams.events.event import Event, Outcome, RecordLike, Source
from streams.events.parse import ParseLimits, parse_events, parse_items
from streams.events.privacy import Pseudonyms, pseudonymous
from streams.events.side_outputs import Waiting, side_outputs_of
from streams.events.spans import ReadSpans
from streams.events.unresolved import RetryPolicy
from streams.interests.nodes import Node, NodePolicy, profile_key
from streams.interests.plan import Plan, Weighed, gate, plan
from streams.interests.priors import CohortFirst, PriorPolicy, newcomers_firsts
from streams.interests.signed_weight import WeightTable
from streams.pipeline.describe import describe
from streams.pipeline.erase import DerivedChanges, SendDerived, erase
from streams.pipeline.faultpoints import reach
from streams.pipeline.fold_and_write import fold_and_write
from streams.pipeline.in_flight import InFlight
from streams.pipeline.ranking_examples import MakeExamples, make_none
from streams.pipeline.read_again import read_again
from streams.pipeline.report import Report
from streams.pipeline.resolve import resolve
from streams.pipeline.tracing import stage
from streams.pipeline.weigh import texts_of, weigh
from streams.store.base import Fence, Store


class Outbox(Protocol):
    """Where records go that do not become nodes; both return once the broker has acknowledged them.

    A batch that is tried again, in whole or in halves, hands over again what it did before: that is sent once.
    """

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send dead letters, key and bytes unchanged."""

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        """Send records to the topic of unresolved events, with the headers that say when they are due."""


async def send_nothing(changes: DerivedChanges, log: int) -> None:
    """Send nothing on: no sums over everybody are kept."""


@dataclass(slots=True, kw_only=True)
class PipelineDependencies:
    """What the path is made of: the servers behind their edges, the concept tree and the constants.

    `home` tells whether an event's record lies in the partition of its user. A producer with another partitioner
    would put one user on two workers; such a record is sent on to where its user is. With `pseudonyms` users are
    known by these from there on. Votes up to `together_places` apart make pairs of items, with 0 none. Without `priors`
    nobody learns from newcomers; without `read_spans` a tree that holds events of before and after its erasure goes
    whole. `make_examples` makes examples of what people choose, for whoever learns from them.
    """

    encoder: Encoder
    store: Store
    outbox: Outbox
    tree: ConceptTree
    policy: NodePolicy
    weights: WeightTable
    retries: RetryPolicy
    home: Callable[[Event], bool]
    pseudonyms: Pseudonyms | None = None
    send_derived: SendDerived = send_nothing
    together_places: int = 0
    priors: PriorPolicy | None = None
    read_spans: ReadSpans | None = None
    make_examples: MakeExamples = make_none


async def apply(
    records: Sequence[RecordLike], deps: PipelineDependencies, fence: Fence, log: int, *, now_ms: int,
    flight: InFlight | None = None,
) -> Report:  # fmt: skip
    """Fold a batch of event records into their users' trees; `log` names the incarnation of the topics.

    With a `flight` the batch is folded on what those before it leave, and written after them. Raises RetryableError
    where a server is away (nothing is lost: call again), Superseded where a batch before was not written, and
    FatalError where the process must end. Poison is sent to the dead letters and reported.
    """
    flight = flight or InFlight()
    with stage("parse"):
        parsed = parse_events(records, now_ms=now_ms, limits=ParseLimits(unresolved_topic=deps.retries.topic))
    here, astray = _by_home(parsed.events, deps.home)
    events, refused = pseudonymous(here, deps.pseudonyms)
    stored = await _profiles(events, flight, deps.store)
    await reach("after_read")
    gated = gate(events, stored, log, whole_trees=deps.store.whole_trees)
    erasure = await erase(gated.fresh, stored, deps, fence, log, flight)
    profiles = erasure.profiles
    send_examples = deps.make_examples(erasure.kept, profiles, flight, log)
    again = await read_again(profiles, deps, log, now_ms)
    kept, doubled = again.with_others(erasure.kept, log)
    with stage("resolve"):
        resolved = await resolve(kept, deps.encoder, deps.store, deps.tree)
    with stage("encode"):
        encoded = await deps.encoder.encode(texts_of(resolved.ready))
    await reach("after_encode")
    with stage("plan"):
        weighed = weigh(resolved.ready, resolved.items, encoded, deps.tree, deps.weights)
        applied = [event for event in resolved.ready if event.source not in weighed.poison]
        planned = plan(weighed.events, applied, profiles, deps.policy, log, places=deps.together_places)
        firsts = _firsts(weighed.events, planned, profiles, deps, log)
        again.remember(planned)
    await send_examples(weighed.events)  # before anything of the batch is written
    settled = again.sources
    waiting = [event for event in resolved.waiting if event.source not in settled]
    poison = _without(refused | resolved.poison | weighed.poison, settled)
    side = side_outputs_of(records, waiting + astray, poison, deps.retries, now_ms)
    dead = parsed.dead + side.dead
    await deps.outbox.dead_letter(dead)
    await deps.outbox.defer(side.waiting)
    changed = await fold_and_write(
        planned, weighed.vectors, firsts, deps, fence, log, nodes_of=again.nodes, flight=flight
    )
    await reach("after_upsert")
    outcomes: dict[Outcome, list[Event]] = {
        "applied": [event for event in applied if event.source not in settled], "redelivered": gated.redelivered,
        "duplicate": gated.duplicates + doubled, "erased": gated.erased + erasure.erased, "unresolved": waiting,
        "rerouted": astray, "reread": [event for event in applied if event.source in settled],
    }  # fmt: skip
    return Report(
        events=outcomes, dead=dead, nodes=changed, items=resolved.described, unknown_fields=parsed.unknown_fields,
        clamped=parsed.clamped, weighed=[one for one in weighed.events if one.event.source not in settled],
        reread_incomplete=again.incomplete,
    )  # fmt: skip


async def apply_items(records: Sequence[RecordLike], deps: PipelineDependencies, *, now_ms: int) -> Report:
    """Encode a batch of catalogue records into the collection of items; raises as `apply` does."""
    parsed = parse_items(records, now_ms=now_ms)
    latest = parsed.latest()
    described, poison = await describe([item for item, _ in latest.values() if item], deps.encoder, deps.tree)
    by_source = {latest[item_id][1]: error for item_id, error in poison.items()}
    dead = parsed.dead + side_outputs_of(records, [], by_source, deps.retries, now_ms).dead
    await deps.outbox.dead_letter(dead)
    await deps.store.put_items(described)
    await deps.store.delete_items([item_id for item_id, (item, _) in latest.items() if item is None])
    return Report(dead=dead, items=len(described), unknown_fields=parsed.unknown_fields, clamped=parsed.clamped)


def _by_home(events: Sequence[Event], home: Callable[[Event], bool]) -> tuple[list[Event], list[Event]]:
    """The events whose records lie in their users' partitions, and those that lie elsewhere."""
    here: list[Event] = []
    astray: list[Event] = []
    for event in events:
        (here if home(event) else astray).append(event)
    return here, astray


def _without(poison: Mapping[Source, PoisonError], settled: Set[Source]) -> dict[Source, PoisonError]:
    return {source: error for source, error in poison.items() if source not in settled}


def _firsts(
    weighed: Sequence[Weighed], planned: Plan, profiles: Mapping[str, Node], deps: PipelineDependencies, log: int
) -> list[CohortFirst]:
    """What newcomers began with; the plan remembers it."""
    if deps.priors is None:
        return []
    return newcomers_firsts(weighed, planned, profiles, deps.priors, deps.policy.faint_below, log)


async def _profiles(events: Sequence[Event], flight: InFlight, store: Store) -> dict[str, Node]:
    keys = [profile_key(user) for user in dict.fromkeys(event.user_id for event in events)]
    return {key.user_id: node for key, node in (await flight.read(keys, store)).items()}
