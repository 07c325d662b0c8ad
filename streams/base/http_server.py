"""uvicorn with bounds on what a caller can hold before a request is whole: bytes, time, connections.

uvicorn's parser keeps a request's head until it ends, however long it is and however long that takes, and asyncio
accepts connections until there are no file descriptors. Here a head has a size and a deadline, a body a deadline and a
bound on its framing, and a process a number of connections. Written for uvicorn 0.54 with httptools 0.9, of which it
uses what `HttpToolsProtocol` has had since 0.35; tests/integration/test_http_server.py holds what it does.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import resource
import struct
import termios
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from itertools import chain
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from streams.base.refusals import HEAD_BYTES, HEAD_FIELDS, Refusal, answer_of

log = structlog.get_logger(__name__)
# uvicorn would warn once a request that is no HTTP: a caller could fill the log. `Connections.report` counts them.
_UVICORN = logging.getLogger("uvicorn.error.connection")
_UVICORN.setLevel(logging.ERROR)

PIPELINED = 32  # requests of one connection that wait for the answer before theirs
UNREAD_BYTES = 128 << 20  # of answers that callers do not take, in a process
KEEP_ALIVE_S = 30
FILES_KEPT = 256
"""File descriptors that are left for all else: servers behind, logs, connections accepted in one burst."""
_BACKLOG = 128


class _Refused(Exception):
    """Raised in a callback of the parser, which ends with it."""


@dataclass(slots=True)
class Connections:
    """The connections of a process: at most `limit`; `refused` is called with the kind of each refusal.

    Where the limit is reached, the one that has waited longest for a request to become whole makes place, so that who
    opens connections and says nothing shuts out nobody; after these the one that has left its answer unread longest.
    Only where all others are being answered is a new one refused.

    In seconds: `head_s` and `body_s` for a request's head and body; `linger_s` for a connection that is to end (its
    caller reads the answer, what they still send is dropped); `unread_s` for an answer of which nothing is taken.
    """

    limit: int
    refused: Callable[[str], None] = lambda kind: None
    head_s: float = 10.0
    body_s: float = 30.0
    linger_s: float = 3.0
    unread_s: float = 30.0
    waiting: dict[BoundedProtocol, None] = field(default_factory=dict)  # longest first, as the next
    unread: dict[BoundedProtocol, None] = field(default_factory=dict)  # with more than the transport likes to keep
    unreported: Counter[str] = field(default_factory=Counter)

    def refuse(self, kind: str) -> None:
        """Count a refusal."""
        self.refused(kind)
        self.unreported[kind] += 1

    def bound_unread(self) -> None:
        """End those that have left their answers unread longest, until what is kept is within the bound."""
        kept = sum(one.transport.get_write_buffer_size() for one in self.unread)
        while kept > UNREAD_BYTES:
            longest = next(iter(self.unread))
            kept -= longest.transport.get_write_buffer_size()
            longest.refuse(Refusal.EVICTED)

    def report(self) -> None:
        """One line for all that were refused since the last."""
        if self.unreported:
            log.warning("connections_refused", **self.unreported)
            self.unreported.clear()

    def config(self, app: Any, **options: Any) -> uvicorn.Config:
        """uvicorn's configuration of an application behind these bounds."""

        def protocol(**given: Any) -> BoundedProtocol:
            return BoundedProtocol(self, **given)

        return uvicorn.Config(
            app, http=protocol, ws="none", log_config=None, access_log=False, server_header=False,  # type: ignore[arg-type]  # uvicorn calls it as it would a class
            proxy_headers=False, backlog=_BACKLOG, timeout_keep_alive=KEEP_ALIVE_S, **options,
        )  # fmt: skip


class _Phase(Enum):
    NEW, IDLE, HEAD, BODY, OVER = range(5)


class BoundedProtocol(HttpToolsProtocol):
    """A connection that ends where its request does not."""

    def __init__(self, among: Connections, **given: Any) -> None:
        super().__init__(**given)
        self._among, self.logger = among, _UVICORN
        self._phase, self._since = _Phase.NEW, 0.0
        self._received = 0  # bytes of the head; of the body's framing and content
        self._chunk = 0  # bytes being parsed
        self._content = 0  # bytes of the body
        self._ending_since: float | None = None
        self._untaken = 0  # bytes, when they were last looked at
        self._unread_since: float | None = None
        self._answering: RequestResponseCycle | None = None  # uvicorn's `cycle` is the one that came last

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a place, another's if need be."""
        super().connection_made(transport)
        self._since = self.loop.time()
        if len(self.connections) > self._among.limit:
            longest = next(chain(self._among.waiting, self._among.unread), None)
            if longest is None:
                self.refuse(Refusal.FULL)
                self.connections.discard(self)
                return
            longest.refuse(Refusal.EVICTED)
        self._among.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._among.waiting.pop(self, None)
        self._among.unread.pop(self, None)
        self._phase = _Phase.OVER
        self._tell_gone()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The caller does not take what was written."""
        super().pause_writing()
        self._among.unread[self] = None
        self._among.bound_unread()

    def resume_writing(self) -> None:
        """They do again."""
        self._among.unread.pop(self, None)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse, and hold what has come so far against the bounds."""
        if self._phase is _Phase.OVER:
            return
        if self._phase in (_Phase.NEW, _Phase.IDLE):
            self._phase, self._since, self._received = _Phase.HEAD, self.loop.time(), 0
        self._chunk = len(data)
        super().data_received(data)
        self._received += len(data)
        if self._phase is _Phase.HEAD and (self._received > HEAD_BYTES or len(self.headers or ()) > HEAD_FIELDS):
            self.refuse(Refusal.HEAD_TOO_LARGE)
        elif self._phase is _Phase.BODY and self._received - self._content > HEAD_BYTES + self._content:
            self.refuse(Refusal.FRAMING)

    def on_message_begin(self) -> None:
        """A head begins; not with these bytes where another request ended in them."""
        if self._phase is not _Phase.HEAD:
            self._phase, self._since, self._received = _Phase.HEAD, self.loop.time(), -self._chunk
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or begin to answer."""
        if self._received + self._chunk > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > HEAD_BYTES or len(self.headers) > HEAD_FIELDS:
                raise _Refused
        self._phase, self._since, self._received, self._content = _Phase.BODY, self.loop.time(), -self._chunk, 0
        super().on_headers_complete()
        self.headers = []  # fields behind a chunked body are none of the head's
        if not self.pipeline:
            self._answering = self.cycle
        elif len(self.pipeline) > PIPELINED:
            self.refuse(Refusal.PIPELINED)
            raise _Refused

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: nobody takes its place any more."""
        self._phase = _Phase.IDLE
        self._among.waiting.pop(self, None)
        super().on_message_complete()
        if self.cycle.response_complete:  # answered before it ended, so nothing else will set the timer
            self._ending_since, self._among.waiting[self] = None, None
            self.timeout_keep_alive_task = self.loop.call_later(KEEP_ALIVE_S, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """Answered: the connection waits again, for another request or for the rest of this one."""
        if self.pipeline:
            self._answering = self.pipeline[-1][0]
        super().on_response_complete()
        answered = self.cycle.response_complete  # the last that came
        if self._phase is _Phase.BODY or (answered and self._phase is not _Phase.OVER):
            self._among.waiting[self] = None
            if self._phase is _Phase.BODY and answered:  # a rest that nobody reads
                self._ending_since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take."""
        if self._phase is _Phase.OVER:
            return
        over = self._received + self._chunk > HEAD_BYTES or len(self.headers or ()) > HEAD_FIELDS
        too_large = self._phase is _Phase.HEAD and over
        self.refuse(Refusal.HEAD_TOO_LARGE if too_large else Refusal.NO_HTTP)

    def check(self, now_s: float) -> None:
        """End what takes too long; called every second."""
        if self._ending_since is not None:
            if now_s - self._ending_since > self._among.linger_s:
                self.transport.abort()
            return
        before, self._untaken = self._untaken, _untaken(self.transport)
        if not self.flow.write_paused and not self.transport.is_closing() and not self._untaken >= before > 0:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now_s
        elif now_s - self._unread_since > self._among.unread_s:
            self.refuse(Refusal.UNREAD)
            return
        waited_s = now_s - self._since
        if self._phase is _Phase.HEAD and waited_s > self._among.head_s:
            self.refuse(Refusal.HEAD_TOO_SLOW)
        elif self._phase is _Phase.BODY and waited_s > self._among.body_s:
            self.refuse(Refusal.BODY_TOO_SLOW)
        elif self._phase is _Phase.NEW and waited_s > self._among.head_s:
            self.transport.close()  # it never said anything

    def refuse(self, why: Refusal) -> None:
        """End the connection: with a problem where an answer can still be given, else at once."""
        self._phase = _Phase.OVER
        self._among.waiting.pop(self, None)
        self._among.unread.pop(self, None)
        self._among.refuse(why.value[1])
        underway = self.cycle is not None and not self.cycle.response_complete
        answering = underway and (self.cycle.response_started or bool(self.pipeline))
        if underway:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._tell_gone()
        if why in (Refusal.PIPELINED, Refusal.EVICTED, Refusal.UNREAD) or answering or self.transport.is_closing():
            self.connections.discard(self)
            self.transport.abort()
            return
        self.transport.write(answer_of(why))
        if why is not Refusal.FULL and self.transport.can_write_eof():
            # Closed at once, with bytes unread, the answer would be lost on its way.
            self._ending_since = self.loop.time()
            self.transport.write_eof()
        else:
            self.transport.close()

    def _tell_gone(self) -> None:
        """Tell the request that is being answered; uvicorn tells only the last that came."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()


def _untaken(transport: asyncio.Transport) -> int:
    """Bytes of answers that the caller's machine has not acknowledged.

    The transport's own buffer fills only behind the kernel's, which takes megabytes: the small pieces of a stream that
    nobody reads would go on for hours. What the caller's kernel took cannot be seen.
    """
    try:
        queued = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return int(struct.unpack("i", queued)[0]) + transport.get_write_buffer_size()


class BoundedServer(uvicorn.Server):
    """A server that looks after its connections every second."""

    def __init__(self, connections: Connections, app: Any, **options: Any) -> None:
        super().__init__(connections.config(app, **options))
        self._bounds = connections

    async def on_tick(self, counter: int) -> bool:
        """uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            now_s = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                connection.check(now_s)  # type: ignore[union-attr]  # all are made by Connections.config
            self._bounds.report()
        return await super().on_tick(counter)


def connections_within_open_files(wanted: int) -> int:
    """How many connections this process may hold: `wanted`, or fewer where it may not open so many files.

    Raises its soft limit on open files as far as `wanted` needs and the hard limit allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + FILES_KEPT
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - FILES_KEPT))
