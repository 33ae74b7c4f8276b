"""From settings to a connected client, and from PyMongo's errors to sentences."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Mapping, TypeVar, cast
from urllib.parse import quote, unquote, urlencode

from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import AutoReconnect, InvalidName, NotPrimaryError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from . import errors
from .texts import hide, one_line, told, without_reply

FIRST_CONTACT = 5
"""Seconds until a server counts as not there. Later PyMongo's own 30 s hold: a replica set may be electing."""

HEARTBEAT = 2_000
"""Milliseconds between two looks of PyMongo's monitor at the server."""

RETRY_PAUSE = 0.5
"""Seconds between two attempts to reach a server that does not answer."""

MAJORITY_TIMEOUT = 10_000
"""Milliseconds that a write may wait for a majority of the replica set."""

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
AUTHENTICATION_FAILED, UNAUTHORIZED = 18, 13

# Of the client's options those that say how to reach the server; the others are not for mongodump.
CONNECTION_OPTION = re.compile(r"tls|ssl|auth|replicaset|directconnection|loadbalanced|connecttimeout", re.IGNORECASE)

SECRET_OPTION = re.compile(r"pass|secret|token|mechanismproperties", re.IGNORECASE)

REFUSED_COMMAND = re.compile(
    r"not authorized on (?P<database>\S+) to execute command \{ (?P<name>\w+): \"?(?P<on>[^\s\",}]+)"
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

    @property
    def address(self) -> str:
        """Host and port for messages; never a user name or a password."""
        if self.uri is None:
            return self.hosts
        authority = re.split("[/?]", self.uri.partition("://")[2])[0]
        if "@" not in authority and _unfit_port(authority):
            return "the address in MONGO_URI"  # it is cut in the middle of a password
        return authority.rpartition("@")[2]

    @property
    def hosts(self) -> str:
        """``MONGO_HOST`` may name several, and each may have a port of its own, as ``MongoClient`` takes them."""
        parts = [part.strip() for part in self.host.rpartition("@")[2].split(",")]
        return ",".join(part if ":" in part.rpartition("]")[2] else f"{part}:{self.port}" for part in parts)

    def database_name(self) -> str:
        """``MONGO_DATABASE``, or the database in ``MONGO_URI``. Raises ``ConfigurationError`` when there is neither."""
        if self.database:
            return self.database
        in_uri = _split(self.uri)[1] if self.uri else ""
        if not in_uri:
            raise errors.ConfigurationError(
                "No database is set: add MONGO_DATABASE = 'name of the database' to the class in the fabfile,"
                " or put it into MONGO_URI."
            )
        return unquote(in_uri)

    def connection_string(self) -> str:
        """The whole of it, secrets included, for the configuration file of mongodump; names no default database."""
        options = {name: value for name, value in self.client_options.items() if CONNECTION_OPTION.match(name)}
        if self.uri:
            start, database, query = _split(self.uri)
            if "@" in start and database and "authsource=" not in query.lower():
                options.setdefault("authSource", unquote(database))
        else:
            user = self.user or self.client_options.get("username")
            password = self.password or self.client_options.get("password") or ""
            credentials = f"{_quoted(user)}:{_quoted(password)}@" if user else ""
            host = _quoted(self.host) if self.host.startswith("/") else self.hosts
            start, query = f"mongodb://{credentials}{host}", ""
            if user:
                options.setdefault("authSource", self.auth_database or self.database_name())
        query = "&".join(filter(None, [query, urlencode(_as_in_uri(options), quote_via=quote, safe="")]))
        return f"{start}/?{query}" if query else f"{start}/"


def _quoted(text: str) -> str:
    """A + would be a space to PyMongo and a plus to the driver of mongodump, so a space is %20."""
    return quote(text, safe="")


def _split(uri: str) -> tuple[str, str, str]:
    """Scheme with hosts, default database, and query of a connection string."""
    scheme, _, rest = uri.partition("://")
    rest, _, query = rest.partition("?")
    hosts, _, database = rest.partition("/")
    return f"{scheme}://{hosts}", database, query


def _as_in_uri(options: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in options.items()}


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
    options = dict(server.client_options)
    if "connect" in options or "connect=" in (server.uri or "").lower():
        options["connect"] = True  # now is when it is needed
    if server.uri:
        make = functools.partial(make_client, server.uri, **options)
    else:
        if server.user:
            options.setdefault("username", server.user)
            options.setdefault("password", server.password)
            options.setdefault("authSource", server.auth_database or server.database_name())
        make = functools.partial(make_client, server.host, server.port, **options)
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
        return client
    deadline = time.monotonic() + FIRST_CONTACT
    # nodes is what PyMongo's monitor has found so far; asking the server costs a round trip, looking here none.
    while not client.nodes and time.monotonic() < deadline:
        time.sleep(0.002)
    if not client.nodes:
        close(client)
        probe = _made(functools.partial(make, serverSelectionTimeoutMS=1000), server)
        try:
            with server_errors(server.address):
                probe.admin.command("ping")
        finally:
            close(probe)
        client = _made(make, server)
    return client


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
    """Close a client that was made for us, so that the end of the process does not wait for its threads.

    At exit PyMongo joins the threads of all clients there were (``_shutdown_resources`` in its module ``monitor``).
    Those of a closed one have nothing left to do, but they notice it only after a sleep of up to 0.5 s, and most
    subtasks take less. Other clients of the process, the team's own, are joined as ever.
    """
    if id(client) in _the_applications:
        return
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
        return cast("MongoClient[dict[str, Any]]", make())
    except (PyMongoError, ValueError, TypeError, OSError) as error:  # OSError: of a file that an option names
        setting = "MONGO_URI" if server.uri else "MONGO_HOST, MONGO_PORT"
        setting += " or MONGO_CLIENT_OPTIONS" if server.client_options else ""
        raise errors.ConfigurationError(
            f"PyMongo does not take the settings of the server ({setting}): {_without_secrets(error, server)}."
        ) from None


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
        raise errors.ServerFailed(_away(error, address)) from error
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            raise errors.ServerFailed(
                f"MongoDB at {address} refuses the user: look at MONGO_USER, MONGO_USER_PASSWORD and"
                " MONGO_AUTH_DATABASE, or at MONGO_URI."
            ) from error
        if error.code == UNAUTHORIZED:
            raise errors.ServerFailed(_not_allowed(error, address)) from error
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
    return (
        f"MongoDB at {address} does not allow this user to do it: the roles of MONGO_USER have to give the right to"
        f" {ACTIONS.get(name, name)} in {refused['database']}.{refused['on']}."
    )


def _said(error: PyMongoError) -> str:
    """The server's message without the whole reply that PyMongo puts behind it."""
    return without_reply(told(error)).rstrip(".")


def answered(method: Method) -> Method:
    """For the methods of an object with an ``address``: what PyMongo raises in them becomes a sentence.

    Not inside a transaction: ``with_transaction()`` needs PyMongo's own errors, to begin again after some of them.
    """

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with contextlib.nullcontext() if kwargs.get("session") else server_errors(self.address):
            return method(self, *args, **kwargs)

    return cast(Method, wrapped)


def has_transactions(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether the server is a replica set or a sharded cluster; isMaster is answered by every version of MongoDB."""
    answer = client.admin.command("isMaster")
    return "setName" in answer or answer.get("msg") == "isdbgrid"


def durable(collection: Collection[dict[str, Any]]) -> Collection[dict[str, Any]]:
    """The collection with writes that survive a failover and reads of such writes, whatever the URI says.

    Times come with their zone, and texts that are no UTF-8 come escaped, whatever the client was told.
    """
    return collection.with_options(
        codec_options=CodecOptions(tz_aware=True, unicode_decode_error_handler="backslashreplace"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority", wtimeout=MAJORITY_TIMEOUT),
        read_concern=ReadConcern("majority"),
    )
