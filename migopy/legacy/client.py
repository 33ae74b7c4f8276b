"""The client: ``db.connection`` in PyMongo 2, ``db.client`` today."""

from __future__ import annotations

from typing import Any, Collection

import pymongo
import pymongo.database
from pymongo import errors as pymongo_errors

from ..mongo.internals import event_listeners_of
from .calls import Translated, TranslatedProperty, by_name
from .database import Database
from .indexes import Ensured
from .options import Adjustable, options_of


def database(db: pymongo.database.Database[Any], own: Collection[str] = ()) -> Database:
    """The same database, with the same options, that also understands PyMongo 2 and 3.

    ``collection_names()`` leaves out the collections in ``own``: a migration of 2014 cannot know them.
    """
    client = db.client if isinstance(db.client, Client) else Client(db.client)
    client._own |= {(db.name, name) for name in own}
    return Database(client, db.name, **options_of(db))


def plain(client: pymongo.MongoClient[Any]) -> pymongo.MongoClient[Any]:
    """PyMongo's own client, to which sessions belong; the same where it is that already."""
    return client._plain if isinstance(client, Client) else client


def _said_by_server(field: str) -> Any:
    return TranslatedProperty(f"admin.command('isMaster')[{field!r}]")(
        lambda client: client._plain.admin.command("isMaster")[field]
    )


def _of_options(name: str) -> Any:
    return TranslatedProperty(f"options.{name}")(lambda client: getattr(client.options, name))


def _of_pool_options(name: str) -> Any:
    return TranslatedProperty(f"options.pool_options.{name}")(lambda client: getattr(client.options.pool_options, name))


def _of_plain(name: str) -> Any:
    """A method that may be given a session, which works with the very client that it was started by."""
    return lambda self, *args, **kwargs: getattr(self._plain, name)(*args, **kwargs)


class Request:
    """What ``start_request()`` returns. PyMongo 2 kept one socket for a thread until its end."""

    def __init__(self, client: Client) -> None:
        self.client = client
        client._requests += 1

    def __enter__(self) -> Request:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.client._requests = max(0, self.client._requests - 1)


class Client(Adjustable, pymongo.MongoClient):  # type: ignore[type-arg]
    """The same client under another class: both have one state. Its databases understand PyMongo 2 and 3.

    What is set on it (``write_concern``, ``document_class``, ...) is for the databases that are taken from it
    afterwards. It stays open: migopy needs it after the migration, and closes it in the end.
    """

    __slots__ = ("_adjusted", "_ensured", "_own", "_plain", "_requests")

    bulk_write, drop_database = _of_plain("bulk_write"), _of_plain("drop_database")
    list_databases, list_database_names = _of_plain("list_databases"), _of_plain("list_database_names")
    start_session, watch = _of_plain("start_session"), _of_plain("watch")
    close_cursor, kill_cursors = by_name("close_cursor"), by_name("kill_cursors")
    set_cursor_manager = by_name("set_cursor_manager")

    def __init__(self, plain: pymongo.MongoClient[Any]) -> None:
        self.__dict__ = plain.__dict__
        self._plain = plain
        self._adjusted: dict[str, Any] = {}
        self._ensured = Ensured()
        self._own: frozenset[tuple[str, str]] = frozenset()  # database and collection of what 2014 does not know
        self._requests = 0

    def __del__(self) -> None:
        """Nothing: PyMongo warns of a client that was not closed, but this is not the one to close."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(type(self._plain), name):
            return getattr(self._plain, name)  # the team's MongoClient may have methods of its own
        return super().__getattr__(name)

    def __getitem__(self, name: str) -> Database:
        return Database(self, name, **options_of(self))

    def get_database(self, *args: Any, **kwargs: Any) -> Database:
        return self._legacy(self._plain.get_database(*args, **{**self._adjusted, **kwargs}))

    def get_default_database(self, *args: Any, **kwargs: Any) -> Database:
        return self._legacy(self._plain.get_default_database(*args, **{**self._adjusted, **kwargs}))

    def _legacy(self, db: pymongo.database.Database[Any]) -> Database:
        return Database(self, db.name, **options_of(db))

    # Options

    @property
    def codec_options(self) -> Any:
        return self._option("codec_options")

    def _option(self, name: str) -> Any:
        return self._adjusted[name] if name in self._adjusted else getattr(self._plain, name)

    def _adjust(self, **options: Any) -> None:
        self._adjusted.update(options)

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
    local_threshold_ms, server_selection_timeout = (
        _of_options("local_threshold_ms"),
        _of_options("server_selection_timeout"),
    )
    retry_reads, retry_writes = _of_options("retry_reads"), _of_options("retry_writes")
    max_pool_size, min_pool_size = _of_pool_options("max_pool_size"), _of_pool_options("min_pool_size")

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
    max_bson_size, max_message_size = _said_by_server("maxBsonObjectSize"), _said_by_server("maxMessageSizeBytes")
    max_write_batch_size = _said_by_server("maxWriteBatchSize")
    min_wire_version, max_wire_version = _said_by_server("minWireVersion"), _said_by_server("maxWireVersion")

    @Translated("list_database_names")
    def database_names(self, session: Any = None) -> Any:
        return self._plain.list_database_names(session)

    @Translated("admin.command('ping')")
    def alive(self) -> bool:
        try:
            return bool(self._plain.admin.command("ping"))
        except pymongo_errors.ConnectionFailure:
            return False

    @Translated("admin.command('fsync')")
    def fsync(self, **options: Any) -> Any:
        """``async`` was dropped by MongoDB 4.2: it waits."""
        options.pop("async", None)
        return self._plain.admin.command("fsync", **options)

    @TranslatedProperty("admin.command('currentOp')['fsyncLock']")
    def is_locked(self) -> bool:
        return bool(self._plain.admin.command("currentOp").get("fsyncLock"))

    @Translated("admin.command('fsyncUnlock')")
    def unlock(self, session: Any = None) -> None:
        self._plain.admin.command("fsyncUnlock", session=session)

    # What PyMongo does by itself today

    auto_start_request = TranslatedProperty("nothing")(lambda client: False)
    use_greenlets = TranslatedProperty("nothing")(lambda client: False)

    @Translated("nothing")
    def close(self) -> None:
        """PyMongo 2 connected again with the next call, PyMongo 4 would not."""

    @Translated("nothing")
    def disconnect(self) -> None:
        """The same in PyMongo 2."""

    @Translated("nothing")
    def refresh(self) -> None:
        """PyMongo looks at the members of a replica set all the time."""

    @Translated("nothing")
    def start_request(self) -> Request:
        return Request(self)

    @Translated("nothing")
    def in_request(self) -> bool:
        return self._requests > 0

    @Translated("nothing")
    def end_request(self) -> None:
        self._requests = max(0, self._requests - 1)
