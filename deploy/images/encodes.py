"""The health check of the Triton image: `python -m deploy.images.encodes` ends with 0 where it encodes a text.

Triton says that it is ready after its model's process has died (docs/operations.md), so a text is encoded, and a model
of learned interests, where one is served, is asked about somebody without a history.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from encoders.contract import MODEL_NAME
from encoders.histories import Histories
from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError, InterestsError
from streams.encoder.breaker import Breaker
from streams.encoder.interest_client import TritonInterests
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


async def ask_interests(url: str, encoder_id: str, within_s: float, tls: TlsFiles | None = None) -> str:
    """The id of the model of learned interests at `url` once it has answered; empty where there is none for us.

    One of another text encoder is none for us. Raises RetryableError where it does not answer.
    """
    never = Breaker(failures=1_000_000)
    client = TritonInterests(url, encoder_id=encoder_id, deadline_s=within_s, breaker=never, tls=tls)
    try:
        if not await client.ready():
            return ""
        served = await client.info()
        await client.answers(Histories.empty(1, served.history, served.dim))
    except ConfigurationError:
        return ""
    finally:
        await client.close()
    return served.model_id


async def check(url: str, within_s: float, tls: TlsFiles | None = None) -> str:
    """The ids of what answers at `url`. Raises InterestsError where one of the models does not."""
    encoder_id = await encode(url, within_s, tls)
    return " ".join(filter(None, [encoder_id, await ask_interests(url, encoder_id, within_s, tls)]))


def main() -> None:
    """Print the ids of the models, or what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images.encodes", description="Encode a text on Triton.")
    parser.add_argument("--url", default="127.0.0.1:8001", help="its gRPC address")
    parser.add_argument("--within", type=float, default=8.0, help="seconds")
    parser.add_argument("--ca-file", type=Path, help="who signed its certificate, where it uses TLS")
    asked = parser.parse_args()
    try:
        tls = TlsFiles("triton", ca_file=asked.ca_file) if asked.ca_file else None
        print(asyncio.run(check(asked.url, asked.within, tls)))
    except InterestsError as error:
        print(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
