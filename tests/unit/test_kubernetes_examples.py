"""The examples: Strimzi's Kafka, topics and users as the service needs them, and the values of other charts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema
import pytest
import yaml

from deploy.kubernetes.generated import CHART, EXAMPLES, FOLDER
from streams.settings.servers import KafkaSettings, QdrantSettings
from streams.settings.wiring import topic_specs
from tests.fixtures.helm import example
from tests.fixtures.secure_kafka import CLUSTER, GROUP, OPERATIONS, TOPIC, documented_acls, entries

PRODUCTION: Final = example("values-production.yaml")
OPERATION: Final = {number: name for name, number in OPERATIONS.items()}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["strimzi-kafka.yaml", "strimzi-topics.yaml", "strimzi-users.yaml"])
def test_strimzi_would_take_it(name: str) -> None:
    for document in documents(name):
        schema = json.loads((FOLDER / "schemas" / f"{document['kind']}.json").read_text(encoding="utf-8"))
        jsonschema.validate(document, schema)
        cluster = document["metadata"].get("labels", {}).get("strimzi.io/cluster", document["metadata"]["name"])
        assert cluster == "interests"


def test_every_schema_says_where_it_is_from_and_knows_what_it_does_not_know() -> None:
    files = list((FOLDER / "schemas").glob("*.json"))
    assert len(files) == 9
    for file in files:
        schema = json.loads(file.read_text(encoding="utf-8"))
        assert "(npm)" in schema["$comment"] or "strimzi" in schema["$comment"]
        kind = {"apiVersion": schema["properties"]["apiVersion"], "kind": schema["properties"]["kind"]}
        unknown = {key: one.get("const") or one["enum"][0] for key, one in kind.items()}
        with pytest.raises(jsonschema.ValidationError, match="sepc"):
            jsonschema.validate({**unknown, "metadata": {"name": "x"}, "sepc": {}}, schema)


def test_topics_are_those_that_the_command_makes() -> None:
    kafka = KafkaSettings(partitions=PRODUCTION["config"]["kafka"]["partitions"], replication=3)
    made = {spec.name: (spec.partitions, spec.replication, dict(spec.config)) for spec in topic_specs(kafka)}
    written = {
        document["metadata"]["name"]: (
            document["spec"]["partitions"],
            document["spec"]["replicas"],
            {key: str(value) for key, value in document["spec"].get("config", {}).items()},
        )
        for document in documents("strimzi-topics.yaml")
    }
    assert written == made


def test_users_may_do_what_the_access_lists_of_the_documents_say() -> None:
    documented = {
        (principal, {TOPIC: "topic", GROUP: "group", CLUSTER: "cluster"}[kind], name, OPERATION[operation])
        for command in documented_acls()
        for kind, name, _, principal, _, operation, _ in entries(command)
    }
    assert set(_written_acls()) == documented


def _written_acls() -> Iterator[tuple[str, str, str, str]]:
    for document in documents("strimzi-users.yaml"):
        assert document["spec"]["authentication"] == {"type": "scram-sha-512"}
        for entry in document["spec"]["authorization"]["acls"]:
            resource = entry["resource"]
            for operation in entry["operations"]:
                name = resource.get("name", "kafka-cluster")
                yield f"User:{document['metadata']['name']}", resource["type"], name, operation


def test_the_charts_values_fit_the_cluster_and_its_users() -> None:
    pool, kafka = documents("strimzi-kafka.yaml")
    config = PRODUCTION["config"]["kafka"]
    (listener,) = kafka["spec"]["kafka"]["listeners"]
    assert config["brokers"] == f"{kafka['metadata']['name']}-kafka-bootstrap:{listener['port']}"
    assert (config["security_protocol"], listener["tls"]) == ("SASL_SSL", True)
    assert listener["authentication"]["type"].upper() == KafkaSettings().sasl_mechanism
    assert PRODUCTION["secrets"]["kafka"]["ca"] == {"secret": "interests-cluster-ca-cert", "key": "ca.crt"}
    users = {document["metadata"]["name"] for document in documents("strimzi-users.yaml")}
    for name, user in PRODUCTION["secrets"]["kafka"].items():
        if name != "ca":
            assert user["username"] in users
            assert user["password"] == {"secret": user["username"]}
    settings = kafka["spec"]["kafka"]["config"]
    assert settings["min.insync.replicas"] < settings["default.replication.factor"] <= pool["spec"]["replicas"]
    chart = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert chart["config"]["kafka"]["replication"] == pool["spec"]["replicas"]


def test_qdrants_values_hold_no_key_and_fit_the_charts() -> None:
    (qdrant,) = documents("qdrant-values.yaml")
    (variable,) = qdrant["env"]
    assert variable["name"] == "QDRANT__SERVICE__API_KEY"
    reference = variable["valueFrom"]["secretKeyRef"]
    assert PRODUCTION["secrets"]["qdrant"]["apiKey"] == {"secret": reference["name"], "key": reference["key"]}
    assert "apiKey" not in qdrant
    assert PRODUCTION["config"]["qdrant"]["https"] is qdrant["config"]["service"]["enable_tls"] is True
    (volume,) = qdrant["additionalVolumes"]
    assert volume["secret"]["secretName"] == PRODUCTION["secrets"]["qdrant"]["ca"]["secret"]
    major, minor = qdrant["image"]["tag"].removeprefix("v").split(".")[:2]
    assert (int(major), int(minor)) >= (1, 19)
    placed = QdrantSettings(
        **{name: PRODUCTION["config"]["qdrant"][name] for name in ("shard_number", "replication_factor")}
    )
    assert placed.shard_number == 2 * qdrant["replicaCount"]
    assert placed.placement.write_consistency_factor < placed.replication_factor <= qdrant["replicaCount"]
