"""The doctor's check of Prometheus: whether it has the service's alerts, and which of them fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from streams.base.credentials import secret, without_credentials
from streams.base.errors import ConfigurationError
from streams.commands.findings import DEADLINE_S, Findings
from streams.settings.service import Settings

_RULES: Final = "load deploy/prometheus/rules/*.yml into it (docs/operations.md, Alerts)"
_SEVERE: Final = ("critical", "warning")


async def check_prometheus(settings: Settings) -> Findings | None:
    """What the Prometheus that `api.prometheus_url` names says of its rules; None where none is named."""
    api = settings.api
    if api.prometheus_url is None:
        return None
    findings = Findings(f"Prometheus at {without_credentials(api.prometheus_url)}")
    start = "start it, or set api.prometheus_url (INTERESTS_API__PROMETHEUS_URL) to where it is"
    try:
        token = secret(None, api.prometheus_token_file, "api.prometheus_token")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False, headers=headers) as client:
            answer = await client.get(f"{api.prometheus_url.rstrip('/')}/api/v1/rules", params={"type": "alert"})
        answer.raise_for_status()
        rules = [rule for group in answer.json()["data"]["groups"] for rule in group["rules"]]
    except ConfigurationError as error:
        findings.fail("token", str(error), "mend api.prometheus_token_file")
    except httpx.HTTPStatusError as error:
        findings.warn("answers", f"status {error.response.status_code}", start)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        findings.warn("answers", f"no answer: {type(error).__name__}", start)
    except (ValueError, KeyError, TypeError):
        findings.warn("answers", "what answers there is no Prometheus", start)
    else:
        check_alerts(findings, [rule for rule in rules if rule["name"].startswith("Interests")])
    return findings


def check_alerts(findings: Findings, rules: Sequence[Mapping[str, Any]]) -> None:
    """The alerting rules of this service, as Prometheus gives them."""
    if not rules:
        findings.warn("alerts", "it has none of this service", _RULES)
        return
    failed = sorted({rule["name"] for rule in rules if rule["health"] == "err"})
    if failed:
        findings.warn("alerts", f"it cannot work out {', '.join(failed)}", _RULES)
    severe = [rule for rule in rules if rule["labels"].get("severity") in _SEVERE]
    firing = sorted({rule["name"] for rule in severe if rule["state"] == "firing"})
    if firing:
        findings.warn("alerts", f"firing: {', '.join(firing)}", "docs/operations.md has an entry for each: Runbook")
    elif not failed:
        findings.ok("alerts", f"{len(rules)} rules, none fires")
