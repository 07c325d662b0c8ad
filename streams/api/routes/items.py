"""Items: one as the catalogue describes it, and those like it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from streams.api.admission import guard
from streams.api.examples import ITEM, SIMILAR_ITEMS, example
from streams.api.models import MAX_K, ItemCard, SimilarBy, SimilarItems
from streams.api.params import ApiBackends, AtMs, Category, ItemInPath, ItemLang, MaxAgeS, now_ms, wanted
from streams.api.problems import unknown_item
from streams.api.responses import json_response, problems
from streams.api.similar_items import SimilarQuery, similar_items

router = APIRouter(prefix="/v1/items", tags=["items"], dependencies=guard("read"))


@router.get(
    "/{item_id}", response_model=ItemCard, responses={**problems(404), 200: example(ITEM)}, summary="An item"
)  # fmt: skip
async def item(backends: ApiBackends, item_id: ItemInPath) -> Response:
    """An item as the catalogue describes it, with its path on the concept tree and its popularity now."""
    card = (await backends.catalogue.cards([item_id])).get(item_id)
    if card is None:
        raise unknown_item()
    popularity = (await backends.popularity([item_id], now_ms())).get(item_id, 0.0)
    return json_response(
        ItemCard(
            item_id=item_id, title=card.title, description=card.description, path=card.path,
            confidence=card.confidence, name=backends.names.of_path(card.path), categories=list(card.categories),
            tags=list(card.tags), brand=card.brand, lang=card.lang, ts_ms=card.ts_ms, popularity=popularity,
        )
    )  # fmt: skip


@router.get(
    "/{item_id}/similar", response_model=SimilarItems, responses={**problems(404), 200: example(SIMILAR_ITEMS)},
    summary="Items like it",
)  # fmt: skip
async def similar(
    backends: ApiBackends,
    item_id: ItemInPath,
    by: Annotated[SimilarBy, Query(description="Near in content, touched by the same people, or both.")] = "both",
    k: Annotated[int, Query(ge=1, le=MAX_K, description="How many items.")] = 10,
    category: Category = None,
    lang: ItemLang = None,
    max_age_s: MaxAgeS = None,
    at_ms: AtMs = None,
) -> Response:
    """The items most like one, best first: each with both figures, and by which of the two it was found."""
    moment = at_ms if at_ms is not None else now_ms()
    query = SimilarQuery(
        item_id=item_id, at_ms=moment, by=by, k=k, item_filter=wanted(category, lang, max_age_s, moment)
    )
    return json_response(await similar_items(backends, query))
