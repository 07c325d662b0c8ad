"""What both clients share: the address, the credentials, requests made of calls, answers read, retries."""

from __future__ import annotations

import inspect
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Final, TypeVar, get_args

import httpx
from httpx_sse import SSEError
from pydantic import ValidationError
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay

from streams.base.addresses import is_loopback
from streams.client.calls import EVENTS, JSON, Call
from streams.client.errors import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    ProblemDetails,
    RateLimited,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    error_of,
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

MAX_ANSWER_BYTES: Final = 64 << 20
"""A larger answer is not read: no answer of the API is near it."""
_LINE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call that may be repeated is made, and how long between: from `base_s`, doubling, up to `cap_s`.

    What the API asks for with `Retry-After` is waited in any case. A wait that would pass the call's deadline is not
    begun.
    """

    attempts: int = 4
    base_s: float = 0.2
    cap_s: float = 5.0

    def wait_s(self, attempt: int, error: BaseException | None, spread: float) -> float:
        """Seconds before the attempt after `attempt` (from 1); `spread` from 0 to 1 keeps clients from falling in step.

        Full jitter over the exponential backoff, on top of what the API asked for.
        """
        backoff_s = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 30)) * spread
        asked_s = error.retry_after_s if isinstance(error, RateLimited | Unavailable) else 0.0
        return asked_s + backoff_s


def may_repeat(error: BaseException) -> bool:
    """Whether the same call may succeed later: 429, 503, or a connection that could not be made."""
    if isinstance(error, Unavailable):
        return error.status == 503
    return isinstance(error, RateLimited | Unreachable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """One API: `url` without a slash at its end, and what all requests share. Holds no connection."""

    url: httpx.URL
    credential: Callable[[], str | None] = field(repr=False)
    deadline_s: float
    retries: Retries
    spread: Callable[[], float]

    @property
    def trust_env(self) -> bool:
        """Whether proxies named in the environment apply: not to this machine's own addresses."""
        return not is_loopback(self.url.host)

    def request(self, call: Call[Any], timeout_s: float) -> httpx.Request:
        """The request of a call."""
        headers = {"Accept": f"{call.accept}, application/problem+json", "User-Agent": "interest-streams"}
        if call.accept == EVENTS:
            headers["Cache-Control"] = "no-store"
        if call.body is not None:
            headers["Content-Type"] = JSON
        if key := self.credential():
            headers["Authorization"] = f"Bearer {key}"
        url = self.url.copy_with(raw_path=self.url.raw_path.rstrip(b"/") + call.path.encode("ascii"))
        if call.params:
            url = url.copy_merge_params(list(call.params))
        timeout = httpx.Timeout(max(timeout_s, 0.001)).as_dict()
        return httpx.Request(call.method, url, headers=headers, content=call.body, extensions={"timeout": timeout})

    def verified(self, verify: ssl.SSLContext | bool) -> ssl.SSLContext | bool:
        """How to check certificates: loading those of the system takes a while and is left out where none is shown."""
        return verify if self.url.scheme == "https" else False

    def is_bad(self, call: Call[Any], status: int, headers: Mapping[str, str]) -> bool:
        """Whether an answer is an error, or none that this call may have."""
        return status not in call.answers or _kind(headers) != call.accept

    def error(self, call: Call[Any], status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
        """The error that a bad answer stands for."""
        if status not in call.answers or not 200 <= status < 300:
            return error_of(status, headers, body, time.time())
        return UnexpectedAnswer(
            "this is not the API's answer",
            f"got {_kind(headers) or 'no content type'}, expected {call.accept}; does the address name the API?",
        )

    def parse(self, call: Call[T], body: bytes, status: int, headers: Mapping[str, str]) -> T:
        """One JSON document of an answer, as its type."""
        try:
            return call.read(body)
        except ValidationError as error:
            raise self.misread(error, status, headers.get("x-request-id")) from error

    def misread(
        self, error: ValidationError, status: int | None = None, request_id: str | None = None
    ) -> UnexpectedAnswer:  # fmt: skip
        """The error of an answer that its type refuses: names fields, never values."""
        fields = sorted({".".join(map(str, one["loc"])) or "the whole" for one in error.errors()})
        return UnexpectedAnswer(
            "the answer does not fit this client",
            ProblemDetails(
                status=status, request_id=request_id,
                detail=f"see {', '.join(fields[:3])}; are client and server of the same version?",
            ),
        )  # fmt: skip

    def failed(self, error: httpx.HTTPError | SSEError, deadline_s: float) -> ApiError:
        """What an exception of the transport means."""
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ReadTimeout | httpx.WriteTimeout):
            return self.late(deadline_s)
        if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
            reason = str(error) or type(error).__name__
            return Unreachable("the API does not answer", f"{self.address}: {reason}")
        return UnexpectedAnswer("the API could not be asked", str(error) or type(error).__name__)

    def late(self, deadline_s: float) -> DeadlineExceeded:
        """The error of a call that took too long."""
        return DeadlineExceeded(
            "the API did not answer in time",
            f"{self.address} had {deadline_s:g} s; give it more, or ask for less",
        )

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return f"{self.url.scheme}://{self.url.netloc.decode('ascii')}"

    def retrying(self, call: Call[Any], deadline_s: float) -> dict[str, Any]:
        """Arguments of tenacity's `Retrying` and `AsyncRetrying` alike."""

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return self.retries.wait_s(state.attempt_number, error, self.spread())

        attempts = self.retries.attempts if call.repeatable else 1
        return {
            "retry": retry_if_exception(may_repeat), "wait": wait, "reraise": True,
            "stop": stop_after_attempt(attempts) | stop_before_delay(deadline_s),
        }  # fmt: skip


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def with_self(method: F, build: Callable[..., Any], rows: Any = None) -> F:
    """Give a method the signature of what builds its call, for `help`; `rows`: its iterator's type."""
    signature = inspect.signature(build, eval_str=True)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    update_wrapper(method, build)
    answer = get_args(signature.return_annotation)[-1]
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]  # read by inspect
        parameters=[own, *signature.parameters.values()], return_annotation=rows[answer] if rows else answer
    )
    return method


def too_large() -> UnexpectedAnswer:
    """The error of an answer beyond `MAX_ANSWER_BYTES`."""
    return UnexpectedAnswer("the answer is too large", f"more than {MAX_ANSWER_BYTES >> 20} MiB")


def core_of(
    url: str, key: str | None, token: str | Callable[[], str] | None, deadline_s: float, retries: Retries,
    spread: Callable[[], float],
) -> Core:  # fmt: skip
    """Check what a client was given. Raises BadRequest; the credential is in no message."""
    if key is not None and token is not None:
        raise BadRequest("got both key and token, expected one")
    given = key if key is not None else token
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:  # says what does not fit, which may be a piece of a password
        raise BadRequest("the address of the API is no URL: expected one such as http://127.0.0.1:8080") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise BadRequest("the address of the API does not fit: expected one such as http://127.0.0.1:8080")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise BadRequest("the address of the API holds more than scheme, host, port and path: give the key as a key")
    if not deadline_s > 0:
        raise BadRequest(f"got deadline_s {deadline_s:g}, expected more than 0")
    if isinstance(given, str) and not (given.isascii() and given.isprintable() and given.strip() == given and given):
        raise BadRequest("the key does not fit into a header: expected printable ASCII without spaces around it")
    credential = given if callable(given) else lambda: given
    return Core(url=parsed, credential=credential, deadline_s=deadline_s, retries=retries, spread=spread)


class Body:
    """A body that comes in pieces, `MAX_ANSWER_BYTES` at most."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Add one more; raises UnexpectedAnswer where it is too much."""
        self._size += len(piece)
        if self._size > MAX_ANSWER_BYTES:
            raise too_large()
        self._pieces.append(piece)

    def whole(self) -> bytes:
        """All of it."""
        return b"".join(self._pieces)


class Lines:
    """Whole lines of a body that comes in pieces; one line holds 1 MiB at most."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece has completed, without empty ones."""
        *whole, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _LINE_BYTES:
            raise too_large()
        return [line for line in whole if line.strip()]

    def end(self) -> list[bytes]:
        """What is left once the body has ended."""
        return [self._rest] if self._rest.strip() else []
