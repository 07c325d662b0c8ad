"""A stack's data directory: locked while it runs, its logs, and what others read there to talk to it."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TextIO

from streams.base.errors import ConfigurationError

#: What a stack keeps in its directory.
OWN: Final = ("qdrant", "kafka", "triton", "prometheus", "logs", "up.pid", "env", "stack.json")
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def keep_private(folder: Path, own: Iterable[str]) -> None:
    """Keep what a program writes to a folder from everybody but its owner, for as long as this process runs.

    What this process and its children make from here on is theirs alone (umask 077). A folder that is new or empty
    becomes 700. One that holds anything keeps its mode, at each start: it may be somebody's for more than this. In
    it `own` names what is the program's and is closed, should an earlier start have left it open.
    """
    os.umask(_OTHERS)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in [folder / name for name in own] if any(folder.iterdir()) else [folder]:
        with suppress(FileNotFoundError, PermissionError):  # not there; another user's
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)


def is_open(folder: Path) -> bool:
    """Whether users besides the owner may look into a folder, or change what is there."""
    return bool(folder.stat().st_mode & _OTHERS)


def lock(data_dir: Path) -> TextIO:
    """Make the directory this process's until it ends, however it ends. ConfigurationError where it is another's."""
    keep_private(data_dir, OWN)
    file = (data_dir / "up.pid").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise ConfigurationError(
            f"a stack is running on {data_dir} already (pid {owner}): stop it with `kill {owner}`, "
            "or use another directory and --ports any"
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def fresh_logs(log_dir: Path) -> Path:
    """The directory, with no log in it but those of the run before, as `<name>.log.before`."""
    log_dir.mkdir(exist_ok=True)
    for old in log_dir.glob("*.log"):
        old.replace(old.with_name(old.name + ".before"))
    return log_dir


def describe(
    data_dir: Path, environment: Mapping[str, str], pids: Mapping[str, int], addresses: Mapping[str, str]
) -> None:
    """Leave beside the data what others need to talk to the stack of this process: `env` and `stack.json`."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    (data_dir / "env").write_text("".join(lines), "utf-8")
    about: dict[str, Any] = {"pid": os.getpid(), "parts": pids, "addresses": addresses}
    new = data_dir / "stack.json.new"
    new.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    new.replace(data_dir / "stack.json")  # whoever reads it meanwhile finds the one or the other


def forget_description(data_dir: Path) -> None:
    """Delete what says that a stack runs; `env` stays, for the next one."""
    (data_dir / "stack.json").unlink(missing_ok=True)
