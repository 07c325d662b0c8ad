"""The API's client, for programs with and without an event loop. Imports neither server nor arrays.

from streams.client import InterestClient

with InterestClient("http://127.0.0.1:8080", key="…") as client:
    for item in client.recommendations("u17", k=5, explain=True).items:
        print(f"{item.score:.3f}", item.title, [pull.name for pull in item.because[:2]])
"""

from __future__ import annotations

from streams.client.aio import AsyncInterestClient
from streams.client.core import Retries
from streams.client.errors import (
    ApiError,
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    NotFound,
    ProblemDetails,
    RateLimited,
    ServerError,
    TryLater,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from streams.client.sync import InterestClient

__all__ = [
    "ApiError",
    "AsyncInterestClient",
    "BadRequest",
    "DeadlineExceeded",
    "Forbidden",
    "InterestClient",
    "NotFound",
    "ProblemDetails",
    "RateLimited",
    "Retries",
    "ServerError",
    "TryLater",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]
