"""`interests concepts build`: the concept tree of a written taxonomy or of a catalogue, with the served encoder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import typer

from streams.base.errors import ConfigurationError
from streams.commands.connections import encoder_of
from streams.commands.json_lines import read_lines
from streams.commands.progress import meter
from streams.commands.shell import console, load_settings, register, run
from streams.concepts.catalogue_tree import Floats, build_from_catalogue, build_from_taxonomy, text_of
from streams.concepts.tree import ConceptTree, Match
from streams.concepts.tree_file import TAXONOMY_FILE, save_tree
from streams.encoder.concept_tree import read_or_encode_tree

if TYPE_CHECKING:
    from streams.settings.service import Settings

_EXAMPLE = "interests concepts build --from-catalogue items.jsonl.gz --out concepts.npz"
_TRY_EXAMPLE = 'interests concepts try "Striker scores twice as the champions win" "wait for part 2"'
_CHUNK = 256
_DEADLINE_S = 180.0  # of one request: nobody waits for a page here, and a busy CPU may take its time

concepts = typer.Typer(help="The tree of topics and interests that items are placed on.", no_args_is_help=True)

FromTaxonomy = Annotated[bool, typer.Option("--from-taxonomy", help="From a written taxonomy (--taxonomy).")]
Taxonomy = Annotated[
    Path | None, typer.Option("--taxonomy", exists=True, dir_okay=False, help="A taxonomy of your own, in JSON.")
]
FromCatalogue = Annotated[
    Path | None,
    typer.Option("--from-catalogue", exists=True, dir_okay=False, help="From items in JSON lines, gzip or not."),
]
Out = Annotated[Path, typer.Option("--out", dir_okay=False, help="The file to write.")]
Topics = Annotated[int | None, typer.Option("--topics", min=2, help="Topics; else what the catalogue's size bears.")]
Interests = Annotated[int | None, typer.Option("--interests", min=1, help="Interests of one topic, at most.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed and items give the same tree.")]


def add(app: typer.Typer) -> None:
    """Register the group."""
    app.add_typer(concepts, name="concepts")
    register(concepts, "build", example=_EXAMPLE)(build)
    register(concepts, "try", example=_TRY_EXAMPLE)(try_texts)


def build(
    out: Out, from_taxonomy: FromTaxonomy = False, taxonomy: Taxonomy = None, from_catalogue: FromCatalogue = None,
    topics: Topics = None, interests: Interests = None, seed: Seed = 7,
) -> None:  # fmt: skip
    """Build a concept tree with the encoder that Triton serves; set concepts.file to use it.

    From a written taxonomy, or from a catalogue: its items' vectors are clustered, and the clusters named by the words
    that stand out in them.
    """
    if from_taxonomy == (from_catalogue is not None):
        raise ConfigurationError("expected one of --from-taxonomy and --from-catalogue ITEMS")
    if not out.parent.is_dir():
        raise ConfigurationError(f"--out: there is no directory {out.parent}")
    items = read_items(from_catalogue) if from_catalogue else None
    options = {"topics": topics, "interests": interests, "seed": seed}
    tree = run(_build(load_settings(), items, taxonomy, options))
    save_tree(tree, out)
    wide = sum(concept.is_topic for concept in tree.concepts)
    console().print(f"{out}: {wide} topics, {len(tree.concepts) - wide} interests, made with {tree.encoder_id}")
    console().print(f"use it with INTERESTS_CONCEPTS__FILE={out}", style="dim")


def read_items(path: Path) -> list[dict[str, Any]]:
    """The items of a file that there is something to read of; ConfigurationError where a line is no JSON object."""
    items = []
    for line in read_lines(path):
        try:
            item = msgspec.json.decode(line.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path.name}, line {line.number}: expected an item as a JSON object") from error
        if not item.get("deleted") and text_of(item):
            items.append(item)
    if not items:
        raise ConfigurationError(f"{path}: got no item with a title, description, categories or tags to read")
    return items


def try_texts(
    texts: Annotated[list[str], typer.Argument(help="Texts, as an item's title would be.")],
    runners_up: Annotated[int, typer.Option("--runners-up", min=0, max=20, help="Topics shown beside the first.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for programs.")] = False,
) -> None:
    """Say where texts would be placed: path, confidence, and the topics that come next.

    By the tree that the settings name, or the built-in taxonomy, which is encoded first. Nothing is written.
    """
    if blank := [text for text in texts if not text.strip()]:
        raise ConfigurationError(f"got {blank[0]!r} among the texts, expected something to read in each")
    settings = load_settings()
    found = run(_tried(settings, texts, runners_up + 1))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for one in found:
        sure = "" if one["confidence"] is None else f"  {one['confidence']:.2f}"
        nearest = ", ".join(f"{each['path']} {each['score']:.2f}" for each in one["topics"])
        console().print(f"{one['path'] or 'no path'}{sure}  {one['text']}", markup=False, highlight=False)
        console().print(f"    {nearest}", style="dim", markup=False, highlight=False)


async def _tried(settings: Settings, texts: Sequence[str], count: int) -> list[dict[str, Any]]:
    async with encoder_of(settings, _DEADLINE_S) as client:
        served = await client.info()
        tree = await read_or_encode_tree(settings.concepts.file, client, served.encoder_id, served.dim)
        tree = settings.concepts.with_floors(tree)
        encoded = await client.encode(texts)
    if encoded.poison:
        at, why = next(iter(encoded.poison.items()))
        raise ConfigurationError(f"the encoder refuses {texts[at]!r}: {why}")
    placed = tree.placements([Match()] * len(texts), encoded.vectors)
    return [
        {
            "text": text, "path": one.path, "confidence": one.confidence,
            "topics": [{"path": path, "score": round(score, 4)} for path, score in tree.likely(vector, count)],
        }
        for text, one, vector in zip(texts, placed, encoded.vectors, strict=True)
    ]  # fmt: skip


async def _build(
    settings: Settings, items: list[dict[str, Any]] | None, taxonomy: Path | None, options: dict[str, Any]
) -> ConceptTree:
    loop = asyncio.get_running_loop()
    async with encoder_of(settings, _DEADLINE_S) as client:
        served = await client.info()

        async def encode_all(texts: Sequence[str]) -> Floats:
            parts = []
            with meter(console(), "encoded", len(texts)) as bar:
                for start in range(0, len(texts), _CHUNK):
                    chunk = texts[start : start + _CHUNK]
                    parts.append((await client.encode(chunk)).vectors)
                    bar.add(len(chunk))
            return np.concatenate(parts)

        def encode(texts: Sequence[str]) -> Floats:
            return asyncio.run_coroutine_threadsafe(encode_all(texts), loop).result()

        def make() -> ConceptTree:
            if items is None:
                return build_from_taxonomy(encode, served.encoder_id, taxonomy or TAXONOMY_FILE)
            vectors = encode([text_of(item) for item in items])
            return build_from_catalogue(items, vectors, served.encoder_id, **options)

        # The builders compute and call back for vectors: in a thread, so that the client's loop goes on.
        return await asyncio.to_thread(make)
