"""Why a connection ends before its request is answered, and the problem that its caller reads then."""

from __future__ import annotations

import json
from email.utils import formatdate
from enum import Enum
from http import HTTPStatus
from typing import Literal

HEAD_BYTES = 64 << 10
"""Of a head, and of what frames a chunked body beyond the body's own bytes."""
HEAD_FIELDS = 100
_URN = "urn:interest-streams:problem:"


#: The kinds of problem that a caller may read; of an eviction they read nothing.
ConnectionKind = Literal[
    "head-too-large", "head-too-slow", "body-too-slow", "bad-framing", "bad-request", "connections-full"
]


class Refusal(Enum):
    """Why a connection ends: the problem's status, kind and sentence."""

    HEAD_TOO_LARGE = (431, "head-too-large", f"A request's head: at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields.")
    HEAD_TOO_SLOW = (408, "head-too-slow", "The request's head did not end in time.")
    BODY_TOO_SLOW = (408, "body-too-slow", "The request's body did not end in time.")
    FRAMING = (400, "bad-framing", "The body's chunks are too small, or say more than the body does.")
    NO_HTTP = (400, "bad-request", "This is no HTTP request.")
    FULL = (503, "connections-full", "Too many connections; try again later.")
    PIPELINED = (0, "pipelined", "")
    EVICTED = (0, "evicted", "")
    UNREAD = (0, "unread", "")


def answer_of(why: Refusal) -> bytes:
    """The bytes of the last answer of a connection; `why` is one that has a status."""
    status, kind, detail = why.value
    phrase = HTTPStatus(status).phrase
    body = json.dumps({"type": _URN + kind, "title": phrase, "status": status, "detail": detail})
    retry = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    return (
        f"HTTP/1.1 {status} {phrase}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n{body}"
    ).encode()
