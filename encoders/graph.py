"""The model as one torch module: token ids in, pooled vectors out. Both backends run this graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoConfig, AutoModel
from transformers.utils import logging

from encoders.layout import Layout


class PooledModel(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here (follow_imports = skip)
    """Token ids and mask of shape (n, length) to pooled states of shape (n, dim · (1 + len(extra_layers))).

    The first `dim` columns are the layout's pooling of the last layer; then follow the mean states of `extra_layers`
    (hidden state k is the output of block k), computed in the same pass.
    """

    def __init__(self, model: Any, pooling: str, extra_layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.extra_layers = tuple(extra_layers)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Pooled states as float32."""
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=bool(self.extra_layers),
            return_dict=True,
        )
        parts = [pool(out.last_hidden_state, attention_mask, self.pooling)]
        parts.extend(pool(out.hidden_states[k], attention_mask, "mean") for k in self.extra_layers)
        return torch.cat(parts, dim=-1)


def pool(states: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """States of shape (n, length, dim) to (n, dim) float32: the mean, the first or the last unmasked position."""
    states = states.float()
    if how == "cls":
        return states[:, 0]
    weights = mask.to(states.dtype)
    if how == "last":
        # One at the last unmasked position: where the mask has its final 1, what follows sums to zero.
        later = weights.flip(-1).cumsum(-1).flip(-1)
        weights = weights * (later < 1.5).to(states.dtype)  # 1: this one only
    return (states * weights.unsqueeze(-1)).sum(1) / weights.sum(1, keepdim=True)


def load_graph(layout: Layout, extra_layers: Sequence[int] = (), dtype: torch.dtype = torch.float32) -> PooledModel:
    """The model of a directory in evaluation mode, weights in `dtype`. Local files only, and no code from them."""
    logging.set_verbosity_error()  # the unused pooler or language head of a checkpoint is no news
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(str(layout.folder), local_files_only=True, trust_remote_code=False)
    config.use_cache = False
    options = (
        {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta", "camembert") else {}
    )
    model = AutoModel.from_pretrained(
        str(layout.folder), config=config, local_files_only=True, trust_remote_code=False, dtype=dtype, **options
    )
    graph = PooledModel(model, layout.pooling, extra_layers)
    graph.eval()
    return graph
