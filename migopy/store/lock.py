"""One run at a time: a lease in the collection ``migrations_lock``, judged by the server's clock only.

The life of its one document:

- free: there is none, or its ``expires_at`` has passed.
- taken: ``token`` (random, of this run alone), ``by``, ``pid``, ``subtask``, ``since``, ``expires_at``, renewed every
  third of the lease.
- announced: ``migrations``, the names that the run will execute or roll back, in order. The first of them that the
  history does not know as done is the one that the run is in. ``session`` is the server session of its transactions.
- dropped: by a migration that drops the whole database, say. The run writes it again, unless somebody else has it.
- given back: deleted by the run that has the token. A run that cannot say how its migration ended leaves it to run out.
- run out, with ``migrations``: that run died. Who takes the lock keeps its facts as ``died`` until it has written to
  the log what was interrupted; were it to die before that, the next one finds them still there.
- taken away by ``unlock``: under a token of unlock's own, until it has written the same to the log.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Container, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON
from pymongo import ReturnDocument
from pymongo.errors import AutoReconnect, DuplicateKeyError, OperationFailure, PyMongoError

from ..errors import LockHeld, LockLost, ServerFailed, no_server_answers
from ..mongo.client import RETRY_PAUSE
from ..mongo.clock import clock, from_now, literally
from ..mongo.concerns import MAJORITY_TIMEOUT, durable
from ..mongo.failures import explains_server_errors
from ..terminal.wording import local_time
from . import documents
from .documents import ForeignDocument

if TYPE_CHECKING:
    from pymongo.database import Database

    from .names import Names

LOCK = "lock"

MARGIN = 0.1
"""The last part of the lease, in which its holder no longer relies on it and nobody else may take it yet."""

BELIEVED = 2.0
"""Seconds for which the server's word that the lock is ours is relied on."""

FREED_AFTER, FREED_LEASE = BELIEVED + 1, BELIEVED + 30
"""Seconds after which ``unlock`` goes on, for the run to notice and for what it has sent to arrive; and the lease that
``unlock`` itself has meanwhile, and until it has written down what it interrupted."""

INVALID_DBREF = 55
"""What MongoDB says before 5.0 of a document that has somewhere what looks like a DBRef and is none, and that it is to
write again."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)

_held_here: set[str] = set()
"""The tokens of the locks that this process, or the one it was forked from, holds."""


class Holder(NamedTuple):
    """Who has the lock, or had it when the lease ran out (``held`` is False then).

    ``pid`` is the process on the machine of ``by`` (user@host). ``migrations`` are those that its run executes or rolls
    back, in that order; none before it has begun with them. ``session`` is the id of the server session that their
    transactions have, if they have any.
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

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Holder:
        """Of a run that died before it had logged whom it found dead, that one: it is the one in a migration.

        Whatever the document is, somebody holds the lock with it, and ``unlock`` has to be able to free it.
        """
        if isinstance(document.get("died"), dict):
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
        )

    @property
    def is_gone(self) -> bool | None:
        """Whether its process is no more; None where that cannot be seen, as it was on another machine."""
        if self.pid is None or self.by.rpartition("@")[2] != socket.gethostname():
            return None
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            return False
        except (ProcessLookupError, OverflowError):
            return True
        return False

    def until(self) -> str:
        """What a person who finds the lock held wants to know: `` until 2026-01-31 12:01:00 UTC``, and whether it is
        worth waiting for that.
        """
        end = f" until {local_time(self.expires_at)}, unless it renews it" if self.expires_at and self.held else ""
        return f"{end}; no process {self.pid} runs here any more" if self.is_gone else end

    def migration(self, registered: Container[str]) -> str | None:
        """The one that it is, or was, in the middle of: the first that it has not registered or unregistered yet."""
        done_are_registered = self.subtask != "rollback"
        return next((name for name in self.migrations if (name in registered) != done_are_registered), None)

    def described(self, registered: Container[str]) -> str:
        """``ann@web1 (process 12, execute of 1_first.py, since 2026-01-31 12:00:00)``."""
        migration = self.migration(registered)
        doing = f"{self.subtask} of {migration}" if migration else self.subtask
        process = "" if self.pid is None else f"process {self.pid}, "
        since = f", since {local_time(self.since)}" if self.since else ""
        return f"{self.by} ({process}{doing}{since})"


class Lock:
    """The lease of one run. ``take()`` it, then use it with ``with``: a thread renews it until the end of the block.

    Each word of the server that the lock is ours holds from the moment it was asked: for the lease, less a margin. Past
    that the lock counts as lost, whatever the network says: another run may have it.
    """

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
        self.died: Holder | None = None
        """The run whose lease ran out in the middle of a migration, as ``take()`` found it."""
        self.was_dropped = False
        """Whether the document was gone and had to be written again: what else was dropped with it?"""
        self._collection = durable(db[names.lock])
        self._lease = lease
        self._token = uuid.uuid4().hex
        self._facts: dict[str, Any] = {"_id": LOCK, "token": self._token, "by": by, "pid": pid}
        self._was_unlocked = was_unlocked
        self._confirmed = float("-inf")
        self._taken_away = False
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()
        """Of renewing and giving back: a lock renewed while it is deleted would seem dropped, and be written again."""
        self._in_migration = self._may_be_ours = False
        self._server_time, self._taken = LONG_AGO, 0.0
        self.foreign: set[ForeignDocument] = set()
        """The document of the lock, if it is not ours."""

    @explains_server_errors
    def holder(self) -> Holder | None:
        """Who has the lock, or died with it; None when it is free. One read, which writes nothing."""
        held = {"held": {"$gt": ["$expires_at", "$$NOW"]}}
        try:
            found = self._see({"$set": held})
        except InvalidBSON:  # something in it that Python cannot hold; who it is does not matter then
            is_text = {"$eq": [{"$type": "$token"}, "string"]}
            found = self._see({"$project": {**held, "token": {"$cond": [is_text, "$token", None]}}})
        if found is None:
            return None
        if not _is_ours(found):
            self.foreign.add(
                ForeignDocument(self._collection.name, repr(LOCK), "it is no lock of a run", "unlock frees it")
            )
        return Holder.read(found)

    def _see(self, stage: Mapping[str, Any]) -> dict[str, Any] | None:
        return next(
            iter(self._collection.aggregate([{"$match": {"_id": LOCK}}, stage], maxTimeMS=MAJORITY_TIMEOUT)), None
        )

    @explains_server_errors
    def take(self, subtask: str) -> Holder | None:
        """Take the lock if it is free or its lease ran out; otherwise return who has it.

        One atomic step, judged by the server's clock (``$$NOW`` in an update needs MongoDB 4.2). Raises ``LockHeld``
        when it is this very process that has it: to wait for itself would be to wait for ever.
        """
        self._facts["subtask"] = subtask
        self._may_be_ours = True
        sent = clock()
        try:
            found = self._ask_for_it()
        except InvalidBSON:
            return self.holder() or Holder.read({})
        if documents.string(found.get("token")) in _held_here:
            self._may_be_ours = False
            raise LockHeld(
                f"{subtask} cannot run within {found['subtask']}, which holds the lock: call one after the other.",
                by=found["by"],
                since=found["since"],
            )
        if found.get("token") != self._token:
            self._may_be_ours = False
            return Holder.read(found)
        self._facts["since"] = self._server_time = found["since"]
        self._taken, self._confirmed = clock(), sent
        self.died = Holder.read(found) if "died" in found else None
        return None

    def _ask_for_it(self) -> dict[str, Any]:
        """The document, ours if it was free."""
        try:
            found = self._update({"_id": LOCK}, self._taking(), upsert=True)
        except DuplicateKeyError:  # two runs made the document at the same moment; it is there now
            return self._ask_for_it()
        assert found is not None  # an upsert that returns the document after it
        return found

    def _update(
        self, wanted: Mapping[str, Any], update: list[dict[str, Any]], *, upsert: bool = False
    ) -> dict[str, Any] | None:
        """The document as it is after the update."""
        return self._collection.find_one_and_update(wanted, update, upsert=upsert, return_document=ReturnDocument.AFTER)

    def _taking(self) -> list[dict[str, Any]]:
        """Replace the document if it has run out, and keep of the old one who died in which migration."""
        mine = {**literally(self._facts), "since": "$$NOW", **self._renewed()}
        dead = {key: f"${key}" for key in ("by", "pid", "subtask", "migrations", "since", "session")}
        mine["died"] = {"$cond": [{"$gt": ["$migrations", None]}, dead, "$died"]}
        free = {"$lte": [{"$ifNull": ["$expires_at", LONG_AGO]}, "$$NOW"]}
        return [{"$replaceWith": {"$cond": [free, mine, "$$ROOT"]}}]

    def _renewed(self) -> dict[str, Any]:
        return {"expires_at": from_now(self._lease)}

    def __enter__(self) -> Lock:
        _held_here.add(self._token)
        threading.Thread(target=self._keep_renewing, name="migopy lock", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back. A release that fails must not hide ``error``: the lease runs out by itself.

        In the middle of a migration of which nobody has written down how it ended, it is not given back either: its
        document tells the next run where this one was. Nor is a server waited for that has just failed to answer.
        """
        _held_here.discard(self._token)
        self._ended.set()
        self.give_back(error)

    def give_back(self, error: BaseException | None = None) -> None:
        """Delete the document, once, unless ``error`` or the migration is a reason to keep it, see ``__exit__``.

        If a migration has dropped it, it is there again afterwards, with ``was_dropped``, to be given back once more.
        """
        if self._in_migration or no_server_answers(error) or not self._may_be_ours:
            return
        with contextlib.suppress(PyMongoError, ServerFailed), self._one_at_a_time:
            mine = {"_id": LOCK, "token": self._token, "died": {"$exists": False}}
            deleted = self._collection.delete_one(mine).deleted_count
            gone = not deleted and not self.died and self.seconds_left() > 0
            self._may_be_ours = gone and self._write_again()

    def _keep_renewing(self) -> None:
        pause = self._lease / 3
        while not self._ended.wait(pause):
            pause = self._lease / 3
            try:
                with self._one_at_a_time:
                    if not self._may_be_ours:
                        return
                    self._renew({})
            except LockLost:
                return
            except (PyMongoError, ServerFailed):
                pause = self._lease / 30  # the server may be back in a moment; the deadline stands meanwhile

    def _renew(self, facts: dict[str, Any]) -> None:
        """Raises ``LockLost``, past the deadline also where the server would still renew it: others rely on that."""
        self.check()
        sent = clock()
        renewed = [{"$set": {**literally(facts), **self._renewed()}}]
        mine = {"_id": LOCK, "token": self._token}
        if not self._collection.update_one(mine, renewed).matched_count and not self._write_again():
            self._taken_away = True
            self.check()
        self._confirmed = max(self._confirmed, sent)

    def _write_again(self) -> bool:
        """Write the document again that a migration has dropped; False if somebody else has the lock, or has had it.

        As it is written it holds for what is left of the lease that the server has confirmed, and only if the server
        still finds it in time it is renewed: in between nobody can have taken the lock and given it back.
        """
        if self._was_unlocked(self._server_time):
            return False
        until = self._server_time_at(self._confirmed) + timedelta(seconds=self._lease)
        mine = {"_id": LOCK, "token": self._token}
        with contextlib.suppress(DuplicateKeyError):
            self._collection.insert_one({**self._facts, "expires_at": until})
        in_time = {**mine, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
        if not self._collection.update_one(in_time, [{"$set": self._renewed()}]).matched_count:
            return False
        self.was_dropped = True
        return True

    @explains_server_errors
    def announce(self, migrations: Sequence[str], session: bytes | None = None) -> None:
        """Write down what will run, in order, before the first one does, and in which server session transactions do.

        With that and the history the next run knows where this one was, should it die; no migration has to be written
        down by itself.
        """
        announced = {"migrations": list(migrations), **({"session": session} if session else {})}
        self._renew(announced)
        self._facts.update(announced)

    def begin(self) -> None:
        """A migration begins; the lock was confirmed before."""
        self._in_migration = True

    def end(self) -> None:
        """How the migration ended has been written down, in the history or in the log."""
        self._in_migration = False

    @explains_server_errors
    def confirm(self) -> None:
        """Raises ``LockLost`` unless the lock is still ours, before something is written that relies on it.

        A server that cannot be reached is asked again until the deadline.
        """
        while True:
            try:
                return self._ask()
            except AutoReconnect:
                if self.seconds_left() <= 0:
                    raise
                time.sleep(RETRY_PAUSE)

    def _ask(self) -> None:
        """Only the server knows whether ``unlock`` has taken the lock away; so it is asked, but not at every word."""
        self.check()
        if clock() - self._confirmed >= BELIEVED:
            self._renew({})

    @explains_server_errors
    def clear_died(self) -> None:
        """Delete what the run before left behind, once that has been written to the log."""
        self._collection.update_one({"_id": LOCK, "token": self._token}, {"$unset": {"died": ""}})
        self.died = None

    def check(self) -> None:
        """Raises ``LockLost`` once the deadline has passed, or the lock was seen to be taken away. No round trip."""
        if self._taken_away:
            raise LockLost("The lock was taken away from this run by the subtask unlock or by another run.")
        if self.seconds_left() <= 0:
            raise LockLost(
                f"The lock was lost: its lease of {self._lease:g} s was not renewed in time, another run may have it.",
                answers=False,
            )

    def seconds_sure(self) -> float:
        """For how long nobody else can have the lock. Raises ``LockLost`` when somebody may. No round trip."""
        self.check()
        return self.seconds_left()

    def seconds_left(self) -> float:
        return self._confirmed + self._lease * (1 - MARGIN) - clock()

    def now(self) -> datetime:
        """The server's time, reckoned from the moment the lock was taken; in milliseconds, as BSON keeps it."""
        return self._server_time_at(clock())

    def _server_time_at(self, moment: float) -> datetime:
        return self._server_time + timedelta(milliseconds=int((moment - self._taken) * 1000))

    @explains_server_errors
    def take_away(self, holder: Holder) -> Holder | None:
        """Take the lock away from that holder and no other; what it was doing at that moment, None if it has ended.

        Returns when that run can no longer believe that it has the lock; nobody else gets it before ``delete()``. What
        it was doing stays in the document until then, so that the next run knows if this one dies.
        """
        not_a_text = {"$not": {"$type": "string"}}
        shown = {"_id": LOCK, "token": not_a_text if holder.token is None else holder.token}
        freed = {"token": self._token, "expires_at": from_now(FREED_LEASE)}
        document: Mapping[str, Any] | None
        try:
            document = self._update(shown, [{"$set": freed}])
        except InvalidBSON:  # taken away, and what it was doing cannot be read
            document = {}
        except OperationFailure as error:
            if error.code != INVALID_DBREF:
                raise
            document = self._update(shown, [{"$replaceWith": {"_id": LOCK, **freed}}])
        if document is None:
            return None
        time.sleep(FREED_AFTER)  # of one that seemed dead too: a stopped process may have woken up meanwhile
        return Holder.read({**document, "held": False})

    @explains_server_errors
    def delete(self) -> None:
        """Delete what ``take_away()`` has left."""
        self._collection.delete_one({"_id": LOCK, "token": self._token})


def _is_ours(document: Mapping[str, Any]) -> bool:
    """Whether a run of ours has written that document of the lock."""
    texts = [documents.text(document.get(key)) for key in ("token", "by", "subtask")]
    moments = [documents.moment(document.get(key)) for key in ("since", "expires_at")]
    return None not in [*texts, *moments]
