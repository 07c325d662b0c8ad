"""What may be recommended: items near a person's interests, and what was touched together with their recent items.

Of whom nothing is known, the newest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streams.api.backends import Backends
from streams.interests.recents import Recent
from streams.interests.score import Interest, RankPolicy
from streams.interests.together import DOUBT, partners_at
from streams.store.cards import Card
from streams.store.catalogue import ItemFilter

_QUERIES = 8
_MOST_EACH = 600
_RECENTS_ASKED = 16
_MOST_PARTNERS = 100


async def candidates(
    backends: Backends, interests: Sequence[Interest], recents: Sequence[Recent], item_filter: ItemFilter,
    *, k: int, seen: int, at_ms: int,
) -> list[Card]:  # fmt: skip
    """Items to choose `k` from, by a filter, each once; `seen` of them may be left out. `recents`: latest first."""
    near, partners = await asyncio.gather(
        _near(backends, interests, item_filter, k, seen), _partners(backends, recents, item_filter, at_ms)
    )
    return list({card.item_id: card for card in (*near, *partners)}.values())


async def _near(
    backends: Backends, interests: Sequence[Interest], item_filter: ItemFilter, k: int, seen: int
) -> list[Card]:
    """Items near the strongest interests."""
    about = max(backends.settings.api.candidates, 3 * k)
    strongest = strongest_interests(interests, backends.ranking, _QUERIES)
    if not strongest:
        return await backends.catalogue.newest(item_filter, min(_MOST_EACH, about + seen))
    # Seen items lie nearest to the interests they made, and are left out later: fetch as many more.
    each = min(_MOST_EACH, max(k, -(-about // len(strongest))) + seen)
    return await backends.catalogue.near([interest.direction for interest in strongest], item_filter, each)


async def _partners(backends: Backends, recents: Sequence[Recent], item_filter: ItemFilter, at_ms: int) -> list[Card]:
    """The items that are most touched together with those that a person took up of late, without these."""
    liked = [one.item_id for one in recents if one.weight > 0][:_RECENTS_ASKED]
    found = await backends.ranking_reader.partners(liked) if liked else {}
    weights: dict[str, float] = {}
    for item in found.values():
        counts, total = partners_at(item, at_ms, backends.settings.population.together_half_life_s)
        for other, count in counts.items():
            weights[other] = weights.get(other, 0.0) + count / (total + DOUBT)
    ids = sorted(weights.keys() - {one.item_id for one in recents}, key=lambda other: (-weights[other], other))
    cards = await backends.catalogue.cards(ids[:_MOST_PARTNERS])
    return [card for card in cards.values() if item_filter.lets(card)]


def strongest_interests(interests: Sequence[Interest], policy: RankPolicy, count: int) -> list[Interest]:
    """The interests to look for candidates with: own ones before a prior's, and those that weigh most in the attention.

    Without aversions.
    """
    weighed = [
        (policy.levels.get(interest.level, 0.0) * interest.mass, interest)
        for interest in interests
        if interest.level != "aversion" and interest.direction.any()
    ]
    weighed.sort(key=lambda row: (row[1].prior, -row[0], row[1].id))
    return [interest for weight, interest in weighed if weight > 0][:count]
