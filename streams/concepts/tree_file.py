"""Concept trees and taxonomies on disk: one npz file without pickles, one JSON file written by people."""

from __future__ import annotations

import json
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from streams.base.errors import ConfigurationError
from streams.concepts.topic_head import TopicHead
from streams.concepts.tree import Concept, ConceptTree, Floors

TAXONOMY_FILE: Final = Path(__file__).with_name("taxonomy.json")

_FORMAT: Final = 2
_READ: Final = (1, 2)  # 1: no examples, no head, no floors of confidence
#: Of what a tree's file unpacks to: 60,000 concepts with vectors of 1,024 numbers.
_MOST_BYTES: Final = 256 << 20
#: What numpy and zipfile raise for a file that is none, cut off or has some bytes of another.
_UNREADABLE: Final = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError, OverflowError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


class Taxonomy(NamedTuple):
    """A written taxonomy: its version and its concepts, topics before their interests.

    `says_nothing` are texts by language that are about no topic: what platforms make people write.
    """

    version: str
    concepts: list[Concept]
    says_nothing: dict[str, tuple[str, ...]]


def load_taxonomy(path: Path = TAXONOMY_FILE) -> Taxonomy:
    """Read a taxonomy file; ConfigurationError where it is no such file. The default is the one that ships."""
    try:
        fields = json.loads(path.read_bytes())
        concepts = [_concept(entry) for entry in fields["concepts"]]
        return Taxonomy(str(fields["version"]), concepts, _by_language(fields.get("says_nothing", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"taxonomy {path}: expected version and concepts in JSON, got {error!r}") from error


def save_tree(tree: ConceptTree, path: Path) -> None:
    """Write a tree to one file, whole or not at all; the same tree gives the same bytes."""
    fields = {
        "format": _FORMAT,
        "version": tree.version,
        "encoder_id": tree.encoder_id,
        "floors": asdict(tree.floors),
        "says_nothing": tree.says_nothing,
        "concepts": [asdict(concept) for concept in tree.concepts],
    }
    head = {} if tree.head is None else {
        "head_mean": tree.head.mean, "head_weights": tree.head.weights, "head_bias": tree.head.bias,
    }  # fmt: skip
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True).encode()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.savez(file, vectors=tree.vectors, about=np.frombuffer(text, np.uint8), **head)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_tree(path: Path) -> ConceptTree:
    """Read a tree that `save_tree` wrote; ConfigurationError where the file is missing or is none."""
    try:
        # Opened here: numpy leaves the file open where it turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if (unpacked := sum(entry.file_size for entry in arrays.zip.infolist())) > _MOST_BYTES:
                raise ConfigurationError(
                    f"concept tree {path}: unpacks to {unpacked >> 20:,} MiB, allowed are {_MOST_BYTES >> 20}"
                )
            fields = json.loads(arrays["about"].tobytes())
            vectors = arrays["vectors"].astype(np.float32)
            head = _head(arrays) if "head_weights" in arrays else None
        if fields["format"] not in _READ:
            raise ConfigurationError(
                f"concept tree {path}: got format {fields['format']}, expected {_FORMAT}; rebuild it"
            )
        concepts = [_concept(entry) for entry in fields["concepts"]]
        floors = Floors(**{name: float(floor) for name, floor in fields["floors"].items()})
        if not all(map(math.isfinite, asdict(floors).values())):
            raise ValueError("floors are no numbers")  # told as every other file that is none
        return ConceptTree(
            str(fields["version"]), str(fields["encoder_id"]), concepts, vectors, floors, head=head,
            says_nothing=_by_language(fields.get("says_nothing", {})),
        )  # fmt: skip
    except _UNREADABLE as error:
        raise ConfigurationError(f"concept tree {path}: not a tree file ({error!r}); build it again") from error


def load_names(file: Path | None) -> ConceptTree:
    """The concepts of a tree's file, or else of the built-in taxonomy, whose vectors mean nothing: for names only."""
    if file is not None:
        return load_tree(file)
    taxonomy = load_taxonomy()
    # Names need no vectors: these stand in, so that no encoder is asked.
    return ConceptTree(taxonomy.version, "", taxonomy.concepts, np.ones((len(taxonomy.concepts), 1), np.float32))


def _head(arrays: Mapping[str, Any]) -> TopicHead:
    parts = [arrays[name].astype(np.float32) for name in ("head_mean", "head_weights", "head_bias")]
    mean, weights, bias = parts
    if weights.shape != (*bias.shape, *mean.shape) or not all(np.isfinite(part).all() for part in parts):
        raise ValueError("the head's arrays do not fit")  # told as every other file that is none
    return TopicHead(mean, weights, bias)


def _by_language(entry: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {str(lang): tuple(map(str, texts)) for lang, texts in entry.items()}


def _concept(entry: dict[str, Any]) -> Concept:
    return Concept(
        id=str(entry["id"]),
        names={str(lang): str(name) for lang, name in entry["names"].items()},
        descriptions={str(lang): str(text) for lang, text in entry.get("descriptions", {}).items()},
        aliases=tuple(map(str, entry.get("aliases", ()))),
        local=tuple(map(str, entry.get("local", ()))),
        examples=_by_language(entry.get("examples", {})),
    )
