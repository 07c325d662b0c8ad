"""The concept tree that fits the served encoder: a file made with it, or the built-in taxonomy, encoded now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.base.errors import ConfigurationError
from streams.concepts.tree import ConceptTree, build_tree, texts_of
from streams.concepts.tree_file import load_taxonomy, load_tree
from streams.encoder.base import Encoder


async def read_or_encode_tree(file: Path | None, encoder: Encoder, encoder_id: str) -> ConceptTree:
    """The concept tree of a file made for this encoder, or the built-in taxonomy, encoded now."""
    if file is None:
        taxonomy = load_taxonomy()
        texts = texts_of(taxonomy.concepts)
        encoded = await encoder.encode([text for of_one in texts for text in of_one])
        ends = np.cumsum([len(of_one) for of_one in texts])
        return build_tree(taxonomy.version, encoder_id, taxonomy.concepts, np.split(encoded.vectors, ends[:-1]))
    tree = load_tree(file)
    if tree.encoder_id != encoder_id:
        raise ConfigurationError(
            f"{file} was made with encoder {tree.encoder_id}, Triton serves {encoder_id}: build the tree again"
        )
    return tree
