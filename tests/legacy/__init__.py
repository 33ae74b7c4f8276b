"""A project of 2014, and what PyMongo 3.13 makes of its migrations with its own methods."""

from __future__ import annotations

import json
from typing import Any

from bson import ObjectId, json_util
from bson.binary import UuidRepresentation
from bson.code import Code


def as_json(value: Any) -> Any:
    """Extended JSON that keeps the order of keys, as lists of pairs, and hides ids that were made just now."""
    if isinstance(value, dict):
        return {"pairs": [[key, as_json(member)] for key, member in value.items()]}
    if isinstance(value, (list, tuple)):
        return [as_json(member) for member in value]
    if isinstance(value, ObjectId) and value.generation_time.year > 2014:
        return "a new ObjectId"
    if isinstance(value, Code):
        return {"code": str(value), "scope": as_json(value.scope)}
    options = json_util.JSONOptions(
        json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.UNSPECIFIED
    )
    return json.loads(json_util.dumps(value, json_options=options))
