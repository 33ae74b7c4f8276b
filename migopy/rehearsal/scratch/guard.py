"""Keeping what a process sends to MongoDB inside of one database."""

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
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, NoReturn

import pymongo
from pymongo import MongoClient, monitoring


def _nothing(*told: object) -> None: ...


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


OF_CONNECTIONS = _names(
    "hello ismaster ping buildinfo connectionstatus whatsmyuri endsessions startsession refreshsessions killsessions"
    " killcursors committransaction aborttransaction authenticate getnonce logout saslstart saslcontinue"
)
"""Commands that neither read nor write documents; some of them are sent to the database that knows the user."""

READING = _names(
    "find aggregate count distinct getmore explain listcollections listindexes listdatabases collstats dbstats"
    " datasize dbhash serverstatus hostinfo getparameter getcmdlineopts getlog top features listcommands currentop"
    " replsetgetstatus replsetgetconfig usersinfo rolesinfo"
)
"""Commands that only read, but for an aggregation that says where its result goes."""

OF_THE_SERVER = _names(
    "createuser updateuser dropuser dropallusersfromdatabase grantrolestouser revokerolesfromuser createrole updaterole"
    " droprole dropallrolesfromdatabase grantprivilegestorole revokeprivilegesfromrole grantrolestorole"
    " revokerolesfromrole profile"
)
"""Commands that are sent to a database, and change what is not in it: users are kept in ``admin``."""

WRITING_TO_ONE = _names("insert update delete findandmodify create createindexes dropindexes collmod drop")
"""Commands that change nothing but the collection that they name first."""

NAMING_COLLECTIONS = ("renamecollection", "bulkwrite")
"""Commands that are sent to ``admin`` and name collections with their databases."""

COLLECTION_IN = {"$out": "coll", "$merge": "into", "$lookup": "from", "$unionWith": "coll"}
"""Stages that may name another database, and the option that names the collection."""


STARTING = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
"""What Python's audit hooks are told of before another process begins (https://docs.python.org/3/library/audit_events)."""

TOLD = mmap.PAGESIZE
"""Bytes for what a forked process tells."""


class OutsideError(BaseException):
    """Code wants to write elsewhere, or to touch what is not to be touched. Nothing has been sent.

    No ``Exception``: PyMongo logs those of a listener and goes on, and so may the code that is to be stopped.
    """


class NotLookedError(BaseException):
    """What was to be done before a command could not be done. Nothing has been sent."""


class Place(NamedTuple):
    """A database on a server, that on all its addresses."""

    addresses: frozenset[tuple[str, int | None]]
    database: str


class Guard(monitoring.CommandListener):
    """Sees every command before it is sent, of the clients that are made after it: PyMongo has no way to join others.

    While ``watching()``, what writes outside of the database ``inside`` raises ``OutsideError``, and so does whatever
    touches the database named ``forbidden``, here or elsewhere. Else it does nothing. In a process that is forked
    meanwhile it does the same; this one is ended by SIGTERM then, for it may wait for an answer of that.
    """

    def __init__(self, inside: Place, forbidden: str) -> None:
        self._inside = inside
        self._forbidden = forbidden
        self._watches = False
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._stopped: OutsideError | None = None
        self._told = mmap.mmap(-1, TOLD)
        """What was stopped in a forked process: memory that it has in common with this one."""
        self.not_looked: Exception | None = None
        """Why what was to be done before a command could not be done."""
        self.commands: Counter[tuple[str, str]] = Counter()
        """How often which command was sent to which collection."""
        self._before_write: Callable[[str | None], object] = _nothing
        self._seen = 0

    def __enter__(self) -> Guard:
        monitoring.register(self)
        sys.addaudithook(self._audited)
        return self

    def __exit__(self, *_: object) -> None:
        """Neither PyMongo nor Python has a way to take a listener back; this one does nothing any more."""
        self._watches = False

    @property
    def stopped(self) -> OutsideError | None:
        """The first command that was not sent, also where the code has caught the error."""
        told = self._told[:].rstrip(b"\0")
        return OutsideError(told.decode(errors="replace")) if told and not self._stopped else self._stopped

    @contextlib.contextmanager
    def watching(self, before_write: Callable[[str | None], object] = _nothing) -> Iterator[None]:
        """``before_write`` is called before a collection is written to, with None where that may be any; so it is
        before a transaction begins, which has a limit of time, and before another process does.
        """
        self._stopped = self.not_looked = None
        self._told[:] = bytes(TOLD)
        self.commands = Counter()
        self._before_write = before_write
        self._watches = True
        try:
            yield
        finally:
            self._watches = False
            self._before_write = _nothing  # a listener lives as long as its process, what it holds would too

    def sees(self, client: MongoClient[Any]) -> bool:
        """Whether it is told of the commands of that client."""
        before = self._seen
        client.admin.command("ping")
        return self._seen > before

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._seen += 1
        if not self._watches:
            return
        where = self._outside(event)
        if where:
            self._stop(OutsideError(f"{event.command_name} of {where}"))
        self._count(event)
        for collection in _written(event.command_name, event.command):
            self._look(collection)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    def _stop(self, error: OutsideError) -> NoReturn:
        is_first = self.stopped is None
        self._stopped = self._stopped or error
        if is_first and os.getpid() != self._process:
            text = str(error).encode()[:TOLD]
            self._told[: len(text)] = text
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGTERM)
        raise error

    def _look(self, collection: str | None) -> None:
        try:
            self._before_write(collection)
        except Exception as error:  # PyMongo would log it and go on
            self.not_looked = self.not_looked or error
            raise NotLookedError from error

    def _audited(self, event: str, arguments: object) -> None:
        """What another process does to the copy, nobody is told before."""
        if self._watches and event in STARTING:
            self._look(None)

    def _count(self, event: monitoring.CommandStartedEvent) -> None:
        collection = event.command.get("collection") or event.command.get(event.command_name)
        if isinstance(collection, str):
            with self._lock:
                self.commands[collection, event.command_name] += 1

    def _outside(self, event: monitoring.CommandStartedEvent) -> str:
        """What the command would touch and must not; empty if it may be sent."""
        name, database = event.command_name.lower(), event.database_name
        of_everybody = name == "killsessions" and not event.command[event.command_name]
        if name in OF_CONNECTIONS and not of_everybody:
            return ""
        is_here = not self._inside.addresses.isdisjoint(addresses([event.connection_id]))
        for named in _named_databases(name, event):
            if not is_here or named != self._inside.database:
                return named
        if name in NAMING_COLLECTIONS:
            return ""
        if is_here and database == self._inside.database:
            return "admin, where users and profiles are kept" if name in OF_THE_SERVER else ""
        return "" if name in READING and database != self._forbidden else database


def _written(name: str, command: Mapping[str, Any]) -> Iterator[str | None]:
    """The collection that a command may write to; None if it may be any."""
    if name.lower() in WRITING_TO_ONE and "startTransaction" not in command:
        yield command[name]
    elif name.lower() not in OF_CONNECTIONS | READING or "startTransaction" in command or _writes_its_result(command):
        yield None


def _writes_its_result(command: Mapping[str, Any]) -> bool:
    stages = command.get("pipeline", ())
    return any("$out" in stage or "$merge" in stage for stage in stages)


def _named_databases(name: str, event: monitoring.CommandStartedEvent) -> Iterator[str]:
    """The databases that a command names besides the one that it is sent to, and that one where it has to be inside."""
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
    """Where ``$out`` and ``$merge`` write, and the other databases that ``$lookup`` and ``$unionWith`` read."""
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
def _resolved(host: str, port: int | None) -> frozenset[tuple[str, int | None]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    return frozenset([(host, port), *((str(address[0]), port) for *_, address in found)])


def addresses(nodes: Iterable[tuple[str, int | None]]) -> frozenset[tuple[str, int | None]]:
    """All addresses of these servers: one may be called localhost and 127.0.0.1."""
    return frozenset().union(*(_resolved(*node) for node in nodes))


def clients() -> list[Any]:
    """The clients that this process has made and not given up yet."""
    gc.collect()  # those that nobody has any more may still lie about
    kinds = tuple(vars(pymongo)[name] for name in ("MongoClient", "AsyncMongoClient") if name in vars(pymongo))
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]
