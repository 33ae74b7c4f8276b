"""The client: ``db.connection`` in PyMongo 2 and ``db.client`` today."""

from __future__ import annotations

from typing import Any, Iterable

import pymongo
import pymongo.database
from pymongo import errors as pymongo_errors

from ..mongo.internals import event_listeners_of
from .calls import Translated, TranslatedProperty, item_property
from .database import Database, legacy_database
from .detection import uses_old_calls
from .options import Adjustable, legacy_codec_options, options_of
from .state import ClientState, client_state


def database(db: pymongo.database.Database[Any], own: Iterable[str] = ()) -> Database:
    """The same database with the same options, which also understands PyMongo 2 and 3.

    ``own`` are collections that ``collection_names()`` leaves out, because a migration of 2014 does not know them.
    """
    client = db.client if isinstance(db.client, Client) else Client(db.client)
    client_state(client).own.update((db.name, name) for name in own)
    return legacy_database(client, db)


def database_for(db: pymongo.database.Database[Any], content: bytes) -> pymongo.database.Database[Any]:
    """The database for a file with this content: one with calls of PyMongo 2 also reads UUIDs as PyMongo 2 did."""
    if not isinstance(db, Database) or not uses_old_calls(content):
        return db
    known, client = client_state(db.client), Client(plain(db.client))
    state = client_state(client)
    state.own, state.ensured, state.reads_as_pymongo_2 = known.own, known.ensured, True
    state.adjusted = {**known.adjusted, "codec_options": legacy_codec_options(db.client.codec_options)}
    return legacy_database(client, db.with_options(codec_options=legacy_codec_options(db.codec_options)))


def plain(client: pymongo.MongoClient[Any]) -> pymongo.MongoClient[Any]:
    """PyMongo's own client."""
    return client_state(client).plain if isinstance(client, Client) else client


def _server_property(field: str) -> Any:
    return TranslatedProperty(f"admin.command('isMaster')[{field!r}]")(
        lambda client: plain(client).admin.command("isMaster")[field]
    )


def _option_property(name: str) -> Any:
    return TranslatedProperty(f"options.{name}")(lambda client: getattr(client.options, name))


def _pool_option_property(name: str) -> Any:
    return TranslatedProperty(f"options.pool_options.{name}")(lambda client: getattr(client.options.pool_options, name))


def _plain_method(name: str) -> Any:
    # These take a session, which works only with the client that started it.
    return lambda self, *args, **kwargs: getattr(plain(self), name)(*args, **kwargs)


class Request:
    """What ``start_request()`` returns. In PyMongo 2 a thread kept one socket until its end."""

    def __init__(self, state: ClientState) -> None:
        self.state = state
        state.requests += 1

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.state.requests = max(0, self.state.requests - 1)


class Client(Adjustable, pymongo.MongoClient):  # type: ignore[type-arg]
    """The same client under another class. Its databases understand PyMongo 2 and 3."""

    __slots__ = ("_legacy_state",)  # of this client alone: both clients have the same __dict__

    bulk_write, drop_database = _plain_method("bulk_write"), _plain_method("drop_database")
    list_databases, list_database_names = _plain_method("list_databases"), _plain_method("list_database_names")
    start_session, watch = _plain_method("start_session"), _plain_method("watch")
    close_cursor, kill_cursors = item_property("close_cursor"), item_property("kill_cursors")
    set_cursor_manager = item_property("set_cursor_manager")

    def __init__(self, plain: pymongo.MongoClient[Any]) -> None:
        self.__dict__ = plain.__dict__
        self._legacy_state = ClientState(plain)

    def __del__(self) -> None:
        """Do nothing. PyMongo warns of a client that was not closed, but it is the plain one that gets closed."""

    def __getattr__(self, name: str) -> Any:
        # The team's MongoClient may have methods of its own.
        if not name.startswith("_") and hasattr(type(plain(self)), name):
            return getattr(plain(self), name)
        return super().__getattr__(name)

    def __getitem__(self, name: str) -> Database:
        return Database(self, name, **options_of(self))

    def get_database(self, *args: Any, **kwargs: Any) -> Database:
        options = {**self._legacy_state.adjusted, **kwargs}
        return legacy_database(self, plain(self).get_database(*args, **options))

    def get_default_database(self, *args: Any, **kwargs: Any) -> Database:
        options = {**self._legacy_state.adjusted, **kwargs}
        return legacy_database(self, plain(self).get_default_database(*args, **options))

    # Options

    @property
    def codec_options(self) -> Any:
        return self._option("codec_options")

    def _option(self, name: str) -> Any:
        adjusted = self._legacy_state.adjusted
        return adjusted[name] if name in adjusted else getattr(plain(self), name)

    def _adjust(self, **options: Any) -> None:
        self._legacy_state.adjusted.update(options)

    def _change_document_class(self, value: Any) -> None:
        self._adjust(codec_options=self.codec_options.with_options(document_class=value))

    @TranslatedProperty("codec_options.document_class", _change_document_class)
    def document_class(self) -> Any:
        return self.codec_options.document_class

    @Translated("codec_options.document_class")
    def get_document_class(self) -> Any:
        return self.codec_options.document_class

    @Translated("MONGO_CLIENT_OPTIONS = {'document_class': ...}")
    def set_document_class(self, value: Any) -> None:
        self._change_document_class(value)

    tz_aware = TranslatedProperty("codec_options.tz_aware")(lambda client: client.codec_options.tz_aware)
    local_threshold_ms = _option_property("local_threshold_ms")
    server_selection_timeout = _option_property("server_selection_timeout")
    retry_reads, retry_writes = _option_property("retry_reads"), _option_property("retry_writes")
    max_pool_size, min_pool_size = _pool_option_property("max_pool_size"), _pool_option_property("min_pool_size")

    @TranslatedProperty("options.pool_options.max_idle_time_seconds")
    def max_idle_time_ms(self) -> float | None:
        seconds = self.options.pool_options.max_idle_time_seconds
        return None if seconds is None else seconds * 1000

    @TranslatedProperty("MONGO_CLIENT_OPTIONS = {'event_listeners': ...}")
    def event_listeners(self) -> Any:
        return event_listeners_of(self)

    # The server

    host = TranslatedProperty("address[0]")(lambda client: client.address[0])
    port = TranslatedProperty("address[1]")(lambda client: client.address[1])
    hosts = TranslatedProperty("nodes")(lambda client: client.nodes)
    seeds = TranslatedProperty("nodes")(lambda client: client.nodes)
    max_bson_size, max_message_size = _server_property("maxBsonObjectSize"), _server_property("maxMessageSizeBytes")
    max_write_batch_size = _server_property("maxWriteBatchSize")
    min_wire_version, max_wire_version = _server_property("minWireVersion"), _server_property("maxWireVersion")

    @Translated("list_database_names")
    def database_names(self, session: Any = None) -> Any:
        return plain(self).list_database_names(session)

    @Translated("admin.command('ping')")
    def alive(self) -> bool:
        try:
            return bool(plain(self).admin.command("ping"))
        except pymongo_errors.ConnectionFailure:
            return False

    @Translated("admin.command('fsync')")
    def fsync(self, **options: Any) -> Any:
        options.pop("async", None)  # MongoDB 4.2 dropped it, and always waits
        return plain(self).admin.command("fsync", **options)

    @TranslatedProperty("admin.command('currentOp')['fsyncLock']")
    def is_locked(self) -> bool:
        return bool(plain(self).admin.command("currentOp").get("fsyncLock"))

    @Translated("admin.command('fsyncUnlock')")
    def unlock(self, session: Any = None) -> None:
        plain(self).admin.command("fsyncUnlock", session=session)

    # What PyMongo does by itself today

    auto_start_request = TranslatedProperty("nothing")(lambda client: False)
    use_greenlets = TranslatedProperty("nothing")(lambda client: False)

    @Translated("nothing")
    def close(self) -> None:
        """Do nothing. PyMongo 2 connected again with the next call, PyMongo 4 does not, and migopy closes it later."""

    @Translated("nothing")
    def disconnect(self) -> None:
        """Do nothing, as ``close()``."""

    @Translated("nothing")
    def refresh(self) -> None:
        """Do nothing. PyMongo always watches the members of a replica set."""

    @Translated("nothing")
    def start_request(self) -> Request:
        return Request(self._legacy_state)

    @Translated("nothing")
    def in_request(self) -> bool:
        return self._legacy_state.requests > 0

    @Translated("nothing")
    def end_request(self) -> None:
        self._legacy_state.requests = max(0, self._legacy_state.requests - 1)
