"""A log made ready to be replayed, any number of times: its items described, its texts encoded and kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from encoders.encoder import load_encoder
from streams.concepts.tree import ConceptTree
from streams.encoder.base import Encoder, model_errors
from streams.encoder.client import TritonEncoder
from streams.encoder.concept_tree import read_or_encode_tree
from streams.evaluation.prequential import PrequentialProtocol, Replay
from streams.evaluation.texts import KeptEncoder, LocalEncoder
from streams.evaluation.world import KnownItems, Undated, WorldPolicy
from streams.events.event import RecordLike
from streams.events.parse import parse_events, parse_items
from streams.interests.item_vectors import ItemPoint
from streams.interests.signed_weight import WeightTable
from streams.pipeline.describe import describe
from streams.pipeline.weigh import texts_of
from streams.settings.service import Settings
from streams.store.memory import MemoryStore

#: Texts encoded at a time: Ctrl-C waits for no more.
_CHUNK = 128


class Step(Protocol):
    """Shows how far a step is."""

    def add(self, count: int) -> None:
        """`count` more are done."""


Meter = Callable[[str, int], AbstractContextManager[Step]]
"""Opens a step by its name and how many it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderPlan:
    """Which encoder to use. `model` is loaded here, unless `triton` names a server; `cache` is a folder.

    `precision` is one of `encoders.backends.PRECISIONS`; int8 makes vectors of another id than floats do.
    """

    model: str = "multilingual-e5-small"
    precision: str = "float"
    triton: str | None = None
    cache: Path = Path(".cache/interests")


class NamedEncoder(NamedTuple):
    """An encoder with the id that names its vectors."""

    encoder: KeptEncoder
    encoder_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A log with all that a replay of it needs; times up to `now_ms` are believed."""

    settings: Settings
    encoder: Encoder
    encoder_id: str
    tree: ConceptTree
    points: Sequence[ItemPoint]
    events: Sequence[RecordLike]
    now_ms: int
    everybody: WorldPolicy

    async def replay(
        self, protocol: PrequentialProtocol, *, encoder: Encoder | None = None, weights: WeightTable | None = None
    ) -> Replay:
        """A replay of the log from its start; with another encoder or other weights where they are given."""
        nodes = self.settings.nodes.policy()
        store = MemoryStore(nodes)
        await store.put_items(self.points)
        return Replay(
            catalogue=KnownItems(self.points, self.encoder.dim), encoder=encoder or self.encoder, store=store,
            tree=self.tree, nodes=nodes, weights=weights or self.settings.weights.table(),
            ranking=self.settings.ranking.policy(), everybody=self.everybody, protocol=protocol,
        )  # fmt: skip


async def prepare(
    settings: Settings, named: NamedEncoder, items: Sequence[RecordLike], events: Sequence[RecordLike], *, now_ms: int,
    undated: Undated, meter: Meter,
) -> Ground:  # fmt: skip
    """Describe the items and encode the texts of a log. Raises ConfigurationError and PoisonError."""
    encoder, encoder_id = named
    tree = settings.concepts.with_floors(await read_or_encode_tree(settings.concepts.file, encoder, encoder_id))
    points = await _described(items, encoder, tree, now_ms, meter)
    await _warm(events, encoder, now_ms, meter)
    population = settings.population
    everybody = WorldPolicy(
        popularity_half_life_s=population.popularity_half_life_s, partners=population.partners(),
        places=population.together_places, undated=undated,
    )  # fmt: skip
    return Ground(
        settings=settings, encoder=encoder, encoder_id=encoder_id, tree=tree, points=points, events=events,
        now_ms=now_ms, everybody=everybody,
    )  # fmt: skip


@asynccontextmanager
async def encoder_of(settings: Settings, plan: EncoderPlan) -> AsyncIterator[NamedEncoder]:
    """The encoder of a plan, with what it encoded before kept in `plan.cache`."""
    folder = plan.cache / "evaluate"
    if plan.triton is None:
        with model_errors():
            model = load_encoder(plan.model, cache=plan.cache / "models", precision=plan.precision)
        with KeptEncoder(LocalEncoder(model), folder / f"{model.encoder_id}-{model.sentiment_id}.sqlite") as kept:
            yield NamedEncoder(kept, model.encoder_id)
        return
    client = TritonEncoder(
        plan.triton, model_name=settings.triton.model, deadline_s=settings.triton.deadline_s,
        max_batch=settings.triton.max_batch,
    )  # fmt: skip
    try:
        info = await client.info()
        with KeptEncoder(client, folder / f"{info.encoder_id}.sqlite") as kept:
            yield NamedEncoder(kept, info.encoder_id)
    finally:
        await client.close()


async def _described(
    records: Sequence[RecordLike], encoder: KeptEncoder, tree: ConceptTree, now_ms: int, meter: Meter
) -> list[ItemPoint]:
    """The catalogue: every item that can be read, with its vector and path."""
    described = list({item.item_id: item for item, _ in parse_items(records, now_ms=now_ms).upserts}.values())
    points: list[ItemPoint] = []
    with meter("items", len(described)) as step:
        for start in range(0, len(described), _CHUNK):
            chunk = described[start : start + _CHUNK]
            points += (await describe(chunk, encoder, tree))[0]
            step.add(len(chunk))
    return points


async def _warm(records: Sequence[RecordLike], encoder: KeptEncoder, now_ms: int, meter: Meter) -> None:
    """Encode what the events will ask for, many texts at a time."""
    texts = list(dict.fromkeys(texts_of(parse_events(records, now_ms=now_ms).events)))
    with meter("texts", len(texts)) as step:
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            await encoder.encode(chunk)
            step.add(len(chunk))
