"""A sample of a large collection: the newest documents, some at random, and one of every shape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from bson import decode_all
from pymongo import DESCENDING
from pymongo.errors import OperationFailure

from .raw import MAX_DOCUMENTS

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

ANY: Mapping[str, Any] = {}
"""The filter for all documents."""

SHAPE_SAMPLE = 200
"""Documents of a collection in which shapes are counted."""

MAX_SECONDS_FOR_SHAPES = 120
"""The server reads a whole collection to find its shapes."""

# Error codes of MongoDB (src/mongo/base/error_codes.yml).
SAMPLE_REPEATS_ITSELF = 28799  # $sample met the same documents again and again
MAX_TIME_EXPIRED = 50
OUT_OF_MEMORY = 292  # QueryExceededMemoryLimitNoDiskUseAllowed


def sample(collection: Collection[Any], size: int, wanted: Mapping[str, Any]) -> Iterator[bytes]:
    """Batches of about ``size`` documents, and of one document of every shape; some documents come more than once.

    ``wanted`` is a filter for all of them.
    """
    only = [{"$match": wanted}]
    yield from newest(collection, size - size // 2, "_id", wanted)
    # In this order MongoDB need not read the whole collection.
    yield from _aggregate(collection, [{"$sample": {"size": max(1, size // 2)}}, *only])
    yield from _aggregate(collection, [*only, *one_of_every_shape(size)], maxTimeMS=1000 * MAX_SECONDS_FOR_SHAPES)


def newest(collection: Collection[Any], size: int, by: str, wanted: Mapping[str, Any] = ANY) -> list[bytes]:
    """Batches of the last ``wanted`` documents, newest first, in the order of a field or of ``$natural``."""
    return list(collection.find_raw_batches(wanted, batch_size=MAX_DOCUMENTS).sort(by, DESCENDING).limit(size))


def count_shapes(db: Database[Any], seconds: float) -> int:
    """How many shapes samples of the collections have, as far as that is known after so many seconds."""
    until, shapes = time.monotonic() + seconds, 0
    pipeline: list[dict[str, Any]] = [
        {"$sample": {"size": SHAPE_SAMPLE}},
        {"$group": {"_id": _shape()}},
        {"$count": "shapes"},
    ]
    for collection in db.list_collections(filter={"type": "collection"}):
        left = until - time.monotonic()
        if left <= 0:
            break
        if not collection["name"].startswith("system."):
            milliseconds = max(1, int(1000 * left))
            for batch in _aggregate(db[collection["name"]], pipeline, maxTimeMS=milliseconds):
                shapes += sum(found["shapes"] for found in decode_all(batch))
    return shapes


def one_of_every_shape(at_most: int) -> list[dict[str, Any]]:
    """A pipeline that finds one document for each combination of field names and types, the rarest first.

    The names and types in embedded documents count too, and the types in arrays, one level deep.
    """
    return [
        {"$group": {"_id": _shape(), "document": {"$first": "$$ROOT"}, "count": {"$sum": 1}}},
        {"$sort": {"count": 1}},
        {"$limit": at_most},
        {"$replaceRoot": {"newRoot": "$document"}},
    ]


def _shape() -> dict[str, Any]:
    return _map_fields("$$ROOT", "field", ["$$field.k", {"$type": "$$field.v"}, _inner_shape("$$field.v")])


def _inner_shape(value: str) -> dict[str, Any]:
    names_and_types = _map_fields(value, "inner", ["$$inner.k", {"$type": "$$inner.v"}])
    types = {"$setUnion": [{"$map": {"input": value, "as": "inner", "in": {"$type": "$$inner"}}}]}
    branches = [
        {"case": {"$eq": [{"$type": value}, "object"]}, "then": names_and_types},
        {"case": {"$isArray": value}, "then": types},
    ]
    return {"$switch": {"branches": branches, "default": None}}


def _map_fields(document: str, name: str, result: list[Any]) -> dict[str, Any]:
    return {"$map": {"input": {"$objectToArray": document}, "as": name, "in": result}}


def _aggregate(collection: Collection[Any], pipeline: list[dict[str, Any]], **options: Any) -> Iterator[bytes]:
    try:
        yield from collection.aggregate_raw_batches(pipeline, batchSize=MAX_DOCUMENTS, allowDiskUse=True, **options)
    except OperationFailure as error:
        # A sample without these documents is still a sample.
        if error.code not in (SAMPLE_REPEATS_ITSELF, MAX_TIME_EXPIRED, OUT_OF_MEMORY):
            raise
