"""The differences between two documents, field by field, in words for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Iterator, Mapping, NamedTuple

from bson import Decimal128, ObjectId, decode
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.timestamp import Timestamp

MAX_CHARACTERS = 60
"""Of a value that is shown."""

ABSENT = "(none)"

ORDER, NUMBERS, FRESH = "the order of fields", "the type of numbers", "fresh ids and times"
"""Differences between two documents that mean the same."""

READABLE: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="replace")

Document = Mapping[str, Any]


class Field(NamedTuple):
    """A field that was changed, such as ``address.city``, with its value before and after as text."""

    path: str
    before: str
    after: str


def decode_if_possible(document: bytes) -> Document | None:
    """None if Python has no value for something in the document, such as a date in the year 10000."""
    try:
        return decode(document, READABLE)
    except (BSONError, OverflowError, ValueError):
        return None


def short_repr(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def changed_fields(before: Document, after: Document) -> list[Field]:
    """The fields whose meaning differs, in the order of the first document."""
    return [
        Field(path, short_repr(ours), short_repr(theirs))
        for path, ours, theirs in _differing_values("", before, after)
        if _minor_difference(ours, theirs) is None
    ]


def minor_differences(before: Document, after: Document) -> set[str]:
    """How two documents differ that mean the same: ``ORDER``, ``NUMBERS``, ``FRESH``."""
    found = {_minor_difference(ours, theirs) for _, ours, theirs in _differing_values("", before, after)}
    return {difference for difference in found if difference} or {ORDER}


class _Absent:
    def __repr__(self) -> str:
        return ABSENT


_absent = _Absent()


def _differing_values(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Each pair of values that differ in value or type, with the path of the field."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):  # all names once, in their order
            inner_path = f"{path}.{name}".lstrip(".")
            yield from _differing_values(inner_path, before.get(name, _absent), after.get(name, _absent))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        # Arrays of different length are shown as a whole.
        for number, (ours, theirs) in enumerate(zip(before, after)):
            yield from _differing_values(f"{path}.{number}", ours, theirs)
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def _minor_difference(before: Any, after: Any) -> str | None:
    """Why two values that differ may mean the same; None if they do not."""
    if _is_number(before) and _is_number(after) and _number(before) == _number(after):
        return NUMBERS
    return FRESH if type(before) is type(after) and isinstance(before, (ObjectId, datetime, Timestamp)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)


def _number(value: Any) -> float | Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else value
