"""Both backends against plain transformers: every pooling, encoder and decoder models, one suite."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoders.backends import make_backend
from encoders.encoder import load_encoder
from encoders.errors import ModelError
from encoders.export import export
from encoders.layout import read_layout
from encoders.locate import DEFAULT_MODEL, LIGHT_MODEL, cache_dir
from encoders.sentiment import Head, write_head
from encoders.text import Tokeniser, batches
from tests.fixtures.model_folders import written_once

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(60))]
TEXTS = ["w1", "w2 w3 w4", " ".join(f"w{i}" for i in range(25)), "w7 w7 w7 w7", "", "w9 unheard w9", "w1 w2"]


def tokenizer(folder: Path, *, special: bool) -> None:
    tokeniser = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    if special:
        tokeniser.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokeniser.save(str(folder / "tokenizer.json"))


def small(kind: str) -> Any:
    # Here, as below: they take seconds to import, which every process that collects tests would pay for.
    import torch
    from transformers import BertConfig, BertModel, Qwen3Config, Qwen3Model, RobertaConfig, RobertaModel

    torch.manual_seed(3)
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": 48, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "qwen3":
        return Qwen3Model(Qwen3Config(**sizes, num_key_value_heads=2, head_dim=8))
    if kind == "roberta":
        return RobertaModel(RobertaConfig(**sizes, hidden_dropout_prob=0, attention_probs_dropout_prob=0))
    return BertModel(BertConfig(**sizes, hidden_dropout_prob=0, attention_probs_dropout_prob=0))


MODELS = {
    "bert-mean": ("bert", "mean_tokens", "query: "),
    "bert-cls": ("bert", "cls_token", ""),
    "roberta-mean": ("roberta", "mean_tokens", ""),
    "qwen3-last": ("qwen3", "lasttoken", ""),
}


def write_model(folder: Path, name: str) -> Path:
    kind, pooling, prefix = MODELS[name]
    folder.mkdir()
    small(kind).save_pretrained(folder)
    tokenizer(folder, special=kind != "qwen3")
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""},
               {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]  # fmt: skip
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    (folder / "modules.json").write_text(json.dumps(modules))
    prompts = {"prompts": {"default": prefix}, "default_prompt_name": "default"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder


def reference(folder: Path, name: str, text: str, layer: int = -1) -> np.ndarray:
    """One text alone, unpadded, through transformers as it comes."""
    _, pooling, prefix = MODELS[name]
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(prefix + text).ids[:46] or [0]
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        states = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        if layer == -1:
            states = model(torch.tensor([ids])).last_hidden_state[0]
    pooled = {"mean_tokens": states.mean(0), "cls_token": states[0], "lasttoken": states[-1]}[
        pooling if layer == -1 else "mean_tokens"
    ]
    return pooled.float().numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory.mktemp("models"), write_model)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of converted graphs for the module: converting takes seconds."""
    return tmp_path_factory.mktemp("graphs")


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("name", list(MODELS))
def test_vectors_are_those_of_each_text_alone(
    backend: str, name: str, folders: Callable[[str], Path], graphs: Path
) -> None:
    folder = folders(name)
    encoder = load_encoder(str(folder), backend=backend, cache=graphs, device="cpu", head=Head(layers=(1, 2)))
    texts = [text for text in TEXTS if text or MODELS[name][0] != "qwen3"]
    pooled = encoder.pooled(texts)
    assert pooled.shape == (len(texts), 32 * 3)
    for part, layer in enumerate((-1, 1, 2)):
        expected = np.stack([reference(folder, name, text, layer) for text in texts])
        assert cosine(pooled[:, part * 32 : part * 32 + 32], expected).min() > 0.999
    vectors, signs = encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert signs.shape == (len(texts),)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_order_company_and_length_change_nothing(backend: str, folders: Callable[[str], Path], graphs: Path) -> None:
    encoder = load_encoder(str(folders("bert-mean")), backend=backend, cache=graphs, device="cpu")
    many = [TEXTS[i % len(TEXTS)] + f" w{i % 50}" for i in range(150)]
    together, _ = encoder.encode(many)
    back, _ = encoder.encode(many[::-1])
    np.testing.assert_allclose(together, back[::-1], atol=2e-2)
    alone, _ = encoder.encode([many[2]])
    assert cosine(alone[0], together[2]) > 0.999
    long, _ = encoder.encode(["w1 " * 500, "w1 " * 5_000])
    assert cosine(long[0], long[1]) > 0.9999


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_nothing_in_nothing_out(backend: str, folders: Callable[[str], Path], graphs: Path) -> None:
    encoder = load_encoder(str(folders("bert-cls")), backend=backend, cache=graphs, device="cpu")
    vectors, signs = encoder.encode([])
    assert (vectors.shape, signs.shape) == ((0, 32), (0,))


@pytest.mark.parametrize("name", ["bert-mean", "qwen3-last"])
def test_torch_in_bfloat16_as_on_a_gpu(name: str, folders: Callable[[str], Path]) -> None:
    layout = read_layout(folders(name))
    tokens = Tokeniser(layout)(TEXTS[:4])
    from encoders.backends.torch import TorchBackend

    backend = TorchBackend(layout, (1,), device="cpu", precision="bfloat16")
    pooled = np.empty((4, backend.width), np.float32)
    for rows, states in backend.run(batches(tokens, 512, 8)):
        pooled[rows] = states
    assert pooled.dtype == np.float32
    expected = np.stack([reference(folders(name), name, text) for text in TEXTS[:4]])
    assert cosine(pooled[:, :32], expected).min() > 0.999


@pytest.mark.parametrize("model", [DEFAULT_MODEL, LIGHT_MODEL])
def test_both_backends_agree_on_the_shipped_models(model: str) -> None:
    texts = ["a short text", "今天的新闻", "x", "a rather longer text, with commas, about rivers and bridges " * 4]
    both = [load_encoder(model, backend=b, cache=cache_dir(ROOT), device="cpu") for b in ("torch", "openvino")]
    (a, s), (b, t) = (encoder.encode(texts) for encoder in both)
    assert (a * b).sum(1).min() > 0.999
    np.testing.assert_allclose(s, t, atol=0.05)
    assert both[0].encoder_id == both[1].encoder_id


def test_a_last_layer_alone_is_enough(folders: Callable[[str], Path], graphs: Path) -> None:
    encoder = load_encoder(str(folders("qwen3-last")), backend="openvino", cache=graphs)
    assert encoder.pooled(["w1 w2"]).shape == (1, 32)


def test_a_converted_graph_is_kept(folders: Callable[[str], Path], tmp_path: Path) -> None:
    load_encoder(str(folders("bert-cls")), backend="openvino", cache=tmp_path)
    (graph,) = (tmp_path / "openvino").glob("*/graph.xml")
    written = graph.stat().st_mtime_ns
    load_encoder(str(folders("bert-cls")), backend="openvino", cache=tmp_path)
    assert graph.stat().st_mtime_ns == written


def test_another_backend_is_refused(folders: Callable[[str], Path], graphs: Path) -> None:
    layout = load_encoder(str(folders("bert-cls")), backend="torch", cache=graphs, device="cpu").layout
    with pytest.raises(ModelError, match="openvino"):
        make_backend("onnx", layout, cache=graphs)


def test_export_writes_a_repository_and_replaces_it(folders: Callable[[str], Path], tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    first = export(str(folders("bert-cls")), repo, backend="torch", cache=tmp_path / "cache")
    second = export(str(folders("bert-mean")), repo, backend="torch", cache=tmp_path / "cache")
    config = (repo / "text_encoder" / "config.pbtxt").read_text()
    assert second.encoder_id in config
    assert first.encoder_id not in config
    assert sorted(path.name for path in (repo / "text_encoder").iterdir()) == ["1", "config.pbtxt"]
    assert [path.name for path in repo.iterdir()] == ["text_encoder"]


def test_export_refuses_a_model_whose_vectors_are_not_finite(folders: Callable[[str], Path], tmp_path: Path) -> None:
    folder = write_model(tmp_path / "broken", "bert-mean")
    write_head(Head(mean=np.full(32, np.nan, np.float32)), folder / "interests_head.npz")
    with pytest.raises(ModelError, match="length 1"):
        export(str(folder), tmp_path / "repo", backend="torch", cache=tmp_path / "cache")
    assert not (tmp_path / "repo").exists()


_SIGNALLED = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
from encoders.encoder import load_encoder

faulthandler.enable()  # as Triton's stub and the tests have it: handlers run on a stack of their own
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
encoders = [load_encoder(sys.argv[1], backend="openvino", cache=Path(sys.argv[2])) for _ in range(3)]
while encoders:
    encoders.pop(0).encode(["w1 w2"])
    gc.collect()
os.kill(os.getpid(), signal.SIGTERM)
print("heard", len(heard))
"""


def test_a_signal_is_heard_after_encoders_have_come_and_gone(folders: Callable[[str], Path], tmp_path: Path) -> None:
    script = [sys.executable, "-c", _SIGNALLED, str(folders("bert-mean")), str(tmp_path)]
    ended = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "heard 1\n"), ended.stderr
