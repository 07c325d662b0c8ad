"""Waiting for a server that is away: retry for as long as it takes, log and count each wait, lose nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from streams.base.errors import BrokerUnavailable, EncoderUnavailable, RetryableError, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 10.0
_LONGEST_ASKED_S = 60.0  # what a server may ask for: less than what counts as stuck
_SERVERS: tuple[tuple[type[RetryableError], str], ...] = (
    (EncoderUnavailable, "triton"),
    (StoreUnavailable, "qdrant"),
    (BrokerUnavailable, "kafka"),
)
_OTHER = "other"
SERVERS = (*(name for _, name in _SERVERS), _OTHER)
"""Whatever `server_of` may answer."""


def server_of(error: BaseException | None) -> str:
    """Which server an error speaks of: triton, qdrant, kafka, or other."""
    return next((name for kind, name in _SERVERS if isinstance(error, kind)), _OTHER)


def _wait_s(state: RetryCallState, longest_s: float) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked_s = error.retry_after_s if isinstance(error, RetryableError) else 0.0
    backoff_s = wait_random_exponential(multiplier=0.1, max=longest_s)(state)
    return max(min(asked_s, _LONGEST_ASKED_S), min(longest_s, asked_s + backoff_s))


def forever(
    waiting: Callable[[str], None],
    given_up: Callable[[], bool] = lambda: False,
    *,
    longest_wait_s: float = LONGEST_WAIT_S,
) -> AsyncRetrying:
    """A tenacity loop over RetryableError that ends only when `given_up` says so, then raising the error.

    `waiting` gets the server's name before each wait: it counts them, and notes that the wait is on purpose. Waits
    grow up to `longest_wait_s`; a server may ask for a longer one.
    """

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        server = server_of(error)
        waiting(server)
        log.warning("waiting", server=server, attempt=state.attempt_number, error=str(error))

    return AsyncRetrying(
        retry=retry_if_exception_type(RetryableError),
        wait=lambda state: _wait_s(state, longest_wait_s),
        stop=lambda _: given_up(),
        before_sleep=before_sleep,
        reraise=True,
    )


async def answered(
    waiting: Callable[[str], None], call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs
) -> T:
    """What `call` returns once its server answers."""
    async for attempt in forever(waiting):
        with attempt:
            return await call(*args, **named)
    raise AssertionError("the loop ends by returning or raising")  # tenacity's iterator has no other end
