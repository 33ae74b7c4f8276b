"""What find and aggregate return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, cast

import pymongo.command_cursor
import pymongo.cursor
from bson.son import SON

from ..mongo.internals import asked_of
from . import operators
from .arguments import boolean
from .calls import refusal, refused, warn

if TYPE_CHECKING:
    from .collection import Collection


class CommandCursor(pymongo.command_cursor.CommandCursor):  # type: ignore[type-arg]
    """What aggregate returns: a cursor since PyMongo 3, and before it the document ``{'result': [...], 'ok': 1.0}``.

    Whoever asks for the document has it from then on: its list is read once, and the cursor begins there anew.
    """

    _result: list[Any] | None = None

    def __getitem__(self, key: str) -> Any:
        if key not in ("result", "ok"):
            raise KeyError(key)
        warn(f"aggregate(...)[{key!r}]", "list(aggregate(...))")
        return 1.0 if key == "ok" else self._all()

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in ("result", "ok") else default

    def __contains__(self, key: Any) -> bool:
        return key in ("result", "ok") if isinstance(key, str) else key in list(self)

    def keys(self) -> list[str]:
        return ["result", "ok"]

    def __iter__(self) -> Any:
        return super().__iter__() if self._result is None else iter(self._result)

    def _all(self) -> list[Any]:
        if self._result is None:
            self._result = list(super().__iter__())
        return self._result


class Cursor(pymongo.cursor.Cursor):  # type: ignore[type-arg]
    """What find returns."""

    conn_id = refused("conn_id")

    def __init__(self, collection: Any, *args: Any, **kwargs: Any) -> None:
        asked = dict(zip(("filter", "projection"), args))
        for name, today in (("filter", operators.query), ("projection", operators.projection)):
            if name in asked:
                asked[name] = today(asked[name])
            elif name in kwargs:
                kwargs[name] = today(kwargs[name])
        super().__init__(collection, *asked.values(), *args[2:], **kwargs)

    def where(self, code: Any) -> Any:
        return super().where(operators.code(code, "$where"))

    def max_scan(self, max_scan: Any) -> NoReturn:
        raise refusal("max_scan", [])

    def count(self, with_limit_and_skip: bool = False) -> int:
        """How many documents the query finds, without regard to limit and skip if not asked for."""
        warn("count", "count_documents")
        boolean("with_limit_and_skip", with_limit_and_skip)
        options = {"maxTimeMS": "max_time_ms", "comment": "comment", "hint": "hint", "collation": "collation"}
        if with_limit_and_skip:
            options.update(limit="limit", skip="skip")
        asked = {option: asked_of(self, name) for option, name in options.items()}
        command = SON([("count", self.collection.name), ("query", asked_of(self, "spec"))])
        command.update({option: value for option, value in asked.items() if value})
        return cast("Collection", self.collection)._count(command, self.session)
