"""Following a switch to another encoder: whose counts, whose announcements and which model, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from streams.base.background import end
from streams.base.errors import ConfigurationError, EncoderUnavailable, RetryableError
from streams.encoder.client import TritonEncoder
from streams.store.encoders import EncoderPoints, GroupNote
from streams.store.reader import StoreReader

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0


class Switches:
    """Which encoder serves by the alias, the group that fills its collections, and the model that encodes for it.

    `make` makes a client for a model of the same Triton. `switched` is called with the group whenever that changes:
    groups are known by what their workers have noted; where none has, it is the settings' own.
    """

    def __init__(
        self, reader: StoreReader, encoder: TritonEncoder, group: str, model: str,
        make: Callable[[str], TritonEncoder], switched: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._reader, self._notes = reader, EncoderPoints(reader.points)
        self._own, self._own_group, self._own_model = encoder, group, model
        self._make, self._switched = make, switched
        self._group = group
        self._others: dict[str, TritonEncoder] = {}
        self._served: str | None = None
        self._watching: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self.encoder = encoder

    def start(self) -> None:
        """Begin to look, in the background."""
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop looking, and let go of all clients."""
        await end(self._watching)
        for encoder in (self._own, *self._others.values()):
            await encoder.close()

    async def encoder_of(self, encoder_id: str) -> TritonEncoder:
        """The client whose vectors fit those of an encoder. EncoderUnavailable where Triton serves none such."""
        info = await self.encoder.info()
        if info.encoder_id != encoder_id:
            await self._look()
            info = await self.encoder.info()
        if info.encoder_id != encoder_id:
            raise EncoderUnavailable(
                f"Triton serves {info.encoder_id}, the alias points at vectors of {encoder_id}: switch one",
                retry_after_s=5.0,
            )
        return self.encoder

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except (RetryableError, ConfigurationError):  # what a newer release has written, too
                log.debug("not_looked_at_the_alias")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        async with self._looking:
            served = (await self._reader.names()).encoder_id
            if served == self._served:
                return
            theirs = [note for note in await self._notes.notes() if note.encoder == served]
            note = next((one for one in theirs if one.group == self._own_group), theirs[0] if theirs else None)
            self._settle(served, note)

    def _settle(self, served: str, note: GroupNote | None) -> None:
        group, model = (note.group, note.model) if note else (self._own_group, self._own_model)
        if model == self._own_model:
            self.encoder = self._own
        else:
            self.encoder = self._others.get(model) or self._others.setdefault(model, self._make(model))
        began = self._served is None and group == self._own_group
        self._served = served
        if not began:
            log.warning("encoder_switched", now=served, group=group, model=model)
        if group != self._group or not began:
            self._group = group
            self._switched(group)
