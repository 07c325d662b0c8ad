"""What a model directory says about its own use: pooling, prompts, length, how a text ends, dense layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
_ORDER = ("Transformer", "Pooling", "Dense", "Normalize")
NO_PROMPT = "none"
_ALSO_CALLED = {"document": ("passage", "corpus")}  # as sentence-transformers' encode_document looks for it


@dataclass(frozen=True, slots=True)
class Layout:
    """How to turn a text into this model's vector.

    `pooling` is mean, cls or last; `prefix` goes before every text; `max_tokens` includes special tokens;
    `dim` is the width of a state; `layers` the number of transformer blocks; `model_type` is transformers' name of the
    family; `fingerprint` the digest of its files. `end` is a token that every text ends with, where the tokeniser's
    configuration asks for one; `dense` are the folders of Dense modules, in order; `keep` how many numbers of a vector
    are kept, 0 for all.
    """

    folder: Path
    pooling: str
    prefix: str
    max_tokens: int
    dim: int
    layers: int
    model_type: str
    fingerprint: str
    end: str = ""
    dense: tuple[Path, ...] = ()
    keep: int = 0


def read_layout(folder: Path, max_tokens: int | None = None, *, prompt: str = "", keep: int = 0) -> Layout:
    """The layout of a model directory, from the files sentence-transformers keeps beside the weights.

    Without them, a decoder-only model is pooled at its last token and any other by the mean. `max_tokens` lowers
    the model's own limit. `prompt` names one of its prompts, `none` for no prefix; empty for the model's default.
    `keep` is how many numbers of a vector are kept (Matryoshka), 0 for what the model says: all, where it says nothing.
    Raises ModelError for what this graph cannot do (other poolings and modules), and for a prompt it has not.
    """
    config = load_json(folder / "config.json")
    modules = load_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    own = folder / "config_sentence_transformers.json"
    sentence = load_json(own) if own.is_file() else {}
    prefix = _prefix(sentence, prompt, folder.name)
    pooling, dense = _modules(folder, modules, config, prefix)
    own_limit = _own_limit(folder, config)
    return Layout(
        folder=folder,
        pooling=pooling,
        prefix=prefix,
        max_tokens=min(own_limit, max_tokens) if max_tokens else own_limit,
        dim=int(config["hidden_size"]),
        layers=int(config["num_hidden_layers"]),
        model_type=str(config.get("model_type", "")),
        fingerprint=fingerprint(folder, dense),
        end=_end(folder),
        dense=dense,
        keep=keep or int(sentence.get("truncate_dim") or 0),
    )


def fingerprint(folder: Path, dense: Sequence[Path] = ()) -> str:
    """A digest of a model's weights and tokeniser (32 hex digits), the same on every machine."""
    digest = xxhash.xxh3_128()
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not files:
        raise ModelError(f"{folder.name}: expected weights in *.safetensors, found none")
    others = [part / name for part in dense for name in ("model.safetensors", "config.json")]
    for path in [*files, folder / "tokenizer.json", folder / "config.json", *others]:
        if path.is_file():
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
    return digest.hexdigest()


def load_json(path: Path) -> Any:
    """What a file of a model says. Raises ModelError where it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path.parent.name}/{path.name}: cannot be read as JSON ({error})") from error


def _modules(
    folder: Path, modules: list[dict[str, str]], config: dict[str, Any], prefix: str
) -> tuple[str, tuple[Path, ...]]:
    """The pooling of a model and the folders of its Dense modules."""
    pooling, dense, kinds = "", [], []
    for module in modules:
        kinds.append(module["type"].rsplit(".", 1)[-1])
        if kinds[-1] == "Pooling":
            pooling = _pooling_mode(load_json(folder / module["path"] / "config.json"), folder.name, prefix)
        elif kinds[-1] == "Dense":
            dense.append(folder / module["path"])
        elif kinds[-1] not in ("Transformer", "Normalize"):
            raise ModelError(
                f"{folder.name}: module {kinds[-1]} is not supported (Transformer, Pooling, Dense, Normalize)"
            )
    if dense and (not pooling or kinds != sorted(kinds, key=_ORDER.index)):
        raise ModelError(f"{folder.name}: modules {', '.join(kinds)}: expected them in the order {', '.join(_ORDER)}")
    if pooling:
        return pooling, tuple(dense)
    architecture = str((config.get("architectures") or [""])[0])
    return "last" if architecture.endswith(_DECODERS) else "mean", ()


def _pooling_mode(config: dict[str, Any], name: str, prefix: str) -> str:
    if isinstance(config.get("pooling_mode"), str):  # newer sentence-transformers
        on = [config["pooling_mode"]]
        on = [{"lasttoken": "last"}.get(mode, mode) for mode in on]
    else:
        on = [POOLINGS.get(key, key) for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if len(on) != 1 or on[0] not in POOLINGS.values():
        raise ModelError(f"{name}: pooling {on} is not supported, expected one of {sorted(POOLINGS.values())}")
    if prefix and on[0] != "last" and not config.get("include_prompt", True):
        raise ModelError(f"{name}: its pooling leaves the prompt's tokens out, which is not supported: --prompt none")
    return str(on[0])


def _prefix(config: dict[str, Any], wanted: str, name: str) -> str:
    prompts = {str(key): str(value) for key, value in (config.get("prompts") or {}).items()}
    if wanted == NO_PROMPT:
        return ""
    if not wanted:
        return prompts.get(str(config.get("default_prompt_name")), "")
    found = next((prompts[key] for key in (wanted, *_ALSO_CALLED.get(wanted, ())) if key in prompts), None)
    if found is None:
        raise ModelError(f"{name}: no prompt {wanted!r}, expected {', '.join([*sorted(prompts), NO_PROMPT])}")
    return found


def _end(folder: Path) -> str:
    """The token that every text has to end with, where the tokeniser's configuration says `add_eos_token`."""
    path = folder / "tokenizer_config.json"
    config = load_json(path) if path.is_file() else {}
    if not config.get("add_eos_token"):
        return ""
    token = config.get("eos_token")
    return str(token["content"] if isinstance(token, dict) else token or "")


def _own_limit(folder: Path, config: dict[str, Any]) -> int:
    limits = [_HARD_LIMIT, int(config.get("max_position_embeddings") or _HARD_LIMIT)]
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        limits[1] -= 2  # these number positions from the padding index on
    else:
        limits[1] -= limits[1] % 8  # batches are padded to a multiple of 8, and padding takes positions too
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if (folder / name).is_file() and (value := load_json(folder / name).get(key)):
            limits.append(int(value))
    return min(limits)
