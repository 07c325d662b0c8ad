"""What the model `text_encoder` takes and gives, declared once for server, client and configuration."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_NAME = "text_encoder"
MAX_BATCH = 128
"""Texts in one pass: in one request, or in several that the server joins, as it does with two of a client's default."""
MAX_TEXT_BYTES = 65_536
"""A longer text fails its request: the client cuts texts long before this."""
MAX_QUEUE = 128
"""Requests that may wait in the server; one more is rejected with UNAVAILABLE."""
QUEUE_TIMEOUT_US = 10_000_000
"""How long a request may wait when the client does not say: 10 s, then it is rejected."""
QUEUE_DELAY_US = 2_000
"""How long a request may wait for others to share its pass: 2 ms, a tenth of what a full batch takes on two cores."""
NORM_TOLERANCE = 1e-2
"""How far the length of an embedding may be from 1 before the client refuses it."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor: its name, its Triton type and its shape with -1 for what varies."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def config_dtype(self) -> str:
        """The name of the type in a `config.pbtxt`, where BYTES is called TYPE_STRING."""
        return "TYPE_STRING" if self.dtype == "BYTES" else f"TYPE_{self.dtype}"

    def with_dim(self, dim: int) -> TensorSpec:
        """The same tensor with every varying size but the first set to `dim`."""
        return TensorSpec(self.name, self.dtype, (self.shape[0], *(dim if n == -1 else n for n in self.shape[1:])))


TEXT = TensorSpec("TEXT", "BYTES", (-1, 1))
EMBEDDING = TensorSpec("EMBEDDING", "FP32", (-1, -1))
SENTIMENT = TensorSpec("SENTIMENT", "FP32", (-1, 1))

INPUTS = (TEXT,)
OUTPUTS = (EMBEDDING, SENTIMENT)

ENCODER_ID_PARAMETER = "encoder_id"
"""The model configuration's parameter by which a client learns what made its vectors."""
