"""A tuned language model as a directory: its files, its head, made to fit the new vectors, and a card with figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoders.align import fitted
from encoders.encoder import load_encoder
from encoders.errors import ModelError
from encoders.layout import read_layout
from encoders.locate import cache_dir, locate, name_of
from encoders.sentiment import OWN_FILE, Head, load_head, normalised, write_head
from encoders.tuning import Tunable, Tuned, TuningPlan, tune
from encoders.tuning_pairs import TuningSet

KINDS = {"lora": 8, "linear": 32}
"""What can learn, and its rank where none is told."""
CARD = "card.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """What learns: `lora` (adapters of `rank` in the last `blocks` blocks, texts cut at `max_tokens`), or `linear`.

    `linear` is a map of `rank` on frozen vectors; it reads texts up to `max_tokens` too. Rank 0 is `KINDS`' own.
    """

    kind: str = "lora"
    rank: int = 0
    blocks: int = 2
    max_tokens: int = 48


def tune_model(
    model: str, data: TuningSet, plan: TuningPlan, of_model: ModelPlan, out: Path, *, cache: Path | None = None,
    device: str = "", backend: str = "auto", about: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuned:  # fmt: skip
    """Tune a model (a known name or a directory) and write it to `out`, with its card.

    `backend` computes the vectors that a linear map reads; `about` is what the card says of the log. Raises ModelError
    for what cannot be tuned.
    """
    if of_model.kind not in KINDS:
        raise ModelError(f"kind {of_model.kind!r}: expected one of {', '.join(KINDS)}")
    of_model = dataclasses.replace(of_model, rank=of_model.rank or KINDS[of_model.kind])
    cache = cache or cache_dir()
    folder = locate(model, cache)
    head = load_head(name_of(folder), folder)
    model_side = _tunable(folder, data, plan, of_model, cache, device, backend)
    came = tune(model_side, data, head, plan, out, progress=progress)
    model_side.write(out)
    write_head(_fitted_head(head, out, cache, device), out / OWN_FILE)
    card = {
        "model": name_of(folder), **asdict(of_model), "plan": asdict(plan), "log": about or {},
        "pairs": {"history": len(data.history), "labels": len(data.labels)}, "held_out_mrr": [came.before, came.after],
        "epoch": came.epoch, "steps": came.steps, "ended": came.ended, "epochs": came.figures,
    }  # fmt: skip
    (out / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "card.md").write_text(_card_text(card), encoding="utf-8")
    return came


def _tunable(
    folder: Path, data: TuningSet, plan: TuningPlan, of_model: ModelPlan, cache: Path, device: str, backend: str
) -> Tunable:
    layout = read_layout(folder, of_model.max_tokens)
    if of_model.kind == "lora":
        if layout.dense:
            raise ModelError(f"{folder.name} has Dense modules: adapters are not trained through them; --kind linear")
        from encoders.lora import LoraModel  # noqa: PLC0415  # torch and peft take seconds to import

        return LoraModel(
            layout, data.texts, blocks=of_model.blocks, rank=of_model.rank, seed=plan.seed, device=device
        )  # fmt: skip
    from encoders.linear_map import LinearMap  # noqa: PLC0415  # as above

    encoder = load_encoder(
        str(folder), backend=backend, cache=cache, max_tokens=of_model.max_tokens, device=device, head=Head()
    )  # fmt: skip
    frozen = normalised(encoder.projection.states(encoder.pooled(data.texts)))
    return LinearMap(layout, frozen, rank=of_model.rank, seed=plan.seed, device=device)


def _fitted_head(head: Head, folder: Path, cache: Path, device: str) -> Head:
    """The head of the model before, with mean and language directions of the new one's vectors where it had them."""
    if head.mean is None:
        return head
    encoder = load_encoder(str(folder), backend="torch", cache=cache, device=device, head=Head())
    mean, languages = fitted(lambda texts: normalised(encoder.projection.states(encoder.pooled(texts))))
    return dataclasses.replace(head, mean=mean, languages=None if head.languages is None else languages)


def _card_text(card: dict[str, Any]) -> str:
    before, after = card["held_out_mrr"]
    rows = "\n".join(f"| {one['epoch']} | {one['loss']} | {one['kept']} | {one['mrr']} |" for one in card["epochs"])
    what = "low-rank adapters" if card["kind"] == "lora" else "a linear map on its vectors"
    log = ", ".join(f"{key} {value}" for key, value in card["log"].items())
    return f"""# {card["model"]}, tuned

{what.capitalize()} of rank {card["rank"]}, learned from {card["pairs"]["history"]:,} histories and
{card["pairs"]["labels"]:,} titles with the words they are filed under. Log: {log or "not told"}.

MRR on the held-out histories, later than all that was learned from: {before:.4f} before, {after:.4f} after (epoch
{card["epoch"]} of {len(card["epochs"])}; {card["ended"]}).

| epoch | loss | mean cosine to what a vector was | MRR |
|---|---|---|---|
{rows}

Its vectors are those of another encoder: export it, and go over to it as to any other (docs/migration.md). It was
tuned on one log and may be worse on others. Its sentiment is read by the head of the model before.
"""
