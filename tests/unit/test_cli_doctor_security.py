"""The doctor says what lies open."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.commands.findings import Findings
from streams.commands.installation_checks import check_security, in_the_clear, is_local
from streams.settings.service import KafkaSettings, PrivacySettings, QdrantSettings, Settings, TritonSettings


def statuses(settings: Settings) -> dict[str, str]:
    checked = Findings("This installation")
    check_security(checked, settings)
    return {one.what: one.status for one in checked.entries}


def test_defaults_lie_on_this_machine_and_are_fine() -> None:
    assert statuses(Settings()) == {"privacy": "OK"}
    assert list(in_the_clear(Settings())) == []


def test_what_goes_in_the_clear_is_named() -> None:
    settings = Settings(
        kafka=KafkaSettings(brokers="127.0.0.1:9092, kafka-1:9092"), triton=TritonSettings(url="gpu-1:8001"),
        qdrant=QdrantSettings(host="10.0.0.7", api_key="hidden"),  # type: ignore[arg-type]  # pydantic makes the secret of it
    )  # fmt: skip
    findings = list(in_the_clear(settings))
    assert [what for what, _ in findings] == ["what users do", "the interests and the API key", "what users write"]
    assert "hidden" not in str(findings)
    safe = Settings(
        kafka=KafkaSettings(brokers="kafka-1:9092", security_protocol="SSL"),
        triton=TritonSettings(url="gpu-1:8001", tls=True),
        qdrant=QdrantSettings(host="10.0.0.7", https=True),
    )  # fmt: skip
    assert list(in_the_clear(safe)) == []


def test_a_secret_that_everybody_may_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hidden")
    file.chmod(0o644)
    settings = Settings(qdrant=QdrantSettings(api_key_file=file))
    assert statuses(settings)["secrets"] == "WARN"
    file.chmod(0o640)
    assert "secrets" not in statuses(settings)


def test_a_privacy_section_that_cannot_work_fails(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x" * 40)
    assert statuses(Settings(privacy=PrivacySettings(user_id_key_file=tmp_path / "key")))["privacy"] == "FAIL"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.9", True), ("[::1]", True), ("kafka", False), ("8.8.8.8", False)],
)
def test_hosts(host: str, expected: bool) -> None:
    assert is_local(host) is expected
