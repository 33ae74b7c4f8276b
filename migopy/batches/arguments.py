"""What the author of a migration gives, looked at before anything is done with it."""

from __future__ import annotations

from collections import abc
from typing import Any, Mapping

from bson.errors import BSONError
from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from .. import legacy
from ..errors import BatchFailed
from ..store.checkpoints import digest

NOT_OF_VIEWS = 166  # CommandNotSupportedOnView, src/mongo/base/error_codes.yml


def plain(collection: Any) -> Collection[Any]:
    """The collection as PyMongo makes it, for one that answers the calls of PyMongo 2 as well."""
    if not isinstance(collection, Collection):
        raise BatchFailed(f"Batches are of a collection, such as db.users, not of {collection!r}.")
    database = collection.database
    found: Collection[Any] = Database(legacy.plain(database.client), database.name).get_collection(
        collection.name, codec_options=collection.codec_options, write_concern=WriteConcern(1)
    )
    return found


def filter(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, abc.Mapping):
        raise BatchFailed(f"The filter of batches has to be a dict, {{}} for all documents, not {value!r}.")
    described(value, "filter")
    return value


def described(value: Any, what: str) -> str:
    """A digest of a filter or an update, the name of a function; empty for a loop."""
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    try:
        return "" if value is None else digest(value)
    except (BSONError, OverflowError) as error:
        raise BatchFailed(f"MongoDB cannot be given the {what} {value!r}: {error}.") from error


def size(value: Any, default: int) -> int:
    if value is None:
        return default
    if not isinstance(value, int) or value < 1:
        raise BatchFailed(f"The size of batches has to be a number of documents, not {value!r}.")
    return value


def require_update(value: Any) -> None:
    """Raises ``BatchFailed`` for what is neither an update nor a function."""
    if not callable(value) and not is_update(value):
        raise BatchFailed(
            "The update of batches has to be operators ({'$set': ...}), a pipeline ([{'$set': ...}]) or a function of"
            f" one document, not {value!r}."
        )


def is_update(value: Any) -> bool:
    """Whether ``update_one`` takes it: operators, or a pipeline."""
    if isinstance(value, abc.Mapping):
        return str(next(iter(value), "")).startswith("$")
    return isinstance(value, list) and bool(value) and all(isinstance(stage, abc.Mapping) for stage in value)


def require_id(projection: Any) -> None:
    """A projection without ``_id`` would leave nobody a way to write to the document."""
    if isinstance(projection, abc.Mapping) and "_id" in projection and not projection["_id"]:
        raise BatchFailed("The projection of batches has to leave the _id in.")


def measured(collection: Collection[Any]) -> tuple[int, float]:
    """About how many documents it has, and how many bytes each. Raises ``BatchFailed`` for what is no collection."""
    try:
        stats = collection.database.command("collStats", collection.name)
    except OperationFailure as error:
        if error.code == NOT_OF_VIEWS:
            raise BatchFailed(f"{collection.name} is a view: give batches the collection it looks at.") from error
        return collection.estimated_document_count(), 0
    if "timeseries" in stats:
        raise BatchFailed(f"{collection.name} is a time series, whose documents have no _id to go by.")
    return stats.get("count", 0), stats.get("avgObjSize", 0)
