"""The connection to Qdrant: how a channel is opened, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, TypeVar

from grpc import RpcError, StatusCode, aio, ssl_channel_credentials

from streams.base.addresses import joined
from streams.base.credentials import TlsFiles, untrusted
from streams.base.errors import ConfigurationError, StoreUnavailable
from streams.store.consistency import Consistency, Placement

T = TypeVar("T")
_RETRYABLE = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.INTERNAL,
        StatusCode.ABORTED,
        StatusCode.UNKNOWN,
        StatusCode.CANCELLED,
    }
)
_WRONG_KEY = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class QdrantConfig:
    """Where Qdrant is and how to talk to it."""

    host: str = "127.0.0.1"
    grpc_port: int = 6334
    http_port: int = 6333
    https: bool = False
    api_key: str | None = None
    deadline_s: float = 10.0
    points_per_write: int = 128
    tls: TlsFiles | None = None
    placement: Placement = field(default_factory=Placement)
    consistency: Consistency = field(default_factory=Consistency)
    old_servers: Literal["refuse", "warn"] = "refuse"

    @property
    def address(self) -> str:
        """Host and gRPC port, as messages name the server."""
        return joined(self.host, self.grpc_port)

    def __repr__(self) -> str:
        """Name the address only: a key never reaches a log."""
        return f"QdrantConfig(host={self.host!r}, grpc_port={self.grpc_port})"


_CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
)  # fmt: skip


def open_channel(config: QdrantConfig) -> aio.Channel:
    """A channel to the server; nothing is sent yet. ConfigurationError where a certificate's file cannot be read.

    The official client's channels put every call through an interceptor, which costs as much again as the call itself.
    """
    if not config.https:
        return aio.insecure_channel(config.address, _CHANNEL)
    tls = config.tls or TlsFiles("qdrant")
    return aio.secure_channel(config.address, ssl_channel_credentials(**tls.grpc()), _CHANNEL)


async def guarded(call: Awaitable[T], doing: str) -> T:
    """Await a call to Qdrant; its errors become StoreUnavailable, to wait for, or ConfigurationError, to end on."""
    started = monotonic()
    try:
        return await call
    except RpcError as error:
        code = error.code()
        took = f"after {monotonic() - started:.1f} s"
        if code in _WRONG_KEY:
            raise ConfigurationError(f"{doing}: Qdrant refused with {code.name}: check qdrant.api_key_file") from error
        if untrusted(error.details()):
            raise ConfigurationError(
                f"{doing}: Qdrant's certificate is signed by nobody we trust, or for another host: check "
                "qdrant.ca_file and qdrant.host"
            ) from error
        if code is StatusCode.RESOURCE_EXHAUSTED and (wait_s := _retry_after_s(error)):
            raise StoreUnavailable(
                f"{doing}: Qdrant is busy and asks to wait {wait_s} s", retry_after_s=wait_s
            ) from error
        if code in _RETRYABLE:
            raise StoreUnavailable(f"{doing}: Qdrant answered {code.name} {took}") from error
        raise ConfigurationError(f"{doing}: Qdrant refused with {code.name}: {error.details()}") from error
    except (TimeoutError, ConnectionError) as error:
        raise StoreUnavailable(f"{doing}: Qdrant did not answer") from error


def _retry_after_s(error: RpcError) -> float | None:
    """How long a refusal asks to wait, if it says so."""
    for name, value in error.trailing_metadata() or ():
        if name == "retry-after":
            try:
                return max(0.0, float(value))
            except ValueError:
                return None
    return None
