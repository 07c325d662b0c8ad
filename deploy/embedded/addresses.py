"""Where the parts of a stack answer, and the settings and environment variables that carry that to others."""

from __future__ import annotations

import json
from typing import Any

from deploy.embedded.ports import HOST, Ports
from encoders.interest_contract import MODEL_NAME
from streams.broker.config import BrokerImplementation
from streams.settings.service import Settings, load

#: The embedded broker makes the first member of a group wait for half its session time-out, and a worker that comes
#: after a killed one waits for all of it.
SESSION_TIMEOUT_S = 6.0
#: As deploy/prometheus/prometheus.yml has it.
SCRAPE_EVERY_S = 5.0


def addresses_of(ports: Ports, *, prometheus: bool) -> dict[str, str]:
    """The address of each part, by the name that people read; that of Prometheus where it runs."""
    addresses = {
        "Kafka": f"{HOST}:{ports.broker}",
        "Triton (gRPC)": f"{HOST}:{ports.triton_grpc}",
        "Triton (HTTP)": f"http://{HOST}:{ports.triton_http}",
        "Triton (metrics)": triton_metrics_url(ports),
        "Qdrant (gRPC)": f"{HOST}:{ports.qdrant_grpc}",
        "Qdrant (REST)": f"http://{HOST}:{ports.qdrant_http}",
        "Worker (metrics)": worker_metrics_url(ports),
        "Learner (metrics)": learner_metrics_url(ports),
        "API": api_url(ports),
        "Page": f"{api_url(ports)}/ui",
        "Dashboards": f"{api_url(ports)}/dashboard",
    }
    if prometheus:
        addresses["Prometheus"] = prometheus_url(ports)
    return addresses


def worker_metrics_url(ports: Ports) -> str:
    """Where the worker serves its metrics."""
    return f"http://{HOST}:{ports.worker_metrics}/metrics"


def learner_metrics_url(ports: Ports) -> str:
    """Where the learner serves its metrics."""
    return f"http://{HOST}:{ports.learner_metrics}/metrics"


def triton_metrics_url(ports: Ports) -> str:
    """Where Triton serves its metrics."""
    return f"http://{HOST}:{ports.triton_metrics}/metrics"


def prometheus_url(ports: Ports) -> str:
    """Where Prometheus answers, where it runs."""
    return f"http://{HOST}:{ports.prometheus}"


def api_url(ports: Ports) -> str:
    """Where the HTTP API answers."""
    return f"http://{HOST}:{ports.api}"


def settings_for(
    ports: Ports, broker: BrokerImplementation = "tansu", *, prometheus: bool = False, interest_model: bool = False
) -> Settings:  # fmt: skip
    """The user's settings with the addresses of a stack on these ports, whose broker is of this kind.

    The dashboards ask its Prometheus where it has one, and else what the API scrapes itself. With `interest_model` its
    Triton serves a model of learned interests, which is asked.
    """
    own = load()
    kafka: dict[str, Any] = {"brokers": f"{HOST}:{ports.broker}", "implementation": broker, "replication": 1}
    if "session_timeout_s" not in own.kafka.model_fields_set:
        kafka["session_timeout_s"] = SESSION_TIMEOUT_S
    return load(
        kafka=kafka,
        triton={"url": f"{HOST}:{ports.triton_grpc}"},
        qdrant={"host": HOST, "grpc_port": ports.qdrant_grpc, "http_port": ports.qdrant_http, "https": False},
        worker={"metrics_host": HOST, "metrics_port": ports.worker_metrics},
        learning={"metrics_host": HOST, "metrics_port": ports.learner_metrics},
        api={
            "host": HOST, "port": ports.api, "metrics_urls": _metrics_urls(ports), "scrape_every_s": SCRAPE_EVERY_S,
            **({"prometheus_url": prometheus_url(ports)} if prometheus else {}),
        },
        client={"url": api_url(ports)},
        **({"learned": {"model": MODEL_NAME}} if interest_model else {}),
    )  # fmt: skip


def _metrics_urls(ports: Ports) -> dict[str, str]:
    """What the API would scrape; itself it need not ask."""
    return {
        "worker": worker_metrics_url(ports),
        "learner": learner_metrics_url(ports),
        "triton": triton_metrics_url(ports),
        "qdrant": f"http://{HOST}:{ports.qdrant_http}/metrics",
    }


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables that carry a stack's addresses to other processes."""
    qdrant, concepts, api = settings.qdrant, settings.concepts, settings.api
    return {
        "INTERESTS_KAFKA__BROKERS": settings.kafka.brokers,
        "INTERESTS_KAFKA__IMPLEMENTATION": settings.kafka.implementation,
        "INTERESTS_KAFKA__SESSION_TIMEOUT_S": f"{settings.kafka.session_timeout_s:g}",
        "INTERESTS_TRITON__URL": settings.triton.url,
        "INTERESTS_QDRANT__HOST": qdrant.host,
        "INTERESTS_QDRANT__GRPC_PORT": str(qdrant.grpc_port),
        "INTERESTS_QDRANT__HTTP_PORT": str(qdrant.http_port),
        "INTERESTS_QDRANT__HTTPS": "false",
        "INTERESTS_WORKER__METRICS_HOST": settings.worker.metrics_host,
        "INTERESTS_WORKER__METRICS_PORT": str(settings.worker.metrics_port),
        "INTERESTS_LEARNING__METRICS_HOST": settings.learning.metrics_host,
        "INTERESTS_LEARNING__METRICS_PORT": str(settings.learning.metrics_port),
        "INTERESTS_API__HOST": api.host,
        "INTERESTS_API__PORT": str(api.port),
        "INTERESTS_API__METRICS_URLS": json.dumps(api.metrics_urls),
        "INTERESTS_API__SCRAPE_EVERY_S": f"{api.scrape_every_s:g}",
        **({"INTERESTS_API__PROMETHEUS_URL": api.prometheus_url} if api.prometheus_url else {}),
        "INTERESTS_CLIENT__URL": settings.client.url,
        **({"INTERESTS_LEARNED__MODEL": settings.learned.model} if settings.learned.model else {}),
        **({"INTERESTS_CONCEPTS__FILE": str(concepts.file)} if concepts.file else {}),
    }
