"""How far each walk of a migration is: the collection ``migrations_batches``."""

from __future__ import annotations

import contextlib
import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple

import bson
from pymongo import ReturnDocument, WriteConcern
from pymongo.errors import OperationFailure

from ..errors import LockLost, WrongState
from ..mongo.client import answered, durable
from ..mongo.concerns import EXACTLY
from . import documents

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from .documents import Stranger

    Say = Callable[[str], None]


SOON = WriteConcern(w=1)
"""For a server alone: it writes one journal, in order, so that no note is there after a crash without its batch."""


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
    direction: str
    identity: Identity
    total: int | None = None
    update: str = ""
    checksum: str = ""
    done: int = 0
    changed: int = 0
    seconds: float = 0.0
    finished: bool = False
    at: datetime | None = None
    session: Any = None
    last: tuple[Any, ...] = ()
    """Empty before the first batch: None is an ``_id`` like others."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Checkpoint | None:
        """None if it is none of ours."""
        get = document.get
        migration, nth = documents.name(get("migration")), documents.number(get("nth"))
        direction, collection, filter = (documents.text(get(key)) for key in ("direction", "collection", "filter"))
        done = documents.number(get("done"))
        if migration is None or direction is None or collection is None or filter is None or None in (nth, done):
            return None
        return cls(
            migration,
            direction,
            Identity(collection, filter, nth or 0),
            documents.number(get("total")),
            documents.text(get("update")) or "",
            documents.text(get("checksum")) or "",
            done or 0,
            documents.number(get("changed")) or 0,
            documents.seconds(get("seconds")) or 0.0,
            get("finished") is True,
            documents.moment(get("at")),
            get("session"),
            (document["last"],) if "last" in document else (),
        )

    @property
    def progress(self) -> Progress:
        return Progress(self.migration, self.identity.collection, self.done, self.total, self.seconds, self.at)


def digest(value: Any) -> str:
    """The same for the same filter or update, whichever run asks."""
    return hashlib.sha256(bson.encode({"": value}, codec_options=EXACTLY)).hexdigest()


class Checkpoints:
    """All there are. ``migrations`` is the name of the collection of the registered migrations."""

    def __init__(self, db: Database[dict[str, Any]], migrations: str, *, address: str, by: str) -> None:
        self.address = address
        self.strangers: set[Stranger] = set()
        stored = durable(db[f"{migrations}_batches"])
        dates = {"tz_aware": True, "unicode_decode_error_handler": "backslashreplace"}
        self.collection = stored.with_options(codec_options=EXACTLY.with_options(**dates))
        self.by = by

    def trail(self, migration: str, direction: str, *, checksum: str, goes_on: bool) -> Trail:
        """Those of one migration, for a run of it; ``goes_on`` says whether they count, or are forgotten."""
        return Trail(self, migration, direction, checksum, goes_on)

    @answered
    def read(self, wanted: Mapping[str, Any]) -> list[Checkpoint]:
        """The newest ones last."""
        found = []
        for document in documents.all_of(self.collection, wanted, self.strangers, sort=[("at", 1), ("_id", 1)]):
            checkpoint = Checkpoint.read(document)
            if checkpoint is None:
                why = "it is no checkpoint of a migration"
                self.strangers.add(documents.Stranger.met(self.collection.name, document, why))
            else:
                found.append(checkpoint)
        return found

    @answered
    def progresses(self, directions: Mapping[str, str]) -> dict[str, Progress]:
        """How far the newest walk of each of these migrations is; those of the migration's direction count."""
        newest = self.read({"migration": {"$in": list(directions)}})
        return {each.migration: each.progress for each in newest if directions[each.migration] == each.direction}

    @answered
    def forget(self, migrations: Iterable[str]) -> None:
        names = list(migrations)
        if names:
            self.collection.delete_many({"migration": {"$in": names}})


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
        checkpoint = Checkpoint.read(found or {})
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
            self._left = {checkpoint.identity: checkpoint for checkpoint in self._checkpoints.read(self._facts)}
        return self._left

    def _look_at(self, before: Checkpoint, update: str, session: ClientSession, say: Say) -> None:
        """Before a walk of an earlier run is gone on with."""
        name, far = before.migration, before.progress.far
        if before.finished and before.update != update:
            raise WrongState(
                f"{name}: all {far} have been gone through, with another update than the file has now. The subtask"
                " forget with its name begins from the start, ignore takes it as done.",
                migration=name,
            )
        if before.session and before.session != session.session_id:
            self._end(before.session)
        changed = "" if before.checksum == self._run["checksum"] else ", with another version of the file"
        if not before.finished:
            say(f"{name}: {far} are done, going on from there{changed}")

    def _end(self, session: Mapping[str, Any]) -> None:
        """A killed process leaves a transaction that blocks its documents until the server gives it up, after 60 s."""
        with contextlib.suppress(OperationFailure):
            self._collection.database.client.admin.command("killSessions", [session])

    def _look_for_another(self, identity: Identity, say: Say) -> None:
        """Before a walk begins from the start while an earlier run has left one of the same collection."""
        for other in self.left():
            if other.identity.collection != identity.collection:
                continue
            name, far = other.migration, other.progress.far
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


class Progress(NamedTuple):
    """``done`` documents of about ``total``, if that is known, in ``seconds``; as it was ``at`` that time."""

    migration: str
    collection: str
    done: int
    total: int | None
    seconds: float
    at: datetime | None = None

    @property
    def documents(self) -> str:
        """``412,000 of 1,000,000 documents``"""
        of_all = f" of {max(self.total, self.done):,}" if self.total is not None else ""
        return f"{self.done:,}{of_all} documents"

    @property
    def far(self) -> str:
        """``412,000 of 1,000,000 documents of users``; the collection comes with the name of its database."""
        return f"{self.documents} of {self.collection.partition('.')[2]}"

    @property
    def rate(self) -> float | None:
        """Documents a second; None before there is one to speak of."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        """``012_tags.py: 412,000 of 1,000,000 documents, 9,800 a second, 1 min left``"""
        speed = f", {_rounded(self.rate):,} a second" if self.rate else ""
        left = f", {_about(self.seconds_left)} left" if self.seconds_left is not None else ""
        return f"{self.migration}: {self.documents}{speed}{left}"


def _rounded(rate: float) -> int:
    """Two digits say enough: 9,800."""
    unit: int = 10 ** max(0, len(str(int(rate))) - 2)
    return max(1, round(rate / unit) * unit)


def _about(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
