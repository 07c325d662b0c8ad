"""The tree of an image, installed by the script that the Dockerfile runs, and processes in it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "deploy/images/install.sh"
INSIDE = Path("/")
UID = 10001
_CONTAINED = ROOT / "tests" / "images" / "contained.sh"
#: What a container would not see of this machine.
_HIDDEN = ("PYTHON", "INTERESTS_", "PYTEST", "VIRTUAL_ENV", "LD_")


def may_be_contained() -> bool:
    """Whether this user may make the namespaces that a container has."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0


def interpreter() -> str | None:
    """A Python with pip, from 3.11 on, that any user of this machine may run; None where there is none."""
    ask = "import pip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    as_user = ["setpriv", f"--reuid={UID}", "--clear-groups"] if may_be_contained() else []
    for path in (str(Path(sys.executable).resolve()), "/usr/local/bin/python3", "/usr/bin/python3"):
        commands = ([*as_user, "test", "-x", path], [path, "-c", ask])
        if all(subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0 for command in commands):
            return path
    return None


@dataclass(frozen=True, slots=True)
class Tree:
    """What install.sh made at `directory`, in the Debian root `root` or on this machine.

    Its processes are contained where this user may do that (`tests/images/contained.sh`), else run as they are.
    """

    directory: Path
    root: Path = INSIDE

    def install(self, target: str, python: str, **options: str) -> float:
        """Install an image's target with the interpreter `python` of this machine; seconds."""
        start = time.monotonic()
        environment = {**os.environ, "PYTHON": python, **options}
        subprocess.run([ROOT / INSTALL, target, self.directory], env=environment, check=True, cwd=ROOT)
        return time.monotonic() - start

    def size_mib(self) -> float:
        """What its files take."""
        place = self.root / self.directory.relative_to("/")
        return sum(file.lstat().st_size for file in place.rglob("*") if not file.is_dir()) / (1 << 20)

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """A process of the tree; its output goes to `log`."""
        with log.open("ab") as out:
            return subprocess.Popen(self._argv(command), env=self._environment(environment), stdout=out, stderr=out)

    def run(self, command: Sequence[str], environment: Mapping[str, str], within_s: float = 60.0) -> tuple[int, str]:
        """Exit code and output of a command that ends by itself."""
        done = subprocess.run(
            self._argv(command), env=self._environment(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=within_s, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.decode(errors="replace")

    def _argv(self, command: Sequence[str]) -> list[str]:
        if may_be_contained():
            return [str(_CONTAINED), str(self.root), str(self.directory), *command]
        return [str(self.directory / "bin" / command[0]), *command[1:]]

    def _environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(_HIDDEN)} | dict(extra)
