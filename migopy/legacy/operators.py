"""Operators and options that MongoDB 2.4 and 2.6 had and later ones have not: written as today's, or refused."""

from __future__ import annotations

from collections import abc
from typing import Any

from bson.code import Code
from bson.raw_bson import RawBSONDocument
from bson.son import SON

from ..errors import NoSuchCall
from .calls import refusal, warn

# What a query may have no longer, though it means the same without. $atomic and $isolated kept other writers away until
# MongoDB 4.0, but not on a sharded cluster.
LEFT_OUT = {"$atomic", "$isolated", "$maxScan", "$snapshot"}
NEAR = ("$near", "$nearSphere")
LOGICAL = ("$and", "$or", "$nor")

# What a collection may have no longer, though it is the same without.
COLLECTION_OPTIONS = ("flags", "usePowerOf2Sizes")
OF_CAPPED = ("size", "max")


def code(value: Any, of: str) -> Any:
    """JavaScript without a scope, which MongoDB 4.4 and later do not take; an empty one says nothing."""
    if isinstance(value, Code) and value.scope is not None:
        if value.scope:
            raise NoSuchCall(f"Code with a scope: MongoDB 4.4 dropped it in {of}, write the values into the code.")
        return Code(str(value))
    return value


def query(value: Any) -> Any:
    """The query as today's MongoDB takes it; the very same object where nothing has to change."""
    if not isinstance(value, abc.Mapping) or isinstance(value, RawBSONDocument) or not _has_dollar(value):
        return value
    if value.get("$maxScan"):
        raise refusal("max_scan", [])
    today = SON((name, _condition(name, member)) for name, member in value.items() if name not in LEFT_OUT)
    for name in LEFT_OUT.intersection(value):
        warn(name, "the query without it")
    if value.get("$snapshot") and "$orderby" not in value:
        today.setdefault("$hint", SON([("_id", 1)]))  # as good: so says the manual of MongoDB 4.0, which dropped it
    return today


def _has_dollar(value: Any) -> bool:
    if isinstance(value, abc.Mapping):
        return any(str(name).startswith("$") or _has_dollar(member) for name, member in value.items())
    return isinstance(value, (list, tuple)) and any(map(_has_dollar, value))


def _condition(name: str, value: Any) -> Any:
    """What a field or an operator of a query is compared with."""
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
    """``$near`` first, whatever the order of the dictionary, and a distance within its geometry if it has one."""
    near = next((name for name in NEAR if name in value), None)
    rest = SON((name, _condition(name, member)) for name, member in value.items() if name not in (near, "$uniqueDocs"))
    if near is None:
        return rest
    if isinstance(value[near], abc.Mapping) and "$geometry" in value[near]:
        inside = {name: rest.pop(name) for name in ("$maxDistance", "$minDistance") if name in rest}
        return SON([(near, SON([*value[near].items(), *inside.items()])), *rest.items()])
    return SON([(near, value[near]), *rest.items()])


def update(value: Any) -> Any:
    """The update with ``$push`` and ``$each`` for ``$pushAll``, which MongoDB 3.6 dropped."""
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
    """The fields to show, without those that another one shows already: MongoDB 4.4 and later refuse them."""
    if isinstance(fields, (list, tuple)) and all(isinstance(name, str) for name in fields):
        fields = dict.fromkeys(fields, 1)
    if not isinstance(fields, dict):
        return fields
    _refuse_values(fields)
    whole = tuple(f"{name}." for name, value in fields.items() if value is True or value == 1)
    shown = {name: value for name, value in fields.items() if not (f"{name}." in whole and name.startswith(whole))}
    return shown or fields


def _refuse_values(fields: dict[str, Any]) -> None:
    """A text or None was a yes or a no; since MongoDB 4.4 it is what to show in place of the field."""
    for name, value in fields.items():
        if value is None or (isinstance(value, str) and not value.startswith("$")):
            raise NoSuchCall(
                f"find: since MongoDB 4.4 {{{name!r}: {value!r}}} shows {value!r} in place of what is stored, write"
                f" {{{name!r}: 1}} or {{{name!r}: {{'$literal': {value!r}}}}}."
            )


def collection_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``create_collection`` that MongoDB still takes."""
    kept = {name: value for name, value in options.items() if name not in COLLECTION_OPTIONS}
    if not kept.get("capped"):
        kept = {name: value for name, value in kept.items() if name not in OF_CAPPED}
    if "autoIndexId" in kept and not kept.pop("autoIndexId"):
        raise refusal("autoIndexId", [])
    left_out = [name for name in options if name not in kept]
    if left_out:
        warn(f"create_collection({', '.join(sorted(left_out))}=...)", "create_collection without it")
    return kept


def map_reduce_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of ``map_reduce`` that MongoDB 4.4 and later take."""
    kept = dict(options)
    if kept.pop("keeptemp", False):
        raise NoSuchCall("keeptemp: MongoDB 4.4 dropped it, write the name of a collection in out.")
    out = kept["out"]
    if isinstance(out, abc.Mapping):  # False was the default of both, and only True is taken today
        kept["out"] = SON((name, value) for name, value in out.items() if value or name not in ("nonAtomic", "sharded"))
    for name in ("map", "reduce", "finalize"):
        function = kept.get(name)
        if isinstance(function, Code) and function.scope is not None:
            kept["scope"] = {**function.scope, **kept.get("scope", {})}
            kept[name] = Code(str(function))
    if not kept.get("scope"):
        kept.pop("scope", None)
    kept["query"] = query(kept.get("query"))
    return kept
