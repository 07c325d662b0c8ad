"""A text's vector and sentiment are the same bits in any company: a redelivered event must weigh what it weighed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np

from encoders.encoder import load_encoder
from encoders.locate import cache_dir

ROOT = Path(__file__).resolve().parents[2]


def test_a_text_is_encoded_alike_whatever_it_is_batched_with() -> None:
    encoder = load_encoder("multilingual-e5-small", cache=cache_dir(ROOT))
    chance = random.Random(5)
    words = ["stake", "pool", "did", "not", "pay", "what", "it", "promised", "钱包", "很好", "谢谢", "but", "I", "like"]
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 60))) for _ in range(60)]
    vectors, sentiments = encoder.encode(texts)
    for size in (1, 7, 23):
        chosen = chance.sample(range(len(texts)), size)
        again, signs = encoder.encode([texts[at] for at in chosen])
        assert np.array_equal(again, vectors[chosen])
        assert np.allclose(signs, sentiments[chosen], rtol=0, atol=1e-7)
