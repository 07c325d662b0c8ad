"""Errors as RFC 9457 problem documents: one table from what went wrong to a status, and one way to write it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from streams.api.methods import allowed
from streams.api.receipts import FieldProblem, Problem, Rejected
from streams.base.errors import (
    BrokerUnavailable,
    ConfigurationError,
    EncoderUnavailable,
    InterestsError,
    PoisonError,
    RetryableError,
    StoreUnavailable,
)
from streams.base.local_callers import ForeignKind
from streams.base.refusals import ConnectionKind

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_URN = "urn:interest-streams:problem:"
#: What a problem's type ends in; docs/api.md describes each, and a test holds the two together.
Kind = Literal[
    ForeignKind, ConnectionKind, "bad-json", "bad-coding", "bad-preflight", "no-access", "wrong-scope", "not-found",
    "unknown-user", "unknown-item",
    "no-erasure", "method-not-allowed", "body-too-large", "unknown-coding", "invalid", "rejected",
    "batch-size", "item-mismatch", "bad-event-id", "bad-cursor", "unreadable-text", "too-many-requests", "internal",
    "misconfigured", "store-away", "encoder-away", "broker-away", "busy", "deadline", "keys-unreadable",
    "too-many-live-streams", "unknown-dashboard", "prometheus-away",
]  # fmt: skip
_OF_STATUS: Final[dict[int, Kind]] = {404: "not-found", 405: "method-not-allowed"}
_AWAY: tuple[tuple[type[RetryableError], Kind, str], ...] = (
    (StoreUnavailable, "store-away", "The vector store does not answer."),
    (EncoderUnavailable, "encoder-away", "The encoder does not answer, so texts cannot be understood now."),
    (BrokerUnavailable, "broker-away", "The broker has not acknowledged; what was sent may or may not be kept."),
)


class ApiProblem(Exception):
    """An error for the caller: a status, a short machine-readable `kind`, and a sentence."""

    def __init__(
        self, status: int, kind: Kind, detail: str, *, retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None, errors: Sequence[FieldProblem] | None = None,
        rejected: Sequence[Rejected] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.retry_after_s, self.headers = retry_after_s, dict(headers or {})
        self.errors, self.rejected = errors, rejected


class BodyRefused(HTTPException):
    """The body cannot be taken; raised while it is read, where only HTTPException passes through the framework."""

    def __init__(self, status: int, kind: Kind, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, headers)
        self.kind: Kind = kind


def body_too_large(limit: int) -> BodyRefused:
    """The body is above the limit, as it came or unpacked."""
    return BodyRefused(413, "body-too-large", f"The body is larger than {limit} bytes.")


def document(problem: ApiProblem, request_id: str | None) -> Response:
    """The response of a problem."""
    extra: dict[str, Any] = {}
    if problem.rejected is not None:
        extra["rejected"] = [one.model_dump() for one in problem.rejected]
    body = Problem(
        type=f"{_URN}{problem.kind}", title=_title(problem.status), status=problem.status, detail=problem.detail,
        request_id=request_id, errors=list(problem.errors) if problem.errors else None,
        retry_after_s=problem.retry_after_s, **extra,
    )  # fmt: skip
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after_s)))
    return Response(
        body.model_dump_json(exclude_none=True), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers
    )


def problem_of(error: Exception) -> ApiProblem:
    """The problem that stands for an error; messages of servers and traces stay in the log."""
    if isinstance(error, ApiProblem):
        return error
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        kind = error.kind if isinstance(error, BodyRefused) else _OF_STATUS.get(error.status_code, "bad-request")
        return ApiProblem(error.status_code, kind, _detail(error), headers=error.headers)
    return _of_ours(error)


def _of_ours(error: Exception) -> ApiProblem:
    if isinstance(error, RetryableError):
        for raised, kind, detail in _AWAY:
            if isinstance(error, raised):
                return ApiProblem(503, kind, detail, retry_after_s=error.retry_after_s)
        return ApiProblem(503, "busy", "Try again later.", retry_after_s=error.retry_after_s)
    if isinstance(error, PoisonError):
        return ApiProblem(422, "unreadable-text", f"{error.reason}: {error}")
    if isinstance(error, ConfigurationError):
        return ApiProblem(500, "misconfigured", "The service is not set up rightly; its log says what to change.")
    return ApiProblem(500, "internal", "Something went wrong here; the log has it under the request id.")


async def answer(request: Request, error: Exception) -> Response:
    """Answer a request that ended in a known error."""
    if isinstance(error, InterestsError) and not isinstance(error, PoisonError):
        log.warning("refused", error=type(error).__name__, reason=str(error))
    problem = problem_of(error)
    if problem.status == 405:  # the route that was asked knows its own methods only
        problem.headers["Allow"] = allowed(request.app.routes, request.scope)
    return document(problem, request.scope.get("request_id"))


def timed_out(deadline_s: float) -> ApiProblem:
    """The request's deadline has passed."""
    return ApiProblem(504, "deadline", f"Not answered within {deadline_s:g} s; ask again, or for less.")


def not_found(kind: Kind, detail: str) -> ApiProblem:
    """What the request names is not there."""
    return ApiProblem(404, kind, detail)


def unknown_user() -> ApiProblem:
    """Nobody by this id."""
    return not_found("unknown-user", "Nothing is kept of this user: no event of theirs was folded, or all were erased.")


def unknown_item() -> ApiProblem:
    """No item by this id."""
    return not_found("unknown-item", "Nobody has described this item, or it was deleted.")


def _of_validation(error: RequestValidationError) -> ApiProblem:
    misfits = error.errors()
    if any(one["type"] == "json_invalid" for one in misfits):
        return ApiProblem(400, "bad-json", "The body is no JSON.")
    if any(one["loc"] == ("body",) and isinstance(one.get("input"), bytes) for one in misfits):
        return ApiProblem(415, "no-json", "Expected a body of application/json.")  # else it would have been read
    errors = [FieldProblem(field=".".join(map(str, one["loc"])), message=_message(one)) for one in misfits[:50]]
    return ApiProblem(422, "invalid", "Some fields do not fit; `errors` names them.", errors=errors)


def _message(one: Mapping[str, Any]) -> str:
    """What is wrong with a field, without its value."""
    return str(one["msg"]).removeprefix("Value error, ")


def _detail(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this path."
    if error.status_code == 405:
        return "This path does not take this method; the header Allow names those it takes."
    return str(error.detail)


def _title(status: int) -> str:
    return HTTPStatus(status).phrase
