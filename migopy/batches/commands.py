"""The commands of the batches that Python changes: a read that is decoded once, and one update for all documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Tuple

import bson
from bson import Int64
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, BulkWriteError, DocumentTooLarge, ServerSelectionTimeoutError

from ..mongo.raw import documents_of_array, place_of

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

Updates = List[Tuple[Any, Any]]
"""The ``_id``s of documents, each with the update for it."""

MAX_STATEMENTS = 100_000
"""Of one command, which the server takes."""


class Reply:
    """What the server answers to ``find``: as many of the documents as fit into 16 MB, as bytes."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        cursor, _ = place_of(b"cursor", raw)
        self._batch = place_of(b"firstBatch", raw, cursor)
        begin, end = place_of(b"id", raw, cursor)
        self.open_cursor = int.from_bytes(raw[begin:end], "little")
        """Where the server holds the documents that did not fit; 0 if all are here."""

    def __len__(self) -> int:
        return len(self._raw)

    def documents(self, codec_options: CodecOptions[Any]) -> list[Any]:
        """Raises ``InvalidBSON``."""
        found: list[Any] = bson.decode(self._raw, codec_options)["cursor"]["firstBatch"]
        return found

    def raw_documents(self) -> list[bytes]:
        """The documents as they were sent."""
        return documents_of_array(self._raw, *self._batch)


def find_raw(
    collection: Collection[Any], find: Mapping[str, Any], projection: Any, session: ClientSession | None
) -> Reply:
    """``find`` has the arguments of PyMongo's method."""
    command: dict[str, Any] = {"find": collection.name, "filter": find["filter"]}
    command.update({name: dict(find[name]) for name in ("sort", "hint", "min", "max") if name in find})
    if "limit" in find:
        # With a batch as large as the limit some servers leave the cursor open.
        command.update(limit=find["limit"], batchSize=find["limit"] + 1)
    elif "batch_size" in find:
        command["batchSize"] = find["batch_size"]
    if projection:
        command["projection"] = projection
    # find_raw_batches() cuts the reply into documents and joins them again.
    is_in_transaction = session is not None and session.in_transaction
    try:
        reply = collection.database.command(command, codec_options=RAW, session=session)
    except AutoReconnect as error:
        # PyMongo retries a find(), but no command(). A transaction is done again as a whole.
        if is_in_transaction or isinstance(error, ServerSelectionTimeoutError):
            raise
        reply = collection.database.command(command, codec_options=RAW, session=session)
    return Reply(reply.raw)


def close_cursor(collection: Collection[Any], reply: Reply, session: ClientSession | None) -> None:
    """Give up the documents that did not fit into the reply."""
    if reply.open_cursor:
        cursors = [Int64(reply.open_cursor)]
        collection.database.command("killCursors", collection.name, cursors=cursors, session=session)


Refused = List[Tuple[Any, Mapping[str, Any]]]
"""The ``_id``s of documents that the server has not changed, each with its answer."""


def by_id(id: Any, update: Any) -> dict[str, Any]:
    """The statement that updates one document, whatever it is like now."""
    return {"q": {"_id": id}, "u": update}


def update_each(
    collection: Collection[Any],
    updates: Updates,
    session: ClientSession | None,
    statement: Callable[[Any, Any], dict[str, Any]] = by_id,
    refused: Refused | None = None,
) -> int:
    """Update each document by its ``_id``; returns how many were changed.

    Documents that the server refuses are added to ``refused``, and do not keep it from changing the others. Without
    that, this raises what ``bulk_write()`` raises, with the ``_id`` as ``id`` of the write error.
    """
    # PyMongo would not retry these writes either: it does that in replica sets, and there they are in a transaction.
    changed = 0
    for begin in range(0, len(updates), MAX_STATEMENTS):
        changed += _update(collection, updates[begin : begin + MAX_STATEMENTS], session, statement, refused)
    return changed


def _update(
    collection: Collection[Any],
    updates: Updates,
    session: ClientSession | None,
    statement: Callable[[Any, Any], dict[str, Any]],
    refused: Refused | None,
) -> int:
    statements = [statement(id, update) for id, update in updates]
    command = {"update": collection.name, "updates": statements, "ordered": refused is None}
    try:
        reply = collection.database.command(command, codec_options=collection.codec_options, session=session)
    except DocumentTooLarge:
        # PyMongo sends no command of more than 16 MB: nothing is written yet.
        if len(updates) == 1:
            raise
        half = len(updates) // 2
        halves = updates[:half], updates[half:]
        return sum(_update(collection, part, session, statement, refused) for part in halves)
    for failure in reply.get("writeErrors", ()):
        id = updates[failure["index"]][0]
        if refused is None:
            raise BulkWriteError({**reply, "writeErrors": [{**failure, "op": statements[failure["index"]], "id": id}]})
        refused.append((id, failure))
    changed: int = reply["nModified"]
    return changed
