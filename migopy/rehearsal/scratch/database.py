"""The scratch database: the only one that is ever written to or dropped, because it carries our mark."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from types import TracebackType
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from ...errors import ConfigurationError, LockHeld, ServerFailed
from ...mongo.client import is_in_contact
from ...mongo.clock import literals
from ...mongo.concerns import majority_collection
from ...mongo.failures import server_errors, server_message
from ...mongo.kind import hello
from ...mongo.lease import IS_HELD, Renewal, describe_holder, expires_in, is_running
from . import raw

if TYPE_CHECKING:
    from pymongo.database import Database

MARK = "migopy_rehearsal"
"""The collection that marks a scratch database, and the ``_id`` of its one document."""

LEASE_SECONDS = 60
"""How long a mark counts for other machines after its owner has renewed it."""

DIFFERS_IN_CASE_ONLY = 13297
"""The error code DatabaseDifferCase: MongoDB has one database of a name, whatever its case."""

MAX_NAME_BYTES = 63  # https://www.mongodb.com/docs/manual/reference/limits/

NEEDED_ACTIONS = (
    *("find", "insert", "update", "remove", "createCollection", "dropCollection", "createIndex", "dropDatabase"),
    *("listCollections", "listIndexes", "bypassDocumentValidation"),
)
"""What the user must be allowed to do there; the role ``dbOwner`` allows all of it."""


class Scratch:
    """A database of our own for a ``with`` block, dropped at its end unless ``keep`` is set.

    The mark says whose it is: ``owner`` (user@host), ``host``, ``pid``, ``since``, ``source``. Its ``expires_at`` is
    moved while the owner lives: other machines cannot look for its process. Usable by itself.
    """

    def __init__(self, db: Database[Any], *, owner: str, source: str, address: str, keep: bool = False) -> None:
        self.db = db
        self.left_behind = ""
        """Who has left a scratch database there; empty if nobody has."""
        self.address = address
        self.keep = keep
        self._marks = majority_collection(db, MARK)
        self._token = uuid.uuid4().hex
        self._facts = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "source": source}
        self._renewal = Renewal(self._renew, every=LEASE_SECONDS / 6, name="migopy rehearsal")

    def require_free(self) -> None:
        """Check that the database can be taken, and write nothing.

        Raises ``ConfigurationError`` when it is not ours or the user lacks rights there, ``LockHeld`` when it is in
        use.
        """
        where = f"{self.db.name} at {self.address}"
        if len(self.db.name.encode()) > MAX_NAME_BYTES:
            raise ConfigurationError(
                f"{self.db.name} is too long for a database name (at most {MAX_NAME_BYTES} bytes): set"
                " REHEARSAL_DATABASE to a shorter one. Nothing was copied."
            )
        missing = self._missing_actions()
        if missing:
            raise ConfigurationError(
                f"The user may not {', '.join(missing)} in {where}: grant the role dbOwner on that database, or set"
                " REHEARSAL_DATABASE or REHEARSAL_URI to a place where the user may. Nothing was copied."
            )
        names = self.db.list_collection_names()
        if names and MARK not in names:
            raise ConfigurationError(
                f"{where} exists and was not made by a rehearsal: drop it if nobody needs it, or set"
                " REHEARSAL_DATABASE to another name. Nothing was copied."
            )
        mark = self._marks.find_one({"_id": MARK})
        if mark and self._is_alive(mark):
            self._refuse(mark)

    def _missing_actions(self) -> list[str]:
        """The needed actions that the user may not do; empty on a server without users."""
        status = self.db.client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
        if not status["authenticatedUsers"]:
            return []
        privileges = status["authenticatedUserPrivileges"]
        allowed = {
            action
            for privilege in privileges
            if self._includes_db(privilege["resource"])
            for action in privilege["actions"]
        }
        return [] if "anyAction" in allowed else [action for action in NEEDED_ACTIONS if action not in allowed]

    def _includes_db(self, resource: Mapping[str, Any]) -> bool:
        is_db = resource.get("db") in ("", self.db.name) and resource.get("collection") == ""
        return is_db or bool(resource.get("anyResource"))

    def _is_alive(self, mark: Mapping[str, Any]) -> bool:
        if mark.get("kept"):
            return False
        if mark.get("host") == self._facts["host"]:
            return is_running(mark["pid"])
        return self._marks.find_one({"_id": MARK, "$expr": IS_HELD}) is not None

    def _refuse(self, mark: Mapping[str, Any]) -> None:
        raise LockHeld(
            f"{_owner_of(mark)} is rehearsing in {self.db.name} at {self.address}. Nothing was copied: try again when"
            " that rehearsal has ended, or set REHEARSAL_DATABASE to another name.",
            by=mark["owner"],
            since=mark["since"],
        )

    def __enter__(self) -> Scratch:
        """Put our mark there, and remove what another rehearsal has left behind."""
        with contextlib.ExitStack() as undo, server_errors(self.address):
            undo.push(self._drop)
            self._take()
            undo.pop_all()
        self._renewal.start()
        return self

    def _take(self) -> None:
        mark = self._marks.find_one({"_id": MARK})
        with contextlib.suppress(DuplicateKeyError):
            wanted = {"_id": MARK, "token": mark["token"] if mark else self._token}
            # One atomic step: if two try at once, one of them finds the mark of the other.
            with self._explain_similar_name():
                self._marks.update_one(wanted, [{"$replaceWith": self._mark()}], upsert=not mark)
        taken = self._marks.find_one({"_id": MARK})
        if taken and taken["token"] != self._token:
            self._refuse(taken)
        self.left_behind = _owner_of(mark) if mark else ""
        for info in raw.list_collections(self.db, without=[MARK]):
            if info["name"] == raw.STORED_FUNCTIONS:
                self.db[raw.STORED_FUNCTIONS].delete_many({})  # MongoDB drops this collection only with its database
            else:
                self.db.drop_collection(info["name"])

    @contextlib.contextmanager
    def _explain_similar_name(self) -> Iterator[None]:
        """Raises ``ConfigurationError`` if another database has this name in other upper and lower case."""
        try:
            yield
        except OperationFailure as error:
            if error.code != DIFFERS_IN_CASE_ONLY:
                raise
            raise ConfigurationError(
                f"{self.db.name} cannot be made at {self.address}, because another database has the same name in"
                f" other upper and lower case ({server_message(error)}): set REHEARSAL_DATABASE to another name."
                " Nothing was copied."
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop the database, unless it is to be kept."""
        self._renewal.end()
        if error:
            if not is_in_contact(self.db.client):
                return  # no waiting for a dead server: the next rehearsal removes what is left
            with contextlib.suppress(ServerFailed):
                self.mark_again()
        self._drop(kind, error, trace)

    def _drop(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # A failure to drop must not hide the first error.
        with contextlib.suppress(PyMongoError) if error else server_errors(self.address):
            if self.keep:
                self._marks.update_one({"_id": MARK, "token": self._token}, {"$set": {"kept": True}})
            elif self._marks.find_one({"_id": MARK, "token": self._token}):
                if error:
                    raw.kill_commands(self.db)
                self.db.client.drop_database(self.db.name)

    def mark_again(self) -> None:
        """Put the mark back if a migration has removed it."""
        with server_errors(self.address), contextlib.suppress(DuplicateKeyError):
            wanted = {"_id": MARK, "token": self._token}
            self._marks.update_one(wanted, [{"$replaceWith": self._mark()}], upsert=True)

    def _mark(self) -> dict[str, Any]:
        facts = {"token": self._token, **self._facts}
        return {"_id": MARK, **literals(facts), "since": "$$NOW", **expires_in(LEASE_SECONDS)}

    def _renew(self) -> bool:
        # If a migration has dropped the mark, the database is still ours.
        self._marks.update_one({"_id": MARK, "token": self._token}, [{"$set": expires_in(LEASE_SECONDS)}])
        return True


def _owner_of(mark: Mapping[str, Any]) -> str:
    """``ann@web1 (process 12, since 2026-01-31 12:00:00 UTC)``."""
    return describe_holder(mark["owner"], mark["pid"], mark["since"])


def is_same_server(one: Database[Any], other: Database[Any]) -> bool:
    # From MongoDB 4.4 on each server process has an id of its own.
    ids = [hello(db.client).get("topologyVersion", {}).get("processId") for db in (one, other)]
    return bool(ids[0] == ids[1] is not None or one.client.nodes & other.client.nodes)
