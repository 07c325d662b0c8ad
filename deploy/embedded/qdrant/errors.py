"""Errors in Qdrant's own forms: one exception that knows its gRPC code, its HTTP status and its words."""

from __future__ import annotations

import grpc


class QdrantError(Exception):
    """A refusal that both fronts can say: gRPC `code`, HTTP `status` and one message."""

    def __init__(self, message: str, code: grpc.StatusCode, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status


def not_found(what: str) -> QdrantError:
    """What was asked for does not exist (NOT_FOUND, 404)."""
    return QdrantError(f"Not found: {what}", grpc.StatusCode.NOT_FOUND, 404)


def no_collection(name: str) -> QdrantError:
    """No collection and no alias has this name."""
    return not_found(f"Collection `{name}` doesn't exist!")


def wrong_input(what: str) -> QdrantError:
    """The request cannot be applied as it is (INVALID_ARGUMENT, 400)."""
    return QdrantError(f"Wrong input: {what}", grpc.StatusCode.INVALID_ARGUMENT, 400)


def bad_format(what: str) -> QdrantError:
    """The REST body is not what the endpoint takes (400)."""
    return QdrantError(f"Format error in JSON body: {what}", grpc.StatusCode.INVALID_ARGUMENT, 400)


def already_exists(what: str) -> QdrantError:
    """A name is taken (ALREADY_EXISTS, 409)."""
    return QdrantError(f"Wrong input: {what}", grpc.StatusCode.ALREADY_EXISTS, 409)


def internal(what: str) -> QdrantError:
    """The engine failed (INTERNAL, 500)."""
    return QdrantError(f"Service internal error: {what}", grpc.StatusCode.INTERNAL, 500)


def not_implemented(what: str) -> QdrantError:
    """A call of the real server that the embedded one does not have (UNIMPLEMENTED, 501)."""
    return QdrantError(f"not implemented here: {what}", grpc.StatusCode.UNIMPLEMENTED, 501)


def too_large(what: str) -> QdrantError:
    """The body is over the bound (413)."""
    return QdrantError(what, grpc.StatusCode.RESOURCE_EXHAUSTED, 413)


def unauthenticated() -> QdrantError:
    """The API key is missing or wrong (UNAUTHENTICATED, 401)."""
    return QdrantError("Must provide an API key or an Authorization bearer token", grpc.StatusCode.UNAUTHENTICATED, 401)


def overloaded(what: str) -> QdrantError:
    """A bound is reached: the caller should wait and ask again (RESOURCE_EXHAUSTED, 429)."""
    return QdrantError(f"Too many requests: {what}", grpc.StatusCode.RESOURCE_EXHAUSTED, 429)


_INTERNAL_WORDS = ("Service runtime error", "Service internal error", "IO Error", "failed to open", "WAL ")


def from_engine(error: Exception) -> QdrantError:
    """Translate what the engine raised: it only has bare `Exception`, `ValueError` and `TypeError` with a message."""
    text = str(error)
    if text.startswith("No point with id"):
        return not_found(f"{text} found")
    if text.startswith(_INTERNAL_WORDS):
        return internal(text)
    return wrong_input(text.splitlines()[0])
