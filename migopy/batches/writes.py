"""What is done with one batch, and which document it was that could not be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, List

import bson
from bson.errors import BSONError
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError, WriteError

from ..errors import BatchFailed, MigopyException, StopTaskExecution
from ..mongo.failures import server_message
from ..mongo.internals import content_of, filter_of
from ..terminal.texts import summary, without_reply
from . import arguments
from .ids import BY_ID, IdRange, Ids, among
from .walk import FAILED_TO_PARSE, Done, Walk, is_of_documents

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

TOO_LARGE = 10334  # BSONObjectTooLarge, src/mongo/base/error_codes.yml

LARGEST = 16 * 1024 * 1024
"""Bytes of a document."""

REQUESTS = (InsertOne, UpdateOne, UpdateMany, ReplaceOne, DeleteOne, DeleteMany)


def in_server(update: Any, walk: Walk, which: Ids | IdRange, session: ClientSession | None) -> Done:
    """Have the server update them."""
    result = walk.collection.update_many(among(walk.filter, which), update, hint=BY_ID, session=session)
    return Done(which[-1:], result.matched_count, result.modified_count)


def by_function(function: Callable[[Any], Any], walk: Walk, session: ClientSession | None) -> Done:
    """Read them, and update each as the function says.

    In a transaction nobody can change a document between the two.
    """
    ids, documents = walk.documents(session=session)
    requests = []
    for id, document in zip(ids, documents):
        update = _asked(function, document, id, walk.collection)
        if update is not None:
            requests.append(UpdateOne({"_id": id}, update))
    return Done(ids[-1:], len(ids), _bulk_write(walk.collection, requests, session))


def _asked(function: Callable[[Any], Any], document: Any, id: Any, collection: Collection[Any]) -> Any:
    """What the function says of a document. Raises ``BatchFailed`` that names the document."""
    try:
        update = function(document)
    except (MigopyException, StopTaskExecution):
        raise
    except Exception as error:
        raise BatchFailed(f"{collection.name}, _id {id!r}: {summary(error)}") from error
    if update is not None and not arguments.is_update(update):
        raise BatchFailed(
            f"{collection.name}, _id {id!r}: the function has to return an update, such as {{'$set': ...}},"
            f" or None, not {update!r}"
        )
    return update


class Documents(List[Any]):
    """The documents of one batch."""

    def __init__(self, documents: Iterable[Any], client: Any) -> None:
        super().__init__(documents)
        self._client = client
        self.writes: list[tuple[Collection[Any], list[Any]]] = []

    def write(self, collection: Collection[Any], requests: Iterable[Any]) -> None:
        """Write it when the loop goes on, together with the note that this batch is done.

        ``requests`` are what ``collection.bulk_write`` takes, the collection another one if need be.
        """
        asked = list(requests)
        for request in asked:
            if not isinstance(request, REQUESTS):
                raise BatchFailed(f"write() takes what bulk_write takes, such as InsertOne(...), not {request!r}.")
        if arguments.plain(collection).database.client is not self._client:
            raise BatchFailed(f"{collection.name} belongs to another client than the documents of the batch.")
        if asked:
            self.writes.append((arguments.plain(collection), asked))

    def carry_out(self, ids: Ids, session: ClientSession | None) -> Done:
        changed = sum(_bulk_write(collection, requests, session) for collection, requests in self.writes)
        return Done(ids[-1:], len(ids), changed)


def _bulk_write(collection: Collection[Any], requests: list[Any], session: ClientSession | None) -> int:
    """How many documents were changed. Raises ``BatchFailed`` that names the one that could not be."""
    if not requests:
        return 0
    try:
        return collection.bulk_write(requests, session=session).modified_count
    except BulkWriteError as error:
        failures = error.details.get("writeErrors") if error.details else None
        if not failures or error.has_error_label("TransientTransactionError"):
            raise
        failed = failures[0]
        raise BatchFailed(f"{collection.name}, {_named(failed['op'])}: {failed['errmsg']}") from error
    except (BSONError, DocumentTooLarge, OverflowError, OperationFailure) as error:
        if isinstance(error, OperationFailure) and error.code != TOO_LARGE:
            raise
        raise BatchFailed(
            f"{collection.name}, {_unencodable(requests, collection)}: {without_reply(str(error))}"
        ) from error


def _named(operation: Any) -> str:
    """The document that an operation of a bulk write is about, as far as it says so."""
    about = operation.get("q", operation)
    conditions = about.get("$and", [about])
    return next((f"_id {condition['_id']!r}" for condition in conditions if "_id" in condition), f"{about!r}")


def _unencodable(requests: list[Any], collection: Collection[Any]) -> str:
    """The first request that cannot be sent."""
    for request in requests:
        content = content_of(request)
        try:
            if len(bson.encode({"": content}, codec_options=collection.codec_options)) <= LARGEST:
                continue
        except (BSONError, OverflowError):
            pass
        return _named(filter_of(request) or content)
    return "a request"


def explained(walk: Walk, which: Ids | IdRange, update: Any, error: Exception) -> Exception:
    """The sentence for a batch that the server could not update, with the document; else the error as it is."""
    name = walk.collection.name
    if isinstance(error, WriteError) and error.code == FAILED_TO_PARSE:
        return BatchFailed(f"MongoDB does not take the update of {name}: {server_message(error)}")
    if not isinstance(error, PyMongoError) or not is_of_documents(error):
        return error
    ids = walk.named(which)
    if not ids:  # somebody has changed them meanwhile
        return error
    if len(ids) > 1 and isinstance(update, list):
        ids = _without_writing(walk, ids, update)
    place = f"_id {ids[0]!r}" if len(ids) == 1 else f"one of the documents from _id {ids[0]!r} to {ids[-1]!r}"
    return BatchFailed(f"{name}, {place}: {server_message(error)}")


def _without_writing(walk: Walk, ids: Ids, pipeline: list[Any]) -> Ids:
    """The document that a pipeline fails on, found by reading; all of them if none fails now.

    For a server without transactions: there a batch that failed cannot be tried again in smaller pieces, since a part
    of it has been updated.
    """
    if not _fails(walk, ids, pipeline):
        return ids
    while len(ids) > 1:
        half = ids[: len(ids) // 2]
        ids = half if _fails(walk, half, pipeline) else ids[len(half) :]
    return ids


def _fails(walk: Walk, ids: Ids, pipeline: list[Any]) -> bool:
    try:
        for _ in walk.collection.aggregate([{"$match": among(walk.filter, ids)}, *pipeline]):
            pass
    except OperationFailure:
        return True
    return False
