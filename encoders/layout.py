"""What a model directory says about its own use: pooling, prefix, length, graph input names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from encoders.errors import ModelError

POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_HARD_LIMIT = 512
_DECODERS = ("ForCausalLM", "LMHeadModel")


@dataclass(frozen=True, slots=True)
class Layout:
    """How to turn a text into this model's vector.

    `pooling` is mean, cls or last; `prefix` goes before every text; `max_tokens` includes special tokens;
    `dim` is the length of the vector; `layers` the number of transformer blocks; `model_type` is
    transformers' name of the family; `fingerprint` the digest of its files.
    """

    folder: Path
    pooling: str
    prefix: str
    max_tokens: int
    dim: int
    layers: int
    model_type: str
    fingerprint: str


def read_layout(folder: Path, max_tokens: int | None = None) -> Layout:
    """The layout of a model directory, from the files sentence-transformers keeps beside the weights.

    Without them, a decoder-only model is pooled at its last token and any other by the mean. `max_tokens` lowers
    the model's own limit. Raises ModelError for what this graph cannot do (dense heads, other poolings).
    """
    config = _load(folder / "config.json")
    modules = _load(folder / "modules.json") if (folder / "modules.json").is_file() else []
    pooling = _pooling(folder, modules, config)
    own_limit = _own_limit(folder, config)
    return Layout(
        folder=folder,
        pooling=pooling,
        prefix=_prefix(folder),
        max_tokens=min(own_limit, max_tokens) if max_tokens else own_limit,
        dim=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        model_type=str(config.get("model_type", "")),
        fingerprint=fingerprint(folder),
    )


def fingerprint(folder: Path) -> str:
    """A digest of a model's weights and tokeniser (32 hex digits), the same on every machine."""
    digest = xxhash.xxh3_128()
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise ModelError(f"{folder.name}: expected weights in *.safetensors, found none")
    for path in [*files, folder / "tokenizer.json", folder / "config.json"]:
        if path.is_file():
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
    return digest.hexdigest()


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path.parent.name}/{path.name}: cannot be read as JSON ({error})") from error


def _pooling(folder: Path, modules: list[dict[str, str]], config: dict[str, Any]) -> str:
    for module in modules:
        kind = module["type"].rsplit(".", 1)[-1]
        if kind == "Pooling":
            return _pooling_mode(_load(folder / module["path"] / "config.json"), folder.name)
        if kind not in ("Transformer", "Normalize"):
            raise ModelError(f"{folder.name}: module {kind} is not supported (Transformer, Pooling, Normalize)")
    architecture = str((config.get("architectures") or [""])[0])
    return "last" if architecture.endswith(_DECODERS) else "mean"


def _pooling_mode(config: dict[str, Any], name: str) -> str:
    if isinstance(config.get("pooling_mode"), str):  # newer sentence-transformers
        on = [config["pooling_mode"]]
        on = [{"lasttoken": "last"}.get(mode, mode) for mode in on]
    else:
        on = [POOLINGS.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(on) != 1 or on[0] not in POOLINGS.values():
        raise ModelError(f"{name}: pooling {on} is not supported, expected one of {sorted(POOLINGS.values())}")
    return str(on[0])


def _prefix(folder: Path) -> str:
    path = folder / "config_sentence_transformers.json"
    if not path.is_file():
        return ""
    config = _load(path)
    prompts = config.get("prompts") or {}
    name = config.get("default_prompt_name")
    return str(prompts.get(name, "")) if name else ""


def _own_limit(folder: Path, config: dict[str, Any]) -> int:
    limits = [_HARD_LIMIT, int(config.get("max_position_embeddings") or _HARD_LIMIT)]
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limits[1] -= 2  # these number positions from the padding index on
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (folder / name).is_file() and (value := _load(folder / name).get(key)):
            limits.append(int(value))
    return min(limits)
