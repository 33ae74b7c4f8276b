"""Watches the commands of a client: a write that is not part of the migration's transaction is not sent."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

from bson.errors import InvalidBSON
from pymongo import monitoring

from ..terminal.texts import one_line
from . import internals

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


WRITES_OF_TRANSACTIONS = _names("insert update delete findandmodify create bulkwrite")
"""MongoDB can do these in a transaction."""

OTHER_WRITES = _names(
    "createindexes dropindexes deleteindexes collmod drop dropdatabase renamecollection converttocapped reindex"
    " clonecollectionascapped createuser updateuser dropuser createrole updaterole droprole enablesharding"
    " shardcollection"
)
"""MongoDB cannot do these in one, except indexes of a collection that is new or empty."""

PREPOSITIONS = {"insert": "into", "delete": "from", "update": "of"}

_threads = threading.local()


class NotInTransaction(BaseException):
    """A write is not part of the transaction. The command was not sent."""

    # Not an Exception: PyMongo would log it and go on, and so might the code that has to be stopped.


class TransactionGuard(monitoring.CommandListener):
    """The guard of one client, which does nothing unless it watches."""

    stopped: NotInTransaction | None = None
    """The error for the first write that was not sent, even if the code has caught it."""

    unread_write: str | None = None
    """The last command, if it has written and PyMongo could not read the answer."""

    has_written = False
    """Whether the code that is watched, or was watched last, has sent a write."""

    def __init__(self) -> None:
        self._is_watching = False
        self._session: Any = None

    @contextlib.contextmanager
    def watch(self, session: ClientSession | None) -> Iterator[None]:
        """With a session: raises ``NotInTransaction`` in the code that writes outside of it, and at the end again."""
        self.stopped = self.unread_write = None
        self.has_written = False
        self._is_watching, self._session = True, session.session_id["id"] if session else None
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException:
            # Whatever the code has made of the error, and whichever of its threads got it.
            if not self.stopped:
                raise
        finally:
            self._is_watching, self._session = False, None
        if self.stopped:
            raise self.stopped

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if not self._is_watching or getattr(_threads, "is_ours", False):
            return
        self.unread_write = None
        inside, command = self._session, event.command
        if inside is None and self.has_written:
            return
        write = describe_write(event.command_name, command)
        self.has_written = self.has_written or bool(write)
        is_inside = command.get("autocommit") is False and command["lsid"]["id"] == inside
        if write and inside and not is_inside:
            error = NotInTransaction(write)
            self.stopped = self.stopped or error
            raise error

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        # The server has answered, so this error comes from reading its answer.
        if (
            event.command_name.lower() in WRITES_OF_TRANSACTIONS
            and event.failure.get("errtype") == InvalidBSON.__name__
        ):
            self.unread_write = event.command_name


def describe_write(name: str, command: Mapping[str, Any]) -> str | None:
    """A sentence about a command that writes outside of the transaction; None if it does not write."""
    key, writes_result = name.lower(), _writes_its_result(command)
    if key in WRITES_OF_TRANSACTIONS:
        advice = "pass session=session to it"
    elif key in OTHER_WRITES or writes_result:
        advice = "MongoDB cannot do that in one, so move it to a migration without the parameter session"
    else:
        return None
    what = f"{name} {PREPOSITIONS.get(key, 'of')} {_target(name, command)}"
    which = ", which writes its result," if writes_result else ""
    return one_line(f"{what}{which} is not part of the transaction: {advice}")


def _target(name: str, command: Mapping[str, Any]) -> str:
    if "nsInfo" in command:  # bulkWrite, which names several collections
        return ", ".join(str(namespace["ns"]) for namespace in command["nsInfo"])
    value = command[name]
    if not isinstance(value, str):
        return str(command.get("$db", "the database"))
    # It is sent to the database admin, so the name of the collection has its database in front.
    return value.partition(".")[2] if name == "renameCollection" else value


def _writes_its_result(command: Mapping[str, Any]) -> bool:
    if "mapReduce" in command or "mapreduce" in command:
        out = command.get("out")
        return not (isinstance(out, Mapping) and "inline" in out)
    stages = command.get("pipeline", ())
    return "aggregate" in command and any("$out" in stage or "$merge" in stage for stage in stages)


def call_unwatched(function: Callable[[], Any]) -> None:
    """Call a function in a thread of ours, whose writes belong to no transaction."""
    _threads.is_ours = True
    function()


def guard_of(client: Any) -> TransactionGuard | None:
    """The guard of a client; None if the team's ``MongoClient`` made it without one."""
    return internals.listener_of(client, TransactionGuard)


@contextlib.contextmanager
def watch_writes(client: Any, session: ClientSession | None) -> Iterator[None]:
    """Inside, with a session, the client writes in its transaction only. Raises ``NotInTransaction``."""
    guard = guard_of(client)
    with guard.watch(session) if guard else contextlib.nullcontext():
        yield
