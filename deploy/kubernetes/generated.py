"""The files of the chart and its examples that are made from the code and from other files of the repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # it ships no types

from deploy.kubernetes.values_schema import values_schema
from streams.settings.servers import KafkaSettings
from streams.settings.wiring import topic_specs

FOLDER: Final = Path(__file__).resolve().parent
CHART: Final = FOLDER / "interest-streams"
EXAMPLES: Final = FOLDER / "examples"
#: Folders of the chart that hold copies and nothing else, by the folder they are copied from.
COPIED: Final = {
    CHART / "files" / "rules": (FOLDER.parent / "prometheus" / "rules", "*.yml"),
    CHART / "files" / "dashboards": (FOLDER.parent / "grafana" / "dashboards", "*.json"),
}
EXAMPLE_KAFKA: Final = KafkaSettings(partitions=24, replication=3)
"""The topics of the examples: 24 partitions of three copies."""
CLUSTER: Final = "interests"
_HEAD: Final = "# Made by `python -m deploy.kubernetes` from what `interests topics create` makes.\n"


def generated() -> dict[Path, str]:
    """Every file that is made, with its text."""
    files = {
        CHART / "values.schema.json": json.dumps(values_schema(), indent=1) + "\n",
        EXAMPLES / "strimzi-topics.yaml": _HEAD + yaml.safe_dump_all(kafka_topics(), sort_keys=False),
    }
    for folder, (source, pattern) in COPIED.items():
        files |= {folder / file.name: file.read_text(encoding="utf-8") for file in sorted(source.glob(pattern))}
    return files


def stale() -> Iterator[Path]:
    """Copies of files that are gone."""
    made = generated()
    for folder, (_, pattern) in COPIED.items():
        yield from (file for file in folder.glob(pattern) if file not in made)


def kafka_topics() -> Iterator[dict[str, Any]]:
    """Strimzi's KafkaTopic for every topic of the service, as `interests topics create` makes it."""
    for spec in topic_specs(EXAMPLE_KAFKA):
        config: dict[str, Any] = {key: int(v) if v.isdigit() else v for key, v in spec.config.items()}
        yield {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": spec.name, "labels": {"strimzi.io/cluster": CLUSTER}},
            "spec": {
                "partitions": spec.partitions, "replicas": spec.replication,
                **({"config": config} if config else {}),
            },
        }  # fmt: skip
