"""Bodies as they come: bounded, and unpacked where they are compressed; and what a caller accepts."""

from __future__ import annotations

import zlib
from typing import Final

from starlette.types import Message, Receive, Scope

from streams.api.problems import BodyRefused, body_too_large

#: What `Content-Encoding` may say, and zlib's number for it (RFC 9110, section 8.4.1).
CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
#: What is behind a member of gzip is copied once a member: of a whole body with very many that would be quadratic.
_SLICE: Final = 4 << 10
_ACCEPTED: Final = {"Accept-Encoding": "gzip, deflate"}


def bounded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """A request's messages with its body unpacked: `limit` bounds it as it comes and as it is unpacked.

    Reading raises BodyRefused: 413 past the limit, 415 where the coding is not known, 400 where the body is not what
    the header says. Nothing past the limit is unpacked.
    """
    coding = header(scope, b"content-encoding").strip().lower()
    declared = header(scope, b"content-length")
    # Where too much is announced, the first read is refused.
    received = limit + 1 if declared.isdigit() and int(declared) > limit else 0
    unpacking = _Unpacking(coding, limit) if coding not in ("", "identity") else None

    async def read() -> Message:
        nonlocal received
        if received > limit:
            raise body_too_large(limit)
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise body_too_large(limit)
        if unpacking is None or message["type"] != "http.request":
            return message
        body = unpacking.add(message.get("body", b""), last=not message.get("more_body", False))
        return {**message, "body": body}

    return read


class _Unpacking:
    """A compressed body, unpacked piece by piece."""

    def __init__(self, coding: str, limit: int) -> None:
        self._coding, self._limit, self._left, self._begun = coding, limit, limit, False
        self._decoder = zlib.decompressobj(CODINGS[coding]) if coding in CODINGS else None

    def add(self, piece: bytes, *, last: bool) -> bytes:
        """What a piece of the body unpacks to."""
        self._begun = self._begun or bool(piece)
        if not self._begun:
            return b""  # no body at all: nothing is packed, whatever the header says
        if self._decoder is None:
            detail = "Expected a body that is packed with gzip or deflate, or not at all."
            raise BodyRefused(415, "unknown-coding", detail, headers=_ACCEPTED)
        unpacked = []
        for at in range(0, len(piece), _SLICE):
            rest = piece[at : at + _SLICE]
            while rest:
                if self._decoder.eof:
                    self._decoder = self._next_member()
                unpacked.append(self._unpack(self._decoder, rest))
                rest = self._decoder.unused_data
        if last and not self._decoder.eof:
            raise self._refused()
        return b"".join(unpacked)

    def _next_member(self) -> zlib._Decompress:
        """gzip may be several members, one behind the other (RFC 1952, section 2.2)."""
        if self._coding == "deflate":
            raise self._refused()
        return zlib.decompressobj(CODINGS[self._coding])

    def _unpack(self, decoder: zlib._Decompress, piece: bytes) -> bytes:
        try:
            unpacked = decoder.decompress(piece, self._left + 1)
        except zlib.error:
            raise self._refused() from None
        self._left -= len(unpacked)
        if self._left < 0:
            raise body_too_large(self._limit)
        return unpacked

    def _refused(self) -> BodyRefused:
        expected = "gzip (RFC 1952)" if self._coding != "deflate" else "deflate in zlib's format (RFC 1950)"
        return BodyRefused(400, "bad-coding", f"The body is not whole {expected}, as its head says.")


def header(scope: Scope, name: bytes) -> str:
    """A header of a request, the values of several joined by commas; "" where there is none."""
    return ", ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def accepts(given: str, wanted: str) -> bool:
    """Whether a header such as Accept or Accept-Encoding names what is wanted, and not with a quality of 0."""
    for entry in given.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        if name == wanted:
            return not any(_is_zero(one) for one in parameters)
    return False


def _is_zero(parameter: str) -> bool:
    name, _, number = parameter.partition("=")
    return name.strip() == "q" and not number.strip().strip("0.")
