"""One transaction of MongoDB: restarted after transient errors, committed within a time limit."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Callable

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ExecutionTimeout, PyMongoError, WTimeoutError
from pymongo.read_concern import ReadConcern

from ..errors import ServerFailed
from .clock import clock
from .concerns import MAJORITY_TIMEOUT_MS

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

RETRY_LIMIT_SECONDS = 120.0
"""A transaction is not restarted after this time; PyMongo's ``with_transaction()`` has the same limit."""


class Transaction:
    """A transaction in a client session; ``run()`` it.

    PyMongo's ``with_transaction()`` retries in silence. This one calls ``on_retry`` with the reason, and with the
    seconds that the failed attempt took: it pauses, or raises if another attempt is of no use. ``waits_for_majority``
    decides whether a commit is sent again when a majority did not confirm it in time.
    """

    is_commit_unknown = False
    """True from the moment the commit is sent until the server has answered."""

    def __init__(
        self, session: ClientSession, on_retry: Callable[[Exception, float], None], *, waits_for_majority: bool = False
    ) -> None:
        self._session = session
        self._on_retry = on_retry
        self._waits_for_majority = waits_for_majority

    def run(self, body: Callable[[], None]) -> None:
        """Call ``body`` and commit. Raises what ``body`` raises, and the last error of MongoDB."""
        until = clock() + RETRY_LIMIT_SECONDS
        while True:
            began = clock()
            try:
                self._attempt(body, until)
                return
            except Exception as error:
                if not has_label(error, "TransientTransactionError") or clock() >= until:
                    raise
                self._on_retry(error, clock() - began)

    def _attempt(self, body: Callable[[], None], until: float) -> None:
        # Whatever the URI says. MongoDB 4.4 makes new collections only at the read concern local.
        self._session.start_transaction(
            ReadConcern("local"), WriteConcern("majority", j=True, wtimeout=MAJORITY_TIMEOUT_MS), ReadPreference.PRIMARY
        )
        try:
            body()
        except BaseException:
            with contextlib.suppress(PyMongoError):
                self._session.abort_transaction()
            raise
        self._commit(until)

    def _commit(self, until: float) -> None:
        """Send the commit until the server has answered, or until it is too late; sending it twice is harmless."""
        self.is_commit_unknown = True
        while True:
            try:
                self._session.commit_transaction()
                break
            except PyMongoError as error:
                if not has_label(error, "UnknownTransactionCommitResult"):
                    self.is_commit_unknown = False
                    raise
                is_slow = isinstance(error, (WTimeoutError, ExecutionTimeout))
                if (is_slow and not self._waits_for_majority) or clock() >= until:
                    raise
        self.is_commit_unknown = False


def has_label(error: BaseException, label: str) -> bool:
    """Whether MongoDB or PyMongo has put that label on the error, or on the cause of a ``ServerFailed``."""
    of_pymongo = error.__cause__ if isinstance(error, ServerFailed) else error
    return isinstance(of_pymongo, PyMongoError) and of_pymongo.has_error_label(label)
