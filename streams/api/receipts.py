"""What became of what the API was given, as types: where events lie, what an erasure deleted, and what went wrong."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from streams.api.models import ResponseModel


class Placed(ResponseModel):
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


class Rejected(ResponseModel):
    """A row of a batch that does not fit; the others were accepted only where the status says so."""

    index: int
    reason: str
    message: str


class Accepted(ResponseModel):
    """What the broker has acknowledged."""

    accepted: int
    placed: list[Placed] = Field(default=[])


class RetainedTopic(ResponseModel):
    """An input topic that may still hold the user's records; `retention_ms` None: for ever, or not known."""

    topic: str
    retention_ms: int | None = None


class Receipt(ResponseModel):
    """An erasure: what was deleted, and what the input topics still hold until their retention ends.

    `verified` means that a read after the erasure found nothing but the tombstone. Qdrant's files may hold the bytes of
    deleted points until it rewrites them (a server: from 1,000 vectors a segment on, a fifth deleted; the embedded one:
    within a minute or two); no query returns them.
    """

    user_id: str
    event_id: str
    requested_ms: int
    erased_at_ms: int | None = None
    nodes_before: int = 0
    nodes_left: int = 0
    verified: bool = False
    retained: list[RetainedTopic] = Field(default=[])


class FieldProblem(BaseModel):
    """One field that does not fit."""

    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457. `errors` names the fields that do not fit; `request_id` is also the header `X-Request-ID`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    instance: str | None = None
    request_id: str | None = None
    errors: list[FieldProblem] | None = None
    retry_after_s: float | None = None
