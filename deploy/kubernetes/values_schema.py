"""The schema of the chart's values: `config` is what the settings take, the rest is written here.

Helm holds values against it before a template is rendered, so an unknown setting ends `helm install`, not a pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streams.settings.service import Settings

Schema = dict[str, Any]

#: Files that the chart has no Secret for: whoever names one mounts it (`extraVolumes`).
_FILES_TO_NAME: Final = {"concepts.file", "learning.shadow_weights"}
#: `secrets` names users and their passwords; the embedded broker has no place in a cluster.
_LEFT_OUT: Final = {"kafka.sasl_username", "kafka.implementation"}
_KEPT: Final = (
    "type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    "minLength", "maxLength", "pattern", "description",
)  # fmt: skip

TEXT: Final[Schema] = {"type": "string"}
#: The name of a part of the release, alone or before an ending; empty: the chart's own.
PART: Final[Schema] = {"type": "string", "pattern": "^([a-z]([-a-z0-9]*[a-z0-9])?)?$"}
NAMED: Final[Schema] = {"type": "string", "minLength": 1}
YES_NO: Final[Schema] = {"type": "boolean"}
OBJECT: Final[Schema] = {"type": "object"}
LIST: Final[Schema] = {"type": "array"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 1}
COUNT_OR_NONE: Final[Schema] = {"type": ["integer", "null"], "minimum": 1}
PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65535}


def closed(**fields: Schema) -> Schema:
    """An object of these fields and no others."""
    return {"type": "object", "additionalProperties": False, "properties": fields}


def values_schema() -> Schema:
    """The whole schema."""
    placed = {"podAnnotations": OBJECT, "nodeSelector": OBJECT, "tolerations": LIST, "affinity": OBJECT}
    placed |= {"priorityClassName": TEXT}
    pod = {**placed, "resources": OBJECT, "terminationGracePeriodSeconds": COUNT_OR_NONE}
    extra = {"extraVolumes": LIST, "extraVolumeMounts": LIST}
    # With 0 no node could be drained.
    unavailable = {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]*%$"}
    budget = {"podDisruptionBudget": closed(enabled=YES_NO, maxUnavailable=unavailable)}
    peers = closed(to=LIST)
    fields = closed(
        nameOverride=PART,
        fullnameOverride=PART,
        image=closed(**_image(), pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]}, pullSecrets=_list(NAMED)),
        config=config_schema(),
        secrets=_secrets(),
        setup=closed(
            enabled=YES_NO, topics=YES_NO, collections=YES_NO, backoffLimit=COUNT, activeDeadlineSeconds=COUNT,
            resources=OBJECT,
        ),
        worker=closed(replicas=COUNT_OR_NONE, autoscaling=_worker_autoscaling(), **budget, **pod, **extra),
        learner=closed(enabled=YES_NO, **pod, **extra),
        api=closed(
            enabled=YES_NO,
            replicas=COUNT_OR_NONE,
            autoscaling=closed(
                enabled=YES_NO, minReplicas=COUNT, maxReplicas=COUNT, targetCPUUtilizationPercentage=COUNT
            ),
            service=closed(type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, port=PORT, annotations=OBJECT),
            ingress=closed(enabled=YES_NO, className=TEXT, annotations=OBJECT, hosts=_list(NAMED), tls=LIST),
            **budget, **pod, **extra,
        ),
        triton=closed(
            enabled=YES_NO,
            image=closed(**_image()),
            replicas=COUNT,
            gpu=closed(enabled=YES_NO, resource=NAMED, count=COUNT, runtimeClassName=TEXT),
            sharedMemory=NAMED,
            **budget, **pod,
        ),
        serviceAccount=closed(create=YES_NO, name=TEXT, annotations=OBJECT),
        networkPolicy=closed(
            enabled=YES_NO, dns=peers, kafka=peers, qdrant=peers, triton=peers, otlp=peers,
            prometheus=closed(**{"from": LIST}), api=closed(**{"from": LIST}),
        ),
        monitoring=closed(
            podMonitors=YES_NO,
            serviceMonitor=YES_NO,
            rules=YES_NO,
            interval=NAMED,
            labels=OBJECT,
            dashboards=closed(enabled=YES_NO, label=NAMED, labelValue=NAMED, annotations=OBJECT),
            qdrant=closed(enabled=YES_NO, selector=OBJECT, namespace=TEXT, port=NAMED),
        ),
        **{"global": OBJECT},
    )  # fmt: skip
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "interest-streams", **fields}


def config_schema() -> Schema:
    """What `config` takes: every setting but those that the chart or its Secrets have to set."""
    whole = Settings.model_json_schema()
    sections = {}
    for section, reference in whole["properties"].items():
        definition = whole["$defs"][reference["$ref"].rpartition("/")[2]]
        fields = {
            name: _setting(name, field)
            for name, field in definition["properties"].items()
            if f"{section}.{name}" not in _LEFT_OUT and not _is_secret_or_file(f"{section}.{name}", field)
        }
        sections[section] = {**closed(**fields), "description": definition["description"]}
    return closed(**sections)


def _is_secret_or_file(name: str, field: Schema) -> bool:
    forms = {form.get("format") for form in field.get("anyOf", [field])}
    return "password" in forms or ("path" in forms and name not in _FILES_TO_NAME)


def _setting(name: str, field: Schema) -> Schema:
    schema = _trimmed(field)
    if name == "port" or name.endswith("_port"):
        schema["minimum"] = 1  # 0, any free port, could not be named by a Service
    return schema


def _trimmed(field: Schema) -> Schema:
    """A schema without titles and defaults."""
    kept: Schema = {key: field[key] for key in _KEPT if key in field}
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(field.get(key), dict):
            kept[key] = _trimmed(field[key])
    if "anyOf" in field:
        kept["anyOf"] = [_trimmed(form) for form in field["anyOf"]]
    return kept


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _image() -> Mapping[str, Schema]:
    return {
        "repository": {"type": "string", "pattern": "^([A-Za-z0-9][A-Za-z0-9._:/-]*)?$"},
        "tag": {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$", "not": {"const": "latest"}},
        "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    }


def _secrets() -> Schema:
    key = closed(secret=TEXT, key=NAMED)
    certificate = closed(secret=TEXT, cert=NAMED, key=NAMED)
    user = closed(username=TEXT, password=key, certificate=certificate)
    return closed(
        kafka=closed(ca=key, default=user, worker=user, learner=user, api=user, setup=user, keda=user),
        qdrant=closed(apiKey=key, ca=key, certificate=certificate),
        triton=closed(ca=key, certificate=certificate, server=certificate),
        privacy=closed(userIdKey=key, deadLetterKey=key),
        api=closed(keys=key, jwtSecret=key, jwtPublicKey=key, prometheusToken=key, metricsKey=key),
    )


def _worker_autoscaling() -> Schema:
    return closed(
        enabled=YES_NO,
        minReplicas=COUNT,
        maxReplicas=COUNT_OR_NONE,
        pollingInterval=COUNT,
        trigger={"enum": ["kafka", "prometheus"]},
        lagThreshold=COUNT,
        kafka=closed(version=NAMED, metadata={"type": "object", "additionalProperties": {"type": "string"}}),
        prometheus=closed(serverAddress=TEXT, authenticationRef=TEXT),
        behavior=OBJECT,
    )
