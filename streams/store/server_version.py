"""Which Qdrant this is, and whether it holds what we ask of it."""

from __future__ import annotations

import re
from typing import Final

import structlog

from streams.base.errors import ConfigurationError
from streams.store.collections_client import CollectionsClient
from streams.store.connection import QdrantConfig, guarded

log = structlog.get_logger(__name__)

#: The first with conditional upserts (`update_filter`), which the fence is made of.
WITH_FENCE: Final = (1, 16)
#: The first whose log holds the ids that a condition or a filter chose. Before it a crash may bring deleted points back
#: (https://github.com/qdrant/qdrant/issues/9575).
REPLAYS_IDS: Final = (1, 19)


def fault_of(version: str) -> str:
    """What is wrong with a server's version; "" where nothing is, or where it is no version."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is None:
        return ""
    number = int(found[1]), int(found[2])
    if number < WITH_FENCE:
        return f"Qdrant {version} has no conditional upserts, so a fence cannot hold"
    if number < REPLAYS_IDS:
        return f"Qdrant {version} may bring deleted points back when it replays its log after a crash (issue 9575)"
    return ""


def is_fatal(version: str) -> bool:
    """Whether no setting lets the server through."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) < WITH_FENCE


async def check_version(client: CollectionsClient, config: QdrantConfig) -> str:
    """The server's version. ConfigurationError where it is too old; with `old_servers` "warn" a line in the log."""
    version = await guarded(client.version(), "asking for the version")
    fault = fault_of(version)
    if fault and (config.old_servers == "refuse" or is_fatal(version)):
        allow = "" if is_fatal(version) else ", or set qdrant.old_servers to warn"
        raise ConfigurationError(f"{fault}: upgrade it to {least()} or newer{allow}")
    if fault:
        log.warning("old_qdrant", version=version, reason=fault)
    return version


def least() -> str:
    """The least version that is let through without a word."""
    return ".".join(map(str, REPLAYS_IDS))
