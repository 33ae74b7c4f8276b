"""What ``find`` and ``aggregate`` return."""

from __future__ import annotations

from typing import Any, NoReturn

import pymongo.command_cursor
import pymongo.cursor

from ..mongo.internals import argument_of
from . import commands, operators
from .arguments import require_boolean
from .calls import refusal, refusing_property, warn


class CommandCursor(pymongo.command_cursor.CommandCursor):  # type: ignore[type-arg]
    """What ``aggregate`` returns: today a cursor, in PyMongo 2 the document ``{'result': [...], 'ok': 1.0}``."""

    _result: list[Any] | None = None  # read once, when somebody asks for the document: the cursor begins here then

    def __getitem__(self, key: str) -> Any:
        if key not in ("result", "ok"):
            raise KeyError(key)
        warn(f"aggregate(...)[{key!r}]", "list(aggregate(...))")
        return 1.0 if key == "ok" else self._read_result()

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in ("result", "ok") else default

    def __contains__(self, key: Any) -> bool:
        return key in ("result", "ok") if isinstance(key, str) else key in list(self)

    def keys(self) -> list[str]:
        return ["result", "ok"]

    def __iter__(self) -> Any:
        return super().__iter__() if self._result is None else iter(self._result)

    def _read_result(self) -> list[Any]:
        if self._result is None:
            self._result = list(super().__iter__())
        return self._result


class Cursor(pymongo.cursor.Cursor):  # type: ignore[type-arg]
    """What ``find`` returns."""

    conn_id = refusing_property("conn_id")

    def __init__(self, collection: Any, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(("filter", "projection"), args))
        for name, translate in (("filter", operators.query), ("projection", operators.projection)):
            if name in given:
                given[name] = translate(given[name])
            elif name in kwargs:
                kwargs[name] = translate(kwargs[name])
        super().__init__(collection, *given.values(), *args[2:], **kwargs)

    def where(self, code: Any) -> Any:
        return super().where(operators.code(code, "$where"))

    def max_scan(self, max_scan: Any) -> NoReturn:
        raise refusal("max_scan")

    def count(self, with_limit_and_skip: bool = False) -> int:
        """The number of documents that the query finds."""
        warn("count", "count_documents")
        require_boolean("with_limit_and_skip", with_limit_and_skip)
        names = {"maxTimeMS": "max_time_ms", "comment": "comment", "hint": "hint", "collation": "collation"}
        if with_limit_and_skip:
            names.update(limit="limit", skip="skip")
        asked = {option: argument_of(self, name) for option, name in names.items()}
        given = {option: value for option, value in asked.items() if value}
        return commands.count(self.collection, {"query": argument_of(self, "spec"), **given}, self.session)
