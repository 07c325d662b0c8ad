"""A part of requirements.lock: `python deploy/images/subset.py PACKAGE... > requirements.txt`, with all it needs.

`--service` stands for what pyproject.toml names without extras, `--extra NAME` for one of these. Versions and hashes
are those of the lock. Which package needs which is read from the lock's own comments (`# via`). install.sh runs it
before anything is installed, so it uses the standard library alone.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BY_VERSION = frozenset({"torch"})
"""Locked by version alone, in pyproject.toml: its builds for CPU and CUDA have different hashes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def roots(project: str, extras: Iterable[str], *, service: bool) -> set[str]:
    """The packages that pyproject.toml, given as text, names for the service and its extras.

    Raises KeyError for an extra that it does not have.
    """
    table = tomllib.loads(project)["project"]
    requirements = list(table["dependencies"]) if service else []
    for extra in extras:
        requirements += table["optional-dependencies"][extra]
    return {_normal(one) for one in requirements}


def subset(lock: str, wanted: set[str]) -> tuple[dict[str, str], set[str]]:
    """The lock's entries by package, for `wanted` and all that they need; and what the lock does not have."""
    entries: dict[str, str] = {}
    needs: defaultdict[str, set[str]] = defaultdict(set)
    for entry in re.split(r"\n(?=[A-Za-z0-9])", lock):
        if entry.startswith("#"):
            continue
        pins, _, via = entry.partition("    # via")
        name = _normal(pins)
        entries[name] = pins.rstrip()
        for parent in re.findall(r"^\s*#?\s*([A-Za-z0-9][\w.-]*)", via, re.MULTILINE):
            needs[_normal(parent)].add(name)
    reached, ahead = set(), set(wanted)
    while ahead:
        reached |= ahead
        ahead = {child for parent in ahead for child in needs[parent]} - reached
    return {name: entries[name] for name in sorted(reached & entries.keys())}, reached - entries.keys()


def _normal(requirement: str) -> str:
    name = _NAME.match(requirement)
    if name is None:
        raise ValueError(f"got {requirement[:40]!r}, expected a requirement")
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def main() -> None:
    """Print the subset; ends with 2 where an extra or a package is not known."""
    parser = argparse.ArgumentParser(prog="subset.py", description="Print a part of requirements.lock.")
    parser.add_argument("packages", nargs="*")
    parser.add_argument("--service", action="store_true", help="what the service needs without extras")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml")
    asked = parser.parse_args()
    try:
        wanted = roots((ROOT / "pyproject.toml").read_text("utf-8"), asked.extra, service=asked.service)
    except KeyError as error:
        parser.error(f"pyproject.toml has no extra {error}")
    wanted |= {_normal(one) for one in asked.packages}
    chosen, missing = subset((ROOT / "requirements.lock").read_text("utf-8"), wanted)
    if unknown := missing - BY_VERSION:
        parser.error(f"requirements.lock has no {', '.join(sorted(unknown))}: run `make lock`")
    print("\n".join(chosen.values()))


if __name__ == "__main__":
    main()
