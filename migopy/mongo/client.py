"""From settings to a connected client, and from PyMongo's errors to sentences."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import time
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence, TypeVar, cast
from urllib.parse import unquote

from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    InvalidName,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern

from .. import errors
from ..terminal.signals import PATIENCE
from ..terminal.texts import hide, masked, one_line, told, without_reply

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

FIRST_CONTACT = 5
"""Seconds until a server counts as not there. Later PyMongo's own 30 s hold: a replica set may be electing."""

HEARTBEAT = 2_000
"""Milliseconds between two looks of PyMongo's monitor at the server."""

RETRY_PAUSE = 0.5
"""Seconds between two attempts to reach a server that does not answer."""

MAJORITY_TIMEOUT = 10_000
"""Milliseconds that a write, or a read of what a majority has, may wait for a majority of the replica set."""

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
AUTHENTICATION_FAILED, UNAUTHORIZED, COMMAND_NOT_FOUND = 18, 13, 59

EXTERNAL_MECHANISMS = ("MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI")
"""Mechanisms of which no database of the server knows the user: their authSource is ``$external``."""

WIRE_OF_4_4 = 9
"""The version of the wire protocol that MongoDB 4.4 speaks."""

# Of the client's options those that say how to reach the server; the others are about reading and writing.
CONNECTION_OPTION = re.compile(r"tls|ssl|auth|replicaset|directconnection|loadbalanced|connecttimeout", re.IGNORECASE)

SECRET_OPTION = re.compile(r"pass|secret|token|mechanismproperties", re.IGNORECASE)

REFUSED_COMMAND = re.compile(
    r"not authorized on (?P<database>\S+) to execute command \{ (?P<name>\w+): (?:\"(?P<on>[^\"]+)\")?"
)
"""What the server says of a command that a user may not run; the whole command follows, with keys of the session."""

ACTIONS = {
    "aggregate": "find",
    "delete": "remove",
    "findAndModify": "find, insert and update",
    "update": "insert and update",
}
"""The privileges that our commands need, where they are not named as the command is."""

Method = TypeVar("Method", bound=Callable[..., Any])
Durable = TypeVar("Durable", "Collection[dict[str, Any]]", "Database[dict[str, Any]]")


@dataclass(frozen=True)
class Server:
    """Where the database is and who asks: the settings of a ``MigrationsManager``."""

    host: str
    port: int
    uri: str | None = field(default=None, repr=False)
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    auth_database: str | None = None
    client_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    uri_setting: str = "MONGO_URI"

    def __post_init__(self) -> None:
        hide(*self._secrets())

    def _secrets(self) -> Iterator[object]:
        """What must be in no text: passwords and tokens, in whatever setting they stand."""
        yield self.password
        for text in (self.uri or "", str(self.host)):
            yield text.rpartition("://")[2].rpartition("@")[0].partition(":")[2]
        in_uri = (pair.partition("=") for pair in re.split("[?&;]", self.uri or ""))
        given = [(name, value) for name, _, value in in_uri] + list(dict(self.client_options or {}).items())
        for name, value in given:
            if SECRET_OPTION.search(str(name)):
                yield from value.values() if isinstance(value, Mapping) else [value]

    def elsewhere(self, uri: str | None, database: str) -> Server:
        """Another database, on the same server; or on that of ``REHEARSAL_URI``, where of the client's options those
        hold that do not say how to reach this one.
        """
        if uri is None:
            return replace(self, database=database, auth_database=self.auth_database or self.database_name())
        of_reading = {
            name: value
            for name, value in (self.client_options or {}).items()
            if not CONNECTION_OPTION.match(name) and name not in ("username", "password")
        }
        return Server(self.host, self.port, uri, database, client_options=of_reading, uri_setting="REHEARSAL_URI")

    @property
    def address(self) -> str:
        """Host and port for messages; never a user name or a password."""
        if self.uri is None:
            return self.hosts
        authority = re.split("[/?]", self.uri.partition("://")[2])[0]
        if "@" not in authority and _unfit_port(authority):
            return f"the address in {self.uri_setting}"  # it is cut in the middle of a password
        return authority.rpartition("@")[2]

    @property
    def hosts(self) -> str:
        """``MONGO_HOST`` may name several, and each may have a port of its own, as ``MongoClient`` takes them."""
        parts = [part.strip() for part in self.host.rpartition("@")[2].split(",")]
        has_port = (":" in part.rpartition("]")[2] or part.endswith(".sock") for part in parts)
        return ",".join(part if has else f"{part}:{self.port}" for part, has in zip(parts, has_port))

    def database_name(self) -> str:
        """``MONGO_DATABASE``, or the database in ``MONGO_URI``. Raises ``ConfigurationError`` when there is neither."""
        if self.database:
            return self.database
        in_uri = (self.uri or "").partition("://")[2].partition("?")[0].partition("/")[2]
        if not in_uri:
            raise errors.ConfigurationError(
                "No database is set: add MONGO_DATABASE = 'name of the database' to the class in the fabfile,"
                " or put it into MONGO_URI."
            )
        return unquote(in_uri)

    def client_arguments(self) -> dict[str, Any]:
        """The keyword arguments of the client: ``MONGO_CLIENT_OPTIONS``, and the user unless a URI names him."""
        arguments = dict(self.client_options)
        if self.user and not self.uri:
            arguments.setdefault("username", self.user)
            arguments.setdefault("password", self.password)
            if str(arguments.get("authMechanism")).upper() not in EXTERNAL_MECHANISMS:
                arguments.setdefault("authSource", self.auth_database or self.database_name())
        return arguments


def make_client(*args: Any, **kwargs: Any) -> MongoClient[dict[str, Any]]:
    """PyMongo's own client, which looks at the server more often if nothing else is said.

    PyMongo 4.0 closes a client whose user was refused only after the next heartbeat, by default in 10 seconds.
    """
    if "heartbeatfrequencyms" not in str(args).lower():
        kwargs.setdefault("heartbeatFrequencyMS", HEARTBEAT)
    return MongoClient(*args, **kwargs)


def connect(make_client: Callable[..., Any], server: Server) -> MongoClient[dict[str, Any]]:
    """A client of a server that answers.

    Raises ``ServerFailed`` when none does within ``FIRST_CONTACT`` seconds, ``ConfigurationError`` for settings that
    PyMongo does not take. A client of the application's own may not be connected yet, and has its own patience.
    """
    address = (server.uri,) if server.uri else (server.host, server.port)
    options = server.client_arguments()
    if "connect" in options or "connect=" in (server.uri or "").lower():
        options["connect"] = True  # now is when it is needed
    make = functools.partial(make_client, *address, **options)
    made = [_made(make, server)]
    is_the_applications = _is_held_elsewhere(made)
    client = made.pop()
    if is_the_applications:
        _the_applications.add(id(client))
    try:
        database(client, server)  # a name that cannot be is told before anything is waited for
    except errors.ConfigurationError:
        close(client)
        raise
    if is_the_applications:
        with server_errors(server.address):
            client.admin.command("ping")
    elif not is_in_contact(client):
        close(client)
        _require_answer(_made(functools.partial(make, serverSelectionTimeoutMS=1000), server), server)
        client = _made(make, server)
    return client


def is_in_contact(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether a server is found in time. ``nodes`` is what PyMongo's monitor has found so far; asking the server costs
    a round trip, looking there none.
    """
    deadline = time.monotonic() + FIRST_CONTACT
    while not client.nodes and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(client.nodes)


def _require_answer(probe: MongoClient[dict[str, Any]], server: Server) -> None:
    """Raises ``ServerFailed`` with the reason why none answers."""
    try:
        with server_errors(server.address):
            probe.admin.command("ping")
    finally:
        close(probe)


_the_applications: set[int] = set()
"""The ids of the clients that a ``MongoClient`` of the team's returned while somebody else holds them too."""


def _is_held_elsewhere(made: list[Any]) -> bool:
    """Whether somebody beside this list holds what is in it. PyMongo's own threads hold a client for moments only."""
    alone = [object()]
    until = time.monotonic() + 0.1
    while sys.getrefcount(made[0]) > sys.getrefcount(alone[0]):
        if time.monotonic() > until:
            return True
        time.sleep(0.002)
    return False


def named(parent: Any, name: str, setting: str) -> Any:
    """The database of a client, or the collection of a database, of that name.

    Raises ``ConfigurationError`` for one that PyMongo does not take.
    """
    try:
        return parent[name]
    except (InvalidName, TypeError) as error:
        raise errors.ConfigurationError(f"{setting} cannot be {name!r}: {told(error).rstrip('.')}.") from None


def database(client: MongoClient[dict[str, Any]], server: Server) -> Database[dict[str, Any]]:
    setting = "MONGO_DATABASE" if server.database else "The database in MONGO_URI"
    return cast("Database[dict[str, Any]]", named(client, server.database_name(), setting))


def close(client: MongoClient[dict[str, Any]]) -> None:
    """Close a client that was made for us, so that the end of the process waits neither for the server nor for threads.

    PyMongo would ask the server to end the client's sessions, and wait 30 s for one that is no longer there, or for
    ever for one that does not answer. It ends them by itself, after half an hour.

    At exit PyMongo joins the threads of all clients there were (``_shutdown_resources`` in its module ``monitor``).
    Those of a closed one have nothing left to do, but they notice it only after a sleep of up to 0.5 s, and most
    subtasks take less. Other clients of the process, the team's own, are joined as ever.
    """
    if id(client) in _the_applications:
        return
    _sessions_not_in_use(client)
    client.close()
    # No public name leads to the threads; these are the same in PyMongo 3.13 to 4.20. Where they are not, it waits.
    with contextlib.suppress(AttributeError):
        for executor in _threads(client):
            executor.join = _without_waiting


def _threads(client: Any) -> Iterator[Any]:
    """The executors of a client, each of which runs one daemon thread."""
    yield client._kill_cursors_executor
    topology = client._topology
    if topology._srv_monitor:
        yield topology._srv_monitor._executor
    for server in topology._servers.values():
        yield server._monitor._executor
        yield server._monitor._rtt_monitor._executor


def _without_waiting(timeout: float | None = None) -> None:
    """Stands in for ``join()``."""


def _made(make: Callable[..., Any], server: Server) -> MongoClient[dict[str, Any]]:
    try:
        with _masked_warnings():
            return cast("MongoClient[dict[str, Any]]", make())
    except (PyMongoError, ValueError, TypeError, OSError, Warning) as error:
        # OSError: of a file that an option names. Warning: of an option, with python -W error.
        setting = server.uri_setting if server.uri else "MONGO_HOST, MONGO_PORT"
        setting += " or MONGO_CLIENT_OPTIONS" if server.client_options else ""
        raise errors.ConfigurationError(
            f"PyMongo does not take the settings of the server ({setting}): {_without_secrets(error, server)}."
        ) from None


@contextlib.contextmanager
def _masked_warnings() -> Iterator[None]:
    """PyMongo 3.13 quotes the value of an option that it passes over."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        warnings.warn_explicit(masked(str(warning.message)), warning.category, warning.filename, warning.lineno)


def _without_secrets(error: Exception, server: Server) -> str:
    """PyMongo's words, unless part of a password is in them: of a URI it cannot split it may quote any part."""
    text = told(error).rstrip(".")
    where = (server.uri or str(server.host)).rpartition("://")[2]
    secret = where.rpartition("@")[0].partition(":")[2] or _unfit_port(re.split("[/?]", where)[0])
    parts = [part for part in re.split(r"[:/@?#%\[\]]", f"{secret}@{server.password or ''}") if part]
    # PyMongo 4.20.1 no longer quotes it, and says as little as "Bad database name".
    if any(part in text for part in parts) or (server.uri and "/" in secret):
        return "a user name and a password in it have to be percent-encoded (urllib.parse.quote_plus)"
    return one_line(text)


def _unfit_port(authority: str) -> str:
    """What stands where a port should, and is none; empty if all hosts have a port or leave it out."""
    unfit = re.search(r"(?:^|,)(?:\[[^\]]*\]|[^:,]*):([^,]*[^\d,][^,]*)", authority)
    return unfit[1] if unfit else ""


@contextlib.contextmanager
def server_errors(address: str) -> Iterator[None]:
    """Turn PyMongo's errors into ``ServerFailed``, whose sentence names the server and what to look at."""
    try:
        yield
    except AutoReconnect as error:
        raise errors.ServerFailed(_away(error, address), answers=False) from error
    except (WriteConcernError, ExecutionTimeout) as error:
        raise errors.ServerFailed(_without_majority(error, address)) from error
    except BulkWriteError as error:
        raise errors.ServerFailed(_half_written(error, address)) from error
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            raise errors.ServerFailed(
                f"MongoDB at {address} refuses the user: look at MONGO_USER, MONGO_USER_PASSWORD and"
                " MONGO_AUTH_DATABASE, or at MONGO_URI. If MongoDB has no users, leave them out: 1.0 did not use them."
            ) from error
        if error.code == UNAUTHORIZED:
            raise errors.NotAllowed(_not_allowed(error, address)) from error
        raise errors.ServerFailed(f"MongoDB at {address} refuses: {one_line(_said(error))}.") from error
    except InvalidBSON as error:
        raise errors.ServerFailed(
            f"A document in our collections at {address} cannot be read ({one_line(error)}): delete it, or mend it."
        ) from error
    except PyMongoError as error:
        raise errors.ServerFailed(f"MongoDB at {address}: {type(error).__name__}: {one_line(_said(error))}.") from error


def _away(error: AutoReconnect, address: str) -> str:
    """The sentence for a server that cannot be worked with: is it not there, or is there no primary?"""
    # "... Timeout: 1.0s, Topology Description: <...>" is for PyMongo's developers.
    reason = one_line(re.split(r" \(configured timeouts|, Timeout:", _said(error))[0])
    if isinstance(error, NotPrimaryError):
        return (
            f"MongoDB at {address} is not the primary of its replica set ({reason}), and only that one can be written"
            " to: name the set in the settings, without directConnection; while it elects a new one, try again."
        )
    if re.search("match selector|available for writes", reason):
        return (
            f"The replica set at {address} answers and has no primary ({reason}): it is electing one, or a majority of"
            " its members is away. Try again, or look at rs.status()."
        )
    return f"No MongoDB answers at {address} ({reason}): is it running, and is the address right?"


def _not_allowed(error: OperationFailure, address: str) -> str:
    """The sentence for a missing right: where, and which. The server quotes the whole command, its signature too."""
    refused = REFUSED_COMMAND.search(_said(error))
    if refused is None:
        return f"MongoDB at {address} does not allow it ({one_line(_said(error))}): look at MONGO_USER and its roles."
    name = refused["name"]
    place = ".".join(filter(None, refused.group("database", "on")))
    return (
        f"MongoDB at {address} does not allow this user to do it: the roles of MONGO_USER have to give the right to"
        f" {ACTIONS.get(name, name)} in {place}."
    )


def _without_majority(error: WriteConcernError | ExecutionTimeout, address: str) -> str:
    """The sentence for a server that answers and has no majority behind it; a write has happened all the same."""
    what = "has no answer that" if isinstance(error, ExecutionTimeout) else "has written it, but"
    return (
        f"MongoDB at {address} {what} a majority of the replica set has not confirmed within"
        f" {MAJORITY_TIMEOUT // 1000} s ({_said(error)}): are its members running? See rs.status()."
    )


def _half_written(error: BulkWriteError, address: str) -> str:
    """The sentence for a write of several documents that failed at one of them, or that no majority has confirmed."""
    details: Mapping[str, Any] = error.details or {}
    refusals = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    reason = refusals[0].get("errmsg") if refusals else str(error)
    return f"MongoDB at {address} refuses: {reason}. Written before that: {details.get('nInserted', 0)}."


def _said(error: PyMongoError) -> str:
    """The server's message without the whole reply that PyMongo puts behind it."""
    return without_reply(told(error)).rstrip(".")


def answered(method: Method) -> Method:
    """For the methods of an object with an ``address``: what PyMongo raises in them is the cause of a sentence."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with server_errors(self.address):
            return method(self, *args, **kwargs)

    return cast(Method, wrapped)


@contextlib.contextmanager
def abandoning_nothing(client: MongoClient[dict[str, Any]], session: ClientSession | None = None) -> Iterator[None]:
    """Where a signal ends the block, what the server does for it ends too.

    A command that has begun goes on after its client has hung up: beside the next run, or in a database that has been
    dropped. ``session`` is one that the block uses and does not end.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter of a handler that the team has set
        # Of the sessions that nobody uses any more, one that still has a command is that of the command abandoned.
        sessions = [*_sessions_not_in_use(client), *([session.session_id] if session else [])]
        ending = threading.Thread(target=kill_sessions, args=(client, sessions), daemon=True)
        ending.start()
        ending.join(PATIENCE)
        raise


def kill_sessions(client: MongoClient[dict[str, Any]], sessions: Sequence[Any]) -> None:
    """End what the server does in these sessions, their transactions too, if this user may."""
    if sessions:  # none would mean all of this user
        with contextlib.suppress(PyMongoError):
            client.admin.command("killSessions", sessions)


def _sessions_not_in_use(client: Any) -> list[Any]:
    """Those that PyMongo keeps for the next command, which it forgets with this."""
    # No public name leads to them; this one is the same in PyMongo 3.13 to 4.20. Where it is not, there are none.
    with contextlib.suppress(AttributeError):
        return list(client._topology.pop_all_sessions())
    return []


class Kind(NamedTuple):
    """What a server is: a replica set (and of what name) or a sharded cluster, or neither; and how old."""

    replica_set: str | None
    is_sharded: bool
    wire_version: int

    @property
    def has_transactions(self) -> bool:
        return bool(self.replica_set or self.is_sharded)

    @property
    def creates_in_transactions(self) -> bool:
        """Whether a transaction may write to a collection that does not exist yet."""
        return self.wire_version >= WIRE_OF_4_4


def kind(client: MongoClient[dict[str, Any]]) -> Kind:
    """What the primary says of itself.

    isMaster is what every version of MongoDB answers, hello what it answers with the Stable API (MongoDB 4.4.2).
    """
    try:
        answer = client.admin.command("hello")
    except OperationFailure as error:
        if error.code != COMMAND_NOT_FOUND:
            raise
        answer = client.admin.command("isMaster")
    return Kind(answer.get("setName"), answer.get("msg") == "isdbgrid", answer["maxWireVersion"])


def has_transactions(client: MongoClient[dict[str, Any]]) -> bool:
    return kind(client).has_transactions


def followed_replica_set(client: MongoClient[dict[str, Any]]) -> str | None:
    """The name of the replica set whose primary the client looks for; None if it stays at the server that is named."""
    name = kind(client).replica_set
    return name if client.primary else None


def durable(place: Durable) -> Durable:
    """The collection or database with writes that survive a failover and reads of such writes, whatever the URI says.

    Acknowledged is what is in the journal: on a standalone MongoDB 4.2 write concern majority does not mean that.
    Times come with their zone, and texts that are no UTF-8 come escaped, whatever the client was told.
    """
    return place.with_options(
        codec_options=CodecOptions(tz_aware=True, unicode_decode_error_handler="backslashreplace"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority", j=True, wtimeout=MAJORITY_TIMEOUT),
        read_concern=ReadConcern("majority"),
    )
