"""One way through a collection: what is next, and each batch done together with its checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import bson
from bson import DBRef
from bson.errors import InvalidBSON
from pymongo.errors import AutoReconnect, DocumentTooLarge, OperationFailure, WriteError

from ..errors import BatchFailed
from ..mongo.concerns import EXACTLY, is_exact
from ..mongo.failures import server_message
from ..mongo.transaction import Transaction
from .ids import After, IdRange, Ids, among, page, stretch
from .lag import Behind, ReplicaSet
from .pace import Pace

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from ..store.checkpoints import Checkpoint, Progress

PAGE = 10_000
"""How many ``_id``s are read ahead."""

AGAIN_PAUSE = 0.02
"""Seconds before a batch whose transaction met another one is tried again."""

LAG_POLL = 1.0
"""Seconds between two looks at how far the slowest member is behind."""

FAILED_TO_PARSE, TOO_LARGE_TOGETHER = 9, (257, 388)  # src/mongo/base/error_codes.yml


class Batch(NamedTuple):
    """The documents of a batch as the team's code gets them, and their ``_id``s as they are."""

    ids: Ids
    documents: list[Any]


class Done(NamedTuple):
    """What was done with a batch: so many documents were gone through, so many changed; ``last`` is the last ``_id``,
    empty if there is none.
    """

    last: Sequence[Any]
    documents: int
    changed: int


Work = Callable[["ClientSession | None"], Done]
"""Does a batch, in the transaction of the session if there is one."""


class BatchHooks(NamedTuple):
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
    """``checkpoint`` is how far it is: what comes next is what comes after that in the order of the ``_id`` index."""

    def __init__(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        checkpoint: Checkpoint,
        pace: Pace,
        session: ClientSession,
        replica_set: ReplicaSet | None,
        in_transactions: bool,
        watch: BatchHooks,
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
        self._tried = 0
        self._began = time.monotonic()
        self._lag_looked_at = float("-inf")

    def next(self) -> Ids | IdRange:
        """The next batch for the server; empty at the end.

        To name each of the documents is only for where they begin and end, and where the types of the ``_id``s change.
        """
        self._began = time.monotonic()
        size, last = self._pace.size, self.checkpoint.last
        if not self._ahead and not self.checkpoint.finished:
            with self._looking():
                further = stretch(self.collection, last, size)
            if further:
                self._tried = size
                return further
            self._ahead = self._page(self.filter, max(size, min(PAGE, 10 * size)))
        ids = self._ahead[:size]
        self._tried = len(ids)
        return ids

    def named(self, which: Ids | IdRange) -> Ids:
        """The ``_id``s of the batch that was tried last."""
        return self._page(among(self.filter, which), self._tried) if isinstance(which, IdRange) else which

    def _page(self, filter: Mapping[str, Any], size: int) -> Ids:
        with self._looking():
            ids = page(self.collection, filter, self.checkpoint.last, size)
        self._require_known_types(ids)
        return ids

    def documents(self, projection: Any = None, session: ClientSession | None = None) -> Batch:
        """The next batch, empty at the end. Raises ``TooMuch``."""
        self._began = time.monotonic()
        size = self._tried = self._pace.size
        if self.checkpoint.finished:
            return Batch([], [])
        after = After(self.filter, self.checkpoint.last)
        for find in after.finds(size):
            batch = self._decoded(self._read(find, projection, session))
            begin = 1 if after.begins_with_last(batch.ids) else 0
            if len(batch.ids) > begin:
                return Batch(batch.ids[begin : begin + size], batch.documents[begin : begin + size])
        return Batch([], [])

    def batches(self, projection: Any) -> Iterator[Batch]:
        """One after the other, as long as the checkpoint moves on meanwhile."""
        while True:
            try:
                batch = self.documents(projection)
            except TooMuch as error:
                self.in_smaller_pieces(error)
                continue
            if not batch.ids:
                return
            yield batch

    def _read(self, find: Mapping[str, Any], projection: Any, session: ClientSession | None) -> bytes:
        """As the server sends them: only there one sees how many bytes they are before they are decoded."""
        found: list[bytes] = []
        size = 0
        with self._looking(), self.collection.find_raw_batches(
            projection=projection, session=session, **find
        ) as cursor:
            for piece in cursor:
                found.append(piece)
                size += len(piece)
                if not self._pace.fits(size) and self._pace.size > 1:
                    raise TooMuch
        self._pace.weighed(size / self._pace.size)
        return b"".join(found)

    def _decoded(self, found: bytes) -> Batch:
        codec_options = self.collection.codec_options
        try:
            documents = bson.decode_all(found, codec_options)
        except InvalidBSON as error:
            raise BatchFailed(f"{self.collection.name}, {self._unreadable(found)} cannot be read: {error}") from error
        exact = documents if is_exact(codec_options) else bson.decode_all(found, EXACTLY)
        ids = [document["_id"] for document in exact]
        self._require_known_types(ids)
        return Batch(ids, documents)

    def _require_known_types(self, ids: Ids) -> None:
        """PyMongo reads a DBPointer, of before MongoDB 1.0, as a DBRef, and so would never find the document again."""
        if DBRef in map(type, ids) and self.collection.find_one({"_id": {"$type": "dbPointer"}}, {"_id": 1}):
            raise BatchFailed(f"{self.collection.name} has an _id that is a DBPointer, which PyMongo cannot write.")

    def _unreadable(self, found: bytes) -> str:
        """The first document that the team's code cannot get; before PyMongo 4.3 it may be that nobody can read it."""
        place, before = 0, self.checkpoint.last
        with contextlib.suppress(InvalidBSON):
            for document in bson.decode_iter(found, self.collection.codec_options):
                place, before = place + 1, (document["_id"],)
        with contextlib.suppress(InvalidBSON):
            document = next(itertools.islice(bson.decode_iter(found, EXACTLY), place, None))
            return f"_id {document['_id']!r}"
        return f"the document after _id {before[0]!r}" if before else "the first document"

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        try:
            yield
        except OperationFailure as error:
            if isinstance(error, AutoReconnect) or is_of_documents(error):
                raise
            name = self.collection.name
            raise BatchFailed(
                f"MongoDB does not look for {self.filter!r} in {name}: {server_message(error)}"
            ) from error
        except InvalidBSON as error:
            raise BatchFailed(f"{self.collection.name} has an _id that PyMongo cannot read: {error}") from error

    def write(self, work: Work) -> bool:
        """Do a batch and move the checkpoint behind it, together where the server has transactions.

        Whether there was anything to do.
        """
        if self.in_transactions:
            moved = self._in_transaction(work)
        else:
            self._watch.confirm()
            moved = self._write(work, None)
        count = moved.done - self.checkpoint.done
        self.checkpoint = moved
        del self._ahead[: self._tried]
        self._pace.took(self._tried, time.monotonic() - self._began)
        self._watch.show(moved.progress, "")
        self._wait_for_members()
        return count > 0

    def _in_transaction(self, work: Work) -> Checkpoint:
        moved: list[Checkpoint] = []
        transaction = Transaction(self._session, _pause, waits_for_majority=True)
        transaction.run(lambda: moved.append(self._write(work, self._session)))
        return moved[-1]

    def _write(self, work: Work, session: ClientSession | None) -> Checkpoint:
        done, now = work(session), self.checkpoint
        if not done.documents:  # what is not noted is looked at again, and nothing is done twice
            return now._replace(last=tuple(done.last) or now.last)
        moved = now._replace(
            last=tuple(done.last),
            done=now.done + done.documents,
            changed=now.changed + done.changed,
            seconds=now.seconds + time.monotonic() - self._began,
        )
        if session:
            self._watch.confirm()
        self._watch.move(moved, self._session)
        return moved

    def finish(self) -> None:
        """The end was reached."""
        if not self.checkpoint.finished:
            self._watch.confirm()
            self.checkpoint = self.checkpoint._replace(finished=True)
            self._watch.move(self.checkpoint, self._session)

    def in_smaller_pieces(self, error: Exception) -> bool:
        """Whether to try a batch that failed again with fewer documents: until they fit, or only the bad one is left.

        Not where some of them have been written, that is without a transaction.
        """
        nothing_written = self.in_transactions or isinstance(error, TooMuch)
        if self._tried <= 1 or not nothing_written or not is_of_documents(error):
            return False
        self._pace.halve(self._tried)
        return True

    def _wait_for_members(self) -> None:
        while self._replica_set and time.monotonic() >= self._lag_looked_at + LAG_POLL:
            behind = self._behind(self._replica_set)
            self._lag_looked_at = time.monotonic()
            if behind is None or behind.seconds <= self._watch.max_lag:
                return
            why = f"waiting for {behind.host}, which is {behind.seconds:.0f} s behind"
            self._watch.show(self.checkpoint.progress, why)
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
    if isinstance(error, WriteError):
        return error.code != FAILED_TO_PARSE
    if isinstance(error, OperationFailure):
        return error.code in TOO_LARGE_TOGETHER or error.has_error_label("TransientTransactionError")
    return isinstance(error, (TooMuch, DocumentTooLarge))


def _pause(error: Exception, seconds: float) -> None:
    """Before a transaction begins again: whoever was in its way may need a moment."""
    time.sleep(AGAIN_PAUSE)
