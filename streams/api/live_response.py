"""The response that streams a tree to one watcher: each change that the hub hands on, with names and evidence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import time
from typing import Any, Final

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from streams.api.admission import Caller, require
from streams.api.backends import Backends
from streams.api.interest_tree import NodeView, TreeQuery, chosen, item_ids, level_masses, living
from streams.api.live_hub import TooManyOfOne, Watcher
from streams.api.models import InterestNode, LiveEvent, LiveUpdate
from streams.api.problems import ApiProblem, document
from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Node

HEARTBEAT_S: Final = 15.0
RETRY_MS: Final = 2_000
#: How long an update waits for Qdrant. The stream ends then, and the next begins with a tree that names no events.
STORE_WAIT_S: Final = 10.0
#: When a caller who watches too many trees may ask again: one of theirs has to end first.
FULL_RETRY_S: Final = 15.0
_EVIDENCE: Final = 5

log = structlog.get_logger(__name__)


class LiveTree:
    """One watcher's copy of a tree. It reads the tree once, then only the nodes that a change has touched."""

    def __init__(self, backends: Backends, user_id: str) -> None:
        self._backends, self._user_id = backends, user_id
        self._nodes: dict[str, Node] = {}

    async def whole(self, missed: LiveUpdate | None = None) -> LiveUpdate:
        """The tree as it is now; with the events of an update that was too large to hold its nodes."""
        backends, at_ms = self._backends, int(time() * 1000)
        nodes = await backends.reader.tree(self._user_id, vectors=False)
        self._nodes = {node.id: node for node in nodes}
        alive = chosen(living(nodes, at_ms, backends.policy), at_ms, backends.policy, TreeQuery())
        update = LiveUpdate(
            user_id=self._user_id, at_ms=at_ms, whole=True, erased_at_ms=self._erased_at_ms,
            nodes=await self._shown(alive, at_ms),
        )  # fmt: skip
        if missed is None:
            return update
        return update.model_copy(update={"erased": missed.erased, "events": await self._with_titles(missed)})

    async def change(self, update: LiveUpdate) -> LiveUpdate:
        """An update with names, titles, shares and evidence, and with learned nodes, which nobody announces.

        A model speaks some time after the events: what it said of those before is what is shown.
        """
        if update.erased:
            self._nodes.clear()
        learned = [node.id for node in self._nodes.values() if node.learned]
        ids = dict.fromkeys([*(node.id for node in update.nodes), *learned])
        touched = await self._backends.reader.nodes(self._user_id, list(ids), vectors=False)
        self._nodes.update({node.id: node for node in touched})
        events = await self._with_titles(update)
        at_ms = max([update.at_ms, *(node.t0_ms for node in touched)])
        nodes = await self._shown(living(touched, at_ms, self._backends.policy), at_ms)
        return update.model_copy(update={"nodes": nodes, "events": events, "erased_at_ms": self._erased_at_ms})

    @property
    def _erased_at_ms(self) -> int | None:
        return max((node.erased_at_ms for node in self._nodes.values()), default=0) or None

    async def _with_titles(self, update: LiveUpdate) -> list[LiveEvent]:
        """The events of an update with their items' titles; none of before an erasure, whoever announced it."""
        events = [event for event in update.events if event.ts_ms > (self._erased_at_ms or 0)]
        titles = await self._backends.catalogue.titles(event.item_id or "" for event in events)
        return [event.model_copy(update={"title": titles.get(event.item_id or "")}) for event in events]

    async def _shown(self, nodes: list[Node], at_ms: int) -> list[InterestNode]:
        backends = self._backends
        titles = await backends.catalogue.titles(item_ids(nodes, _EVIDENCE))
        view = NodeView(at_ms=at_ms, policy=backends.policy, name_of=backends.names, titles=titles)
        masses = level_masses(living(self._nodes.values(), at_ms, backends.policy), at_ms, backends.policy)
        return [view.node(node, masses.get(node.key.level, 0.0), evidence=_EVIDENCE) for node in nodes]


async def updates(backends: Backends, watcher: Watcher, tree: LiveTree) -> AsyncGenerator[LiveUpdate | None]:
    """What to send after the whole tree: changes as they come, None for a heartbeat, until the service stops."""
    stopping = asyncio.ensure_future(backends.stopping.wait())
    coming: asyncio.Future[LiveUpdate] = asyncio.ensure_future(anext(watcher))
    try:
        while True:
            waited: set[asyncio.Future[Any]] = {coming, stopping}
            await asyncio.wait(waited, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return
            if not coming.done():
                yield None
                continue
            try:
                update = coming.result()
            except StopAsyncIteration:
                return
            coming = asyncio.ensure_future(anext(watcher))
            if update.resync:
                backends.metrics.live_interrupted.labels("resync").inc()
            try:
                yield await _read_once_the_store_answers(backends, tree, update)
            except StoreUnavailable as error:
                backends.metrics.live_interrupted.labels("store").inc()
                log.warning("live_stream_ended", error=str(error))
                return  # the client connects again, and begins with the whole tree or the error
    finally:
        stopping.cancel()
        coming.cancel()


async def _read_once_the_store_answers(backends: Backends, tree: LiveTree, update: LiveUpdate) -> LiveUpdate:
    """The update with what the store holds; while that is away tried again for `STORE_WAIT_S`, or until the stop."""
    attempts = AsyncRetrying(
        retry=retry_if_exception_type(StoreUnavailable), wait=wait_random_exponential(multiplier=0.1, max=1.0),
        stop=lambda state: backends.stopping.is_set() or stop_after_delay(STORE_WAIT_S)(state), reraise=True,
    )  # fmt: skip
    return await attempts(tree.whole if update.resync else tree.change, update)


class LiveResponse(Response):
    """Server-sent events: the whole tree, then every change; a comment every 15 seconds keeps the connection alive.

    The caller's credentials are judged again before each of them: a stream ends with its key.
    """

    media_type = "text/event-stream"

    def __init__(self, backends: Backends, user_id: str, caller: Caller) -> None:
        super().__init__()
        self._backends, self._user_id, self._caller = backends, user_id, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one watcher until they leave, fall behind for good, or the service stops."""
        backends = self._backends
        hub = await backends.started_hub()
        name = self._caller.judged().name if backends.access.required else None
        try:
            async with hub.subscribe(self._user_id, name) as watcher:
                await self._stream(watcher, receive, send)
        except TooManyOfOne as error:
            backends.metrics.refused.labels("live").inc()
            detail = f"This key has its share of all live streams open ({backends.settings.api.live_share:g}): end one."
            problem = ApiProblem(429, "too-many-live-streams", detail, retry_after_s=FULL_RETRY_S)
            raise problem from error

    async def _stream(self, watcher: Watcher, receive: Receive, send: Send) -> None:
        backends = self._backends
        tree = LiveTree(backends, self._user_id)
        first = await tree.whole()
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"),
                   (b"x-accel-buffering", b"no")]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        backends.metrics.live.inc()
        gone = asyncio.ensure_future(_disconnected(receive))
        serving = asyncio.ensure_future(self._serve(send, first, watcher, tree))
        try:
            await asyncio.wait({gone, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            backends.metrics.live.dec()
            gone.cancel()
            serving.cancel()
            await asyncio.gather(gone, serving, return_exceptions=True)

    async def _serve(self, send: Send, first: LiveUpdate, watcher: Watcher, tree: LiveTree) -> None:
        number = 0
        try:
            await send(_chunk(b"retry: %d\n\n" % RETRY_MS + _event(first, 0)))
            async with aclosing(updates(self._backends, watcher, tree)) as changes:
                async for update in changes:
                    require(self._caller.judged(), "read")
                    number += update is not None
                    await send(_chunk(b": still here\n\n" if update is None else _event(update, number)))
        except ApiProblem as problem:
            self._backends.metrics.live_interrupted.labels("access").inc()
            await send(_chunk(b"event: ended\ndata: %s\n\n" % bytes(document(problem, None).body)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _event(update: LiveUpdate, number: int) -> bytes:
    return b"id: %d\nevent: update\ndata: %s\n\n" % (number, update.model_dump_json().encode())


def _chunk(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
