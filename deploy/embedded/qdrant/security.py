"""Who the server says it is, and the one key it may ask for."""

from __future__ import annotations

import hmac
from importlib.metadata import version

from deploy.embedded.qdrant.errors import unauthenticated

TITLE = "qdrant - vector search engine (embedded)"


def protocol_version() -> str:
    """Return the version this server answers: that of the client library whose protocol it speaks."""
    return version("qdrant-client")


def authorise(header: str | None, authorization: str | None, api_key: str | None) -> None:
    """Raise QdrantError unless the key (header or bearer token) is the expected one; compares in constant time."""
    if api_key is None:
        return
    token = header if header is not None else (authorization or "").removeprefix("Bearer ")
    if not hmac.compare_digest(token.encode(), api_key.encode()):
        raise unauthenticated()
