"""The API keeps to its OpenAPI document: what is generated from it gets documented answers only, and no defect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fixtures.api import ApiServer
from tests.fixtures.path import Rig

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]  # the path starts with it

EXAMPLES = 8
KEPT = [
    status_code_conformance, content_type_conformance, response_schema_conformance, response_headers_conformance
]  # fmt: skip
BOUNDED = settings(
    max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_what_the_document_allows_and_what_it_does_not(running_path: Rig, make_api: Callable[..., ApiServer]) -> None:
    if running_path.broker.kind != "tansu":
        pytest.skip("which broker it is changes nothing in the document: once is enough")
    server = make_api(running_path.settings, keys_file=None, rate="", erase_wait_s=0.1)
    # A live tree never ends; tests/contract/test_client.py reads it.
    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json").exclude(path_regex="/live$")
    answers: Counter[int] = Counter()
    asked = 0
    for found in document.get_all_operations():
        operation = found.ok()
        asked += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @BOUNDED
            @given(case=operation.as_strategy(generation_mode=mode))
            def keeps_to_it(case: Case) -> None:
                response = case.call(timeout=20)
                answers[response.status_code] += 1
                assert response.status_code != 500, response.text
                case.validate_response(response, checks=KEPT)

            try:
                keeps_to_it()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation.label  # nothing about it can be wrong
    assert asked >= 16
    assert {200, 202, 404, 422} <= set(answers)
    assert not {503, 504} & set(answers)  # everything behind it was there
