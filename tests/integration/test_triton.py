"""The real Triton server with the committed model, and the client against it."""

from __future__ import annotations

import httpx

from streams.encoder import TritonEncoder
from tests.fixtures.triton import TritonServer


def test_the_committed_repository_is_served(triton: TritonServer) -> None:
    assert triton.ready()
    assert "nv_inference_count" in httpx.get(triton.metrics_url, timeout=5).text


async def test_texts_become_vectors(triton: TritonServer) -> None:
    encoder = TritonEncoder(triton.grpc_url)
    try:
        info = await encoder.info()
        encoded = await encoder.encode(["football match tonight", "今晚的足球比赛", "tax law"])
        assert encoded.vectors.shape == (3, info.dim)
        assert not encoded.poison
        assert encoded.vectors[0] @ encoded.vectors[1] > encoded.vectors[0] @ encoded.vectors[2]
    finally:
        await encoder.close()
