"""The page's modules that only compute, in the browser they are made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("broker", ["tansu"], indirect=True),
]


async def run(page: Page, module: str, body: str) -> Any:
    """What a function says that is given a module's exports."""
    return await page.evaluate(f"async () => {{ const m = await import('./{module}'); {body} }}")


async def test_a_stream_cut_anywhere_gives_the_same_events(visit: Callable[..., Any]) -> None:
    page = await visit()
    stream = 'retry: 7\n\nid: 3\r\nevent: update\r\ndata: {"a":\r\ndata: "é茶"}\r\n\r\n'
    stream += ": still here\n\ndata\n\nid\ndata:x\n\n"
    expected = [
        {"event": "update", "data": '{"a":\n"é茶"}', "id": "3"},
        {"event": "message", "data": "", "id": "3"},
        {"event": "message", "data": "x", "id": ""},
    ]
    body = """
      const text = %r;
      const results = new Set();
      for (let one = 0; one <= text.length; one++) for (let two = one; two <= text.length; two += 3) {
        const parser = new m.EventParser();
        const events = [text.slice(0, one), text.slice(one, two), text.slice(two)].flatMap((part) => parser.push(part));
        results.add(JSON.stringify([events, parser.retry]));
      }
      return [...results].map(JSON.parse);
    """
    assert await run(page, "live.js", body % stream) == [[expected, 7]]
    endless = """
      const parser = new m.EventParser();
      try { for (;;) parser.push(`data:${"x".repeat(1e6)}\\n`); } catch (error) { return error.name; }
    """
    assert await run(page, "live.js", endless) == "RangeError"


T, HOUR = 1_700_000_000_000, 3_600_000
NODE = {
    "id": "n", "level": "topic", "path": "/a", "name": "A", "mass": 8.0, "share": 1, "net": 1, "count": 6,
    "first_ms": T, "last_ms": T + HOUR, "expires_at_ms": 9e15, "half_life_s": 3600.0,
    "evidence": [{"event_id": "e", "ts_ms": T + HOUR // 2, "weight": 3.0, "share": 0.2}],
}  # fmt: skip


async def test_a_weights_past_meets_what_is_known_and_halves_ahead(visit: Callable[..., Any]) -> None:
    page = await visit()
    body = f"""
      const tree = new m.Tree("u"), now = {T + 2 * HOUR};
      tree.replace({{ events: 6, first_ms: {T}, last_ms: {T + HOUR}, at_ms: now, nodes: [{NODE}] }});
      const {{ guess, known, ahead }} = tree.curve(tree.level("topic", now)[0], {T - HOUR}, {T + 3 * HOUR}, now);
      return {{ guess, known, ahead }};
    """
    curve = await run(page, "tree.js", body)
    guess, known, ahead = curve["guess"], curve["known"], curve["ahead"]
    assert guess[0] == {"t": T - HOUR, "mass": 0}
    masses = [point["mass"] for point in guess]
    before = next(at for at, point in enumerate(guess) if point["t"] == T + HOUR // 2)
    assert masses[before] - masses[before - 1] == pytest.approx(3.0, abs=0.01), "an event that is kept is a step"
    assert masses[-1] == pytest.approx(16.0), "the last event is an hour ago: twice what is left now"
    assert known[0]["mass"] == pytest.approx(16.0)
    assert known[-1]["mass"] == pytest.approx(8.0, rel=1e-3)
    assert ahead[0]["mass"] == pytest.approx(8.0)
    assert ahead[-1]["mass"] == pytest.approx(4.0)


async def test_an_old_answer_does_not_undo_a_newer_update(visit: Callable[..., Any]) -> None:
    page = await visit()
    body = f"""
      const tree = new m.Tree("u"), node = {NODE};
      tree.apply({{ at_ms: 2000, nodes: [{{ ...node, mass: 9 }}], events: [] }});
      tree.replace({{ events: 6, at_ms: 1000, nodes: [node] }});
      const kept = tree.nodes.get("n").mass;
      const event = {{ event_id: "e", ts_ms: 1, type: "like", weight: 2 }};
      const fresh = tree.apply({{ at_ms: 3000, nodes: [], events: [event] }});
      tree.apply({{ at_ms: 4000, erased: true, nodes: [], events: [] }});
      return [kept, fresh.length, tree.nodes.size, tree.events.size, tree.erasedAt];
    """
    assert await run(page, "tree.js", body) == [9, 0, 0, 0, 4000]
