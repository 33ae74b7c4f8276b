"""Some documents of a large collection: the newest, some at random, and one of every shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator

from pymongo import DESCENDING
from pymongo.errors import OperationFailure

from .raw import AT_ONCE

if TYPE_CHECKING:
    from pymongo.collection import Collection

SHAPES_SECONDS = 120
"""For how long the server may look for shapes in one collection; it reads the whole of it."""

NO_MORE_AT_RANDOM, TOO_LONG, TOO_MUCH = 28799, 50, 292
"""``$sample`` met the same documents again and again; MaxTimeMSExpired; QueryExceededMemoryLimitNoDiskUseAllowed."""


def sample(collection: Collection[Any], size: int) -> Iterator[bytes]:
    """Batches of about ``size`` documents and one of every shape; the same document may come more than once."""
    yield from collection.find_raw_batches({}, batch_size=AT_ONCE).sort("_id", DESCENDING).limit(size - size // 2)
    yield from _aggregated(collection, [{"$sample": {"size": max(1, size // 2)}}])
    yield from _aggregated(collection, one_of_every_shape(size), maxTimeMS=1000 * SHAPES_SECONDS)


def newest(collection: Collection[Any], size: int, by: str) -> list[bytes]:
    """Batches with the last documents in the order of that field, or of insertion (``$natural``), newest first."""
    return list(collection.find_raw_batches({}, batch_size=AT_ONCE).sort(by, DESCENDING).limit(size))


def one_of_every_shape(at_most: int) -> list[dict[str, Any]]:
    """A pipeline that finds a document for each combination of field names and types, the rarest ones first.

    The names and types in embedded documents count too, and the types in arrays, one level deep.
    """
    shape = _each("$$ROOT", "field", ["$$field.k", {"$type": "$$field.v"}, _inside("$$field.v")])
    return [
        {"$group": {"_id": shape, "document": {"$first": "$$ROOT"}, "count": {"$sum": 1}}},
        {"$sort": {"count": 1}},
        {"$limit": at_most},
        {"$replaceRoot": {"newRoot": "$document"}},
    ]


def _inside(value: str) -> dict[str, Any]:
    names_and_types = _each(value, "inner", ["$$inner.k", {"$type": "$$inner.v"}])
    types = {"$setUnion": [{"$map": {"input": value, "as": "inner", "in": {"$type": "$$inner"}}}]}
    branches = [
        {"case": {"$eq": [{"$type": value}, "object"]}, "then": names_and_types},
        {"case": {"$isArray": value}, "then": types},
    ]
    return {"$switch": {"branches": branches, "default": None}}


def _each(document: str, name: str, told: list[Any]) -> dict[str, Any]:
    return {"$map": {"input": {"$objectToArray": document}, "as": name, "in": told}}


def _aggregated(collection: Collection[Any], pipeline: list[dict[str, Any]], **options: Any) -> Iterator[bytes]:
    """What there is to have: of a collection where the server finds nothing in time the rest must do."""
    try:
        yield from collection.aggregate_raw_batches(pipeline, batchSize=AT_ONCE, allowDiskUse=True, **options)
    except OperationFailure as error:
        if error.code not in (NO_MORE_AT_RANDOM, TOO_LONG, TOO_MUCH):
            raise
