"""Two short hashes of a document: of its bytes, and of its meaning."""

from __future__ import annotations

import struct
import time
from decimal import Decimal
from typing import NamedTuple

from bson import Decimal128

from ...mongo.raw import (
    ARRAY,
    DATE,
    DECIMAL128,
    DOCUMENT,
    DOUBLE,
    INT32,
    INT64,
    OBJECT_ID,
    STRING,
    TIMESTAMP,
    end_of_value,
)

NUMBER = b"\0"  # stands for every type of number; BSON has no type 0

LARGEST_WHOLE_DOUBLE = 2**62
"""Up to here a whole double has the meaning of an integer."""

ID, FRESH = b"_id\0", b"fresh"

_int32 = struct.Struct("<i").unpack_from
_int64 = struct.Struct("<q").unpack_from
_double = struct.Struct("<d").unpack_from
_uint32 = struct.Struct("<I").unpack_from
_uint32_of_id = struct.Struct(">I").unpack_from
_as_int64 = struct.Struct("<q").pack

POSITIVE, NEGATIVE = bytes(4), b"\xff" * 4
"""The upper half of a small integer."""


class Digest(NamedTuple):
    """``key`` is of the ``_id``, ``exact`` of the bytes of the document, ``meaning`` of its meaning."""

    key: int
    exact: int
    meaning: int


class Digester:
    """Makes digests. ``since`` is when the copy was made, in Unix time.

    The meaning of a document does not depend on the order of its fields or on the type of a number. An ``ObjectId``,
    date or timestamp made after ``since`` means only "fresh", because it differs in every run. A document whose
    ``_id`` is fresh, or that has none, has its meaning as its key.
    """

    def __init__(self, since: float) -> None:
        self._since = int(since)
        self._until = 0.0
        self._old_values: set[bytes] = set()
        self._learning = False

    def learn(self, document: bytes) -> Digest:
        """The digest of a document that was there before any migration: none of its values is fresh."""
        # The clock of whoever wrote it may be ahead of ours.
        self._learning = True
        try:
            return self.digest(document)
        finally:
            self._learning = False

    def digest(self, document: bytes) -> Digest:
        fields = self._fields(document, 4, len(document) - 1)
        meaning = hash(frozenset(fields))
        first = fields[0] if fields else b""
        if not first.startswith(ID, 1) or first.endswith(FRESH):
            return Digest(meaning, meaning, meaning)
        return Digest(hash(first), hash(document), meaning)

    def _fields(self, raw: bytes, position: int, end: int) -> list[bytes]:
        """The name and meaning of each field of a document or array."""
        # The commonest types come first and without a call: calls would double the time.
        fields = []
        while position < end:
            kind = raw[position]
            value = raw.index(0, position + 1) + 1
            if kind == STRING:
                stop = value + 4 + _int32(raw, value)[0]
                field = raw[position:stop]
            elif kind == INT32:
                stop = value + 4
                field = NUMBER + raw[position + 1 : stop] + (POSITIVE if raw[stop - 1] < 128 else NEGATIVE)
            elif kind == INT64:
                stop = value + 8
                field = NUMBER + raw[position + 1 : stop]
            elif kind in (DOCUMENT, ARRAY):
                stop = value + _int32(raw, value)[0]
                field = raw[position:value] + _as_int64(hash(frozenset(self._fields(raw, value + 4, stop - 1))))
            elif kind == OBJECT_ID:
                stop = value + 12
                made = _uint32_of_id(raw, value)[0]
                field = raw[position:stop] if made < self._since else self._time(raw, position, value, stop, made)
            else:
                stop = end_of_value(raw, kind, value)
                field = self._rarer_field(raw, position, value, stop)
            fields.append(field)
            position = stop
        return fields

    def _rarer_field(self, raw: bytes, position: int, value: int, stop: int) -> bytes:
        kind = raw[position]
        if kind == DATE:
            return self._time(raw, position, value, stop, _int64(raw, value)[0] / 1000)
        if kind == TIMESTAMP:
            return self._time(raw, position, value, stop, _uint32(raw, value + 4)[0])
        if kind in (DOUBLE, DECIMAL128):
            number = _double(raw, value)[0] if kind == DOUBLE else _decimal(raw[value:stop])
            return NUMBER + raw[position + 1 : value] + _number(number)
        return raw[position:stop]

    def _time(self, raw: bytes, position: int, value: int, stop: int, made: float) -> bytes:
        """The field of an id or a time that was made at ``made``, in Unix time."""
        if made < self._since or (made > self._until and not self._is_past(made)):
            return raw[position:stop]
        if self._learning:
            self._old_values.add(raw[value:stop])
        return raw[position:stop] if raw[value:stop] in self._old_values else raw[position:value] + FRESH

    def _is_past(self, made: float) -> bool:
        self._until = time.time() + 1  # the clocks of two machines may differ by a second
        return made <= self._until


def _decimal(value: bytes) -> float | Decimal:
    """A double if it is exactly the same number."""
    number = Decimal128.from_bid(value).to_decimal()
    if number.is_finite() and abs(number) < LARGEST_WHOLE_DOUBLE and Decimal(float(number)) == number:
        return float(number)
    return number


def _number(number: float | Decimal) -> bytes:
    if isinstance(number, float) and number.is_integer() and abs(number) < LARGEST_WHOLE_DOUBLE:
        return _as_int64(int(number))
    if isinstance(number, Decimal) and number.is_finite():
        number = number.normalize()
    return repr(number).encode()
