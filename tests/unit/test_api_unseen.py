"""Texts in which nothing can be seen: the API refuses them as the parser of events does, before anything encodes."""

from __future__ import annotations

import httpx
import pytest

from streams.api.app import create_app
from streams.client import InterestClient
from streams.client.errors import BadRequest
from streams.settings.service import ApiSettings, Settings
from tests.unit.test_api_middleware import NOWHERE
from tests.unit.test_events_hints import UNSEEN

SENTENCE = "expected a text with something to see in it"


@pytest.mark.parametrize("text", [*UNSEEN, " ", "\x07"])
async def test_a_text_of_nothing_that_can_be_seen_is_refused(text: str) -> None:
    app = create_app(Settings(api=ApiSettings(deadline_s=3), **NOWHERE))  # type: ignore[arg-type]  # sections as dictionaries
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        for path, body, field in (
            ("/v1/users/u/rank", {"texts": ["tea", text]}, "body.texts.1"),
            ("/v1/audiences/search", {"text": text}, "body.text"),
        ):
            answer = await http.post(path, json=body)
            assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": field, "message": SENTENCE}])
    await app.state.backends.close()


def test_the_client_refuses_it_before_it_asks() -> None:
    with InterestClient("http://127.0.0.1:1") as client:
        with pytest.raises(BadRequest, match=SENTENCE):
            client.audience(text="\u200b")
        with pytest.raises(BadRequest, match=f"texts.0: {SENTENCE}"):
            client.rank("u", texts=["\u200b"])
