"""Reads the documents of our collections with care: anybody may have written into them.

A field of the wrong type counts as missing. A document that lacks a field we need is a ``ForeignDocument``: it is
skipped, and ``check`` reports it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON

from ..mongo.concerns import MAJORITY_TIMEOUT_MS
from ..terminal.texts import one_line, shorten

if TYPE_CHECKING:
    from pymongo.collection import Collection

DOCUMENTS_PER_REPLY = 1_000_000
"""MongoDB's default is 101 in the first reply; 16 MB are the limit in any case."""

MAX_NAME_CHARACTERS = 255

MAX_SECONDS = 1e9
"""Thirty years: longer than any run of ours."""


class ForeignDocument(NamedTuple):
    """A document in one of our collections that migopy did not write: why we think so, and what to do with it."""

    collection: str
    id: str
    """The ``_id`` as Python writes it."""
    why: str
    next_step: str = "fix or delete it"
    """``{command}`` in it stands for ``fab migrations``."""

    @classmethod
    def from_document(cls, collection: str, document: Mapping[str, Any], why: str) -> ForeignDocument:
        return cls(collection, shorten(one_line(repr(document.get("_id"))), 80), why)


def read_all(
    collection: Collection[dict[str, Any]], wanted: Mapping[str, Any], foreign: set[ForeignDocument], **options: Any
) -> Iterator[dict[str, Any]]:
    """The documents that match, in one read.

    A document that Python cannot hold, say with a date in the year 10000, is reduced to its ``_id`` and ``name``, or
    added to ``foreign`` if it cannot be read at all.
    """
    options = {**options, "batch_size": DOCUMENTS_PER_REPLY, "max_time_ms": MAJORITY_TIMEOUT_MS}
    try:
        yield from list(collection.find(wanted, **options))
    except InvalidBSON:
        for key in list(collection.find(wanted, {"_id": 1}, **options)):
            yield _read_one(collection, key, foreign)


def _read_one(
    collection: Collection[dict[str, Any]], key: Mapping[str, Any], foreign: set[ForeignDocument]
) -> dict[str, Any]:
    """As much as Python can hold of the document with that ``_id``."""
    error: InvalidBSON | None = None
    for fields in (None, {"name": 1}):
        try:
            found = collection.find_one({"_id": {"$eq": key["_id"]}}, fields, max_time_ms=MAJORITY_TIMEOUT_MS)
            return found or dict(key)
        except InvalidBSON as unreadable:
            error = unreadable
    foreign.add(ForeignDocument.from_document(collection.name, key, one_line(error)))
    return dict(key)


def name(value: object) -> str | None:
    """The name of a migration; None for what cannot be a file name of ours."""
    found = string(value)
    return found if found and len(found) <= MAX_NAME_CHARACTERS and found.isprintable() else None


def names(value: object) -> Sequence[str]:
    return [item for item in value if name(item)] if isinstance(value, list) else ()


def text(value: object) -> str | None:
    """The value in one line, safe to show; None if it is not a string."""
    found = string(value)
    return None if found is None else one_line(found)


def string(value: object) -> str | None:
    # BSON's Code is a subclass of str that may not be hashable.
    return value if type(value) is str else None


def moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if 0 <= value < MAX_SECONDS else None  # a double of BSON may be infinite, or not a number


def number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def storable_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts with strings that BSON can hold and that are safe to show."""
    return {key: one_line(fact) if isinstance(fact, str) else fact for key, fact in facts.items()}
