"""deploy/compose.yaml: fits the schema, and every image, command, port, setting, check and path in it exists."""

from __future__ import annotations

import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from deploy.embedded import parts
from deploy.embedded.ports import Ports
from deploy.images.triton_server import arguments
from streams.api.keys import read_keys
from streams.settings.service import Settings, load
from tests.images.commands import understood

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("interest-streams")}
OF_THE_SERVICE = [name for name, one in OURS.items() if one["build"]["target"] == "service"]
SCHEMA = ROOT / ".cache" / "compose-spec.json"
TRITON = arguments().parse_args([])
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
#: What may be set, and has a default that is no secret.
DEFAULTED = {"INTERESTS_TAG", "INTERESTS_WORKERS", "TORCH_INDEX"}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the services of the file are configured to do."""
    monkeypatch.setenv("INTERESTS_CONFIG", str(FOLDER / "compose" / "interests.toml"))
    return load()


def test_the_file_fits_the_schema() -> None:
    if not SCHEMA.exists():
        pytest.skip("no .cache/compose-spec.json: `make tools` gets it")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    check = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{list(error.path)}: {error.message}" for error in check.iter_errors(COMPOSE)] == []
    assert not check.is_valid({**COMPOSE, "services": {"worker": {"comand": ["worker"]}}})


def test_our_images_are_built_from_targets_that_exist() -> None:
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.M))
    options = set(re.findall(r"^ARG (\w+)", dockerfile, re.M))
    installed = re.findall(r"^(\S+)\)$", (FOLDER / "images" / "install.sh").read_text(), re.M)
    for one in OURS.values():
        build = one["build"]
        assert build["target"] in targets
        assert (FOLDER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
        assert build.get("args", {}).keys() <= options
        assert build.get("args", {}).get("TRITON", "triton") in installed
        assert re.fullmatch(
            rf"interest-streams(-triton)?:\$\{{INTERESTS_TAG:-{re.escape(VERSION)}\}}(-gpu)?", one["image"]
        )


def test_others_images_are_pinned_to_a_release_that_will_do() -> None:
    tags = {name: one["image"].split(":")[1] for name, one in SERVICES.items() if name not in OURS}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+(-\w+)?", tag) for tag in tags.values()), tags
    assert tags["kafka"].startswith("4.")
    assert tuple(map(int, re.findall(r"\d+", tags["qdrant"]))) >= (1, 19, 0)


@pytest.mark.parametrize("name", OF_THE_SERVICE)
def test_commands_of_the_service_exist(name: str) -> None:
    understood(SERVICES[name]["command"])


def test_every_command_of_the_service_has_its_place() -> None:
    assert {" ".join(SERVICES[name]["command"]) for name in OF_THE_SERVICE} >= {
        "worker", "learner", "api", "topics create", "collections create", "doctor",
    }  # fmt: skip


def test_the_settings_lead_to_the_services(settings: Settings) -> None:
    host, _, port = settings.kafka.brokers.partition(":")
    assert f"INTERNAL://{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INTERNAL://:{port}" in SERVICES[host]["environment"]["KAFKA_LISTENERS"]
    assert settings.triton.url == f"triton:{TRITON.grpc_port}"
    assert "triton" in SERVICES
    assert SERVICES["triton-gpu"]["networks"]["default"]["aliases"] == ["triton"]
    published = [entry.rsplit(":", 1)[1] for entry in SERVICES[settings.qdrant.host]["ports"]]
    assert published == [str(settings.qdrant.http_port), str(settings.qdrant.grpc_port)]
    assert settings.client.url == f"http://api:{settings.api.port}"
    assert {settings.worker.metrics_host, settings.learning.metrics_host, settings.api.host} == {"0.0.0.0"}
    prometheus = urlsplit(settings.api.prometheus_url or "")
    assert f"127.0.0.1:{prometheus.port}:{prometheus.port}" in SERVICES[prometheus.hostname or ""]["ports"]
    assert settings.kafka.partitions >= 2


def test_variables_of_the_service_are_settings() -> None:
    for one in OURS.values():
        for name in one.get("environment", {}):
            section, _, field = name.removeprefix("INTERESTS_").lower().partition("__")
            assert name == "INTERESTS_CONFIG" or field in type(getattr(Settings(), section)).model_fields


def test_secrets_and_configurations_are_where_they_are_looked_for(settings: Settings) -> None:
    files = [settings.qdrant.api_key_file, settings.api.keys_file, settings.client.key_file]
    for name in OF_THE_SERVICE:
        assert {f"/run/secrets/{secret}" for secret in SERVICES[name]["secrets"]} == set(map(str, files))
        targets = [config["target"] for config in SERVICES[name]["configs"]]
        assert SERVICES[name]["environment"]["INTERESTS_CONFIG"] in targets
    used = {secret for one in SERVICES.values() for secret in one.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    for name, one in SERVICES.items():  # whatever names a secret may read it
        named = set(re.findall(r"/run/secrets/(\w+)", json.dumps(one) + _configuration(one)))
        assert name in OF_THE_SERVICE or named == set(one.get("secrets", [])), name


def test_every_mounted_file_and_volume_exists() -> None:
    for config in COMPOSE["configs"].values():
        assert (FOLDER / config["file"]).is_file()
    used = set()
    for one in SERVICES.values():
        for source in (volume.split(":")[0] for volume in one.get("volumes", [])):
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_ports_are_open_on_this_machine_only_and_once(settings: Settings) -> None:
    entries = [entry for one in SERVICES.values() for entry in one.get("ports", [])]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", entry) for entry in entries)
    assert len(set(entries)) == len(entries)
    assert SERVICES["api"]["ports"] == [f"127.0.0.1:{settings.api.port}:{settings.api.port}"]
    assert "ports" not in SERVICES["worker"], "several cannot share one"


def test_health_checks_ask_what_is_there(settings: Settings) -> None:
    served = {
        "worker": (settings.worker.metrics_port, {"/healthz", "/readyz"}),
        "learner": (settings.learning.metrics_port, {"/healthz", "/readyz"}),
        "api": (settings.api.port, {"/healthz", "/readyz"}),
        "prometheus": (9090, {"/-/ready"}),
        "alertmanager": (9093, {"/-/ready"}),
        "grafana": (3000, {"/api/health"}),
    }
    for name, (port, paths) in served.items():
        test = SERVICES[name].get("healthcheck", {}).get("test") or _of_the_image("service")
        url = urlsplit(test[-1])
        assert (url.hostname, url.port) == ("127.0.0.1", port)
        assert url.path in paths
        if "-m" in test:
            assert importlib.util.find_spec(test[test.index("-m") + 1]) is not None
    jobs = {name for name, one in SERVICES.items() if one.get("healthcheck") == {"disable": True}}
    assert jobs == {"topics", "collections", "doctor"}


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_of_qdrant_reads_the_answer(status: int, code: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        script = (
            SERVICES["qdrant"]["healthcheck"]["test"][3].replace("$$", "$").replace("6333", str(server.server_port))
        )
        assert subprocess.run(["bash", "-c", script], check=False, timeout=10).returncode == code
        server.shutdown()


def test_containers_can_do_little() -> None:
    for name, one in SERVICES.items():
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["deploy"]["resources"]["limits"]["memory"], name
        assert one.get("read_only", False) is (name != "kafka"), name
        assert one["logging"]["options"]["max-size"], name
        assert "privileged" not in one
        assert "network_mode" not in one


def test_nothing_starts_before_what_it_needs_is_healthy() -> None:
    for name in ("worker", "learner", "api"):
        needs = SERVICES[name]["depends_on"]
        assert {which: how["condition"] for which, how in needs.items()} == {
            "kafka": "service_healthy", "qdrant": "service_healthy", "triton": "service_healthy",
            "triton-gpu": "service_healthy", "topics": "service_completed_successfully",
            "collections": "service_completed_successfully",
        }  # fmt: skip
        for which in needs:
            optional = bool(SERVICES[which].get("profiles"))
            assert needs[which].get("required", True) is not optional


async def test_the_service_has_time_to_end_in_order() -> None:
    probes = parts.Probes()
    for part in (make(Ports(), {}, probes) for make in (parts.worker, parts.api, parts.learner)):
        assert int(SERVICES[part.name]["stop_grace_period"].rstrip("s")) >= part.stop_within_s
    await probes.close()


def test_all_but_jobs_come_back_with_the_machine() -> None:
    """Docker starts what was to be started `on-failure` again after a failure alone, not after its own restart."""
    jobs = {"topics": "on-failure", "collections": "on-failure", "doctor": "no"}
    assert {name: one["restart"] for name, one in SERVICES.items()} == dict.fromkeys(SERVICES, "unless-stopped") | jobs


def test_there_are_no_default_secrets() -> None:
    assert set(re.findall(r"\$\{(\w+):-", TEXT)) <= DEFAULTED
    assert re.findall(r"(?<!\$)\$\{\w+\}", TEXT) == []
    for name, one in SERVICES.items():
        for variable in one.get("environment", {}):
            assert not re.search("PASSWORD|SECRET|TOKEN|API_KEY", variable) or variable.endswith("_FILE"), (
                name,
                variable,
            )
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deploy/secrets/", "deploy/.env"} <= set(ignored)


def test_prometheus_scrapes_the_same_jobs_in_containers(settings: Settings) -> None:
    config = yaml.safe_load((FOLDER / "compose" / "prometheus.yaml").read_text())
    plain = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert list(jobs) == [job["job_name"] for job in plain["scrape_configs"]]
    assert config["global"] == plain["global"]
    ports = {
        "learner": settings.learning.metrics_port, "api": settings.api.port, "triton": TRITON.metrics_port,
        "qdrant": settings.qdrant.http_port,
    }  # fmt: skip
    for name, port in ports.items():
        assert jobs[name]["static_configs"] == [{"targets": [f"{name}:{port}"]}]
    [found] = jobs["worker"]["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["worker"], settings.worker.metrics_port)
    assert config["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: `make tools`")
    command = [promtool, "check", "config", "--syntax-only", FOLDER / "compose" / "prometheus.yaml"]
    subprocess.run(command, check=True, capture_output=True)


def test_grafana_finds_dashboards_and_prometheus() -> None:
    grafana = SERVICES["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    [provider] = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/interests.yaml").read_text())["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    [source] = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert grafana["environment"][source["url"].lstrip("$")] == "http://prometheus:9090"


def test_prepare_makes_every_secret_and_variable_and_keeps_them(tmp_path: Path) -> None:
    def prepare() -> str:
        script = FOLDER / "compose" / "prepare.sh"
        command = f"{sys.executable} -m streams.commands.cli"
        done = subprocess.run(
            ["sh", script, tmp_path], env={"PATH": "/usr/bin:/bin", "INTERESTS": command}, cwd=ROOT, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    said = prepare()
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert all(len(text.strip()) >= 32 for text in made.values())
    assert not any(text.strip() in said for text in made.values())
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    [key] = read_keys(made["api_keys"])
    assert (key.name, key.scopes) == ("compose", {"read"})
    variables = (tmp_path / ".env").read_text()
    assert re.findall(r"^(\w+)=", variables, re.M) == sorted(set(re.findall(r"\$\{(\w+):\?", TEXT)))
    assert re.fullmatch(r"KAFKA_CLUSTER_ID=[A-Za-z0-9_][A-Za-z0-9_-]{21}\n", variables)
    prepare()
    assert made == {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert variables == (tmp_path / ".env").read_text()


def test_prepare_builds_the_image_that_makes_the_key(tmp_path: Path) -> None:
    """Where no image is there it is built first, and never looked for in a registry."""
    asked = tmp_path / "asked"
    (tmp_path / "docker").write_text(
        f'#!/bin/sh\necho "$*" >>{asked}\n[ "$1" = image ] && exit 1\n'
        f'[ "$1" = run ] || exit 0\nshift 5\nexec {sys.executable} -m streams.commands.cli "$@"\n'
    )
    (tmp_path / "docker").chmod(0o755)
    subprocess.run(
        ["sh", FOLDER / "compose" / "prepare.sh", tmp_path / "made"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "INTERESTS_TAG": "0.2.0"}, cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    look, build, run = asked.read_text().splitlines()
    assert look == "image inspect interest-streams:0.2.0"
    assert "--target service -t interest-streams:0.2.0" in build
    assert run == "run --rm --pull never interest-streams:0.2.0 api key compose --scope read"
    [key] = read_keys((tmp_path / "made/secrets/api_keys").read_text())
    assert key.name == "compose"


@pytest.mark.parametrize("page", ["README.md", "docs/deployment.md"])
def test_secrets_are_made_before_the_first_command_of_compose(page: str) -> None:
    """Every command of Compose reads the whole file, and ends where a variable without default is not set."""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = re.findall(r"^ *(sh deploy/compose/prepare\.sh|docker compose)", text, re.M)
    assert commands[0] == "sh deploy/compose/prepare.sh"


def _configuration(service: dict[str, Any]) -> str:
    sources = [COMPOSE["configs"][config["source"]]["file"] for config in service.get("configs", [])]
    return "".join((FOLDER / source).read_text() for source in sources)


def _of_the_image(target: str) -> list[str]:
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8").partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    [command] = re.findall(r"HEALTHCHECK.*\\\n\s+CMD (\[.*\])", text)
    return list(json.loads(command))
