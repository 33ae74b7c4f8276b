"""What is different between two documents, field by field, in words for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Iterator, Mapping, NamedTuple

from bson import Decimal128, ObjectId, decode
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.timestamp import Timestamp

LONGEST = 60
"""Characters of a value that are shown."""

ABSENT = "(none)"

ORDER, NUMBERS, FRESH = "the order of fields", "the type of numbers", "fresh ids and times"

READABLE: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="replace")

Document = Mapping[str, Any]


class Field(NamedTuple):
    """A field that was changed, ``address.city``, with its value before and after as text."""

    path: str
    before: str
    after: str


def read(document: bytes) -> Document | None:
    """The document, or None if there is something in it that Python cannot say, such as a date of the year 10000."""
    try:
        return decode(document, READABLE)
    except (BSONError, OverflowError, ValueError):
        return None


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def different(before: Document, after: Document) -> list[Field]:
    """The fields that say something else, in the order of the first document."""
    return [
        Field(path, shown(ours), shown(theirs))
        for path, ours, theirs in _pairs("", before, after)
        if _unlike(ours, theirs) is None
    ]


def unlike(before: Document, after: Document) -> set[str]:
    """In what two documents differ that say the same: the order of fields, the type of numbers, fresh ids and times."""
    kinds = {_unlike(ours, theirs) for _, ours, theirs in _pairs("", before, after)}
    return {kind for kind in kinds if kind} or {ORDER}


class _Absent:
    def __repr__(self) -> str:
        return ABSENT


_absent = _Absent()


def _pairs(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The values, field by field, that are not of the same type or not equal."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _pairs(f"{path}.{name}".lstrip("."), before.get(name, _absent), after.get(name, _absent))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (ours, theirs) in enumerate(zip(before, after)):
            yield from _pairs(f"{path}.{number}", ours, theirs)
    elif type(before) is not type(after) or before != after:
        yield path, before, after


def _unlike(before: Any, after: Any) -> str | None:
    """Why two values that are not the same may say the same; None if they do not."""
    if _is_number(before) and _is_number(after) and _number(before) == _number(after):
        return NUMBERS
    return FRESH if type(before) is type(after) and isinstance(before, (ObjectId, datetime, Timestamp)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)


def _number(value: Any) -> float | Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else value
