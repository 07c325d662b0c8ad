"""Events parsed, validated and grouped by user a second, on one core: `python -m tests.bench.bench_parse`.

JSON on stdout. `per_cpu_s` divides by processor time, which other programs on the machine disturb less than wall time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from aiokafka.structs import ConsumerRecord

from streams.events.parse import parse_events, parse_items

NOW_MS = 1_760_000_000_000
BATCH = 5_000
ENGLISH = "I have used this for a month now, and it does what it says; the battery could be better though. " * 2
CHINESE = "用了一個月,說到做到;不過電池可以再好一點。" * 4


def record(topic: str, offset: int, key: str, value: bytes) -> Any:
    """Make a record as aiokafka hands it over."""
    raw_key = key.encode()
    return ConsumerRecord(topic, 0, offset, NOW_MS - 1_000, 0, raw_key, value, None, len(raw_key), len(value), ())


def event(user: str, number: int, **more: object) -> dict[str, object]:
    """Make a plain event."""
    return {
        "event_id": f"e{number:08d}",
        "user_id": user,
        "type": "click",
        "ts": NOW_MS - 60_000 + number,
        "item_id": f"item-{number % 5_003}",
        **more,
    }


def more_of(mix: str, number: int) -> dict[str, object]:
    """Say what a mix adds to the plain event."""
    shown = [f"item-{(number * 7 + at) % 5_003}" for at in range(30)]
    mixes: dict[str, dict[str, object]] = {
        "clicks": {},
        "clicks_rfc3339": {"ts": "2025-10-09T08:53:20.125+00:00"},
        "clicks_context": {"context": {"device": "mobile", "session": f"s{number}", "hour": 21}, "dwell_ms": 5_200},
        "clicks_unknown_field": {"ab_bucket": "b"},
        "comments_english": {"type": "comment", "text": ENGLISH, "rating": 4},
        "comments_chinese": {"type": "comment", "text": CHINESE},
        "impressions_of_30": {"type": "impression", "item_id": None, "items": shown, "clicked": shown[3:4]},
        "inline_item": {"item": {"title": "A bicycle for rain", "description": ENGLISH, "categories": ["sports"]}},
        "unknown_type": {"type": "teleport"},
    }
    return mixes[mix]


MIXES = (
    "clicks", "clicks_rfc3339", "clicks_context", "clicks_unknown_field", "comments_english", "comments_chinese",
    "impressions_of_30", "inline_item", "unknown_type",
)  # fmt: skip


def event_records(mix: str, count: int) -> list[Any]:
    """Make `count` records of one mix, from a tenth as many users."""
    rng = random.Random(7)
    users = [f"user-{rng.randrange(count // 10):06d}" for _ in range(count)]
    return [
        record("clicks", number, user, json.dumps(event(user, number, **more_of(mix, number))).encode())
        for number, user in enumerate(users)
    ]


def item_records(count: int) -> list[Any]:
    """Make `count` catalogue records."""
    return [
        record(
            "items",
            number,
            f"item-{number}",
            json.dumps(
                {"item_id": f"item-{number}", "title": "A bicycle", "description": ENGLISH, "tags": ["bicycle"]}
            ).encode(),
        )
        for number in range(count)
    ]


def measure(records: list[Any], step: Callable[[list[Any]], None], repeats: int) -> dict[str, float]:
    """Run the batches `repeats` times; the best run counts, as the others were disturbed."""
    batches = [records[at : at + BATCH] for at in range(0, len(records), BATCH)]
    wall_s, cpu_s = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            step(batch)
        wall_s.append(time.perf_counter() - wall)
        cpu_s.append(time.process_time() - cpu)
    return {"per_s": round(len(records) / min(wall_s)), "per_cpu_s": round(len(records) / min(cpu_s))}


def parse(batch: list[Any]) -> None:
    """Do what the worker does first."""
    parse_events(batch, now_ms=NOW_MS)


def figures(records: int = 100_000, repeats: int = 5) -> dict[str, dict[str, float]]:
    """Measure every mix: records parsed and validated a second, one process."""
    results = {mix: measure(event_records(mix, records), parse, repeats) for mix in MIXES}
    results["items"] = measure(item_records(records), lambda batch: parse_items(batch, now_ms=NOW_MS) and None, repeats)
    return results


def main() -> None:
    """Measure every mix and print one JSON object."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--records", type=int, default=100_000)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    json.dump(figures(chosen.records, chosen.repeats), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
