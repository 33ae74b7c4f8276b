"""The differences between two documents, field by field, in words for people."""

from __future__ import annotations

from typing import Any, Callable, Hashable, Iterator, Mapping, NamedTuple

from bson import Decimal128, decode, encode
from bson.codec_options import CodecOptions
from bson.errors import BSONError

MAX_CHARACTERS = 60
"""Of a value that is shown."""

MAX_FIELDS = 8
"""Of a document that is shown whole."""

ABSENT = "(none)"

ORDER, NUMBERS, FRESH = "the order of fields", "the type of numbers", "fresh ids and times"
SIGN, NAN_BITS, DIGITS = "the sign of zero", "the bits of NaN", "the trailing zeros of decimals"
"""Differences between two documents that mean the same."""

READABLE: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="replace")

Document = Mapping[str, Any]

Meaning = Callable[[bytes], int]
"""The meaning of a document, as a digest has it."""


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


def changed_fields(before: Document, after: Document, meaning: Meaning) -> list[Field]:
    """The fields whose meaning differs, in the order of the first document."""
    return [
        Field(path, *_short_reprs(ours, theirs))
        for path, ours, theirs in _differing_values("", before, after)
        if _minor_difference(ours, theirs, meaning) is None
    ]


def fields_of(before: Document | None, after: Document | None) -> list[Field]:
    """The first fields of a document that is only before, or only after."""
    names = [name for name in (before or after or {}) if name != "_id"]
    shown = [
        Field(name, *(short_repr(document[name] if document else _absent) for document in (before, after)))
        for name in names[:MAX_FIELDS]
    ]
    more = len(names) - MAX_FIELDS
    return [*shown, Field(f"(fields that are not shown: {more})", "", "")] if more > 0 else shown


def minor_differences(before: Document, after: Document, meaning: Meaning) -> set[str]:
    """How two documents differ that mean the same: some of the differences above."""
    found = {_minor_difference(ours, theirs, meaning) for _, ours, theirs in _differing_values("", before, after)}
    return {difference for difference in found if difference} | ({ORDER} if _has_other_order(before, after) else set())


def _has_other_order(before: Any, after: Any) -> bool:
    """Whether the fields of two values that mean the same have another order, at any depth."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return list(before) != list(after) or any(_has_other_order(before[name], after[name]) for name in before)
    if isinstance(before, list) and isinstance(after, list):
        return any(map(_has_other_order, before, after))
    return False


def shape(value: Any) -> Hashable:
    """The names and types of everything in a value: two documents of one shape differ only in values."""
    if isinstance(value, Mapping):
        return frozenset((name, shape(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return list, frozenset(map(shape, value))
    return "number" if _is_number(value) else type(value).__name__


class _Absent:
    def __repr__(self) -> str:
        return ABSENT


_absent = _Absent()


def _short_reprs(before: object, after: object) -> tuple[str, str]:
    """Both values as text; of long ones with equal beginnings the part around their first difference."""
    ours, theirs = short_repr(before), short_repr(after)
    if ours != theirs:
        return ours, theirs
    whole = repr(before), repr(after)
    same = next((place for place, (one, other) in enumerate(zip(*whole)) if one != other), 0)
    start = max(0, same - MAX_CHARACTERS // 3)
    return _part(whole[0], start), _part(whole[1], start)


def _part(text: str, start: int) -> str:
    end = start + MAX_CHARACTERS - 2
    return f"…{text[start:end]}…" if end < len(text) else f"…{text[start:]}"


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
    elif before is _absent or after is _absent or _encode(before) != _encode(after):
        yield path, before, after


def _encode(value: Any) -> bytes:
    # In Python NaN differs from itself, and 0.0 is equal to -0.0.
    return encode({"": value}, codec_options=READABLE)


def _minor_difference(before: Any, after: Any, meaning: Meaning) -> str | None:
    """Why two values that differ may mean the same; None if they do not."""
    if before is _absent or after is _absent or meaning(_encode(before)) != meaning(_encode(after)):
        return None
    if type(before) is not type(after):
        return NUMBERS
    if isinstance(before, float):
        return SIGN if before == after else NAN_BITS
    return DIGITS if isinstance(before, Decimal128) else FRESH


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool)
