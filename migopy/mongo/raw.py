"""Documents as the bytes that MongoDB sends: what is not decoded is written back to the last bit."""

from __future__ import annotations

import struct
from typing import Iterator, NamedTuple

import bson
from bson.raw_bson import RawBSONDocument

from ..terminal.texts import MAX_VALUE_LENGTH, shorten
from .concerns import EXACTLY

# The types of BSON (https://bsonspec.org/spec.html).
DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, OBJECT_ID, DATE = 0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x09
REGEX, POINTER, CODE, SYMBOL, CODE_WITH_SCOPE = 0x0B, 0x0C, 0x0D, 0x0E, 0x0F
INT32, TIMESTAMP, INT64, DECIMAL128 = 0x10, 0x11, 0x12, 0x13
UNDEFINED, BOOLEAN, NULL, MIN_KEY, MAX_KEY = 0x06, 0x08, 0x0A, 0xFF, 0x7F

FIXED_BYTES = {
    **{UNDEFINED: 0, NULL: 0, MIN_KEY: 0, MAX_KEY: 0, BOOLEAN: 1},
    **{DATE: 8, TIMESTAMP: 8, DOUBLE: 8, DECIMAL128: 16, OBJECT_ID: 12, INT32: 4, INT64: 8},
}
"""Bytes of the values of fixed size."""

BYTES_BESIDES_LENGTH = {
    CODE: 4,
    SYMBOL: 4,
    CODE_WITH_SCOPE: 0,
    BINARY: 5,
    POINTER: 16,
    STRING: 4,
    DOCUMENT: 0,
    ARRAY: 0,
}
"""Bytes of a value that the length at its beginning does not count."""

_int32 = struct.Struct("<i").unpack_from
_length = struct.Struct("<i").pack


class RawDocuments(RawBSONDocument):
    """Several documents in the place of one: PyMongo sends all of them, as they are."""

    def __init__(self, batch: bytes) -> None:
        super().__init__(batch[: _int32(batch, 0)[0]])
        self._batch = batch

    @property
    def raw(self) -> bytes:
        return self._batch


def split(batch: bytes) -> Iterator[bytes]:
    """The single documents of a batch."""
    position = 0
    while position < len(batch):
        end = position + _int32(batch, position)[0]
        yield batch[position:end]
        position = end


def documents_of_array(raw: bytes, array: int, end: int) -> list[bytes]:
    """The documents in the array that stands from ``array`` to ``end``."""
    found = []
    position, last = array + 4, end - 1
    while position < last:
        begin = raw.index(0, position + 1) + 1  # behind the name, which is the place in the array
        position = begin + _int32(raw, begin)[0]
        found.append(raw[begin:position])
    return found


class Element(NamedTuple):
    """One field of a document: its type, its name, and the bytes of the name with both, and of the value alone."""

    kind: int
    name: bytes
    raw: bytes
    value: bytes


def elements(document: bytes) -> Iterator[Element]:
    """The fields of a document in their order; a name may stand there twice."""
    position, end = 4, len(document) - 1
    while position < end:
        kind = document[position]
        value = document.index(0, position + 1) + 1
        stop = end_of_value(document, kind, value)
        yield Element(kind, document[position + 1 : value - 1], document[position:stop], document[value:stop])
        position = stop


def place_of(name: bytes, raw: bytes, document: int = 0) -> tuple[int, int]:
    """Where the value of a field begins and ends, in the document that begins at ``document``; nothing is copied."""
    position = document + 4
    while True:
        value = raw.index(0, position + 1) + 1
        end = end_of_value(raw, raw[position], value)
        if raw[position + 1 : value - 1] == name:
            return value, end
        position = end


def end_of_value(document: bytes, kind: int, value: int) -> int:
    """Where the value that begins at ``value`` ends."""
    if kind in FIXED_BYTES:
        return value + FIXED_BYTES[kind]
    if kind == REGEX:
        return document.index(0, document.index(0, value) + 1) + 1
    if kind not in BYTES_BESIDES_LENGTH:
        raise ValueError(f"BSON has no type {kind:#x}.")
    length: int = _int32(document, value)[0]
    return value + BYTES_BESIDES_LENGTH[kind] + length


def id_of(document: bytes) -> Element:
    """The ``_id`` of a document, which is its first field unless a very old server has stored it."""
    if document.startswith(b"_id\0", 5):
        kind = document[4]
        stop = 9 + FIXED_BYTES[kind] if kind in FIXED_BYTES else end_of_value(document, kind, 9)
        return Element(kind, b"_id", document[4:stop], document[9:stop])
    return next(element for element in elements(document) if element.name == b"_id")


def id_text(id: Element) -> str:
    """An ``_id`` for people."""
    return shorten(repr(bson.decode(document_of(id.raw), EXACTLY)["_id"]), MAX_VALUE_LENGTH)


def fields_behind_id(document: bytes, id: Element) -> bytes:
    """All fields of the document but its ``_id``."""
    if document.startswith(id.raw, 4):
        return document[4 + len(id.raw) : -1]
    return b"".join(element.raw for element in elements(document) if element.name != b"_id")


def document_of(fields: bytes) -> bytes:
    """The document that consists of these fields."""
    return _length(len(fields) + 5) + fields + b"\0"


def element(kind: int, name: bytes, value: bytes) -> bytes:
    """A field, as bytes."""
    return bytes((kind,)) + name + b"\0" + value


def subdocument(name: bytes, fields: bytes) -> bytes:
    """A field with a document that consists of these fields."""
    # As element(DOCUMENT, name, document_of(fields)), in half of the time.
    return b"\x03" + name + b"\0" + _length(len(fields) + 5) + fields + b"\0"
