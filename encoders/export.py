"""Writes the Triton model repository for a model, and proves it by loading and encoding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import contract
from encoders.backends import check_precision, resolved
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ModelError
from encoders.int8 import load_ranges
from encoders.layout import read_layout
from encoders.locate import cache_dir, locate, name_of
from encoders.model_repository import check_name, config_text, write_model
from encoders.sentiment import load_head

SHELL = '''"""The text encoder, as Triton's Python backend loads it. All of it lives in `encoders/`."""

from encoders.triton_shell import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
WORTH = 1.2
"""How many times as fast as floats int8 has to be: it moves the vectors a little (docs/decisions/encoder.md)."""
PROOF = ("interest", "兴趣", "a proof of the exported model " * 8)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the repository, and what its clients will see."""

    repo: Path
    encoder_id: str
    dim: int
    backend: str
    measured: str


def export(
    model: str,
    repo: Path,
    *,
    backend: str = "auto",
    cache: Path | None = None,
    max_tokens: int | None = None,
    streams: int = 0,
    precision: str = "auto",
    compiled: bool = False,
    prompt: str = "",
    keep: int = 0,
    name: str = contract.MODEL_NAME,
) -> Exported:
    """Write `repo`/`name` for a model (a known name or a directory) after it has encoded a proof text.

    `precision` is one of `PRECISIONS`, or `auto`: int8 where it is `WORTH` times as fast here. It is fixed here and not
    at each start, since int8 has an id of its own. `compiled` is kept for each start, and so are `prompt` and `keep`
    (see `read_layout`), which are part of the id. The folder is replaced as a whole; Triton serves every model of a
    repository, each under its folder's `name`. Raises ModelError where the model cannot be loaded, its vectors are not
    finite and of length 1, or Triton takes no such name.
    """
    check_name(name)
    check_precision(precision, "auto")
    measured = ""
    if precision == "auto":
        precision, measured = chosen(model, backend, cache or cache_dir())
    encoder = load_encoder(
        model, backend=backend, cache=cache, max_tokens=max_tokens, streams=streams, precision=precision,
        compiled=compiled, prompt=prompt, keep=keep,
    )  # fmt: skip
    prove(encoder)
    parameters = {
        "model": model if not Path(model).is_dir() else str(Path(model).resolve()),
        "backend": backend,
        "precision": precision,
        "compile": "on" if compiled else "off",
        contract.ENCODER_ID_PARAMETER: encoder.encoder_id,
        "max_tokens": str(max_tokens or 0),
        "streams": str(streams),
        "cache": str(cache.resolve()) if cache else "",
        "max_text_bytes": str(contract.MAX_TEXT_BYTES),
        **({"prompt": prompt} if prompt else {}),
        **({"dim": str(keep)} if keep else {}),
    }
    write_repository(repo, encoder_config(encoder.dim, parameters, name), name)
    return Exported(repo, encoder.encoder_id, encoder.dim, encoder.backend.name, measured)


def chosen(model: str, backend: str, cache: Path) -> tuple[str, str]:
    """What `auto` means for a model on this machine, and the measurement that says so, empty where none was needed."""
    folder = locate(model, cache)
    ranges = load_ranges(name_of(folder), folder)
    if ranges is None or resolved(backend) != "openvino":
        return "float", ""
    from encoders.backends.openvino import float_precisions  # noqa: PLC0415  # not needed on a GPU machine
    from encoders.backends.speed import measured  # noqa: PLC0415  # as above

    layout, layers = read_layout(folder), load_head(name_of(folder), folder).layers
    speeds = measured(layout, layers, cache, ["int8", *float_precisions(layout)], ranges)
    said = ", ".join(f"{name} {speed:,}" for name, speed in speeds.items())
    floats = max(speed for name, speed in speeds.items() if name != "int8")
    return ("int8" if speeds["int8"] >= WORTH * floats else "float"), f"tokens/s: {said}"


def prove(encoder: LoadedEncoder) -> None:
    """Encode three texts and check what comes out. Raises ModelError where it breaks the contract."""
    vectors, signs = encoder.encode(PROOF)
    norms = np.linalg.norm(vectors, axis=1)
    if vectors.shape != (len(PROOF), encoder.dim) or not np.all(np.abs(norms - 1) < contract.NORM_TOLERANCE):
        raise ModelError(
            f"{encoder.encoder_id}: expected {len(PROOF)} vectors of {encoder.dim} and length 1, "
            f"got shape {vectors.shape} and lengths {np.round(norms, 3).tolist()}"
        )
    if not np.all(np.abs(signs) <= 1):
        raise ModelError(f"{encoder.encoder_id}: expected sentiments in [-1, 1], got {signs.tolist()}")


def write_repository(repo: Path, config: str, name: str = contract.MODEL_NAME) -> None:
    """Put the model's folder in place in one rename, with the given config.pbtxt."""
    write_model(repo, name, config, SHELL)


def encoder_config(dim: int, parameters: dict[str, str], name: str = contract.MODEL_NAME) -> str:
    """The config.pbtxt of an encoder with vectors of `dim`, from the contract."""
    embedding, *others = contract.OUTPUTS
    outputs = [embedding.with_sizes(dim), *others]
    return config_text(name, contract.INPUTS, outputs, contract.BATCHING, parameters)
