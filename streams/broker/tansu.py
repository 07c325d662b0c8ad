"""Watching a consumer's JoinGroup and SyncGroup answers: who leads, and whether a leader is left to wait for."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from aiokafka.errors import RebalanceInProgressError

log = logging.getLogger(__name__)


class JoinWatch:
    """Sees every answer the group's coordinator gives to one aiokafka coordinator object, in its thread.

    aiokafka drops the leader's id once a JoinGroup answer is handled; nothing else carries it.

    Tansu 0.6.0 keeps naming a leader that left while another member was joining: followers then wait for its
    assignment for ever, in one and the same generation, until the broker is started again. After `patience_s` of
    that this member joins under the leader's id, which makes it the leader. A broker that starts a generation for
    every join, as Kafka does, never gives the same generation twice, so there this does not happen.
    """

    def __init__(self, coordinator: Any, *, patience_s: float) -> None:
        self.leader_id = ""
        self._coordinator = coordinator
        self._patience_s = patience_s
        self._waiting: tuple[int, str] | None = None
        self._since_s = 0.0
        self._send = coordinator._send_req
        coordinator._send_req = self._watched

    async def _watched(self, request: Any) -> Any:
        response = await self._send(request)
        if getattr(response, "leader_id", ""):
            self.leader_id = response.leader_id
        elif hasattr(response, "member_assignment"):
            self._synced(response.error_code)
        return response

    def _synced(self, error_code: int) -> None:
        stuck_in = (self._coordinator.generation, self.leader_id)
        if error_code != RebalanceInProgressError.errno:
            self._waiting = None
        elif self._waiting != stuck_in:
            self._waiting, self._since_s = stuck_in, monotonic()
        elif monotonic() - self._since_s > self._patience_s:
            log.warning("the group's leader left and the broker did not notice; this worker takes its place")
            self._coordinator.member_id = self.leader_id
            self._waiting = None
