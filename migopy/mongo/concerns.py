"""How we read and write: concerns, preferences and codec options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson.codec_options
from bson import CodecOptions



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
