"""One table from aiokafka's errors to ours, shared by producer and admin client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors as kafka

from streams.base.errors import BrokerUnavailable, ConfigurationError, PoisonError

_MISCONFIGURED: dict[type[kafka.KafkaError], str] = {
    kafka.AuthenticationFailedError: "check username, password and mechanism",
    kafka.AuthenticationMethodNotSupported: "check sasl_mechanism",
    kafka.ClusterAuthorizationFailedError: "grant this user the operation on the cluster",
    kafka.GroupAuthorizationFailedError: "grant this user READ on the group",
    kafka.IncompatibleBrokerVersion: "the broker lacks a request this needs; use a newer one or turn the option off",
    kafka.SaslAuthenticationFailed: "check username, password and mechanism",
    kafka.TopicAuthorizationFailedError: "grant this user the operation on the topic",
    kafka.UnknownTopicOrPartitionError: "create the topic (interests topics create)",
    kafka.UnsupportedVersionError: "the broker lacks a request this needs; use a newer one or turn the option off",
}

_HINTS: dict[type[kafka.KafkaError], str] = {
    # aiokafka logs why a first connection failed, a refused password included, and raises only this.
    kafka.KafkaConnectionError: "; is the broker up, and do password and certificate fit?",
    # So the embedded broker answers to a producer that wants an id.
    kafka.UnknownError: "; if this is the broker of `interests up`, read its `.interests/env` first, or set "
    "kafka.implementation to tansu",
}


class InvalidRecordError(kafka.BrokerResponseError):  # type: ignore[misc]  # aiokafka ships no types
    """A topic takes no such record: one that is compacted none without a key. aiokafka 0.14 does not know the code."""

    errno = 87
    message = "INVALID_RECORD"


kafka.kafka_errors[InvalidRecordError.errno] = InvalidRecordError


@contextmanager
def kafka_errors(doing: str) -> Iterator[None]:
    """Raise our errors for aiokafka's: what cannot work as configured, what is too large, and what is away for now."""
    try:
        yield
    except (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError) as error:
        raise PoisonError(f"{doing}: a record is above the size limit", reason="too_large", stage="produce") from error
    except kafka.InvalidTimestampError as error:
        message = f"{doing}: the topic takes no record with this timestamp"
        raise PoisonError(message, reason="bad_timestamp", stage="produce") from error
    except InvalidRecordError as error:
        message = f"{doing}: the topic takes no such record (a compacted one none without a key)"
        raise PoisonError(message, reason="invalid_record", stage="produce") from error
    except kafka.KafkaError as error:
        for known, what_to_do in _MISCONFIGURED.items():
            if isinstance(error, known):
                raise ConfigurationError(f"{doing}: {type(error).__name__}; {what_to_do}") from error
        hint = next((hint for known, hint in _HINTS.items() if isinstance(error, known)), "")
        raise BrokerUnavailable(f"{doing}: {type(error).__name__}{hint}") from error
    except (TimeoutError, OSError) as error:
        raise BrokerUnavailable(f"{doing}: {type(error).__name__}") from error
