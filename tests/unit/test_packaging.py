"""What an installed package holds: every file of the repository's packages, whether a module or not."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "encoders", "deploy", "model_repo")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PATTERNS = SETUPTOOLS["package-data"]
#: For those who read the repository, or deploy from it: files, and whole folders with a slash. Nothing opens them.
NOT_SHIPPED = (
    "encoders/weights/README.md", "deploy/grafana/provisioning/", "deploy/kubernetes/", "deploy/Dockerfile",
    "deploy/images/install.sh", "deploy/compose.yaml", "deploy/compose/",
)  # fmt: skip
FILES = sorted(
    str(file.relative_to(ROOT))
    for package in PACKAGES
    for file in (ROOT / package).rglob("*")
    if file.is_file() and file.suffix not in {".py", ".pyc"}
)


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_is_no_module_is_shipped(name: str) -> None:
    package, _, inner = name.partition("/")
    shipped = inner in PATTERNS.get(package, ()) or any(fnmatch(Path(name).name, one) for one in PATTERNS["*"])
    folder = ".".join(Path(name).parts[:-1])
    excluded = any(fnmatch(folder, one) for one in SETUPTOOLS["packages"]["find"]["exclude"])
    assert (shipped and not excluded) is not name.startswith(NOT_SHIPPED)
