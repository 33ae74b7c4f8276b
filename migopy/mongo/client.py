"""Clients: made from the settings, connected, closed, and their commands ended when a signal comes."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence, cast

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import InvalidName, PyMongoError

from .. import errors
from ..terminal.signals import HOLD_BACK_SECONDS
from ..terminal.texts import mask, one_line, safe_str
from . import internals
from .failures import server_errors
from .inserts import Inserts
from .server import Server, bad_port
from .transaction_guard import TransactionGuard

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

FIRST_CONTACT_SECONDS = 5
"""How long the first answer of a server may take. Afterwards PyMongo's 30 s count: a replica set may be electing."""

HEARTBEAT_MS = 2_000
"""How often PyMongo's monitor checks the server."""

RETRY_PAUSE_SECONDS = 0.5
"""How long to wait before a server that did not answer is asked again."""


def make_client(*args: Any, **kwargs: Any) -> MongoClient[dict[str, Any]]:
    """PyMongo's own client, with a shorter heartbeat unless the settings have one."""
    # PyMongo 4.0 closes a client whose user was refused only after the next heartbeat, by default in 10 seconds.
    if "heartbeatfrequencyms" not in str(args).lower():
        kwargs.setdefault("heartbeatFrequencyMS", HEARTBEAT_MS)
    return MongoClient(*args, **kwargs)


def connect(make_client: Callable[..., Any], server: Server) -> MongoClient[dict[str, Any]]:
    """A client of a server that answers.

    Raises ``ServerFailed`` when no server answers within ``FIRST_CONTACT_SECONDS``, ``ConfigurationError`` for settings
    that PyMongo refuses. A client that the application made itself has its own time limit.
    """
    address = (server.uri,) if server.uri else (server.host, server.port)
    options = server.client_arguments()
    if "connect" in options or "connect=" in (server.uri or "").lower():
        options["connect"] = True  # a client that connects late would find no server in time
    make = functools.partial(make_client, *address, **options)
    clients = [_make(make, server)]
    is_the_applications = _is_held_elsewhere(clients)
    client = clients.pop()
    if is_the_applications:
        _the_applications.add(id(client))
    try:
        database(client, server)  # a wrong name is reported without waiting for the server
    except errors.ConfigurationError:
        close(client)
        raise
    if is_the_applications:
        with server_errors(server.address):
            client.admin.command("ping")
    elif not is_in_contact(client):
        close(client)
        _require_answer(_make(functools.partial(make, serverSelectionTimeoutMS=1000), server), server)
        client = _make(make, server)
    return client


def is_in_contact(client: MongoClient[dict[str, Any]]) -> bool:
    """Whether PyMongo's monitor finds a server within ``FIRST_CONTACT_SECONDS``."""
    deadline = time.monotonic() + FIRST_CONTACT_SECONDS
    while not client.nodes and time.monotonic() < deadline:  # unlike a ping, nodes costs no round trip
        time.sleep(0.002)
    return bool(client.nodes)


def _require_answer(probe: MongoClient[dict[str, Any]], server: Server) -> None:
    """Raises ``ServerFailed`` with the reason why no server answers."""
    try:
        with server_errors(server.address):
            probe.admin.command("ping")
    finally:
        close(probe)


_the_applications: set[int] = set()
"""The ids of clients that the team's ``MongoClient`` returned and that the application holds too."""


def _is_held_elsewhere(clients: list[Any]) -> bool:
    """Whether something beside this list holds its first client."""
    held_once = [object()]
    until = time.monotonic() + 0.1
    while sys.getrefcount(clients[0]) > sys.getrefcount(held_once[0]):
        if time.monotonic() > until:  # PyMongo's own threads hold a client for moments only
            return True
        time.sleep(0.002)
    return False


def look_up(parent: Any, name: str, setting: str) -> Any:
    """The database of that name in a client, or the collection of that name in a database.

    Raises ``ConfigurationError`` with the setting for a name that PyMongo refuses.
    """
    try:
        return parent[name]
    except (InvalidName, TypeError) as error:
        raise errors.ConfigurationError(f"{setting} cannot be {name!r}: {safe_str(error).rstrip('.')}.") from None


def database(client: MongoClient[dict[str, Any]], server: Server) -> Database[dict[str, Any]]:
    setting = "MONGO_DATABASE" if server.database else "The database in MONGO_URI"
    return cast("Database[dict[str, Any]]", look_up(client, server.database_name(), setting))


def close(client: MongoClient[dict[str, Any]]) -> None:
    """Close a client, unless the application holds it too; the process can then exit without waiting."""
    if id(client) in _the_applications:
        return
    # PyMongo would ask the server to end these sessions, and wait 30 s or for ever if it is gone. Left alone, the
    # server ends them after half an hour.
    internals.take_idle_sessions(client)
    client.close()
    internals.forget_threads(client)


def _make(make: Callable[..., Any], server: Server) -> MongoClient[dict[str, Any]]:
    try:
        with _mask_warnings():
            return cast("MongoClient[dict[str, Any]]", _make_guarded(make, server.client_options or {}))
    except (PyMongoError, ValueError, TypeError, LookupError, OSError, Warning) as error:
        # OSError comes from a file that an option names, Warning from an option with python -W error, KeyError (its
        # text is the value alone) from a datetime_conversion that PyMongo does not know.
        setting = server.uri_setting if server.uri else "MONGO_HOST, MONGO_PORT"
        setting += " or MONGO_CLIENT_OPTIONS" if server.client_options else ""
        raise errors.ConfigurationError(
            f"PyMongo refuses the settings of the server ({setting}): {_without_secrets(error, server)}."
        ) from None


def _make_guarded(make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """A client with listeners of its own, unless the team's function makes it in another way."""
    listeners = options.get("event_listeners", [])
    if not isinstance(listeners, (list, tuple)):
        return make()  # PyMongo says what is wrong
    try:
        return make(event_listeners=[*listeners, TransactionGuard(), Inserts()])
    except TypeError as error:
        # It takes no such argument, or passes one to PyMongo itself.
        if "event_listeners" not in str(error):
            raise
        return make()


@contextlib.contextmanager
def _mask_warnings() -> Iterator[None]:
    """Hide secrets in warnings: PyMongo 3.13 quotes the value of an option that it ignores."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        warnings.warn_explicit(mask(str(warning.message)), warning.category, warning.filename, warning.lineno)


def _without_secrets(error: Exception, server: Server) -> str:
    """PyMongo's message, or advice in its place if the message contains part of a password."""
    text = _refused_option(error, server) if isinstance(error, LookupError) else safe_str(error).rstrip(".")
    where = (server.uri or str(server.host)).rpartition("://")[2]
    secret = where.rpartition("@")[0].partition(":")[2] or bad_port(re.split("[/?]", where)[0])
    # PyMongo may quote any part of a URI that it cannot split.
    parts = [part for part in re.split(r"[:/@?#%\[\]]", f"{secret}@{server.password or ''}") if part]
    # PyMongo 4.20.1 quotes nothing, and only says "Bad database name".
    if any(part in text for part in parts) or (server.uri and "/" in secret):
        return "the user name and the password in it have to be percent-encoded (urllib.parse.quote_plus)"
    return one_line(text)


def _refused_option(error: LookupError, server: Server) -> str:
    """PyMongo's KeyError says the value and nothing else."""
    names = [name for name, value in (server.client_options or {}).items() if value in error.args]
    return f"{safe_str(error)} is not a value of {names[0]}" if names else safe_str(error.args[0])


@contextlib.contextmanager
def end_commands_on_signal(client: MongoClient[dict[str, Any]], session: ClientSession | None = None) -> Iterator[None]:
    """When a signal ends the block, end the commands that the server still runs for it.

    ``session`` is a session that the block uses and leaves open.
    """
    # The server goes on with a command after its client has hung up: beside the next run, or in a dropped database.
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # SystemExit comes from a signal handler of the team
        # The abandoned command is in a session that nobody uses any more.
        sessions = [*internals.take_idle_sessions(client), *([session.session_id] if session else [])]
        ending = threading.Thread(target=kill_sessions, args=(client, sessions), daemon=True)
        ending.start()
        ending.join(HOLD_BACK_SECONDS)
        raise


def kill_sessions(client: MongoClient[dict[str, Any]], sessions: Sequence[Any]) -> None:
    """End the commands and transactions in these sessions, if the user may do that."""
    if sessions:  # an empty list would mean all sessions of the user
        with contextlib.suppress(PyMongoError):
            client.admin.command("killSessions", sessions)
