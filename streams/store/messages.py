"""Qdrant's messages and stubs as `grpc`, without its client, which takes a second of processor time to import.

With the client come a few hundred pydantic models of its REST interface, and 60 MB of memory, in every process.
"""

from __future__ import annotations

from streams.base.lazy_package import init_when_asked

init_when_asked("qdrant_client")

from qdrant_client import grpc  # noqa: E402  # only now without the client

__all__ = ["grpc"]
