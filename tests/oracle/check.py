"""The check: the log holds the ledger, Qdrant equals the fold of it, poison lies in the dead letters, and no more."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from streams.interests.nodes import Node, NodeKey
from streams.interests.popularity import ItemPopularity
from tests.oracle.expect import FUTURE_MS, Expected, NodeName, Part, World, erasures, tree_of
from tests.oracle.ledger import Entry
from tests.oracle.watch import Regress

VECTORS, MASSES = 1e-4, 1e-6
#: What is stored is exact to float32, so what is left after something a million times heavier was taken back is not.
LEFT = 1e-6


@dataclass(slots=True)
class Verdict:
    """What the oracle found; `wrong` says in words all that is not as it should be."""

    events: int = 0
    lost: set[str] = field(default_factory=set)
    doubled: int = 0
    rolled_back: int = 0
    dead: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        return not (self.lost or self.doubled or self.rolled_back or self.wrong)

    def __str__(self) -> str:
        first = "; ".join(self.wrong[:6]) + (f" and {len(self.wrong) - 6} more" if len(self.wrong) > 6 else "")
        return (
            f"{len(self.lost)} lost, {self.doubled} doubled, {self.rolled_back} rolled back: {first or 'all is well'}"
        )


def sent(entries: Iterable[Entry], log: Mapping[str, Sequence[Any]], verdict: Verdict) -> list[Entry]:
    """The ledger's records as the log has them: acknowledged ones must lie where they were said to lie.

    A record that nobody acknowledged counts where the log has it after all.
    """
    at = {(r.topic, r.partition, r.offset): r for records in log.values() for r in records}
    by_value: dict[tuple[str, bytes, bytes], Any] = {}
    for r in at.values():
        by_value.setdefault((r.topic, r.key or b"", r.value or b""), r)
    there: list[Entry] = []
    for entry in entries:
        if entry.offset is None:
            record = by_value.get((entry.topic, entry.key, entry.value))
            if record is not None:
                there.append(
                    entry._replace(partition=record.partition, offset=record.offset, timestamp_ms=record.timestamp)
                )
            continue
        if entry.fate == "unread":  # the dead letters say what became of it
            there.append(entry)
            continue
        record = at.get(entry.place)
        if record is None or record.value != entry.value:
            verdict.wrong.append(f"the broker lost an acknowledged record: {entry.place}")
            continue
        there.append(entry._replace(timestamp_ms=record.timestamp))  # what the worker reads
    return there


def events_of(entries: Iterable[Entry], waiting: Iterable[bytes | None] = ()) -> list[dict[str, Any]]:
    """Unique events of the ledger, each with its own time settled; poison is left out.

    `waiting` are the values of the records in the topic of waiting events: who is among them `waited`.
    """
    waited = {bytes(value) for value in waiting if value}
    events: dict[str, dict[str, Any]] = {}
    for entry in entries:
        body = entry.body()
        if entry.fate != "applied" or body is None:
            continue
        ts = body.get("ts", entry.timestamp_ms)
        settled_ms = entry.timestamp_ms if ts > entry.timestamp_ms + FUTURE_MS else ts
        about = {"topic": entry.topic, "waited": entry.value in waited, "ts": settled_ms}
        events.setdefault(body["event_id"], {**body, **about})
    return list(events.values())


def compare(
    events: Sequence[Mapping[str, Any]], found: Mapping[NodeKey, Node], world: World, half_lives: Mapping[str, float],
    evidence_length: int, verdict: Verdict,
) -> None:  # fmt: skip
    """Hold stored nodes against the fold of `events`."""
    expected = tree_of(events, world)
    stored: dict[NodeName, Node] = {(k.user_id, k.level, k.path): node for k, node in found.items()}
    for name in expected.keys() | stored.keys():
        _node(name, expected.get(name, Expected()), stored.get(name), half_lives[name[1]], verdict)
        if name[1] == "profile":
            _count(expected.get(name, Expected()), stored.get(name), evidence_length, verdict)


def _node(name: NodeName, expected: Expected, node: Node | None, half_life_s: float, verdict: Verdict) -> None:
    if node is None:
        latest = max((part.ts_ms for part in expected.parts), default=0)
        if expected.parts and expected.at(latest, half_life_s, len(expected.parts[0].vector)).mass > 1e-9:
            verdict.wrong.append(f"{_name(name)} is missing")
        return
    want = expected.at(node.t0_ms, half_life_s, len(node.direction))
    if abs(node.mass - want.mass) > MASSES * want.mass + 1e-9 * want.gross + 1e-300:
        verdict.wrong.append(f"{_name(name)} has mass {node.mass:.9g}, expected {want.mass:.9g}")
    if abs(node.net - want.net) > MASSES * want.mass + 1e-9 * want.gross + 1e-300:
        verdict.wrong.append(f"{_name(name)} has net {node.net:.9g}, expected {want.net:.9g}")
    apart = float(np.abs(node.norm * node.direction.astype(np.float64) - want.norm * want.direction).max())
    if apart > VECTORS * want.norm + LEFT * want.gross + 1e-300:
        verdict.wrong.append(f"{_name(name)} points elsewhere: off by {apart:.3g} of {want.norm:.3g}")
    if node.count != want.number:
        verdict.wrong.append(f"{_name(name)} counts {node.count} contributions, expected {want.number}")


def _count(expected: Expected, node: Node | None, evidence_length: int, verdict: Verdict) -> None:
    """Which events are lost and how many count twice, from the profile: it receives everything its user does."""
    want = Counter(part.event_id for part in expected.parts)
    has = node.count if node else 0
    if len(expected.parts) <= evidence_length and node is not None:
        missing = want.keys() - {e.event_id for e in node.evidence}
    else:  # evidence keeps only the strongest: the count must do
        missing = set(sorted(want)[: max(0, want.total() - has)])
    verdict.lost |= missing
    verdict.doubled += max(0, has - (want.total() - sum(want[event] for event in missing)))


def popularity(
    events: Sequence[Mapping[str, Any]], found: Mapping[str, ItemPopularity], world: World, half_life_s: float,
    ranked_by_s: float, verdict: Verdict,
) -> None:  # fmt: skip
    """Hold what items have got against the votes of all users, summed by item.

    A person's vote for an item is the strongest of their positive events about it that came by one topic, as they
    stand under the half-life `ranked_by_s`. What a user said before an erasure is taken back; where a worker died in
    the middle of it, another topic's records may have come between, and a vote of theirs may be left. And a younger
    vote may be missing that an older one had stood for when the erasure came. An event that `waited` for its item came
    by the topic of waiting events, unless it was done again from its own: then a person has a vote less.
    """
    ended = erasures(events)
    left = _votes(events, world, ranked_by_s)
    gone = _votes(
        [e for e in events if e["type"] != "erase" and e["ts"] <= ended.get(e["user_id"], -1)], world, ranked_by_s
    )
    wanted = _by_item({of: vote for of, vote in left.items() if of not in gone})
    waited = [{**event, "topic": "waited"} if event.get("waited") else event for event in events]
    apart = {of: vote for of, vote in _votes(waited, world, ranked_by_s).items() if of not in gone}
    perhaps = _by_item(gone, {of: vote for of, vote in left.items() if of in gone}, _but(apart, wanted))
    for item_id in wanted.keys() | perhaps.keys() | found.keys():
        sure, more = wanted.get(item_id, Expected()), perhaps.get(item_id, Expected())
        stored = found.get(item_id)
        t0_ms = stored.t0_ms if stored else max((p.ts_ms for p in (*sure.parts, *more.parts)), default=0)
        least = sure.at(t0_ms, half_life_s, world.dim)
        most = more.at(t0_ms, half_life_s, world.dim)
        mass, number = (stored.mass, stored.count) if stored else (0.0, 0)
        within = MASSES * least.mass + 1e-9 * least.gross
        up_to = most.gross + MASSES * most.gross
        count_up_to = least.number + most.number + len(more.undone)
        if not (least.mass - within <= mass <= least.mass + up_to + within and least.number <= number <= count_up_to):
            verdict.wrong.append(
                f"{item_id} has popularity {mass:.9g} of {number} votes, expected {least.mass:.9g} of {least.number}"
                + (f" and up to {most.gross:.9g} of {count_up_to - least.number} more" if item_id in perhaps else "")
            )


_Voted = tuple[str, str, str]  # user, topic, item


def _votes(events: Sequence[Mapping[str, Any]], world: World, ranked_by_s: float) -> dict[_Voted, Expected]:
    """Everybody's vote by topic and item, and what of it was taken back."""
    votes: dict[_Voted, Expected] = {}
    topic_of = {event["event_id"]: event["topic"] for event in events}
    for (user, level, _), node in tree_of(events, world).items():
        if level == "profile":
            best: dict[_Voted, Part] = {}
            for part in node.parts:
                if part.weight > 0 and part.item_id:
                    where = (user, topic_of[part.event_id], part.item_id)
                    best[where] = max(part, best.get(where, part), key=lambda one: _strength(one, ranked_by_s))
            for where, part in best.items():
                votes.setdefault(where, Expected()).parts.append(part)
            for ts_ms, weight, item_id in node.undone:
                votes.setdefault((user, "", item_id), Expected()).undone.append((ts_ms, weight, item_id))
    return votes


def _but(votes: Mapping[_Voted, Expected], counted: Mapping[str, Expected]) -> dict[_Voted, Expected]:
    """The votes that are none of those counted by item; nothing was taken back of them that was not counted there."""
    known = {(item_id, part.event_id) for item_id, vote in counted.items() for part in vote.parts}
    left = {of: [part for part in vote.parts if (of[2], part.event_id) not in known] for of, vote in votes.items()}
    return {of: Expected(parts) for of, parts in left.items() if parts}


def _by_item(*votes: Mapping[_Voted, Expected]) -> dict[str, Expected]:
    items: dict[str, Expected] = {}
    for (_, _, item_id), vote in ((of, vote) for some in votes for of, vote in some.items()):
        item = items.setdefault(item_id, Expected())
        item.parts += vote.parts
        item.undone += vote.undone
    return items


def _strength(part: Part, half_life_s: float) -> tuple[float, int]:
    return (math.log2(part.weight) + part.ts_ms / (half_life_s * 1000), part.ts_ms)


def erased(
    ended: Mapping[str, int], nodes: Sequence[Node], mentions: Sequence[str], updates: Sequence[Any], verdict: Verdict
) -> None:
    """Nothing of before an erasure is left: not in any point (`nodes`, all there are), not in what is told last.

    `mentions` are the places beside the nodes that name a user who was erased, `updates` the records of the topic of
    updates, of which a compaction keeps the last one a key.
    """
    verdict.wrong += [f"a user who was erased is named in {where}" for where in mentions]
    for user, at_ms in ended.items():
        profiles = [n for n in nodes if n.key.user_id == user and n.key.level == "profile"]
        if [profile.erased_at_ms for profile in profiles] != [at_ms]:
            verdict.wrong.append(f"{user} has no tombstone of {at_ms}: {[n.erased_at_ms for n in profiles]}")
    for node in nodes:
        at_ms, name = ended[node.key.user_id], _name((node.key.user_id, node.key.level, node.key.path))
        if any(ts_ms <= at_ms for ts_ms in [*(e.ts_ms for e in node.evidence), *(m.ts_ms for m in node.marks)]):
            verdict.wrong.append(f"{name} knows of an event of before the erasure")
        elif node.key.level != "profile" and node.first_ms <= at_ms:
            verdict.wrong.append(f"{name} has come back: it began {at_ms - node.first_ms} ms before the erasure")
    told: dict[bytes, Any] = {}
    for record in sorted(updates, key=lambda record: record.offset):
        told[record.key] = record
    for user, at_ms in ended.items():
        last = told.get(user.encode())
        if last is None or not _tells_nothing_older(last.value, at_ms):
            what = "nobody was told of it" if last is None else "what was told last is of before"
            verdict.wrong.append(f"{user} was erased, and {what}")


def _tells_nothing_older(value: bytes | None, at_ms: int) -> bool:
    """Whether an update is Kafka's tombstone, or of younger events only (the profile's times begin at the erasure)."""
    if value is None:
        return True
    update = json.loads(value)
    nodes, events = update.get("nodes", []), update.get("events", [])
    began = all(node["first_ms"] > at_ms - (node["level"] == "profile") for node in nodes)
    return began and all(event["ts_ms"] > at_ms for event in events)


def dead_letters(
    entries: Sequence[Entry], log: Mapping[str, Sequence[Any]], letters: Sequence[Any], verdict: Verdict
) -> None:
    """Poison is dead-lettered with a reason, key and bytes unchanged; nothing else is.

    A producer that sends again may have put one record at several places: every one of them counts. What nobody can
    read is dead-lettered by its places, without key and value, and no other place with it.
    """
    at = {(r.topic, r.partition, r.offset): r for records in log.values() for r in records}
    fates = {(entry.topic, entry.key, entry.value): entry.fate for entry in entries}
    dead: set[tuple[str, int, int]] = set()
    for letter in letters:
        headers = dict(letter.headers)
        topic, partition, offset = (headers[f"dead-letter-{n}"].decode() for n in ("topic", "partition", "offset"))
        place, reason = (topic, int(partition), int(offset)), headers.get("dead-letter-error", b"").decode()
        if "dead-letter-first-offset" in headers:
            dead |= _unread(letter, place, int(headers["dead-letter-first-offset"]), entries, verdict)
            continue
        dead.add(place)
        record = at.get(place)
        key, value = ((record.key or b""), (record.value or b"")) if record else (b"", b"")
        if not reason:
            verdict.wrong.append(f"the dead letter of {place} has no reason")
        origin = headers.get("unresolved-origin", topic.encode() + b"--").decode().rsplit("-", 2)[0]
        if fates.get((origin, key, value), "applied") == "applied":
            verdict.wrong.append(f"{place} was dead-lettered as {reason}, but it is no poison")
        elif (letter.key or b"", letter.value or b"") != (key, value) and b"dead-letter-body" not in str(
            headers
        ).encode():
            verdict.wrong.append(f"the dead letter of {place} was changed on the way")
    verdict.dead = len(dead)
    for entry in entries:
        if entry.fate in ("dead", "unread") and entry.place not in dead:
            verdict.wrong.append(f"poison at {entry.place} is not among the dead letters")
            verdict.lost.add(f"{entry.topic}-{entry.partition}-{entry.offset}")


def _unread(
    letter: Any, last: tuple[str, int, int], first: int, entries: Sequence[Entry], verdict: Verdict
) -> set[tuple[str, int, int]]:
    """The places that a dead letter sets aside, from offset `first` to that of `last`: all of them must be unread."""
    topic, partition, end = last
    here = [e for e in entries if e.topic == topic and e.partition == partition and first <= (e.offset or 0) <= end]
    readable = [e.place for e in here if e.fate != "unread"]
    if readable or len({e.offset for e in here}) != end - first + 1:
        verdict.wrong.append(f"{last} from {first} on was set aside as unread, with {readable or 'what nobody sent'}")
    if letter.key or letter.value:
        verdict.wrong.append(f"the dead letter of {last} holds a key or a value")
    return {(topic, partition, e.offset) for e in here if e.offset is not None}


def rolled_back(regresses: Iterable[Regress], entries: Sequence[Entry], verdict: Verdict) -> None:
    """Count the ledger's records that profiles had and then had no more."""
    gone = set()
    for regress in regresses:
        for entry in entries:
            inside = entry.offset is not None and regress.has < entry.offset <= regress.had
            if inside and entry.key == regress.user.encode() and f"{entry.topic}/{entry.partition}" == regress.slot:
                gone.add(entry.place)
        verdict.wrong.append(f"{regress.user}: {regress.slot} went back from {regress.had} to {regress.has}")
    verdict.rolled_back = len(gone)


def _name(name: NodeName) -> str:
    return f"{name[0].rpartition('-')[2]} {name[1]} {name[2]}"
