"""The real Triton server with the committed model, and the client against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from encoders.contract import MAX_QUEUE
from encoders.encoder import load_encoder
from encoders.export import encoder_config, export, write_repository
from encoders.locate import DEFAULT_MODEL, LIGHT_MODEL, cache_dir
from streams.base.errors import ConfigurationError, EncoderUnavailable, WrongModelOutput
from streams.encoder.base import Encoded
from streams.encoder.breaker import Breaker
from streams.encoder.client import TritonEncoder
from tests.fixtures.triton import ROOT, TritonServer

pytestmark = pytest.mark.integration

CACHE = cache_dir(ROOT)
TEXTS = ["football match tonight", "今晚的足球比赛", "tax law", "所得税法", "a good book", "x"]


class Seen:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.retries: list[str] = []
        self.breaker: list[bool] = []

    def encoder_called(self, seconds: float, texts: int) -> None:
        assert seconds > 0
        self.calls.append(texts)

    def encoder_retried(self, code: str) -> None:
        self.retries.append(code)

    def encoder_breaker(self, is_open: bool) -> None:
        self.breaker.append(is_open)


async def until_it_answers(client: TritonEncoder, texts: list[str]) -> Encoded:
    """Ask as the worker does: wait as long as the error says, and again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.encode(texts)
            except EncoderUnavailable as unavailable:
                await asyncio.sleep(unavailable.retry_after_s)


@pytest.fixture
async def encoder(triton: TritonServer) -> AsyncIterator[TritonEncoder]:
    client = TritonEncoder(triton.grpc_url)
    yield client
    await client.close()


def test_the_committed_repository_is_served(triton: TritonServer) -> None:
    assert triton.ready()
    assert "nv_inference_count" in httpx.get(triton.metrics_url, timeout=5).text


async def test_the_served_vectors_are_the_local_ones(encoder: TritonEncoder) -> None:
    local = load_encoder(DEFAULT_MODEL, cache=CACHE, precision="int8")
    info = await encoder.info()
    assert (info.encoder_id, info.dim) == (local.encoder_id, local.dim)
    assert await encoder.ready()
    encoded = await encoder.encode(TEXTS)
    vectors, signs = local.encode(TEXTS)
    assert (encoded.vectors * vectors).sum(1).min() > 0.999
    np.testing.assert_allclose(encoded.sentiment, signs, atol=0.05)
    assert not encoded.poison


async def test_both_languages_meet(encoder: TritonEncoder) -> None:
    vectors = (await encoder.encode(TEXTS[:4])).vectors
    cosines = vectors @ vectors.T
    assert min(cosines[0, 1], cosines[2, 3]) > max(cosines[0, 2], cosines[0, 3], cosines[1, 2], cosines[1, 3]) + 0.2


async def test_sentiment_has_a_sign_in_both_languages(encoder: TritonEncoder) -> None:
    good = [
        "I love this, it is wonderful!",
        "A brilliant, moving film.",
        "非常好吃，下次还会再来！",
        "服务态度很好，推荐",
    ]
    bad = ["I hate this, it is awful.", "A dull and pointless film.", "太难吃了，再也不会点了", "送餐慢，态度很差"]
    plain = ["The train leaves at nine.", "会议在三楼举行。"]
    signs = (await encoder.encode([*good, *bad, *plain])).sentiment
    assert signs[:4].min() > 0.3
    assert signs[4:8].max() < -0.3
    assert np.abs(signs[8:]).max() < 0.25  # a head that reads mistyped texts too is less sure that nothing is meant


async def test_identical_texts_are_sent_once(triton: TritonServer) -> None:
    seen = Seen()
    client = TritonEncoder(triton.grpc_url, observer=seen)
    first = await client.encode(["same", " same ", "sa\u0000me", "other", "cafe\u0301", "café"])
    again = await client.encode(["café", "same"])
    await client.close()
    assert sum(seen.calls) == 3
    assert client.cache_stats()[:2] == (2, 3)
    np.testing.assert_array_equal(again.vectors, first.vectors[[5, 0]])
    np.testing.assert_array_equal(first.vectors[0], first.vectors[2])


async def test_many_texts_are_split_and_keep_their_order(encoder: TritonEncoder, triton: TritonServer) -> None:
    texts = [f"number {i} " * (1 + i % 7) for i in range(150)]
    encoded = await encoder.encode(texts)
    some = [3, 77, 149]
    another = TritonEncoder(triton.grpc_url)
    fresh = await another.encode([texts[i] for i in some])
    await another.close()
    assert encoded.vectors.shape[0] == 150
    assert (encoded.vectors[some] * fresh.vectors).sum(1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-2)


async def test_nothing_is_no_call(encoder: TritonEncoder) -> None:
    encoded = await encoder.encode([])
    assert (encoded.vectors.shape[0], encoded.sentiment.shape) == (0, (0,))


async def test_a_lone_surrogate_is_poison_alone(encoder: TritonEncoder) -> None:
    encoded = await encoder.encode(["fine", "broken \ud800 text", "fine too"])
    assert set(encoded.poison) == {1}
    assert encoded.poison[1].reason == "bad_utf8"
    assert not encoded.vectors[1].any()
    assert encoded.vectors[[0, 2]].any(axis=1).all()


async def test_invalid_bytes_fail_their_own_request_only(triton: TritonServer) -> None:
    client = aio.InferenceServerClient(triton.grpc_url)

    def request(value: bytes) -> aio.InferInput:
        tensor = aio.InferInput("TEXT", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[value]], object))
        return tensor

    values = [b"fine", b"\xff\xfe", "又一个".encode()] * 5
    done = await asyncio.gather(
        *(client.infer("text_encoder", [request(value)], client_timeout=30) for value in values), return_exceptions=True
    )
    await client.close()
    for value, result in zip(values, done, strict=True):
        if value == b"\xff\xfe":
            assert isinstance(result, InferenceServerException)
            assert result.status() == "StatusCode.INVALID_ARGUMENT"
        else:
            assert isinstance(result, aio.InferResult)


async def test_a_full_queue_rejects_and_the_client_comes_back(triton: TritonServer) -> None:
    seen = Seen()
    clients = [TritonEncoder(triton.grpc_url, deadline_s=60, max_batch=1, observer=seen) for _ in range(MAX_QUEUE // 2)]
    texts = [[f"client {i} text {j} " + "word " * 60 for j in range(6)] for i in range(len(clients))]
    done = await asyncio.gather(*(client.encode(own) for client, own in zip(clients, texts, strict=True)))
    for client in clients:
        await client.close()
    assert all(not encoded.poison and encoded.vectors.any(axis=1).all() for encoded in done)
    assert "QUEUE_FULL" in seen.retries
    assert seen.breaker == []


async def test_no_server_is_unavailable_within_the_deadline(triton: TritonServer) -> None:
    seen = Seen()
    client = TritonEncoder(triton.grpc_url, deadline_s=2.0, breaker=Breaker(failures=3, open_s=0.2), observer=seen)
    await client.info()
    triton.kill()
    try:
        assert not await client.ready()
        start = asyncio.get_running_loop().time()
        with pytest.raises(EncoderUnavailable) as unavailable:
            await client.encode(["one", "two"])
        assert asyncio.get_running_loop().time() - start < 4
        assert unavailable.value.retry_after_s > 0
        assert seen.breaker == [True]
    finally:
        triton.start()
    encoded = await until_it_answers(client, ["one", "two"])
    await client.close()
    assert encoded.vectors.any(axis=1).all()
    assert seen.breaker == [True, False]


async def test_a_server_that_hangs_is_unavailable_within_the_deadline(triton: TritonServer) -> None:
    client = TritonEncoder(triton.grpc_url, deadline_s=1.0)
    await client.info()
    triton.pause()
    try:
        start = asyncio.get_running_loop().time()
        with pytest.raises(EncoderUnavailable):
            await client.encode(["hanging"])
        assert asyncio.get_running_loop().time() - start < 3
    finally:
        triton.resume()
    assert (await until_it_answers(client, ["hanging"])).vectors.any()
    await client.close()


@pytest.fixture(scope="module")
def light_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("light")
    export(LIGHT_MODEL, repo, cache=CACHE)
    return repo


async def test_an_exported_model_is_served_and_a_too_long_text_is_isolated(
    light_repo: Path, triton_of: Callable[[Path], TritonServer]
) -> None:
    config = light_repo / "text_encoder" / "config.pbtxt"
    config.write_text(config.read_text().replace('"65536"', '"200"'))
    client = TritonEncoder(triton_of(light_repo).grpc_url)
    assert (await client.info()).encoder_id.startswith("all-minilm-l6-v2-")
    texts = [f"text {i}" for i in range(20)]
    texts[7] = texts[15] = "long " * 100
    encoded = await client.encode(texts)
    await client.close()
    assert set(encoded.poison) == {7, 15}
    assert {error.reason for error in encoded.poison.values()} == {"refused"}
    assert "long long" not in str(encoded.poison[7])
    assert [i for i in range(20) if not encoded.vectors[i].any()] == [7, 15]


async def test_another_model_behind_the_same_address_ends_the_process(
    light_repo: Path, triton_of: Callable[[Path], TritonServer]
) -> None:
    server = triton_of(light_repo)
    client = TritonEncoder(server.grpc_url, deadline_s=60)
    info = await client.info()
    server.stop()
    cut = export(LIGHT_MODEL, light_repo, cache=CACHE, max_tokens=64)
    assert cut.encoder_id != info.encoder_id
    server.start()
    with pytest.raises(ConfigurationError, match="start it again"):
        await client.encode(["anything"])
    await client.close()


WRONG = {
    "dimension": "np.ones((n, 5), np.float32) / np.sqrt(5), np.zeros((n, 1), np.float32)",
    "not-finite": "np.full((n, 4), np.nan, np.float32), np.zeros((n, 1), np.float32)",
    "length": "np.ones((n, 4), np.float32), np.zeros((n, 1), np.float32)",
    "sentiment": "np.ones((n, 4), np.float32) / 2, np.full((n, 1), 3, np.float32)",
    "count": "np.ones((n + 1, 4), np.float32) / 2, np.zeros((n + 1, 1), np.float32)",
}
BROKEN_MODEL = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        out = []
        for request in requests:
            n = len(pb.get_input_tensor_by_name(request, "TEXT").as_numpy())
            vectors, signs = {expression}
            out.append(pb.InferenceResponse([pb.Tensor("EMBEDDING", vectors), pb.Tensor("SENTIMENT", signs)]))
        return out
"""


async def test_wrong_outputs_are_never_returned(tmp_path: Path, triton_of: Callable[[Path], TritonServer]) -> None:
    repo = tmp_path / "wrong"
    for name, expression in WRONG.items():
        one = tmp_path / name
        write_repository(one, encoder_config(4, {"encoder_id": name, "model": "wrong"}))
        folder = one / "text_encoder"
        config = (folder / "config.pbtxt").read_text().replace('name: "text_encoder"', f'name: "{name}"')
        (folder / "config.pbtxt").write_text(config)
        (folder / "1" / "model.py").write_text(BROKEN_MODEL.format(expression=expression))
        repo.mkdir(exist_ok=True)
        folder.rename(repo / name)
    server = triton_of(repo)
    for name in WRONG:
        seen = Seen()
        client = TritonEncoder(server.grpc_url, model_name=name, deadline_s=5, observer=seen)
        with pytest.raises(WrongModelOutput if name != "count" else EncoderUnavailable):
            await client.encode(["one", "two", "three"])
        await client.close()
        assert seen.calls == []
