"""The client for programs with an event loop (asyncio)."""

from __future__ import annotations

import asyncio
import copy
import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx
from httpx_sse import EventSource, SSEError
from tenacity import AsyncRetrying

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


def _method(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncInterestClient, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncInterestClient, /, *args: P.args, **named: P.kwargs) -> T:
        return await self._ask(build(*args, **named))

    return with_self(method, build)


def _paged(build: Callable[P, Pages[G, T]]) -> Callable[Concatenate[AsyncInterestClient, P], AsyncGenerator[T, None]]:
    def method(self: AsyncInterestClient, /, *args: P.args, **named: P.kwargs) -> AsyncGenerator[T, None]:
        return self._rows(build(*args, **named))

    return with_self(method, build, AsyncIterator)


def _streamed(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncInterestClient, P], AsyncGenerator[T, None]]:
    def method(self: AsyncInterestClient, /, *args: P.args, **named: P.kwargs) -> AsyncGenerator[T, None]:
        return self._lines(build(*args, **named))

    return with_self(method, build, AsyncIterator)


class AsyncInterestClient:
    """`InterestClient` with `await`, `async for` and `async with`; its documentation holds here too.

    One client serves all tasks of one event loop. Cancelling a task ends its call.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8080", *, key: str | None = None,
        token: str | Callable[[], str] | None = None, deadline_s: float = 10.0, retries: Retries | None = None,
        verify: ssl.SSLContext | bool = True, transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._core = core_of(url, key, token, deadline_s, retries or Retries(), random.random)
        self._deadline_s = deadline_s
        self._http = httpx.AsyncClient(
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
        """This client with another deadline, on the same connections."""
        other = copy.copy(self)
        other._deadline_s = deadline_s
        return other

    async def live(
        self, user_id: str, *, patience_s: float | None = 300.0,
        on_wait: Callable[[TryLater, float], None] | None = None,
    ) -> AsyncGenerator[LiveUpdate, None]:  # fmt: skip
        """A user's tree as it changes; see `InterestClient.live`."""
        call = calls.live(user_id)
        reconnection = Reconnection(
            core=self._core, deadline_s=self._deadline_s, patience_s=patience_s, away_since_s=time.monotonic()
        )
        while True:
            try:
                async with aclosing(self._updates(call, reconnection)) as updates:
                    async for update in updates:
                        yield update
                broken: TryLater = stream_ended()
            except TryLater as error:
                broken = error
            wait_s = reconnection.wait_s(broken, time.monotonic())
            if on_wait is not None:
                on_wait(broken, wait_s)
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Close the connections, those of clients made by `within` too."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Use it in an `async with` block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        await self.close()

    async def _ask(self, call: Call[T]) -> T:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await AsyncRetrying(**self._core.retrying(call, self._deadline_s))(self._once, call)
        except TimeoutError as error:
            raise self._core.late(self._deadline_s) from error

    async def _once(self, call: Call[T]) -> T:
        async with self._open(call) as response:
            body = Body()
            async for piece in response.aiter_bytes():
                body.add(piece)
            return self._core.parse(call, body.whole(), response.status_code, response.headers)

    async def _rows(self, pages: Pages[G, T]) -> AsyncGenerator[T, None]:
        call: Call[G] | None = pages.ask(None)
        while call is not None:
            page = await self._ask(call)
            for row in pages.rows(page):
                yield row
            call = pages.after(page)

    async def _lines(self, call: Call[T]) -> AsyncGenerator[T, None]:
        lines = Lines()
        async with self._open(call) as response:
            async for piece in response.aiter_bytes():
                for line in lines.feed(piece):
                    yield self._core.parse(call, line, response.status_code, response.headers)
            for line in lines.end():
                yield self._core.parse(call, line, response.status_code, response.headers)

    async def _updates(self, call: Call[None], reconnection: Reconnection) -> AsyncGenerator[LiveUpdate, None]:
        async with self._open(call, silent_s=SILENT_S) as response:
            async for event in EventSource(response).aiter_sse():
                if update := reconnection.read(event, time.monotonic()):
                    yield update

    @asynccontextmanager
    async def _open(self, call: Call[Any], silent_s: float | None = None) -> AsyncIterator[httpx.Response]:
        """An answer whose status is good, its body unread; `silent_s` bounds each wait for more of the body."""
        request = self._core.request(call, self._deadline_s)
        try:
            response = await self._http.send(request, stream=True)
            try:
                if silent_s is not None:
                    request.extensions["timeout"]["read"] = silent_s
                if self._core.is_bad(call, response.status_code, response.headers):
                    body = Body()
                    async for piece in response.aiter_bytes():
                        body.add(piece)
                    raise self._core.error(call, response.status_code, response.headers, body.whole())
                yield response
            finally:
                await response.aclose()
        except (httpx.HTTPError, SSEError) as error:
            raise self._core.failed(error, self._deadline_s) from error
