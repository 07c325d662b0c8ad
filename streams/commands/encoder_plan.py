"""What a migration will cost, before anything is done: records, texts, seconds, room in Qdrant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from rich.table import Table

from streams.commands.topics import table_of
from streams.commands.when import lasting

if TYPE_CHECKING:
    from streams.broker.fetched_batch import Partition
    from streams.encoder.client import TritonEncoder
    from streams.settings.service import Settings

#: Events a second that one worker folds beside encoding, measured on one core (docs/capacity.md).
FOLDED_PER_S: Final = 1_300.0
#: Bytes of a point beside its vector: payload and its indexes, measured with eight pieces of evidence.
_PAYLOAD_BYTES: Final = 1_500
_SAMPLED: Final = 2_000  # records of each topic of events, the latest
_TEXTS: Final = [f"{number} cups of tea, and a plain sentence of ten words or so" for number in range(128)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is to be read and made. `texts` is at most: equal ones are encoded once."""

    records: Mapping[str, int]
    items: int
    texts: int
    texts_per_s: float
    points: int
    dim: int

    @property
    def seconds(self) -> float:
        """How long it takes about, with one worker: encoding, then folding, which in part go on side by side."""
        events = sum(self.records.values()) - self.items
        return self.texts / max(self.texts_per_s, 1e-3) + events / FOLDED_PER_S

    @property
    def bytes(self) -> int:
        """About what the new collections take on disk; in memory as much while they are read."""
        return self.points * (4 * self.dim + _PAYLOAD_BYTES)

    def table(self) -> Table:
        """A row a fact."""
        table = table_of("", "to do")
        for topic, count in self.records.items():
            table.add_row(f"records of {topic}", f"{count:,}")
        table.add_row("texts to encode, at most", f"{self.texts:,}")
        table.add_row("encoded a second, measured now", f"{self.texts_per_s:,.0f}")
        table.add_row("points, if as many as now", f"{self.points:,}")
        table.add_row("disk and memory in Qdrant, about", f"{self.bytes / (1 << 20):,.0f} MiB")
        table.add_row("time with one worker, about", lasting(self.seconds))
        return table


async def estimate(
    settings: Settings, encoder: TritonEncoder, starts: Mapping[Partition, tuple[int, int]], points: int
) -> Estimate:
    """Count what lies between the offsets, sample how many events bring a text, and time the encoder."""
    kafka = settings.kafka
    records = dict.fromkeys((kafka.items_topic, *kafka.event_topics), 0)
    for source, (start, end) in starts.items():
        if source.topic in records:
            records[source.topic] += end - start
    events = {topic: count for topic, count in records.items() if topic != kafka.items_topic}
    with_text = sum(
        [count * await _share_with_text(settings, topic, starts) for topic, count in events.items() if count]
    )
    info = await encoder.info()
    began_s = monotonic()
    await encoder.encode(_TEXTS)
    per_s = len(_TEXTS) / (monotonic() - began_s)
    items = records[kafka.items_topic]
    return Estimate(
        records=records, items=items, texts=items + int(with_text), texts_per_s=per_s, points=points, dim=info.dim
    )


async def _share_with_text(settings: Settings, topic: str, starts: Mapping[Partition, tuple[int, int]]) -> float:
    """The share of a topic's latest records that bring a text or an item with them."""
    from streams.broker.read_spans import read_latest
    from streams.settings.wiring import kafka_config

    ends = {source.partition: span for source, span in starts.items() if source.topic == topic}
    values = await read_latest(kafka_config(settings.kafka), topic, ends, _SAMPLED)
    return sum(b'"text"' in value or b'"item"' in value for value in values) / len(values) if values else 0.0
