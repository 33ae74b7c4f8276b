"""Two short hashes of a document: of its bytes, and of what it says."""

from __future__ import annotations

import struct
import time
from decimal import Decimal
from typing import NamedTuple

from bson import Decimal128

# The types of BSON (https://bsonspec.org/spec.html).
DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, OBJECT_ID, DATE = 0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x09
REGEX, POINTER, CODE, SYMBOL, CODE_WITH_SCOPE = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
INT32, TIMESTAMP, INT64, DECIMAL128 = 0x10, 0x11, 0x12, 0x13
UNDEFINED, BOOLEAN, NULL, MIN_KEY, MAX_KEY = 0x06, 0x08, 0x0A, 0xFF, 0x7F
NUMBER = b"\0"  # no type of BSON: that of a number of any of them

SIZES = {UNDEFINED: 0, NULL: 0, MIN_KEY: 0, MAX_KEY: 0, BOOLEAN: 1, DATE: 8, TIMESTAMP: 8, DOUBLE: 8, DECIMAL128: 16}
"""Bytes of the values that always have as many, but for those of the commonest types."""

BESIDES_LENGTH = {CODE: 4, SYMBOL: 4, CODE_WITH_SCOPE: 0, BINARY: 5, POINTER: 16}
"""Bytes beside those that are counted by the length at the beginning of the value."""

LARGEST = 2**62
"""Up to here a double that is whole is told as an integer."""

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
    """``key`` tells documents apart by their ``_id``; ``exact`` is of the bytes, ``meaning`` of what they say."""

    key: int
    exact: int
    meaning: int


class Digester:
    """Reads documents, and knows what was made ``since``, in Unix time.

    What a document says does not depend on the order of its fields or on the type of a number; nor on values that
    cannot be the same twice, an ``ObjectId``, date or timestamp made since then. A document whose ``_id`` is one of
    those, or that has none, is told apart by what it says.
    """

    def __init__(self, since: float) -> None:
        self._since = int(since)
        self._until = 0.0
        self._old: set[bytes] = set()
        self._learning = False

    def learn(self, document: bytes) -> Digest:
        """Of one that was there in the beginning, whatever the clock of those says that have made what is in it."""
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
        """What each field of a document or array says, its name before it.

        The commonest types first and at once: a call for each field of each document would double the time.
        """
        fields = []
        while position < end:
            kind = raw[position]
            value = raw.index(0, position + 1) + 1
            if kind == STRING:
                stop = value + 4 + _int32(raw, value)[0]
                said = raw[position:stop]
            elif kind == INT32:
                stop = value + 4
                said = NUMBER + raw[position + 1 : stop] + (POSITIVE if raw[stop - 1] < 128 else NEGATIVE)
            elif kind == INT64:
                stop = value + 8
                said = NUMBER + raw[position + 1 : stop]
            elif kind in (DOCUMENT, ARRAY):
                stop = value + _int32(raw, value)[0]
                said = raw[position:value] + _as_int64(hash(frozenset(self._fields(raw, value + 4, stop - 1))))
            elif kind == OBJECT_ID:
                stop = value + 12
                made = _uint32_of_id(raw, value)[0]
                said = raw[position:stop] if made < self._since else self._new(raw, position, value, stop, made)
            else:
                stop = _end_of_value(raw, kind, value)
                said = self._said(raw, position, value, stop)
            fields.append(said)
            position = stop
        return fields

    def _said(self, raw: bytes, position: int, value: int, stop: int) -> bytes:
        kind = raw[position]
        if kind == DATE:
            return self._new(raw, position, value, stop, _int64(raw, value)[0] / 1000)
        if kind == TIMESTAMP:
            return self._new(raw, position, value, stop, _uint32(raw, value + 4)[0])
        if kind in (DOUBLE, DECIMAL128):
            number = _double(raw, value)[0] if kind == DOUBLE else _decimal(raw[value:stop])
            return NUMBER + raw[position + 1 : value] + _said_by_number(number)
        return raw[position:stop]

    def _new(self, raw: bytes, position: int, value: int, stop: int, made: float) -> bytes:
        """What an id or a time says that was made then, in Unix time."""
        if made < self._since or (made > self._until and not self._is_now(made)):
            return raw[position:stop]
        if self._learning:
            self._old.add(raw[value:stop])
        return raw[position:stop] if raw[value:stop] in self._old else raw[position:value] + FRESH

    def _is_now(self, made: float) -> bool:
        """Whether that is not in the future; clocks of two machines may differ by a second."""
        self._until = time.time() + 1
        return made <= self._until


def _end_of_value(raw: bytes, kind: int, value: int) -> int:
    if kind in SIZES:
        return value + SIZES[kind]
    if kind == REGEX:
        return raw.index(0, raw.index(0, value) + 1) + 1
    if kind not in BESIDES_LENGTH:
        raise ValueError(f"BSON has no type {kind:#x}.")
    length: int = _int32(raw, value)[0]
    return value + BESIDES_LENGTH[kind] + length


def _decimal(value: bytes) -> float | Decimal:
    """As a double if that is the same number; 0.1 is none in binary."""
    number = Decimal128.from_bid(value).to_decimal()
    if number.is_finite() and abs(number) < LARGEST and Decimal(float(number)) == number:
        return float(number)
    return number


def _said_by_number(number: float | Decimal) -> bytes:
    if isinstance(number, float) and number.is_integer() and abs(number) < LARGEST:
        return _as_int64(int(number))
    if isinstance(number, Decimal) and number.is_finite():
        number = number.normalize()
    return repr(number).encode()
