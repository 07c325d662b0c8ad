"""Finds where a model's activations are rounded to 8 bits, with NNCF's post-training quantisation.

    python -m encoders.quantise --model multilingual-e5-small      # needs the extra `quantise`

Texts: those of `train_sentiment.plain_texts`, all written for this project, English and Chinese, alone and
joined. Result: `weights/<model>-int8.npz`, or `interests_int8.npz` in a model's own directory. NNCF is needed here
only: a graph is made from what is kept, the same on every machine. Changing it changes the id of the int8 encoder.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoders.backends.openvino import converted, core
from encoders.errors import ending_on_model_error
from encoders.int8 import OWN_FILE, Site, write_ranges
from encoders.layout import read_layout
from encoders.locate import DEFAULT_MODEL, LIGHT_MODEL, cache_dir, locate, name_of
from encoders.sentiment import WEIGHTS, load_head
from encoders.text import Tokeniser, batches
from encoders.train_sentiment import plain_texts

BATCHES = 100
"""At most so many batches are run. Forty, the mean of each one's bounds, and single sentences cut what longer texts
reach (docs/decisions/encoder.md)."""
SMOOTHING = 0.8
"""SmoothQuant's alpha: how much of a column's width moves into the weights, the best of 0.5, 0.8 and 0.95."""
_SMOOTHED = "nncf_smooth_quant"  # a part of the name of what NNCF puts before a smoothed input


def calibration(tokeniser: Tokeniser, texts: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Inputs of the graph: the texts, and two to six of them joined, in an order drawn from `seed`."""
    draw = random.Random(seed)  # noqa: S311  # an order of texts, no secret
    shuffled = draw.sample(list(texts), len(texts))
    longer, at = [], 0
    while at < len(shuffled):
        count = draw.choice((2, 3, 4, 6))
        longer.append(" ".join(shuffled[at : at + count]))
        at += count
    tokens = tokeniser(draw.sample([*texts, *longer], len(texts) + len(longer)))
    inputs = [{"input_ids": batch.ids, "attention_mask": batch.mask} for batch in batches(tokens, 1_024, 16)]
    return draw.sample(inputs, min(BATCHES, len(inputs)))


def quantised(graph: Any, inputs: Sequence[dict[str, Any]]) -> Any:
    """NNCF's quantised model of an OpenVINO graph, each range as wide as the widest of the inputs needs it."""
    import nncf  # noqa: PLC0415  # of an extra of its own
    from nncf.quantization import advanced_parameters, range_estimator  # noqa: PLC0415  # as above

    return nncf.quantize(
        graph,
        nncf.Dataset(list(inputs)),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
        advanced_parameters=advanced_parameters.AdvancedQuantizationParameters(
            activations_range_estimator_params=range_estimator.RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=advanced_parameters.AdvancedSmoothQuantParameters(matmul=SMOOTHING),
            disable_bias_correction=True,  # only where values are rounded is read from it
        ),
    )


def sites_of(model: Any) -> list[Site]:
    """What NNCF rounded in a graph, as far as it is the input of linear layers.

    It also rounds what goes into the attention's product; that product is computed in floats here, so those are left.
    """
    sites = []
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        consumers = [target.get_node() for target in node.output(0).get_target_inputs()]
        if any(consumer.get_type_name() != "MatMul" for consumer in consumers):
            continue
        before = node.input_value(0).get_node()
        if _SMOOTHED in before.get_friendly_name():
            smoothing = _constant(before.input_value(1))
        else:
            smoothing = np.ones(int(node.input_value(0).get_partial_shape()[2].get_length()), np.float32)
        low, high = (float(_constant(node.input_value(at)).item()) for at in (1, 2))
        names = tuple(sorted(consumer.get_friendly_name() for consumer in consumers))
        sites.append(Site(names, low, high, smoothing.reshape(-1).astype(np.float16).astype(np.float32)))
    return sites


def _constant(output: Any) -> Any:
    node = output.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data(), np.float32)


def found_sites(folder: Path, cache: Path, texts: Sequence[str]) -> list[Site]:
    """What NNCF rounds of the model in a directory, run on texts. Raises ModelError where it cannot be used."""
    layout = read_layout(folder)
    graph = core().read_model(str(converted(layout, load_head(name_of(folder), folder).layers, cache)))
    return sites_of(quantised(graph, calibration(Tokeniser(layout), texts)))


def main() -> None:
    """Quantise, read what was found, write it."""
    parser = argparse.ArgumentParser(
        description="Find where a model's activations are rounded to 8 bits, and write that beside its weights.",
        epilog="python -m encoders.quantise --model path/to/model; needs the extra `quantise`, and some minutes.",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a packaged model's name, or a model directory")
    parser.add_argument("--cache", type=Path, help="where prepared models are kept")
    arguments = parser.parse_args()
    cache = arguments.cache or cache_dir()
    with ending_on_model_error(parser):
        folder = locate(arguments.model, cache)
        name = name_of(folder)
        out = WEIGHTS / f"{name}-int8.npz" if name in (DEFAULT_MODEL, LIGHT_MODEL) else folder / OWN_FILE
        sites = found_sites(folder, cache, plain_texts())
    write_ranges(sites, out)
    print(f"{out}: {len(sites)} inputs of {sum(len(site.matmuls) for site in sites)} linear layers")


if __name__ == "__main__":
    main()
