"""Writing one batch, and naming the document that could not be written."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, List

import bson
from bson.errors import BSONError
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError, WriteError

from ..errors import BatchFailed, MigopyException, StopTaskExecution
from ..mongo.failures import server_message
from ..mongo.internals import content_of, filter_of
from ..terminal.texts import summary, without_reply, write_refusal
from . import arguments
from .commands import Updates, update_each
from .ids import BY_ID, IdRange, Ids, filter_within
from .pace import SLOW_BATCH_SECONDS
from .walk import (
    TOO_MUCH_AT_ONCE,
    Batch,
    BatchInTheWay,
    BatchResult,
    BatchTooLarge,
    DocumentsChanged,
    Walk,
    WriteBatch,
    depends_on_documents,
)

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from .keeping import Keeper

OBJECT_TOO_LARGE = 10334  # BSONObjectTooLarge, src/mongo/base/error_codes.yml

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024

WRITE_REQUESTS = (InsertOne, UpdateOne, UpdateMany, ReplaceOne, DeleteOne, DeleteMany)


def update_in_server(
    update: Any, array_filters: Any, walk: Walk, batch: Ids | IdRange, session: ClientSession | None
) -> BatchResult:
    result = walk.collection.update_many(
        filter_within(walk.filter, batch), update, array_filters=array_filters, hint=BY_ID, session=session
    )
    return BatchResult(batch[-1:], result.matched_count, result.modified_count)


def delete_in_server(hint: Any, walk: Walk, batch: Ids | IdRange, session: ClientSession | None) -> BatchResult:
    result = walk.collection.delete_many(filter_within(walk.filter, batch), hint=hint, session=session)
    return BatchResult(batch[-1:], result.deleted_count, result.deleted_count)


SLOW_CALL_SECONDS = 5.0
"""A function that takes longer for one document is called outside of the transaction, which may take 60 s."""


class FunctionUpdate:
    """Updates documents as a function says, batch by batch."""

    def __init__(self, function: Callable[[Any], Any], walk: Walk, keeper: Keeper | None = None) -> None:
        self._function = function
        self._walk = walk
        self._keeper = keeper
        self._is_slow = False

    def run(self) -> None:
        """Update all documents of the walk."""
        while self.write_next():
            pass

    def write_next(self) -> bool:
        """Write the next batch; returns whether there was any."""
        while True:
            try:
                return self._walk.write(self._next_batch())
            except (BatchTooLarge, BatchInTheWay, DocumentsChanged, PyMongoError) as error:
                # A document that somebody has changed is asked again, with its new values.
                if not self._walk.shrink_after(error) and not isinstance(error, DocumentsChanged):
                    raise

    def _next_batch(self) -> WriteBatch:
        if not self._is_slow:
            return self._read_and_write
        batch = self._read(None, keeps_raw=True)
        asked, updates = self._walk.call(lambda: self._ask(batch))

        def write(session: ClientSession | None) -> BatchResult:
            if asked.ids:
                self._walk.require_unchanged(asked, None, session)
            return self._write(asked, updates, session)

        return write

    def _read_and_write(self, session: ClientSession | None) -> BatchResult:
        # In a transaction nobody can change a document between its reading and its writing.
        batch = self._read(session, keeps_raw=False)
        asked, updates = self._walk.call(lambda: self._ask(batch))
        return self._write(asked, updates, session)

    def _read(self, session: ClientSession | None, *, keeps_raw: bool) -> Batch:
        return self._walk.documents(session=session, keeps_raw=keeps_raw)

    def _write(self, asked: Batch, updates: Updates, session: ClientSession | None) -> BatchResult:
        def write(session: ClientSession | None) -> BatchResult:
            return BatchResult(asked.ids[-1:], len(asked.ids), self._send(updates, session))

        if self._keeper is None or not updates:
            return write(session)
        return self._keeper.replace_each([id for id, _ in updates], write, session)

    def _send(self, updates: Updates, session: ClientSession | None) -> int:
        with _explain_refusal(self._walk, self._walk.collection, (({"_id": id}, update) for id, update in updates)):
            return update_each(self._walk.collection, updates, session)

    def _ask(self, batch: Batch) -> tuple[Batch, Updates]:
        """Call the function for the documents, as long as a batch may take. Returns the part that was asked, too."""
        updates = []
        began = time.monotonic()
        count = 0
        for id, document in zip(batch.ids, batch.documents):
            called = time.monotonic()
            try:
                update = self._update_for(id, document)
            except BatchFailed as error:
                self._refuse(id, error)
                update = None
            if update is not None:
                updates.append((id, update))
            count += 1
            self._is_slow = self._is_slow or time.monotonic() - called > SLOW_CALL_SECONDS
            # Other writers of these documents wait for the transaction.
            if time.monotonic() - began > SLOW_BATCH_SECONDS or self._is_enough():
                break
        self._walk.batch_size = count
        return Batch(batch.ids[:count], batch.documents[:count], batch.raw[:count]), updates

    def _update_for(self, id: Any, document: Any) -> Any:
        """What the function returns for a document. Raises ``BatchFailed`` that names the document."""
        try:
            update = self._function(document)
        except (MigopyException, StopTaskExecution):
            raise
        except Exception as error:
            raise document_failed(self._walk.collection, id, summary(error)) from error
        if update is not None and not arguments.is_update(update):
            needed = "the function has to return an update, such as {'$set': ...}, or None"
            raise document_failed(self._walk.collection, id, f"{needed}, not {update!r}")
        return update

    def _refuse(self, id: Any, error: BatchFailed) -> None:
        """What happens with a document that cannot be changed."""
        raise error

    def _is_enough(self) -> bool:
        """Whether the batch has to end here."""
        return False


def document_failed(collection: Collection[Any], id: Any, reason: str) -> BatchFailed:
    """The error that names a document and says why it cannot be changed."""
    return BatchFailed(f"{collection.name}, _id {id!r}: {reason}", reason=reason)


class Documents(List[Any]):
    """The documents of one batch."""

    def __init__(self, documents: Iterable[Any], client: Any) -> None:
        super().__init__(documents)
        self._client = client
        self.writes: list[tuple[Collection[Any], list[Any]]] = []

    def write(self, collection: Collection[Any], requests: Iterable[Any], keep: object = None) -> None:
        """Write the requests when the loop asks for the next list, together with the checkpoint.

        ``requests`` are what ``collection.bulk_write`` takes; ``collection`` may be any collection of the same client.
        ``keep`` is refused: it is for ``batches.update`` and ``batches.delete``.
        """
        if keep:
            raise BatchFailed(
                "write() keeps nothing of what it replaces: use batches.update(..., keep=...) with a function, or"
                " batches.delete(..., keep=True)."
            )
        wanted = list(requests)
        for request in wanted:
            if not isinstance(request, WRITE_REQUESTS):
                raise BatchFailed(f"write() takes what bulk_write takes, such as InsertOne(...), not {request!r}.")
        target = arguments.pymongo_collection(collection)
        if target.database.client is not self._client:
            raise BatchFailed(f"{collection.name} belongs to another MongoClient than the documents of the batch.")
        if wanted:
            self.writes.append((target, wanted))

    def send(self, walk: Walk, batch: Batch, projection: Any, session: ClientSession | None) -> BatchResult:
        """Write what the loop has asked for. Raises ``DocumentsChanged`` if it was asked of other documents."""
        if self.writes:
            walk.require_unchanged(batch, projection, session)
        ids = batch.ids
        changed = sum(_bulk_write(walk, collection, requests, session) for collection, requests in self.writes)
        return BatchResult(ids[-1:], len(ids), changed)


def _bulk_write(walk: Walk, collection: Collection[Any], requests: list[Any], session: ClientSession | None) -> int:
    """How many documents were changed. Raises ``BatchFailed`` that names a document that could not be written."""
    if not requests:
        return 0
    with _explain_refusal(walk, collection, ((filter_of(request), content_of(request)) for request in requests)):
        return collection.bulk_write(requests, session=session).modified_count


@contextlib.contextmanager
def _explain_refusal(walk: Walk, collection: Collection[Any], writes: Iterable[tuple[Any, Any]]) -> Iterator[None]:
    """Raises ``BatchFailed`` that names a document that could not be written.

    ``writes`` has the filter, which an insert has not, and the content of each. Raises ``BatchInTheWay`` where fewer
    documents may be written.
    """
    try:
        yield
    except BulkWriteError as error:
        failures = error.details.get("writeErrors") if error.details else None
        if not failures or error.has_error_label("TransientTransactionError"):
            raise
        failed = failures[0]
        if walk.in_transactions and walk.batch_size > 1 and failed["code"] in TOO_MUCH_AT_ONCE:
            raise BatchInTheWay(write_refusal(failed)) from error
        raise BatchFailed(f"{collection.name}, {_target_of(failed['op'])}: {write_refusal(failed)}") from error
    except (BSONError, DocumentTooLarge, OverflowError, OperationFailure) as error:
        if isinstance(error, OperationFailure) and error.code != OBJECT_TOO_LARGE:
            raise
        raise BatchFailed(
            f"{collection.name}, {_unencodable(writes, collection)}: {without_reply(str(error))}"
        ) from error


def _target_of(operation: Any) -> str:
    """The document that an operation of a bulk write is about, in words."""
    about = operation.get("q", operation)
    conditions = about.get("$and", [about])
    return next((f"_id {condition['_id']!r}" for condition in conditions if "_id" in condition), f"{about!r}")


def _unencodable(writes: Iterable[tuple[Any, Any]], collection: Collection[Any]) -> str:
    """The first document that cannot be sent, in words."""
    for filter, content in writes:
        try:
            if len(bson.encode({"": content}, codec_options=collection.codec_options)) <= MAX_DOCUMENT_BYTES:
                continue
        except (BSONError, OverflowError):
            pass
        return _target_of(filter or content)
    return "a request"


def refused_as_such(walk: Walk, update: Any, array_filters: Any) -> BatchFailed | None:
    """The error if the server refuses the update whatever the document."""
    try:
        walk.collection.update_many({"_id": {"$in": []}}, update, array_filters=array_filters)
    except WriteError as error:
        return BatchFailed(f"MongoDB refuses the update of {walk.collection.name}: {server_message(error)}")
    except PyMongoError:
        pass
    return None


def explain_failure(walk: Walk, batch: Ids | IdRange, update: Any, array_filters: Any, error: Exception) -> Exception:
    """The ``BatchFailed`` that names the document on which the server failed; otherwise the error itself."""
    name = walk.collection.name
    refused = refused_as_such(walk, update, array_filters) if isinstance(error, WriteError) else None
    if refused:
        return refused
    if not isinstance(error, PyMongoError) or not depends_on_documents(error):
        return error
    ids = walk.ids_of(batch)
    if not ids:  # somebody has changed the documents in the meantime
        return error
    if len(ids) > 1 and isinstance(update, list):
        ids = _find_failing(walk, ids, update)
    return BatchFailed(f"{name}, {_place_of(ids)}: {server_message(error)}")


def explain_failed_delete(walk: Walk, batch: Ids | IdRange, error: Exception) -> Exception:
    """The ``BatchFailed`` that says which documents the server could not delete; otherwise the error itself."""
    if not isinstance(error, PyMongoError) or not depends_on_documents(error):
        return error
    ids = walk.ids_of(batch)
    if not ids:
        return error
    return BatchFailed(f"{walk.collection.name}, {_place_of(ids)}: {server_message(error)}")


def _place_of(ids: Ids) -> str:
    return f"_id {ids[0]!r}" if len(ids) == 1 else f"one of the documents from _id {ids[0]!r} to {ids[-1]!r}"


def _find_failing(walk: Walk, ids: Ids, pipeline: list[Any]) -> Ids:
    """The document on which the pipeline fails, found by reading only; all ``ids`` if none fails now."""
    # Without transactions smaller batches cannot tell: a part of the failed batch has been updated.
    if not _fails(walk, ids, pipeline):
        return ids
    while len(ids) > 1:
        half = ids[: len(ids) // 2]
        ids = half if _fails(walk, half, pipeline) else ids[len(half) :]
    return ids


def _fails(walk: Walk, ids: Ids, pipeline: list[Any]) -> bool:
    try:
        for _ in walk.collection.aggregate([{"$match": filter_within(walk.filter, ids)}, *pipeline]):
            pass
    except OperationFailure:
        return True
    return False
