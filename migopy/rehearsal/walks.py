"""The walks in batches of a rehearsal, which keep no checkpoint: the recorder is told where each begins and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import bson

from ..batches.trail import NoTrail
from ..mongo.concerns import EXACTLY

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from ..batches.trail import Say, WalkStart
    from ..store.checkpoints import Checkpoint
    from .scratch.recorder import Recorder


class RecordedTrail(NoTrail):
    """A trail for one migration. ``recorder`` is asked for at each walk: the guard begins a new one when it watches."""

    def __init__(self, migration: str, direction: str, recorder: Callable[[], Recorder]) -> None:
        super().__init__(migration, direction)
        self._recorder = recorder

    def begin(self, start: WalkStart, session: ClientSession, say: Say) -> Checkpoint:
        filter: Any = bson.decode(start.asked, codec_options=EXACTLY)[""]
        self._recorder().begin_walk(start.identity.collection.partition(".")[2], filter)
        return super().begin(start, session, say)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        if checkpoint.finished:
            self._recorder().end_walk(checkpoint.identity.collection.partition(".")[2])
