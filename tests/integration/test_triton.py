"""The real Triton server with the committed model, and the client against it."""

from __future__ import annotations

import httpx

from tests.fixtures.triton import TritonServer


def test_the_committed_repository_is_served(triton: TritonServer) -> None:
    assert triton.ready()
    assert "nv_inference_count" in httpx.get(triton.metrics_url, timeout=5).text
