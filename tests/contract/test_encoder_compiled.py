"""The compiled torch graph on a CPU: few shapes, one compilation, the plain graph's vectors, alike in any company."""

from __future__ import annotations

import json
import locale
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.export import export
from encoders.locate import cache_dir
from encoders.sentiment import Head
from tests.contract.test_encoder_backends import write_model

CACHE = cache_dir(Path(__file__).resolve().parents[2])  # a first run of torch's compiler takes 13 s for nothing at all
MANY = [" ".join(f"w{(i * k) % 60}" for k in range(i % 47)) or "w1" for i in range(150)]


def write_shallow(folder: Path, name: str) -> Path:
    """A model of one layer: the others would be compiled as it is."""
    config = write_model(folder, name) / "config.json"
    read = json.loads(config.read_text()) | {"num_hidden_layers": 1}
    if "layer_types" in read:
        read["layer_types"] = read["layer_types"][:1]
    config.write_text(json.dumps(read))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shallow(tmp_path_factory.mktemp("models") / "bert-mean", "bert-mean")


def plain(folder: Path) -> LoadedEncoder:
    return load_encoder(str(folder), backend="torch", device="cpu", cache=folder, head=Head(layers=(1,)))


def compile_with(encoder: LoadedEncoder, compiler: Callable[..., Any], cache: Path, within_s: float = 60) -> Any:
    """The encoder's backend, after its graph was given to `compiler`, a backend of torch.compile."""
    backend: Any = encoder.backend
    backend.compile(cache, compiler=compiler, within_s=within_s)
    return backend


class Counting:
    """Traces and guards for real, generates no code, and counts how often it is asked."""

    def __init__(self) -> None:
        self.compiled = 0

    def __call__(self, graph: Any, _: Any) -> Callable[..., Any]:
        self.compiled += 1
        return graph.forward  # type: ignore[no-any-return]  # torch is not typed here


@pytest.mark.parametrize("name", ["bert-mean", "qwen3-last"])
def test_one_compilation_serves_all_shapes_and_any_company(name: str, tmp_path: Path) -> None:
    encoder = plain(write_shallow(tmp_path / name, name))
    expected = encoder.pooled(MANY)
    counting = Counting()
    backend = compile_with(encoder, counting, tmp_path)
    assert backend.name == "torch-cpu-float32-compiled"
    assert backend.shapes[-1][1] == encoder.layout.max_tokens
    vectors = encoder.pooled(MANY)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    for size in (1, 2, 30):
        rows = random.Random(size).sample(range(150), size)
        assert np.array_equal(encoder.pooled([MANY[row] for row in rows]), vectors[rows])
    assert encoder.pooled([]).shape == (0, 64)
    assert counting.compiled == 1


def no_compiler(graph: Any, _: Any) -> Callable[..., Any]:
    raise FileNotFoundError("no compiler here")


def wrong_numbers(graph: Any, _: Any) -> Callable[..., Any]:
    return lambda *inputs: [2 - output for output in graph.forward(*inputs)]


def one_buffer(graph: Any, _: Any) -> Callable[..., Any]:
    """As a CUDA graph does: every call of a shape puts its output where the last one did."""
    buffers: dict[Any, Any] = {}

    def replay(*inputs: Any) -> list[Any]:
        (output,) = graph.forward(*inputs)
        return [buffers.setdefault(output.shape, output).copy_(output)]

    return replay


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [(no_compiler, "no compiler here"), (wrong_numbers, "differ"), (one_buffer, "differ")],
)
def test_what_cannot_be_compiled_or_differs_runs_plain(
    compiler: Callable[..., Any], reason: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = plain(folder)
    expected = encoder.pooled(MANY)
    with caplog.at_level(logging.WARNING, "encoders"):
        backend = compile_with(encoder, compiler, tmp_path)
    assert [reason in record.getMessage() for record in caplog.records] == [True]
    assert (backend.name, backend.shapes) == ("torch-cpu-float32", ())
    assert np.array_equal(encoder.pooled(MANY), expected)


def test_shapes_whose_turn_does_not_come_run_plain(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = plain(folder)
    expected = encoder.pooled(MANY)
    with caplog.at_level(logging.WARNING, "encoders"):
        compile_with(encoder, Counting(), tmp_path, within_s=0)
    assert "1 of 3 shapes" in caplog.text
    np.testing.assert_allclose(encoder.pooled(MANY), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # from torch's own imports
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch's own compiler needs one of C++ on a CPU")
def test_an_export_is_compiled_with_torchs_own_compiler(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # put back afterwards
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")  # as in Triton
    exported = export(str(folder), tmp_path, backend="torch", cache=CACHE, compiled=True)
    assert locale.getencoding() == "UTF-8"
    locale.setlocale(locale.LC_CTYPE, before)
    assert exported.backend.endswith("-compiled")
    assert list((CACHE / "torch-compiled").rglob("*.so"))
    assert '"compile" value { string_value: "on" }' in (tmp_path / "text_encoder" / "config.pbtxt").read_text()
