"""The ``_id``s of a collection in the order of their index, a page at a time, whatever their types."""

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

RANGED = (int, Int64, str, ObjectId, datetime)
"""Types of which all values are compared with each other by ``$gte`` and ``$lte``, and as their index has them."""


class IdRange(NamedTuple):
    """All that comes after one ``_id`` up to another one, both of a type of which all between can be compared."""

    after: Any
    last: Any


class After:
    """The documents that fit a filter and come after a place in the order of the ``_id`` index.

    ``{_id: {$gt: last}}`` would see those of the same type only; ``min()`` is a place in the index, which has an order
    of all types. It begins with ``last`` itself, if that is still there, and ends before a ``MaxKey``.
    """

    def __init__(self, filter: Mapping[str, Any], last: Sequence[Any]) -> None:
        self._filter = filter
        self._last = last

    def finds(self, size: int) -> Iterator[dict[str, Any]]:
        """The arguments of ``find``: the second one finds what is after the last document that the first one finds."""
        ordered = {"filter": self._filter, "sort": BY_ID, "hint": BY_ID}
        if not self._last:
            yield {**ordered, "limit": size, "batch_size": size}
        elif not isinstance(self._last[0], MaxKey):
            more = size + 1
            yield {**ordered, "min": {"_id": self._last[0]}, "limit": more, "batch_size": more}
            yield {"filter": {"$and": [self._filter, {"_id": MaxKey()}]}}

    def begins_with_last(self, ids: Ids) -> bool:
        """To the last bit: NaN is not equal to itself, and 1 is equal to True."""
        return bool(ids and self._last) and _bits(ids[0]) == _bits(self._last[0])


def page(collection: Collection[Any], filter: Mapping[str, Any], last: Sequence[Any], size: int) -> Ids:
    """The next ``_id``s after the one in ``last``, or the first ones if that is empty."""
    after = After(filter, last)
    exactly = collection.with_options(codec_options=EXACTLY)
    for find in after.finds(size):
        ids = [document["_id"] for document in exactly.find(projection={"_id": 1}, **find)]
        if after.begins_with_last(ids):
            del ids[0]
        if ids:
            return ids[:size]
    return []


def stretch(collection: Collection[Any], last: Sequence[Any], size: int) -> IdRange | None:
    """So many documents after the one in ``last``, whether they fit a filter or not: only the index is read for that.

    None where there are fewer, or of another type.
    """
    if not last or type(last[0]) not in RANGED:
        return None
    exactly = collection.with_options(codec_options=EXACTLY)
    there: dict[str, Any] = {"min": {"_id": last[0]}, "sort": BY_ID, "hint": BY_ID, "skip": size, "limit": 1}
    found = next(iter(exactly.find({}, {"_id": 1}, **there)), None)
    return IdRange(last[0], found["_id"]) if found and type(found["_id"]) is type(last[0]) else None


def among(filter: Mapping[str, Any], which: Ids | IdRange) -> dict[str, Any]:
    """The filter, for these only.

    A clustered collection has no index of ``_id``: for ``$in`` alone MongoDB 6.0 looks at all of its documents.
    """
    if isinstance(which, IdRange):
        return {"$and": [filter, {"_id": {"$gt": which.after, "$lte": which.last}}]}
    these: dict[str, Any] = {"$in": which}
    if type(which[0]) is type(which[-1]) and type(which[0]) in RANGED:
        these.update({"$gte": which[0], "$lte": which[-1]})
    return {"$and": [filter, {"_id": these}]}


def _bits(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=EXACTLY)
