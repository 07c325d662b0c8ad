"""What the oracle takes as given: vectors and sentiments, asked of Triton by itself, and the paths of the taxonomy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton

from encoders.contract import EMBEDDING, MAX_BATCH, MODEL_NAME, SENTIMENT, TEXT
from streams.concepts.tree_file import load_tree
from streams.settings.service import Settings
from tests.oracle.expect import Doubles, World


def encode(url: str, texts: Sequence[str]) -> dict[str, tuple[Doubles, float]]:
    """Vectors and sentiments of texts."""
    client = triton.InferenceServerClient(url)
    found: dict[str, tuple[Doubles, float]] = {}
    try:
        for start in range(0, len(texts), MAX_BATCH):
            some = texts[start : start + MAX_BATCH]
            tensor = triton.InferInput(TEXT.name, [len(some), 1], TEXT.dtype)
            tensor.set_data_from_numpy(np.array([[text.encode()] for text in some], object))
            reply = client.infer(MODEL_NAME, [tensor], client_timeout=60)
            vectors, feelings = reply.as_numpy(EMBEDDING.name), reply.as_numpy(SENTIMENT.name)
            found |= {
                t: (v.astype(np.float64), float(f)) for t, v, f in zip(some, vectors, feelings[:, 0], strict=True)
            }
    finally:
        client.close()
    return found


def world_of(settings: Settings, url: str, items: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> World:
    """The world of a run: items with a title and a path of two categories that the taxonomy has."""
    read = {item["item_id"]: f"{item['title']}. {', '.join(item['categories'])}" for item in items}
    known = encode(url, list(dict.fromkeys([*read.values(), *texts])))
    tree = load_tree(Path(str(settings.concepts.file)))
    return World(
        {
            i["item_id"]: (known[read[i["item_id"]]][0], "/" + "/".join(c.lower() for c in i["categories"]))
            for i in items
        },
        known,
        lambda vector: tree.assign(vector.astype(np.float32)[None, :])[0],
        settings.weights.table(),
        settings.nodes.faint_below,
    )
