"""The guard: keeps what a process sends to MongoDB inside of one database. Usable by itself."""

from __future__ import annotations

import contextlib
import functools
import gc
import mmap
import os
import signal
import socket
import sys
import threading
from collections import Counter
from multiprocessing.context import ForkServerProcess, SpawnProcess
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn

import pymongo
from pymongo import MongoClient, monitoring

from .recorder import Recorder


def _do_nothing(*args: object) -> None: ...


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONNECTION_COMMANDS = _names(
    "hello ismaster ping buildinfo connectionstatus whatsmyuri endsessions startsession refreshsessions killsessions"
    " killcursors committransaction aborttransaction authenticate getnonce logout saslstart saslcontinue"
)
"""These touch no documents; some are sent to the database that knows the user."""

READ_COMMANDS = _names(
    "find aggregate count distinct getmore explain listcollections listindexes listdatabases collstats dbstats"
    " datasize dbhash serverstatus hostinfo getparameter getcmdlineopts getlog top features listcommands currentop"
    " replsetgetstatus replsetgetconfig usersinfo rolesinfo"
)
"""These only read, except for an aggregation that writes its result to a collection."""

SERVER_COMMANDS = _names(
    "createuser updateuser dropuser dropallusersfromdatabase grantrolestouser revokerolesfromuser createrole updaterole"
    " droprole dropallrolesfromdatabase grantprivilegestorole revokeprivilegesfromrole grantrolestorole"
    " revokerolesfromrole profile"
)
"""These are sent to a database and change something outside of it: users are kept in ``admin``."""

COLLECTION_WRITES = _names("insert update delete findandmodify create createindexes dropindexes collmod drop")
"""These change only the collection that they name first."""

NAMESPACE_COMMANDS = ("renamecollection", "bulkwrite")
"""These are sent to ``admin`` and name collections with their databases."""

COLLECTION_IN = {"$out": "coll", "$merge": "into", "$lookup": "from", "$unionWith": "coll"}
"""Stages that may name another database, with the option that names the collection."""

PROCESS_EVENTS = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
"""Audit events before another process begins (https://docs.python.org/3/library/audit_events)."""

SHARED_BYTES = mmap.PAGESIZE
"""For the text of an error in a forked process."""


UNWATCHED_WORKER = (
    "it would start a process that cannot be watched, because multiprocessing would not fork it: use"
    " multiprocessing.get_context('fork'). The process was not started"
)


class OutsideError(BaseException):
    """The code wanted to leave the database. The command was not sent."""

    # Not an Exception: PyMongo would log it and go on, and so might the code that has to be stopped.


class BeforeWriteError(BaseException):
    """``before_write`` has failed. The command was not sent."""


class Place(NamedTuple):
    """A database on a server, which may have several addresses."""

    addresses: frozenset[tuple[str, int | None]]
    database: str


class Guard(monitoring.CommandListener):
    """Keeps code inside of one database, for all clients that are made after the guard was entered.

    During ``watch()`` a command raises ``OutsideError`` before it is sent, if it would write outside of the database
    ``inside``, or touch a database named ``forbidden`` on any server. A forked process is stopped in the same way, and
    this process then gets a SIGTERM, for it may be waiting for the other one.
    """

    def __init__(self, inside: Place, forbidden: str) -> None:
        self._inside = inside
        self._forbidden = forbidden
        self._is_watching = False
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._stopped_here: OutsideError | None = None
        self._text_of_fork = mmap.mmap(-1, SHARED_BYTES)
        """What was stopped in a forked process; the memory is shared with it."""
        self.before_write_error: Exception | None = None
        """What ``before_write`` has raised."""
        self.commands: Counter[tuple[str, str]] = Counter()
        """How often each command was sent to each collection."""
        self.recorder = Recorder()
        """The changes of the code that is watched, or was watched last."""
        self._before_write: Callable[[str | None], object] = _do_nothing
        self._commands_seen = 0

    def __enter__(self) -> Guard:
        monitoring.register(self)
        sys.addaudithook(self._on_audit_event)
        return self

    def __exit__(self, *_: object) -> None:
        # Neither PyMongo nor Python can remove a listener; this one does nothing any more.
        self._is_watching = False

    @property
    def stopped(self) -> OutsideError | None:
        """The error for the first command that was not sent, even if the code has caught it."""
        text = self._text_of_fork[:].rstrip(b"\0")
        return OutsideError(text.decode(errors="replace")) if text and not self._stopped_here else self._stopped_here

    @contextlib.contextmanager
    def watch(self, before_write: Callable[[str | None], object] = _do_nothing) -> Iterator[None]:
        """Watch the commands of the code inside.

        ``before_write`` is called before each command that may write, with the name of the collection, or with None
        if it may be any; also before a transaction and before another process begins.
        """
        self._stopped_here = self.before_write_error = None
        self._text_of_fork[:] = bytes(SHARED_BYTES)
        self.commands = Counter()
        self.recorder = Recorder()
        self._before_write = before_write
        self._is_watching = True
        try:
            with self._refusing_workers():
                yield
        finally:
            self._is_watching = False
            self._before_write = _do_nothing  # the listener, and all that it holds, lives as long as the process

    @contextlib.contextmanager
    def _refusing_workers(self) -> Iterator[None]:
        """Refuse processes of multiprocessing that are not forked: the guard is not in them."""

        def refuse(process: object) -> NoReturn:
            self._stop(OutsideError(UNWATCHED_WORKER))

        # multiprocessing has no hook for their start.
        kinds: Any = (SpawnProcess, ForkServerProcess)
        starts = [vars(kind)["_Popen"] for kind in kinds]
        for kind in kinds:
            kind._Popen = staticmethod(refuse)
        try:
            yield
        finally:
            for kind, start in zip(kinds, starts):
                kind._Popen = start

    def sees(self, client: MongoClient[Any]) -> bool:
        """Whether the commands of that client reach the guard."""
        before = self._commands_seen
        client.admin.command("ping")
        return self._commands_seen > before

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._commands_seen += 1
        if not self._is_watching:
            return
        outside = self._place_outside(event)
        if outside:
            what = f"{event.command_name} would touch {outside}, which is not the copy. The command was not sent"
            self._stop(OutsideError(what))
        self._count(event)
        for collection in _written_collections(event.command_name, event.command):
            self._call_before_write(collection)
        self.recorder.started(event)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if self._is_watching:
            self.recorder.succeeded(event)

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    def _stop(self, error: OutsideError) -> NoReturn:
        is_first = self.stopped is None
        self._stopped_here = self._stopped_here or error
        if is_first and os.getpid() != self._process:
            text = str(error).encode()[:SHARED_BYTES]
            self._text_of_fork[: len(text)] = text
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGTERM)
        raise error

    def _call_before_write(self, collection: str | None) -> None:
        try:
            self._before_write(collection)
        except Exception as error:  # PyMongo would log it and go on
            self.before_write_error = self.before_write_error or error
            raise BeforeWriteError from error

    def _on_audit_event(self, event: str, arguments: object) -> None:
        # A new process may write anywhere in the database, unseen.
        if self._is_watching and event in PROCESS_EVENTS:
            self._call_before_write(None)

    def _count(self, event: monitoring.CommandStartedEvent) -> None:
        collection = event.command.get("collection") or event.command.get(event.command_name)
        if isinstance(collection, str):
            if event.command_name.lower() == "renamecollection":
                collection = collection.partition(".")[2]
            with self._lock:
                self.commands[collection, event.command_name] += 1

    def _place_outside(self, event: monitoring.CommandStartedEvent) -> str:
        """What the command would touch and must not; empty if it may be sent."""
        name = event.command_name.lower()
        if name in CONNECTION_COMMANDS and not _kills_sessions_of_others(event):
            return ""
        is_here = not self._inside.addresses.isdisjoint(addresses([event.connection_id]))
        for database in _named_databases(name, event):
            if not is_here or database != self._inside.database:
                return database
        return "" if name in NAMESPACE_COMMANDS else self._addressed_outside(name, event.database_name, is_here)

    def _addressed_outside(self, name: str, database: str, is_here: bool) -> str:
        """The same, for the database that the command is sent to."""
        if is_here and database == self._inside.database:
            return "admin (users and profiles)" if name in SERVER_COMMANDS else ""
        return "" if name in READ_COMMANDS and database != self._forbidden else database


def _kills_sessions_of_others(event: monitoring.CommandStartedEvent) -> bool:
    # An empty list means all sessions, not only those of this client.
    return event.command_name.lower() == "killsessions" and not event.command[event.command_name]


def _written_collections(name: str, command: Mapping[str, Any]) -> Iterator[str | None]:
    """The collection that a command may write to; None if it may be any."""
    # A transaction has a time limit, so all collections count when it begins.
    if name.lower() in COLLECTION_WRITES and "startTransaction" not in command:
        yield command[name]
    elif (
        name.lower() not in CONNECTION_COMMANDS | READ_COMMANDS
        or "startTransaction" in command
        or _writes_its_result(command)
    ):
        yield None


def _writes_its_result(command: Mapping[str, Any]) -> bool:
    stages = command.get("pipeline", ())
    return any("$out" in stage or "$merge" in stage for stage in stages)


def _named_databases(name: str, event: monitoring.CommandStartedEvent) -> Iterator[str]:
    """The databases that a command names in its arguments."""
    command = event.command
    if name == "renamecollection":
        yield from (_database_of(command[event.command_name]), _database_of(command["to"]))
    elif name == "bulkwrite":
        yield from (_database_of(namespace["ns"]) for namespace in command["nsInfo"])
    elif name == "mapreduce" and isinstance(command["out"], Mapping):
        yield command["out"].get("db", event.database_name)
    elif name in ("aggregate", "explain"):
        yield from _named_in_stages(command, event.database_name)


def _database_of(namespace: str) -> str:
    return namespace.partition(".")[0]


def _named_in_stages(part: Any, database: str) -> Iterator[str]:
    """The databases that ``$out`` and ``$merge`` write to, and others that ``$lookup`` and ``$unionWith`` read."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key in COLLECTION_IN:
                yield from _named_in_stage(key, value, database)
            yield from _named_in_stages(value, database)
    elif isinstance(part, (list, tuple)):
        for inner in part:
            yield from _named_in_stages(inner, database)


def _named_in_stage(stage: str, value: Any, database: str) -> Iterator[str]:
    target = value if isinstance(value, Mapping) else {}
    collection = target.get(COLLECTION_IN[stage])
    named = [place["db"] for place in (target, collection) if isinstance(place, Mapping) and "db" in place]
    yield from named
    if not named and stage in ("$out", "$merge"):
        yield database


@functools.lru_cache(maxsize=None)
def _resolve(host: str, port: int | None) -> frozenset[tuple[str, int | None]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    return frozenset([(host, port), *((str(address[0]), port) for *_, address in found)])


def addresses(nodes: Iterable[tuple[str, int | None]]) -> frozenset[tuple[str, int | None]]:
    """All addresses of these servers, such as localhost and 127.0.0.1 for the same one."""
    return frozenset().union(*(_resolve(*node) for node in nodes))


def existing_clients() -> list[Any]:
    """The MongoDB clients that are alive in this process."""
    gc.collect()  # unreachable clients do not count
    kinds = tuple(vars(pymongo)[name] for name in ("MongoClient", "AsyncMongoClient") if name in vars(pymongo))
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]
