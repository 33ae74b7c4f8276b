"""Indexes as PyMongo 2 made them."""

from __future__ import annotations

from typing import Any, Mapping

from pymongo import errors as pymongo_errors
from pymongo.operations import IndexModel

from ..errors import NoSuchCall
from .calls import refusal, warn

# PyMongo 2 wrote every keyword into the index, and MongoDB ignored what it did not know. MongoDB 3.0 dropped dropDups.
DROPPED_OPTIONS = ("cache_for", "drop_dups", "dropDups", "fsync", "j", "safe", "ttl", "w", "wtimeout")

# Options in which two equal indexes may differ.
INCIDENTAL = {"background", "name", "ns", "v"}

OPTIONS_CONFLICT, NAME_CONFLICT = 85, 86


def index_model(keys: Any, options: Mapping[str, Any]) -> IndexModel:
    """The index without the options that MongoDB has dropped."""
    kept = {name: value for name, value in options.items() if name not in DROPPED_OPTIONS}
    if "bucket_size" in kept:
        kept["bucketSize"] = kept.pop("bucket_size")
    if kept.get("v") == 0:
        del kept["v"]  # the format of MongoDB 1.8
    index = IndexModel(keys, **kept)
    if "geoHaystack" in index.document["key"].values():
        raise refusal("geoHaystack")
    return index


def raise_unless_present(
    error: pymongo_errors.OperationFailure,
    index: Mapping[str, Any],
    options: Mapping[str, Any],
    present: Mapping[str, Any],
) -> None:
    """Raise the error, unless an equal index exists under another name. MongoDB 2.6 accepted that."""
    if isinstance(error, pymongo_errors.DuplicateKeyError) and (options.get("drop_dups") or options.get("dropDups")):
        found = str(error).partition(", full error:")[0]
        raise NoSuchCall(
            f"drop_dups: MongoDB 3.0 dropped it, remove the duplicates before create_index ({found})."
        ) from error
    if error.code not in (OPTIONS_CONFLICT, NAME_CONFLICT):
        raise error
    for name, other in present.items():
        if list(other["key"]) == list(index["key"].items()) and name != index["name"]:
            if _meaning(other) != _meaning(index):
                raise NoSuchCall(
                    f"ensure_index: the index {name} has the same keys and other options, write drop_index({name!r})"
                    " before it."
                ) from error
            warn(f"the index {index['name']} (it exists as {name})", "one create_index for both")
            return
    raise error


def _meaning(index: Mapping[str, Any]) -> dict[str, Any]:
    return {option: value for option, value in index.items() if option not in INCIDENTAL | {"key"} and value}
