"""How we read and write: concerns, preferences and codec options."""

from __future__ import annotations

from typing import Any

import bson.codec_options
from bson.codec_options import CodecOptions
from pymongo import ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

# Dates outside of Python's years; PyMongo reads them since 4.3.
READS_ALL_DATES: dict[str, Any] = (
    {"datetime_conversion": bson.codec_options.DatetimeConversion.DATETIME_AUTO}
    if hasattr(bson.codec_options, "DatetimeConversion")
    else {}
)

# 0 leaves a UUID as it is. PyMongo 3 would read it as one kind of UUID and write it as another.
EXACTLY: CodecOptions[Any] = CodecOptions(uuid_representation=0, **READS_ALL_DATES)
"""What is read with these options is written back unchanged."""


def is_exact(codec_options: CodecOptions[Any]) -> bool:
    """Whether these options read every document as ``EXACTLY`` does, or not at all."""
    return codec_options.with_options(**READS_ALL_DATES) == EXACTLY


MAJORITY_TIMEOUT_MS = 10_000
"""How long a write, or a read with majority concern, may wait for a majority of the replica set."""


# A standalone server writes one journal, in order: after a crash nothing is there without what was written before it.
BETWEEN_BATCHES = WriteConcern(1)
"""For what batches write beside the documents of the team."""

# Times are read with their zone, and bytes that are not UTF-8 escaped.
_OUR_VALUES: dict[str, Any] = {"tz_aware": True, "unicode_decode_error_handler": "backslashreplace"}

EXACT_IDS = EXACTLY.with_options(**_OUR_VALUES)
"""For documents of ours that have an ``_id`` of the team's, of whatever type."""

MAJORITY: dict[str, Any] = {
    "codec_options": CodecOptions(**_OUR_VALUES),
    "read_preference": ReadPreference.PRIMARY,
    # j: on a standalone MongoDB 4.2, w: majority alone does not wait for the journal.
    "write_concern": WriteConcern("majority", j=True, wtimeout=MAJORITY_TIMEOUT_MS),
    "read_concern": ReadConcern("majority"),
}


def with_majority(db: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    """The same database, whose reads and writes survive a failover, whatever the URI says.

    Times are read with their zone, and bytes that are not UTF-8 are read escaped.
    """
    return db.with_options(**MAJORITY)


def majority_collection(db: Database[dict[str, Any]], name: str, **options: Any) -> Collection[dict[str, Any]]:
    """A collection that is read and written as ``with_majority`` says, but for the options."""
    return db.get_collection(name, **{**MAJORITY, **options})
