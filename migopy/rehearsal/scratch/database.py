"""The scratch database: one that carries our mark. Nothing else is ever dropped or written into."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Mapping

from pymongo.errors import DuplicateKeyError, PyMongoError

from ...errors import ConfigurationError, LockHeld, ServerFailed
from ...mongo.client import is_in_contact
from ...mongo.clock import literals
from ...mongo.concerns import with_majority
from ...mongo.failures import server_errors
from ...mongo.kind import hello
from ...mongo.lease import IS_HELD, Renewal, describe_holder, expires_in, is_running
from . import raw

if TYPE_CHECKING:
    from pymongo.database import Database

MARK = "migopy_rehearsal"
"""The collection that is the mark, and the ``_id`` of its one document."""

LEASE = 60
"""Seconds after which a scratch database is free whose owner, on another machine, has given no sign of life."""

NAME_BYTES = 63
"""The longest name of a database (https://www.mongodb.com/docs/manual/reference/limits/)."""

NEEDED = (
    *("find", "insert", "update", "remove", "createCollection", "dropCollection", "createIndex", "dropDatabase"),
    *("listCollections", "listIndexes", "bypassDocumentValidation"),
)
"""What the user has to be allowed to do there; ``dbOwner`` of the database is."""


class Scratch:
    """A database of our own for a ``with`` block, gone at its end unless it is kept.

    The mark tells whose it is: ``owner`` (user@host), ``host``, ``pid``, ``since``, ``source``. Its ``expires_at``
    moves on while the owner lives, for those on other machines, who cannot look for its process.
    """

    def __init__(self, db: Database[Any], *, owner: str, source: str, address: str, keep: bool = False) -> None:
        self.db = db
        self.left_behind = ""
        """Whose scratch database it was before, if somebody had left it there."""
        self.address = address
        self.keep = keep
        self._marks = with_majority(db[MARK])
        self._token = uuid.uuid4().hex
        self._facts = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "source": source}
        self._renewal = Renewal(self._renew, every=LEASE / 6, name="migopy rehearsal")

    def require_free(self) -> None:
        """Raises ``ConfigurationError`` when the database is none of ours, or the user may not do there what is needed,
        ``LockHeld`` when it is in use. Writes nothing.
        """
        where = f"{self.db.name} at {self.address}"
        if len(self.db.name.encode()) > NAME_BYTES:
            raise ConfigurationError(
                f"{self.db.name} is too long for the name of a database: set REHEARSAL_DATABASE to another. Nothing was"
                " copied."
            )
        lacking = self._lacking()
        if lacking:
            raise ConfigurationError(
                f"The user may not {', '.join(lacking)} in {where}: give him the role dbOwner of it, or set"
                " REHEARSAL_DATABASE or REHEARSAL_URI to a place where he may. Nothing was copied."
            )
        names = self.db.list_collection_names()
        if names and MARK not in names:
            raise ConfigurationError(
                f"{where} is there and has no mark of a rehearsal, it may be anybody's: drop it, or set"
                " REHEARSAL_DATABASE to another name. Nothing was copied."
            )
        mark = self._marks.find_one({"_id": MARK})
        if mark and self._is_alive(mark):
            self._refuse(mark)

    def _lacking(self) -> list[str]:
        """What the user may not do; nothing on a server without users."""
        status = self.db.client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
        if not status["authenticatedUsers"]:
            return []
        privileges = status["authenticatedUserPrivileges"]
        allowed = {action for one in privileges if self._is_ours(one["resource"]) for action in one["actions"]}
        return [] if "anyAction" in allowed else [action for action in NEEDED if action not in allowed]

    def _is_ours(self, resource: Mapping[str, Any]) -> bool:
        of_database = resource.get("db") in ("", self.db.name) and resource.get("collection") == ""
        return of_database or bool(resource.get("anyResource"))

    def _is_alive(self, mark: Mapping[str, Any]) -> bool:
        if mark.get("kept"):
            return False
        if mark.get("host") == self._facts["host"]:
            return is_running(mark["pid"])
        return self._marks.find_one({"_id": MARK, "$expr": IS_HELD}) is not None

    def _refuse(self, mark: Mapping[str, Any]) -> None:
        raise LockHeld(
            f"{_described(mark)} is rehearsing in {self.db.name} at {self.address}. Nothing was copied; try again when"
            " that has ended, or set REHEARSAL_DATABASE to another name.",
            by=mark["owner"],
            since=mark["since"],
        )

    def __enter__(self) -> Scratch:
        """Put our mark there, and empty what somebody has left behind. Whoever is interrupted in it leaves nothing."""
        with contextlib.ExitStack() as undo, server_errors(self.address):
            undo.push(self._drop)
            self._take()
            undo.pop_all()
        self._renewal.start()
        return self

    def _take(self) -> None:
        """The mark is one atomic step."""
        mark = self._marks.find_one({"_id": MARK})
        with contextlib.suppress(DuplicateKeyError):
            wanted = {"_id": MARK, "token": mark["token"] if mark else self._token}
            self._marks.update_one(wanted, [{"$replaceWith": self._mark()}], upsert=not mark)
        taken = self._marks.find_one({"_id": MARK})
        if taken and taken["token"] != self._token:
            self._refuse(taken)
        self.left_behind = _described(mark) if mark else ""
        for info in raw.collections(self.db, without=[MARK]):
            if info["name"] == raw.STORED_FUNCTIONS:
                self.db[raw.STORED_FUNCTIONS].delete_many({})  # MongoDB drops it with the database only
            else:
                self.db.drop_collection(info["name"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the database. A server that is gone is not waited for: the next one removes what is left."""
        self._renewal.end()
        if error:
            if not is_in_contact(self.db.client):
                return
            with contextlib.suppress(ServerFailed):
                self.mark_again()
        self._drop(kind, error, trace)

    def _drop(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """That it cannot be done must not hide ``error``."""
        with contextlib.suppress(PyMongoError) if error else server_errors(self.address):
            if self.keep:
                self._marks.update_one({"_id": MARK, "token": self._token}, {"$set": {"kept": True}})
            elif self._marks.find_one({"_id": MARK, "token": self._token}):
                if error:
                    raw.end_commands(self.db)
                self.db.client.drop_database(self.db.name)

    def mark_again(self) -> None:
        """Put back the mark if somebody has dropped all collections, or deleted what was in them."""
        with server_errors(self.address), contextlib.suppress(DuplicateKeyError):
            wanted = {"_id": MARK, "token": self._token}
            self._marks.update_one(wanted, [{"$replaceWith": self._mark()}], upsert=True)

    def _mark(self) -> dict[str, Any]:
        facts = {"token": self._token, **self._facts}
        return {"_id": MARK, **literals(facts), "since": "$$NOW", **expires_in(LEASE)}

    def _renew(self) -> bool:
        """Always True: code of the team that drops the mark does not make the database somebody else's."""
        self._marks.update_one({"_id": MARK, "token": self._token}, [{"$set": expires_in(LEASE)}])
        return True


def _described(mark: Mapping[str, Any]) -> str:
    """``ann@web1 (process 12, since 2026-01-31 12:00:00 UTC)``."""
    return describe_holder(mark["owner"], mark["pid"], mark["since"])


def is_same_server(one: Database[Any], other: Database[Any]) -> bool:
    """Whether both clients talk to the same server; each process of MongoDB tells an id of its own from 4.4 on."""
    ids = [hello(db.client).get("topologyVersion", {}).get("processId") for db in (one, other)]
    return bool(ids[0] == ids[1] is not None or one.client.nodes & other.client.nodes)
