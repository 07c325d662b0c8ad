"""The doctor's check of learned weights: what the topic `ranking.weights` says to whoever ranks now."""

from __future__ import annotations

from typing import Final

from streams.api.served_weights import ServedWeights, take_all
from streams.base.clock import now_ms
from streams.broker.read_all import read_topic
from streams.commands.connections import admin_of, named, quick
from streams.commands.findings import DEADLINE_S, Findings
from streams.commands.when import lasting
from streams.ranking.parts import KINDS
from streams.ranking.rows import fixed_weights
from streams.ranking.weights import PublishedWeights
from streams.settings.service import Settings
from streams.settings.wiring import kafka_config
from streams.store.collections import ALIASES
from streams.store.survey import Survey

_START: Final = "run interests learner"
#: A learner that has given no sign of life for so many times as long as it may take is taken for dead.
_SIGNS_MISSED: Final = 3.0


async def check_learner(settings: Settings, survey: Survey | None) -> Findings:
    """The weights published for the encoder behind the alias: whether they serve, and whether a learner lives."""
    topic = settings.kafka.ranking_weights_topic
    findings = Findings("Learned weights")
    if not topic or not settings.ranking.learned:
        why = "ranking.learned is off" if topic else "kafka.ranking_weights_topic is empty"
        findings.ok("weights", f"the fixed weights rank: {why}")
        return findings
    alias = (survey.aliases.get(ALIASES[0]) if survey else None) or ""
    encoder = alias.removeprefix(f"{ALIASES[0]}__")
    if not encoder:
        findings.ok("weights", "nothing is ranked before Qdrant holds interests")
        return findings
    served = await findings.ask("weights", _read(settings, topic), "see Kafka above")
    examples = await findings.ask("examples", _examples(settings), "see Kafka above")
    if served is not None and examples is not None:
        check_weights(findings, settings, encoder, served, examples, now_ms())
    return findings


async def _examples(settings: Settings) -> int:
    """How many examples workers have sent."""
    kafka = settings.kafka
    if not kafka.examples_topic:
        return 0
    async with admin_of(settings, DEADLINE_S - 0.5) as admin:
        return sum(one.end for one in await admin.lag(kafka.group, [kafka.examples_topic]))


async def _read(settings: Settings, topic: str) -> ServedWeights:
    """All that is published, taken up as the API does."""
    served = ServedWeights(fixed_weights(settings.ranking.policy()), int(settings.ranking.weights_max_age_s * 1000))
    with named(f"Kafka at {settings.kafka.brokers}"):
        async for records in read_topic(quick(kafka_config(settings.kafka), DEADLINE_S - 0.5), topic):
            take_all(served, records, now_ms())
    return served


def check_weights(
    findings: Findings, settings: Settings, encoder: str, served: ServedWeights, examples: int, now_ms: int
) -> None:
    """What was published for an encoder, by kind of list, and what ranks for it at `now_ms`.

    A learner publishes once it has an example, so without any it is not missed.
    """
    latest = {kind: served.latest(encoder, kind) for kind in KINDS}
    if not any(latest.values()) and not examples:
        findings.ok("weights", "there is nothing to learn from yet: the fixed weights rank")
        return
    if not any(latest.values()):
        findings.warn("weights", f"none was learned for encoder {encoder}: the fixed weights rank", _START)
        return
    for kind, published in latest.items():
        if published is None:
            findings.ok(f"weights, {kind}", "none was learned: ranked with those of the other kind")
        else:
            _check_kind(findings, settings, published, now_ms)


def _check_kind(findings: Findings, settings: Settings, published: PublishedWeights, now_ms: int) -> None:
    what, age_s = f"weights, {published.kind}", max(0.0, (now_ms - published.made_ms) / 1000)
    left_s = settings.ranking.weights_max_age_s - age_s
    seen = f"version {published.version} of {published.lists:,} lists, last sign of life {lasting(age_s)} ago"
    if left_s < 0:
        findings.warn(what, f"{seen}: too old, the fixed weights rank", "run interests learner")
    elif not published.serve:
        findings.warn(
            what, f"{seen}: worse than the fixed ones of late, which rank",
            "they come back by themselves; interests_live_mrr_late says how they do (docs/operations.md)",
        )  # fmt: skip
    elif age_s > _SIGNS_MISSED * settings.learning.publish_s:
        findings.warn(
            what, f"{seen}: they rank for {lasting(left_s)} yet, then the fixed ones", "run interests learner"
        )
    else:
        findings.ok(what, f"{seen}: they rank")
