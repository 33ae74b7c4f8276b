"""PyMongo's errors as sentences."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Any, Callable, Iterator, Mapping, TypeVar, cast

from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    WriteConcernError,
)

from .. import errors
from ..terminal.texts import one_line, reason, write_refusal
from .concerns import MAJORITY_TIMEOUT_MS

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
AUTHENTICATION_FAILED, UNAUTHORIZED, COMMAND_NOT_FOUND = 18, 13, 59


REFUSED_COMMAND = re.compile(
    r"not authorized on (?P<database>\S+) to execute command \{ (?P<name>\w+): (?:\"(?P<on>[^\"]+)\")?"
    r"(?:, pipeline: \[ \{ \$(?P<stage>\w+))?"
)
"""How the server names a command that the user may not run. Behind it comes the whole command, with session keys."""


PRIVILEGES = {
    "aggregate": "find",
    "delete": "remove",
    "findAndModify": "find, insert and update",
    "update": "insert and update",
}
"""The privileges that our commands need, where they do not have the name of the command."""


WHERE_IS_IT = "is it running, and is the address right?"


Method = TypeVar("Method", bound=Callable[..., Any])


@contextlib.contextmanager
def server_errors(address: str) -> Iterator[None]:
    """Raises ``ServerFailed`` from PyMongo's errors: a sentence with the server's address and what to check."""
    try:
        yield
    except AutoReconnect as error:
        raise errors.ServerFailed(_no_server_sentence(error, address), answers=False) from error
    except (WriteConcernError, ExecutionTimeout) as error:
        raise errors.ServerFailed(_no_majority_sentence(error, address)) from error
    except BulkWriteError as error:
        raise errors.ServerFailed(_bulk_write_sentence(error, address)) from error
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            raise errors.NotAllowed(_missing_right_sentence(error, address)) from error
        raise errors.ServerFailed(_refusal_sentence(error, address)) from error
    except InvalidBSON as error:
        raise errors.ServerFailed(
            f"A document in our collections at {address} cannot be read ({one_line(error)}): fix or delete it."
        ) from error
    except PyMongoError as error:
        raise errors.ServerFailed(
            f"MongoDB at {address}: {type(error).__name__}: {one_line(server_message(error))}."
        ) from error


def _no_server_sentence(error: AutoReconnect, address: str) -> str:
    """Is there no server, or only no primary?"""
    reason = one_line(server_message(error))
    if isinstance(error, NotPrimaryError):
        return (
            f"MongoDB at {address} is not the primary of its replica set ({reason}), and only the primary accepts"
            " writes. Name the replica set in the settings, without directConnection; if it is electing a primary, try"
            " again."
        )
    if re.search("match selector|available for writes", reason):
        return (
            f"The replica set at {address} has no primary ({reason}): it is electing one, most of its members are"
            " down, or rs.initiate() was not run yet. Try again, or check rs.status()."
        )
    if "for replica set name" in reason:
        return f"{address} is not a member of that replica set ({reason}): is the name right, and rs.initiate() run?"
    doubt = "does it use TLS, and are the certificates right?" if "SSL handshake" in reason else WHERE_IS_IT
    return f"No MongoDB answers at {address} ({reason}): {doubt}"


def _refusal_sentence(error: OperationFailure, address: str) -> str:
    if error.code == AUTHENTICATION_FAILED:
        return (
            f"MongoDB at {address} refuses the user: check MONGO_USER, MONGO_USER_PASSWORD and MONGO_AUTH_DATABASE, or"
            " MONGO_URI. If MongoDB has no users, remove these settings: migopy 1.0 did not use them."
        )
    return f"MongoDB at {address} refuses the command: {one_line(server_message(error))}."


def _missing_right_sentence(error: OperationFailure, address: str) -> str:
    message = server_message(error)
    refused = REFUSED_COMMAND.search(message)
    if "requires authentication" in message:
        return (
            f"MongoDB at {address} wants a user ({one_line(message)}): set MONGO_USER and MONGO_USER_PASSWORD, or put"
            " both into MONGO_URI if you have set that."
        )
    if refused is None:
        return f"MongoDB at {address} does not allow this ({one_line(message)}): check MONGO_USER and its roles."
    name = "collStats" if refused["stage"] == "collStats" else refused["name"]
    place = ".".join(filter(None, refused.group("database", "on")))
    return (
        f"MongoDB at {address} does not allow this user to do it: MONGO_USER needs a role with the right to"
        f" {PRIVILEGES.get(name, name)} in {place}."
    )


def _no_majority_sentence(error: WriteConcernError | ExecutionTimeout, address: str) -> str:
    """The server answers, but no majority of the replica set. A write has happened nevertheless."""
    seconds = MAJORITY_TIMEOUT_MS // 1000
    if isinstance(error, ExecutionTimeout):
        fact = f"did not answer within {seconds} s with data that a majority of the replica set has confirmed"
    else:
        fact = f"has written it, but a majority of the replica set did not confirm it within {seconds} s"
    return f"MongoDB at {address} {fact} ({server_message(error)}): are its members running? Check rs.status()."


def _bulk_write_sentence(error: BulkWriteError, address: str) -> str:
    """A write of several documents failed at one of them, or no majority has confirmed it."""
    details: Mapping[str, Any] = error.details or {}
    refusals = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    message = write_refusal(refusals[0]) if refusals else str(error)
    written = details.get("nInserted", 0)
    return f"MongoDB at {address} refuses the command: {message}. Documents written before that: {written}."


def server_message(error: PyMongoError) -> str:
    """The server's message, with what it has refused, and without the whole reply that PyMongo puts behind it."""
    return reason(error).rstrip(".")


def explains_server_errors(method: Method) -> Method:
    """For methods of an object with an ``address``: what PyMongo raises in them becomes ``ServerFailed``."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with server_errors(self.address):
            return method(self, *args, **kwargs)

    return cast(Method, wrapped)
