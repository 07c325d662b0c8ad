"""int8: an encoder of its own name, near the one in floats, the same bits in any company, made from what is kept."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ModelError
from encoders.export import chosen, export
from encoders.int8 import OWN_FILE, Site, load_ranges, ranges_of, write_ranges
from encoders.locate import DEFAULT_MODEL, LIGHT_MODEL, cache_dir
from tests.contract.test_encoder_backends import folders as folders  # noqa: PLC0414  # a fixture

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [
    "The ferry to the island was late again, so we had coffee by the harbour.",
    "这台相机的电池只能用半天,不过照片很清楚。",
    "Why does the second test fail on a slow machine?",
    "a rather longer text, with commas, about rivers, bridges and the towns that lie between them " * 3,
    "good",
]


@pytest.fixture(scope="module", params=[DEFAULT_MODEL, LIGHT_MODEL])
def pair(request: pytest.FixtureRequest) -> tuple[LoadedEncoder, LoadedEncoder]:
    """One model in floats and in int8."""
    cache = cache_dir(ROOT)
    return load_encoder(request.param, backend="openvino", cache=cache), load_encoder(
        request.param, cache=cache, precision="int8"
    )


def test_it_is_near_the_floats_and_has_another_id(pair: tuple[LoadedEncoder, LoadedEncoder]) -> None:
    floats, int8 = pair
    assert int8.backend.name == "openvino-cpu-int8"
    assert "-int8-" in int8.encoder_id
    assert "int8" not in floats.encoder_id
    (a, signs), (b, int8_signs) = floats.encode(TEXTS), int8.encode(TEXTS)
    cosines = (a * b).sum(1)
    assert cosines.min() > 0.985
    assert cosines.max() < 0.99999  # else nothing was rounded
    np.testing.assert_allclose(signs, int8_signs, atol=0.2)


def test_a_text_has_the_same_bits_in_any_company(pair: tuple[LoadedEncoder, LoadedEncoder]) -> None:
    _, int8 = pair
    many = [f"{text} {n}" for n in range(12) for text in TEXTS]
    vectors, signs = int8.encode(many)
    for chosen_rows in ([3], [0, 7, 11, 23], list(range(40, 9, -1))):
        again, again_signs = int8.encode([many[row] for row in chosen_rows])
        assert np.array_equal(again, vectors[chosen_rows])
        assert np.allclose(again_signs, signs[chosen_rows], rtol=0, atol=1e-7)


def test_torch_has_no_int8() -> None:
    with pytest.raises(ModelError, match="OpenVINO only"):
        load_encoder(LIGHT_MODEL, backend="torch", device="cpu", cache=cache_dir(ROOT), precision="int8")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ModelError, match="int4"):
        load_encoder(LIGHT_MODEL, cache=cache_dir(ROOT), precision="int4")


def test_an_unknown_precision_is_not_exported_and_auto_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected one of auto, float, "):
        export(DEFAULT_MODEL, tmp_path, precision="int4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("program", ["align", "bench", "quantise", "train_sentiment"])
def test_a_program_ends_with_the_message_where_a_model_cannot_be_used(program: str, tmp_path: Path) -> None:
    needed = ["--data", str(tmp_path)] if program == "train_sentiment" else []
    command = [sys.executable, "-m", f"encoders.{program}", "--model", "nosuch", *needed]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith(f"{program}.py: error: model 'nosuch': expected ")
    assert "Traceback" not in ended.stderr


def test_a_model_without_ranges_cannot_be_int8(folders: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="quantise"):
        load_encoder(str(folders("bert-mean")), cache=tmp_path, precision="int8")
    assert chosen(str(folders("bert-mean")), "openvino", tmp_path) == ("float", "")


def test_ranges_of_another_graph_are_refused(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folders("bert-cls")
    write_ranges([Site(("no such layer",), -1, 1, np.ones(32, np.float32))], folder / OWN_FILE)
    with pytest.raises(ModelError, match="no such layer"):
        load_encoder(str(folder), cache=tmp_path, precision="int8")
    assert not list((tmp_path / "openvino").glob("*int8*")), "a graph that could not be made is not kept"


def test_a_directory_of_ones_own_is_quantised(folders: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="the extra `quantise` is not installed")
    from encoders.quantise import found_sites

    folder = folders("bert-mean")
    floats = load_encoder(str(folder), backend="openvino", cache=tmp_path)
    texts = [f"w{n} w{n + 1} w{2 * n}" for n in range(25)]
    # In a process of its own: NNCF's Cores overlap, after which a signal is deadly (see `encoders.backends.openvino`).
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        sites = own.submit(found_sites, folder, tmp_path, texts).result()
    assert sorted(name.split("/")[0].rsplit("layer.")[-1] for site in sites for name in site.matmuls) == sorted(
        f"{block}.{layer}"
        for block in range(3)
        for layer in (
            *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
            *("intermediate.dense", "output.dense"),
        )
    )
    write_ranges(sites, folder / OWN_FILE)
    int8 = load_encoder(str(folder), cache=tmp_path, precision="int8")
    vectors, rounded = floats.encode(texts)[0], int8.encode(texts)[0]
    assert (vectors * rounded).sum(1).min() > 0.99
    assert np.abs(vectors - rounded).max() > 1e-6
    assert int8.encoder_id != floats.encoder_id


def test_what_is_fastest_is_measured_once_and_exported(tmp_path: Path) -> None:
    cache = cache_dir(ROOT)
    precision, said = chosen(LIGHT_MODEL, "auto", cache)
    assert "int8" in said
    written = {path: path.stat().st_mtime_ns for path in (cache / "openvino").glob("speed-*.json")}
    assert written
    exported = export(LIGHT_MODEL, tmp_path, cache=cache)
    assert exported.measured == said
    assert {path: path.stat().st_mtime_ns for path in written} == written
    config = (tmp_path / "text_encoder" / "config.pbtxt").read_text()
    assert f'"precision" value {{ string_value: "{precision}" }}' in config
    assert ("int8" in exported.encoder_id) == (precision == "int8")
    forced = export(LIGHT_MODEL, tmp_path, cache=cache, precision="f32")
    assert forced.backend == "openvino-cpu-f32"
    assert "int8" not in forced.encoder_id


def test_the_shipped_ranges_keep_their_names() -> None:
    for model in (DEFAULT_MODEL, LIGHT_MODEL):
        ranges = load_ranges(model)
        assert ranges is not None
        assert ranges_of(list(ranges.sites)).digest == ranges.digest
