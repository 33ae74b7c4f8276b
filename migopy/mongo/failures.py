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
from ..terminal.texts import one_line, safe_str, without_reply
from .concerns import MAJORITY_TIMEOUT

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
AUTHENTICATION_FAILED, UNAUTHORIZED, COMMAND_NOT_FOUND = 18, 13, 59


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
        raise errors.ServerFailed(f"MongoDB at {address} refuses: {one_line(server_message(error))}.") from error
    except InvalidBSON as error:
        raise errors.ServerFailed(
            f"A document in our collections at {address} cannot be read ({one_line(error)}): delete it, or mend it."
        ) from error
    except PyMongoError as error:
        raise errors.ServerFailed(
            f"MongoDB at {address}: {type(error).__name__}: {one_line(server_message(error))}."
        ) from error


def _away(error: AutoReconnect, address: str) -> str:
    """The sentence for a server that cannot be worked with: is it not there, or is there no primary?"""
    # "... Timeout: 1.0s, Topology Description: <...>" is for PyMongo's developers.
    reason = one_line(re.split(r" \(configured timeouts|, Timeout:", server_message(error))[0])
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
    message = server_message(error)
    refused = REFUSED_COMMAND.search(message)
    if refused is None:
        return f"MongoDB at {address} does not allow it ({one_line(message)}): look at MONGO_USER and its roles."
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
        f" {MAJORITY_TIMEOUT // 1000} s ({server_message(error)}): are its members running? See rs.status()."
    )


def _half_written(error: BulkWriteError, address: str) -> str:
    """The sentence for a write of several documents that failed at one of them, or that no majority has confirmed."""
    details: Mapping[str, Any] = error.details or {}
    refusals = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
    reason = refusals[0].get("errmsg") if refusals else str(error)
    return f"MongoDB at {address} refuses: {reason}. Written before that: {details.get('nInserted', 0)}."


def server_message(error: PyMongoError) -> str:
    """The server's message without the whole reply that PyMongo puts behind it."""
    return without_reply(safe_str(error)).rstrip(".")


def explains_server_errors(method: Method) -> Method:
    """For the methods of an object with an ``address``: what PyMongo raises in them is the cause of a sentence."""

    @functools.wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        with server_errors(self.address):
            return method(self, *args, **kwargs)

    return cast(Method, wrapped)
