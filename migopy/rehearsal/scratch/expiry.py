"""Documents that MongoDB deletes by itself after a time: those in a copy must outlast the rehearsal."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any, Iterator, Mapping, Sequence

HOURS = 1
"""How long nothing may expire in a copy."""


def expiring(
    options: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]], now: float, hours: float = HOURS
) -> list[dict[str, Any]]:
    """Filters for the documents of a collection that expire within so many hours; ``now`` is in Unix time."""
    return [
        {field: {"$lte": datetime.fromtimestamp(now - seconds, timezone.utc) + timedelta(hours=hours)}, **also}
        for field, seconds, also in _expiries(options, indexes)
        if not math.isnan(seconds)  # such as MongoDB 4.4 takes, where it means never
    ]


def _expiries(
    options: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, float, Mapping[str, Any]]]:
    """The field with the time, the seconds after that, and what else has to be true."""
    if "expireAfterSeconds" in options:
        field = options["timeseries"]["timeField"] if "timeseries" in options else "_id"  # a clustered collection
        yield field, options["expireAfterSeconds"], {}
    for index in indexes:
        if "expireAfterSeconds" in index:
            (field,) = index["key"]
            also = {"$and": [index["partialFilterExpression"]]} if "partialFilterExpression" in index else {}
            yield field, index["expireAfterSeconds"], also
