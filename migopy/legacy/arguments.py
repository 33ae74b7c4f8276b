"""The arguments of PyMongo 2 and 3, checked and translated."""

from __future__ import annotations

from collections import abc
from typing import Any
from uuid import UUID

from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo.cursor import CursorType

from .calls import refusal

# Keywords of find: those with another name today, those without a meaning today, those that say how to read, and those
# that find_options() translates.
FIND_RENAMED = {"spec": "filter", "spec_or_id": "filter", "fields": "projection", "partial": "allow_partial_results"}
FIND_IGNORED = {"manipulate", "network_timeout", "secondary_acceptable_latency_ms", "compile_re"}
FIND_READING = {"as_class", "read_preference", "slave_okay", "tag_sets"}
FIND_TRANSLATED = {"await_data", "exhaust", "tailable", "timeout", "max_scan", "modifiers", "snapshot"}
FIND_OLD = {*FIND_RENAMED, *FIND_IGNORED, *FIND_READING, *FIND_TRANSLATED}

# What stood beside $query or in modifiers, and the keyword of find for each.
MODIFIERS = {
    "$comment": "comment",
    "$hint": "hint",
    "$max": "max",
    "$maxScan": "max_scan",
    "$maxTimeMS": "max_time_ms",
    "$min": "min",
    "$orderby": "sort",
    "$returnKey": "return_key",
    "$showDiskLoc": "show_record_id",
    "$snapshot": "snapshot",
}

# Flags that are options with a value today.
FIND_FLAGS: dict[str, dict[str, Any]] = {
    "exhaust": {"cursor_type": CursorType.EXHAUST},
    "snapshot": {"hint": [("_id", 1)]},  # the manual of MongoDB 4.0, which dropped snapshot, advises this hint
    "tailable": {"cursor_type": CursorType.TAILABLE},
}
FIND_NOT_PASSED_ON = {*FIND_IGNORED, *FIND_READING, *FIND_TRANSLATED}
NO_CURSOR_TIMEOUT = 16  # a flag of the wire protocol: with the keyword PyMongo warns that it wants a session


def refuse_dots_and_dollars(value: Any) -> None:
    """Refuse keys with a dot or a leading dollar, at any depth, as PyMongo 2 and 3 did."""
    if isinstance(value, (list, tuple)):
        for member in value:
            refuse_dots_and_dollars(member)
    elif isinstance(value, abc.Mapping) and not isinstance(value, RawBSONDocument):
        for key, member in value.items():
            if str(key).startswith("$"):
                raise InvalidDocument(f"key {key!r} must not start with '$'")
            if "." in str(key):
                raise InvalidDocument(f"key {key!r} must not contain '.'")
            refuse_dots_and_dollars(member)


def has_uuid(value: Any) -> bool:
    """Whether there is a UUID at any depth."""
    if isinstance(value, abc.Mapping):
        value = list(value.values())
    return isinstance(value, UUID) or (isinstance(value, (list, tuple)) and any(map(has_uuid, value)))


def require_boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False")


def order_document(order: Any) -> Any:
    """The order of a sort or a hint as commands take it."""
    return SON(order) if isinstance(order, (list, tuple)) else order


def fields_document(fields: Any) -> Any:
    """The ``fields`` of ``find_and_modify`` as commands take them."""
    if isinstance(fields, abc.Mapping):
        return fields
    if isinstance(fields, (abc.Sequence, abc.Set)):
        if not all(isinstance(field, str) for field in fields):
            raise TypeError("fields must be a list of key names, each an instance of str")
        return dict.fromkeys(fields, 1)
    raise TypeError("fields must be a mapping or list of key names")


def find_options(old: dict[str, Any]) -> dict[str, Any]:
    """The keywords of today's ``find`` for those of PyMongo 2.6 to 3.13, without ``FIND_READING``."""
    given = {**old, **_modifiers(old.get("modifiers") or {})}
    if given.get("max_scan"):
        raise refusal("max_scan")
    today = {
        FIND_RENAMED.get(name, name): value
        for name, value in given.items()
        if name not in FIND_NOT_PASSED_ON and value is not None
    }
    for name, meaning in FIND_FLAGS.items():
        today.update(meaning if given.get(name) else {})
    if given.get("tailable") and given.get("await_data"):
        today["cursor_type"] = CursorType.TAILABLE_AWAIT
    if not today.get("projection", True):
        today["projection"] = {"_id": 1}  # an empty one meant no field but the _id
    return today


def _modifiers(modifiers: dict[str, Any]) -> dict[str, Any]:
    return {
        MODIFIERS[name]: list(value.items()) if isinstance(value, abc.Mapping) else value
        for name, value in modifiers.items()
        if name in MODIFIERS
    }
