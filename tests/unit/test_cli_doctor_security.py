"""The doctor says what lies open."""

from __future__ import annotations

import os
from pathlib import Path
from time import perf_counter

import pytest

from streams.base.credentials import without_credentials
from streams.commands.findings import Findings
from streams.commands.installation_checks import (
    PUBLIC_FILES,
    check_installation,
    check_security,
    in_the_clear,
    is_local,
    secret_files,
)
from streams.settings.document import shown as shown_setting
from streams.settings.servers import KafkaSettings, QdrantSettings, TritonSettings
from streams.settings.service import ApiSettings, PrivacySettings, Settings


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
        api=ApiSettings(prometheus_url="http://me:hidden@prometheus:9090"),
    )  # fmt: skip
    findings = list(in_the_clear(settings))
    assert [what for what, _ in findings] == [
        "what users do", "the interests and the API key", "what users write",
        "what Prometheus asks for to let the API in",
    ]  # fmt: skip
    assert "hidden" not in str(findings)
    safe = Settings(
        kafka=KafkaSettings(brokers="kafka-1:9092", security_protocol="SSL"),
        triton=TritonSettings(url="gpu-1:8001", tls=True),
        qdrant=QdrantSettings(host="10.0.0.7", https=True),
        api=ApiSettings(prometheus_url="https://me:hidden@prometheus:9090"),
    )  # fmt: skip
    assert list(in_the_clear(safe)) == []
    assert list(in_the_clear(Settings(api=ApiSettings(prometheus_url="http://prometheus:9090")))) == []


def test_every_setting_of_a_secret_file_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hidden")
    names = [
        (section, name) for section, part in Settings.model_fields.items()
        for name in type(part.default).model_fields if name.endswith("_file")
    ]  # fmt: skip
    assert {name for _, name in names if name in PUBLIC_FILES} == PUBLIC_FILES
    for section, name in names:
        part = getattr(Settings(), section).model_copy(update={name: file})
        found = list(secret_files(Settings().model_copy(update={section: part})))
        assert found == ([] if name in PUBLIC_FILES else [(f"{section}.{name}", file)])
    assert {f"{section}.{name}" for section, name in names} >= {
        "api.jwt_secret_file", "api.keys_file", "client.key_file", "kafka.sasl_password_file",
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "status"), [(0o644, "WARN"), (0o602, "WARN"), (0o660, "WARN"), (0o600, None)])
def test_a_secret_that_others_may_read_or_change_is_a_warning(tmp_path: Path, mode: int, status: str | None) -> None:
    (tmp_path / "real").mkdir()
    file, link = tmp_path / "real" / "key", tmp_path / "link"
    file.write_text("hidden")
    file.chmod(mode)
    link.symlink_to(file)
    for named in (file, link):
        assert statuses(Settings(qdrant=QdrantSettings(api_key_file=named))).get("secrets") == status
    file.chmod(0o600)
    (tmp_path / "real").chmod(0o777)
    assert statuses(Settings(qdrant=QdrantSettings(api_key_file=link)))["secrets"] == "WARN"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:pass@host:1/p", "http://***@host:1/p"), ("https://pass@host", "https://***@host"),
        ("http://u:p/w@host", "http://***@host"), ("https://host/v1?key=pass", "https://host/v1?***"),
        ("https://host/v1#pass", "https://host/v1?***"), ("http://u:p'w@host", "http://***@host"),
        ("u:pass@host:9092", "***@host:9092"), ("u:p/w@host:9092", "***@host:9092"), ("u:p@w@host", "***@host"),
        ('http://u:p"w@host', "http://***@host"), ("http://u:p<w>@host:1", "http://***@host:1"),
        ('http://u"x:p@host', "http://***@host"), ('u:p"w@host:9092', "***@host:9092"),
        ("http://u:p w@host/x y", "http://***@host/x y"), ('http://u:p/" w@host.', "http://***@host."),
        ('https://host/v1?key="pass"', "https://host/v1?***"), ("http://u:p\tq w@host", "http://***@host"),
        ("http://host:80/ of x@y", "http://host:80/ of x@y"), ("http://[fe80::a]/ of x@y", "http://[fe80::a]/ of x@y"),
        ("at \"http://host:80\", x@y", "at \"http://host:80\", x@y"), ("<u:pass@host>", "<***@host>"),
        ("at='u:pass@host'", "at='***@host'"), ("a:1,u:pass@b:2", "a:1,***@b:2"), ("to=u:pass@b x@y", "to=***@b x@y"),
        ("127.0.0.1:9092", "127.0.0.1:9092"), ("ana@example.org",) * 2,
    ],
)  # fmt: skip
def test_addresses_are_shown_without_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert shown_setting(text) == shown


def test_an_address_costs_no_more_than_its_length() -> None:
    for worst in (
        "http://" + "a:" * 50_000, "a:" * 50_000 + "@", "a://" * 25_000, "@:" * 50_000, ",:@" * 33_000,
        "a://b:c " * 12_500, "a://b:c " * 12_500 + "@", "a://b:c @ " * 10_000, "a://" + ":" * 99_000 + " @",
    ):  # fmt: skip
        began_s = perf_counter()
        without_credentials(worst)
        assert perf_counter() - began_s < 5.0  # 1 to 50 ms; a backtracking pattern took minutes


def test_a_privacy_section_that_cannot_work_fails(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x" * 40)
    assert statuses(Settings(privacy=PrivacySettings(user_id_key_file=tmp_path / "key")))["privacy"] == "FAIL"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.9", True), ("[::1]", True), ("kafka", False), ("8.8.8.8", False)],
)
def test_hosts(host: str, expected: bool) -> None:
    assert is_local(host) is expected


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ('[qdrant]\napi_key = "hidden"', 0o644, "holds qdrant.api_key: everybody may read"),
        ('[kafka]\nsasl_password = "hidden"', 0o640, "holds kafka.sasl_password: "),
        ('[tracing]\nendpoint = "http://u:hidden@collector/v1"', 0o604, "holds tracing.endpoint: everybody may read"),
        ('[api]\nkeys = "hidden"\n[client]\nkey = "hidden"', 0o644, "holds api.keys, client.key: everybody"),
        ('[api]\nkeys = "hidden"', 0o600, ""),
        ('[qdrant]\napi_key_file = "key"', 0o644, ""),
        ('[qdrant]\nhost = "qdrant"', 0o646, "everybody may change"),
        ("[qdrant", 0o644, ""),
    ],
)
def test_a_settings_file_with_a_secret_that_others_may_read(tmp_path: Path, content: str, mode: int, told: str) -> None:
    file = tmp_path / "interests.toml"
    file.write_text(content)
    file.chmod(mode)
    if told.endswith(": ") and os.geteuid() == 0:
        told = ""  # a group may read root's file
    findings = check_installation(Settings(), {"INTERESTS_CONFIG": str(file)})
    seen = [one.seen for one in findings.entries if one.what == "settings file" and one.status == "WARN"]
    assert len(seen) == bool(told)
    assert all(told in one and "hidden" not in one for one in seen)
    if told:
        file.chmod(0o600)
        tmp_path.chmod(0o777)
        findings = check_installation(Settings(), {"INTERESTS_CONFIG": str(file)})
        assert "everybody may replace" in next(one.seen for one in findings.entries if one.what == "settings file")
