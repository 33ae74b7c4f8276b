"""One transaction of MongoDB: begun again after transient errors, committed within a time."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Callable

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ExecutionTimeout, PyMongoError, WTimeoutError
from pymongo.read_concern import ReadConcern

from ..errors import ServerFailed
from .clock import clock
from .concerns import MAJORITY_TIMEOUT

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

BEGUN_AGAIN_FOR = 120.0
"""Seconds after which a transaction is not begun again; PyMongo's ``with_transaction()`` has the same limit."""


class Transaction:
    """``run()`` it, in a client session. PyMongo's ``with_transaction()`` says nothing while it tries again.

    ``again`` is called with the reason, and after how many seconds, before another attempt. ``waits_for_majority``
    says whether a commit that a majority does not confirm in time is sent again. ``is_open_question`` is true from the
    moment on at which the commit is sent until its answer is known.
    """

    def __init__(
        self, session: ClientSession, again: Callable[[Exception, float], None], *, waits_for_majority: bool = False
    ) -> None:
        self.is_open_question = False
        self._session = session
        self._again = again
        self._waits_for_majority = waits_for_majority

    def run(self, body: Callable[[], None]) -> None:
        """Call ``body`` and commit. Its own errors, and the last of MongoDB's, are raised."""
        until = clock() + BEGUN_AGAIN_FOR
        while True:
            began = clock()
            try:
                self._attempt(body, until)
                return
            except Exception as error:
                if not has_label(error, "TransientTransactionError") or clock() >= until:
                    raise
                self._again(error, clock() - began)

    def _attempt(self, body: Callable[[], None], until: float) -> None:
        # Whatever the URI says; with another level than local a new collection could not be made (MongoDB 4.4).
        self._session.start_transaction(
            ReadConcern("local"), WriteConcern("majority", j=True, wtimeout=MAJORITY_TIMEOUT), ReadPreference.PRIMARY
        )
        try:
            body()
        except BaseException:
            with contextlib.suppress(PyMongoError):
                self._session.abort_transaction()
            raise
        self._commit(until)

    def _commit(self, until: float) -> None:
        """Send the commit, which may be sent twice, until its answer is known or nobody waits any longer."""
        self.is_open_question = True
        while True:
            try:
                self._session.commit_transaction()
                break
            except PyMongoError as error:
                if not has_label(error, "UnknownTransactionCommitResult"):
                    self.is_open_question = False
                    raise
                is_slow = isinstance(error, (WTimeoutError, ExecutionTimeout))
                if (is_slow and not self._waits_for_majority) or clock() >= until:
                    raise
        self.is_open_question = False


def has_label(error: BaseException, label: str) -> bool:
    """Whether MongoDB or PyMongo has put that label on the error, or on the one that our sentence is about."""
    of_pymongo = error.__cause__ if isinstance(error, ServerFailed) else error
    return isinstance(of_pymongo, PyMongoError) and of_pymongo.has_error_label(label)
