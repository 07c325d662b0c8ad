"""The health check of the Triton image: `python -m deploy.images.encodes` ends with 0 where it encodes a text.

Triton says that it is ready after its model's process has died (docs/operations.md), so a text is encoded.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from encoders.contract import MODEL_NAME
from streams.base.credentials import TlsFiles
from streams.base.errors import InterestsError
from streams.encoder.breaker import Breaker
from streams.encoder.text_model import TextModel

TEXT = "a cup of tea"


async def encode(url: str, within_s: float, tls: TlsFiles | None = None) -> str:
    """The id of the encoder at `url` ("host:port") once it has encoded a text. Raises InterestsError."""
    never = Breaker(failures=1_000_000)  # it would hide why the server does not answer
    model = TextModel(url, MODEL_NAME, deadline_s=within_s, max_batch=1, breaker=never, observer=None, tls=tls)
    try:
        end = model.deadline()
        info = await model.info(end)
        await model.encode([TEXT], info, end)
    finally:
        await model.close()
    return info.encoder_id


def main() -> None:
    """Print the encoder's id, or what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images.encodes", description="Encode a text on Triton.")
    parser.add_argument("--url", default="127.0.0.1:8001", help="its gRPC address")
    parser.add_argument("--within", type=float, default=8.0, help="seconds")
    parser.add_argument("--ca-file", type=Path, help="who signed its certificate, where it uses TLS")
    asked = parser.parse_args()
    try:
        tls = TlsFiles("triton", ca_file=asked.ca_file) if asked.ca_file else None
        print(asyncio.run(encode(asked.url, asked.within, tls)))
    except InterestsError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
