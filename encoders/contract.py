"""What the model `text_encoder` takes and gives, declared once for server, client and configuration."""

from __future__ import annotations

from encoders.model_repository import Batching, TensorSpec

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

TEXT = TensorSpec("TEXT", "BYTES", (-1, 1))
EMBEDDING = TensorSpec("EMBEDDING", "FP32", (-1, -1))
SENTIMENT = TensorSpec("SENTIMENT", "FP32", (-1, 1))

INPUTS = (TEXT,)
OUTPUTS = (EMBEDDING, SENTIMENT)
BATCHING = Batching(MAX_BATCH, MAX_QUEUE, QUEUE_DELAY_US, QUEUE_TIMEOUT_US)

ENCODER_ID_PARAMETER = "encoder_id"
"""The model configuration's parameter by which a client learns what made its vectors."""
