"""The ``_id``s of a collection in the order of their index, a page at a time, whatever their types."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, List, Mapping, Sequence

import bson.codec_options
from bson import CodecOptions, Int64, MaxKey, ObjectId

if TYPE_CHECKING:
    from pymongo.collection import Collection

BY_ID = [("_id", 1)]

Ids = List[Any]

# A UUID of PyMongo 3 is read as one and written as another one, and a date can be later than Python's last year: what
# is read like this is written back as it was. Dates that are out of range need PyMongo 4.3.
EXACTLY: CodecOptions[Any] = CodecOptions(uuid_representation=0)
if hasattr(bson.codec_options, "DatetimeConversion"):
    EXACTLY = EXACTLY.with_options(datetime_conversion=bson.codec_options.DatetimeConversion.DATETIME_AUTO)

RANGED = (int, Int64, str, ObjectId, datetime)
"""Types of which all values are compared with each other by ``$gte`` and ``$lte``, and as their index has them."""


def exactly(collection: Collection[Any]) -> Collection[Any]:
    """The collection with its ``_id``s as they are."""
    return collection.with_options(codec_options=EXACTLY)


def page(collection: Collection[Any], filter: Mapping[str, Any], last: Sequence[Any], size: int) -> Ids:
    """The next ``_id``s after the one in ``last`` (from the first on if that is empty) of documents that fit.

    ``{_id: {$gt: last}}`` would see those of the same type only; ``min()`` is a place in the index, which has an order
    of all types. It begins with ``last`` itself, if that is still there, and ends before a ``MaxKey``.
    """
    found = exactly(collection).find(filter, {"_id": 1}).sort(BY_ID).hint(BY_ID)
    if not last:
        return _listed(found.limit(size))
    if isinstance(last[0], MaxKey):
        return []
    ids = _listed(found.limit(size + 1).min([("_id", last[0])]))
    if ids and _is_same(ids[0], last[0]):
        del ids[0]
    return ids or _listed(exactly(collection).find({"$and": [filter, {"_id": MaxKey()}]}, {"_id": 1}))


def among(filter: Mapping[str, Any], ids: Ids) -> dict[str, Any]:
    """The filter, for these ``_id``s only.

    A clustered collection has no index of ``_id``: for ``$in`` alone MongoDB 6.0 looks at all of its documents.
    """
    these: dict[str, Any] = {"$in": ids}
    if type(ids[0]) is type(ids[-1]) and type(ids[0]) in RANGED:
        these.update({"$gte": ids[0], "$lte": ids[-1]})
    return {"$and": [filter, {"_id": these}]}


def _listed(found: Any) -> Ids:
    return [document["_id"] for document in found]


def _is_same(one: Any, other: Any) -> bool:
    """Whether two values are the same to the last bit: NaN is not equal to itself, and 1 is equal to True."""
    return bson.encode({"": one}, codec_options=EXACTLY) == bson.encode({"": other}, codec_options=EXACTLY)
