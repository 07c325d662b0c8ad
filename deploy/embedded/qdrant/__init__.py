"""Qdrant's own engine in one process, behind Qdrant's own gRPC and REST interfaces, with nothing but pip packages."""

from __future__ import annotations

import sys
from pathlib import Path


def qdrant_process(data_dir: Path, grpc_port: int, http_port: int, api_key_file: Path | None = None) -> list[str]:
    """Return the command that serves `data_dir` on two loopback ports.

    It prints one line that starts with `qdrant ready` when both answer, and stops cleanly on SIGINT and SIGTERM.
    """
    command = [sys.executable, "-m", "deploy.embedded.qdrant", "--data", str(data_dir)]
    command += ["--grpc-port", str(grpc_port), "--http-port", str(http_port)]
    if api_key_file is not None:
        command += ["--api-key-file", str(api_key_file)]
    return command
