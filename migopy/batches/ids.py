"""The ``_id``s of a collection, in the order of their index and whatever their types."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterator, List, Mapping, NamedTuple, Sequence

import bson.codec_options
from bson import DBRef, Int64, MaxKey, ObjectId

from ..errors import BatchFailed
from ..mongo.concerns import EXACTLY

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

BY_ID = [("_id", 1)]

Ids = List[Any]

SAMPLE_OF_A_PART = 100
"""Documents; enough that the parts are of about the same size."""

COMPARABLE_TYPES = (int, Int64, str, ObjectId, datetime)
"""Types whose values ``$gte`` and ``$lte`` compare as the index orders them."""


class IdRange(NamedTuple):
    """The ``_id``s after one value, up to and including another of the same comparable type."""

    after: Any
    last: Any


class Between:
    """The documents that match a filter and come after ``last``, up to ``end``, in the order of the ``_id`` index.

    ``last`` holds one ``_id``, or nothing for the beginning; so does ``end``, or nothing where the end is not known.
    """

    def __init__(self, filter: Mapping[str, Any], last: Sequence[Any], end: Sequence[Any]) -> None:
        self._filter = filter
        self._last = last
        self._end = end

    @property
    def is_empty(self) -> bool:
        return bool(self._last and self._end) and _is_same(self._last[0], self._end[0])

    def find_arguments(self, size: int) -> Iterator[dict[str, Any]]:
        """Arguments for one or two calls of ``find``: the second finds what the first cannot.

        What they find may begin with the document in ``last``.
        """
        ordered: dict[str, Any] = {"filter": self._filter, "sort": BY_ID, "hint": BY_ID}
        if self._end:
            # max() ends before its place in the index, so the last document is found by itself.
            ordered["max"] = {"_id": self._end[0]}
        if self.is_empty:
            return
        if not self._last:
            yield {**ordered, "limit": size, "batch_size": size}
        elif isinstance(self._last[0], MaxKey):
            pass
        elif size == 1:
            # One reply holds at most 16 MB, so it may hold only one of two documents.
            other = {"$and": [self._filter, {"_id": {"$ne": self._last[0]}}]}
            yield {**ordered, "filter": other, "min": {"_id": self._last[0]}, "limit": 1, "batch_size": 1}
        else:
            more = size + 1
            # $gt would find values of the same type only; min() is a place in the index, which orders all types.
            yield {**ordered, "min": {"_id": self._last[0]}, "limit": more, "batch_size": more}
        # min() does not find a MaxKey.
        yield {"filter": {"$and": [self._filter, {"_id": {"$eq": self._end[0] if self._end else MaxKey()}}]}}

    def starts_with_last(self, ids: Ids) -> bool:
        return bool(ids and self._last) and _is_same(ids[0], self._last[0])


def next_ids(
    collection: Collection[Any],
    filter: Mapping[str, Any],
    last: Sequence[Any],
    end: Sequence[Any],
    size: int,
    session: ClientSession | None = None,
) -> Ids:
    """At most ``size`` matching ``_id``s after ``last``, up to ``end``."""
    between = Between(filter, last, end)
    exactly = collection.with_options(codec_options=EXACTLY)
    found: Ids = []
    for arguments in between.find_arguments(size):
        ids = [document["_id"] for document in exactly.find(projection={"_id": 1}, session=session, **arguments)]
        found += ids[1:] if between.starts_with_last(ids) else ids
        if len(found) >= size:
            break
    return found[:size]


def greatest_id(collection: Collection[Any], filter: Mapping[str, Any]) -> Sequence[Any]:
    """The last ``_id`` in the order of the index that the filter's condition for ``_id`` fits; empty if none does."""
    condition = {"_id": filter["_id"]} if "_id" in filter else {}
    exactly = collection.with_options(codec_options=EXACTLY)
    found = next(iter(exactly.find(condition, {"_id": 1}, sort=[("_id", -1)], hint=BY_ID, limit=1)), None)
    if found is None:
        return ()
    require_writable_ids(collection, [found["_id"]])
    return (found["_id"],)


def find_cuts(collection: Collection[Any], filter: Mapping[str, Any], end: Sequence[Any], parts: int) -> Sequence[Any]:
    """``_id``s below ``end`` that cut the collection into about equal parts, in the order of the index.

    They are found in a sample, without a scan; fewer where the sample finds fewer.
    """
    pipeline: list[dict[str, Any]] = [
        {"$sample": {"size": parts * SAMPLE_OF_A_PART}},
        {"$match": {"_id": filter.get("_id", {"$exists": True}), "$expr": {"$lt": ["$_id", {"$literal": end[0]}]}}},
        {"$group": {"_id": "$_id"}},
        {"$sort": {"_id": 1}},
    ]
    exactly = collection.with_options(codec_options=EXACTLY)
    ids = [document["_id"] for document in exactly.aggregate(pipeline)]
    require_writable_ids(collection, ids)
    step = len(ids) / parts
    return [ids[int(step * number)] for number in range(1, parts)] if len(ids) >= 2 * parts else []


def require_writable_ids(collection: Collection[Any], ids: Ids) -> None:
    """Raises ``BatchFailed`` for an ``_id`` that PyMongo would not find again."""
    # PyMongo reads a DBPointer, from before MongoDB 1.0, as a DBRef.
    if DBRef in map(type, ids) and collection.find_one({"_id": {"$type": "dbPointer"}}, {"_id": 1}):
        raise BatchFailed(f"{collection.name} has an _id that is a DBPointer, which PyMongo cannot write.")


def next_range(collection: Collection[Any], last: Sequence[Any], end: Sequence[Any], size: int) -> IdRange | None:
    """The range of the next ``size`` documents after ``last``, matching or not, or of all up to ``end``.

    This reads the index only. None where the type of the ``_id``s changes, or fewer are left and no end is known.
    """
    if not last or type(last[0]) not in COMPARABLE_TYPES or (end and _is_same(last[0], end[0])):
        return None
    exactly = collection.with_options(codec_options=EXACTLY)
    skipping: dict[str, Any] = {"min": {"_id": last[0]}, "sort": BY_ID, "hint": BY_ID, "skip": size, "limit": 1}
    if end:
        skipping["max"] = {"_id": end[0]}
    found = [document["_id"] for document in exactly.find({}, {"_id": 1}, **skipping)] or end
    return IdRange(last[0], found[0]) if found and type(found[0]) is type(last[0]) else None


def filter_within(filter: Mapping[str, Any], batch: Ids | IdRange) -> dict[str, Any]:
    """The filter, restricted to the ``_id``s of a batch."""
    if isinstance(batch, IdRange):
        return {"$and": [filter, {"_id": {"$gt": batch.after, "$lte": batch.last}}]}
    # A clustered collection has no index on _id: for $in alone MongoDB 6.0 reads all of its documents.
    return {"$and": [filter, {"_id": {"$in": batch, **bounds(batch)}}]}


def bounds(ids: Ids) -> dict[str, Any]:
    """The condition that every ``_id`` from the first to the last fits; empty where their types do not compare."""
    if type(ids[0]) is type(ids[-1]) and type(ids[0]) in COMPARABLE_TYPES:
        return {"$gte": ids[0], "$lte": ids[-1]}
    return {}


def _is_same(one: Any, other: Any) -> bool:
    # Compared bit by bit: NaN is not equal to itself, and 1 is equal to True.
    return _encode(one) == _encode(other)


def _encode(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=EXACTLY)
