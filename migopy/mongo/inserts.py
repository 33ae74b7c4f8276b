"""Notes which documents a client inserts into one collection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from pymongo import monitoring

from . import internals

if TYPE_CHECKING:
    from pymongo.collection import Collection

MAX_NOTED = 1_000
"""How many ``_id``s are noted at most."""


class Inserts(monitoring.CommandListener):
    """The listener of one client. ``ids`` are those that it has inserted, upserts included, while it watches."""

    def __init__(self) -> None:
        self.ids: list[Any] = []
        self._namespace = ("", "")
        self._upserts: set[int] = set()
        """The ids of requests that have no answer yet."""

    @contextlib.contextmanager
    def watch(self, collection: Collection[Any]) -> Iterator[None]:
        self.ids, self._namespace = [], (collection.database.name, collection.name)
        try:
            yield
        finally:
            self.ids, self._namespace = [], ("", "")
            self._upserts.clear()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        name, command = event.command_name, event.command
        if name not in ("insert", "update", "findAndModify"):
            return
        if (event.database_name, command[name]) != self._namespace:
            return
        if name == "insert":
            # db.command() sends documents without _id too: the server's ObjectIds are greater than those before.
            self._note(document["_id"] for document in command["documents"] if "_id" in document)
        elif any(each.get("upsert") for each in command.get("updates", [command])):
            self._upserts.add(event.request_id)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        if event.request_id in self._upserts:
            self._upserts.discard(event.request_id)
            self._note(_upserted(event.reply))

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._upserts.discard(event.request_id)

    def _note(self, ids: Iterator[Any]) -> None:
        for id in ids:
            if len(self.ids) == MAX_NOTED:
                return
            self.ids.append(id)


def _upserted(reply: Mapping[str, Any]) -> Iterator[Any]:
    for each in reply.get("upserted", []):
        yield each["_id"]
    if "upserted" in reply.get("lastErrorObject", {}):
        yield reply["lastErrorObject"]["upserted"]


def inserts_of(client: Any) -> Inserts:
    """The listener of a client; one that notes nothing if somebody else made the client."""
    return internals.listener_of(client, Inserts) or Inserts()
