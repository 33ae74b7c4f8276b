"""One run at a time: a lease in the collection ``migrations_lock``, judged by the server's clock only.

The life of its one document:

- free: there is no document, or its ``expires_at`` has passed.
- taken: ``token`` (random, of this run alone), ``by``, ``pid``, ``subtask``, ``since``, ``expires_at``, renewed every
  third of the lease.
- announced: ``migrations``, the names that the run will execute or roll back, in order. The run is in the first of them
  that is not done according to the history. ``session`` is the server session of its transactions.
- ``batches``: which of the announced migrations work in batches.
- ``doing``: what the run waits for, or what the server is doing for it, where that takes long. Only to be shown.
- ``request``: what another terminal asks of the run, and ``previous_request``, the one before it. A run reads them in
  the answer to each renewal. ``pace``: how many documents a second another terminal allows. They end with the run,
  however it ends.
- dropped: for example by a migration that drops the whole database. The run writes it again, unless another run has
  the lock.
- given back: deleted by the run that has the token. A run that cannot tell how its migration ended lets it run out.
- run out, with ``migrations``: that run died. The next run keeps its facts as ``died`` until it has logged what was
  interrupted; if it dies before that, the run after it finds them.
- taken away by ``unlock``: under the token of unlock, until unlock has logged what was interrupted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Container, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON
from pymongo import ReturnDocument, WriteConcern
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure, PyMongoError

from ..errors import LockHeld, LockLost, ServerFailed, no_server_answers
from ..mongo.client import RETRY_PAUSE_SECONDS
from ..mongo.clock import clock, literals
from ..mongo.concerns import MAJORITY_TIMEOUT_MS, majority_collection
from ..mongo.failures import explains_server_errors
from ..mongo.lease import IS_HELD, Renewal, describe_holder, expires_in, is_running
from ..terminal.wording import local_time
from . import documents
from .documents import ForeignDocument
from .requests import PaceRequest, Request, RequestKind, put, put_pace

if TYPE_CHECKING:
    from pymongo.database import Database

    from .names import Names

LOCK_ID = "lock"

LOOK: Sequence[Mapping[str, Any]] = [{"$match": {"_id": LOCK_ID}}, {"$set": {"held": IS_HELD}}]
"""The pipeline that finds the document, and says whether the lease lasts."""

SAFETY_MARGIN = 0.1
"""The last part of the lease, in which its holder no longer relies on it and nobody else can take it yet."""

TRUSTED_SECONDS = 2.0
"""How long a run relies on the last answer of the server that the lock is its own."""

UNLOCK_PAUSE_SECONDS = TRUSTED_SECONDS + 1
"""How long ``unlock`` waits until the run has noticed, and until its last commands have arrived."""

UNLOCK_LEASE_SECONDS = TRUSTED_SECONDS + 30
"""The lease that ``unlock`` has for that, and for logging what it interrupted."""

INVALID_DBREF = 55
"""The error code before MongoDB 5.0 for a write of a document with something that looks like a DBRef and is not one."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)

_held_here: set[str] = set()
"""The tokens of the locks that this process holds, or the process that it was forked from."""


class Holder(NamedTuple):
    """The run that has the lock, or that had it when the lease ran out (``held`` is False then).

    ``pid`` is a process on the machine in ``by`` (user@host). ``migrations`` are the names that the run executes or
    rolls back, in order; empty until it begins with them. ``session`` is the id of the server session of their
    transactions, None without transactions. ``doing`` says what the run waits for, or what the server is doing for it;
    empty if it is nothing special. ``batches`` are the names of those migrations that work in batches. ``request`` is
    what another terminal has asked of the run last, ``previous_request`` what it was asked before that; ``pace`` is
    the speed that another terminal has set.
    """

    by: str
    pid: int | None
    subtask: str
    since: datetime | None
    migrations: Sequence[str] = ()
    held: bool = True
    token: str | None = None
    expires_at: datetime | None = None
    session: bytes | None = None
    doing: str = ""
    batches: Sequence[str] = ()
    request: Request | None = None
    previous_request: Request | None = None
    pace: PaceRequest | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Holder:
        """The holder, whatever the document contains: ``unlock`` has to be able to free it."""
        if isinstance(document.get("died"), dict):  # the run that died in a migration matters, not the one after it
            document = {**document, **document["died"], "held": False}
        get = document.get
        return cls(
            documents.text(get("by")) or "somebody unknown",
            documents.number(get("pid")),
            documents.text(get("subtask")) or "something unknown",
            documents.moment(get("since")),
            documents.names(get("migrations")),
            get("held") is not False,
            documents.string(get("token")),
            documents.moment(get("expires_at")),
            get("session") if type(get("session")) is bytes else None,
            documents.text(get("doing")) or "",
            documents.names(get("batches")),
            Request.from_document(get("request")),
            Request.from_document(get("previous_request")),
            PaceRequest.from_document(get("pace")),
        )

    @property
    def is_gone(self) -> bool | None:
        """Whether its process has ended; None if that was on another machine."""
        if self.pid is None or self.by.rpartition("@")[2] != socket.gethostname():
            return None
        return not is_running(self.pid)

    @property
    def is_at_work(self) -> bool:
        """Whether it has the lock, and its process has not ended as far as can be known here."""
        return self.held and not self.is_gone

    def prospect(self, unlock: str = "") -> str:
        """Whether waiting makes sense, and until when. ``unlock`` is the command to name, if any."""
        until = f"the lock is free at {local_time(self.expires_at)}" if self.expires_at and self.held else ""
        by_hand = (f", or at once with {unlock}" if until else f"{unlock} frees the lock") if unlock else ""
        free = until + by_hand or "nothing but unlock frees the lock"
        if self.is_gone:
            return f"process {self.pid} no longer runs on this machine, so {free}"
        if self.is_gone is None:
            return f"if its process has ended, {free}"
        return f"process {self.pid} still runs on this machine, so wait until it has ended"

    def migration(self, registered: Container[str]) -> str | None:
        """The migration that the run is in, or was in: the first that it has not registered or unregistered yet."""
        done_are_registered = self.subtask != "rollback"
        return next((name for name in self.migrations if (name in registered) != done_are_registered), None)

    def description(self, registered: Container[str]) -> str:
        """``ann@web1 (process 12, execute of 1_first.py, since 2026-01-31 12:00:00 UTC)``."""
        migration = self.migration(registered)
        doing = f"{self.subtask} of {migration}" if migration else self.subtask
        return describe_holder(self.by, self.pid, self.since, doing)


class Lock:
    """The lease of one run. ``take()`` it, then use it with ``with``: a thread renews it until the end of the block.

    After each answer of the server the lock is ours for the lease less a margin, counted from when we asked. Past that
    deadline it counts as lost, whatever the network says: another run may have it.
    """

    dead_run: Holder | None = None
    """The run whose lease ran out in the middle of a migration, as ``take()`` found it."""

    request: Request | None = None
    """What another terminal has asked of this run last, as the last renewal found it."""

    pace: PaceRequest | None = None
    """The pace that another terminal has set for this run, as the last renewal found it."""

    was_dropped = False
    """Whether the document was missing and had to be written again. Then more may have been dropped."""

    def __init__(
        self,
        db: Database[dict[str, Any]],
        names: Names,
        *,
        address: str,
        lease: float,
        by: str,
        pid: int,
        was_unlocked: Callable[[datetime], bool],
    ) -> None:
        """``was_unlocked`` tells whether the subtask unlock has freed the lock since a moment of the server's time."""
        self.address = address
        self._collection = majority_collection(db, names.lock)
        self._lease = lease
        self._token = uuid.uuid4().hex
        self._mine = {"_id": LOCK_ID, "token": self._token}
        self._facts: dict[str, Any] = {**self._mine, "by": by, "pid": pid}
        self._was_unlocked = was_unlocked
        self._confirmed = float("-inf")
        self._was_taken_away = False
        self._renewal = Renewal(self._renew_if_ours, every=lease / 3, name="migopy lock")
        self._one_at_a_time = threading.Lock()
        """Held to renew and to give back: a renewal of a deleted document would write it again, as one dropped."""
        self._in_migration = self._may_be_ours = False
        self._server_time, self._taken = LONG_AGO, 0.0
        self.foreign: set[ForeignDocument] = set()
        """The document of the lock, if migopy did not write it."""

    @explains_server_errors
    def holder(self, found: Sequence[Mapping[str, Any]] | None = None) -> Holder | None:
        """The run that has the lock, or died with it; None when it is free.

        One read and no write, or none if the document that ``LOOK`` finds is given.
        """
        for document in self._look() if found is None else found:
            if not _is_lock_of_a_run(document):
                why, next_step = "it lacks the fields of a lock", "{command}:unlock frees it"
                self.foreign.add(ForeignDocument(self._collection.name, repr(LOCK_ID), why, next_step))
            return Holder.from_document(document)
        return None

    def _look(self) -> list[dict[str, Any]]:
        try:
            return self._read(LOOK)
        except InvalidBSON:  # Python cannot hold something in it; then only the token matters, for unlock
            is_text = {"$eq": [{"$type": "$token"}, "string"]}
            fields = {"held": 1, "token": {"$cond": [is_text, "$token", None]}}
            return self._read([*LOOK, {"$project": fields}])

    def _read(self, pipeline: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return list(self._collection.aggregate(pipeline, maxTimeMS=MAJORITY_TIMEOUT_MS))

    first_pace: int | None = None
    """Documents a second that the run allows itself from its beginning."""

    @explains_server_errors
    def take(self, subtask: str) -> Holder | None:
        """Take the lock if it is free or its lease ran out; otherwise return its holder.

        Raises ``LockHeld`` if this process holds the lock itself, because it would wait for itself for ever.
        """
        self._facts["subtask"] = subtask
        self._may_be_ours = True  # even if the answer gets lost
        sent = clock()  # the lease counts from before the request, whatever time the answer takes
        try:
            found = self._take_or_read()
        except InvalidBSON:
            return self.holder() or Holder.from_document({})
        if documents.string(found.get("token")) in _held_here:
            self._may_be_ours = False
            raise LockHeld(
                f"{subtask} cannot run inside {found['subtask']}, which holds the lock: call one after the other.",
                by=found["by"],
                since=found["since"],
            )
        if found.get("token") != self._token:
            self._may_be_ours = False
            return Holder.from_document(found)
        self._facts["since"] = self._server_time = found["since"]
        self._taken, self._confirmed = clock(), sent
        self.dead_run = Holder.from_document(found) if "died" in found else None
        return None

    def _take_or_read(self) -> dict[str, Any]:
        """Take the lock if it is free, in one atomic step; the document after that, ours or another run's."""
        try:
            found = self._update({"_id": LOCK_ID}, self._replace_if_free(), upsert=True)
        except DuplicateKeyError:  # another run has made the document at the same moment
            return self._take_or_read()
        assert found is not None  # an upsert returns the document after it
        return found

    def _update(self, wanted: Mapping[str, Any], update: list[dict[str, Any]], **options: Any) -> dict[str, Any] | None:
        """The document after the update."""
        return self._collection.find_one_and_update(wanted, update, return_document=ReturnDocument.AFTER, **options)

    def _replace_if_free(self) -> list[dict[str, Any]]:
        """The update that takes the lock. It needs MongoDB 4.2, for ``$$NOW``."""
        mine = {**literals(self._facts), "since": "$$NOW", **expires_in(self._lease)}
        dead_run = {key: f"${key}" for key in ("by", "pid", "subtask", "migrations", "since", "session")}
        mine["died"] = {"$cond": [{"$gt": ["$migrations", None]}, dead_run, "$died"]}
        is_free = {"$lte": [{"$ifNull": ["$expires_at", LONG_AGO]}, "$$NOW"]}
        return [{"$replaceWith": {"$cond": [is_free, mine, "$$ROOT"]}}]

    def __enter__(self) -> Lock:
        _held_here.add(self._token)
        self._renewal.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _held_here.discard(self._token)
        self._renewal.end()
        self.give_back(error)  # does nothing if that was done already

    def give_back(self, error: BaseException | None = None) -> None:
        """Delete the document, unless a migration has begun and nothing says how it ended.

        If a migration has dropped the document, it is there again afterwards, with ``was_dropped``: give it back again.
        """
        if self._in_migration or not self._may_be_ours:
            return  # the document tells the next run which migration this one was in
        if no_server_answers(error):
            return  # the lease runs out without us
        # A failure here must not hide `error`: the lease runs out without us.
        with contextlib.suppress(PyMongoError, ServerFailed), self._one_at_a_time:
            deleted = self._collection.delete_one({**self._mine, "died": {"$exists": False}}).deleted_count
            was_dropped = not deleted and not self.dead_run and self.seconds_left() > 0
            self._may_be_ours = was_dropped and self._write_again()

    def _renew_if_ours(self) -> bool:
        """Renew the lease; False once the lock was given back."""
        with self._one_at_a_time:
            if self._may_be_ours:
                self._renew({})
            return self._may_be_ours

    def _renew(self, facts: dict[str, Any]) -> None:
        """Renew the lease and write the facts. Raises ``LockLost``."""
        self.check()  # past the deadline others rely on the lock being free, even if the server would renew it
        sent = clock()
        renewed = [{"$set": {**literals(facts), **expires_in(self._lease)}}]
        if not self._renew_and_read(renewed) and not self._write_again():
            self._was_taken_away = True
            self.check()
        self._confirmed = max(self._confirmed, sent)

    def _renew_and_read(self, renewed: list[dict[str, Any]]) -> bool:
        """Whether the document was ours and is renewed. Notes what other terminals ask of this run."""
        fields = {"_id": 0, "request": 1, "previous_request": 1, "pace": 1}
        try:
            found = self._update(self._mine, renewed, projection=fields)
        except InvalidBSON:  # it is renewed, and somebody else's request cannot be read
            return True
        self.request = Request.from_document((found or {}).get("request"))
        self.pace = PaceRequest.from_document((found or {}).get("pace"))
        self._facts.update(found or {})
        return found is not None

    def _write_again(self) -> bool:
        """Write a dropped document again; False if another run has the lock, or has had it."""
        if self._was_unlocked(self._server_time):
            return False
        # With what is left of the confirmed lease. If the server can still renew that, nobody can have taken the lock
        # in between.
        until = self._server_time_at(self._confirmed) + timedelta(seconds=self._lease)
        with contextlib.suppress(DuplicateKeyError):
            self._collection.insert_one({**self._facts, "expires_at": until})
        in_time = {**self._mine, "$expr": IS_HELD}
        if not self._collection.update_one(in_time, [{"$set": expires_in(self._lease)}]).matched_count:
            return False
        self.was_dropped = True
        return True

    @explains_server_errors
    def announce(self, migrations: Sequence[str], session: bytes | None = None, in_batches: Sequence[str] = ()) -> None:
        """Write down, before the first migration begins, which will run, in order, and their server session."""
        # Together with the history, this is how the next run knows where this one died: no write for each migration.
        announced: dict[str, Any] = {"migrations": list(migrations), "batches": list(in_batches)}
        announced.update({"session": session} if session else {})
        if self.first_pace and in_batches and not self.pace:
            announced["pace"] = {"documents": self.first_pace, "by": self._facts["by"], "at": self.now()}
        self._renew(announced)
        self._facts.update(announced)

    def tell(self, doing: str) -> None:
        """Let other terminals see what the run is doing; empty for nothing special. Raises nothing."""
        update = {"$set": {"doing": doing}} if doing else {"$unset": {"doing": ""}}
        with contextlib.suppress(PyMongoError):  # waiting for members may be just what is to be told
            self._collection.with_options(write_concern=WriteConcern(1)).update_one(self._mine, update)

    def begin(self) -> None:
        """A migration begins; call ``confirm()`` before."""
        self._in_migration = True

    def end(self) -> None:
        """How the migration ended is now in the history or in the log."""
        self._in_migration = False

    @explains_server_errors
    def confirm(self) -> None:
        """Raises ``LockLost`` unless the lock is still ours. Call it before each write that relies on the lock."""
        while True:
            try:
                return self._confirm_once()
            except AutoReconnect:
                if self.seconds_left() <= 0:
                    raise
                time.sleep(RETRY_PAUSE_SECONDS)

    def _confirm_once(self) -> None:
        self.check()
        # Only the server knows whether unlock has taken the lock away, but asking each time would be slow.
        if clock() - self._confirmed >= TRUSTED_SECONDS:
            self._renew({})

    @explains_server_errors
    def clear_dead_run(self) -> None:
        """Delete the facts about the dead run, once they are in the log."""
        self._collection.update_one(self._mine, {"$unset": {"died": ""}})
        self.dead_run = None

    def check(self) -> None:
        """Raises ``LockLost`` once the deadline has passed, or the lock was taken away. No round trip."""
        if self._was_taken_away:
            raise LockLost("The lock was taken away from this run by the subtask unlock or by another run.")
        if self.seconds_left() <= 0:
            raise LockLost(
                f"The lock was lost: its lease of {self._lease:g} s was not renewed in time, so another run may have"
                " it.",
                answers=False,
            )

    def require_seconds_left(self) -> float:
        """For how long nobody else can have the lock. Raises ``LockLost`` when somebody can. No round trip."""
        self.check()
        return self.seconds_left()

    def seconds_left(self) -> float:
        return self._confirmed + self._lease * (1 - SAFETY_MARGIN) - clock()

    def now(self) -> datetime:
        """The server's time, in the milliseconds of BSON, reckoned from when the lock was taken."""
        return self._server_time_at(clock())

    def _server_time_at(self, moment: float) -> datetime:
        return self._server_time + timedelta(milliseconds=int((moment - self._taken) * 1000))

    @explains_server_errors
    def set_pace(self, holder: Holder, pace: int | None) -> Holder | None:
        """Set the pace of this holder and no other; the holder before that, None if it has ended."""
        wanted = {"_id": LOCK_ID, "token": holder.token, "$expr": IS_HELD}
        document = self._collection.find_one_and_update(wanted, put_pace(pace, self._facts["by"]))
        return None if document is None else Holder.from_document(document)

    @explains_server_errors
    def ask(self, holder: Holder, what: RequestKind, because: str) -> Holder | None:
        """Ask something of this holder and no other; the holder after that, None if it has ended."""
        wanted = {"_id": LOCK_ID, "token": holder.token, "$expr": IS_HELD}
        document = self._update(wanted, put(what, self._facts["by"], because))
        return None if document is None else Holder.from_document(document)

    @explains_server_errors
    def take_away(self, holder: Holder) -> Holder | None:
        """Take the lock away from this holder and no other; what it is doing at that moment, None if it has ended.

        Returns when the run can no longer rely on its lock. Nobody else gets the lock before ``delete()``.
        """
        not_a_text = {"$not": {"$type": "string"}}
        shown = {"_id": LOCK_ID, "token": not_a_text if holder.token is None else holder.token}
        freed = {"token": self._token, **expires_in(UNLOCK_LEASE_SECONDS)}
        document: Mapping[str, Any] | None
        try:
            document = self._update(shown, [{"$set": freed}])
        except InvalidBSON:  # it is taken away, but what the run was doing cannot be read
            document = {}
        except OperationFailure as error:
            if error.code != INVALID_DBREF:
                raise
            document = self._update(shown, [{"$replaceWith": {"_id": LOCK_ID, **freed}}])
        if document is None:
            return None
        time.sleep(UNLOCK_PAUSE_SECONDS)  # also for a run that seemed dead: its process may have been stopped only
        return Holder.from_document({**document, "held": False})

    @explains_server_errors
    def delete(self) -> None:
        """Delete the document after ``take_away()``."""
        self._collection.delete_one(self._mine)


def _is_lock_of_a_run(document: Mapping[str, Any]) -> bool:
    texts = [documents.text(document.get(key)) for key in ("token", "by", "subtask")]
    moments = [documents.moment(document.get(key)) for key in ("since", "expires_at")]
    return None not in [*texts, *moments]
