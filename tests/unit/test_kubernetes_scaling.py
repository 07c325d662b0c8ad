"""How the chart scales, stops, is reached and is installed: by the code's own bounds, ports and topics."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.kubernetes.generated import FOLDER
from streams.api import server as api_server
from streams.broker import lifecycle, producer
from streams.broker.config import KafkaConfig
from streams.learner import run as learner
from streams.settings.service import load
from tests.fixtures.helm import (
    MINIMAL,
    PRODUCTION,
    SETS,
    Document,
    Values,
    changed,
    each_set,
    named,
    needs_helm,
    of_kind,
    pods,
    rendered,
)

pytestmark = needs_helm


@each_set
def test_workers_are_at_most_as_many_as_partitions(values: Values) -> None:
    documents = rendered(values)
    deployment = named(documents, "Deployment", "-worker")
    partitions = values["config"]["kafka"]["partitions"]
    scaled = of_kind(documents, "ScaledObject")
    if scaled:
        assert scaled[0]["spec"]["maxReplicaCount"] == partitions
        assert scaled[0]["spec"]["minReplicaCount"] >= 1
        assert "replicas" not in deployment["spec"]
    else:
        assert deployment["spec"]["replicas"] <= partitions


def test_one_learner_and_never_two() -> None:
    spec = named(rendered(MINIMAL), "Deployment", "-learner")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_api_is_scaled_by_one_thing() -> None:
    assert "replicas" not in named(rendered(MINIMAL), "Deployment", "-api")["spec"]
    fixed = rendered(SETS["without KEDA"])
    assert named(fixed, "Deployment", "-api")["spec"]["replicas"] == 2
    assert not of_kind(fixed, "HorizontalPodAutoscaler", "ScaledObject")


def test_kedas_lag_is_that_of_the_workers() -> None:
    for values in (MINIMAL, PRODUCTION):
        (scaled,) = of_kind(rendered(values), "ScaledObject")
        kafka = load().kafka
        triggers = [one["metadata"] for one in scaled["spec"]["triggers"]]
        assert [one["topic"] for one in triggers] == list(kafka.event_topics)
        for trigger in triggers:
            assert trigger["bootstrapServers"] == values["config"]["kafka"]["brokers"]
            assert trigger["consumerGroup"] == kafka.group
            # As a worker reads: else a partition without a committed offset is one record of lag, for ever.
            assert trigger["offsetResetPolicy"] == KafkaConfig.__dataclass_fields__["auto_offset_reset"].default
            for said in ("scaleToZeroOnInvalidOffset", "excludePersistentLag", "limitToPartitionsWithLag"):
                assert trigger[said] == "false"


@pytest.mark.parametrize(
    ("values", "sasl", "parameters"),
    [
        (MINIMAL, ("none", "disable"), None),
        (PRODUCTION, ("scram_sha512", "enable"), {"username", "password", "ca"}),
        (SETS["mutual TLS"], ("none", "enable"), {"ca", "cert", "key"}),
    ],
    ids=["plain", "scram", "mutual TLS"],
)
def test_keda_reaches_kafka_as_the_workers_do(
    values: Values, sasl: tuple[str, str], parameters: set[str] | None
) -> None:
    documents = rendered(values)
    (scaled,) = of_kind(documents, "ScaledObject")
    authentications = of_kind(documents, "TriggerAuthentication")
    for trigger in scaled["spec"]["triggers"]:
        assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == sasl
        assert ("authenticationRef" in trigger) is bool(parameters)
    assert bool(authentications) is bool(parameters)
    for one in authentications:
        assert {trigger["authenticationRef"]["name"] for trigger in scaled["spec"]["triggers"]} == {
            one["metadata"]["name"]
        }
        references = one["spec"].get("configMapTargetRef", []) + one["spec"]["secretTargetRef"]
        assert {reference["parameter"] for reference in references} == parameters
        for reference in one["spec"].get("configMapTargetRef", []):
            held = named(documents, "ConfigMap", reference["name"])["data"]
            assert held[reference["key"]] == values["secrets"]["kafka"]["keda"]["username"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (make tools)")
def test_prometheus_answers_with_the_lag_of_the_topic_that_is_most_behind(tmp_path: Path) -> None:
    values = changed(SETS["scaled by Prometheus"], config__kafka__event_topics=["clicks", "user.events"])
    (scaled,) = of_kind(rendered(values), "ScaledObject")
    lags = {
        ("a", "clicks", "0"): 100, ("b", "clicks", "0"): 90,  # it changes hands: both report it
        ("b", "clicks", "1"): 20, ("a", "user.events", "0"): 50, ("a", "items", "0"): 9_000,
        ("c", "userXevents", "0"): 9_000,
    }  # fmt: skip
    labels = 'job="worker",namespace="people"'
    series = [
        {
            "series": f'interests_lag_records{{{labels},pod="{pod}",topic="{topic}",partition="{number}"}}',
            "values": str(lag),
        }
        for (pod, topic, number), lag in lags.items()
    ]
    elsewhere = 'interests_lag_records{job="learner",namespace="people",topic="clicks",partition="0"}'
    asked = scaled["spec"]["triggers"][0]["metadata"]["query"]
    tests = {
        "rule_files": [], "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m", "input_series": [*series, {"series": elsewhere, "values": "7000"}],
            "promql_expr_test": [{"expr": asked, "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": 120}]}],
        }],
    }  # fmt: skip
    file = tmp_path / "lag.yml"
    file.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scales_by_the_lag_that_workers_report() -> None:
    values = changed(SETS["scaled by Prometheus"], config__kafka__event_topics=["clicks", "user.events"])
    (scaled,) = of_kind(rendered(values), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    assert (
        'interests_lag_records{ job="worker",namespace="people", topic=~"clicks|user\\\\.events"}'
        in (trigger["metadata"]["query"])
    )
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert trigger["authenticationRef"] == {"name": "prometheus"}


@pytest.mark.parametrize("deadline_s", [10, 45])
def test_a_worker_has_longer_to_stop_than_it_takes(deadline_s: int) -> None:
    values = changed(MINIMAL, config__qdrant__deadline_s=deadline_s)
    spec = named(rendered(values), "Deployment", "-worker")["spec"]["template"]["spec"]
    drain_s = inspect.signature(lifecycle.run_worker).parameters["drain_s"].default
    takes_s = drain_s + lifecycle.STOP_WITHIN_S + 4 * deadline_s + producer.STOP_WITHIN_S
    assert takes_s < spec["terminationGracePeriodSeconds"] < takes_s + 60


def test_learner_and_api_have_longer_to_stop_than_they_take() -> None:
    documents = rendered(MINIMAL)
    grace = {
        component: template["spec"].get("terminationGracePeriodSeconds") for component, template in pods(documents)
    }
    assert grace["learner"] > learner.STOP_WITHIN_S + producer.STOP_WITHIN_S
    assert grace["api"] > 5 + api_server._STOP_WITHIN_S


def _ports(policy: Document, side: str) -> set[int]:
    return {port["port"] for rule in policy["spec"].get(side, ()) for port in rule["ports"]}


@pytest.mark.parametrize(
    "values", [MINIMAL, SETS["production"], SETS["mutual TLS"]], ids=["minimal", "production", "mtls"]
)
def test_every_pod_reaches_what_it_needs_and_nothing_else(values: Values) -> None:
    documents = rendered(values)
    closed = named(documents, "NetworkPolicy", "live-interest-streams")["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & closed.keys()
    brokers = {int(one.rpartition(":")[2]) for one in values["config"]["kafka"]["brokers"].split(",")}
    traced = {4318} if "tracing" in values["config"] else set()
    asked = {9090} if "prometheus_url" in values["config"].get("api", {}) else set()
    both = {53, 6333, 6334} | brokers | traced
    for component, template in pods(documents):
        policy = named(documents, "NetworkPolicy", f"-{component}")
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        reached = {
            "worker": both | {8001},
            "api": both | asked | {8001},
            "setup": both | {8001},
            "learner": both,
            "triton": set(),
        }
        opened = {"worker": {9108}, "learner": {9109}, "api": {8080}, "setup": set(), "triton": {8001, 8002}}
        assert _ports(policy, "egress") == reached[component], component
        assert _ports(policy, "ingress") == opened[component], component


def test_only_prometheus_reads_metrics_and_only_ours_reach_triton() -> None:
    documents = rendered(PRODUCTION)
    for component, port in (("worker", 9108), ("learner", 9109), ("triton", 8002)):
        rules = named(documents, "NetworkPolicy", f"-{component}")["spec"]["ingress"]
        (rule,) = [one for one in rules if one["ports"][0]["port"] == port]
        assert rule["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    rules = named(documents, "NetworkPolicy", "-triton")["spec"]["ingress"]
    (rule,) = [one for one in rules if one["ports"][0]["port"] == 8001]
    components = {one["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for one in rule["from"]}
    assert components == {"worker", "api", "setup"}


@each_set
def test_what_a_hook_needs_is_a_hook_before_it(values: Values) -> None:
    documents = rendered(values)
    hooks = {
        (one["kind"], one["metadata"]["name"]): one["metadata"]["annotations"]
        for one in documents if "helm.sh/hook" in one["metadata"].get("annotations", {})
    }  # fmt: skip
    for job in of_kind(documents, "Job"):
        mine = job["metadata"]["annotations"]
        spec = job["spec"]["template"]["spec"]
        needed = [("ServiceAccount", spec["serviceAccountName"])]
        needed += [("ConfigMap", volume["configMap"]["name"]) for volume in spec["volumes"] if "configMap" in volume]
        for one in needed:
            assert set(mine["helm.sh/hook"].split(",")) <= set(hooks[one]["helm.sh/hook"].split(","))
            assert int(hooks[one]["helm.sh/hook-weight"]) < int(mine["helm.sh/hook-weight"])


def test_collections_come_after_the_charts_own_triton() -> None:
    def when(values: Values) -> set[str]:
        job = named(rendered(values), "Job", "-collections")
        return set(job["metadata"]["annotations"]["helm.sh/hook"].split(","))

    assert when(MINIMAL) == {"pre-install", "pre-upgrade"}
    assert when(PRODUCTION) == {"post-install", "pre-upgrade"}


def test_rules_and_dashboards_are_those_of_the_repository() -> None:
    documents = rendered(PRODUCTION)
    rules = {
        one["metadata"]["name"].removeprefix("live-interest-streams-"): one["spec"]
        for one in of_kind(documents, "PrometheusRule")
    }
    sources = (FOLDER.parent / "prometheus" / "rules").glob("*.yml")
    assert rules == {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sources}
    boards = [one for one in of_kind(documents, "ConfigMap") if "grafana_dashboard" in one["metadata"]["labels"]]
    shown = {name: json.loads(text) for one in boards for name, text in one["data"].items()}
    sources = (FOLDER.parent / "grafana" / "dashboards").glob("*.json")
    assert shown == {file.name: json.loads(file.read_text(encoding="utf-8")) for file in sources}
    assert len(shown) >= 6


def test_a_change_of_settings_makes_new_pods() -> None:
    def mark(values: Values) -> str:
        template = named(rendered(values), "Deployment", "-worker")["spec"]["template"]
        return str(template["metadata"]["annotations"]["interest-streams/config"])

    assert mark(MINIMAL) != mark(changed(MINIMAL, config__worker__sweep_every_s=60))
