"""Indexes as PyMongo 2 made them: which were ensured lately, and which of their options mean something today."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Mapping

from pymongo import errors as pymongo_errors
from pymongo.operations import IndexModel

from ..errors import NoSuchCall
from .calls import refusal, warn

if TYPE_CHECKING:
    from .collection import Collection

# PyMongo 2 wrote every keyword into the index, and MongoDB passed over what it did not know; dropDups ended with 3.0.
DROPPED_OPTIONS = ("cache_for", "drop_dups", "dropDups", "fsync", "j", "safe", "ttl", "w", "wtimeout")

# What does not tell one index from another.
INCIDENTAL = {"background", "name", "ns", "v"}

OPTIONS_CONFLICT, NAME_CONFLICT = 85, 86


class Ensured:
    """The indexes that ``ensure_index`` has made a short time ago: PyMongo 2 and 3 did not ask for them again."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def lately(self, collection: Collection, name: str) -> bool:
        return self._until.get((collection.full_name, name), 0) > time.monotonic()

    def note(self, collection: Collection, name: str, seconds: float) -> None:
        self._until[collection.full_name, name] = time.monotonic() + seconds


def as_today(keys: Any, options: Mapping[str, Any]) -> IndexModel:
    """The index without the options that MongoDB has no longer."""
    kept = {name: value for name, value in options.items() if name not in DROPPED_OPTIONS}
    if "bucket_size" in kept:
        kept["bucketSize"] = kept.pop("bucket_size")
    if kept.get("v") == 0:
        del kept["v"]
    index = IndexModel(keys, **kept)
    if "geoHaystack" in index.document["key"].values():
        raise refusal("geoHaystack", [])
    return index


def explain(
    error: pymongo_errors.OperationFailure,
    index: Mapping[str, Any],
    options: Mapping[str, Any],
    there: Mapping[str, Any],
) -> None:
    """Pass over an index that is there under another name, as MongoDB 2.6 did; raise for anything else."""
    if isinstance(error, pymongo_errors.DuplicateKeyError) and (options.get("drop_dups") or options.get("dropDups")):
        found = str(error).partition(", full error:")[0]
        raise NoSuchCall(
            f"drop_dups: MongoDB 3.0 dropped it, remove the duplicates before create_index ({found})."
        ) from error
    if error.code not in (OPTIONS_CONFLICT, NAME_CONFLICT):
        raise error
    for name, other in there.items():
        if list(other["key"]) == list(index["key"].items()) and name != index["name"]:
            _compare(name, other, index, error)
            return
    raise error


def _compare(name: str, other: Mapping[str, Any], index: Mapping[str, Any], error: Exception) -> None:
    def meaning(document: Mapping[str, Any]) -> dict[str, Any]:
        return {option: value for option, value in document.items() if option not in INCIDENTAL | {"key"} and value}

    if meaning(other) != meaning(index):
        raise NoSuchCall(
            f"ensure_index: the index {name} has these keys and other options, write drop_index({name!r}) before it."
        ) from error
    warn(f"the index {index['name']}, which is there as {name},", "one create_index of both")
