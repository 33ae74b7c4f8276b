"""The checkpoints of one migration, as a run moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from pymongo import ReturnDocument, WriteConcern

from ..errors import LockLost, WrongState
from ..mongo.client import kill_sessions
from ..store.checkpoints import Checkpoint, Checkpoints, Identity

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    Say = Callable[[str], None]


SOON = WriteConcern(w=1)
"""For a server alone: it writes one journal, in order, so that no note is there after a crash without its batch."""


class Trail:
    """The checkpoints of one migration in one direction, as a run of it moves them.

    ``checksum`` is that of the migration's file.
    """

    def __init__(self, checkpoints: Checkpoints, migration: str, direction: str, checksum: str, goes_on: bool) -> None:
        self._checkpoints = checkpoints
        self._collection = checkpoints.collection
        self._facts = {"migration": migration, "direction": direction}
        self._run = {"checksum": checksum, "by": checkpoints.by}
        self._goes_on = goes_on
        self._left: dict[Identity, Checkpoint] | None = None

    @property
    def client(self) -> Any:
        """The only one whose collections can be walked: a session is that of one client."""
        return self._collection.database.client

    def begin(
        self, identity: Identity, update: str, total: Callable[[], int | None], session: ClientSession, say: Say
    ) -> Checkpoint:
        """Go on with a walk, or begin one.

        Raises ``WrongState`` where that would leave out documents or change some twice.
        """
        before = self._stored().pop(identity, None)
        facts: dict[str, Any] = {**self._run, "update": update, "session": session.session_id}
        times = {"at": True}
        if before:
            self._look_at(before, update, session, say)
        else:
            self._look_for_another(identity, say)
            facts.update({"done": 0, "changed": 0, "total": total(), "seconds": 0.0, "finished": False})
            times["since"] = True
        found = self._collection.find_one_and_update(
            {**self._facts, **identity._asdict()},
            {"$set": facts, "$currentDate": times},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        checkpoint = Checkpoint.from_document(found or {})
        assert checkpoint is not None  # what was just written
        return checkpoint

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        """A batch is done; in its transaction, if the session is in one. Else nobody waits until that is on disk.

        Raises ``LockLost`` when another run has begun to go on with the walk, or was told to forget it.
        """
        place = {"last": checkpoint.last[0]} if checkpoint.last else {}
        facts = {key: getattr(checkpoint, key) for key in ("done", "changed", "seconds", "finished")}
        in_time = session.in_transaction or checkpoint.finished
        notes = self._collection if in_time else self._collection.with_options(write_concern=SOON)
        moved = notes.update_one(
            {**self._facts, **checkpoint.identity._asdict(), "session": checkpoint.session},
            {"$set": {**place, **facts}, "$currentDate": {"at": True}},
            session=session,
        )
        if not moved.matched_count:
            raise LockLost(
                f"Another run goes on with {checkpoint.migration} meanwhile.", migration=checkpoint.migration
            )

    def left(self) -> list[Checkpoint]:
        """The unfinished walks of earlier runs that this one has not gone on with."""
        return [checkpoint for checkpoint in self._stored().values() if not checkpoint.finished]

    def _stored(self) -> dict[Identity, Checkpoint]:
        if self._left is None:
            if not self._goes_on:
                self._collection.delete_many(self._facts)
            self._left = {checkpoint.identity: checkpoint for checkpoint in self._checkpoints.find(self._facts)}
        return self._left

    def _look_at(self, before: Checkpoint, update: str, session: ClientSession, say: Say) -> None:
        """Before a walk of an earlier run is gone on with."""
        name, far = before.migration, before.progress.documents
        if before.finished and before.update != update:
            raise WrongState(
                f"{name}: all {far} have been gone through, with another update than the file has now. The subtask"
                " forget with its name begins from the start, ignore takes it as done.",
                migration=name,
            )
        if before.session and before.session != session.session_id:
            # A killed process leaves a transaction that blocks its documents until the server gives it up, after 60 s.
            kill_sessions(self.client, [before.session])
        changed = "" if before.checksum == self._run["checksum"] else ", with another version of the file"
        if not before.finished:
            say(f"{name}: {far} are done, going on from there{changed}")

    def _look_for_another(self, identity: Identity, say: Say) -> None:
        """Before a walk begins from the start while an earlier run has left one of the same collection."""
        for other in self.left():
            if other.identity.collection != identity.collection:
                continue
            name, far = other.migration, other.progress.documents
            if other.checksum == self._run["checksum"]:
                raise WrongState(
                    f"{name}: {far} are done, with another filter than now or in another order, though the file is the"
                    " same. Filters, and the order of the calls, have to be the same in each run. The subtask forget"
                    " with its name begins from the start.",
                    migration=name,
                )
            say(f"{name}: {far} are done by another version of the file, with another filter; beginning anew")


class NoTrail:
    """Outside of a run, as in a test, nothing is kept: every walk begins from the start."""

    client = None

    def begin(
        self, identity: Identity, update: str, total: Callable[[], int | None], session: ClientSession, say: Say
    ) -> Checkpoint:
        return Checkpoint("", "", identity)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        pass

    def left(self) -> list[Checkpoint]:
        return []
