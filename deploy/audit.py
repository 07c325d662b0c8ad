"""`make audit`: are there known vulnerabilities in what requirements.lock installs? `python -m deploy.audit`.

pip-audit asks a vulnerability service; a package the service does not know it calls skipped and goes on to say that all
is well. Here a package that was not looked up is not well. Exit code 0: every package was looked up and none has a
known vulnerability; 1: some have; 3: the answer is not known, for the service cannot be reached or lacks packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path(__file__).resolve().parents[1] / "requirements.lock"
#: torch is installed beside the lock file (see the Makefile).
BESIDE: Final = ("torch==2.13.0",)
WITHIN_S: Final = 600
FOUND, UNKNOWN = 1, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service said: packages looked up, vulnerabilities as lines, packages it could not look up."""

    looked_up: int = 0
    vulnerable: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code; a vulnerability that was found counts more than a package that was not looked up."""
        if self.vulnerable:
            return FOUND
        return UNKNOWN if self.skipped or not self.looked_up else 0


def pinned(lock: str) -> list[str]:
    """The `name==version` lines of a lock file, without hashes and comments."""
    lines = (line.split(" ")[0].rstrip("\\") for line in lock.splitlines() if line and not line.startswith((" ", "#")))
    return [line for line in lines if "==" in line]


def outcome_of(report: dict[str, Any]) -> Outcome:
    """What pip-audit's JSON says."""
    vulnerable, skipped, looked_up = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
            continue
        looked_up += 1
        for one in package["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "no version yet"
            vulnerable.append(f"{package['name']} {package['version']}: {one['id']}, mended in {mended}")
    return Outcome(looked_up, vulnerable, skipped)


def ask(requirements: list[str], service: str) -> Outcome | str:
    """Ask one service; a string says why there is no answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(requirements) + "\n")
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--no-deps", "--disable-pip"]
        command += ["--vulnerability-service", service, "--format", "json", "--progress-spinner", "off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)  # noqa: S603  # our own interpreter
        except subprocess.TimeoutExpired:
            return f"no answer within {WITHIN_S} s"
    try:
        return outcome_of(json.loads(done.stdout))
    except ValueError:
        return (done.stderr.strip().splitlines() or ["nothing was said"])[-1][:300]


def main() -> int:
    """Ask the services in turn until one has looked up every package."""
    requirements = [*pinned(LOCK.read_text("utf-8")), *BESIDE]
    best = Outcome(skipped=requirements)
    for service in ("pypi", "osv"):
        outcome = ask(requirements, service)
        if isinstance(outcome, str):
            print(f"{service}: {outcome}")
            continue
        print(f"{service}: looked up {outcome.looked_up} of {len(requirements)} packages")
        best = max(best, outcome, key=lambda one: one.looked_up)
        if outcome.looked_up == len(requirements):
            break
    for line in best.vulnerable:
        print(line)
    if best.code == UNKNOWN:
        print(f"not known: {len(best.skipped)} of {len(requirements)} packages were not looked up; ask again online")
    elif best.code == 0:
        print("no known vulnerabilities")
    return best.code


if __name__ == "__main__":
    sys.exit(main())
