"""`python -m tests.bench.concepts`: how sure topics are, and how often right: concepts.json and pictures.

The built-in taxonomy with the served default encoder (int8), on the halves of AG News and THUCNews by which nothing
was chosen (rows of odd number), and on the captions of the tests. Minutes, since some 9,000 texts are encoded.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from encoders.encoder import LoadedEncoder, load_encoder
from encoders.locate import DEFAULT_MODEL, cache_dir
from streams.concepts.catalogue_tree import build_from_taxonomy
from streams.concepts.tree import NOWHERE, ConceptTree, Match
from streams.evaluation.svg import OURS, SECOND, Line, curves
from tests.integration.test_concepts_accuracy import AG_NEWS, FIXTURES, ROOT, THUC_NEWS, whatever_it_is

SETS: Final = {"AG News": ("agnews.jsonl.gz", AG_NEWS), "THUCNews": ("thucnews-dev.jsonl.gz", THUC_NEWS)}
#: Shares of the texts, the surest first, and floors under which a text gets no path.
COVERED: Final = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
FLOORS: Final = (0.1, 0.2, 0.3, 0.45, 0.6)
Floats = NDArray[np.float64]


def precision(right: NDArray[np.bool_], sure: Floats) -> list[float]:
    """The share that is right of the surest ones, for each share in COVERED."""
    order = np.argsort(-sure, kind="stable")
    return [round(float(right[order[: round(share * len(order))]].mean()), 4) for share in COVERED]


def judged(tree: ConceptTree, vectors: NDArray[np.float32]) -> tuple[list[str], Floats]:
    """The topic of each vector, and how sure it is: its probability, or without a head how far it is ahead."""
    placed = whatever_it_is(tree).placements([Match()] * len(vectors), vectors)
    topics = [one.path.split("/")[1] if one.path != NOWHERE else "" for one in placed]
    if tree.head is not None:
        return topics, np.array([one.confidence for one in placed])
    two = [tree.likely(vector, 2) for vector in vectors]
    return topics, np.array([first[1] - second[1] for first, second in two])


def news(encoder: LoadedEncoder, trees: dict[str, ConceptTree], data: Path, name: str) -> dict[str, Any]:
    """Precision against coverage on the untouched half of a set, by each tree."""
    file, labels = SETS[name]
    with gzip.open(data / "topics" / file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines][1::2]
    vectors = encoder.encode([row["text"] for row in rows])[0]
    found: dict[str, Any] = {"texts": len(rows)}
    for kind, tree in trees.items():
        topics, sure = judged(tree, vectors)
        right = np.array([topic in labels[row["label"]] for topic, row in zip(topics, rows, strict=True)])
        found[kind] = {"right": round(float(right.mean()), 4), "precision": precision(right, sure)}
        if tree.head is not None:
            given = np.array([path != NOWHERE for path in tree.assign(vectors)])
            kept = {"share": round(float(given.mean()), 4), "precision": round(float(right[given].mean()), 4)}
            bins = np.array_split(np.argsort(sure, kind="stable"), 10)
            reliability = [[round(float(of[part].mean()), 3) for of in (sure, right)] for part in bins]
            found[kind] |= {"with a path": kept, "reliability": reliability}
    return found


def captions(encoder: LoadedEncoder, tree: ConceptTree) -> dict[str, Any]:
    """By half: the share that gets no path of texts that say nothing, and of those on a topic the share that does."""
    rows = [json.loads(line) for line in (FIXTURES / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    topics, sure = judged(tree, encoder.encode([row["text"] for row in rows])[0])
    found: dict[str, Any] = {}
    for half in ("development", "held-out"):
        nothing = np.array([row["half"] == half and row["topic"] is None for row in rows])
        named = np.array([row["half"] == half and row["topic"] is not None for row in rows])
        right = np.array([topic == row["topic"] for topic, row in zip(topics, rows, strict=True)])
        kept = named & (sure >= tree.floors.confidence)
        found[half] = {
            "says nothing: no path": [round(float((sure[nothing] < floor).mean()), 4) for floor in FLOORS],
            "on a topic: a path": [round(float((sure[named] >= floor).mean()), 4) for floor in FLOORS],
            "right, where it has a path": round(float(right[kept].mean()), 4),
        }
    return found


def drawn(figures: dict[str, Any]) -> dict[str, str]:
    """The pictures by name: news, and captions."""
    sets = {
        f"{name}: share right of the surest": [
            Line("learned", figures[name]["learned"]["precision"], OURS),
            Line("nearest topic", figures[name]["nearest topic"]["precision"], SECOND, dashed=True),
        ]
        for name in SETS
    }
    halves = {
        f"Captions, {half}: share, by the floor": [
            Line("on a topic: a path", figures["captions"][half]["on a topic: a path"], OURS),
            Line("says nothing: no path", figures["captions"][half]["says nothing: no path"], SECOND, dashed=True),
        ]
        for half in figures["captions"]
    }
    return {
        "concepts": curves("Topics: precision against coverage", [f"{share:.0%}" for share in COVERED], sets),
        "captions": curves("Captions: which get a path", [f"{floor:g}" for floor in FLOORS], halves),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evaluation")
    asked = parser.parse_args()
    encoder = load_encoder(DEFAULT_MODEL, cache=cache_dir(ROOT), precision="int8")
    tree = build_from_taxonomy(lambda texts: encoder.encode(texts)[0], encoder.encoder_id)
    trees = {
        "learned": tree,
        "nearest topic": ConceptTree(tree.version, tree.encoder_id, tree.concepts, tree.vectors),
    }
    figures = {"encoder": tree.encoder_id, "tree": tree.version, "covered": COVERED, "floors": FLOORS}
    figures |= {name: news(encoder, trees, asked.data, name) for name in SETS}
    figures["captions"] = captions(encoder, tree)
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    (asked.out / "concepts.json").write_text(text, encoding="utf-8")
    for name, picture in drawn(figures).items():
        (asked.out / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
