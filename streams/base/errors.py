"""The errors of the path: retryable, poison and fatal. Nothing else is caught."""

from __future__ import annotations


class InterestsError(Exception):
    """Base of every error this service raises on purpose."""


class RetryableError(InterestsError):
    """A server is away or busy: wait `retry_after_s` seconds and try again. Never dead-letters."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EncoderUnavailable(RetryableError):
    """Triton does not answer, answers late, refuses for load, or its breaker is open."""


class WrongModelOutput(EncoderUnavailable):
    """Triton answered with a wrong count, type, dimension, norm or a non-finite value: never used, asked again."""


class StoreUnavailable(RetryableError):
    """Qdrant does not answer, answers late, or refuses for load."""


class BrokerUnavailable(RetryableError):
    """Kafka does not answer or does not acknowledge."""


class PoisonError(InterestsError):
    """One record can never be applied: it goes to the dead letters.

    `reason` is a short machine-readable class (`bad_json`, `unknown_type`, …). The message names fields and
    limits, never values: it travels in headers and logs.
    """

    def __init__(self, message: str, *, reason: str, stage: str = "parse") -> None:
        super().__init__(message)
        self.reason = reason
        self.stage = stage


class FatalError(InterestsError):
    """The process must end: going on would lose or double an effect, or the configuration cannot work."""


class Fenced(FatalError):
    """Another epoch of the group owns the nodes now; this worker's writes are refused."""


class ConfigurationError(FatalError):
    """A setting, a file or a server's version does not fit; the message says what to change."""
