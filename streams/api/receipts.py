"""What the API says of what it was given: where events lie, what an erasure took, and what went wrong, as types."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # a newer server may say more


class Placed(_Answer):
    """Where the broker put a record."""

    topic: str
    partition: int
    offset: int


class Rejected(_Answer):
    """A row of a batch that does not fit; the others were taken only where the status says so."""

    index: int
    reason: str
    message: str


class Accepted(_Answer):
    """What the broker has acknowledged."""

    accepted: int
    placed: list[Placed] = []


class RetainedTopic(_Answer):
    """An input topic that may still hold the user's records; `retention_ms` None: for ever, or not told."""

    topic: str
    retention_ms: int | None = None


class Receipt(_Answer):
    """An erasure: what went, and what the input topics still hold until their retention ends.

    `verified` says that a read after the erasure found nothing but the tombstone.
    """

    user_id: str
    event_id: str
    requested_ms: int
    erased_at_ms: int | None = None
    nodes_before: int = 0
    nodes_left: int = 0
    verified: bool = False
    retained: list[RetainedTopic] = []


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
