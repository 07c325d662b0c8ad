"""What an installed package holds: every file of the repository's packages, whether a module or not."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("streams", "encoders", "deploy", "model_repo")
PATTERNS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
#: For those who read the repository; nothing opens it.
NOT_SHIPPED = {"encoders/weights/README.md"}
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
    assert shipped is (name not in NOT_SHIPPED)
