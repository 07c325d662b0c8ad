"""Where a newcomer's borrowed interests come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streams.api.models import Context
from streams.nodes import Node


class Priors(Protocol):
    """Lends interests to people of whom little is known."""

    async def nodes(self, user_id: str, own: Sequence[Node], context: Context, at_ms: int) -> list[Node]:
        """Nodes in the user's name, lighter the more evidence of their own there is; none for those well known."""
