"""Examples of the OpenAPI document; a test holds them to the models."""

from __future__ import annotations

from typing import Any, Final

_T: Final = 1_785_000_000_000

_EVIDENCE: Final = {
    "event_id": "e-481", "type": "click", "item_id": "i9", "title": "A kettle for slow coffee", "ts_ms": _T - 3_600_000,
    "weight": 1.0, "share": 0.42,
}  # fmt: skip
_NODE: Final = {
    "id": "5f6b0f63-0f6c-5a83-8b5d-4b1c3f1f5b52", "level": "interest", "path": "/food/coffee", "name": "Coffee",
    "mass": 2.41, "share": 0.57, "net": 1.0, "count": 6, "first_ms": _T - 600_000_000, "last_ms": _T - 3_600_000,
    "expires_at_ms": _T + 4_600_000_000, "prior": False, "evidence": [_EVIDENCE], "vector": None,
}  # fmt: skip
_PULL: Final = {
    "node_id": _NODE["id"], "level": "interest", "path": "/food/coffee", "name": "Coffee", "contribution": 0.41,
    "attention": 0.83, "prior": False,
}  # fmt: skip
_PARTS: Final = {
    "relevance": 0.41, "aversion": 0.0, "recent": 0.09, "together": 0.02, "attributes": 0.01, "shares": -0.02,
    "freshness": 0.04, "popularity": 0.02, "touched": 0.01, "learned": 0.0,
}  # fmt: skip
_RECENT: Final = {
    "item_id": "i9", "title": "A kettle for slow coffee", "ts_ms": _T - 3_600_000, "weight": 1.0, "contribution": 0.11,
}  # fmt: skip
_OTHERS: Final = [
    {"part": "shares", "contribution": -0.01}, {"part": "freshness", "contribution": 0.04},
    {"part": "popularity", "contribution": 0.02}, {"part": "touched", "contribution": 0.01},
]  # fmt: skip
_ITEM: Final = {
    "item_id": "i12", "text_index": None, "title": "Pour-over, step by step", "path": "/food/coffee", "lang": "en",
    "ts_ms": _T - 90_000_000, "score": 0.58, "parts": _PARTS, "because": [_PULL], "recents": [_RECENT],
    "others": _OTHERS,
}  # fmt: skip

TREE: Final = {
    "user_id": "u17", "at_ms": _T, "prior": False, "events": 23, "first_ms": _T - 900_000_000,
    "last_ms": _T - 3_600_000, "erased_at_ms": None, "nodes": [_NODE], "next_cursor": None,
}  # fmt: skip
RECENTS: Final = {
    "user_id": "u17", "erased_at_ms": None,
    "items": [{"item_id": "i9", "title": "A kettle for slow coffee", "ts_ms": _T - 3_600_000, "weight": 1.0}],
}  # fmt: skip
USERS: Final = {"users": [{"user_id": "u17", "events": 23, "last_ms": _T - 3_600_000}], "next_cursor": None}
RECOMMENDATIONS: Final = {
    "user_id": "u17", "at_ms": _T, "prior": False, "weights_version": 12, "weights_kind": "next", "items": [_ITEM],
}  # fmt: skip
RANKING: Final = {**RECOMMENDATIONS, "weights_kind": "impression", "unknown": ["i404"]}
RANK_REQUESTS: Final = {
    "items": {"summary": "Items", "value": {"items": ["i12", "i9", "i404"], "context": {"device": "mobile"}}},
    "texts": {"summary": "Texts", "value": {"texts": ["A hand grinder for the road", "Derby ends in a draw"]}},
}
PREDICT_REQUESTS: Final = {
    "items": {"summary": "Items", "value": {"items": ["i12", "i404"]}},
    "texts": {"summary": "Texts", "value": {"texts": ["A hand grinder for the road"]}},
}
PREDICTIONS: Final = {
    "user_id": "u17", "at_ms": _T, "model": "interest-hierarchy-5f1c09ab", "made_ms": _T - 3_590_000, "behind_ms": 0,
    "erased_at_ms": None, "click_through": {"mean": 0.11, "variance": 0.004},
    "items": [
        {"item_id": "i12", "text_index": None, "title": "Pour-over, step by step", "path": "/food/coffee",
         "cosine": 0.61, "probabilities": {"click": 0.34, "exposure": 0.52, "purchase": 0.07}},
    ],
    "unknown": ["i404"],
}  # fmt: skip
EXPLANATION: Final = {
    "user_id": "u17", "item_id": "i12", "title": _ITEM["title"], "path": "/food/coffee", "at_ms": _T, "prior": False,
    "weights_version": 12, "weights_kind": "next", "score": 0.58, "parts": _PARTS,
    "pulls": [{**_PULL, "share": 0.68, "evidence": [_EVIDENCE]}], "recents": [{**_RECENT, "share": 0.18}],
    "others": [{**one, "share": share} for one, share in zip(_OTHERS, (0.02, 0.07, 0.03, 0.02), strict=True)],
    "features": [{"name": "relevance_interest", "part": "relevance", "value": 0.41, "weight": 1.0}],
}  # fmt: skip
ITEM: Final = {
    "item_id": "i12", "title": "Pour-over, step by step", "description": None, "path": "/food/coffee",
    "confidence": 1.0, "name": "Coffee", "categories": ["Food", "Coffee"], "tags": [], "brand": None, "lang": "en",
    "ts_ms": _T - 90_000_000, "popularity": 3.2,
}  # fmt: skip
SIMILAR_ITEMS: Final = {
    "item_id": "i12", "by": "both", "at_ms": _T,
    "items": [
        {"item_id": "i9", "title": "A kettle for slow coffee", "path": "/food/coffee", "lang": "en",
         "ts_ms": _T - 900_000_000, "score": 0.0325, "content": 0.91, "together": 0.14, "people": 11.6,
         "found_by": ["content", "together"]},
    ],
}  # fmt: skip
EVENTS: Final = {
    "one": {
        "summary": "One event",
        "value": {"event_id": "e-482", "user_id": "u17", "type": "like", "item_id": "i12", "ts": _T},
    },
    "batch": {
        "summary": "A batch",
        "value": [
            {"user_id": "u17", "type": "click", "item_id": "i12"},
            {"user_id": "u17", "type": "comment", "item_id": "i12", "text": "Well put."},
        ],
    },
}
ITEMS: Final = {
    "one": {"summary": "An item", "value": {"title": "Pour-over, step by step", "categories": ["Food", "Coffee"]}}
}
ITEM_BATCH: Final = {"batch": {"summary": "Items", "value": [{"item_id": "i12", "title": "Pour-over, step by step"}]}}
ACCEPTED: Final = {"accepted": 1, "placed": [{"topic": "events", "partition": 2, "offset": 4821}]}


AUDIENCE: Final = {
    "at_ms": _T,
    "members": [
        {
            "user_id": "u17", "strength": 1.59, "similarity": 0.66, "since_ms": _T - 600_000_000,
            "last_ms": _T - 3_600_000,
            "nodes": [
                {
                    "level": "interest", "path": "/food/coffee", "name": "Coffee", "similarity": 0.66, "mass": 2.41,
                    "first_ms": _T - 600_000_000, "last_ms": _T - 3_600_000,
                }
            ],
        }
    ],
}  # fmt: skip
AUDIENCE_REQUESTS: Final = {
    "text": {"summary": "A text", "value": {"text": "slow coffee", "min_similarity": 0.3, "limit": 100}},
    "item": {"summary": "An item", "value": {"item_id": "i12", "levels": ["interest"], "path": "/food"}},
}
SIMILAR: Final = {
    "user_id": "u17", "users": [{"user_id": "u4", "similarity": 0.91, "shared_paths": ["/food", "/food/coffee"]}]
}  # fmt: skip
RECEIPT: Final = {
    "user_id": "u17", "event_id": f"erase-{_T}-8f1b2c3d4e5f6071", "requested_ms": _T, "erased_at_ms": _T,
    "nodes_before": 9, "nodes_left": 0, "verified": True,
    "retained": [{"topic": "clicks", "retention_ms": 604_800_000}],
}  # fmt: skip
LIVE: Final = 'id: 0\nevent: update\ndata: {"user_id": "u17", "at_ms": 1785000000000, "whole": true, "nodes": []}\n\n'


def example(value: dict[str, Any], description: str = "As asked for.") -> dict[str, Any]:
    """A response of the OpenAPI document with its example."""
    return {"description": description, "content": {"application/json": {"example": value}}}
