"""Ports of the embedded stack: the products' own, or free ones, and who holds one that is taken. Linux only."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from random import SystemRandom
from typing import Literal

from streams.base.errors import ConfigurationError

HOST = "127.0.0.1"
PortChoice = Literal["default", "any", "free"]
_LISTEN = "0A"
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST = 10_240
_TRIES = 1_000
#: Debian starts a Prometheus at this port as soon as the package is installed. Nothing finds ours by its port.
_YIELDING = frozenset({"prometheus"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One port a purpose; without arguments the products' own."""

    broker: int = 9092
    triton_http: int = 8000
    triton_grpc: int = 8001
    triton_metrics: int = 8002
    qdrant_http: int = 6333
    qdrant_grpc: int = 6334
    worker_metrics: int = 9108
    learner_metrics: int = 9109
    prometheus: int = 9090
    api: int = 8080

    def items(self) -> Iterator[tuple[str, int]]:
        """(purpose, port) of each."""
        for one in fields(self):
            yield one.name, getattr(self, one.name)

    @classmethod
    def choose(cls, choice: PortChoice) -> Ports:
        """The defaults (`default`), free ones where a default is taken (`any`), or all free ones (`free`).

        Of the defaults Prometheus' yields to whatever holds it.
        """
        may_move = _YIELDING if choice == "default" else {name for name, _ in cls().items()}
        replaced = [
            name for name, port in cls().items() if choice == "free" or (name in may_move and not is_free(port))
        ]
        return cls(**dict(zip(replaced, free_ports(len(replaced)), strict=True)))

    def check(self) -> None:
        """Raise ConfigurationError that names each port that is taken and what holds it."""
        taken = [(name, port) for name, port in self.items() if not is_free(port)]
        if taken:
            lines = [f"  port {port} ({name.replace('_', ' ')}) is held by {holder(port)}" for name, port in taken]
            message = ["these ports are taken:", *lines, "stop what holds them, or use --ports any"]
            raise ConfigurationError("\n".join(message))


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that are free and stay free for this process until it ends.

    Servers bind theirs long after they were chosen. So no port is one that the kernel gives to outgoing connections
    meanwhile, and each is reserved by a name that other processes which choose ports here see taken.
    """
    chosen: list[int] = []
    candidates = _candidates()
    for port in SystemRandom().sample(candidates, k=min(_TRIES, len(candidates))):
        if len(chosen) == count:
            break
        if is_free(port) and _reserve(port):
            chosen.append(port)
    if len(chosen) < count:
        raise ConfigurationError(f"got {len(chosen)} free ports, expected {count}: too many are taken on this machine")
    return chosen


def _candidates() -> range:
    """Ports that the kernel gives to nobody by itself."""
    low, high = map(int, _EPHEMERAL.read_text().split())
    return max(range(_FIRST, low), range(high + 1, 65_536), key=len)


def _reserve(port: int) -> bool:
    """Take a port's name until this process ends (an abstract socket leaves no file); False where it is taken."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0interest-streams port {port}")
    except OSError:
        name.close()
        return False
    name.detach()  # its descriptor stays open until the process ends
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port in TIME_WAIT is free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """The name and process id of what listens on `port`, as far as this user may see it."""
    inodes = set(_listening(port))
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and not inodes.isdisjoint(_sockets(process)):
            return f"{_name(process)} (pid {process.name})"
    return "another user's process" if inodes else "a socket that does not listen"


def connected_by(client: int, server: int, processes: Collection[int]) -> bool:
    """Whether one of these processes made the connection from port `client` to port `server` of this machine."""
    ends = {c[9] for c in _tcp() if (_port(c[1]), _port(c[2])) == (client, server)}
    return any(not ends.isdisjoint(_sockets(Path(f"/proc/{pid}"))) for pid in processes)


def _listening(port: int) -> Iterator[str]:
    """Socket inodes that listen on `port`."""
    return (columns[9] for columns in _tcp() if columns[3] == _LISTEN and _port(columns[1]) == port)


def _tcp() -> Iterator[list[str]]:
    """The kernel's table of sockets: of each its own address, the other one's, its state, …, its inode."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        yield from map(str.split, path.read_text().splitlines()[1:] if path.exists() else [])


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _sockets(process: Path) -> set[str]:
    """Inodes of a process's sockets; none where it is gone or somebody else's."""
    inodes = set()
    with suppress(OSError):
        for one in (process / "fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                link = str(one.readlink())
                if link.startswith("socket:["):
                    inodes.add(link[len("socket:[") : -1])
    return inodes


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
