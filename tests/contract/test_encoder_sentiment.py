"""The packaged sentiment head on comments it was not trained on. The data is not part of this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encoders.align import neutral_texts, taxonomy_pairs
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.locate import DEFAULT_MODEL, cache_dir
from encoders.train_sentiment import accuracy, held_out, read_labelled

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data" / "sentiment"
SAMPLE = 800

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="labelled comments are not here (../shared/data/sentiment)")


@pytest.fixture(scope="module")
def encoder() -> LoadedEncoder:
    return load_encoder(DEFAULT_MODEL, cache=cache_dir(ROOT))


@needs_data
@pytest.mark.slow
def test_english_on_the_dev_set_of_sst2(encoder: LoadedEncoder) -> None:
    texts, good = read_labelled(DATA / "sst2-dev.jsonl.gz")
    assert accuracy(encoder.encode(texts)[1], good) >= 0.84


@needs_data
@pytest.mark.slow
def test_chinese_on_a_held_out_sample_of_waimai(encoder: LoadedEncoder) -> None:
    texts, good = read_labelled(DATA / "waimai.jsonl.gz")
    mine = [at for at, text in enumerate(texts) if held_out(text)][:: 2490 // SAMPLE]
    assert len(mine) >= SAMPLE
    assert accuracy(encoder.encode([texts[at] for at in mine])[1], good[mine]) >= 0.85


def test_plain_text_lies_near_zero(encoder: LoadedEncoder) -> None:
    plain = [*neutral_texts(), *(text for texts in taxonomy_pairs() for text in texts)]
    unseen = [text for text in plain if held_out(text)]
    assert len(unseen) > 100
    assert np.abs(encoder.encode(unseen)[1]).mean() < 0.2


def test_shipped_texts_are_not_those_of_the_data() -> None:
    if not DATA.is_dir():
        pytest.skip("labelled comments are not here (../shared/data/sentiment)")
    theirs = {
        text for name in ("sst2-train", "sst2-dev", "waimai") for text in read_labelled(DATA / f"{name}.jsonl.gz")[0]
    }
    assert not theirs & set(neutral_texts())
