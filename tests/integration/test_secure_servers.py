"""TLS and keys against the servers themselves: Qdrant's two ports and Triton's, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from deploy.embedded.triton import triton_process
from encoders.locate import CACHE_VARIABLE, cache_dir
from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError, EncoderUnavailable, StoreUnavailable
from streams.encoder.client import TritonEncoder
from streams.store.connection import QdrantConfig, guarded
from streams.store.points import PointsClient
from tests.fixtures.certificates import Certificates
from tests.fixtures.qdrant import QdrantServer, official
from tests.fixtures.triton import ROOT, TritonServer

pytestmark = pytest.mark.integration


class Asked:
    """What the two ports answer to one configuration."""

    def __init__(self, config: QdrantConfig) -> None:
        self._config = config

    async def grpc(self) -> None:
        points = PointsClient(self._config)
        try:
            await guarded(points.collections.names(), "listing collections")
        finally:
            await points.close()

    async def rest(self) -> None:
        client = official(self._config)
        try:
            await client.http.collections_api.get_collections()
        finally:
            await client.close()


def tls_options(pair: tuple[Path, Path], authority: Path | None = None) -> list[str]:
    options = ["--tls-cert-file", str(pair[0]), "--tls-key-file", str(pair[1])]
    return options + (["--tls-ca-file", str(authority)] if authority else [])


def config_of(server: QdrantServer, tls: TlsFiles | None, key: str | None = None) -> QdrantConfig:
    return QdrantConfig(
        host=server.host,
        grpc_port=server.grpc_port,
        http_port=server.http_port,
        https=tls is not None,
        api_key=key,
        deadline_s=5.0,
        tls=tls,
    )


async def test_qdrant_takes_the_right_key_from_those_who_trust_it(
    own_qdrant: Callable[..., QdrantServer], certificates: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("sesame\n")
    server = own_qdrant(*tls_options(certificates.server), api_key_file=tmp_path / "key")
    right = config_of(server, TlsFiles("qdrant", certificates.authority), "sesame")
    await Asked(right).grpc()
    await Asked(right).rest()

    for key in ("wrong", None):
        asked = Asked(replace(right, api_key=key))
        with pytest.raises(ConfigurationError, match=r"UNAUTHENTICATED: check qdrant\.api_key_file"):
            await asked.grpc()
        with pytest.raises(UnexpectedResponse, match="401"):
            await asked.rest()

    for files in (TlsFiles("qdrant", certificates.stranger), None):  # None: the system's authorities
        asked = Asked(replace(right, tls=files))
        with pytest.raises(ConfigurationError, match=r"signed by nobody we trust.*check qdrant\.ca_file"):
            await asked.grpc()
        with pytest.raises(ResponseHandlingException, match="CERTIFICATE_VERIFY_FAILED"):
            await asked.rest()

    with pytest.raises(StoreUnavailable):
        await Asked(replace(right, https=False)).grpc()


async def test_qdrants_certificate_must_be_for_its_host(
    own_qdrant: Callable[..., QdrantServer], certificates: Certificates
) -> None:
    server = own_qdrant(*tls_options(certificates.elsewhere))
    asked = Asked(config_of(server, TlsFiles("qdrant", certificates.authority)))
    with pytest.raises(ConfigurationError, match="or for another host"):
        await asked.grpc()
    with pytest.raises(ResponseHandlingException, match="IP address mismatch"):
        await asked.rest()


async def test_qdrant_may_ask_for_a_certificate(
    own_qdrant: Callable[..., QdrantServer], certificates: Certificates
) -> None:
    server = own_qdrant(*tls_options(certificates.server, certificates.authority))
    with_ours = config_of(server, TlsFiles("qdrant", certificates.authority, *certificates.client))
    await Asked(with_ours).grpc()
    await Asked(with_ours).rest()
    without = Asked(config_of(server, TlsFiles("qdrant", certificates.authority)))
    with pytest.raises(StoreUnavailable):
        await without.grpc()
    with pytest.raises(ResponseHandlingException):
        await without.rest()


class SecureTriton(TritonServer):
    """The server with TLS on its gRPC port, which asks for a client's certificate."""

    def __init__(self, repo: Path, work: Path, certificates: Certificates) -> None:
        super().__init__(repo, work)
        self._argv, self._env = triton_process(
            repo,
            work=work,
            grpc_port=self._grpc,
            http_port=self._http,
            extra_env={CACHE_VARIABLE: str(cache_dir(ROOT))},
            tls=certificates.server,
            tls_ca=certificates.authority,
        )


async def test_triton_and_its_clients_prove_who_they_are(tmp_path: Path, certificates: Certificates) -> None:
    server = SecureTriton(ROOT / "model_repo", tmp_path / "triton", certificates)
    server.start()
    right = TlsFiles("triton", certificates.authority, *certificates.client)
    strange = replace(right, ca_file=certificates.stranger)
    without_ours = TlsFiles("triton", certificates.authority)
    refused: list[tuple[TlsFiles | None, type[Exception], str]] = [
        (strange, ConfigurationError, r"signed by nobody we trust.*check triton\.ca_file"),
        (without_ours, EncoderUnavailable, "Triton"),
        (None, EncoderUnavailable, "Triton"),
    ]
    try:
        encoder = TritonEncoder(server.grpc_url, deadline_s=20.0, tls=right)
        assert (await encoder.encode(["a cup of tea"])).vectors.shape == (1, (await encoder.info()).dim)
        await encoder.close()
        for files, kind, said in refused:
            encoder = TritonEncoder(server.grpc_url, deadline_s=1.0, tls=files)
            assert not await encoder.ready()
            with pytest.raises(kind, match=said):
                await encoder.info()
            await encoder.close()
    finally:
        server.stop()
