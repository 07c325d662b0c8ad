"""Every setting, read once at the edge and passed down. Nothing else reads the environment.

Environment variables are `INTERESTS_<SECTION>__<NAME>`; a TOML file named by `INTERESTS_CONFIG` (or
`interests.toml` here) comes under them. `docs/settings.md` is written from what is declared here, in
`servers.py`, `policies.py`, `learning.py` and `learned.py`.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from streams.base.errors import ConfigurationError
from streams.base.jobs import Job
from streams.settings.learned import LearnedSettings
from streams.settings.learning import LearningSettings
from streams.settings.policies import (
    NodeSettings,
    PopulationSettings,
    RankingSettings,
    Section,
    UnresolvedSettings,
    WeightSettings,
)
from streams.settings.servers import KafkaSettings, QdrantSettings, TritonSettings, Url, Urls

if TYPE_CHECKING:
    from streams.concepts.tree import ConceptTree


class WorkerSettings(Section):
    """Batches, caches and the watch over the worker."""

    batch_records: int = Field(8000, ge=1, description="Records per batch, at most.")
    batch_within_s: float = Field(2.0, gt=0, description="Batches are kept so small that one takes about so long.")
    batch_bytes: int = Field(4 << 20, ge=1 << 10, description="Bytes of records per batch, at most.")
    together_linger_s: float = Field(
        5.0, ge=0, description="How long pairs of items are gathered, so that many of an item become one write."
    )
    batch_linger_ms: float = Field(20.0, ge=0, description="How long a batch that is not full waits for more.")
    nodes_cache_mib: int = Field(256, ge=1, description="Memory of the cache of nodes.")
    items_cache_mib: int = Field(128, ge=1, description="Memory of the cache of item vectors.")
    items_ttl_s: float = Field(300.0, gt=0, description="How long another worker's change to an item may go unseen.")
    sweep_every_s: float = Field(3600.0, ge=0, description="Seconds between deletions of expired nodes; 0: never.")
    stuck_after_s: float = Field(
        120.0,
        gt=0,
        description="With records waiting and no commit for so long a worker exits with 1; not live from 3/4 of it on.",
    )
    loop_stuck_after_s: float = Field(
        30.0, gt=0, description="With its event loop silent for so long a worker is not live (/healthz)."
    )
    unanswered_after_s: float = Field(
        10.0, gt=0, description="With a server silent for so long a worker is not ready (/readyz); asked every 2 s."
    )
    reload_every_s: float = Field(
        5.0,
        ge=0,
        description="How often `concepts.file` and the `weights` of the settings' file are looked at: what has changed "
        "counts from the next batch on. 0: only at start.",
    )
    crash_budget: int = Field(
        20,
        ge=1,
        le=50,  # as many places as a mark keeps (`worker.crashes`): what it forgets would be tried again
        description="Records that crash a worker and may be set aside within ten minutes before it ends with 1.",
    )
    metrics_host: str = Field("127.0.0.1", description="Where /metrics, /healthz and /readyz are served.")
    metrics_port: int = Field(9108, ge=0, le=65535, description="Their port; 0: any free one.")


class ConceptSettings(Section):
    """The concept tree."""

    file: Path | None = Field(None, description="A tree made by a builder; unset: the built-in taxonomy.")
    confidence: float | None = Field(
        None, ge=0, le=1, description="Under this probability of its topic an item gets no path; unset: the tree's own."
    )
    interest_confidence: float | None = Field(
        None, ge=0, le=1, description="Under this one it gets its topic and no interest; unset: the tree's own."
    )

    def with_floors(self, tree: ConceptTree) -> ConceptTree:
        """A tree with the floors that are set here."""
        wanted = {"confidence": self.confidence, "interest_confidence": self.interest_confidence}
        given = {name: floor for name, floor in wanted.items() if floor is not None}
        return tree.with_floors(replace(tree.floors, **given)) if given else tree


class ClientSettings(Section):
    """Where the commands that ask the API find it."""

    url: str = Field("http://127.0.0.1:8080", description="Address of the API.")
    key: SecretStr | None = Field(None, description="API key or JWT, where the API asks for one.")
    key_file: Path | None = Field(None, description="A file with the key or JWT, instead of `client.key`.")
    deadline_s: float = Field(10.0, gt=0, description="How long a command waits for an answer, retries included.")


class ApiSettings(Section):
    """The HTTP API."""

    host: str = Field("127.0.0.1", description="Address it listens on; any but loopback needs keys.")
    port: int = Field(8080, ge=0, le=65535, description="Its port; 0: any free one.")
    deadline_s: float = Field(5.0, gt=0, description="Deadline of a request, not of streams or probes; past it 504.")
    encode_deadline_s: float = Field(3.0, gt=0, description="How long a request waits for Triton; past it 503.")
    max_body_bytes: int = Field(2 << 20, ge=1 << 10, description="Largest request body.")
    keys_file: Path | None = Field(
        None,
        description="API keys, one `name:scope,scope:sha256` per line (`interests api key`); read again when changed.",
    )
    keys: SecretStr | None = Field(None, description="The same lines, parted by spaces or line ends.")
    jwt_secret_file: Path | None = Field(
        None, description="Secret of JSON web tokens signed with HS256; read again when changed."
    )
    jwt_public_key_file: Path | None = Field(
        None, description="Public key (PEM) of JSON web tokens signed with RS256 or ES256; read again when changed."
    )
    jwt_issuer: str | None = Field(None, description="Issuer a token must name.")
    jwt_audience: str | None = Field(
        None, description="Audience a token must name; required with a token's key, since issuers serve many."
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may call; none unless set.")
    hosts: tuple[str, ...] = Field(
        (),
        description="Names by which callers reach it (a container's, a proxy's), without a port. Without keys these "
        "and loopback's names are taken in the header Host; with keys, where any is set, only these.",
    )
    rate: str = Field("6000/minute", description="Requests per key, or per address without keys; empty: no limit.")
    cards_cache_mib: int = Field(64, ge=1, description="Memory of the cache of items' cards and vectors.")
    cards_ttl_s: float = Field(
        300.0, gt=0, description="How long a change to an item may go unseen where the broker is away."
    )
    candidates: int = Field(200, ge=10, le=2000, description="Items that recommendations are chosen from, about.")
    erase_wait_s: float = Field(
        4.0, gt=0, description="How long an erasure waits for its effect before it answers 202."
    )
    connections: int = Field(
        1000,
        ge=10,
        description="Connections per process, at most; fewer where the hard limit on open files is lower.",
    )
    live_streams: int = Field(200, ge=1, description="Live streams per process, at most; fewer than `connections`.")
    live_share: float = Field(
        0.25, gt=0, le=1, description="Share of them that one key or one token's subject may hold; past it 429."
    )
    prometheus_url: Url | None = Field(
        None,
        description="Prometheus that the dashboards ask; user and password may stand in it. No request changes it.",
    )
    prometheus_token_file: Path | None = Field(
        None, description="File whose first line is a bearer token for that Prometheus."
    )
    metrics_urls: dict[Job, Urls] = Field(
        {},
        description="Without a Prometheus: pages of metrics that the API scrapes for the dashboards, by job (`worker`, "
        "`learner`, `api`, `triton`, `qdrant`), several of a job parted by commas. Unless `api` is named it reads its "
        "own. No request changes them.",
    )
    scrape_every_s: float = Field(
        15.0, ge=1, le=300, description="Seconds between scrapes: those of Prometheus, or this API's own."
    )
    runbook_url: Url | None = Field(
        None, description="Where you serve docs/operations.md; the dashboards link to its entries there."
    )


class PrivacySettings(Section):
    """What is kept of users' ids and texts; see SECURITY.md."""

    user_id_key_file: Path | None = Field(
        None, description="File whose first line is a secret of 32 bytes or more: users are kept under pseudonyms."
    )
    dead_letter_bodies: Literal["keep", "drop", "seal"] = Field(
        "keep", description="Whether a dead letter carries its record, nothing of it, or the record encrypted."
    )
    dead_letter_key_file: Path | None = Field(
        None, description="Public key that dead letters are sealed to (`interests dead-letters keys` makes a pair)."
    )


class LogSettings(Section):
    """Logging."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    form: Literal["console", "json"] = Field("console", description="Lines for people, or one JSON object per line.")


class TracingSettings(Section):
    """Traces of batches and events; off unless an endpoint is set."""

    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="OTLP/HTTP collector, such as http://127.0.0.1:4318/v1/traces."
    )
    sample: float = Field(1.0, ge=0, le=1, description="Share of batches traced; events follow their producers.")
    service: str = Field("interest-streams", min_length=1, description="Name of this service in traces.")


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix="INTERESTS_", env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    kafka: KafkaSettings = KafkaSettings()
    triton: TritonSettings = TritonSettings()
    qdrant: QdrantSettings = QdrantSettings()
    nodes: NodeSettings = NodeSettings()
    weights: WeightSettings = WeightSettings()
    unresolved: UnresolvedSettings = UnresolvedSettings()
    worker: WorkerSettings = WorkerSettings()
    ranking: RankingSettings = RankingSettings()
    learning: LearningSettings = LearningSettings()
    learned: LearnedSettings = LearnedSettings()
    population: PopulationSettings = PopulationSettings()
    concepts: ConceptSettings = ConceptSettings()
    api: ApiSettings = ApiSettings()
    client: ClientSettings = ClientSettings()
    log: LogSettings = LogSettings()
    privacy: PrivacySettings = PrivacySettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource, dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:  # fmt: skip
        """Arguments over the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())


def config_file() -> Path:
    """The file of settings, whether it is there or not."""
    return Path(os.environ.get("INTERESTS_CONFIG", "interests.toml"))


def load(**overrides: Any) -> Settings:
    """Read the settings; what does not fit is a ConfigurationError that names the setting, never its value."""
    named = os.environ.get("INTERESTS_CONFIG")
    if named and not Path(named).is_file():
        raise ConfigurationError(f"INTERESTS_CONFIG names {named}, which is not a file")
    for name, value in os.environ.items():
        if name.upper().startswith("INTERESTS_") and any("\udc80" <= char <= "\udcff" for char in value):
            raise ConfigurationError(f"{name}: expected UTF-8 text")
    try:
        return Settings(**overrides)
    except (SettingsError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise ConfigurationError(_unreadable(error)) from None
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)]
        raise ConfigurationError("\n".join(["these settings do not fit:", *lines])) from None


def _unreadable(error: Exception) -> str:
    """Where the settings cannot be read at all: the file or the variable, line and column, never a value."""
    if isinstance(error, SettingsError):
        for name, value in os.environ.items():
            if name.upper().startswith("INTERESTS_") and value.lstrip()[:1] in {"[", "{", '"'}:
                try:
                    json.loads(value)
                except json.JSONDecodeError as wrong:
                    return f"{name}: no JSON at line {wrong.lineno}, column {wrong.colno}: {wrong.msg}"
                except RecursionError:
                    return f"{name}: its JSON is nested too deep"
        return f"{error}: expected JSON"
    file = config_file()
    if isinstance(error, OSError):
        return f"{file}: {error.strerror}; name a readable file"
    if isinstance(error, UnicodeDecodeError):
        return f"{file}: not UTF-8 at byte {error.start}"
    return f"{file}: {error}" if isinstance(error, tomllib.TOMLDecodeError) else f"{file}: it is nested too deep"
