"""Whether the transaction of a migration starts again after an error, and when."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Callable

from pymongo.errors import PyMongoError

from ..errors import ServerFailed
from ..files.faults import innermost_line
from ..mongo.client import RETRY_PAUSE_SECONDS
from ..mongo.kind import hello
from ..mongo.transaction_guard import guard_of
from ..terminal import signals
from ..terminal.texts import summary
from ..terminal.wording import duration

if TYPE_CHECKING:
    from ..files.migration import LoadedMigration

LONGEST_PAUSE_SECONDS = 8.0

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
NO_SUCH_TRANSACTION = 251
OF_OTHERS = (24, 112, 246)  # LockTimeout, WriteConflict, SnapshotUnavailable
OF_MEMBERS = (6, 7, 89, 91, 133, 189, 9001, 10107, 11600, 11602, 13435, 13436)
"""HostUnreachable ... NotPrimaryOrSecondary: a member of the replica set went away."""

ENDED = (
    " MongoDB had ended the transaction before: it does so at each error, also at one that the code catches, and after"
    " transactionLifetimeLimitSeconds, by default 60; that long another client in the file waits for a document that"
    " the transaction has changed."
)


class Retries:
    """Says why a transaction starts again, and pauses; the pauses grow.

    Raises the error if the transaction would fail in the same way for ever.
    """

    def __init__(self, migration: LoadedMigration, client: Any, say: Callable[[str], None]) -> None:
        self._migration = migration
        self._client = client
        self._say = say
        self._pause = RETRY_PAUSE_SECONDS
        self._attempts = 1
        self._waits = False
        self._last_failure: tuple[object, ...] | None = None
        self._given_up: Exception | None = None

    def __call__(self, error: Exception, seconds: float) -> None:
        if self._has_failed_so_before(error):
            self._given_up = error
            raise error
        # Our own first write, which another transaction blocks.
        is_waiting = isinstance(error, ServerFailed) and _code(error) in OF_OTHERS
        if not is_waiting:
            self._attempts += 1
            name = self._migration.name
            self._say(f"{name} starts again from the beginning, after {duration(seconds)}: {summary(error)}")
        elif not self._waits:
            self._say(f"Waiting for another transaction, perhaps one that a dead run left behind: {error}")
        self._waits = is_waiting
        with signals.let_through():
            time.sleep(RETRY_PAUSE_SECONDS if is_waiting else self._pause)
        if not is_waiting:
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def advice(self, error: BaseException) -> str:
        """What to add to the message about the last error of the transaction."""
        twice = " It failed twice in the same way, so it was not tried again." if error is self._given_up else ""
        if _code(error) == NO_SUCH_TRANSACTION and (twice or isinstance(error, ServerFailed)):
            return f"{twice}{ENDED}"
        if twice:
            return twice
        if _code(error) in OF_OTHERS and self._attempts > 1:
            # A guard lets no write of the same client pass.
            suspect = "another client in this file" if guard_of(self._client) else "this file, without session=session,"
            return (
                f" Another program, or {suspect} changed the same documents in each of {self._attempts} attempts: stop"
                " it, or do less in one migration."
            )
        return ""

    def _has_failed_so_before(self, error: Exception) -> bool:
        """Whether the last attempt failed in the same way, and the same server has been the primary since."""
        code = _code(error)
        if code in OF_OTHERS:
            return False
        if code in OF_MEMBERS:
            self._last_failure = None
            return False
        primary = self._primary()
        line = innermost_line(self._migration.migration.path, error)
        before, self._last_failure = self._last_failure, (type(_cause(error)), code, line, primary)
        return primary is not None and self._last_failure == before

    def _primary(self) -> str | None:
        """Who was elected, as the server says it; None if it does not answer."""
        with contextlib.suppress(PyMongoError), signals.let_through():
            answer = hello(self._client)
            return str(answer.get("electionId", answer.get("msg")))
        return None


def _cause(error: BaseException) -> BaseException | None:
    """PyMongo's error."""
    return error.__cause__ if isinstance(error, ServerFailed) else error


def _code(error: BaseException) -> int | None:
    code: int | None = getattr(_cause(error), "code", None)
    return code
