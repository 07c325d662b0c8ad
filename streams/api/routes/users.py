"""A person: their tree, recent items, recommendations, rankings, explanations; and who there is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from starlette.responses import Response

from streams.api.admission import guard
from streams.api.examples import (
    EXPLANATION,
    PREDICT_REQUESTS,
    PREDICTIONS,
    RANK_REQUESTS,
    RANKING,
    RECENTS,
    RECOMMENDATIONS,
    TREE,
    USERS,
    example,
)
from streams.api.interest_tree import TreeQuery
from streams.api.models import MAX_K, Order, Recents, Tree, Users
from streams.api.params import (
    ApiBackends,
    AtMs,
    Category,
    Daypart,
    Device,
    ItemInPath,
    ItemLang,
    MaxAgeS,
    Prior,
    User,
    bad_cursor,
    context_of,
    now_ms,
    read_cursor,
    wanted,
)
from streams.api.prediction_models import Predictions, PredictRequest
from streams.api.predictions import predict as predict_targets
from streams.api.recommendations import RecommendationQuery, recommend
from streams.api.recommendations import explain as explain_item
from streams.api.recommendations import rank as rank_targets
from streams.api.responses import json_response, problems
from streams.api.score_models import Explanation, Ranking, RankRequest, Recommendations
from streams.api.user_queries import interest_tree, recent_items, user_page
from streams.events.wire import MAX_TS_MS, MIN_ITEM_TS_MS
from streams.interests.nodes import LEVELS, Level

router = APIRouter(prefix="/v1/users", tags=["people"], dependencies=guard("read"))

ConceptPath = Annotated[
    str | None, Query(max_length=200, pattern="^/", description="Only nodes at or below this path, such as `/sports`.")
]


@router.get("", response_model=Users, responses={**problems(), 200: example(USERS)}, summary="Who there is")
async def users(
    backends: ApiBackends,
    limit: Annotated[int, Query(ge=1, le=500, description="People a page, at most.")] = 50,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """A page of the people of whom something is kept, in no particular order."""
    return json_response(await user_page(backends, limit, cursor))


@router.get(
    "/{user_id}/interests", response_model=Tree, responses={**problems(404), 200: example(TREE)},
    summary="The tree of interests",
)  # fmt: skip
async def tree(
    backends: ApiBackends,
    user_id: User,
    level: Annotated[
        list[Level] | None, Query(max_length=len(LEVELS), description="Only this level; repeatable.")
    ] = None,
    path: ConceptPath = None,
    evidence: Annotated[int, Query(ge=0, le=8, description="Strongest events shown a node.")] = 3,
    vectors: Annotated[bool, Query(description="The nodes' vectors too.")] = False,
    order: Annotated[Order, Query(description="Within a level: heaviest or latest first.")] = "strongest",
    limit: Annotated[int, Query(ge=1, le=1000, description="Nodes a page, at most.")] = 500,
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
    prior: Prior = True,
    daypart: Daypart = None,
    device: Device = None,
    at_ms: AtMs = None,
) -> Response:
    """A person's interests, aged to a moment: names, masses, shares, and the events behind each.

    404 where nothing is kept of them and there is no prior (`prior=false`); an erased person's tree is empty.
    """
    start, moment = 0, at_ms if at_ms is not None else now_ms()
    if cursor is not None:
        at, begin = read_cursor(cursor, 2)
        if not ((at + begin).isascii() and at.isdigit() and begin.isdigit() and len(at) < 15 and len(begin) < 7):
            raise bad_cursor()
        moment, start = int(at), int(begin)
        if not MIN_ITEM_TS_MS <= moment < MAX_TS_MS:
            raise bad_cursor()
    query = TreeQuery(
        levels=frozenset(level or ()), path=path, evidence=evidence, vectors=vectors, order=order, limit=limit,
        start=start,
    )  # fmt: skip
    return json_response(
        await interest_tree(backends, user_id, moment, query, context_of(daypart, device), prior=prior)
    )


@router.get(
    "/{user_id}/recents", response_model=Recents, responses={**problems(), 200: example(RECENTS)},
    summary="The last items they dealt with",
)  # fmt: skip
async def recents(
    backends: ApiBackends,
    user_id: User,
    limit: Annotated[int, Query(ge=1, le=1024, description="Items, at most.")] = 50,
) -> Response:
    """A person's last items with evidence for or against, latest first: of each the latest event's time and weight.

    What was taken back weighs 0. The list of somebody unknown or erased is empty.
    """
    return json_response(await recent_items(backends, user_id, limit))


@router.get(
    "/{user_id}/recommendations", response_model=Recommendations,
    responses={**problems(), 200: example(RECOMMENDATIONS)}, summary="What to show them",
)  # fmt: skip
async def recommendations(
    backends: ApiBackends,
    user_id: User,
    k: Annotated[int, Query(ge=1, le=MAX_K, description="How many items.")] = 10,
    diversity: Annotated[float, Query(ge=0, le=1, description="0: plain order of scores; 1: as unlike as can be.")] = (
        0.2
    ),
    category: Category = None,
    lang: ItemLang = None,
    max_age_s: MaxAgeS = None,
    exclude_seen: Annotated[bool, Query(description="Leave out items that they have dealt with.")] = True,
    daypart: Daypart = None,
    device: Device = None,
    prior: Prior = True,
    explain: Annotated[bool, Query(description="With each item, the interests that made its score.")] = False,
    at_ms: AtMs = None,
) -> Response:
    """Items for a person, best first; each score is the sum of its parts.

    For somebody unknown without a prior, what is newest and popular.
    """
    moment = at_ms if at_ms is not None else now_ms()
    query = RecommendationQuery(
        user_id=user_id, at_ms=moment, k=k, diversity=diversity,
        item_filter=wanted(category, lang, max_age_s, moment), exclude_seen=exclude_seen,
        context=context_of(daypart, device), prior=prior, explain=explain,
    )  # fmt: skip
    return json_response(await recommend(backends, query))


@router.post(
    "/{user_id}/rank", response_model=Ranking, responses={**problems(400, 413, 415), 200: example(RANKING)},
    summary="Put items or texts in order",
)  # fmt: skip
async def rank(
    backends: ApiBackends,
    user_id: User,
    request: Annotated[RankRequest, Body(openapi_examples=RANK_REQUESTS)],
    prior: Prior = True,
) -> Response:
    """Order given items and texts by their score for a person, with the interests that made each score."""
    moment = request.at_ms if request.at_ms is not None else now_ms()
    return json_response(await rank_targets(backends, user_id, request, moment, prior=prior))


@router.post(
    "/{user_id}/predict", response_model=Predictions, responses={**problems(400, 413, 415), 200: example(PREDICTIONS)},
    summary="How likely they are to click, turn to or buy",
)  # fmt: skip
async def predict(
    backends: ApiBackends,
    user_id: User,
    request: Annotated[PredictRequest, Body(openapi_examples=PREDICT_REQUESTS)],
) -> Response:
    """The probabilities that the learned level gives to items and texts, by task, with the model and when it spoke.

    `model` is null, and nothing is predicted, for people without learned nodes. Nobody is guessed by a prior.
    At most 500 items and 64 texts; an id that is given twice is answered once. Without any, the answer has the model
    and the click-through alone.
    """
    return json_response(await predict_targets(backends, user_id, request, now_ms()))


@router.get(
    "/{user_id}/explain/{item_id}", response_model=Explanation, responses={**problems(404), 200: example(EXPLANATION)},
    summary="Why an item has its score",
)  # fmt: skip
async def explain(
    backends: ApiBackends,
    user_id: User,
    item_id: ItemInPath,
    prior: Prior = True,
    daypart: Daypart = None,
    device: Device = None,
    at_ms: AtMs = None,
) -> Response:
    """The interests that pulled and pushed, how much each, and the events behind them.

    The contributions of `pulls`, `recents` and `others` add up to the score. `features` is the whole row behind it.
    """
    moment = at_ms if at_ms is not None else now_ms()
    context = context_of(daypart, device)
    return json_response(await explain_item(backends, user_id, item_id, moment, context, prior=prior))
