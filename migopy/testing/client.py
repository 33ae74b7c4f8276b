"""One client for all tests of a process, and what stops it in the middle of its work."""

from __future__ import annotations

import atexit
import functools
import os
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from ..manager import MigrationsManager
from ..mongo import Server, close, connect, make_client
from .server import server_uri


class Stopped(BaseException):
    """A migration was stopped, as if its process had been killed."""


class Stopper(CommandListener):
    """Stops the client before it sends its n-th update of a collection."""

    def __init__(self) -> None:
        self._collection: str | None = None
        self._left = 0

    def begin(self, collection: str, place: int) -> None:
        self._collection, self._left = collection, place

    def end(self) -> None:
        self._collection = None

    def started(self, event: Any) -> None:
        if self._collection and event.command.get("update") == self._collection:
            self._left -= 1
            if not self._left:
                raise Stopped

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


STOPPER = Stopper()


def shared_client() -> MongoClient[dict[str, Any]]:
    return _client(os.getpid())


@functools.lru_cache(maxsize=None)
def _client(process: int) -> MongoClient[dict[str, Any]]:
    """A forked process needs its own."""
    settings = MigrationsManager.read(MigrationsManager)
    settings.MONGO_URI, settings.MONGO_DATABASE = server_uri(), "admin"
    client = connect(_make_stoppable, Server.from_settings(settings))
    atexit.register(close, client)
    return client


def _make_stoppable(*args: Any, event_listeners: Any = (), **options: Any) -> MongoClient[dict[str, Any]]:
    return make_client(*args, event_listeners=[*event_listeners, STOPPER], **options)
