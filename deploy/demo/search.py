"""Searching Qdrant itself, as anybody's own client would: who is interested in what a sentence says?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from qdrant_client import AsyncQdrantClient, models  # noqa: TID251  # the point is that any client can ask

from streams.commands.connections import encoder_of
from streams.settings.service import Settings

#: What some five clicks leave.
LEAST_MASS = 5.0


class InterestedUser(NamedTuple):
    """A user and the interest of theirs that lies nearest to the sentence, with its cosine."""

    user_id: str
    path: str
    cosine: float


async def interested_users(sentence: str, settings: Settings, limit: int = 6) -> list[InterestedUser]:
    """Encode a sentence through Triton and ask the collection `interests` for the nearest ones, one a user.

    Only nodes of the level `interest` with some mass: a passing glance is no interest.
    """
    async with encoder_of(settings) as encoder:
        vector = (await encoder.encode([sentence])).vectors[0]
    qdrant = settings.qdrant
    client = AsyncQdrantClient(
        host=qdrant.host, port=qdrant.http_port, grpc_port=qdrant.grpc_port, prefer_grpc=True, https=qdrant.https,
        timeout=int(qdrant.deadline_s), check_compatibility=False,
    )  # fmt: skip
    conditions = [
        models.FieldCondition(key="level", match=models.MatchValue(value="interest")),
        models.FieldCondition(key="mass", range=models.Range(gte=LEAST_MASS)),
    ]
    try:
        response = await client.query_points_groups(
            "interests", group_by="user_id", limit=limit, group_size=1, query=np.asarray(vector).tolist(),
            query_filter=models.Filter(must=[*conditions]),
            with_payload=["path"],
        )  # fmt: skip
    finally:
        await client.close()
    return [
        InterestedUser(str(group.id), str((group.hits[0].payload or {})["path"]), group.hits[0].score)
        for group in response.groups
    ]
