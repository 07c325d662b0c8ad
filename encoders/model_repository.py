"""A model's folder in a Triton model repository: its tensors, its config.pbtxt, and how it is put in place."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from encoders.errors import ModelError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, its Triton type and its shape with -1 for what varies; the first size is the batch's."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def config_dtype(self) -> str:
        """The name of the type in a `config.pbtxt`, where BYTES is called TYPE_STRING."""
        return "TYPE_STRING" if self.dtype == "BYTES" else f"TYPE_{self.dtype}"

    def with_sizes(self, *sizes: int) -> TensorSpec:
        """The same tensor with every varying size but the batch's set, in order, to `sizes`."""
        given = iter(sizes)
        rest = tuple(next(given) if size == -1 else size for size in self.shape[1:])
        if next(given, None) is not None:
            raise ValueError(f"{self.name}: expected as many sizes as vary in {self.shape[1:]}, got {sizes}")
        return TensorSpec(self.name, self.dtype, (self.shape[0], *rest))


@dataclass(frozen=True, slots=True)
class Batching:
    """How Triton joins and queues a model's requests: `most` rows a pass and `queued` waiting requests at most.

    A request waits `delay_us` for others, and `timeout_us` in all when its client does not say how long.
    """

    most: int
    queued: int
    delay_us: int
    timeout_us: int


def check_name(name: str) -> None:
    """ModelError where Triton takes no model of this name."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"model name {name!r}: expected letters, digits, '_', '-' and '.', such as text_encoder_2")


def config_text(
    name: str,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    batching: Batching,
    parameters: Mapping[str, str],
) -> str:
    """The config.pbtxt of a model in the Python backend, which runs on a GPU where there is one."""
    written = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{_escaped(value)}" }} }}'
        for key, value in parameters.items()
    )
    return f"""name: "{name}"
backend: "python"
max_batch_size: {batching.most}
input [
{_tensors(inputs)}
]
output [
{_tensors(outputs)}
]
instance_group [ {{ count: 1, kind: KIND_AUTO }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {batching.delay_us}
  default_queue_policy {{
    timeout_action: REJECT
    default_timeout_microseconds: {batching.timeout_us}
    allow_timeout_override: true
    max_queue_size: {batching.queued}
  }}
}}
{written}
"""


def write_model(
    repo: Path, name: str, config: str, shell: str, more: Callable[[Path], object] = lambda _version: None
) -> None:
    """Put `repo`/`name` in place in one rename: `config` as config.pbtxt, `shell` as 1/model.py, and what `more` adds.

    `more` is called with the version's folder. A folder of that name is replaced as a whole.
    """
    repo.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=repo))
    target = repo / name
    try:
        (temporary / "1").mkdir()
        (temporary / "1" / "model.py").write_text(shell, encoding="utf-8")
        (temporary / "config.pbtxt").write_text(config, encoding="utf-8")
        more(temporary / "1")
        temporary.chmod(0o755)
        if target.exists():
            target.replace(temporary / "old")
            temporary.replace(target)
            shutil.rmtree(target / "old")
        else:
            temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return ",\n".join(
        f'  {{ name: "{spec.name}", data_type: {spec.config_dtype}, dims: [ {", ".join(map(str, spec.shape[1:]))} ] }}'
        for spec in specs
    )


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
