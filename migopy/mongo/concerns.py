"""How we read and write: concerns, preferences and codec options."""

from __future__ import annotations

from typing import Any, TypeVar

import bson.codec_options
from bson.codec_options import CodecOptions
from pymongo import ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

# A UUID of PyMongo 3 is read as one and written as another one, and a date can be later than Python's last year: what
# is read like this is written back as it was. Dates that are out of range need PyMongo 4.3.
_DATES: dict[str, Any] = (
    {"datetime_conversion": bson.codec_options.DatetimeConversion.DATETIME_AUTO}
    if hasattr(bson.codec_options, "DatetimeConversion")
    else {}
)


EXACTLY: CodecOptions[Any] = CodecOptions(uuid_representation=0, **_DATES)


def is_exact(codec_options: CodecOptions[Any]) -> bool:
    """Whether what is read with these options, if it can be read, is what ``EXACTLY`` reads."""
    return codec_options.with_options(**_DATES) == EXACTLY


MAJORITY_TIMEOUT = 10_000
"""Milliseconds that a write, or a read of what a majority has, may wait for a majority of the replica set."""


Durable = TypeVar("Durable", "Collection[dict[str, Any]]", "Database[dict[str, Any]]")


def durable(place: Durable) -> Durable:
    """The collection or database with writes that survive a failover and reads of such writes, whatever the URI says.

    Acknowledged is what is in the journal: on a standalone MongoDB 4.2 write concern majority does not mean that.
    Times come with their zone, and texts that are no UTF-8 come escaped, whatever the client was told.
    """
    return place.with_options(
        codec_options=CodecOptions(tz_aware=True, unicode_decode_error_handler="backslashreplace"),
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern("majority", j=True, wtimeout=MAJORITY_TIMEOUT),
        read_concern=ReadConcern("majority"),
    )
