"""The concept tree that fits the served encoder: a file made with it, or the built-in taxonomy, encoded now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from streams.base.errors import ConfigurationError
from streams.concepts.tree import Concept, ConceptTree, build_tree, texts_of
from streams.concepts.tree_file import load_taxonomy, load_tree
from streams.encoder.base import Encoder


async def read_or_encode_tree(
    file: Path | None, encoder: Encoder, encoder_id: str, dim: int | None = None
) -> ConceptTree:
    """The concept tree of a file made for this encoder, or the built-in taxonomy, encoded now."""
    if file is None:
        taxonomy = load_taxonomy()
        return await encode_tree(taxonomy.version, taxonomy.concepts, encoder, encoder_id)
    return read_tree(file, encoder_id, dim)


def read_tree(file: Path, encoder_id: str, dim: int | None = None) -> ConceptTree:
    """The concept tree of a file; ConfigurationError where it is for another encoder, or not of vectors of `dim`."""
    tree = load_tree(file)
    if tree.encoder_id != encoder_id:
        raise ConfigurationError(
            f"{file} was made with encoder {tree.encoder_id}, Triton serves {encoder_id}: build the tree again"
        )
    if dim not in (None, tree.dim):
        raise ConfigurationError(
            f"{file} has vectors of {tree.dim} dimensions, the encoder makes {dim}: build it again"
        )
    return tree


async def encode_tree(version: str, concepts: Sequence[Concept], encoder: Encoder, encoder_id: str) -> ConceptTree:
    """A tree of these concepts with vectors by this encoder."""
    texts = texts_of(concepts)
    encoded = await encoder.encode([text for of_one in texts for text in of_one])
    ends = np.cumsum([len(of_one) for of_one in texts])
    return build_tree(version, encoder_id, concepts, np.split(encoded.vectors, ends[:-1]))
