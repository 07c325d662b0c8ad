"""The chart's documents: valid in several versions of Kubernetes, restricted, and with the settings they were given.

No cluster runs here: what API servers and operators do with these documents is not tested.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest

from deploy.kubernetes.generated import FOLDER
from streams.settings.service import Settings, load
from tests.fixtures.helm import (
    MINIMAL,
    PRODUCTION,
    SETS,
    Values,
    changed,
    containers,
    each_set,
    named,
    needs_helm,
    of_kind,
    pods,
    rendered,
)
from tests.unit.test_cli import COMMANDS

pytestmark = needs_helm

#: The oldest that the chart takes, one between, the newest that is known.
VERSIONS: Final = ("1.27", "1.32", kubernetes_validate.latest_version())
SCHEMAS: Final = {
    file.stem: jsonschema.Draft202012Validator(json.loads(file.read_text("utf-8")))
    for file in (FOLDER / "schemas").glob("*.json")
}


@pytest.fixture(scope="module", autouse=True)
def _schemas_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_would_take_every_document(version: str) -> None:
    checked = set()
    for values in SETS.values():
        for document in rendered(values):
            text = json.dumps(document, sort_keys=True)
            if document["kind"] in SCHEMAS or text in checked:
                continue
            checked.add(text)
            kubernetes_validate.validate(document, version, strict=True)
    assert len(checked) > 50


@each_set
def test_operators_would_take_their_resources(values: Values) -> None:
    for document in rendered(values):
        if document["kind"] in SCHEMAS:
            SCHEMAS[document["kind"]].validate(document)
        else:
            assert "." not in document["apiVersion"].partition("/")[0] or ".k8s.io/" in document["apiVersion"]


def test_resources_of_all_operators_are_made() -> None:
    kinds = {document["kind"] for values in SETS.values() for document in rendered(values)}
    assert {"ScaledObject", "TriggerAuthentication", "PodMonitor", "ServiceMonitor"} <= kinds


@each_set
def test_every_pod_is_restricted(values: Values) -> None:
    documents = rendered(values)
    for _, template in pods(documents):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert all({"configMap", "emptyDir", "projected"} & volume.keys() for volume in spec["volumes"])
    for _, container in containers(documents):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "privileged": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        image = container["image"]
        assert "@sha256:" in image or image.rpartition(":")[2] not in {"", "latest"}


@each_set
def test_no_secret_passes_through(values: Values) -> None:
    documents = rendered(values)
    assert not of_kind(documents, "Secret")
    for _, container in containers(documents):
        assert not [one for one in container.get("env", []) if "valueFrom" in one]
    named_secrets = set(_secrets_in(values.get("secrets", {})))
    for component, template in pods(documents):
        mounted = {
            source["secret"]["name"]
            for volume in template["spec"]["volumes"] for source in volume.get("projected", {}).get("sources", ())
        }  # fmt: skip
        assert mounted <= named_secrets, component


def _secrets_in(values: Any) -> Iterator[str]:
    if isinstance(values, dict):
        yield from (value for key, value in values.items() if key == "secret")
        for value in values.values():
            yield from _secrets_in(value)


def test_each_workload_has_the_secrets_that_it_needs_and_no_others() -> None:
    held: dict[str, set[str]] = {}
    for component, container in containers(rendered(PRODUCTION)):
        variables = {one["name"] for one in container.get("env", ()) if one["name"].endswith("_FILE")}
        held.setdefault(component, set()).update(name.removeprefix("INTERESTS_") for name in variables)
    servers = {"KAFKA__CA_FILE", "KAFKA__SASL_PASSWORD_FILE", "QDRANT__API_KEY_FILE", "QDRANT__CA_FILE"}
    encoder = {"TRITON__CA_FILE"}
    people = {"PRIVACY__USER_ID_KEY_FILE"}
    assert held == {
        "worker": servers | encoder | people | {"PRIVACY__DEAD_LETTER_KEY_FILE"},
        "learner": servers | people | {"PRIVACY__DEAD_LETTER_KEY_FILE"},
        "api": servers | encoder | people | {"API__KEYS_FILE"},
        "setup": servers | encoder,
        "triton": set(),
    }


def test_each_workload_is_its_own_user_of_kafka() -> None:
    names = {
        component: one["value"]
        for component, container in containers(rendered(PRODUCTION)) for one in container.get("env", ())
        if one["name"] == "INTERESTS_KAFKA__SASL_USERNAME"
    }  # fmt: skip
    users = PRODUCTION["secrets"]["kafka"]
    assert names == {part: users[part]["username"] for part in ("worker", "learner", "api", "setup")}


@each_set
def test_the_settings_are_read_as_they_were_given(
    values: Values, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    documents = rendered(values)
    fields = {
        f"INTERESTS_{section}__{name}".upper()
        for section, field in Settings.model_fields.items() for name in type(field.default).model_fields
    }  # fmt: skip
    for component, template in pods(documents):
        if component == "triton":
            continue
        (container,) = template["spec"]["containers"]
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        configmap = named(documents, "ConfigMap", volumes["config"]["configMap"]["name"])
        file = tmp_path / "interests.toml"
        file.write_text(configmap["data"]["interests.toml"], encoding="utf-8")
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment.pop("INTERESTS_CONFIG") == "/etc/interests/interests.toml"
        assert environment.keys() <= fields
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert "/etc/interests/interests.toml" in mounts
        paths = {
            item["path"]
            for source in volumes.get("secrets", {}).get("projected", {}).get("sources", ())
            for item in source["secret"]["items"]
        }
        assert {value for name, value in environment.items() if name.endswith("_FILE")} == {
            f"/etc/interests/secrets/{path}" for path in paths
        }
        assert not paths or "/etc/interests/secrets" in mounts
        with monkeypatch.context() as patch:
            patch.setenv("INTERESTS_CONFIG", str(file))
            for name, value in environment.items():
                patch.setenv(name, value)
            settings = load()
        for section, given in values["config"].items():
            for name, value in given.items():
                read = getattr(getattr(settings, section), name)
                assert json.loads(json.dumps(read, default=str)) == value, f"{section}.{name}"


@each_set
def test_every_command_is_one_of_ours(values: Values) -> None:
    ours = {path for path, _ in COMMANDS}
    for component, container in containers(rendered(values)):
        if component == "triton":
            assert "command" not in container  # the image's own
            continue
        program, *words = container["command"]
        assert program == "interests"
        assert tuple(words) in ours


def test_triton_is_started_and_probed_by_what_its_image_has() -> None:
    for values, options in ((PRODUCTION, {"--url", "--ca-file"}), (_plain_triton(), set())):
        (container,) = [one for component, one in containers(rendered(values)) if component == "triton"]
        for probe in ("startupProbe", "livenessProbe"):  # it encodes a text
            program, option, module, *rest = container[probe]["exec"]["command"]
            assert (program, option) == ("python", "-m")
            source = (FOLDER.parents[1] / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
            assert set(rest[::2]) == options
            assert all(f'"{one}"' in source for one in options)
        within_s = float(re.search(r'"--within", type=float, default=([\d.]+)', source)[1])  # type: ignore[index]  # there
        assert container["livenessProbe"]["timeoutSeconds"] > within_s + 5
        server = (FOLDER.parent / "images" / "triton_server.py").read_text(encoding="utf-8")
        assert all(f'"{one}"' in server for one in container.get("args", [])[::2])
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert ("/etc/interests/secrets" in mounts) is bool(options)


def _plain_triton() -> Values:
    return changed(MINIMAL, config__triton__url="", triton={"enabled": True, "image": {"repository": "triton"}})


@each_set
def test_ports_and_probes_are_those_of_the_settings(values: Values) -> None:
    documents = rendered(values)
    defaults = Settings.model_construct()
    ports = {"worker": defaults.worker.metrics_port, "learner": defaults.learning.metrics_port}
    ports["api"] = defaults.api.port
    for component, container in containers(documents):
        names = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        if component in ports:
            assert list(names.values()) == [ports[component]]
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        elif component == "triton":
            assert names == {"grpc": 8001, "metrics": 8002}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(probe, {}).get("httpGet") or container.get(probe, {}).get("tcpSocket")
            assert asked is None or asked["port"] in names


@each_set
def test_whatever_names_another_finds_it(values: Values) -> None:
    documents = rendered(values)
    labels = [template["metadata"]["labels"] for _, template in pods(documents)]
    names = {
        kind: {one["metadata"]["name"] for one in of_kind(documents, kind)} for kind in ("Deployment", "ConfigMap")
    }
    accounts = {one["metadata"]["name"] for one in of_kind(documents, "ServiceAccount")} | {"own"}
    for document in of_kind(documents, "Deployment"):
        selector = document["spec"]["selector"]["matchLabels"]
        assert selector.items() <= document["spec"]["template"]["metadata"]["labels"].items()
        assert sum(selector.items() <= one.items() for one in labels) == 1
        for spread in document["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert spread["labelSelector"]["matchLabels"] == selector
    for document in of_kind(documents, "PodDisruptionBudget", "PodMonitor", "ServiceMonitor"):
        selector = document["spec"]["selector"]["matchLabels"]
        if document["metadata"]["name"].endswith("-qdrant"):
            continue
        assert sum(selector.items() <= one.items() for one in labels) == 1
    for document in of_kind(documents, "Service"):
        component = document["spec"]["selector"]["app.kubernetes.io/component"]
        opened = {
            port["name"] for one, container in containers(documents) if one == component for port in container["ports"]
        }
        assert {port["targetPort"] for port in document["spec"]["ports"]} <= opened
    for document in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject"):
        assert document["spec"]["scaleTargetRef"]["name"] in names["Deployment"]
    for _, template in pods(documents):
        assert template["spec"]["serviceAccountName"] in accounts
        for volume in template["spec"]["volumes"]:
            assert "configMap" not in volume or volume["configMap"]["name"] in names["ConfigMap"]


@each_set
def test_monitors_name_jobs_as_the_rules_and_dashboards_do(values: Values) -> None:
    documents = rendered(values)
    for document in of_kind(documents, "PodMonitor", "ServiceMonitor"):
        if document["spec"].get("jobLabel"):
            component = document["spec"]["selector"]["matchLabels"][document["spec"]["jobLabel"]]
        else:
            component = document["spec"]["endpoints"][0]["relabelings"][0]["replacement"]
        assert component in {"worker", "learner", "api", "triton", "qdrant"}
        assert document["metadata"]["name"].endswith(f"-{component}")


def test_settings_of_every_form_are_toml() -> None:
    (text,) = [one["data"]["interests.toml"] for one in of_kind(rendered(SETS["workers alone"]), "ConfigMap")]
    read = tomllib.loads(text)
    assert read["nodes"] == {
        "half_life_s": {"topic": 864000}, "contexts": ["daypart"], "context_values": {"my.place": ["home", 'a "b"']},
    }  # fmt: skip
