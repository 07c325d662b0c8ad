"""The stack's pure parts: ports, settings and their variables, the scrape configuration."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deploy.embedded.addresses import environment_of, settings_for
from deploy.embedded.data_directory import is_open, lock
from deploy.embedded.kafka import kafka_process
from deploy.embedded.models import MODEL_REPO, model_repository
from deploy.embedded.parts import scrape_config
from deploy.embedded.ports import Ports
from deploy.embedded.processes import tail
from encoders.served import served_encoder
from streams.base.errors import ConfigurationError
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config
from tests.fixtures.learned import random_model, trained_folder

TEMPLATE = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "prometheus.yml"
SHIFTED = Ports(**{name: port + 10_000 for name, port in Ports().items()})


def targets(config: str) -> dict[str, list[str]]:
    return {job["job_name"]: job["static_configs"][0]["targets"] for job in yaml.safe_load(config)["scrape_configs"]}


def test_the_template_scrapes_the_default_ports() -> None:
    ports = Ports()
    assert targets(TEMPLATE.read_text()) == {
        "worker": [f"127.0.0.1:{ports.worker_metrics}"],
        "learner": [f"127.0.0.1:{ports.learner_metrics}"],
        "api": [f"127.0.0.1:{ports.api}"],
        "triton": [f"127.0.0.1:{ports.triton_metrics}"],
        "qdrant": [f"127.0.0.1:{ports.qdrant_http}"],
        "prometheus": [f"127.0.0.1:{ports.prometheus}"],
    }


def test_every_job_is_moved_to_the_chosen_ports() -> None:
    for job, addresses in targets(scrape_config(TEMPLATE.read_text(), SHIFTED)).items():
        before = targets(TEMPLATE.read_text())[job][0]
        assert addresses == [f"127.0.0.1:{int(before.rpartition(':')[2]) + 10_000}"]


def test_the_stacks_prometheus_has_the_rules_and_no_alertmanager() -> None:
    """Whatever answers at Alertmanager's port belongs to somebody else."""
    template, mine = TEMPLATE.read_text(), scrape_config(TEMPLATE.read_text(), SHIFTED)
    assert yaml.safe_load(template)["alerting"]["alertmanagers"]
    assert yaml.safe_load(mine).keys() == {"global", "rule_files", "scrape_configs"}
    assert yaml.safe_load(mine)["rule_files"] == ["rules/*.yml"]
    assert len(targets(mine)) == len(targets(template))


def test_ports_may_be_swapped() -> None:
    ports = Ports(worker_metrics=Ports().triton_metrics, triton_metrics=Ports().worker_metrics)
    moved = targets(scrape_config(TEMPLATE.read_text(), ports))
    assert moved["worker"] == ["127.0.0.1:8002"]
    assert moved["triton"] == ["127.0.0.1:9108"]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run where no settings of the user's reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INTERESTS_CONFIG", raising=False)


@pytest.mark.usefixtures("no_settings")
def test_variables_carry_the_addresses_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_for(SHIFTED)
    assert settings.kafka.brokers == "127.0.0.1:19092"
    assert kafka_config(settings.kafka).implementation == "tansu"
    assert not kafka_config(settings.kafka).idempotent
    assert settings.qdrant.grpc_port == 16334
    assert settings.api.port == 18080
    assert settings.client.url == "http://127.0.0.1:18080"
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.usefixtures("no_settings")
def test_the_dashboards_ask_prometheus_where_there_is_one_and_else_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    alone, beside = (settings_for(SHIFTED, prometheus=there).api for there in (False, True))
    assert (alone.prometheus_url, beside.prometheus_url) == (None, "http://127.0.0.1:19090")
    jobs = {job: one.removeprefix("127.0.0.1:") for job, [one] in targets(TEMPLATE.read_text()).items()}
    assert alone.metrics_urls == {
        job: f"http://127.0.0.1:{int(jobs[job]) + 10_000}/metrics" for job in ("worker", "learner", "triton", "qdrant")
    }
    assert alone.scrape_every_s == float(yaml.safe_load(TEMPLATE.read_text())["global"]["scrape_interval"].rstrip("s"))
    for name, value in environment_of(settings_for(SHIFTED, prometheus=True)).items():
        monkeypatch.setenv(name, value)
    assert Settings().api == beside


@pytest.mark.usefixtures("no_settings")
def test_a_model_of_interests_is_asked_where_the_stack_serves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_LEARNED__DEADLINE_S", "7")
    assert "INTERESTS_LEARNED__MODEL" not in environment_of(settings_for(SHIFTED))
    settings = settings_for(SHIFTED, interest_model=True)
    assert (settings.learned.model, settings.learned.deadline_s) == ("interest_encoder", 7)
    assert environment_of(settings)["INTERESTS_LEARNED__MODEL"] == "interest_encoder"


def test_a_model_of_interests_for_another_text_encoder_is_refused(tmp_path: Path) -> None:
    trained = trained_folder(random_model("another-encoder"), tmp_path / "trained")
    served = served_encoder(MODEL_REPO)
    assert served is not None
    with pytest.raises(ConfigurationError, match=f"vectors of another-encoder, but .* serves {served.encoder_id}"):
        model_repository(tmp_path / "data", trained)


@pytest.mark.usefixtures("no_settings")
def test_the_users_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__GROUP", "mine")
    monkeypatch.setenv("INTERESTS_KAFKA__SESSION_TIMEOUT_S", "25")
    monkeypatch.setenv("INTERESTS_NODES__RING_LENGTH", "7")
    settings = settings_for(SHIFTED)
    assert settings.kafka.group == "mine"
    assert settings.kafka.session_timeout_s == 25
    assert settings.nodes.ring_length == 7
    assert settings.kafka.brokers == "127.0.0.1:19092"


def test_the_embedded_broker_gets_a_short_session_unless_one_is_set(no_settings: None) -> None:
    assert settings_for(SHIFTED).kafka.session_timeout_s < Settings().kafka.session_timeout_s


def test_a_log_speaks_of_its_error_first(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("starting\nERROR: no such model\n" + "| table |\n" * 30)
    assert tail(log) == "ERROR: no such model"
    log.write_text("".join(f"line {n}\n" for n in range(30)))
    assert tail(log, 2) == "line 28\nline 29"
    assert tail(tmp_path / "none.log") == ""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    new, empty = tmp_path / "above" / "new", tmp_path / "empty"
    empty.mkdir()
    for folder in (new, empty):
        for _ in range(2):
            lock(folder).close()
            assert mode_of(folder) == 0o700
            assert mode_of(folder / "up.pid") == 0o600
    assert mode_of(new.parent) == 0o700


@pytest.mark.usefixtures("usual_umask")
def test_a_data_folder_that_holds_other_things_keeps_its_mode_and_the_stacks_own_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.txt").write_text("")
    (tmp_path / "qdrant").mkdir()  # of an earlier version
    (tmp_path / "env").write_text("")
    for _ in range(2):
        lock(tmp_path).close()
        os.umask(0o022)
        modes = [mode_of(tmp_path / name) for name in ("", "thesis.txt", "qdrant", "env", "up.pid")]
        assert modes == [0o755, 0o644, 0o700, 0o600, 0o600]
    assert is_open(tmp_path)
    tmp_path.chmod(0o700)
    assert not is_open(tmp_path)


def test_a_kafka_keeps_its_data_under_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java reads properties as Latin-1: UTF-8 would name another folder, formatted again at each start."""
    jar = tmp_path / "libs" / "kafka_2.13.jar"
    jar.parent.mkdir()
    jar.touch()
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.touch()
    monkeypatch.setenv("KAFKA_HOME", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    folder = tmp_path / "josé \\ 家"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "meta.properties").touch()  # formatted before
    kafka_process(folder, 1, 2)
    written = (folder / "server.properties").read_text("ascii")
    assert f"log.dirs={tmp_path}/jos\\u00e9 \\\\ \\u5bb6/data\n" in written
    with pytest.raises(ConfigurationError, match="comma"):
        kafka_process(tmp_path / "a,b", 1, 2)
