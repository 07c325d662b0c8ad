"""Floors of robustness with the default model as it is served: small samples, so they lie far from what was measured.

What was measured stands in docs/evaluation.md.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.labelled import read_labelled, read_rows
from encoders.locate import DEFAULT_MODEL, cache_dir
from encoders.perturbations import read_lexicon
from streams.concepts.tree import ConceptTree, build_tree
from streams.concepts.tree_file import load_taxonomy
from streams.evaluation.robustness import RobustnessPlan, Texts, robustness

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not DATA.is_dir(), reason="the labelled texts are not here (../shared/data)"),
]


@pytest.fixture(scope="module")
def encoder() -> LoadedEncoder:
    return load_encoder(DEFAULT_MODEL, cache=cache_dir(ROOT), precision="int8")


@pytest.fixture(scope="module")
def topics(encoder: LoadedEncoder) -> ConceptTree:
    """The taxonomy's topics alone, by their names: quick to encode."""
    concepts = [concept for concept in load_taxonomy().concepts if concept.is_topic]
    vectors = encoder.encode([name for one in concepts for name in (one.names["en"], one.names["zh"])])[0]
    return build_tree("topics", encoder.encoder_id, concepts, np.split(vectors, len(concepts)))


def measured(encoder: LoadedEncoder, tree: ConceptTree, texts: Texts, most: int, *families: str) -> dict[str, Any]:
    plan = RobustnessPlan(most=most, among=most, families=frozenset(families))
    meter = nullcontext(SimpleNamespace(add=lambda _: None))
    return robustness([texts], encoder.encode, tree, read_lexicon(), plan, lambda *_: meter)[texts.name][
        "perturbations"
    ]


def test_a_comments_sign_holds(encoder: LoadedEncoder, topics: ConceptTree) -> None:
    texts, good = read_labelled(DATA / "sentiment" / "sst2-dev.jsonl.gz")
    found = measured(encoder, topics, Texts("SST-2", "sign", texts, good.tolist()), 50, "typos", "stuffing")
    assert found["typos, 10 % of letters"]["written"]["flipped"] <= 0.34
    assert found["one word of the other sign, 20 times"]["written"]["flipped"] <= 0.5
    assert found["5 words of the other sign"]["written"]["flipped"] <= 0.5


def test_what_looks_the_same_is_the_same_to_the_encoder(encoder: LoadedEncoder, topics: ConceptTree) -> None:
    news = Texts("AG News", "topic", [row["text"] for row in read_rows(DATA / "topics" / "agnews.jsonl.gz")])
    found = measured(encoder, topics, news, 12, "lookalikes")
    for name in ("Cyrillic letters, all", "zero-width characters, 30 %", "strokes through letters, 30 %"):
        assert found[name]["written"]["cosine"] < 0.9
        assert found[name]["read"]["cosine"] > 0.9999
        assert found[name]["read"]["topic_changed"] == 0
    assert found["Greek letters, 30 %"]["read"]["cosine"] > 0.95
    assert found["full width"]["written"]["cosine"] > 0.9999
