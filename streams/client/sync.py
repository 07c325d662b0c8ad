"""The client for programs without an event loop."""

from __future__ import annotations

import copy
import random
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
from httpx_sse import EventSource, SSEError
from tenacity import Retrying

from streams.api.models import LiveUpdate
from streams.client import calls, paging
from streams.client.calls import Call
from streams.client.core import Body, Lines, Retries, core_of, with_self
from streams.client.errors import TryLater
from streams.client.paging import Page, Pages
from streams.client.reconnection import SILENT_S, Reconnection, stream_ended

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G", bound=Page)


def _method(build: Callable[P, Call[T]]) -> Callable[Concatenate[InterestClient, P], T]:
    def method(self: InterestClient, /, *args: P.args, **named: P.kwargs) -> T:
        return self._ask(build(*args, **named))

    return with_self(method, build)


def _paged(build: Callable[P, Pages[G, T]]) -> Callable[Concatenate[InterestClient, P], Iterator[T]]:
    def method(self: InterestClient, /, *args: P.args, **named: P.kwargs) -> Iterator[T]:
        return self._rows(build(*args, **named))

    return with_self(method, build, Iterator)


def _streamed(build: Callable[P, Call[T]]) -> Callable[Concatenate[InterestClient, P], Iterator[T]]:
    def method(self: InterestClient, /, *args: P.args, **named: P.kwargs) -> Iterator[T]:
        return self._lines(build(*args, **named))

    return with_self(method, build, Iterator)


class InterestClient:
    """The API as methods with typed answers; a context manager. One client serves several threads.

    `key` is an API key; `token` a JWT, or a function that gives one that is still good. `deadline_s` bounds every call,
    its retries included (`within` for a single one). Calls that have the effect of one when made twice are repeated on
    429, 503 and broken connections as `retries` says. Errors are those of `streams.client.errors`.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8080", *, key: str | None = None,
        token: str | Callable[[], str] | None = None, deadline_s: float = 10.0, retries: Retries | None = None,
        verify: ssl.SSLContext | bool = True, transport: httpx.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._core = core_of(url, key, token, deadline_s, retries or Retries(), random.random)
        self._deadline_s = deadline_s
        self._http = httpx.Client(
            verify=self._core.verified(verify), transport=transport, trust_env=self._core.trust_env
        )  # fmt: skip

    users = _method(calls.users)
    iter_users = _paged(paging.iter_users)
    interests = _method(calls.interests)
    iter_interests = _paged(paging.iter_interests)
    recents = _method(calls.recents)
    recommendations = _method(calls.recommendations)
    rank = _method(calls.rank)
    predict = _method(calls.predict)
    explain = _method(calls.explain)
    item = _method(calls.item)
    similar = _method(calls.similar)
    similar_items = _method(calls.similar_items)
    audience = _method(calls.audience)
    export_audience = _streamed(calls.export_audience)
    send_event = _method(calls.send_event)
    send_events = _method(calls.send_events)
    put_item = _method(calls.put_item)
    put_items = _method(calls.put_items)
    delete_user = _method(calls.delete_user)
    erasure = _method(calls.erasure)
    health = _method(calls.health)

    def within(self, deadline_s: float) -> Self:
        """This client with another deadline, on the same connections: `client.within(0.2).recommendations("u1")`."""
        other = copy.copy(self)
        other._deadline_s = deadline_s
        return other

    def live(
        self, user_id: str, *, patience_s: float | None = 300.0,
        on_wait: Callable[[TryLater, float], None] | None = None,
    ) -> Iterator[LiveUpdate]:  # fmt: skip
        """A user's tree as it changes: first the whole of it, then what each batch of events has touched.

        A broken stream is connected again, and begins with the whole tree again, for `patience_s` at most (None: for
        ever); `on_wait` gets the error and the seconds until the next attempt.
        """
        call = calls.live(user_id)
        reconnection = Reconnection(
            core=self._core, deadline_s=self._deadline_s, patience_s=patience_s, away_since_s=time.monotonic()
        )
        while True:
            try:
                yield from self._updates(call, reconnection)
                broken: TryLater = stream_ended()
            except TryLater as error:
                broken = error
            wait_s = reconnection.wait_s(broken, time.monotonic())
            if on_wait is not None:
                on_wait(broken, wait_s)
            time.sleep(wait_s)

    def close(self) -> None:
        """Close the connections, those of clients made by `within` too."""
        self._http.close()

    def __enter__(self) -> Self:
        """Use it in a `with` block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        self.close()

    def _ask(self, call: Call[T]) -> T:
        until = time.monotonic() + self._deadline_s
        answer: T = Retrying(**self._core.retrying(call, self._deadline_s))(self._once, call, until)
        return answer

    def _once(self, call: Call[T], until: float) -> T:
        with self._open(call, until - time.monotonic()) as response:
            body = Body()
            for piece in response.iter_bytes():
                body.add(piece)
                if time.monotonic() > until:
                    raise self._core.late(self._deadline_s)
            return self._core.parse(call, body.whole(), response.status_code, response.headers)

    def _rows(self, pages: Pages[G, T]) -> Iterator[T]:
        call: Call[G] | None = pages.ask(None)
        while call is not None:
            page = self._ask(call)
            yield from pages.rows(page)
            call = pages.after(page)

    def _lines(self, call: Call[T]) -> Iterator[T]:
        lines = Lines()
        with self._open(call, self._deadline_s) as response:
            for piece in response.iter_bytes():
                for line in lines.feed(piece):
                    yield self._core.parse(call, line, response.status_code, response.headers)
            for line in lines.end():
                yield self._core.parse(call, line, response.status_code, response.headers)

    def _updates(self, call: Call[None], reconnection: Reconnection) -> Iterator[LiveUpdate]:
        with self._open(call, self._deadline_s, silent_s=SILENT_S) as response:
            for event in EventSource(response).iter_sse():
                if update := reconnection.read(event, time.monotonic()):
                    yield update

    @contextmanager
    def _open(self, call: Call[Any], timeout_s: float, silent_s: float | None = None) -> Iterator[httpx.Response]:
        """An answer whose status is good, its body unread; `silent_s` bounds each wait for more of the body."""
        request = self._core.request(call, timeout_s)
        try:
            response = self._http.send(request, stream=True)
            try:
                if silent_s is not None:
                    request.extensions["timeout"]["read"] = silent_s
                if self._core.is_bad(call, response.status_code, response.headers):
                    body = Body()
                    for piece in response.iter_bytes():
                        body.add(piece)
                    raise self._core.error(call, response.status_code, response.headers, body.whole())
                yield response
            finally:
                response.close()
        except (httpx.HTTPError, SSEError) as error:
            raise self._core.failed(error, self._deadline_s) from error
