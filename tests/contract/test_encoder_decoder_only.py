"""Decoder-only language models as encoders: the vectors of transformers' own forward, pooled as their files say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ModelError
from encoders.export import export
from encoders.graph import PooledModel, load_graph
from encoders.layout import read_layout
from encoders.projection import write_dense
from encoders.sentiment import Head, write_head
from encoders.text import Tokeniser
from tests.fixtures.model_folders import written_once

WORDS = ["<pad>", "<unk>", "<s>", "</s>", *(f"w{i}" for i in range(60))]
TEXTS = ["w1", "w2 w3 w4", " ".join(f"w{i}" for i in range(25)), "w7 w7 w7 w7", "w9 unheard w9", "w1 w5 w3 " * 150]
TASK = "w50 w51 : "
DIM = 32
#: family, whether the tokeniser's own file ends texts, whether its configuration asks for it, and the prompt.
FAMILIES: dict[str, tuple[bool, bool, str]] = {
    "qwen2": (False, False, ""), "qwen3": (True, False, TASK), "llama": (False, True, TASK),
    "bert": (True, False, TASK),
}  # fmt: skip


def network(family: str) -> Any:
    # Here, as below: they take seconds to import, which every process that collects tests would pay for.
    import torch
    import transformers

    torch.manual_seed(5)
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS), "hidden_size": DIM, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "max_position_embeddings": 306, "pad_token_id": 0, "initializer_range": 0.2,
    }  # fmt: skip
    grouped = sizes | {"num_key_value_heads": 2}
    made = {
        "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**grouped)),
        "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**grouped, head_dim=8)),
        "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**grouped, bos_token_id=2)),
        "bert": lambda: transformers.BertModel(transformers.BertConfig(**sizes)),
    }[family]()
    return made.to(torch.bfloat16)  # as such models are published


def write_model(folder: Path, family: str, *, dense: int = 0) -> Path:
    folder.mkdir()
    network(family).save_pretrained(folder)
    own_end, asked, prompt = FAMILIES[family]
    tokeniser = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "<unk>"))
    tokeniser.pre_tokenizer = pre_tokenizers.Whitespace()
    start = [("<s>", 2)] if family in ("llama", "bert") else []
    if own_end or start:
        special = [*start, ("</s>", 3)] if own_end else start
        names = [*(name for name, _ in start), "$A", *(["</s>"] if own_end else [])]
        tokeniser.post_processor = processors.TemplateProcessing(single=names, special_tokens=special)
    tokeniser.save(str(folder / "tokenizer.json"))
    says = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>"}
    if asked:
        says |= {"add_eos_token": True, "add_bos_token": True}  # type: ignore[dict-item]
    (folder / "tokenizer_config.json").write_text(json.dumps(says))
    kinds = ["Transformer", "Pooling", *["Dense"] * dense, "Normalize"]
    modules = [
        {
            "idx": at,
            "name": str(at),
            "path": f"{at}_{kind}" if at else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for at, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = "mean" if family == "bert" else "lasttoken"
    (folder / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": DIM, "pooling_mode": pooling, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    prompts = {"query": TASK, "document": "", "passage": "w55 "}
    own = {"prompts": prompts, "default_prompt_name": "query" if prompt else None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return written_once(tmp_path_factory.mktemp("models"), write_model)


@pytest.fixture(scope="module")
def loaded(folders: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LoadedEncoder]:
    """Encoders by family, backend and options; one cache of converted graphs for the module."""
    cache, kept = tmp_path_factory.mktemp("graphs"), {}

    def encoder(family: str, backend: str, **options: Any) -> LoadedEncoder:
        key = (family, backend, *sorted(options.items()))
        if key not in kept:
            kept[key] = load_encoder(str(folders(family)), backend=backend, cache=cache, device="cpu", **options)
        return kept[key]

    return encoder


def ids_of(folder: Path, text: str, limit: int = 304) -> list[int]:
    """Token ids as transformers' own tokeniser of the directory gives them, cut with the special tokens kept."""
    from transformers import PreTrainedTokenizerFast

    tokeniser = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    if json.loads((folder / "tokenizer_config.json").read_text()).get("add_eos_token"):
        tokeniser.add_bos_token = tokeniser.add_eos_token = True
        tokeniser.update_post_processor()  # which it does not do by itself where there is a tokenizer.json
    return list(tokeniser(text, truncation=True, max_length=limit)["input_ids"])


def reference(folder: Path, family: str, texts: list[str], prompt: str) -> np.ndarray:
    """Each text alone through transformers' forward, pooled by hand, of length 1."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for text in texts:
            states = model(torch.tensor([ids_of(folder, prompt + text)])).last_hidden_state[0]
            found.append((states.mean(0) if family == "bert" else states[-1]).numpy())
    return np.stack([one / np.linalg.norm(one) for one in found])


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_vectors_are_those_of_transformers(
    family: str, backend: str, folders: Callable[[str], Path], loaded: Callable[..., LoadedEncoder]
) -> None:
    expected = reference(folders(family), family, TEXTS, FAMILIES[family][2])
    encoder = loaded(family, backend, precision="f32")
    vectors, signs = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert not signs.any()
    many = [TEXTS[at % len(TEXTS)] for at in range(40)] + [f"w{at}" for at in range(20)]
    company, _ = encoder.encode(many)
    np.testing.assert_array_equal(company[: len(TEXTS)], vectors)  # to the bit, in any company


def test_texts_end_as_the_models_own_files_say(folders: Callable[[str], Path]) -> None:
    for family, (own_end, asked, _) in FAMILIES.items():
        tokens = Tokeniser(read_layout(folders(family), prompt="none"))(TEXTS)
        assert tokens == [ids_of(folders(family), text) for text in TEXTS], family
        assert {ids[-1] == 3 for ids in tokens} == {own_end or asked}, family
        assert len(tokens[-1]) == 304  # cut, and its end kept


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_padding_on_either_side_pools_the_same_token(family: str, folders: Callable[[str], Path]) -> None:
    import torch

    graph: PooledModel = load_graph(read_layout(folders(family)))
    rows = [ids_of(folders(family), text) for text in TEXTS[:4]]
    width = max(map(len, rows)) + 3
    right, left = ([ids + [0] * (width - len(ids)) for ids in rows], [[0] * (width - len(ids)) + ids for ids in rows])
    with torch.inference_mode():
        pooled = []
        for padded in (right, left):
            ids = torch.tensor(padded)
            pooled.append(graph(ids, (ids != 0).long()).numpy())
        alone = np.concatenate([graph(torch.tensor([ids]), torch.ones(1, len(ids)).long()).numpy() for ids in rows])
    np.testing.assert_allclose(pooled[0], alone, atol=1e-4)
    np.testing.assert_allclose(pooled[1], alone, atol=1e-4)


def test_a_prompt_by_name(folders: Callable[[str], Path], loaded: Callable[..., LoadedEncoder]) -> None:
    expected = {name: reference(folders("qwen3"), "qwen3", TEXTS[:2], text)
                for name, text in (("query", TASK), ("document", ""), ("passage", "w55 "), ("none", ""))}  # fmt: skip
    ids = set()
    for name, vectors in expected.items():
        encoder = loaded("qwen3", "torch", prompt=name)
        np.testing.assert_allclose(encoder.encode(TEXTS[:2])[0], vectors, atol=1e-4)
        ids.add(encoder.encoder_id)
    assert len(ids) == 3  # no prompt is an empty one
    assert loaded("qwen3", "torch").encoder_id == loaded("qwen3", "torch", prompt="query").encoder_id
    with pytest.raises(ModelError, match="document, passage, query, none"):
        loaded("qwen3", "torch", prompt="summary")


def test_document_is_called_passage_by_some(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "bert")
    own = {"prompts": {"query": "q: ", "passage": "p: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    assert read_layout(folder, prompt="document").prefix == "p: "


def test_a_prompt_that_pooling_leaves_out_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "bert")
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ModelError, match="--prompt none"):
        read_layout(folder)
    assert read_layout(folder, prompt="none").prefix == ""


@pytest.mark.parametrize("family", ["qwen3", "bert"])
def test_matryoshka_keeps_the_first_numbers_and_length_one(
    family: str, folders: Callable[[str], Path], loaded: Callable[..., LoadedEncoder]
) -> None:
    whole = loaded(family, "torch")
    cut = loaded(family, "torch", keep=8)
    expected = reference(folders(family), family, TEXTS, FAMILIES[family][2])[:, :8]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors, _ = cut.encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-4)
    assert (cut.dim, whole.dim) == (8, DIM)
    assert cut.encoder_id.startswith(f"{family}-8d-")
    assert loaded(family, "torch", keep=DIM).encoder_id == whole.encoder_id
    with pytest.raises(ModelError, match="32 numbers, 33"):
        loaded(family, "torch", keep=33)


def test_what_is_centred_is_the_whole_vector(tmp_path: Path) -> None:
    """The head of a model fits whatever is kept of its vectors, its sentiment too."""
    folder = write_model(tmp_path / "m", "bert")
    rng = np.random.default_rng(2)
    head = Head(
        mean=rng.normal(size=DIM).astype(np.float32) / 9, layers=(1,), offset=np.zeros(2 * DIM, np.float32),
        scale=np.ones(2 * DIM, np.float32), weights=(rng.normal(size=(2 * DIM, 1)).astype(np.float32),),
        biases=(np.zeros(1, np.float32),),
    )  # fmt: skip
    write_head(head, folder / "interests_head.npz")
    whole, cut = (load_encoder(str(folder), backend="torch", device="cpu", cache=tmp_path, keep=n) for n in (0, 8))
    (vectors, signs), (kept, kept_signs) = whole.encode(TEXTS), cut.encode(TEXTS)
    expected = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    np.testing.assert_array_equal(signs, kept_signs)
    assert signs.any()
    write_head(Head(mean=np.zeros(8, np.float32)), folder / "interests_head.npz")
    with pytest.raises(ModelError, match="mean has 8 numbers, a vector 32"):
        load_encoder(str(folder), backend="torch", device="cpu", cache=tmp_path)


def test_a_model_may_say_itself_how_much_is_kept(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "bert")
    own = {"prompts": {}, "default_prompt_name": None, "truncate_dim": 16}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own))
    assert read_layout(folder).keep == 16
    assert read_layout(folder, keep=8).keep == 8


def test_dense_modules_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = write_model(tmp_path / "m", "qwen3", dense=2)
    weights = np.random.default_rng(4).normal(size=(24, DIM)).astype(np.float32)
    write_dense(weights, folder / "2_Dense")
    write_dense(weights.T.copy(), folder / "3_Dense")
    said = json.loads((folder / "2_Dense" / "config.json").read_text())
    (folder / "2_Dense" / "config.json").write_text(
        json.dumps(said | {"activation_function": "torch.nn.modules.activation.Tanh"})
    )
    theirs = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
    )  # fmt: skip
    expected = theirs.encode(TEXTS[:5], prompt_name="query", normalize_embeddings=True)  # the last is cut elsewhere
    ours = load_encoder(str(folder), backend="torch", device="cpu", cache=tmp_path)
    np.testing.assert_allclose(ours.encode(TEXTS[:5])[0], expected, atol=1e-4)
    assert (
        ours.encoder_id
        != load_encoder(str(write_model(tmp_path / "n", "qwen3")), backend="torch", cache=tmp_path).encoder_id
    )


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_bfloat16_is_near(family: str, folders: Callable[[str], Path], loaded: Callable[..., LoadedEncoder]) -> None:
    half, _ = loaded(family, "torch", precision="bf16").encode(TEXTS)
    assert (half * loaded(family, "torch").encode(TEXTS)[0]).sum(1).min() > 0.999
    assert loaded(family, "torch", precision="bf16").encoder_id == loaded(family, "torch").encoder_id


def test_prompt_and_length_are_kept_by_what_is_exported(folders: Callable[[str], Path], tmp_path: Path) -> None:
    made = export(
        str(folders("qwen3")), tmp_path / "repo", backend="torch", cache=tmp_path, prompt="document", keep=16
    )  # fmt: skip
    config = (tmp_path / "repo" / "text_encoder" / "config.pbtxt").read_text()
    assert made.dim == 16
    for line in ('key: "prompt" value { string_value: "document" }', 'key: "dim" value { string_value: "16" }'):
        assert line in config
    assert '"EMBEDDING", data_type: TYPE_FP32, dims: [ 16 ]' in config
    assert made.encoder_id == load_encoder(
        str(folders("qwen3")), backend="torch", cache=tmp_path, prompt="document", keep=16
    ).encoder_id  # fmt: skip
