"""The errors of calls of the API, made of its problem documents (RFC 9457) or of a connection that failed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from pydantic import TypeAdapter, ValidationError

from streams.api.receipts import FieldProblem, Problem, Rejected
from streams.base.errors import InterestsError, RetryableError

_PROBLEM: Final = "application/problem+json"
_DEFAULT_RETRY_S: Final = 1.0
_LONGEST_S: Final = 86_400.0
_NAMED: Final = 5
_REJECTED: Final = TypeAdapter(tuple[Rejected, ...])


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails:
    """What went wrong, by the answer.

    `kind` is the last part of the problem's type, such as `unknown-user`. `errors` names the fields that do not fit,
    `rejected` the rows of a batch.
    """

    status: int | None = None
    detail: str = ""
    kind: str = ""
    request_id: str | None = None
    errors: tuple[FieldProblem, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class ApiError(InterestsError):
    """The API refused a call, failed, or did not answer.

    `status` is the HTTP status, None where no answer came. `request_id` finds the call in the API's log. The rest is
    as in `ProblemDetails`. The message has no personal data in it.
    """

    def __init__(self, title: str, details: ProblemDetails | str = "") -> None:
        details = ProblemDetails(detail=details) if isinstance(details, str) else details
        where = [str(details.status)] if details.status else []
        where += [f"request {details.request_id}"] if details.request_id else []
        misfits = [f"{one.field}: {one.message}" for one in details.errors]
        misfits += [f"row {one.index}: {one.message}" for one in details.rejected]
        if len(misfits) > _NAMED:
            misfits[_NAMED:] = [f"and {len(misfits) - _NAMED} more"]
        text = ": ".join(part for part in (title, details.detail.rstrip("."), "; ".join(misfits)) if part)
        super().__init__(f"{text} ({', '.join(where)})" if where else text)
        self.title, self.status, self.detail, self.kind = title, details.status, details.detail, details.kind
        self.request_id, self.errors, self.rejected = details.request_id, details.errors, details.rejected


class Unauthorized(ApiError):
    """401: no key, or one that the API does not know, or an expired token."""


class Forbidden(ApiError):
    """403: the key is known and lacks the scope that this call needs."""


class NotFound(ApiError):
    """404: nobody and nothing is known by this id, or the address is not that of the API."""


class BadRequest(ApiError):
    """Another 4xx, or arguments that do not fit and were never sent: `errors` names the fields."""


class ServerError(ApiError):
    """500 and the like: a fault of the API's own; its log has more under `request_id`."""


class UnexpectedAnswer(ApiError):
    """What came is not what this version of the API answers: another server, or a proxy between."""


class TryLater(ApiError, RetryableError):
    """The API or something behind it is away or busy: `retry_after_s` is what it asked for, or one second."""

    def __init__(self, title: str, details: ProblemDetails | str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(title, details)
        self.retry_after_s = _DEFAULT_RETRY_S if retry_after_s is None else retry_after_s


class Unavailable(TryLater):
    """502, 503 or 504: the API is up and something that it needs is not, or did not answer in time."""


class RateLimited(TryLater):
    """429: this key has asked for more than its rate allows."""


class Unreachable(TryLater):
    """Nothing listens at the address, or the connection broke."""


class DeadlineExceeded(TryLater):
    """The call's deadline passed before the answer was there."""


_KINDS: Final[Mapping[int, type[ApiError]]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
_LATER: Final[Mapping[int, type[TryLater]]] = {429: RateLimited, 502: Unavailable, 503: Unavailable, 504: Unavailable}


def error_of(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> ApiError:
    """The error that an answer stands for; one without a problem document is named by its status."""
    problem = _problem(headers, body)
    details = _details(problem, status, headers.get("x-request-id"))
    title = problem.title if problem else _phrase(status)
    if later := _LATER.get(status):
        asked_s = retry_after_s(headers.get("retry-after"), now_s)
        if asked_s is None and problem and problem.retry_after_s is not None:
            asked_s = _bounded(problem.retry_after_s)
        return later(title, details, retry_after_s=asked_s)
    other = BadRequest if 400 <= status < 500 else ServerError if status >= 500 else UnexpectedAnswer
    return _KINDS.get(status, other)(title, details)


def retry_after_s(header: str | None, now_s: float) -> float | None:
    """Seconds that `Retry-After` asks for, in seconds or as a date; None where it cannot be read."""
    if header is None:
        return None
    try:
        return _bounded(float(header))
    except ValueError:
        pass
    try:
        then = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = then if then.tzinfo else then.replace(tzinfo=UTC)
    return _bounded((aware - datetime.fromtimestamp(now_s, UTC)).total_seconds())


def misfit(error: ValidationError) -> BadRequest:
    """Arguments that the API's own types refuse, before anything is sent; values are not repeated."""
    errors = tuple(
        FieldProblem(
            field=".".join(map(str, one["loc"])) or "request", message=one["msg"].removeprefix("Value error, ")
        )
        for one in error.errors(include_url=False, include_context=False, include_input=False)
    )
    return BadRequest("the arguments do not fit", ProblemDetails(errors=errors))


def _bounded(seconds: float) -> float | None:
    return min(max(0.0, seconds), _LONGEST_S) if math.isfinite(seconds) else None


def _problem(headers: Mapping[str, str], body: bytes) -> Problem | None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        return None


def _details(problem: Problem | None, status: int, request_id: str | None) -> ProblemDetails:
    if problem is None:
        detail = "the answer is no problem document; does the address name the API?"
        return ProblemDetails(status=status, detail=detail, request_id=request_id)
    try:
        rejected = _REJECTED.validate_python((problem.model_extra or {}).get("rejected") or ())
    except ValidationError:
        rejected = ()
    return ProblemDetails(
        status=status, detail=problem.detail, kind=problem.type.rpartition(":")[2],
        request_id=problem.request_id or request_id, errors=tuple(problem.errors or ()), rejected=rejected,
    )  # fmt: skip


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"
