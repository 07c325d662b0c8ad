"""Connections of short commands: a few seconds for a server to answer, and its address in what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from streams.base.errors import BrokerUnavailable, EncoderUnavailable, RetryableError, StoreUnavailable

if TYPE_CHECKING:
    from streams.broker.admin import Admin
    from streams.broker.config import KafkaConfig
    from streams.broker.producer import Producer
    from streams.encoder.client import TritonEncoder
    from streams.encoder.interest_client import TritonInterests
    from streams.settings.service import Settings
    from streams.store.placing import CollectionMaker
    from streams.store.survey import Surveyor

ANSWER_WITHIN_S = 10.0
"""How long a command waits for a server, where the settings do not ask for less."""

_KINDS = (BrokerUnavailable, EncoderUnavailable, StoreUnavailable)


def quick(config: KafkaConfig, deadline_s: float) -> KafkaConfig:
    """The same connection, giving up after `deadline_s` seconds at the latest."""
    limit_s = min(deadline_s, config.request_timeout_s)
    session_s = min(config.session_timeout_s, limit_s)
    return replace(
        config,
        request_timeout_s=limit_s,
        session_timeout_s=session_s,
        heartbeat_s=min(config.heartbeat_s, session_s / 4),
    )


@contextmanager
def named(server: str) -> Iterator[None]:
    """Put the server's name and address before what a RetryableError says."""
    try:
        yield
    except RetryableError as error:
        kind = next((kind for kind in _KINDS if isinstance(error, kind)), RetryableError)
        raise kind(f"{server}: {error}", retry_after_s=error.retry_after_s) from error


@asynccontextmanager
async def admin_of(settings: Settings, deadline_s: float = ANSWER_WITHIN_S) -> AsyncIterator[Admin]:
    """An admin connection to Kafka."""
    from streams.broker.admin import Admin
    from streams.settings.wiring import kafka_config

    with named(f"Kafka at {settings.kafka.brokers}"):
        async with Admin(quick(kafka_config(settings.kafka), deadline_s)) as admin:
            yield admin


@asynccontextmanager
async def producer_of(settings: Settings, deadline_s: float | None = None) -> AsyncIterator[Producer]:
    """A producer; `deadline_s` (by default the settings' own) bounds connecting and one batch."""
    from streams.broker.producer import Producer
    from streams.settings.wiring import kafka_config

    config = kafka_config(settings.kafka)
    if deadline_s is not None:
        config = replace(config, producer_timeout_s=min(deadline_s, config.producer_timeout_s))
    with named(f"Kafka at {settings.kafka.brokers}"):
        async with Producer(config) as producer:
            yield producer


@asynccontextmanager
async def surveyor_of(settings: Settings, deadline_s: float = ANSWER_WITHIN_S) -> AsyncIterator[Surveyor]:
    """A read-only connection to Qdrant."""
    from streams.settings.wiring import qdrant_config
    from streams.store.survey import Surveyor

    config = qdrant_config(settings)
    surveyor = Surveyor(replace(config, deadline_s=min(deadline_s, config.deadline_s)))
    with named(f"Qdrant at {config.address}"):
        try:
            yield surveyor
        finally:
            await surveyor.close()


@asynccontextmanager
async def maker_of(settings: Settings) -> AsyncIterator[CollectionMaker]:
    """A connection to Qdrant that makes collections."""
    from streams.settings.wiring import qdrant_config
    from streams.store.placing import CollectionMaker

    config = qdrant_config(settings)
    maker = CollectionMaker(config)
    with named(f"Qdrant at {config.address}"):
        try:
            yield maker
        finally:
            await maker.close()


@asynccontextmanager
async def encoder_of(settings: Settings, deadline_s: float | None = None) -> AsyncIterator[TritonEncoder]:
    """A client of Triton; `deadline_s` (by default the settings' own) bounds one batch of texts."""
    from streams.settings.wiring import triton_encoder

    encoder = triton_encoder(settings.triton, deadline_s=deadline_s)
    with named(f"Triton at {settings.triton.url}"):
        try:
            yield encoder
        finally:
            await encoder.close()


@asynccontextmanager
async def interests_of(
    settings: Settings, encoder_id: str, deadline_s: float | None = None
) -> AsyncIterator[TritonInterests | None]:
    """A client of the model of learned interests for vectors of a text encoder; None where no model is set."""
    from streams.settings.wiring import interest_client

    client = interest_client(settings, encoder_id, deadline_s=deadline_s)
    with named(f"Triton at {settings.triton.url}"):
        try:
            yield client
        finally:
            if client is not None:
                await client.close()
