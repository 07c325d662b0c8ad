"""The concept tree that fits the served encoder: a file made with it, or the built-in taxonomy, encoded now."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.base.errors import ConfigurationError
from streams.concepts.tree import ConceptTree
from streams.concepts.tree_file import Taxonomy, load_taxonomy, load_tree
from streams.concepts.tree_texts import TreeTexts
from streams.encoder.base import Encoder


async def read_or_encode_tree(
    file: Path | None, encoder: Encoder, encoder_id: str, dim: int | None = None
) -> ConceptTree:
    """The concept tree of a file made for this encoder, or the built-in taxonomy, encoded now."""
    if file is None:
        return await encode_tree(load_taxonomy(), encoder, encoder_id)
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


async def encode_tree(written: Taxonomy | ConceptTree, encoder: Encoder, encoder_id: str) -> ConceptTree:
    """A tree of the concepts of a taxonomy, or of another tree, with vectors by this encoder."""
    texts = TreeTexts(written.concepts, written.says_nothing)
    encoded = await encoder.encode(texts.texts)
    # Learning the topics takes seconds: in a thread, so that the loop goes on.
    return await asyncio.to_thread(texts.tree, written.version, encoder_id, encoded.vectors)
