"""What became of what the API was given, as types: where events lie, what an erasure deleted, and what went wrong."""

from __future__ import annotations

from typing import Literal

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


class SharedSum(ResponseModel):
    """A sum over everybody, which names nobody, and what an erasure takes back of it.

    `taken_back` is how many of the user's votes (`popularity`), pairs of items (`together`) or first events (`priors`)
    their profile knew when the erasure was asked for; None: not known any more. What it did not know (counted by a
    version that kept no record of it, or of an item that is deleted) stays in the sum and halves every `half_life_s`.
    """

    what: Literal["popularity", "together", "priors"]
    taken_back: int | None = None
    half_life_s: float


class Receipt(ResponseModel):
    """An erasure: what was deleted, and what the input topics still hold until their retention ends.

    `verified` means that a read after the erasure found nothing but the tombstone. Qdrant's files may hold the bytes of
    deleted points until it rewrites them (a server: from 1,000 vectors a segment on, a fifth deleted; the embedded one:
    within a minute or two); no query returns them. `shared` are the sums over everybody, of which the user's part is
    taken back.
    """

    user_id: str
    event_id: str
    requested_ms: int
    erased_at_ms: int | None = None
    nodes_before: int = 0
    nodes_left: int = 0
    verified: bool = False
    retained: list[RetainedTopic] = Field(default=[])
    shared: list[SharedSum] = Field(default=[])


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
