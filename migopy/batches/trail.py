"""The checkpoints of one migration, as a run writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Sequence

import bson
from pymongo import ReturnDocument, UpdateOne

from ..errors import LockLost, WrongState
from ..mongo.client import kill_sessions
from ..mongo.concerns import BETWEEN_BATCHES, EXACTLY
from ..mongo.kind import has_transactions
from ..store.checkpoints import Checkpoint, Checkpoints, Identity, encoded
from ..terminal.texts import one_line, shorten

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    Say = Callable[[str], None]

LARGEST_STORED_FILTER = 8 * 1024 * 1024
"""Bytes; a checkpoint is one document, and MongoDB writes it again after each batch."""


FILTER_FOR_OLDER_VERSIONS = {"$this walk has several workers": "an older version of migopy cannot continue it"}
"""In place of the filter of a walk in parts: MongoDB refuses it, so an older version changes nothing."""

LONGEST_SHOWN_FILTER = 200
"""Characters."""


class WalkStart(NamedTuple):
    """What is known of a walk when the migration asks for it.

    ``update`` and ``identity.filter`` are fingerprints, ``asked`` is the filter as BSON, ``uuid`` is MongoDB's id of
    the collection. ``total``, ``end`` and ``cuts`` look into the collection, which only the beginning of a walk needs;
    ``cuts`` gets what ``end`` returns.
    """

    identity: Identity
    update: str
    asked: bytes
    uuid: Any
    total: Callable[[], int | None]
    end: Callable[[], Sequence[Any]]
    cuts: Callable[[Sequence[Any]], Sequence[Any]] = lambda end: ()

    def facts(self) -> dict[str, Any]:
        """What the first checkpoint stores."""
        end = self.end()
        facts: dict[str, Any] = {"done": 0, "changed": 0, "total": self.total(), "seconds": 0.0}
        # In an empty collection there is nothing to do, whatever is inserted from now on.
        facts["finished"] = not end
        if end:
            facts["end"] = end[0]
        if len(self.asked) <= LARGEST_STORED_FILTER:
            facts["asked"] = self.asked
            cuts = self.cuts(end) if end else ()
            if cuts:
                facts["parts"] = {"asked": self.asked, "cuts": list(cuts)}
                # An older version would begin a walk anew that has done nothing.
                facts.update(asked=encoded(FILTER_FOR_OLDER_VERSIONS), done=1)
        if self.uuid is not None:
            facts["uuid"] = self.uuid
        return facts


class Trail:
    """The checkpoints of one migration in one direction, as a run writes them.

    ``checksum`` is the checksum of the migration's file. ``resumes`` says whether the checkpoints of earlier runs
    count, ``keeps_filter`` whether a changed file resumes walks with the filters that they began with.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        migration: str,
        direction: str,
        checksum: str,
        resumes: bool,
        keeps_filter: bool = False,
        task: str = "fab migrations",
    ) -> None:
        self._checkpoints = checkpoints
        self._collection = checkpoints.collection
        self._facts = {"migration": migration, "direction": direction}
        self._run = {"checksum": checksum, "by": checkpoints.by}
        self.resumes = resumes
        self._keeps_filter = keeps_filter
        self._task = task
        self.migration, self.direction = migration, direction
        self._unclaimed: list[Checkpoint] | None = None
        self._kept_run: int | None = None

    @property
    def client(self) -> Any:
        """The client whose collections can be walked."""
        # A session belongs to one client.
        return self._collection.database.client

    def begin(self, start: WalkStart, session: ClientSession, say: Say) -> Checkpoint:
        """Resume a walk, or begin it.

        Raises ``WrongState`` where that would leave out documents or change some twice.
        """
        before = self._find(start)
        facts: dict[str, Any] = {**self._run, "update": start.update, "session": session.session_id}
        times = {"at": True}
        wanted: dict[str, Any] = {**self._facts, **start.identity._asdict()}
        if before:
            self._unclaimed_walks().remove(before)
            self._prepare_to_resume(before, start, session, say)
            wanted = {"_id": before.id}
        if not before or self._has_done_nothing(before):
            facts.update(start.identity._asdict(), **start.facts())
            times["since"] = True
        found = self._collection.find_one_and_update(
            wanted, {"$set": facts, "$currentDate": times}, upsert=not before, return_document=ReturnDocument.AFTER
        )
        checkpoint = Checkpoint.from_document(found or {})
        if checkpoint is None:
            raise LockLost(
                f"Another run has taken over {self._facts['migration']}.", migration=self._facts["migration"]
            )
        return checkpoint

    def parts(self, walk: Checkpoint, sessions: Sequence[ClientSession]) -> list[Checkpoint]:
        """The parts of a walk that has begun or is resumed. From now on no other run moves them.

        ``sessions`` are those of the workers. Raises ``LockLost`` when another run has taken over the walk.
        """
        noted = self._collection.update_one(
            {"_id": walk.id, "session": walk.session},
            {"$set": {"parts.sessions": [session.session_id for session in sessions]}},
        )
        if not noted.matched_count:
            raise LockLost(f"Another run has taken over {walk.migration}.", migration=walk.migration)
        # An older version takes them for walks with another filter, which are ours and which it cannot continue.
        new = {**self._facts, "collection": walk.identity.collection, "filter": "", "nth": 0, "done": 0}
        claim, ids = {"$set": {"session": walk.session}, "$setOnInsert": new}, walk.part_ids()
        self._collection.bulk_write([UpdateOne({"_id": id}, claim, upsert=True) for id in ids])
        # Read after that: a batch of the run before may have been on its way until then.
        return walk.parts(self._collection.find({"_id": {"$in": ids}}, sort=[("_id", 1)]))

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        """Write the checkpoint after a batch, in the transaction of the session if there is one.

        Raises ``LockLost`` when another run has taken over the walk, or has dropped its checkpoint.
        """
        place = {"last": checkpoint.last[0]} if checkpoint.last else {}
        facts = {key: getattr(checkpoint, key) for key in ("done", "changed", "seconds", "finished")}
        if checkpoint.left:
            facts["left"] = checkpoint.left
        if checkpoint.rejected is not None:
            facts["rejected"] = checkpoint.rejected
        if checkpoint.left_out:  # in the checkpoint of a walk in parts it is not there yet
            facts["left_out"] = checkpoint.left_out
        is_durable = session.in_transaction or checkpoint.finished
        collection = self._collection if is_durable else self._collection.with_options(write_concern=BETWEEN_BATCHES)
        moved = collection.update_one(
            {"_id": checkpoint.id, "session": checkpoint.session},
            {"$set": {**place, **facts}, "$currentDate": {"at": True}},
            session=session,
        )
        if not moved.matched_count:
            raise LockLost(f"Another run has taken over {checkpoint.migration}.", migration=checkpoint.migration)

    def note_kept(self, checkpoint: Checkpoint, kept: tuple[int, int]) -> None:
        """Write where what the walk replaces is kept."""
        self._collection.update_one({"_id": checkpoint.id}, {"$set": {"kept": list(kept)}})

    def kept_run(self) -> int | None:
        """Which execution of the migration this one resumes, if the earlier attempts have kept anything."""
        self._unclaimed_walks()
        return self._kept_run

    def unfinished(self) -> list[Checkpoint]:
        """The unfinished walks of earlier runs that this run has not resumed."""
        return [checkpoint for checkpoint in self._unclaimed_walks() if not checkpoint.finished]

    def _unclaimed_walks(self) -> list[Checkpoint]:
        if self._unclaimed is None:
            if not self.resumes:
                self._collection.delete_many(self._facts)
            self._unclaimed = self._checkpoints.find(self._facts)
            self._kept_run = next((walk.kept[0] for walk in self._unclaimed if walk.kept), None)
        return self._unclaimed

    def _find(self, start: WalkStart) -> Checkpoint | None:
        """The walk of an earlier run that this one is, or None.

        Raises ``WrongState`` where a changed file has another filter.
        """
        identity = start.identity
        walks = [walk for walk in self._unclaimed_walks() if walk.identity.collection == identity.collection]
        same_call = next((walk for walk in walks if walk.identity.call == identity.call), None)
        # Values that the file computes, such as the current time, differ in each run: the place of the call does not.
        if same_call and same_call.checksum == self._run["checksum"]:
            return same_call
        same_filter = _with_filter(identity, walks)
        if same_filter:
            return same_filter
        if same_call and (self._keeps_filter or self._has_done_nothing(same_call)):
            return same_call
        self._refuse_other_filter(same_call, walks, start)
        return None

    def _has_done_nothing(self, walk: Checkpoint) -> bool:
        # Without transactions its first batch may have been written, as a whole or in part.
        return not walk.done and not walk.finished and not walk.cuts and has_transactions(self.client)

    def _refuse_other_filter(self, same_call: Checkpoint | None, walks: Sequence[Checkpoint], start: WalkStart) -> None:
        # An older migopy has not stored which call it was: any unfinished walk may be this one.
        other = same_call or next((walk for walk in walks if not walk.finished and not walk.identity.call), None)
        if other is None:
            return
        name, far = other.migration, other.progress.documents
        resume = f", or continue with it: {self._resume(other)}" if same_call else ""
        began_with = f" The walk began with {_filter_text(other.asked)}." if other.asked else ""
        raise WrongState(
            f"{name}: {far} are done, with another filter than the file has now, so this walk has not been continued."
            f"{began_with} The file has now {_filter_text(start.asked)}. Put the old filter back{resume}. To start"
            f" over, and change those documents again: {self._task}:forget,{name} (it deletes the progress only), then"
            " execute.",
            migration=name,
        )

    def _resume(self, checkpoint: Checkpoint) -> str:
        subtask = "rollback" if checkpoint.direction == "down" else "execute"
        return f"{self._task}:{subtask},{checkpoint.migration},resume=yes"

    def _prepare_to_resume(self, before: Checkpoint, start: WalkStart, session: ClientSession, say: Say) -> None:
        name, far = before.migration, before.progress.documents
        is_same_file = before.checksum == self._run["checksum"]
        if before.finished and before.update != start.update and not (is_same_file or self._keeps_filter):
            raise WrongState(
                f"{name}: an earlier run finished {far} with another update than the file has now."
                f" To accept that and continue after it: {self._resume(before)}. To start over, and change those"
                f" documents again: {self._task}:forget,{name}, then execute.",
                migration=name,
            )
        if None not in (before.uuid, start.uuid) and before.uuid != start.uuid:
            raise WrongState(replaced(before), migration=name)
        # A killed process leaves transactions that block their documents until the server gives them up, after 60 s.
        sessions = (before.session, *before.sessions)
        kill_sessions(self.client, [each for each in sessions if each and each != session.session_id])
        if not before.finished:
            changed = "" if is_same_file else " with the changed file"
            say(f"{name}: {far} are done, continuing from there{changed}")


def _with_filter(identity: Identity, walks: Sequence[Checkpoint]) -> Checkpoint | None:
    wanted = (identity.filter, identity.nth)
    return next((walk for walk in walks if (walk.identity.filter, walk.identity.nth) == wanted), None)


def _filter_text(filter: bytes) -> str:
    return shorten(one_line(repr(bson.decode(filter, EXACTLY)[""])), LONGEST_SHOWN_FILTER)


def replaced(checkpoint: Checkpoint) -> str:
    """The sentence for a collection that is no longer the one that the walk began with."""
    name = checkpoint.identity.collection.partition(".")[2]
    return (
        f"{name} was dropped, renamed or replaced while batches went through it: the {checkpoint.done:,} documents that"
        " are done were in the old one. Look at the data; forget starts over with the new one."
    )


class NoTrail:
    """Keeps no checkpoint: every walk begins from the start, as in a test or a rehearsal."""

    client = None
    resumes = False

    def __init__(self, migration: str = "", direction: str = "") -> None:
        self.migration, self.direction = migration, direction

    def begin(self, start: WalkStart, session: ClientSession, say: Say) -> Checkpoint:
        end = tuple(start.end())
        return Checkpoint("", "", start.identity, end=end, finished=not end, uuid=start.uuid)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        pass

    def parts(self, walk: Checkpoint, sessions: Sequence[ClientSession]) -> list[Checkpoint]:
        return []

    def note_kept(self, checkpoint: Checkpoint, kept: tuple[int, int]) -> None:
        pass

    def kept_run(self) -> int | None:
        return None

    def unfinished(self) -> list[Checkpoint]:
        return []
