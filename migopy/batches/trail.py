"""The checkpoints of one migration, as a run writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

from pymongo import ReturnDocument, WriteConcern

from ..errors import LockLost, WrongState
from ..mongo.client import kill_sessions
from ..store.checkpoints import Checkpoint, Checkpoints, Identity

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    Say = Callable[[str], None]

# A standalone server writes one journal, in order: after a crash no checkpoint is there without its batch.
CONCERN_BETWEEN_BATCHES = WriteConcern(w=1)


class Trail:
    """The checkpoints of one migration in one direction, as a run writes them.

    ``checksum`` is the checksum of the migration's file. ``resumes`` says whether the checkpoints of earlier runs
    count.
    """

    def __init__(self, checkpoints: Checkpoints, migration: str, direction: str, checksum: str, resumes: bool) -> None:
        self._checkpoints = checkpoints
        self._collection = checkpoints.collection
        self._facts = {"migration": migration, "direction": direction}
        self._run = {"checksum": checksum, "by": checkpoints.by}
        self._resumes = resumes
        self._unclaimed: dict[Identity, Checkpoint] | None = None

    @property
    def client(self) -> Any:
        """The client whose collections can be walked."""
        # A session belongs to one client.
        return self._collection.database.client

    def begin(
        self, identity: Identity, update: str, total: Callable[[], int | None], session: ClientSession, say: Say
    ) -> Checkpoint:
        """Resume a walk, or begin it.

        Raises ``WrongState`` where that would leave out documents or change some twice.
        """
        before = self._stored().pop(identity, None)
        facts: dict[str, Any] = {**self._run, "update": update, "session": session.session_id}
        times = {"at": True}
        if before:
            self._prepare_to_resume(before, update, session, say)
        else:
            self._refuse_other_walk(identity, say)
            facts.update({"done": 0, "changed": 0, "total": total(), "seconds": 0.0, "finished": False})
            times["since"] = True
        found = self._collection.find_one_and_update(
            {**self._facts, **identity._asdict()},
            {"$set": facts, "$currentDate": times},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        checkpoint = Checkpoint.from_document(found or {})
        assert checkpoint is not None  # it was just written
        return checkpoint

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        """Write the checkpoint after a batch, in the transaction of the session if there is one.

        Raises ``LockLost`` when another run has taken over the walk, or has dropped its checkpoint.
        """
        place = {"last": checkpoint.last[0]} if checkpoint.last else {}
        facts = {key: getattr(checkpoint, key) for key in ("done", "changed", "seconds", "finished")}
        is_durable = session.in_transaction or checkpoint.finished
        collection = (
            self._collection if is_durable else self._collection.with_options(write_concern=CONCERN_BETWEEN_BATCHES)
        )
        moved = collection.update_one(
            {**self._facts, **checkpoint.identity._asdict(), "session": checkpoint.session},
            {"$set": {**place, **facts}, "$currentDate": {"at": True}},
            session=session,
        )
        if not moved.matched_count:
            raise LockLost(f"Another run has taken over {checkpoint.migration}.", migration=checkpoint.migration)

    def unfinished(self) -> list[Checkpoint]:
        """The unfinished walks of earlier runs that this run has not resumed."""
        return [checkpoint for checkpoint in self._stored().values() if not checkpoint.finished]

    def _stored(self) -> dict[Identity, Checkpoint]:
        if self._unclaimed is None:
            if not self._resumes:
                self._collection.delete_many(self._facts)
            self._unclaimed = {checkpoint.identity: checkpoint for checkpoint in self._checkpoints.find(self._facts)}
        return self._unclaimed

    def _prepare_to_resume(self, before: Checkpoint, update: str, session: ClientSession, say: Say) -> None:
        name, documents = before.migration, before.progress.documents
        if before.finished and before.update != update:
            raise WrongState(
                f"{name}: an earlier run finished {documents} with another update than the file has now. To start over,"
                f" run the subtask forget,{name}; to accept what was done, ignore,{name}.",
                migration=name,
            )
        if before.session and before.session != session.session_id:
            # A killed process leaves a transaction that blocks its documents until the server gives it up, after 60 s.
            kill_sessions(self.client, [before.session])
        changed = "" if before.checksum == self._run["checksum"] else " with the changed file"
        if not before.finished:
            say(f"{name}: {documents} are done, continuing from there{changed}")

    def _refuse_other_walk(self, identity: Identity, say: Say) -> None:
        """Raises ``WrongState`` when the same file has left another unfinished walk through the collection."""
        for other in self.unfinished():
            if other.identity.collection != identity.collection:
                continue
            name, documents = other.migration, other.progress.documents
            if other.checksum == self._run["checksum"]:
                raise WrongState(
                    f"{name}: {documents} are done, but with another filter or in another order of calls than now, and"
                    " the file has not changed. Use the same filters in the same order in every run, without the"
                    f" current time. To start over, run the subtask forget,{name}.",
                    migration=name,
                )
            say(f"{name}: {documents} are done by an earlier version of the file with another filter; starting over")


class NoTrail:
    """Keeps nothing: every walk begins from the start, as in a test."""

    client = None

    def begin(
        self, identity: Identity, update: str, total: Callable[[], int | None], session: ClientSession, say: Say
    ) -> Checkpoint:
        return Checkpoint("", "", identity)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        pass

    def unfinished(self) -> list[Checkpoint]:
        return []
