"""What an attack is, whom it attacks, and running one: every loop is bounded, and each attack has a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from streams.settings.servers import KafkaSettings
from tests.attack.issuer import Issuer

ATTACK_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the parts answer. What is None is not attacked; `short` takes fewer bytes and connections.

    `open_api`: an API without keys. `keyed_api` with `keys` by name (`read`, `ingest`, `admin`, `all`) and `keys_file`,
    and with the tokens of `issuer`. `kafka`: where the worker reads. `pids`: by part, for memory.
    """

    open_api: str
    keyed_api: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    keys_file: Path | None = None
    issuer: Issuer | None = None
    kafka: KafkaSettings | None = None
    qdrant: str | None = None
    worker: str | None = None
    triton: str | None = None
    pids: dict[str, int] = field(default_factory=dict)
    short: bool = False

    def size(self, short: int, whole: int) -> int:
        """How much is sent."""
        return short if self.short else whole

    def resident_mib(self, part: str) -> float:
        """What a part holds in memory; 0 where its process is not known."""
        pid = self.pids.get(part)
        if pid is None:
            return 0.0
        text = Path(f"/proc/{pid}/status").read_text("ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came back, in words, and whether the stack held."""

    came_back: str
    held: bool


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack; `needs` names the fields of Target it needs, `whole` ones are left out of the short form."""

    name: str
    group: str
    tried: str
    body: Callable[[Target], Awaitable[Outcome]]
    needs: tuple[str, ...] = ()
    whole: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(
    tried: str, *, needs: tuple[str, ...] = (), whole: bool = False
) -> Callable[[Callable[[Target], Awaitable[Outcome]]], Callable[[Target], Awaitable[Outcome]]]:
    """Register a function as an attack, under its own name."""

    def register(body: Callable[[Target], Awaitable[Outcome]]) -> Callable[[Target], Awaitable[Outcome]]:
        name = body.__name__.replace("_", "-")
        ATTACKS[name] = Attack(name, body.__module__.rpartition(".")[2], tried, body, needs, whole)
        return body

    return register


def fitting(target: Target) -> list[Attack]:
    """The attacks that a target can be tried with."""
    return [
        one for one in ATTACKS.values()
        if all(getattr(target, name) for name in one.needs) and not (target.short and one.whole)
    ]  # fmt: skip


async def perform(one: Attack, target: Target) -> Outcome:
    """Attack, and ask whether the API still answers others; an attack that does not end has not been held."""
    try:
        async with asyncio.timeout(ATTACK_S):
            outcome = await one.body(target)
    except TimeoutError:
        return Outcome(f"not over within {ATTACK_S:g} s", held=False)
    except (OSError, httpx.TransportError) as error:
        return Outcome(f"the attack itself failed: {error!r}", held=False)
    alive_s = await answers_within(target.open_api)
    if alive_s > 5:
        return Outcome(f"{outcome.came_back}; then /healthz took {alive_s:.1f} s", held=False)
    return outcome


async def answers_within(base: str, path: str = "/healthz") -> float:
    """Seconds until a new connection is answered with 200; infinity where it is not."""
    started = time.monotonic()
    try:
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=15) as http:
            answer = await http.get(path)
    except httpx.TransportError:
        return float("inf")
    return time.monotonic() - started if answer.status_code == httpx.codes.OK else float("inf")
