"""What may be recommended: items near a person's interests; of whom nothing is known, the newest."""

from __future__ import annotations

from collections.abc import Sequence

from streams.api.backends import Backends
from streams.interests.score import Interest, RankPolicy
from streams.store.cards import Card
from streams.store.catalogue import ItemFilter

_QUERIES = 8
_MOST_EACH = 600


async def candidates(
    backends: Backends, interests: Sequence[Interest], item_filter: ItemFilter, k: int, seen: int
) -> list[Card]:
    """Items to choose `k` from: those near the strongest interests, by a filter; `seen` of them may be left out."""
    about = max(backends.settings.api.candidates, 3 * k)
    strongest = strongest_interests(interests, backends.ranking, _QUERIES)
    if not strongest:
        return await backends.catalogue.newest(item_filter, min(_MOST_EACH, about + seen))
    # Seen items lie nearest to the interests they made, and are left out later: fetch as many more.
    each = min(_MOST_EACH, max(k, -(-about // len(strongest))) + seen)
    return await backends.catalogue.near([interest.direction for interest in strongest], item_filter, each)


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
