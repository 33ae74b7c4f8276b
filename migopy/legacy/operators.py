"""Operators and options that MongoDB dropped after 2.6: translated, or refused."""

from __future__ import annotations

from collections import abc
from typing import Any

from bson.code import Code
from bson.raw_bson import RawBSONDocument
from bson.son import SON

from ..errors import NoSuchCall
from .calls import refusal, warn

# A query means the same without these. Until MongoDB 4.0 $atomic and $isolated kept other writers away, though never on
# a sharded cluster.
DROPPED_OPERATORS = {"$atomic", "$isolated", "$maxScan", "$snapshot"}
NEAR = ("$near", "$nearSphere")
LOGICAL = ("$and", "$or", "$nor")

# A collection is the same without these.
DROPPED_COLLECTION_OPTIONS = ("flags", "usePowerOf2Sizes")
CAPPED_OPTIONS = ("size", "max")  # of no other collection: MongoDB 2 ignored them there, today's refuses them


def code(value: Any, operator: str) -> Any:
    """JavaScript without a scope."""
    if isinstance(value, Code) and value.scope is not None:
        if value.scope:
            raise NoSuchCall(
                f"Code with a scope: MongoDB 4.4 dropped it in {operator}, write the values into the code."
            )
        return Code(str(value))  # MongoDB 4.4 refuses an empty scope too
    return value


def query(value: Any) -> Any:
    """The query as today's MongoDB takes it."""
    if not isinstance(value, abc.Mapping) or isinstance(value, RawBSONDocument) or not _has_dollar(value):
        return value
    if value.get("$maxScan"):
        raise refusal("max_scan")
    today = SON((name, _condition(name, member)) for name, member in value.items() if name not in DROPPED_OPERATORS)
    for name in DROPPED_OPERATORS.intersection(value):
        warn(name, "the query without it")
    if value.get("$snapshot") and "$orderby" not in value:
        today.setdefault("$hint", SON([("_id", 1)]))  # what the manual of MongoDB 4.0, which dropped it, advises
    return today


def _has_dollar(value: Any) -> bool:
    if isinstance(value, abc.Mapping):
        return any(str(name).startswith("$") or _has_dollar(member) for name, member in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_dollar, value))


def _condition(name: str, value: Any) -> Any:
    """The value of a field or an operator in a query."""
    if name == "$where":
        return code(value, "$where")
    if name in LOGICAL and isinstance(value, (list, tuple)):
        return [query(member) for member in value]
    if name in ("$query", "$elemMatch"):
        return query(value)
    if (isinstance(value, abc.Mapping) and not name.startswith("$")) or name == "$not":
        return _near(value) if _has_dollar(value) else value
    return value


def _near(value: abc.Mapping[str, Any]) -> Any:
    """The conditions of a field with ``$near`` first, and with the distances inside of a ``$geometry``."""
    near = next((name for name in NEAR if name in value), None)
    rest = SON((name, _condition(name, member)) for name, member in value.items() if name not in (near, "$uniqueDocs"))
    if near is None:
        return rest
    if isinstance(value[near], abc.Mapping) and "$geometry" in value[near]:
        inside = {name: rest.pop(name) for name in ("$maxDistance", "$minDistance") if name in rest}
        return SON([(near, SON([*value[near].items(), *inside.items()])), *rest.items()])
    return SON([(near, value[near]), *rest.items()])


def update(value: Any) -> Any:
    """The update with ``$push`` and ``$each`` instead of ``$pushAll``."""
    if not isinstance(value, abc.Mapping) or "$pushAll" not in value:
        return value
    warn("$pushAll", "$push with $each")
    pushed = SON((field, {"$each": values}) for field, values in value["$pushAll"].items())
    pushed_too = value.get("$push", {})
    twice = [field for field in pushed if field in pushed_too]
    if twice:
        raise NoSuchCall(f"$pushAll: {twice[0]} is in $push too, write one $push with $each.")
    today = SON((name, member) for name, member in value.items() if name != "$pushAll")
    today["$push"] = SON([*pushed_too.items(), *pushed.items()])
    return today


def projection(fields: Any) -> Any:
    """The fields to show, without the fields inside of another one."""
    if isinstance(fields, (list, tuple)) and all(isinstance(name, str) for name in fields):
        fields = dict.fromkeys(fields, 1)
    if not isinstance(fields, dict):
        return fields
    _refuse_values(fields)
    # MongoDB 4.4 refuses {"a": 1, "a.b": 1}: the paths collide.
    whole = tuple(f"{name}." for name, value in fields.items() if value is True or value == 1)
    shown = {name: value for name, value in fields.items() if not (f"{name}." in whole and name.startswith(whole))}
    return shown or fields


def _refuse_values(fields: dict[str, Any]) -> None:
    # Until MongoDB 4.2 a text meant yes and None meant no. Since 4.4 they are shown in place of the field.
    for name, value in fields.items():
        if value is None or (isinstance(value, str) and not value.startswith("$")):
            raise NoSuchCall(
                f"find: since MongoDB 4.4 {{{name!r}: {value!r}}} shows {value!r} in place of what is stored, write"
                f" {{{name!r}: 1}} or {{{name!r}: {{'$literal': {value!r}}}}}."
            )


def collection_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``create_collection`` that MongoDB still takes."""
    if not options.get("autoIndexId", True):
        raise refusal("autoIndexId")
    dropped = {*DROPPED_COLLECTION_OPTIONS, "autoIndexId", *(() if options.get("capped") else CAPPED_OPTIONS)}
    dropped.intersection_update(options)
    if dropped:
        warn(f"create_collection({', '.join(sorted(dropped))}=...)", "create_collection without it")
    return {name: value for name, value in options.items() if name not in dropped}


def map_reduce_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``map_reduce`` that MongoDB still takes."""
    kept = dict(options)
    if kept.pop("keeptemp", False):
        raise NoSuchCall("keeptemp: MongoDB 4.4 dropped it, write the name of a collection in out.")
    out = kept["out"]
    if isinstance(out, abc.Mapping):
        # False was the default of these two. MongoDB 4.4 takes only True.
        kept["out"] = SON((name, value) for name, value in out.items() if value or name not in ("nonAtomic", "sharded"))
    for name in ("map", "reduce", "finalize"):
        function = kept.get(name)
        if isinstance(function, Code) and function.scope is not None:
            # Since MongoDB 4.4 the three functions share one scope, which is an option.
            kept["scope"] = {**function.scope, **kept.get("scope", {})}
            kept[name] = Code(str(function))
    if not kept.get("scope"):
        kept.pop("scope", None)
    kept["query"] = query(kept.get("query"))
    return kept
