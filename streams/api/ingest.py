"""Events and items from callers: checked by the worker's own parser, sent, and answered with their places."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from streams.api.backends import Backends
from streams.api.item_changes import note_change
from streams.api.models import MAX_BATCH
from streams.api.problems import ApiProblem
from streams.api.receipts import Accepted, Placed, Rejected
from streams.api.scopes import Principal, scope_of_event
from streams.api.sender import RecordSender
from streams.broker.producer import Outgoing
from streams.events.decode import why_no_json
from streams.events.drafts import Draft, Drafts, Line, RefusedLine, draft_events, draft_items, topic_of_type
from streams.events.privacy import is_pseudonym

_NOT_A_PSEUDONYM = "user_id: expected a user's own id, got a pseudonym"
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


def bodies(body: bytes) -> list[bytes]:
    """The objects of a body: one, or a list of them. 400 where it is no JSON, 422 where it is empty or too long."""
    start = body.lstrip(b" \t\r\n")
    if not start.startswith(b"["):
        _readable(body)
        return [body]
    try:
        rows = [bytes(row) for row in _RAWS.decode(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad_json(body) from None
    if not 1 <= len(rows) <= MAX_BATCH:
        raise ApiProblem(422, "batch-size", f"Got {len(rows)} rows, expected 1 to {MAX_BATCH}.")
    return rows


async def send_events(backends: Backends, rows: Sequence[bytes], now_ms: int, caller: Principal) -> Accepted:
    """Send events to the topics of their types. All are sent, or, where one does not fit or may not be, none."""

    def topic(event_type: str | None) -> str:
        return topic_of_type(event_type, backends.settings.kafka.event_topics)

    def draft(lines: list[Line]) -> Drafts:
        drafts = draft_events(lines, topic, now_ms, check=True)
        _allowed(drafts, len(rows), caller)
        if backends.pseudonyms is None:
            return drafts
        # The worker refuses these: a user keyed by name here and by pseudonym there would lie in two partitions.
        pseudonymous = [one for one in drafts.ready if is_pseudonym((one.key or b"").decode())]
        refused = [RefusedLine(one.offset, "bad_id", _NOT_A_PSEUDONYM) for one in pseudonymous]
        return Drafts([one for one in drafts.ready if one not in pseudonymous], [*drafts.refused, *refused])

    return await _send(backends.sender, _checked(rows, draft))


async def send_items(backends: Backends, rows: Sequence[bytes], now_ms: int) -> Accepted:
    """Send items to their topic, all or none."""
    topic = backends.settings.kafka.items_topic
    drafts = _checked(rows, lambda lines: draft_items(lines, topic, now_ms, check=True))
    accepted = await _send(backends.sender, drafts)
    for draft in drafts:  # this process need not wait for the topic to tell it
        note_change(backends.catalogue, draft.key, draft.value)
    return accepted


def _allowed(drafts: Drafts, rows: int, caller: Principal) -> None:
    """Refuse all with 403 where one does what the caller may not; the worker's own parser says what each does."""
    needed = {number: scope_of_event(kind) for number, kind in drafts.types.items()}
    missing = {number: scope for number, scope in needed.items() if scope not in caller.scopes}
    if missing:
        rejected = [
            Rejected(index=number, reason="scope", message=f"type {drafts.types[number]}: needs the scope {scope}")
            for number, scope in missing.items()
        ]
        detail = (
            f"This key may not do what {len(missing)} of {rows} events do; none was accepted, `rejected` names them: "
            f"it needs the scope {', '.join(sorted(set(missing.values())))}."
        )
        raise ApiProblem(403, "wrong-scope", detail, rejected=rejected)


def with_item_id(body: bytes, item_id: str) -> bytes:
    """An item's body with the id of its path; 422 where it names another."""
    _readable(body)
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        own = msgspec.json.decode(fields["item_id"]) if "item_id" in fields else item_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiProblem(422, "invalid", "Expected a JSON object that describes an item.") from None
    if own != item_id:
        raise ApiProblem(422, "item-mismatch", "item_id: expected the id that the path names, or none.")
    return msgspec.json.encode({**fields, "item_id": item_id})


def _checked(rows: Sequence[bytes], draft: Callable[[list[Line]], Drafts]) -> list[Draft]:
    drafts = draft([Line(index, row) for index, row in enumerate(rows)])
    if drafts.refused:
        rejected = [Rejected(index=one.number, reason=one.reason, message=one.message) for one in drafts.refused]
        detail = f"{len(rejected)} of {len(rows)} do not fit, so none was accepted; `rejected` names them."
        raise ApiProblem(422, "rejected", detail, rejected=rejected)
    return drafts.ready


async def _send(sender: RecordSender, drafts: Sequence[Draft]) -> Accepted:
    by_topic: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_topic.setdefault(draft.topic, []).append(draft)
    placed: dict[int, Placed] = {}
    for topic, ours in by_topic.items():
        where = await sender.send(topic, [Outgoing(draft.key, draft.value) for draft in ours])
        placed.update({draft.offset: at for draft, at in zip(ours, where, strict=True)})
    return Accepted(accepted=len(drafts), placed=[placed[draft.offset] for draft in drafts])


def _readable(body: bytes) -> None:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _bad_json(body) from None


def _bad_json(body: bytes) -> ApiProblem:
    return ApiProblem(400, "bad-json", f"The body {why_no_json(body, 'is no JSON')}.")
