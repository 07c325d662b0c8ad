"""docs/openapi.json is what the code says, its examples fit its schemas, and every route says what it answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from streams.api import examples, models, prediction_models, receipts, score_models
from streams.api.app import create_app
from streams.api.openapi import FILE, text
from streams.settings.document import defaults

DOCUMENT = create_app(defaults()).openapi()
ROUTES = [
    (path, method, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]  # fmt: skip
NAMES = [f"{method} {path}" for path, method, _ in ROUTES]


def resolved(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_the_file_is_what_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run python -m streams.api.openapi"


@pytest.mark.parametrize(("path", "method", "operation"), ROUTES, ids=NAMES)
def test_a_route_says_what_it_does_and_what_can_go_wrong(path: str, method: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    if path.startswith("/v1/"):
        assert {"401", "403", "422", "429", "500", "503", "504"} <= set(operation["responses"])
        assert {name for way in operation["security"] for name in way} == {"bearer", "key"}
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]


@pytest.mark.parametrize(("path", "method", "operation"), ROUTES, ids=NAMES)
def test_its_examples_fit_its_schemas(path: str, method: str, operation: dict[str, Any]) -> None:
    for answer in operation["responses"].values():
        content = answer.get("content", {}).get("application/json", {})
        if "example" in content:
            resolved(content["schema"]).validate(content["example"])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for one in body.get("examples", {}).values():
        resolved(body["schema"]).validate(one["value"])
    if method in {"post", "put"}:
        assert body["examples"]


async def test_the_page_of_it_needs_no_script_and_no_other_host() -> None:
    app = create_app(defaults())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answer = await http.get("/docs")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert all(f"{method.upper()} {path}" in answer.text for path, method, _ in ROUTES)
    assert "Pour-over, step by step" in answer.text
    for never in ("<script", "http://", "https://", "<link"):
        assert never not in answer.text


def test_examples_are_what_the_models_write() -> None:
    for model, example in (
        (models.Tree, examples.TREE), (models.Users, examples.USERS), (score_models.Explanation, examples.EXPLANATION),
        (score_models.Recommendations, examples.RECOMMENDATIONS), (score_models.Ranking, examples.RANKING),
        (models.ItemCard, examples.ITEM), (models.Audience, examples.AUDIENCE), (receipts.Receipt, examples.RECEIPT),
        (models.SimilarItems, examples.SIMILAR_ITEMS), (models.SimilarUsers, examples.SIMILAR),
        (models.Recents, examples.RECENTS), (prediction_models.Predictions, examples.PREDICTIONS),
        (receipts.Accepted, examples.ACCEPTED),
    ):  # fmt: skip
        read = model.model_validate(example).model_dump(mode="json")
        assert _without_defaults(read, example) == example, model.__name__


def test_the_examples_score_adds_up() -> None:
    explanation = score_models.Explanation.model_validate(examples.EXPLANATION)
    parts = explanation.parts
    assert sum(parts.model_dump().values()) == pytest.approx(explanation.score)
    assert sum(pull.contribution for pull in explanation.pulls) == pytest.approx(parts.relevance + parts.aversion)
    added = [(one.contribution, one.share) for one in explanation.pulls]
    added += [(one.contribution, one.share) for one in explanation.recents]
    added += [(one.contribution, one.share) for one in explanation.others]
    assert (sum(by for by, _ in added), sum(share for _, share in added)) == pytest.approx((explanation.score, 1.0))


def _without_defaults(read: Any, example: Any) -> Any:
    """What was read without fields that the example leaves out."""
    if isinstance(example, dict):
        return {name: _without_defaults(read[name], value) for name, value in example.items()}
    if isinstance(example, list):
        return [_without_defaults(*pair) for pair in zip(read, example, strict=True)]
    return read
