"""What the server answered, as PyMongo 2 and 3 gave it back or raised it."""

from __future__ import annotations

from typing import Any, Callable

from pymongo import errors as pymongo_errors

from ..errors import NoSuchCall

DUPLICATE_KEYS = (11000, 11001, 12582)


def raise_write_error(reply: Any) -> None:
    """Raise for the last error in the reply to a write, as PyMongo 2 and 3 did (``helpers._raise_last_error``)."""
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
    """What getLastError said of a write: today's reply, and what MongoDB 2.6 had in addition, for who asks for it."""

    def __init__(self, reply: Any, connection_id: Callable[[], int]) -> None:
        super().__init__(reply)
        self._connection_id = connection_id

    def __missing__(self, key: str) -> Any:
        if key == "connectionId":
            return self._connection_id()
        if key == "err":  # what was wrong with the write was raised
            return None
        raise KeyError(key)


class MapReduceReply(dict):  # type: ignore[type-arg]
    """What map_reduce answered."""

    def __missing__(self, key: str) -> Any:
        if key in ("counts", "timeMillis"):
            raise NoSuchCall(f"{key}: MongoDB 4.4 dropped it from what map_reduce answers, write count_documents.")
        raise KeyError(key)
