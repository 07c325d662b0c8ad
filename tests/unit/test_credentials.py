"""Secrets come from files or the environment, and no message or representation shows one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from streams.base.credentials import MAX_SECRET_BYTES, TlsFiles, secret, untrusted
from streams.base.errors import ConfigurationError
from streams.settings.servers import KafkaSettings, QdrantSettings
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config, qdrant_config


def test_the_first_line_of_the_file_is_the_secret(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(" päss word \r\nsecond line\n".encode())
    assert secret(None, file, "kafka.sasl_password") == "päss word"
    assert secret(SecretStr("plain"), None, "kafka.sasl_password") == "plain"
    assert secret(None, None, "kafka.sasl_password") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\nhidden", "is empty"), (b"\xff\xfehidden", "not UTF-8"), (b"hidden" * MAX_SECRET_BYTES, "more than")],
)
def test_a_file_that_does_not_fit_is_named_and_not_shown(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        secret(None, file, "kafka.sasl_password")
    assert "kafka.sasl_password_file" in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_a_missing_file_and_two_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"qdrant\.api_key_file: cannot read .*none \(No such file"):
        secret(None, tmp_path / "none", "qdrant.api_key")
    with pytest.raises(ConfigurationError, match=r"got both qdrant\.api_key and qdrant\.api_key_file"):
        secret(SecretStr("hidden"), tmp_path / "none", "qdrant.api_key")


def test_half_a_client_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="triton: got one of cert_file and key_file"):
        TlsFiles("triton", cert_file=tmp_path / "certificate")


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="name readable PEM files"):
        TlsFiles("kafka", tmp_path / "ca.pem").context()
    with pytest.raises(ConfigurationError, match=r"triton\.ca_file: cannot read"):
        TlsFiles("triton", tmp_path / "none").grpc()


def test_secrets_reach_the_clients_and_no_representation(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hidden-word\n")
    kafka = KafkaSettings(security_protocol="SASL_SSL", sasl_username="me", sasl_password_file=tmp_path / "password")
    settings = Settings(kafka=kafka, qdrant=QdrantSettings(api_key_file=tmp_path / "password"))
    of_kafka, of_qdrant = kafka_config(settings.kafka), qdrant_config(settings)
    assert of_kafka.password == of_qdrant.api_key == "hidden-word"
    for shown in (repr(settings), repr(of_kafka), repr(of_qdrant), settings.model_dump_json()):
        assert "hidden-word" not in shown


def test_what_waiting_does_not_mend() -> None:
    assert untrusted("last error: ... CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate")
    assert untrusted(
        "Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification Check failed."
    )
    assert not untrusted("last error: UNAVAILABLE: Socket closed")
    assert not untrusted(None)
