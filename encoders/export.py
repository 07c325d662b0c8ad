"""Writes the Triton model repository for a model, and proves it by loading and encoding."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import contract
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ModelError

SHELL = '''"""The text encoder, as Triton's Python backend loads it. All of it lives in `encoders/`."""

from encoders.triton_shell import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
PROOF = ("interest", "兴趣", "a proof of the exported model " * 8)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the repository, and what its clients will see."""

    repo: Path
    encoder_id: str
    dim: int
    backend: str


def export(
    model: str,
    repo: Path,
    *,
    backend: str = "auto",
    cache: Path | None = None,
    max_tokens: int | None = None,
    streams: int = 0,
) -> Exported:
    """Write `repo`/text_encoder for a model (a known name or a directory) after it has encoded a proof text.

    The folder is replaced as a whole. Raises ModelError where the model cannot be loaded or its vectors are
    not finite and of length 1.
    """
    encoder = load_encoder(model, backend=backend, cache=cache, max_tokens=max_tokens, streams=streams)
    prove(encoder)
    parameters = {
        "model": model if not Path(model).is_dir() else str(Path(model).resolve()),
        "backend": backend,
        contract.ENCODER_ID_PARAMETER: encoder.encoder_id,
        "max_tokens": str(max_tokens or 0),
        "streams": str(streams),
        "cache": str(cache.resolve()) if cache else "",
        "max_text_bytes": str(contract.MAX_TEXT_BYTES),
    }
    write_repository(repo, config_text(encoder.dim, parameters))
    return Exported(repo, encoder.encoder_id, encoder.dim, encoder.backend.name)


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


def write_repository(repo: Path, config: str) -> None:
    """Put the model's folder in place in one rename, with the given config.pbtxt."""
    repo.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=repo))
    target = repo / contract.MODEL_NAME
    try:
        (temporary / "1").mkdir()
        (temporary / "1" / "model.py").write_text(SHELL, encoding="utf-8")
        (temporary / "config.pbtxt").write_text(config, encoding="utf-8")
        temporary.chmod(0o755)
        if target.exists():
            target.replace(temporary / "old")
            temporary.replace(target)
            shutil.rmtree(target / "old")
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def config_text(dim: int, parameters: dict[str, str]) -> str:
    """The config.pbtxt of an encoder with vectors of `dim`, from the contract."""
    inputs = ",\n".join(_tensor(spec) for spec in contract.INPUTS)
    outputs = ",\n".join(_tensor(spec.with_dim(dim)) for spec in contract.OUTPUTS)
    lines = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{_escaped(value)}" }} }}'
        for key, value in parameters.items()
    )
    return f"""name: "{contract.MODEL_NAME}"
backend: "python"
max_batch_size: {contract.MAX_BATCH}
input [
{inputs}
]
output [
{outputs}
]
instance_group [ {{ count: 1, kind: KIND_AUTO }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {contract.QUEUE_DELAY_US}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {contract.QUEUE_TIMEOUT_US}
    allow_timeout_override: true
    max_queue_size: {contract.MAX_QUEUE}
  }}
}}
{lines}
"""


def _tensor(spec: contract.TensorSpec) -> str:
    dims = ", ".join(map(str, spec.shape[1:]))
    return f'  {{ name: "{spec.name}", data_type: {spec.config_dtype}, dims: [ {dims} ] }}'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
