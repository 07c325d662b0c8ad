"""`interests collections create` against the embedded engine, and the doctor's look at what it made."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from streams.commands.cli import app
from streams.commands.connections import surveyor_of
from streams.settings.service import Settings
from streams.store.collections import CONTROL, indexes_of
from streams.store.survey import Survey
from tests.fixtures.path import environment
from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration


def settings_for(server: QdrantServer, **more: Any) -> Settings:
    qdrant = {"host": server.host, "grpc_port": server.grpc_port, "http_port": server.http_port, **more}
    return Settings(qdrant=qdrant)  # type: ignore[arg-type]  # pydantic reads dictionaries


def call(settings: Settings, *arguments: str) -> Result:
    env = {"COLUMNS": "160", "NO_COLOR": "1", **environment(settings)}
    result = CliRunner().invoke(app, ["collections", "create", *arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def surveyed(settings: Settings) -> Survey:
    async def look() -> Survey:
        async with surveyor_of(settings) as surveyor:
            return await surveyor.survey()

    return asyncio.run(look())


def test_collections_are_made_once_and_a_dry_run_makes_none(qdrant: QdrantServer) -> None:
    settings, encoder = settings_for(qdrant), uuid.uuid4().hex
    of_encoder = ("--encoder-id", encoder, "--dim", "8")
    mine = {f"{kind}__{encoder}" for kind in ("interests", "items", "population")}
    dry = call(settings, *of_encoder, "--dry-run")
    assert dry.exit_code == 0
    assert dry.output.count("would be made") >= len(mine)
    assert "nothing was made" in dry.output
    assert not mine & surveyed(settings).collections.keys()
    first, second = call(settings, *of_encoder), call(settings, *of_encoder)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.output.count("created") >= len(mine)
    assert second.output.count("created") == 0
    made = surveyed(settings)
    assert mine <= made.collections.keys()
    for name in mine:
        assert (made.collections[name].dim, made.collections[name].points) == (8, 0)
        assert made.collections[name].indexed >= indexes_of(name).keys()
        assert made.collections[name].not_active == ()
    assert made.collections[CONTROL].dim == 1
    assert {"interests", "items"} <= made.aliases.keys()


def test_what_lies_otherwise_is_told_with_what_to_do(qdrant: QdrantServer) -> None:
    encoder = uuid.uuid4().hex
    asked = settings_for(qdrant, shard_number=4, replication_factor=3)
    told = call(asked, "--encoder-id", encoder, "--dim", "8")  # this engine keeps one shard
    assert told.exit_code == 0
    said = " ".join(told.output.split())
    assert "created, differs" in said
    assert f"interests__{encoder}: 1 shards, settings ask for 4" in said
    assert f"PATCH /collections/interests__{encoder} with params.write_consistency_factor" in said


def test_an_encoder_of_another_size_ends_with_two(qdrant: QdrantServer) -> None:
    settings, encoder = settings_for(qdrant), uuid.uuid4().hex
    assert call(settings, "--encoder-id", encoder, "--dim", "8").exit_code == 0
    wrong = call(settings, "--encoder-id", encoder, "--dim", "9")
    assert wrong.exit_code == 2
    assert "8 dimensions, the encoder makes 9" in wrong.output
    assert call(settings, "--encoder-id", encoder).exit_code == 2


def test_a_qdrant_that_is_away_ends_with_one() -> None:
    away = Settings(qdrant={"grpc_port": 9, "deadline_s": 1.0})  # type: ignore[arg-type]
    gone = call(away, "--encoder-id", "e", "--dim", "8")
    assert gone.exit_code == 1
    assert "Qdrant at 127.0.0.1:9" in gone.output
