"""How far each walk of a migration is: the collection ``migrations_batches``."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple

import bson
from pymongo import ReturnDocument
from pymongo.errors import OperationFailure

from ..errors import LockLost, WrongState
from ..mongo import durable
from .ids import EXACTLY
from .progress import Progress

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

UP, DOWN = "up", "down"


class Identity(NamedTuple):
    """Which walk of a migration it is. Another version of the file goes on with it where this is the same.

    ``filter`` is a digest; ``nth`` counts the walks of the same collection and filter.
    """

    collection: str
    filter: str
    nth: int


class Checkpoint(NamedTuple):
    """How far a walk is, in whole batches: ``done`` documents in ``seconds``, and ``last`` is the last ``_id``.

    ``update`` says what the walk does: a digest, or the name of a function. ``session`` is that of the run that goes on
    with it now: no other run moves it.
    """

    migration: str
    collection: str
    filter: str
    nth: int
    total: int | None
    update: str = ""
    checksum: str = ""
    done: int = 0
    changed: int = 0
    seconds: float = 0.0
    finished: bool = False
    at: datetime | None = None
    session: Mapping[str, Any] | None = None
    last: tuple[Any, ...] = ()
    """Empty before the first batch: None is an ``_id`` like others."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Checkpoint:
        facts = {key: value for key, value in document.items() if key in cls._fields}
        return cls(**{**facts, "last": (document["last"],) if "last" in document else ()})

    @property
    def identity(self) -> Identity:
        return Identity(self.collection, self.filter, self.nth)

    @property
    def progress(self) -> Progress:
        return Progress(self.migration, self.collection, self.done, self.total, self.seconds)


def digest(value: Any) -> str:
    """The same for the same filter or update, whichever run asks."""
    return hashlib.sha256(bson.encode({"": value}, codec_options=EXACTLY)).hexdigest()


def collection_of(db: Database[dict[str, Any]], migrations: str) -> Collection[dict[str, Any]]:
    """Where the checkpoints are; ``migrations`` is the name of the collection of the registered migrations."""
    return durable(db[f"{migrations}_batches"]).with_options(codec_options=EXACTLY.with_options(tz_aware=True))


class Checkpoints:
    """Those of one migration in one direction. ``goes_on`` says whether those that are there count, or are forgotten.

    ``checksum`` is that of the migration's file, ``by`` is ``user@host``.
    """

    def __init__(
        self,
        collection: Collection[dict[str, Any]],
        migration: str,
        direction: str,
        checksum: str,
        by: str,
        goes_on: bool,
    ) -> None:
        self._collection = collection
        self._facts = {"migration": migration, "direction": direction}
        self._run = {"checksum": checksum, "by": by}
        self._goes_on = goes_on
        self._left: dict[Identity, Checkpoint] | None = None

    def begin(
        self,
        identity: Identity,
        update: str,
        total: Callable[[], int | None],
        session: ClientSession,
        say: Callable[[str], None],
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
        assert found is not None  # an upsert that returns the document after it
        return Checkpoint.read(found)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        """A batch is done; in its transaction, if the session is in one.

        Raises ``LockLost`` when another run has begun to go on with the walk, or was told to forget it.
        """
        place = {"last": checkpoint.last[0]} if checkpoint.last else {}
        facts = {key: getattr(checkpoint, key) for key in ("done", "changed", "seconds", "finished")}
        moved = self._collection.update_one(
            {**self._facts, **checkpoint.identity._asdict(), "session": checkpoint.session},
            {"$set": {**place, **facts}, "$currentDate": {"at": True}},
            session=session,
        )
        if not moved.matched_count:
            raise LockLost(f"Another run goes on with {checkpoint.migration} meanwhile.")

    def left(self) -> list[Checkpoint]:
        """The unfinished walks of earlier runs that this one has not gone on with."""
        return [checkpoint for checkpoint in self._stored().values() if not checkpoint.finished]

    def _stored(self) -> dict[Identity, Checkpoint]:
        if self._left is None:
            if not self._goes_on:
                self._collection.delete_many(self._facts)
            found = map(Checkpoint.read, self._collection.find(self._facts))
            self._left = {checkpoint.identity: checkpoint for checkpoint in found}
        return self._left

    def _look_at(self, before: Checkpoint, update: str, session: ClientSession, say: Callable[[str], None]) -> None:
        """Before a walk of an earlier run is gone on with."""
        name = before.migration
        if before.finished and before.update != update:
            raise WrongState(
                f"{name}: all {before.progress.far} have been gone through with another"
                " update than the file has now; whether this one shall be done too cannot be known. The subtask forget"
                " with its name begins from the start, ignore takes it as done."
            )
        if before.session and before.session != session.session_id:
            self._end(before.session)
        changed = " with another version of the file" if before.checksum != self._run["checksum"] else ""
        if not before.finished:
            say(f"{name}: {before.progress.far} are done, going on from there{changed}")

    def _end(self, session: Mapping[str, Any]) -> None:
        """A killed process leaves a transaction that blocks its documents until the server gives it up, after 60 s."""
        with contextlib.suppress(OperationFailure):
            self._collection.database.client.admin.command("killSessions", [session])

    def _look_for_another(self, identity: Identity, say: Callable[[str], None]) -> None:
        """Before a walk begins from the start while an earlier run has left one of the same collection."""
        for other in self.left():
            if other.collection != identity.collection:
                continue
            far = f"{other.progress.far} are done"
            if other.checksum == self._run["checksum"]:
                raise WrongState(
                    f"{other.migration}: {far}, with another filter than now, or in another order, though the file is"
                    " the same. Filters and the order of the calls have to be the same in each run. The subtask forget"
                    " with its name begins from the start."
                )
            say(f"{other.migration}: {far} by another version of the file, with another filter; beginning anew")


class NoCheckpoints:
    """Outside of a run, as in a test, nothing is kept: every walk begins from the start."""

    def begin(
        self,
        identity: Identity,
        update: str,
        total: Callable[[], int | None],
        session: ClientSession,
        say: Callable[[str], None],
    ) -> Checkpoint:
        return Checkpoint("", *identity, total=None)

    def move(self, checkpoint: Checkpoint, session: ClientSession) -> None:
        pass

    def left(self) -> list[Checkpoint]:
        return []


def read_all(collection: Collection[dict[str, Any]], migrations: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of these migrations, the newest first."""
    found = collection.find({"migration": {"$in": list(migrations)}}).sort("at", -1)
    return [Checkpoint.read(document) for document in found]


def forget(collection: Collection[dict[str, Any]], migration: str) -> bool:
    """Forget how far a migration was; whether there was anything to forget."""
    return bool(collection.delete_many({"migration": migration}).deleted_count)
