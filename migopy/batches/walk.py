"""One walk through a collection: finding the next batch, and writing it together with its checkpoint."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence

import bson
from bson.errors import InvalidBSON
from pymongo.errors import AutoReconnect, DocumentTooLarge, OperationFailure, PyMongoError, WriteError

from ..errors import BatchFailed
from ..mongo.concerns import EXACTLY, is_exact
from ..mongo.failures import server_message
from ..mongo.inserts import inserts_of
from ..mongo.raw import document_of, id_of
from ..mongo.transaction import Transaction
from .arguments import collection_uuid
from .commands import Reply, close_cursor, find_raw
from .ids import BY_ID, Between, IdRange, Ids, filter_within, next_ids, next_range, require_writable_ids
from .pace import SLOW_BATCH_SECONDS, Pace
from .trail import replaced

if TYPE_CHECKING:
    from bson.codec_options import CodecOptions
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from ..store.checkpoints import Checkpoint
    from .gate import Gate

IDS_READ_AHEAD = 10_000

RETRY_PAUSE_SECONDS = 0.02
"""Before a batch is retried whose transaction collided with another one."""

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
FAILED_TO_PARSE = 9
# WriteConflict, JSInterpreterFailure (also of JavaScript that was interrupted), NoSuchTransaction, TransactionTooLarge,
# TransactionExceededLifetimeLimitSeconds, TransactionTooLargeForCache.
TOO_MUCH_AT_ONCE = (112, 139, 251, 257, 290, 388)


class Batch(NamedTuple):
    """The documents of a batch as the team's code gets them, and their exact ``_id``s.

    One of them may be an ``UnreadableDocument``, if that was asked for. ``raw`` is what was read, or empty if nobody
    compares it.
    """

    ids: Ids
    documents: list[Any]
    raw: list[bytes]


class UnreadableDocument(NamedTuple):
    """In place of a document that PyMongo cannot decode."""

    error: InvalidBSON


class BatchResult(NamedTuple):
    """How many documents a batch went through and how many it changed; ``last`` is its last ``_id``, or empty."""

    last: Sequence[Any]
    documents: int
    changed: int
    left: Mapping[str, Any] | None = None
    """Of a restore: how many documents it has left alone until now, by reason."""
    rejected: int | None = None
    """How many documents are set aside then; None if none ever was."""


WriteBatch = Callable[["ClientSession | None"], BatchResult]
"""Writes a batch, in the transaction of the session if there is one."""


class BatchHooks(NamedTuple):
    """What a walk calls around each batch.

    ``confirm`` raises if the lock is lost, ``move`` writes the checkpoint. ``whole`` returns the checkpoint of the
    whole walk, where this one is one of its parts. ``call`` calls the code of the team, in the thread where that
    belongs. ``workers`` is the number of threads.
    """

    confirm: Callable[[], None]
    move: Callable[[Checkpoint, ClientSession], None]
    whole: Callable[[Checkpoint], Checkpoint] = lambda checkpoint: checkpoint
    call: Callable[[Callable[[], Any]], Any] = lambda function: function()
    workers: int = 1


class BatchTooLarge(Exception):  # noqa: N818 - it never leaves this room
    """The documents of a batch do not fit into memory together."""


class BatchInTheWay(Exception):  # noqa: N818 - it never leaves this room
    """Other writers need the documents of a batch, or it takes too long for one transaction."""


class DocumentsChanged(Exception):  # noqa: N818 - it never leaves this room
    """Somebody has changed documents of a batch since they were read."""


class DocumentRefused(DocumentsChanged):
    """The server has refused a document, and the transaction is tried again without it."""


class Walk:
    """One walk through a collection, in the order of the ``_id`` index. ``checkpoint`` is where it is now."""

    def __init__(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        checkpoint: Checkpoint,
        pace: Pace,
        session: ClientSession,
        in_transactions: bool,
        gate: Gate,
        hooks: BatchHooks,
    ) -> None:
        self.collection = collection
        self.filter = filter
        self.checkpoint = checkpoint
        self.in_transactions = in_transactions
        self._pace = pace
        self._session = session
        self._gate = gate
        self._hooks = hooks
        self.inserts = inserts_of(collection.database.client)
        self._ids_ahead: Ids = []
        self.batch_size = 0
        """How many documents were tried last."""
        self._batch_began = time.monotonic()
        self._collisions = 0
        self._paced_seconds = 0.0
        """How long this batch had to wait for the pace; it counts, for people see how fast the run is."""

    def next_batch(self) -> Ids | IdRange:
        """The next batch for the server; empty at the end."""
        self._batch_began = time.monotonic()
        size, last = self.next_size, self.checkpoint.last
        if not self._ids_ahead and not self.checkpoint.finished:
            with self._explain_errors():
                id_range = next_range(self.collection, last, self.checkpoint.end, size)
            if id_range:
                self.batch_size = size
                return id_range
            # At the beginning, at the end, and where the type of the _ids changes.
            self._ids_ahead = self._next_ids(self.filter, max(size, min(IDS_READ_AHEAD, 10 * size)))
        ids = self._ids_ahead[:size]
        self.batch_size = len(ids)
        return ids

    def ids_of(self, batch: Ids | IdRange) -> Ids:
        """The matching ``_id``s of the batch that was tried last."""
        if isinstance(batch, IdRange):
            return self._next_ids(filter_within(self.filter, batch), self.batch_size)
        return batch

    def _next_ids(self, filter: Mapping[str, Any], size: int) -> Ids:
        with self._explain_errors():
            ids = next_ids(self.collection, filter, self.checkpoint.last, self.checkpoint.end, size)
        require_writable_ids(self.collection, ids)
        return ids

    def documents(
        self,
        projection: Any = None,
        session: ClientSession | None = None,
        *,
        keeps_raw: bool = True,
        takes_unreadable: bool = False,
    ) -> Batch:
        """The next batch for Python; empty at the end. Raises ``BatchTooLarge``.

        ``keeps_raw`` says whether ``require_unchanged()`` will compare it. Raises ``BatchFailed`` that names a document
        which cannot be decoded, unless ``takes_unreadable``.
        """
        size = self.next_size
        self.begin_batch(size)
        found = Batch([], [], [])
        if self.checkpoint.finished:
            return found
        between = Between(self.filter, self.checkpoint.last, self.checkpoint.end)
        for arguments in between.find_arguments(size):
            reply = self._read(arguments, projection, session)
            read = self._decode(reply, found.ids[-1:] or self.checkpoint.last, keeps_raw, takes_unreadable)
            begin = 1 if between.starts_with_last(read.ids) else 0
            found = Batch(*(before + part[begin:] for before, part in zip(found, read)))
            if len(found.ids) >= size:
                break
        return Batch(*(part[:size] for part in found))

    def documents_of(self, ids: Ids, projection: Any, session: ClientSession | None, **options: bool) -> Batch:
        """Those of these documents that match the filter. ``options`` are those of ``documents()``, which it raises."""
        self.begin_batch(len(ids))
        # The ids may not be in the order of the collection.
        wanted = {"filter": {"$and": [self.filter, {"_id": {"$in": ids}}]}, "sort": BY_ID, "hint": BY_ID}
        return self._decode(self._read(wanted, projection, session), (), **options)

    def begin_batch(self, documents: int) -> None:
        """Begin a batch of so many documents that is not found by going through the collection."""
        self._batch_began, self.batch_size = time.monotonic(), documents
        self._ids_ahead.clear()

    @property
    def next_size(self) -> int:
        """How many documents the next batch may have."""
        return self._gate.limit_size(self._pace.size, self._hooks.workers)

    def batches(self, projection: Any) -> Iterator[Batch]:
        """One batch after the other; each must be written before the next is asked for."""
        while True:
            try:
                batch = self.documents(projection)
            except BatchTooLarge as error:
                self.shrink_after(error)
                continue
            if not batch.ids:
                return
            yield batch

    def _read(self, find: Mapping[str, Any], projection: Any, session: ClientSession | None) -> Reply:
        with self._explain_errors():
            # Undecoded, because only then its size is known before it takes more memory.
            reply = find_raw(self.collection, find, projection, session)
        close_cursor(self.collection, reply, session)
        if reply.open_cursor or (not self._pace.fits(len(reply)) and self.batch_size > 1):
            raise BatchTooLarge
        self._pace.set_average_bytes(len(reply) / self.batch_size)
        return reply

    def _decode(self, reply: Reply, before: Sequence[Any], keeps_raw: bool, takes_unreadable: bool) -> Batch:
        """The documents of a reply, which follow those of the ``_id`` in ``before``, if there is one."""
        codec_options = self.collection.codec_options
        try:
            documents = reply.documents(codec_options)
            exact = documents if is_exact(codec_options) else reply.documents(EXACTLY)
            ids = [document["_id"] for document in exact]
        except InvalidBSON as error:
            if not takes_unreadable:
                which = self._unreadable(reply, before)
                raise BatchFailed(f"{self.collection.name}, {which} cannot be read: {error}") from error
            documents = [_decode_if_possible(raw, codec_options) for raw in reply.raw_documents()]
            with self._explain_errors():
                ids = [bson.decode(document_of(id_of(raw).raw), EXACTLY)["_id"] for raw in reply.raw_documents()]
        require_writable_ids(self.collection, ids)
        return Batch(ids, documents, reply.raw_documents() if keeps_raw else [])

    def _unreadable(self, reply: Reply, before: Sequence[Any]) -> str:
        """The first document that cannot be decoded, in words."""
        for raw in reply.raw_documents():
            try:
                before = (bson.decode(raw, self.collection.codec_options)["_id"],)
            except InvalidBSON:
                # Before PyMongo 4.3 some dates cannot be decoded with any codec options.
                with contextlib.suppress(InvalidBSON):
                    return f"_id {bson.decode(raw, EXACTLY)['_id']!r}"
                break
        return f"the document after _id {before[0]!r}" if before else "the first document"

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except OperationFailure as error:
            if isinstance(error, AutoReconnect) or depends_on_documents(error):
                raise
            raise BatchFailed(
                f"MongoDB refuses the filter {self.filter!r} for {self.collection.name}: {server_message(error)}"
            ) from error
        except InvalidBSON as error:
            raise BatchFailed(f"{self.collection.name} has an _id that PyMongo cannot read: {error}") from error

    def require_unchanged(self, batch: Batch, projection: Any, session: ClientSession | None) -> None:
        """Raises ``DocumentsChanged`` unless the documents of a batch are as they were read, and match the filter."""
        arguments = {"filter": filter_within(self.filter, batch.ids), "sort": BY_ID, "hint": BY_ID}
        with self._explain_errors(), self.collection.find_raw_batches(
            projection=projection, session=session, **arguments
        ) as cursor:
            if b"".join(cursor) != b"".join(batch.raw):
                raise DocumentsChanged

    def write(self, write_batch: WriteBatch) -> bool:
        """Write a batch and move the checkpoint; returns whether there was anything to write."""
        with self._gate.turn():
            if self.in_transactions:
                moved = self._write_in_transaction(write_batch)
            else:
                self._hooks.confirm()
                moved = self._write(write_batch, None)
                self.require_same_collection()
        count = moved.done - self.checkpoint.done
        self.checkpoint = moved
        whole = self._hooks.whole(moved)
        if whole is moved:  # what is inserted beside one part may lie ahead of another one
            self.inserts.ids.clear()
        del self._ids_ahead[: self.batch_size]
        self._pace.adjust(self.batch_size, time.monotonic() - self._batch_began)
        self._paced_seconds = self._gate.wait(whole.progress, count)
        return count > 0

    def _write_in_transaction(self, write_batch: WriteBatch) -> Checkpoint:
        moved: list[Checkpoint] = []

        def body() -> None:
            moved.append(self._write(write_batch, self._session))
            # Nobody can rename or drop it between this and the commit: the transaction holds it.
            self.require_same_collection()

        Transaction(self._session, self._retry, waits_for_majority=True).run(body)
        self._collisions = 0
        return moved[-1]

    def _retry(self, error: Exception, seconds: float) -> None:
        """Wait before a transaction runs again. Raises ``BatchInTheWay`` where a smaller batch is the better way."""
        self._gate.require_open()
        self._collisions += 1
        why = server_message(error) if isinstance(error, PyMongoError) else str(error)
        if self.batch_size > 1 and (self._collisions > 1 or seconds > SLOW_BATCH_SECONDS):
            raise BatchInTheWay(why) from error
        time.sleep(RETRY_PAUSE_SECONDS * self._collisions)

    def require_same_collection(self) -> None:
        """Raises ``BatchFailed`` when the collection is no longer the one that the walk began with."""
        uuid = self.checkpoint.uuid
        if uuid is not None and collection_uuid(self.collection) != uuid:
            raise BatchFailed(replaced(self._hooks.whole(self.checkpoint)))

    def _write(self, write_batch: WriteBatch, session: ClientSession | None) -> Checkpoint:
        result, now = write_batch(session), self.checkpoint
        if not result.documents and result.rejected in (None, now.rejected):
            # Nothing to store: the next run looks at these _ids again and changes nothing.
            return now._replace(last=tuple(result.last) or now.last)
        moved = now._replace(
            last=tuple(result.last),
            done=now.done + result.documents,
            changed=now.changed + result.changed,
            seconds=now.seconds + self._paced_seconds + (time.monotonic() - self._batch_began) / self._hooks.workers,
            left=now.left if result.left is None else result.left,
            rejected=now.rejected if result.rejected is None else result.rejected,
        )
        self._refuse_inserts_ahead(moved, session)
        if session:
            self._hooks.confirm()
        self._hooks.move(moved, self._session)
        return moved

    def _refuse_inserts_ahead(self, moved: Checkpoint, session: ClientSession | None) -> None:
        """Raises ``BatchFailed`` when the migration has inserted documents that the walk would come to."""
        if not self.inserts.ids:
            return
        noted = bson.encode({"": self.inserts.ids}, codec_options=self.collection.codec_options)
        own = {"$and": [self.filter, {"_id": {"$in": bson.decode(noted, EXACTLY)[""]}}]}
        # A transaction does not see what was inserted outside of it since it began, and nobody else what is in it.
        for reader in [session, None] if session else [None]:
            for id in next_ids(self.collection, own, moved.last, moved.end, 1, reader):
                raise BatchFailed(
                    f"The migration inserts documents into {self.collection.name} that batches would come to (the first"
                    f" has _id {id!r}): give batches a filter that leaves them out."
                )

    def finish(self) -> None:
        """Store that the walk has reached its end."""
        if not self.checkpoint.finished:
            self.require_same_collection()
            self._hooks.confirm()
            self.checkpoint = self.checkpoint._replace(finished=True)
            self._hooks.move(self.checkpoint, self._session)

    def shrink_after(self, error: Exception) -> bool:
        """Make the next batch smaller if that may avoid the error; returns whether to retry."""
        # Without a transaction a part of the batch may have been written, and a retry would write it twice.
        nothing_written = self.in_transactions or isinstance(error, (BatchTooLarge, DocumentsChanged))
        if self.batch_size <= 1 or not nothing_written or not depends_on_documents(error):
            return False
        self._pace.halve(self.batch_size)
        self._collisions = 0
        self._ids_ahead.clear()
        if not isinstance(error, (BatchTooLarge, DocumentsChanged)):
            why = server_message(error) if isinstance(error, PyMongoError) else str(error)
            whole = self._hooks.whole(self.checkpoint)
            self._gate.show(whole.progress, f"retrying with {self._pace.size:,} at once ({why})")
        return True

    def call(self, function: Callable[[], Any]) -> Any:
        """Call the code of the team."""
        return self._hooks.call(function)

    def run(self, change: Callable[[Walk], None]) -> None:
        """Go through all batches, as ``change`` does with a walk."""
        change(self)


def _decode_if_possible(raw: bytes, codec_options: CodecOptions[Any]) -> Any:
    try:
        return bson.decode(raw, codec_options)
    except InvalidBSON as error:
        return UnreadableDocument(error)


def depends_on_documents(error: Exception) -> bool:
    """Whether fewer or other documents might avoid the error."""
    if isinstance(error, WriteError):
        return error.code != FAILED_TO_PARSE
    if isinstance(error, OperationFailure):
        return error.code in TOO_MUCH_AT_ONCE or error.has_error_label("TransientTransactionError")
    if isinstance(error, PyMongoError) and error.has_error_label("TransientTransactionError"):
        return True
    return isinstance(error, (BatchTooLarge, BatchInTheWay, DocumentsChanged, DocumentTooLarge))
