"""From settings to a connected client, and from PyMongo's errors to sentences."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence, cast

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import (
    InvalidName,
    PyMongoError,
)

from .. import errors
from ..terminal.signals import PATIENCE
from ..terminal.texts import masked, one_line, safe_str
from . import internals
from .failures import server_errors
from .server import Server, _unfit_port

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

FIRST_CONTACT = 5
"""Seconds until a server counts as not there. Later PyMongo's own 30 s hold: a replica set may be electing."""

HEARTBEAT = 2_000
"""Milliseconds between two looks of PyMongo's monitor at the server."""

RETRY_PAUSE = 0.5
"""Seconds between two attempts to reach a server that does not answer."""


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
        raise errors.ConfigurationError(f"{setting} cannot be {name!r}: {safe_str(error).rstrip('.')}.") from None


def database(client: MongoClient[dict[str, Any]], server: Server) -> Database[dict[str, Any]]:
    setting = "MONGO_DATABASE" if server.database else "The database in MONGO_URI"
    return cast("Database[dict[str, Any]]", named(client, server.database_name(), setting))


def close(client: MongoClient[dict[str, Any]]) -> None:
    """Close a client that was made for us, so that the end of the process waits neither for the server nor for threads.

    PyMongo would ask the server to end the client's sessions, and wait 30 s for one that is no longer there, or for
    ever for one that does not answer. It ends them by itself, after half an hour.
    """
    if id(client) in _the_applications:
        return
    internals.take_idle_sessions(client)
    client.close()
    internals.forget_threads(client)


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
    text = safe_str(error).rstrip(".")
    where = (server.uri or str(server.host)).rpartition("://")[2]
    secret = where.rpartition("@")[0].partition(":")[2] or _unfit_port(re.split("[/?]", where)[0])
    parts = [part for part in re.split(r"[:/@?#%\[\]]", f"{secret}@{server.password or ''}") if part]
    # PyMongo 4.20.1 no longer quotes it, and says as little as "Bad database name".
    if any(part in text for part in parts) or (server.uri and "/" in secret):
        return "a user name and a password in it have to be percent-encoded (urllib.parse.quote_plus)"
    return one_line(text)


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
        sessions = [*internals.take_idle_sessions(client), *([session.session_id] if session else [])]
        ending = threading.Thread(target=kill_sessions, args=(client, sessions), daemon=True)
        ending.start()
        ending.join(PATIENCE)
        raise


def kill_sessions(client: MongoClient[dict[str, Any]], sessions: Sequence[Any]) -> None:
    """End what the server does in these sessions, their transactions too, if this user may."""
    if sessions:  # none would mean all of this user
        with contextlib.suppress(PyMongoError):
            client.admin.command("killSessions", sessions)
