"""Qdrant's own engine in one process, behind Qdrant's own gRPC and REST interfaces, with nothing but pip packages."""

from __future__ import annotations

import sys
from pathlib import Path


def qdrant_process(
    data_dir: Path, grpc_port: int, http_port: int, api_key_file: Path | None = None,
    tls: tuple[Path, Path] | None = None, tls_ca: Path | None = None,
) -> list[str]:  # fmt: skip
    """Return the command that serves `data_dir` on two loopback ports.

    `tls` names the PEM files of certificate and key, for both ports; with `tls_ca` clients must bring a certificate
    signed by it. The process prints one line that starts with `qdrant ready` when both ports answer, and stops cleanly
    on SIGINT and SIGTERM.
    """
    command = [sys.executable, "-m", "deploy.embedded.qdrant", "--data", str(data_dir)]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    if api_key_file is not None:
        command += ["--api-key-file", str(api_key_file)]
    if tls is not None:
        command += ["--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1])]
    if tls_ca is not None:
        command += ["--tls-ca-file", str(tls_ca)]
    return command
