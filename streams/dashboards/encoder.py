"""Texts to vectors: how many, how long it takes, what fails, and what Triton itself says."""

from __future__ import annotations

from typing import Final

from streams.dashboards.learned import LEARNED_PANELS
from streams.dashboards.panels import ANY_PER_S, Dashboard, Line, Panel
from streams.dashboards.queries import Quantile, Rate, Ratio, Value

_HITS: Final = Ratio(
    Rate("interests_cache_lookups_total", by=("cache",), where={"cache": "texts", "result": "hit"}),
    Rate("interests_cache_lookups_total", by=("cache",), where={"cache": "texts"}),
)

ENCODER: Final = Dashboard(
    key="encoder",
    title="Encoder",
    about="Texts to vectors: how many, how long it takes, what fails, and what Triton itself says.",
    panels=(
        Panel(
            key="texts",
            title="Texts encoded",
            about="Texts a second that Triton encoded for workers; what a cache had is not among them.",
            unit="per_s",
            lines=(Line(Rate("interests_encoded_texts_total"), "texts"),),
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="request_seconds",
            title="Time of a request",
            about="One request of a worker to Triton, its retries included.",
            unit="s",
            lines=(
                Line(Quantile(0.5, "interests_encode_seconds"), "median"),
                Line(Quantile(0.99, "interests_encode_seconds"), "99th percentile"),
            ),
            warn=0.5,
            bad=2,
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="retries",
            title="Attempts that failed",
            about="Attempts a second that were made again, by gRPC status or QUEUE_FULL.",
            unit="per_s",
            lines=(Line(Rate("interests_encoder_retries_total", by=("code",)), "{code}"),),
            warn=ANY_PER_S,
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="breaker",
            title="Breaker",
            about="1 while a worker does not ask Triton because it failed several times in a row.",
            unit="number",
            lines=(Line(Value("interests_encoder_breaker_open", across="max"), "open"),),
            bad=1,
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="cache",
            title="Texts found in the cache",
            about="The share of texts that a worker need not have encoded.",
            unit="share",
            lines=(Line(_HITS, "{cache}"),),
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="triton_requests",
            title="Triton: requests",
            about="Requests a second by Triton's own count, of all who ask it.",
            unit="per_s",
            lines=(Line(Rate("nv_inference_request_success", by=("model",)), "{model}"),),
            runbook="intereststritonmodeldead",
        ),
        Panel(
            key="triton_failures",
            title="Triton: failures",
            about="Requests a second that Triton answered with an error. All of them: its model process has died.",
            unit="per_s",
            lines=(Line(Rate("nv_inference_request_failure", by=("model", "reason")), "{model}: {reason}"),),
            warn=ANY_PER_S,
            runbook="intereststritonmodeldead",
        ),
        Panel(
            key="triton_seconds",
            title="Triton: time of a request",
            about="The mean: in the queue, in the model, and in all.",
            unit="us",
            lines=tuple(
                Line(
                    Ratio(
                        Rate(f"nv_inference_{part}_duration_us", by=("model",)),
                        Rate("nv_inference_request_success", by=("model",)),
                    ),
                    f"{{model}}: {name}",
                )
                for part, name in (("queue", "queue"), ("compute_infer", "model"), ("request", "in all"))
            ),
            warn=500_000,
            bad=2_000_000,
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="triton_pending",
            title="Triton: requests that wait",
            about="Requests in Triton's queue. A full queue refuses (QUEUE_FULL), and workers wait.",
            unit="number",
            lines=(Line(Value("nv_inference_pending_request_count", by=("model",)), "{model}"),),
            runbook="interestsencoderbreakeropen",
        ),
        Panel(
            key="triton_batch",
            title="Triton: texts a run of the model",
            about="The mean size of the batches that the model is run on.",
            unit="number",
            lines=(
                Line(
                    Ratio(Rate("nv_inference_count", by=("model",)), Rate("nv_inference_exec_count", by=("model",))),
                    "{model}",
                ),
            ),
            runbook="interestsencoderbreakeropen",
        ),
        *LEARNED_PANELS,
        Panel(
            key="held_back",
            title="Held back beside the encoder that serves",
            about="Dead letters and changes a second that a group does not send because another encoder's group does.",
            unit="per_s",
            lines=(Line(Rate("interests_held_back_total", by=("what",)), "{what}"),),
            runbook="a-shadow-encoder",
        ),
        Panel(
            key="placed_by",
            title="Workers by concept tree and weights",
            about="Workers by the tree they place by and the table they weigh by; two of a kind while workers differ.",
            unit="number",
            lines=(
                Line(Value("interests_concepts_info", by=("version", "digest")), "concepts {version} {digest}"),
                Line(Value("interests_weight_table_info", by=("digest",)), "weights {digest}"),
            ),
            runbook="files-that-are-read-again",
        ),
        Panel(
            key="reloads",
            title="Files read again",
            about="Concept trees and weights taken up or refused since they changed, a second.",
            unit="per_s",
            lines=(Line(Rate("interests_reloads_total", by=("what", "outcome")), "{what}: {outcome}"),),
            runbook="files-that-are-read-again",
        ),
    ),
)
