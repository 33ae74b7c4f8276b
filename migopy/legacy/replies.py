"""The server's replies, as PyMongo 2 and 3 returned or raised them."""

from __future__ import annotations

from typing import Any, Callable

from pymongo import errors as pymongo_errors

from ..errors import NoSuchCall

DUPLICATE_KEYS = (11000, 11001, 12582)


def raise_write_error(reply: Any) -> None:
    """Raise the last error in the reply to a write."""
    # The order and the classes are those of _raise_last_error() in helpers.py of PyMongo 3.13.
    if reply.get("writeErrors"):
        error = reply["writeErrors"][-1]
        duplicate = error.get("code") in DUPLICATE_KEYS
        kind = pymongo_errors.DuplicateKeyError if duplicate else pymongo_errors.WriteError
        raise kind(error.get("errmsg"), error.get("code"), error)
    concern_errors = reply.get("writeConcernErrors") or [reply.get("writeConcernError")]
    if concern_errors[-1]:
        error = concern_errors[-1]
        timed_out = error.get("errInfo", {}).get("wtimeout")
        failure = pymongo_errors.WTimeoutError if timed_out else pymongo_errors.WriteConcernError
        raise failure(error.get("errmsg"), error.get("code"), error)


class WriteReply(dict):  # type: ignore[type-arg]
    """Today's reply to a write, which also answers for fields that ``getLastError`` had in MongoDB 2.6."""

    def __init__(self, reply: Any, connection_id: Callable[[], int]) -> None:
        super().__init__(reply)
        self._connection_id = connection_id

    def __missing__(self, key: str) -> Any:
        if key == "connectionId":
            return self._connection_id()  # costs a command, and hardly anybody looks at it
        if key == "err":  # an error was raised
            return None
        raise KeyError(key)


class MapReduceReply(dict):  # type: ignore[type-arg]
    """The reply of ``map_reduce``, which refuses to answer for fields that MongoDB dropped."""

    def __missing__(self, key: str) -> Any:
        if key in ("counts", "timeMillis"):
            raise NoSuchCall(f"{key}: MongoDB 4.4 dropped it from the reply of map_reduce, write count_documents.")
        raise KeyError(key)
