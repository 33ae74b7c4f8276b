"""One way through a collection: what is next, and each batch done together with its checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple

import bson
from bson.errors import InvalidBSON
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import AutoReconnect, DocumentTooLarge, OperationFailure, PyMongoError, WriteError
from pymongo.read_concern import ReadConcern

from ..errors import BatchFailed
from . import ids as in_order
from .ids import BY_ID, EXACTLY, Ids, among
from .lag import Behind, ReplicaSet
from .pace import Pace

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from .checkpoint import Checkpoint
    from .progress import Progress

MAJORITY_TIMEOUT = 10_000
"""Milliseconds that a commit waits for the majority; PyMongo commits again for two minutes."""

PAGE = 10_000
"""How many ``_id``s are read ahead."""

LAG_POLL = 1.0
"""Seconds between two looks at how far the slowest member is behind."""

FAILED_TO_PARSE, TRANSACTION_TOO_LARGE = 9, (257, 388)  # src/mongo/base/error_codes.yml

Work = Callable[["ClientSession | None"], int]
"""Writes a batch, in the transaction of the session if there is one; how many documents it has changed."""


class Watch(NamedTuple):
    """What looks on: the lock is confirmed before a batch counts, the progress shown after it.

    ``move`` writes the checkpoint; ``max_lag`` is in seconds.
    """

    confirm: Callable[[], None]
    move: Callable[[Checkpoint, ClientSession], None]
    show: Callable[[Progress, str], None]
    max_lag: float


class TooMuch(Exception):  # noqa: N818 - nobody outside sees it
    """The documents of a batch do not fit into memory together."""


class Walk:
    """``checkpoint`` is how far it is. The batches are what ``ids()`` gives, in the order of the ``_id`` index."""

    def __init__(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        checkpoint: Checkpoint,
        pace: Pace,
        session: ClientSession,
        replica_set: ReplicaSet | None,
        in_transactions: bool,
        watch: Watch,
    ) -> None:
        self.collection = collection
        self.filter = filter
        self.checkpoint = checkpoint
        self.in_transactions = in_transactions
        self._pace = pace
        self._session = session
        self._replica_set = replica_set
        self._watch = watch
        self._ahead: Ids = []
        self._began = time.monotonic()
        self._lag_looked_at = float("-inf")

    def ids(self) -> Ids:
        """The next ones, as many as a batch has now; none at the end, and then the walk is finished."""
        self._began = time.monotonic()
        if not self._ahead and not self.checkpoint.finished:
            size = max(self._pace.size, min(PAGE, 10 * self._pace.size))
            self._ahead = self._page(size)
            if not self._ahead:
                self._move_to(self.checkpoint._replace(finished=True))
        return self._ahead[: self._pace.size]

    def _page(self, size: int) -> Ids:
        try:
            return in_order.page(self.collection, self.filter, self.checkpoint.last, size)
        except OperationFailure as error:
            if isinstance(error, AutoReconnect):
                raise
            raise BatchFailed(
                f"MongoDB does not look for {self.filter!r} in {self.collection.name}: {said(error)}"
            ) from error

    def read(self, ids: Ids, projection: Any = None, session: ClientSession | None = None) -> bytes:
        """The documents of these ``_id``s as one piece of BSON. Raises ``TooMuch``."""
        batches = []
        size = 0
        cursor = self.collection.find_raw_batches(
            among(self.filter, ids), projection, sort=BY_ID, hint=BY_ID, batch_size=len(ids), session=session
        )
        with cursor:
            for batch in cursor:
                batches.append(batch)
                size += len(batch)
                if not self._pace.fits(size) and len(ids) > 1:
                    raise TooMuch
        self._pace.weighed(size / len(ids))
        return b"".join(batches)

    def decoded(self, found: bytes) -> list[Any]:
        """The documents as the team's code gets them."""
        codec_options = self.collection.codec_options
        try:
            return bson.decode_all(found, codec_options)
        except InvalidBSON as error:
            read = 0
            with contextlib.suppress(InvalidBSON):
                for _ in bson.decode_iter(found, codec_options):
                    read += 1
            which = next(itertools.islice(bson.decode_iter(found, EXACTLY), read, None))["_id"]
            raise BatchFailed(f"{self.collection.name}, _id {which!r} cannot be read: {error}") from error

    def write(self, ids: Ids, work: Work) -> None:
        """Do the work of a batch and move the checkpoint behind it: together, where the server has transactions."""
        if self.in_transactions:
            self.checkpoint = self._session.with_transaction(
                lambda session: self._write(ids, work, session),
                ReadConcern("local"),  # with another one no collection could be made (MongoDB 4.4)
                WriteConcern("majority", wtimeout=MAJORITY_TIMEOUT),
                ReadPreference.PRIMARY,
            )
        else:
            self._watch.confirm()
            self.checkpoint = self._write(ids, work, None)
        del self._ahead[: len(ids)]
        self._pace.took(len(ids), time.monotonic() - self._began)
        self._watch.show(self.checkpoint.progress, "")
        self._wait_for_members()

    def _write(self, ids: Ids, work: Work, session: ClientSession | None) -> Checkpoint:
        changed = work(session)
        now = self.checkpoint
        moved = now._replace(
            last=(ids[-1],),
            done=now.done + len(ids),
            changed=now.changed + changed,
            seconds=now.seconds + time.monotonic() - self._began,
        )
        if session:
            self._watch.confirm()
        self._watch.move(moved, self._session)
        return moved

    def _move_to(self, checkpoint: Checkpoint) -> None:
        self._watch.confirm()
        self._watch.move(checkpoint, self._session)
        self.checkpoint = checkpoint

    def in_smaller_pieces(self, ids: Ids, error: Exception) -> bool:
        """Whether to try again with fewer documents: because all of them are too much, or to find the one that fails.

        Without a transaction some of them have been written, and only what was not is tried again.
        """
        if len(ids) == 1 or not is_of_documents(error):
            return False
        if not self.in_transactions and not isinstance(error, TooMuch):
            return False
        self._pace.halve(len(ids))
        return True

    def _wait_for_members(self) -> None:
        while self._replica_set and time.monotonic() >= self._lag_looked_at + LAG_POLL:
            behind = self._behind(self._replica_set)
            self._lag_looked_at = time.monotonic()
            if behind is None or behind.seconds <= self._watch.max_lag:
                return
            self._watch.show(
                self.checkpoint.progress, f"waiting for {behind.host}, which is {behind.seconds:.0f} s behind"
            )
            self._watch.confirm()
            time.sleep(LAG_POLL)

    @staticmethod
    def _behind(replica_set: ReplicaSet) -> Behind | None:
        try:
            return replica_set.slowest()
        except AutoReconnect:  # an election; the next batch waits for its end
            return None


def is_of_documents(error: Exception) -> bool:
    """Whether fewer documents, or others, might not have met this error."""
    if isinstance(error, (TooMuch, DocumentTooLarge)):
        return True
    if isinstance(error, WriteError):
        return error.code != FAILED_TO_PARSE
    if isinstance(error, OperationFailure):
        return error.code in TRANSACTION_TOO_LARGE or error.has_error_label("TransientTransactionError")
    return False


def said(error: PyMongoError) -> str:
    """The server's message without the whole reply that PyMongo puts behind it."""
    return str(error).partition(", full error:")[0].rstrip(".")
