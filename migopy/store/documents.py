"""What stands in our collections, read with care: anybody may have written a document into them.

A field of the wrong type counts as missing. A document that lacks a field we need is a ``ForeignDocument``: it is
passed over, and ``check`` names it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON

from ..mongo.concerns import MAJORITY_TIMEOUT
from ..terminal.texts import one_line, shortened

if TYPE_CHECKING:
    from pymongo.collection import Collection

AT_ONCE = 1_000_000
"""Documents in one reply, if they are not more than 16 MB; by default MongoDB's first reply has 101."""

LONGEST_NAME = 255
"""Characters of a file name."""

LONGEST_RUN = 1e9
"""Seconds that nothing of ours can take: thirty years."""


class ForeignDocument(NamedTuple):
    """A document that is not ours: its collection, its ``_id`` as Python writes it, why, and what to do."""

    collection: str
    id: str
    why: str
    next_step: str = "delete it, or mend it"

    @classmethod
    def met(cls, collection: str, document: Mapping[str, Any], why: str) -> ForeignDocument:
        return cls(collection, shortened(one_line(repr(document.get("_id"))), 80), why)


def all_of(
    collection: Collection[dict[str, Any]], wanted: Mapping[str, Any], foreign: set[ForeignDocument], **options: Any
) -> Iterator[dict[str, Any]]:
    """The documents that are wanted, in one read.

    Of those that Python cannot hold, for a date in the year 10000 for example, there is no more than the name, and they
    are foreign if that is not to be had; only where there are such, each is read by itself.
    """
    limits = {"batch_size": AT_ONCE, "max_time_ms": MAJORITY_TIMEOUT}
    try:
        yield from list(collection.find(wanted, **limits, **options))
    except InvalidBSON:
        for key in list(
            collection.find(wanted, {"_id": 1}, batch_size=AT_ONCE, max_time_ms=MAJORITY_TIMEOUT, **options)
        ):
            yield _readable(collection, key, foreign)


def _readable(
    collection: Collection[dict[str, Any]], key: Mapping[str, Any], foreign: set[ForeignDocument]
) -> dict[str, Any]:
    """What Python can hold of the document with that ``_id``."""
    error: InvalidBSON | None = None
    for fields in (None, {"name": 1}):
        try:
            return collection.find_one({"_id": {"$eq": key["_id"]}}, fields, max_time_ms=MAJORITY_TIMEOUT) or dict(key)
        except InvalidBSON as unreadable:
            error = unreadable
    foreign.add(ForeignDocument.met(collection.name, key, one_line(error)))
    return dict(key)


def name(value: object) -> str | None:
    """The name of a migration. No file of ours has one that cannot be printed."""
    found = string(value)
    return found if found and len(found) <= LONGEST_NAME and found.isprintable() else None


def names(value: object) -> Sequence[str]:
    return [item for item in value if name(item)] if isinstance(value, list) else ()


def text(value: object) -> str | None:
    found = string(value)
    return None if found is None else one_line(found)


def string(value: object) -> str | None:
    """BSON's Code comes as a kind of ``str`` that is none: it may not even be hashed."""
    return value if type(value) is str else None


def moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def seconds(value: object) -> float | None:
    """A number of seconds; of BSON's doubles one may be infinite, and another no number at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < LONGEST_RUN else None


def number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def storable(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What we write ourselves: texts that BSON can hold, and everybody may read."""
    return {key: one_line(fact) if isinstance(fact, str) else fact for key, fact in facts.items()}
