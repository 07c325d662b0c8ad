"""Every call of the API, written once: its request, and how its answer is read. Pure.

The docstrings are those of the methods of both clients.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from streams.api.models import (
    Audience,
    AudienceMember,
    AudienceRequest,
    Context,
    ItemCard,
    Order,
    Ready,
    Recents,
    SimilarBy,
    SimilarItems,
    SimilarUsers,
    Tree,
    Users,
)
from streams.api.prediction_models import Predictions, PredictRequest
from streams.api.receipts import Accepted, Receipt
from streams.api.score_models import Explanation, Ranking, RankRequest, Recommendations
from streams.client.errors import BadRequest, misfit
from streams.interests.levels import Level

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
_HALF: Final = "not Unicode text: it holds half a character (a lone surrogate)"
Value = str | int | float | bool | None | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request and how its answer is read. `path` is percent-encoded; `answers` are the statuses that are no error.

    `repeatable`: made twice it has the effect of once, so it may be sent again where it is not known to have arrived.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    params: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)
    accept: str = JSON
    repeatable: bool = True
    answers: Collection[int] = range(200, 300)


def segment(value: str) -> str:
    """An id as one segment of a path: nothing in it is left that a URL gives a meaning to.

    Raises BadRequest for what no segment can hold.
    """
    if not value:
        raise BadRequest("an id is empty, expected 1 to 256 characters")
    if not is_unicode(value):
        raise BadRequest(f"an id is {_HALF}")
    quoted = quote(value, safe="")
    # A segment of dots is an instruction to go up a folder, unless its dots are escaped.
    return quoted.replace(".", "%2E") if value in {".", ".."} else quoted


def _params(**named: Value) -> tuple[tuple[str, str], ...]:
    """Query parameters; None leaves one to the server's default, a sequence repeats it."""
    rows: list[tuple[str, str]] = []
    for name, value in named.items():
        if value is None:
            continue
        if isinstance(value, bool):
            rows.append((name, "true" if value else "false"))
        elif isinstance(value, str | int | float):
            rows.append((name, str(value)))
        else:
            rows += [(name, one) for one in value]
    for name, text in rows:
        if not is_unicode(text):
            raise BadRequest(f"{name} is {_HALF}")
    return tuple(rows)


def is_unicode(text: str) -> bool:
    """Whether a text can be written in UTF-8: one with half a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reader(model: type[M]) -> Callable[[bytes], M]:
    return model.model_validate_json


def _json(value: Any) -> bytes:
    try:
        return to_json(value)
    except PydanticSerializationError as error:
        why = f"a text is {_HALF}" if "surrogates" in str(error) else "a value is of no JSON type"
        raise BadRequest(f"this cannot be written as JSON: {why}") from error


def _get(path: str, model: type[M], params: tuple[tuple[str, str], ...] = ()) -> Call[M]:
    return Call(method="GET", path=path, read=_reader(model), params=params)


def _send(
    method: str, path: str, model: type[M], body: bytes, *, params: tuple[tuple[str, str], ...] = (), accept: str = JSON
) -> Call[M]:
    return Call(method=method, path=path, read=_reader(model), params=params, body=body, accept=accept)


def users(*, limit: int | None = None, cursor: str | None = None) -> Call[Users]:
    """A page of people with their number of events; `next_cursor` of the answer asks for the next one."""
    return _get("/v1/users", Users, _params(limit=limit, cursor=cursor))


def interests(
    user_id: str, *, levels: Sequence[Level] | None = None, path: str | None = None, evidence: int | None = None,
    vectors: bool | None = None, order: Order | None = None, limit: int | None = None, cursor: str | None = None,
    prior: bool | None = None, daypart: str | None = None, device: str | None = None, at_ms: int | None = None,
) -> Call[Tree]:  # fmt: skip
    """A user's tree, decayed to now: nodes with names, masses and, up to `evidence` each, the events behind them.

    `path` keeps nodes at or below it. A newcomer's tree has nodes of a prior, marked as such; with `prior=False` theirs
    alone, and NotFound for an unknown user.
    """
    params = _params(
        level=levels, path=path, evidence=evidence, vectors=vectors, order=order, limit=limit, cursor=cursor,
        prior=prior, daypart=daypart, device=device, at_ms=at_ms,
    )  # fmt: skip
    return _get(f"/v1/users/{segment(user_id)}/interests", Tree, params)


def recents(user_id: str, *, limit: int | None = None) -> Call[Recents]:
    """The last items that a user has given evidence of, latest first, each with its time and signed weight."""
    return _get(f"/v1/users/{segment(user_id)}/recents", Recents, _params(limit=limit))


def recommendations(
    user_id: str, *, k: int | None = None, diversity: float | None = None, category: str | None = None,
    lang: str | None = None, max_age_s: float | None = None, exclude_seen: bool | None = None,
    daypart: str | None = None, device: str | None = None, prior: bool | None = None, explain: bool | None = None,
    at_ms: int | None = None,
) -> Call[Recommendations]:  # fmt: skip
    """The `k` best items for a user, with the parts of each score; `explain` adds the interests that made it.

    `diversity` from 0 (the plain order) to 1 (the most diverse). `daypart` and `device` name the situation.
    """
    params = _params(
        k=k, diversity=diversity, category=category, lang=lang, max_age_s=max_age_s, exclude_seen=exclude_seen,
        daypart=daypart, device=device, prior=prior, explain=explain, at_ms=at_ms,
    )  # fmt: skip
    return _get(f"/v1/users/{segment(user_id)}/recommendations", Recommendations, params)


def rank(
    user_id: str, *, items: Sequence[str] = (), texts: Sequence[str] = (), context: Context | None = None,
    at_ms: int | None = None, prior: bool | None = None,
) -> Call[Ranking]:  # fmt: skip
    """Put items (by id) and texts in this user's order, with the interests that pulled and pushed each.

    `context` names the situation, such as `{"daypart": "evening"}`.
    """
    try:
        request = RankRequest(items=list(items), texts=list(texts), context=context or {}, at_ms=at_ms)
    except ValidationError as error:
        raise misfit(error) from None
    body = _json(request.model_dump(exclude_defaults=True))
    return _send("POST", f"/v1/users/{segment(user_id)}/rank", Ranking, body, params=_params(prior=prior))


def predict(user_id: str, *, items: Sequence[str] = (), texts: Sequence[str] = ()) -> Call[Predictions]:
    """How likely a user is to click, turn to or buy items (by id) and texts, by the learned level of their tree.

    `model` of the answer is None, and nothing is predicted, where they have none.
    """
    try:
        request = PredictRequest(items=list(items), texts=list(texts))
    except ValidationError as error:
        raise misfit(error) from None
    body = _json(request.model_dump(exclude_defaults=True))
    return _send("POST", f"/v1/users/{segment(user_id)}/predict", Predictions, body)


def explain(
    user_id: str, item_id: str, *, daypart: str | None = None, device: str | None = None, at_ms: int | None = None,
    prior: bool | None = None,
) -> Call[Explanation]:  # fmt: skip
    """Why an item has its score for a user: the nodes that pulled and pushed, their shares, the events behind them."""
    path = f"/v1/users/{segment(user_id)}/explain/{segment(item_id)}"
    params = _params(daypart=daypart, device=device, at_ms=at_ms, prior=prior)
    return _get(path, Explanation, params)


def item(item_id: str) -> Call[ItemCard]:
    """An item as the catalogue describes it. Raises NotFound where nobody has."""
    return _get(f"/v1/items/{segment(item_id)}", ItemCard)


def similar_items(
    item_id: str, *, by: SimilarBy | None = None, k: int | None = None, category: str | None = None,
    lang: str | None = None, max_age_s: float | None = None, at_ms: int | None = None,
) -> Call[SimilarItems]:  # fmt: skip
    """The `k` items most like one: near it in `content`, touched `together` with it, or by `both`. Raises NotFound."""
    params = _params(by=by, k=k, category=category, lang=lang, max_age_s=max_age_s, at_ms=at_ms)
    return _get(f"/v1/items/{segment(item_id)}/similar", SimilarItems, params)


def similar(user_id: str, *, k: int | None = None) -> Call[SimilarUsers]:
    """The `k` people whose interests are nearest to this user's."""
    return _get(f"/v1/users/{segment(user_id)}/similar", SimilarUsers, _params(k=k))


def audience(
    *, text: str | None = None, item_id: str | None = None, levels: Sequence[Level] | None = None,
    path: str | None = None, min_similarity: float | None = None, min_mass: float | None = None,
    limit: int | None = None,
) -> Call[Audience]:  # fmt: skip
    """Who is interested in a text or an item (one of the two), at which level, how strongly, since when."""
    body = _audience_body(text, item_id, levels, path, min_similarity, min_mass, limit)
    return _send("POST", "/v1/audiences/search", Audience, body)


def export_audience(
    *, text: str | None = None, item_id: str | None = None, levels: Sequence[Level] | None = None,
    path: str | None = None, min_similarity: float | None = None, min_mass: float | None = None,
    limit: int | None = None,
) -> Call[AudienceMember]:  # fmt: skip
    """The members of `audience` one by one as they arrive, however many there are; an iterator."""
    body = _audience_body(text, item_id, levels, path, min_similarity, min_mass, limit)
    return _send("POST", "/v1/audiences/search", AudienceMember, body, accept=NDJSON)


def _audience_body(
    text: str | None, item_id: str | None, levels: Sequence[Level] | None, path: str | None,
    min_similarity: float | None, min_mass: float | None, limit: int | None,
) -> bytes:  # fmt: skip
    if (text is None) == (item_id is None):
        raise BadRequest("got neither or both of text and item_id, expected one of them")
    values = {
        "text": text, "item_id": item_id, "levels": levels, "path": path, "min_similarity": min_similarity,
        "min_mass": min_mass, "limit": limit,
    }  # fmt: skip
    try:
        request = AudienceRequest.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise misfit(error) from None
    return _json(request.model_dump(exclude_unset=True))


def send_event(event: Mapping[str, Any]) -> Call[Accepted]:
    """Send one event (docs/events.md); returns once the broker has acknowledged it.

    An event without `event_id` gets one here: sent again after a broken connection it is then dropped as a duplicate.
    """
    return _send("POST", "/v1/events", Accepted, _json(_with_id(event)))


def send_events(events: Iterable[Mapping[str, Any]]) -> Call[Accepted]:
    """Send up to 500 events in one request: all are accepted, or none. See `send_event`."""
    return _send("POST", "/v1/events", Accepted, _json([_with_id(event) for event in events]))


def _with_id(event: Mapping[str, Any]) -> dict[str, Any]:
    return dict(event) if event.get("event_id") else {**event, "event_id": str(uuid.uuid4())}


def put_item(item_id: str, item: Mapping[str, Any]) -> Call[Accepted]:
    """Describe an item (docs/events.md: title, description, categories …) or change its description."""
    body = _json({**item, "item_id": item_id})
    return _send("PUT", f"/v1/items/{segment(item_id)}", Accepted, body)


def put_items(items: Iterable[Mapping[str, Any]]) -> Call[Accepted]:
    """Describe up to 500 items, each with its `item_id`, in one request: all are accepted, or none."""
    return _send("POST", "/v1/items", Accepted, _json([dict(item) for item in items]))


def delete_user(user_id: str) -> Call[Receipt]:
    """Erase a user: their nodes go and stay gone. The receipt's `event_id` lets `erasure` follow it."""
    return Call(method="DELETE", path=f"/v1/users/{segment(user_id)}", read=_reader(Receipt))


def erasure(user_id: str, event_id: str | None = None) -> Call[Receipt]:
    """How far an erasure is: `verified` once a read finds nothing but the tombstone."""
    return _get(f"/v1/users/{segment(user_id)}/erasure", Receipt, _params(event_id=event_id))


def live(user_id: str) -> Call[None]:
    """The request of a live tree; the clients' `live` reads it."""
    return Call(method="GET", path=f"/v1/users/{segment(user_id)}/live", read=lambda _: None, accept=EVENTS)


def health() -> Call[Ready]:
    """Whether the API can answer, and which of the servers behind it do; also where it is not ready."""
    return Call(method="GET", path="/readyz", read=_reader(Ready), answers=(200, 503))
