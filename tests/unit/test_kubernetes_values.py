"""What values the chart takes, and what it refuses with which words before anything is installed."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import yaml

from deploy.kubernetes.generated import CHART, FOLDER, generated, stale
from deploy.kubernetes.values_schema import config_schema
from streams.settings import document
from streams.settings.service import Settings
from tests.fixtures.helm import (
    HELM,
    KUBERNETES,
    MINIMAL,
    Values,
    changed,
    example,
    merged,
    needs_helm,
    refused,
    rendered,
)

VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
#: Settings that the chart sets otherwise than they are by default, and why.
OTHERWISE = {
    "kafka.brokers", "qdrant.host", "triton.url",  # left empty, so that they have to be said
    "kafka.replication",  # three copies, not one machine
    "worker.metrics_host", "learning.metrics_host", "api.host",  # reached from outside the pod
    "log.form",  # read by machines
}  # fmt: skip


def test_made_files_are_those_of_the_code() -> None:
    wrong = [file for file, text in generated().items() if not file.is_file() or file.read_text("utf-8") != text]
    names = [str(file.relative_to(FOLDER)) for file in (*wrong, *stale())]
    assert names == [], "run python -m deploy.kubernetes"


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = (FOLDER.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{chart["appVersion"]}"\n' in project


def test_settings_in_the_values_are_the_defaults_but_for_those_that_a_cluster_needs() -> None:
    defaults = document.defaults()
    for section, settings in VALUES["config"].items():
        for name, value in settings.items():
            default = getattr(getattr(defaults, section), name)
            same = (list(default) if isinstance(default, tuple) else default) == value
            assert same is (f"{section}.{name}" not in OTHERWISE), f"{section}.{name}"


def test_every_setting_may_be_given_but_secrets_and_what_their_files_are() -> None:
    sections = config_schema()["properties"]
    missing = {
        f"{section}.{name}"
        for section, field in Settings.model_fields.items()
        for name in type(field.default).model_fields
        if name not in sections[section]["properties"]
    }
    assert missing == {
        "kafka.implementation", "kafka.sasl_username", "kafka.sasl_password", "kafka.sasl_password_file",
        "kafka.ca_file", "kafka.cert_file", "kafka.key_file", "triton.ca_file", "triton.cert_file", "triton.key_file",
        "qdrant.api_key", "qdrant.api_key_file", "qdrant.ca_file", "qdrant.cert_file", "qdrant.key_file",
        "api.keys", "api.keys_file", "api.jwt_secret_file", "api.jwt_public_key_file",
        "api.prometheus_token_file",
        "client.key", "client.key_file", "privacy.user_id_key_file", "privacy.dead_letter_key_file",
    }  # fmt: skip


@needs_helm
@pytest.mark.parametrize("values", [MINIMAL, example("values-production.yaml")], ids=["minimal", "production"])
def test_helm_finds_nothing_to_say(values: Values) -> None:
    command = [str(HELM), "lint", "--strict", str(CHART), "--kube-version", KUBERNETES, "-f", "-"]
    done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@needs_helm
def test_the_defaults_alone_name_all_that_has_to_be_said() -> None:
    said = refused({})
    for place in (
        "image.repository", "config.kafka.brokers", "config.kafka.partitions", "config.qdrant.host",
        "config.triton.url", "secrets.api",
    ):  # fmt: skip
        assert f"  - {place}: " in said


SASL = {"config__kafka__security_protocol": "SASL_SSL"}
USER = {"username": "worker", "password": {"secret": "worker"}}


@needs_helm
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"config__kafka__brokerz": "x"}, "brokerz"),
        ({"config__kafka__brokers": "kafka"}, 'config.kafka.brokers: got "kafka", expected host:port'),
        ({"config__kafka__brokers": "a:9092,"}, 'config.kafka.brokers: got "", expected host:port'),
        ({"config__triton__url": "triton"}, 'config.triton.url: got "triton", expected host:port'),
        ({"config__kafka__group": "a\x85b"}, "config: a text holds a control character"),
        ({"config__worker__metrics_port": None}, "config.worker.metrics_port: say a port"),
        ({"config__worker": None}, "config.worker.metrics_host: probes"),
        ({"config__api__host": "127.0.0.1"}, "config.api.host: probes"),
        ({"fullnameOverride": "12"}, "fullnameOverride"),
        ({"fullnameOverride": "x\nkind: Secret"}, "fullnameOverride"),
        ({"nameOverride": "My Name"}, "nameOverride"),
        ({"image__repository": "x y"}, "repository"),
        ({"worker__podDisruptionBudget__maxUnavailable": 0}, "maxUnavailable"),
        ({"worker__podDisruptionBudget__maxUnavailable": "many"}, "maxUnavailable"),
        ({"learner__terminationGracePeriodSeconds": 1}, "learner.terminationGracePeriodSeconds: at least 20"),
        ({"api__terminationGracePeriodSeconds": 14}, "api.terminationGracePeriodSeconds: at least 15"),
        ({"config__kafka__sasl_password": "x"}, "sasl_password"),
        ({"config__qdrant__api_key": "x"}, "api_key"),
        ({"config__worker__batch_records": 0}, "batch_records"),
        ({"config__log__form": "xml"}, "form"),
        ({"config__worker__metrics_port": 0}, "metrics_port"),
        ({"worker__replicaz": 3}, "replicaz"),
        ({"image__tag": "latest"}, "tag"),
        ({"image__digest": "sha256:12"}, "digest"),
        ({"worker__replicas": 3}, "worker.replicas and worker.autoscaling.enabled"),
        ({"worker__autoscaling__enabled": False}, "worker.replicas: say how many"),
        ({"worker__autoscaling__enabled": False, "worker__replicas": 13}, "worker.replicas 13: more than the 12"),
        ({"worker__autoscaling__maxReplicas": 13}, "worker.autoscaling.maxReplicas 13: more than the 12"),
        ({"worker__autoscaling__minReplicas": 13}, "worker.autoscaling.minReplicas 13: more than the most, 12"),
        ({"worker__autoscaling__minReplicas": 0}, "minReplicas"),
        ({"worker__autoscaling__trigger": "prometheus"}, "prometheus.serverAddress"),
        ({"worker__terminationGracePeriodSeconds": 30}, "worker.terminationGracePeriodSeconds: at least 60"),
        ({"api__replicas": 3}, "api.replicas and api.autoscaling.enabled"),
        ({"api__autoscaling__enabled": False}, "api.replicas: say how many"),
        ({"api__autoscaling__maxReplicas": 1}, "api.autoscaling.minReplicas"),
        ({"api__ingress__enabled": True}, "api.ingress.hosts"),
        ({"secrets__api__keys__secret": ""}, "secrets.api: outside of loopback"),
        ({"triton__enabled": True}, "triton.image.repository"),
        ({"triton__enabled": True, "config__triton__tls": True}, "config.triton.tls and secrets.triton.server"),
        ({"triton__enabled": True, "secrets__triton__server__secret": "tls"}, "secrets.triton.ca: name the Secret"),
        (SASL, "secrets.kafka.keda: SASL_SSL needs"),
        ({**SASL, "secrets__kafka__worker": USER}, "secrets.kafka.learner: SASL_SSL needs"),
        ({"secrets__kafka__worker": USER}, "config.kafka.security_protocol: PLAINTEXT asks for no password"),
        ({"secrets__qdrant__ca__secret": "ca"}, "config.qdrant.https"),
        ({"secrets__triton__ca__secret": "ca"}, "config.triton.tls"),
        ({"secrets__privacy__userIdKey__secret": "key"}, "config.privacy.dead_letter_bodies"),
        ({"config__privacy__dead_letter_bodies": "seal"}, "secrets.privacy.deadLetterKey"),
        ({"monitoring__serviceMonitor": True}, "secrets.api.metricsKey"),
        ({"config__api__metrics_urls": {"worker": "http://worker:9108/metrics"}}, "config.api.metrics_urls"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    assert words in refused(changed(MINIMAL, **change))


@needs_helm
@pytest.mark.parametrize(("release", "taken"), [("true", True), ("r" * 53, True), ("123", False), ("a.b", False)])
def test_every_release_has_names_that_kubernetes_takes_or_is_refused(release: str, taken: bool) -> None:
    if not taken:
        assert f"fullnameOverride: {release}-interest-streams can be no name of a Service" in refused(MINIMAL, release)
        return
    for one in rendered(MINIMAL, release):
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == release
        assert len(one["metadata"]["name"]) <= 63


@needs_helm
def test_the_gpu_example_lies_over_the_other() -> None:
    values = merged(example("values-production.yaml"), example("values-gpu.yaml"))
    assert rendered(values) != rendered(example("values-production.yaml"))
