"""Erasing a person, and checking that it holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from streams.api import erasure
from streams.api.admission import Admitted, guard
from streams.api.examples import RECEIPT, example
from streams.api.params import ApiBackends, User, UserInPath, now_ms
from streams.api.receipts import Receipt
from streams.api.responses import json_response, problems

router = APIRouter(prefix="/v1/users", tags=["erasure"], dependencies=guard("admin"))


@router.delete(
    "/{user_id}", response_model=Receipt, summary="Erase a person",
    responses={
        **problems(),
        200: example(RECEIPT, "Erased, and a read found nothing but the tombstone."),
        202: {"model": Receipt, "description": "Accepted by the broker; not seen to have taken effect yet."},
    },
)  # fmt: skip
async def erase(backends: ApiBackends, user_id: UserInPath, caller: Admitted) -> Response:
    """Delete all nodes of a person and hold that against whatever comes again; the receipt can be checked later.

    `retained` names the topics that may still hold their records until these expire.
    """
    receipt = await erasure.erase(backends, user_id, now_ms(), caller)
    return json_response(receipt, 200 if receipt.verified else 202)


@router.get(
    "/{user_id}/erasure", response_model=Receipt, summary="Check an erasure",
    responses={**problems(404), 200: example(RECEIPT)},
)  # fmt: skip
async def verify(
    backends: ApiBackends,
    user_id: User,
    event_id: Annotated[
        str | None, Query(max_length=128, description="The receipt's `event_id`; without it the last erasure.")
    ] = None,
) -> Response:
    """Read again what is kept; `verified` means that the erasure has taken effect and nothing older is left."""
    return json_response(await erasure.verify(backends, user_id, event_id))
