"""The ``_id``s of a collection, in the order of their index and whatever their types."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, NamedTuple, Sequence

import bson.codec_options
from bson import Int64, MaxKey, ObjectId

from ..mongo.concerns import EXACTLY

if TYPE_CHECKING:
    from pymongo.collection import Collection

BY_ID = [("_id", 1)]

Ids = List[Any]

COMPARABLE_TYPES = (int, Int64, str, ObjectId, datetime)
"""Types whose values ``$gte`` and ``$lte`` compare as the index orders them."""


class IdRange(NamedTuple):
    """The ``_id``s after one value, up to and including another of the same comparable type."""

    after: Any
    last: Any


class After:
    """The documents that match a filter and come after ``last`` in the order of the ``_id`` index.

    ``last`` holds one ``_id``, or nothing for the beginning.
    """

    def __init__(self, filter: Mapping[str, Any], last: Sequence[Any]) -> None:
        self._filter = filter
        self._last = last

    def find_arguments(self, size: int) -> Iterator[dict[str, Any]]:
        """Arguments for one or two calls of ``find``: the second finds what the first cannot.

        What they find may begin with the document in ``last``.
        """
        ordered = {"filter": self._filter, "sort": BY_ID, "hint": BY_ID}
        if not self._last:
            yield {**ordered, "limit": size, "batch_size": size}
        elif not isinstance(self._last[0], MaxKey):
            more = size + 1
            # $gt would find values of the same type only; min() is a place in the index, which orders all types.
            yield {**ordered, "min": {"_id": self._last[0]}, "limit": more, "batch_size": more}
            # min() does not find a MaxKey.
            yield {"filter": {"$and": [self._filter, {"_id": MaxKey()}]}}

    def starts_with_last(self, ids: Ids) -> bool:
        # Compared bit by bit: NaN is not equal to itself, and 1 is equal to True.
        return bool(ids and self._last) and _encode(ids[0]) == _encode(self._last[0])


def next_ids(collection: Collection[Any], filter: Mapping[str, Any], last: Sequence[Any], size: int) -> Ids:
    """At most ``size`` matching ``_id``s after ``last``."""
    after = After(filter, last)
    exactly = collection.with_options(codec_options=EXACTLY)
    for arguments in after.find_arguments(size):
        ids = [document["_id"] for document in exactly.find(projection={"_id": 1}, **arguments)]
        if after.starts_with_last(ids):
            del ids[0]
        if ids:
            return ids[:size]
    return []


def next_range(collection: Collection[Any], last: Sequence[Any], size: int) -> IdRange | None:
    """The range of the next ``size`` documents after ``last``, matching or not; this reads the index only.

    None where fewer are left, or where the type of the ``_id``s changes.
    """
    if not last or type(last[0]) not in COMPARABLE_TYPES:
        return None
    exactly = collection.with_options(codec_options=EXACTLY)
    skipping: dict[str, Any] = {"min": {"_id": last[0]}, "sort": BY_ID, "hint": BY_ID, "skip": size, "limit": 1}
    found = next(iter(exactly.find({}, {"_id": 1}, **skipping)), None)
    return IdRange(last[0], found["_id"]) if found and type(found["_id"]) is type(last[0]) else None


def filter_within(filter: Mapping[str, Any], batch: Ids | IdRange) -> dict[str, Any]:
    """The filter, restricted to the ``_id``s of a batch."""
    if isinstance(batch, IdRange):
        return {"$and": [filter, {"_id": {"$gt": batch.after, "$lte": batch.last}}]}
    condition: dict[str, Any] = {"$in": batch}
    # A clustered collection has no index on _id: for $in alone MongoDB 6.0 reads all of its documents.
    if type(batch[0]) is type(batch[-1]) and type(batch[0]) in COMPARABLE_TYPES:
        condition.update({"$gte": batch[0], "$lte": batch[-1]})
    return {"$and": [filter, {"_id": condition}]}


def _encode(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=EXACTLY)
