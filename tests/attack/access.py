"""Attacks of callers whose keys do not let them, or no longer."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import httpx

from tests.attack.registry import Outcome, Target, attack

KEYED = ("keyed_api", "keys", "keys_file")
ROUTES = (
    ("GET", "/v1/users"), ("GET", "/v1/users/attack/interests"), ("GET", "/v1/users/attack/live"), ("GET", "/metrics"),
    ("POST", "/v1/events"), ("PUT", "/v1/items/attack"), ("DELETE", "/v1/users/attack"),
    ("POST", "/v1/audiences/search"), ("POST", "/v1/users/attack/rank"),
)  # fmt: skip
READS_FOR_S = 4.0
ERASE = {"user_id": "attack", "type": "erase"}


def _client(target: Target, key: str = "") -> httpx.AsyncClient:
    headers = {"X-API-Key": key} if key else {}
    return httpx.AsyncClient(base_url=str(target.keyed_api), trust_env=False, timeout=10, headers=headers)


async def _statuses(http: httpx.AsyncClient) -> list[int]:
    # A body that is not even JSON: who may not call learns nothing about it.
    kind, bodies = {"Content-Type": "application/json"}, {"POST": b"{", "PUT": b"{"}
    return [
        (await http.request(method, path, content=bodies.get(method), headers=kind)).status_code
        for method, path in ROUTES
    ]


@attack("every route without a key, with a wrong one, with a token signed by nobody", needs=KEYED)
async def no_credentials(target: Target) -> Outcome:
    def part(value: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none'})}.{part({'sub': 'me', 'exp': 2**33, 'scope': 'admin'})}."
    told: list[int] = []
    for key in ("", "isk_wrong", unsigned):
        async with _client(target, key) as http:
            told += await _statuses(http)
    return Outcome(", ".join(f"{told.count(one)} × {one}" for one in sorted(set(told))), held=set(told) == {401})


@attack(
    "tokens of another key, algorithm, audience, issuer or time, of nobody, with their key in the header",
    needs=("keyed_api", "issuer"),
)
async def forged_tokens(target: Target) -> Outcome:
    assert target.issuer
    told: dict[str, int] = {}
    async with _client(target) as http:
        for name, token in target.issuer.forged().items():
            headers = {"Authorization": f"Bearer {token}"}
            told[name] = (await http.get("/v1/users", headers=headers)).status_code
        whole = (await http.get("/v1/users", headers={"Authorization": f"Bearer {target.issuer.token()}"})).status_code
    passed = [f"{name}: {status}" for name, status in told.items() if status != httpx.codes.UNAUTHORIZED]
    said = f"{len(told) - len(passed)} of {len(told)} × 401; one that holds: {whole}"
    return Outcome("; ".join([said, *passed[:3]]), held=not passed and whole == httpx.codes.OK)


@attack("reads write, ingest erases by DELETE, admin reads", needs=KEYED)
async def scopes(target: Target) -> Outcome:
    event = {"user_id": "attack", "type": "search", "text": "tea"}
    told = []
    for name, method, path, body in (
        ("read", "POST", "/v1/events", event), ("read", "DELETE", "/v1/users/attack", None),
        ("ingest", "DELETE", "/v1/users/attack", None), ("ingest", "GET", "/v1/users", None),
        ("admin", "GET", "/v1/users", None),
    ):  # fmt: skip
        async with _client(target, target.keys[name]) as http:
            told.append((await http.request(method, path, json=body)).status_code)
    return Outcome(", ".join(map(str, told)), held=set(told) == {403})


@attack("an erase event with a key for ingest, alone and among others", needs=KEYED)
async def erase_by_event(target: Target) -> Outcome:
    among = [{"user_id": "attack", "type": "search", "text": "tea"}, ERASE]
    async with _client(target, target.keys["ingest"]) as http:
        told = [(await http.post("/v1/events", json=body)).status_code for body in (ERASE, among)]
    return Outcome(", ".join(map(str, told)), held=set(told) == {403})


async def _after(target: Target, change: str | None) -> set[int]:
    """What a key's calls come back with once its file has changed; the file is put back afterwards."""
    file = Path(str(target.keys_file))
    before = file.read_text("utf-8")
    try:
        if change is None:
            file.unlink()
        else:
            file.write_text(change, "utf-8")
        await asyncio.sleep(READS_FOR_S)
        async with _client(target, target.keys["read"]) as http:
            return {(await http.get("/v1/users")).status_code for _ in range(10)}
    finally:
        file.write_text(before, "utf-8")
        await asyncio.sleep(READS_FOR_S)


@attack("calls with a key that was removed; that while the file has a typo; the file removed", needs=KEYED)
async def revoked_keys(target: Target) -> Outcome:
    lines = Path(str(target.keys_file)).read_text("utf-8").splitlines()
    others = [line for line in lines if not line.startswith("read:")]
    told = [
        await _after(target, "\n".join(others)), await _after(target, "\n".join([*others, "typo"])),
        await _after(target, None),
    ]  # fmt: skip
    async with _client(target, target.keys["read"]) as http:
        restored = (await http.get("/v1/users")).status_code
    held = not any(200 in one for one in told) and restored == httpx.codes.OK
    return Outcome("; ".join(", ".join(map(str, sorted(one))) for one in told) + f"; put back: {restored}", held)
