"""Checks of what a migration passes to ``batches``, before anything is done with it."""

from __future__ import annotations

from collections import abc
from typing import Any, Mapping, NamedTuple, Sequence

from bson.errors import BSONError
from pymongo import WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure

from .. import legacy
from ..errors import BatchFailed
from ..files.keeps import keep_problem
from ..mongo.concerns import EXACTLY
from ..store.checkpoints import digest

NOT_SUPPORTED_ON_VIEW = 166  # CommandNotSupportedOnView, src/mongo/base/error_codes.yml


# The server stops to look through a document when it has found as many fields as the projection has. With these it
# finds a field that stands there twice, as old programs have written it.
NO_SUCH_FIELDS = [f"migopy has no field {number}" for number in range(8)]


class Keep(NamedTuple):
    """What to keep of each document: the fields of these names, or the whole document for None."""

    fields: Sequence[str] | None

    @property
    def projection(self) -> Mapping[str, int] | None:
        return None if self.fields is None else dict.fromkeys([*self.fields, *NO_SUCH_FIELDS], 1)


def pymongo_collection(collection: Any) -> Collection[Any]:
    """PyMongo's own collection, without the calls of PyMongo 2."""
    if not isinstance(collection, Collection):
        raise BatchFailed(f"batches takes a collection, such as db.users, not {collection!r}.")
    database = collection.database
    found: Collection[Any] = Database(legacy.plain(database.client), database.name).get_collection(
        collection.name, codec_options=collection.codec_options, write_concern=WriteConcern(1)
    )
    return found


def valid_filter(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, abc.Mapping):
        raise BatchFailed(f"The filter for batches has to be a dict ({{}} for all documents), not {value!r}.")
    fingerprint(value, "filter")
    return value


def fingerprint(value: Any, what: str) -> str:
    """A digest of a filter or an update, or the name of a function; empty for None."""
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    try:
        return "" if value is None else digest(value)
    except (BSONError, OverflowError) as error:
        raise BatchFailed(f"The {what} {value!r} cannot be sent to MongoDB: {error}.") from error


def valid_size(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and value >= 1):
        return value
    raise BatchFailed(f"The size of a batch has to be a number of documents, at least 1, not {value!r}.")


def valid_workers(value: Any, default: int) -> int:
    """How many workers an update has."""
    if value is None:
        return default
    if not isinstance(value, int) or value < 1:
        raise BatchFailed(f"workers has to be a whole number, at least 1, not {value!r}.")
    return value


def valid_keep(value: Any, *, of_delete: bool = False) -> Keep | None:
    """What to keep; None for nothing. Raises ``BatchFailed`` for what cannot be kept."""
    problem = keep_problem(value, of_delete=of_delete)
    if problem:
        raise BatchFailed(f"{problem}.")
    if not value:
        return None
    return Keep(None if value is True else tuple(dict.fromkeys(value)))


def valid_errors(value: Any) -> int:
    """How many documents may be set aside; 0 for None."""
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BatchFailed(
            f"errors has to be the number of documents that may be set aside at most, at least 1, not {value!r}."
        )
    return value


def refuse_errors(value: Any, instead: str) -> None:
    """Raises ``BatchFailed`` where ``errors`` means nothing."""
    if value is not None:
        raise BatchFailed(f"errors is for batches.update, which can set single documents aside: {instead}.")


def require_update(value: Any, array_filters: Any) -> None:
    """Raises ``BatchFailed`` unless the value is an update or a function."""
    if array_filters is not None and not isinstance(value, abc.Mapping):
        raise BatchFailed("array_filters are for update operators ({'$set': ...}): leave them out.")
    if not callable(value) and not is_update(value):
        raise BatchFailed(
            "The update for batches has to be update operators ({'$set': ...}), a pipeline ([{'$set': ...}]) or a"
            f" function of one document, not {value!r}."
        )


def is_update(value: Any) -> bool:
    """Whether ``update_one`` takes it: operators, or a pipeline."""
    if isinstance(value, abc.Mapping):
        return str(next(iter(value), "")).startswith("$")
    return isinstance(value, list) and bool(value) and all(isinstance(stage, abc.Mapping) for stage in value)


def valid_projection(value: Any) -> Mapping[str, Any] | None:
    """The projection as a document; None for whole documents. Raises ``BatchFailed`` for one without ``_id``."""
    if value is None or isinstance(value, abc.Mapping):
        # Without its _id nobody could write to the document.
        if value and "_id" in value and not value["_id"]:
            raise BatchFailed("The projection for batches has to include _id.")
        return value or None
    if (
        isinstance(value, str)
        or not isinstance(value, (abc.Sequence, abc.Set))
        or not all(isinstance(name, str) for name in value)
    ):
        raise BatchFailed(f"The projection for batches has to be a dict or a list of names, not {value!r}.")
    return dict.fromkeys(value, 1) or None


def collection_uuid(collection: Collection[Any]) -> bytes | None:
    """MongoDB's own id of the collection, which a new collection of the same name does not have.

    None where there is no collection, or where the user may not ask.
    """
    wanted = {"name": collection.name}
    try:
        reply = collection.database.command("listCollections", filter=wanted, codec_options=EXACTLY)
    except OperationFailure:
        return None
    found = reply["cursor"]["firstBatch"]
    uuid = found[0]["info"].get("uuid") if found else None
    # As plain bytes every PyMongo writes and reads it in the same way.
    return None if uuid is None else bytes(uuid)


def count_and_size(collection: Collection[Any], in_transactions: bool) -> tuple[int, float]:
    """About how many documents the collection has, and their average size in bytes (0 if not known).

    Raises ``BatchFailed`` for a view or a time series, and for a capped collection on a server with transactions.
    """
    try:
        stats = collection.database.command("collStats", collection.name)
    except OperationFailure as error:
        if error.code == NOT_SUPPORTED_ON_VIEW:
            raise BatchFailed(f"{collection.name} is a view: batches needs the collection behind it.") from error
        return collection.estimated_document_count(), 0
    if "timeseries" in stats:
        raise BatchFailed(f"{collection.name} is a time series: batches needs an index on _id, and it has none.")
    if stats.get("capped") and in_transactions:
        raise BatchFailed(
            f"{collection.name} is a capped collection: MongoDB does not write to it in a transaction, which batches"
            " needs on a replica set. Write to it without batches."
        )
    return stats.get("count", 0), stats.get("avgObjSize", 0)
