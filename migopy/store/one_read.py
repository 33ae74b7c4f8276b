"""The registrations and the log, and the lock, in one round trip where the server and the user allow that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON
from pymongo.errors import EncryptionError, ExecutionTimeout, OperationFailure

from ..mongo.concerns import MAJORITY_TIMEOUT_MS, majority_collection
from .documents import DOCUMENTS_PER_REPLY
from .history import IN_ORDER
from .lock import LOOK

if TYPE_CHECKING:
    from pymongo.database import Database

    from .names import Names

Documents = Sequence[Mapping[str, Any]]


class Found(NamedTuple):
    """The documents of three collections, the log in the order of time. None is for what has to be read by itself."""

    registrations: Documents | None = None
    log: Documents | None = None
    lock: Documents | None = None


def read_in_one(db: Database[dict[str, Any]], names: Names, *, with_lock: bool) -> Found:
    """What one command finds; nothing if MongoDB is older than 4.4, or if a document or a right is in the way.

    Nor does a client that encrypts fields by itself take the command.
    """
    lock = {"$unionWith": {"coll": names.lock, "pipeline": [*LOOK, _mark("lock")]}}
    pipeline = [
        _mark("registrations"),
        {"$unionWith": {"coll": names.log, "pipeline": [_mark("log")]}},
        *([lock] if with_lock else []),
        {"$sort": {f"document.{field}": direction for field, direction in IN_ORDER}},
    ]
    registrations = majority_collection(db, names.migrations)
    try:
        rows = list(registrations.aggregate(pipeline, batchSize=DOCUMENTS_PER_REPLY, maxTimeMS=MAJORITY_TIMEOUT_MS))
    except ExecutionTimeout:
        raise
    except (OperationFailure, EncryptionError, InvalidBSON):
        return Found()
    return Found(*([row["document"] for row in rows if row["part"] == part] for part in Found._fields))


def _mark(part: str) -> dict[str, Any]:
    """The stage that says which of the collections a document is from."""
    return {"$project": {"_id": 0, "part": {"$literal": part}, "document": "$$ROOT"}}
