"""The documents that migrations could not change and have set aside: the collection ``migrations_rejected``.

Their ``_id`` is ``{walk, id}``: the ids of a checkpoint and of the document. Beside it stand
``migration``, ``direction``, ``collection``, ``error``, ``at`` (the server's time), ``by``, and ``after``: how many
documents the walk had done before the batch that set it aside.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterable, Mapping, NamedTuple

from bson import MaxKey
from pymongo import UpdateOne

from ..mongo.clock import literals
from ..mongo.concerns import BETWEEN_BATCHES, EXACT_IDS, majority_collection
from ..mongo.failures import explains_server_errors
from ..terminal.texts import MAX_VALUE_LENGTH, one_line, shorten
from . import documents

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from .names import Names


class Rejected(NamedTuple):
    """A document that a migration has set aside, and why."""

    migration: str
    direction: str
    collection: str
    """Without the name of the database."""
    id: Any
    error: str
    at: datetime | None
    by: str | None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Rejected | None:
        """None for a document that migopy did not write."""
        get, key = document.get, document["_id"]
        migration, collection = documents.name(get("migration")), documents.text(get("collection"))
        if migration is None or collection is None or not isinstance(key, Mapping) or "id" not in key:
            return None
        direction, error = documents.text(get("direction")) or "up", documents.text(get("error")) or ""
        at, by = documents.moment(get("at")), documents.text(get("by"))
        return cls(migration, direction, collection.partition(".")[2], key["id"], error, at, by)

    @property
    def id_text(self) -> str:
        """The ``_id`` as Python writes it."""
        return shorten(one_line(repr(self.id)), MAX_VALUE_LENGTH)


class RejectedStore:
    """The collection of all documents that were set aside."""

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str) -> None:
        self.address = address
        self.collection = majority_collection(db, names.rejected, codec_options=EXACT_IDS)
        self._between_batches = self.collection.with_options(write_concern=BETWEEN_BATCHES)
        self.by = by

    @explains_server_errors
    def prepare(self) -> None:
        """Make the collection, as MongoDB 4.2 cannot in a transaction. Raises ``NotAllowed`` without the right to."""
        probe = {"_id": MaxKey()}
        self.collection.update_one(probe, {"$set": {"error": ""}}, upsert=True)
        self.collection.find_one(probe)
        self.collection.delete_one(probe)

    @explains_server_errors
    def forget(self, migration: str, direction: str) -> None:
        """Delete what earlier executions of a migration have set aside."""
        self.collection.delete_many({"migration": migration, "direction": direction})

    @explains_server_errors
    def resume(self, walk: Any, done: int) -> list[Any]:
        """The ``_id``s of the documents that a walk has set aside in the batches that count, in their order."""
        # Without transactions a killed run may have set aside what the next one comes to again.
        self.collection.delete_many({"_id.walk": walk, "after": {"$gte": done}})
        return [found["_id"]["id"] for found in self.collection.find({"_id.walk": walk}, {"_id": 1}).sort("_id")]

    def put(
        self, walk: Any, reasons: Iterable[tuple[Any, str]], facts: Mapping[str, Any], session: ClientSession | None
    ) -> None:
        """Note documents that a batch has set aside, with the reason for each."""
        writes = []
        for id, reason in reasons:
            stored = literals({**documents.storable_facts({"error": reason, "by": self.by}), **facts})
            writes.append(UpdateOne({"_id": {"walk": walk, "id": id}}, [{"$set": {**stored, "at": "$$NOW"}}], True))
        if writes:
            self._between_batches.bulk_write(writes, session=session)

    def remove(self, walk: Any, ids: Iterable[Any], session: ClientSession | None) -> None:
        keys = [{"walk": walk, "id": id} for id in ids]
        if keys:
            self._between_batches.delete_many({"_id": {"$in": keys}}, session=session)

    @explains_server_errors
    def find(self, migration: str | None = None) -> list[Rejected]:
        """What a migration has set aside, or all of them, by migration and in the order of the documents."""
        wanted = {} if migration is None else {"migration": migration}
        found = map(Rejected.from_document, self.collection.find(wanted).sort([("migration", 1), ("_id", 1)]))
        return [rejected for rejected in found if rejected]

    @explains_server_errors
    def drop(self, migration: str) -> None:
        self.collection.delete_many({"migration": migration})
