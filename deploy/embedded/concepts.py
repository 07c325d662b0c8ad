"""The concept tree of the embedded stack: the built-in taxonomy, encoded once an encoder and kept beside the models.

A worker without a tree file encodes the taxonomy's 3,000 texts at each start, which takes two cores fifteen seconds and
more. The file's name carries what it was made from, so a change of encoder, taxonomy or code makes a new one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from encoders.locate import cache_dir
from streams.concepts import topic_head, tree_texts
from streams.concepts import tree as tree_module
from streams.concepts import tree_file as file_module
from streams.concepts.tree_file import TAXONOMY_FILE, save_tree
from streams.encoder.concept_tree import read_or_encode_tree
from streams.settings.service import Settings
from streams.settings.wiring import triton_encoder


async def tree_file(settings: Settings, root: Path | None = None) -> Path:
    """The path of the tree for the encoder that Triton serves; made now if there is none yet. Raises as the encoder."""
    encoder = triton_encoder(settings.triton)
    try:
        info = await encoder.info()
        folder = cache_dir(root).parent / "concepts"
        path = folder / f"{info.encoder_id}-{_made_from()}.npz"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            save_tree(await read_or_encode_tree(None, encoder, info.encoder_id, info.dim), path)
        return path
    finally:
        await encoder.close()


def _made_from() -> str:
    digest = hashlib.sha256()
    modules = (tree_module.__file__, file_module.__file__, tree_texts.__file__, topic_head.__file__)
    for source in (TAXONOMY_FILE, *map(Path, modules)):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]
