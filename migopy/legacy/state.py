"""What a client, its databases and their collections share.

Attributes of theirs would hide the collections of those names, so all of it is in one private attribute of each.
"""

from __future__ import annotations

import time
from typing import Any, cast

import pymongo
import pymongo.database


class ClientState:
    """What a client and its databases share."""

    def __init__(self, plain: pymongo.MongoClient[Any]) -> None:
        self.plain = plain  # PyMongo's own client: a session works only with the client that started it
        self.adjusted: dict[str, Any] = {}  # options set on the client, for databases that are taken from it afterwards
        self.ensured = EnsuredIndexes()
        self.own: set[tuple[str, str]] = set()  # database and collection of migopy itself, unknown in 2014
        self.requests = 0
        self.reads_as_pymongo_2 = False  # also what command() returns


class DatabaseState:
    """What a database and its collections share."""

    def __init__(self, client: ClientState) -> None:
        self.client = client
        self.last_reply: dict[str, Any] | None = {}  # of the last write; None: it was not acknowledged


class EnsuredIndexes:
    """The indexes that ``ensure_index`` made a short time ago. PyMongo 2 and 3 did not ask for them again."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def has(self, collection: str, name: str) -> bool:
        return self._until.get((collection, name), 0) > time.monotonic()

    def add(self, collection: str, name: str, seconds: float) -> None:
        self._until[collection, name] = time.monotonic() + seconds


def client_state(client: Any) -> ClientState:
    return cast(ClientState, client._legacy_state)


def database_state(database: pymongo.database.Database[Any]) -> DatabaseState:
    return cast(DatabaseState, database._legacy_state)
