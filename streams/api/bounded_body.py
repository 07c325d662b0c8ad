"""The body of another server's answer, with a bound on its bytes."""

from __future__ import annotations

from typing import Final

import httpx

#: What a request for one sends: a few kB that are compressed may be GB, so nothing is unpacked.
PLAIN: Final = {"Accept-Encoding": "identity"}


async def bounded_body(response: httpx.Response, most_bytes: int) -> bytes | None:
    """The body as it came; None where it has more than `most_bytes`."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most_bytes:
            return None
    return bytes(body)
