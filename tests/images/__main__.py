"""`make images`: installs both images in a Debian root, runs them there, and says what that took.

The root is made by debootstrap, from the mirror that this machine's apt uses, and kept. In it deploy/images/install.sh
runs as the Dockerfile runs it, then Triton, worker and API run as a container would run them, against the embedded
broker and Qdrant. Needs root, and the packages from the network or from `--bind`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from deploy.embedded.ports import free_ports
from tests.fixtures.brokers import make_broker
from tests.fixtures.path import Rig
from tests.fixtures.qdrant import QdrantServer
from tests.images.tree import INSTALL, ROOT, Tree, may_be_contained
from tests.images.walk import walk

SUITE = "bookworm"  # of the images' base
PACKAGES = "python3,python3-pip,python3-venv,libpython3.11,libgomp1"
READY_S = 120.0


def main() -> int:
    """Exit code 0 where all of it worked; 2 where it cannot be done here."""
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT / ".cache" / "images" / SUITE, help="where the root is kept")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="a folder of packages that pip uses")
    asked = parser.parse_args()
    missing = [tool for tool in ("debootstrap", "unshare", "setpriv", "chroot") if shutil.which(tool) is None]
    if missing or not may_be_contained():
        print(f"needs root and mount namespaces, and {', '.join(missing) or 'nothing else'}", file=sys.stderr)
        return 2
    root, rows = asked.root.resolve(), list[tuple[str, str]]()
    if not (root / "usr" / "bin" / "python3").exists():
        with _step(f"debootstrap {SUITE}", rows):
            argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), _mirror()]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    service, triton = Tree(Path("/opt/interests"), root), Tree(Path("/opt/triton"), root)
    for target, tree in (("service", service), ("triton", triton)):
        place = root / tree.directory.relative_to("/")
        if not place.exists():
            with _step(f"{INSTALL} {target}", rows):
                _in_root(root, asked.bind, f"/source/{INSTALL} {target} {tree.directory}")
        rows.append((f"size of the tree `{target}`", f"{tree.size_mib():,.0f} MiB"))
    with tempfile.TemporaryDirectory() as work:
        rows += [(what, f"{seconds:.1f} s") for what, seconds in _run(service, triton, Path(work)).items()]
    table = Table("what", "measured")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    return 0


def _run(service: Tree, triton: Tree, work: Path) -> dict[str, float]:
    grpc, metrics = free_ports(2)
    log, start = work / "triton.log", time.monotonic()
    argv = ["python", "-m", "deploy.images.triton_server", "--host", "127.0.0.1"]
    server = triton.start([*argv, "--grpc-port", str(grpc), "--metrics-port", str(metrics)], {}, log)
    broker, qdrant = make_broker("tansu", work), QdrantServer(work / "qdrant")
    try:
        while triton.run(["python", "-m", "deploy.images.encodes", "--url", f"127.0.0.1:{grpc}"], {})[0]:
            assert server.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < start + READY_S, log.read_text(errors="replace")
        seconds = {"Triton, until it has encoded a text": time.monotonic() - start}
        broker.start()
        qdrant.start()
        where = cast("Any", SimpleNamespace(grpc_url=f"127.0.0.1:{grpc}"))
        seconds |= walk(service, Rig(broker, where, qdrant, work, api={"port": free_ports(1)[0]}), work)
        start = time.monotonic()
        server.send_signal(signal.SIGTERM)
        assert server.wait(40) == 0, log.read_text(errors="replace")
        return seconds | {"end of Triton after SIGTERM": time.monotonic() - start}
    finally:
        server.kill()
        server.wait()
        broker.kill()
        qdrant.kill()


class _step:  # noqa: N801  # reads as a verb where it stands
    """Print what begins, and note how long it took."""

    def __init__(self, what: str, rows: list[tuple[str, str]]) -> None:
        self._what, self._rows = what, rows

    def __enter__(self) -> None:
        print(f"{self._what} …", flush=True)
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._rows.append((self._what, f"{time.monotonic() - self._start:.0f} s"))


def _mirror() -> str:
    """Where this machine's apt gets Debian from."""
    argv = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Origin: Debian"]
    sites = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return sites[0] if sites else ""


def _in_root(root: Path, binds: list[Path], command: str) -> None:
    """Run a shell command as root in the Debian root, with the repository at /source and pip set up as here."""
    lines = ["set -eu", f"mount --bind {root} {root}"]
    shared = [Path(path) for path in ("/etc/resolv.conf", "/etc/pip.conf", "/etc/xdg/pip", "/etc/ssl/certs")]
    for path, inside in [(ROOT, Path("/source")), *((path, path) for path in (*shared, *binds) if path.exists())]:
        place = root / inside.relative_to("/")
        lines.append(f"mkdir -p {place}" if path.is_dir() else f"mkdir -p {place.parent}; touch {place}")
        lines.append(f"mount --bind {path} {place}")
    lines += [
        f"mount --rbind /dev {root}/dev",
        f"mount -t proc proc {root}/proc",
        f"mount -t sysfs -o ro sysfs {root}/sys",
    ]
    lines.append(f"exec chroot {root} sh -euc {command!r}")
    environment = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "TORCH_INDEX"))}
    environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root"}
    subprocess.run(["unshare", "--mount", "sh", "-c", "\n".join(lines)], check=True, env=environment)


if __name__ == "__main__":
    sys.exit(main())
