"""One run at a time: a lease in the collection ``migrations_lock``, judged by the server's clock only."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Container, Mapping

from pymongo import ReturnDocument
from pymongo.errors import AutoReconnect, DuplicateKeyError, PyMongoError

from .console import local_time
from .errors import LockLost, ServerFailed
from .mongo import answered, durable

if TYPE_CHECKING:
    from pymongo.database import Database

LOCK = "lock"

MARGIN = 0.1
"""The last part of the lease, in which its holder no longer relies on it and nobody else may take it yet."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Holder:
    """Who has the lock, or had it when the lease ran out (``held`` is False then)."""

    by: str
    pid: int
    subtask: str
    since: datetime
    migration: str | None = None
    held: bool = True
    token: str = ""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Holder:
        """Of a run that died before it had logged whom it found dead, that one: it is the one in a migration."""
        if "died" in document:
            document = {**document, **document["died"], "held": False}
        return cls(**{key: value for key, value in document.items() if key in cls.__dataclass_fields__})

    def left_half_done(self, registered: Container[str]) -> bool:
        """Whether it was in the middle of its migration, and had not just registered or unregistered it."""
        return self.migration is not None and (self.subtask == "rollback") == (self.migration in registered)

    def __str__(self) -> str:
        doing = f"{self.subtask} of {self.migration}" if self.migration else self.subtask
        return f"{self.by} (process {self.pid}, {doing}, since {local_time(self.since)})"


class Lock:
    """The lease of one run. ``take()`` it, then use it with ``with``: a thread renews it until the end of the block.

    Each renewal that the server acknowledges moves a local deadline to the moment it was sent, plus the lease, less a
    margin. Past that the lock counts as lost, whatever the network says: another run may have it.
    """

    def __init__(
        self, db: Database[dict[str, Any]], collection: str, address: str, lease: float, by: str, pid: int
    ) -> None:
        self.address = address
        self.died: Holder | None = None
        """The run whose lease ran out in the middle of a migration, as ``take()`` found it."""
        self._collection = durable(db[f"{collection}_lock"])
        self._lease = lease
        self._by = by
        self._pid = pid
        self._token = uuid.uuid4().hex
        self._deadline = 0.0
        self._taken_away = False
        self._ended = threading.Event()
        self._in_migration = False
        self._server_time, self._taken = LONG_AGO, 0.0

    @answered
    def holder(self) -> Holder | None:
        """Who has the lock, or died with it; None when it is free. One read, which writes nothing."""
        seen = self._collection.aggregate(
            [{"$match": {"_id": LOCK}}, {"$set": {"held": {"$gt": ["$expires_at", "$$NOW"]}}}]
        )
        return next(map(Holder.read, seen), None)

    @answered
    def take(self, subtask: str) -> Holder | None:
        """Take the lock if it is free or its lease ran out; otherwise return who has it.

        One atomic step, judged by the server's clock (``$$NOW`` in an update needs MongoDB 4.2).
        """
        sent = clock()
        try:
            found: dict[str, Any] | None = self._collection.find_one_and_update(
                {"_id": LOCK}, self._taking(subtask), upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # two runs made the document at the same moment; it is there now
            return self.take(subtask)
        assert found is not None  # an upsert that returns the document after it
        if found["token"] != self._token:
            return Holder.read(found)
        self._server_time, self._taken = found["since"], clock()
        self._deadline = max(self._deadline, sent + self._lease * (1 - MARGIN))
        self.died = Holder.read(found) if "died" in found else None
        return None

    def _taking(self, subtask: str) -> list[dict[str, Any]]:
        """Replace the document if it has run out, and keep of the old one who died in which migration."""
        facts = {"_id": LOCK, "token": self._token, "by": self._by, "pid": self._pid, "subtask": subtask}
        mine = {**{key: {"$literal": value} for key, value in facts.items()}, "since": "$$NOW", **self._renewed()}
        dead = {key: f"${key}" for key in ("by", "pid", "subtask", "migration", "since")}
        mine["died"] = {"$cond": [{"$gt": ["$migration", None]}, dead, "$died"]}
        free = {"$lte": [{"$ifNull": ["$expires_at", LONG_AGO]}, "$$NOW"]}
        return [{"$replaceWith": {"$cond": [free, mine, "$$ROOT"]}}]

    def _renewed(self) -> dict[str, Any]:
        return {"expires_at": {"$add": ["$$NOW", int(self._lease * 1000)]}}

    def __enter__(self) -> Lock:
        threading.Thread(target=self._keep_renewing, name="migopy lock", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back. A release that fails must not hide ``error``: the lease runs out by itself.

        In the middle of a migration of which nobody has written down how it ended, it is not given back either: its
        document tells the next run where this one was.
        """
        self._ended.set()
        if self._in_migration or isinstance(error, ServerFailed):
            return
        with contextlib.suppress(PyMongoError):
            self._collection.delete_one({"_id": LOCK, "token": self._token, "died": {"$exists": False}})

    def _keep_renewing(self) -> None:
        pause = self._lease / 3
        while not self._ended.wait(pause):
            pause = self._lease / 3
            try:
                self._renew({})
            except LockLost:
                return
            except PyMongoError:
                pause = self._lease / 30  # the server may be back in a moment; the deadline stands meanwhile

    def _renew(self, facts: dict[str, Any]) -> None:
        sent = clock()
        result = self._collection.update_one(
            {"_id": LOCK, "token": self._token}, [{"$set": {**facts, **self._renewed()}}]
        )
        if not result.matched_count:
            self._taken_away = True
            self.check()
        self._deadline = max(self._deadline, sent + self._lease * (1 - MARGIN))

    @answered
    def begin(self, migration: str) -> None:
        """Renew the lock and write down what runs now: if this process dies, the next one knows where.

        Raises ``LockLost``.
        """
        self.check()
        self._renew({"migration": {"$literal": migration}})
        self._in_migration = True

    def end(self) -> None:
        """How the migration ended has been written down, in the history or in the log."""
        self._in_migration = False

    @answered
    def died_is_logged(self) -> None:
        """What the run before left behind has been logged."""
        self._collection.update_one({"_id": LOCK, "token": self._token}, {"$unset": {"died": ""}})
        self.died = None

    def check(self) -> None:
        """Raises ``LockLost`` once the deadline has passed, or the lock was seen to be taken away. No round trip."""
        if self._taken_away:
            raise LockLost("The lock was taken away from this run by the subtask unlock or by another run.")
        if clock() >= self._deadline:
            raise LockLost(
                f"The lock was lost: its lease of {self._lease:g} s was not renewed in time, another run may have it."
            )

    @answered
    def confirm(self) -> None:
        """Raises ``LockLost`` unless the lock is still ours, before something is written that relies on it.

        ``unlock`` may have taken it since the last renewal, which only the server knows. One that cannot be reached is
        left to the write itself; the deadline stands meanwhile.
        """
        self.check()
        with contextlib.suppress(AutoReconnect):
            self._renew({})
        self.check()

    def seconds_left(self) -> float:
        return self._deadline - clock()

    def now(self) -> datetime:
        """The server's time, reckoned from the moment the lock was taken; in milliseconds, as BSON keeps it."""
        return self._server_time + timedelta(milliseconds=int((clock() - self._taken) * 1000))

    @answered
    def free(self, holder: Holder) -> Holder | None:
        """Take the lock away from that holder and no other; what it was doing at that moment, None if it has ended.

        What it was doing stays in the document until ``forget()``, so that the next run knows if this one dies.
        """
        document = self._collection.find_one_and_update(
            {"_id": LOCK, "token": holder.token},
            {"$set": {"token": self._token, "expires_at": LONG_AGO}},
            return_document=ReturnDocument.AFTER,
        )
        return Holder.read({**document, "held": False}) if document else None

    @answered
    def forget(self) -> None:
        """Delete what ``free()`` has left."""
        self._collection.delete_one({"_id": LOCK, "token": self._token})


def clock() -> float:
    """Seconds of a clock that nobody sets and that, on Linux, also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
