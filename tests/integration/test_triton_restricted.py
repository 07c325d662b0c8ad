"""What Triton lets callers do: encode; not register memory, load models, or turn traces and logs."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from deploy.embedded.triton import KEY_HEADER, triton_process
from encoders.locate import CACHE_VARIABLE, cache_dir
from streams.encoder.client import TritonEncoder
from tests.fixtures.triton import ROOT, TritonServer

pytestmark = pytest.mark.integration

KEY = "0123456789abcdef"
INFER = {"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["a cup of tea"]}]}


class KeyedTriton(TritonServer):
    """The server as `interests up` starts it: HTTP asks for a key."""

    def __init__(self, work: Path) -> None:
        super().__init__(ROOT / "model_repo", work)
        self._argv, self._env = triton_process(
            ROOT / "model_repo", work=work, grpc_port=self._grpc, http_port=self._http, http_key=KEY,
            extra_env={CACHE_VARIABLE: str(cache_dir(ROOT))},
        )  # fmt: skip


CONTROL = {
    "register memory": lambda client: client.register_system_shared_memory("a", "/a", 64),
    "memory's status": lambda client: client.get_system_shared_memory_status(),
    "forget memory": lambda client: client.unregister_system_shared_memory(),
    "register a GPU's": lambda client: client.register_cuda_shared_memory("a", b"", 0, 64),
    "list models": lambda client: client.get_model_repository_index(),
    "load a model": lambda client: client.load_model("text_encoder"),
    "unload a model": lambda client: client.unload_model("text_encoder"),
    "trace": lambda client: client.update_trace_settings(settings={"trace_file": "/tmp/x"}),
    "log": lambda client: client.update_log_settings({"log_file": "/tmp/x"}),
}
HTTP_CONTROL = (
    ("GET", "/v2/systemsharedmemory/status"), ("POST", "/v2/systemsharedmemory/region/a/register"),
    ("POST", "/v2/cudasharedmemory/region/a/register"), ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/text_encoder/load"), ("POST", "/v2/trace/setting"), ("POST", "/v2/logging"),
)  # fmt: skip


async def test_only_what_encodes_is_open(tmp_path: Path) -> None:
    server = KeyedTriton(tmp_path / "triton")
    server.start()
    try:
        client = InferenceServerClient(server.grpc_url)
        for call in CONTROL.values():
            with pytest.raises(InferenceServerException, match="restricted"):
                call(client)
        client.close()
        encoder = TritonEncoder(server.grpc_url, deadline_s=30.0)
        assert (await encoder.encode(["a cup of tea"])).vectors.shape == (1, (await encoder.info()).dim)
        await encoder.close()
        with httpx.Client(base_url=server.http_url, trust_env=False, timeout=30) as http:
            infer = "/v2/models/text_encoder/infer"
            for method, path in (*HTTP_CONTROL, ("POST", infer), ("GET", "/v2/models/text_encoder/config")):
                for headers in ({}, {KEY_HEADER: "wrong"}, {"Content-Type": "text/plain"}):
                    answer = http.request(method, path, headers=headers, json=INFER if method == "POST" else None)
                    assert answer.status_code == 403, (path, answer.text)
            assert http.post(infer, json=INFER, headers={KEY_HEADER: KEY}).status_code == 200
            assert http.get("/v2/health/ready").status_code == 200
    finally:
        server.stop()
