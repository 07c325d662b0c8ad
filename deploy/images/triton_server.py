"""What the Triton image runs: `python -m deploy.images.triton_server` becomes the Triton server in this same process.

gRPC and metrics listen on every address of the container, HTTP is off, and shared memory, the repository of models,
traces and the log's settings are shut, as in the embedded stack. SIGTERM ends it with 0.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from deploy.embedded.triton import triton_process
from streams.base.errors import ConfigurationError


def arguments() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.images.triton_server", description="Serve a model repository with Triton, over gRPC."
    )
    parser.add_argument("--repository", type=Path, default=Path(sys.prefix) / "models" / "repository")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--grpc-port", type=int, default=8001)
    parser.add_argument("--metrics-port", type=int, default=8002)
    parser.add_argument("--cert-file", type=Path, help="certificate of gRPC; needs --key-file")
    parser.add_argument("--key-file", type=Path)
    parser.add_argument("--client-ca-file", type=Path, help="who signed the certificates that clients must bring")
    return parser


def main() -> None:
    """Replace this process by Triton; ends with 2 where it cannot start."""
    parser = arguments()
    asked = parser.parse_args()
    if (asked.cert_file is None) != (asked.key_file is None):
        parser.error("got one of --cert-file and --key-file, expected both or none")
    if asked.client_ca_file is not None and asked.cert_file is None:
        parser.error("got --client-ca-file without --cert-file and --key-file")
    if not asked.repository.is_dir():
        parser.error(f"got no folder {asked.repository}: mount a model repository there (interests encoder export)")
    try:
        argv, env = triton_process(
            asked.repository, work=Path(tempfile.mkdtemp(prefix="triton-")), host=asked.host,
            grpc_port=asked.grpc_port, metrics_port=asked.metrics_port,
            tls=(asked.cert_file, asked.key_file) if asked.cert_file else None, tls_ca=asked.client_ca_file,
        )  # fmt: skip
    except ConfigurationError as error:
        parser.error(str(error))
    os.execve(argv[0], argv, env)  # noqa: S606  # no shell is meant


if __name__ == "__main__":
    main()
