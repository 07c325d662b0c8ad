"""Attacks of a web page in a browser on the same machine."""

from __future__ import annotations

import json

import httpx

from tests.attack.registry import Outcome, Target, attack

FOREIGN = {
    "Host": {"Host": "evil.example"}, "Origin": {"Origin": "https://evil.example"}, "null": {"Origin": "null"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"}, "same-site": {"Sec-Fetch-Site": "same-site"},
}  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")


async def _all_refused(base: str, paths: tuple[str, ...], methods: tuple[str, ...] = METHODS) -> Outcome:
    counts: dict[int, int] = {}
    passed = []
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=10) as http:
        for name, headers in FOREIGN.items():
            for method in methods:
                for path in paths:
                    body = json.dumps({"user_id": "attack", "type": "erase"}) if method in ("POST", "PUT") else None
                    answer = await http.request(method, path, headers=headers, content=body)
                    counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
                    if answer.status_code not in (403, 421):
                        passed.append(f"{name}: {method} {path} {answer.status_code}")
    told = ", ".join(f"{count} × {status}" for status, count in sorted(counts.items()))
    return Outcome("; ".join([told, *passed[:3]]), held=not passed)


@attack("foreign Host, Origin and Sec-Fetch-Site, every method")
async def foreign_pages_at_the_api(target: Target) -> Outcome:
    paths = ("/healthz", "/metrics", "/openapi.json", "/v1/users", "/v1/events", "/v1/users/attack",
             "/v1/users/attack/live", "/v1/audiences/search", "/nothing")  # fmt: skip
    return await _all_refused(target.open_api, paths)


@attack("foreign Host, Origin and Sec-Fetch-Site, every method", needs=("qdrant",))
async def foreign_pages_at_qdrant(target: Target) -> Outcome:
    assert target.qdrant
    paths = ("/", "/collections", "/collections/attack", "/collections/aliases", "/metrics", "/nothing")
    return await _all_refused(target.qdrant, paths)


@attack("foreign Host, Origin and Sec-Fetch-Site", needs=("worker",))
async def foreign_pages_at_the_worker(target: Target) -> Outcome:
    assert target.worker
    return await _all_refused(target.worker, ("/metrics", "/healthz", "/readyz"), ("GET",))


@attack("an erase event as text/plain, as a form, as nothing")
async def text_for_json(target: Target) -> Outcome:
    told = []
    async with httpx.AsyncClient(base_url=target.open_api, trust_env=False, timeout=10) as http:
        for kind in ({"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}, {}):
            answer = await http.post("/v1/events", content=b'{"user_id": "attack", "type": "erase"}', headers=kind)
            told.append(answer.status_code)
    return Outcome(", ".join(map(str, told)), held=told == [415] * 3)


@attack("register shared memory, list models, over HTTP", needs=("triton",))
async def control_of_triton(target: Target) -> Outcome:
    assert target.triton
    paths = ("/v2/systemsharedmemory/region/a/register", "/v2/repository/index", "/v2/logging")
    async with httpx.AsyncClient(base_url=target.triton, trust_env=False, timeout=10) as http:
        told = [(await http.post(path, json={"key": "/a", "byte_size": 64})).status_code for path in paths]
    return Outcome(", ".join(map(str, told)), held=told == [403] * 3)
