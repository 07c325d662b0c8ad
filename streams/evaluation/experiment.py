"""One evaluation from records to figures: load the encoder, describe the items, replay, compare."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Protocol

from encoders.encoder import load_encoder
from streams.concepts.tree import ConceptTree
from streams.encoder.base import model_errors
from streams.encoder.client import TritonEncoder
from streams.encoder.concept_tree import read_or_encode_tree
from streams.evaluation.contest import Contest
from streams.evaluation.prequential import Counts, Kind, PrequentialProtocol, Replay
from streams.evaluation.scorers import SERVICE, ablations, baselines, service
from streams.evaluation.texts import KeptEncoder, LocalEncoder
from streams.evaluation.world import KnownItems, Undated
from streams.events.event import RecordLike
from streams.events.parse import parse_events, parse_items
from streams.interests.item_vectors import ItemPoint
from streams.pipeline.describe import describe
from streams.pipeline.weigh import texts_of
from streams.settings.service import Settings
from streams.store.memory import MemoryStore

_CHUNK = 512


class Step(Protocol):
    """Shows how far a step is."""

    def add(self, count: int) -> None:
        """`count` more are done."""


Meter = Callable[[str, int], AbstractContextManager[Step]]
"""Opens a step by its name and how many it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """What to evaluate. `model` is loaded here, unless `triton` names a server; `cache` is a folder."""

    name: str
    kinds: frozenset[Kind] = frozenset({"next", "impression"})
    without: tuple[str, ...] = ()
    negatives: int = 49
    seed: int = 7
    undated: Undated = "known"
    model: str = "multilingual-e5-small"
    triton: str | None = None
    cache: Path = Path(".cache/interests")


class NamedEncoder(NamedTuple):
    """An encoder with the id that names its vectors."""

    encoder: KeptEncoder
    encoder_id: str


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """What came of it: `figures` are plain JSON, without any id or text of the log."""

    contest: Contest
    counts: Counts
    figures: dict[str, Any]

    def json_text(self) -> str:
        """The result as text."""
        return json.dumps(self.figures, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


async def run(
    settings: Settings, plan: ExperimentPlan, items: Sequence[RecordLike], events: Sequence[RecordLike], *, now_ms: int,
    meter: Meter,
) -> ExperimentResult:  # fmt: skip
    """Replay `events` in their order; times up to `now_ms` are believed. Raises ConfigurationError and PoisonError."""
    began = monotonic()
    policy, nodes, weights = settings.ranking.policy(), settings.nodes.policy(), settings.weights.table()
    contest = Contest(
        {SERVICE: service(policy), **ablations(policy, plan.without), **baselines(policy, plan.seed)}
    )  # fmt: skip
    async with encoder_of(settings, plan) as (encoder, encoder_id):
        tree = await read_or_encode_tree(settings.concepts.file, encoder, encoder_id)
        points = await _described(items, encoder, tree, now_ms, meter)
        await _warm(events, encoder, now_ms, meter)
        store = MemoryStore(nodes)
        await store.put_items(points)
        protocol = PrequentialProtocol(
            negatives=plan.negatives, seed=plan.seed, kinds=plan.kinds,
            popularity_half_life_s=settings.population.popularity_half_life_s, undated=plan.undated,
        )  # fmt: skip
        replay = Replay(
            catalogue=KnownItems(points, encoder.dim), encoder=encoder, store=store, tree=tree, nodes=nodes,
            weights=weights, protocol=protocol,
        )  # fmt: skip
        with meter("rank", len(events)) as step:
            done = 0
            async for case in replay.cases(events, now_ms=now_ms):
                contest.add(case)
                step.add(case.index - done)
                done = case.index
            step.add(len(events) - done)
    figures = {
        "name": plan.name, "encoder": encoder_id, "tree": tree.version,
        "protocol": {"negatives": plan.negatives, "seed": plan.seed, "undated": plan.undated,
                     "popularity_half_life_s": protocol.popularity_half_life_s},
        "policy": asdict(policy) | {"levels": dict(policy.levels)},
        "log": {"items": len(points), **asdict(replay.counts)},
        "seconds": round(monotonic() - began, 1),
        "groups": contest.as_json(),
    }  # fmt: skip
    return ExperimentResult(contest, replay.counts, figures)


@asynccontextmanager
async def encoder_of(settings: Settings, plan: ExperimentPlan) -> AsyncIterator[NamedEncoder]:
    """The encoder of a plan, with what it encoded before kept in `plan.cache`."""
    folder = plan.cache / "evaluate"
    if plan.triton is None:
        with model_errors():
            model = load_encoder(plan.model, cache=plan.cache / "models")
        with KeptEncoder(LocalEncoder(model), folder / f"{model.encoder_id}.sqlite") as kept:
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
