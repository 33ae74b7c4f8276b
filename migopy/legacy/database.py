"""The database that ``up`` and ``down`` get."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import pymongo
import pymongo.collection
import pymongo.database
from bson import CodecOptions
from bson.code import Code
from pymongo import errors as pymongo_errors

from ..errors import NoSuchCall
from . import operators
from .arguments import require_boolean
from .calls import (
    DROPPED,
    MANIPULATORS,
    PYMONGO_FOLDER,
    CalledByName,
    Translated,
    TranslatedProperty,
    item_property,
    refusal,
    refusing_property,
    warn,
)
from .collection import Collection, legacy_collection
from .options import Adjustable, options_of
from .state import DatabaseState, client_state

COMMAND_OPTIONS = {
    "as_class",
    "compile_re",
    "secondary_acceptable_latency_ms",
    "slave_okay",
    "tag_sets",
    "uuid_subtype",
}
COMMAND_NOT_FOUND, UNAUTHORIZED = 59, 13
CODEC_OPTIONS_PLACE = 4  # among the arguments of command() after the first one


class SystemJS:
    """``db.system_js``: the stored functions. MongoDB still stores them, but can no longer call one by itself."""

    def __init__(self, db: Database) -> None:
        vars(self)["_functions"] = db["system.js"]  # setting an attribute stores a function

    def __setattr__(self, name: str, code: str) -> None:
        warn("system_js", "db['system.js'].replace_one")
        self._functions.replace_one({"_id": name}, {"_id": name, "value": Code(code)}, upsert=True)

    def __delattr__(self, name: str) -> None:
        warn("system_js", "db['system.js'].delete_one")
        self._functions.delete_one({"_id": name})

    def __getattr__(self, name: str) -> NoReturn:
        raise refusal("eval")

    __setitem__, __delitem__, __getitem__ = __setattr__, __delattr__, __getattr__

    def list(self) -> Any:
        warn("system_js", "db['system.js'].distinct('_id')")
        return self._functions.distinct("_id")


class Database(CalledByName, Adjustable, pymongo.database.Database):  # type: ignore[type-arg]
    """A database whose collections understand PyMongo 2 and 3."""

    eval, authenticate, logout = item_property("eval"), item_property("authenticate"), item_property("logout")
    add_son_manipulator, current_op = item_property("add_son_manipulator"), item_property("current_op")
    profiling_level, set_profiling_level = item_property("profiling_level"), item_property("set_profiling_level")
    profiling_info = item_property("profiling_info")
    incoming_manipulators, incoming_copying_manipulators = map(refusing_property, MANIPULATORS[1:3])
    outgoing_manipulators, outgoing_copying_manipulators = map(refusing_property, MANIPULATORS[3:])

    def __init__(self, client: pymongo.MongoClient[Any], name: str, **options: Any) -> None:
        super().__init__(client_state(client).plain, name, **options)
        self._legacy_client = client
        self._legacy_state = DatabaseState(client_state(client))

    def _unknown_method(self) -> NoSuchCall:
        # db.client.update(...): the collection `client` was meant, and the client's database `update` is called.
        if callable(getattr(pymongo.collection.Collection, self.name, None)):
            return NoSuchCall(
                f"{self.name}: db.client and db.connection are the client, write db['client'] or db['connection'] for a"
                " collection of that name."
            )
        return refusal(self.name, dir(type(self._legacy_client)))

    @property
    def client(self) -> Any:
        # PyMongo compares this client with the one of a session, and has to find its own.
        asked_by_pymongo = sys._getframe(1).f_code.co_filename.startswith(PYMONGO_FOLDER)
        return super().client if asked_by_pymongo else self._legacy_client

    @TranslatedProperty("client")
    def connection(self) -> Any:
        return self._legacy_client

    def _adjust(self, **options: Any) -> None:
        # PyMongo's objects cannot be changed, but the same object can be made anew.
        super().__init__(self._legacy_state.client.plain, self.name, **{**options_of(self), **options})

    def __bool__(self) -> bool:  # type: ignore[override]
        warn("the truth value of a database", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return legacy_collection(self, super().__getitem__(name))

    def get_collection(self, *args: Any, **kwargs: Any) -> Collection:
        return legacy_collection(self, super().get_collection(*args, **kwargs))

    def create_collection(self, name: str, *args: Any, **options: Any) -> Collection:
        options = operators.collection_options(options)
        return legacy_collection(self, super().create_collection(name, *args, **options))

    def with_options(self, *args: Any, **kwargs: Any) -> Database:
        return legacy_database(self._legacy_client, super().with_options(*args, **kwargs))

    @property
    def system_js(self) -> SystemJS:
        return SystemJS(self)

    def command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """As today, without the options of PyMongo 2. Raises ``NoSuchCall`` for a command that MongoDB dropped."""
        for name in COMMAND_OPTIONS.intersection(kwargs):
            warn(f"command({name}=...)", "command without it")
            value = kwargs.pop(name)
            if name == "as_class":
                kwargs["codec_options"] = self.codec_options.with_options(document_class=value)
        # MongoDB 3.6 and later want a cursor, and answer with one.
        if command == "aggregate" and args and not kwargs.keys() & {"cursor", "explain"}:
            warn("command('aggregate')", "aggregate(...)")
            return {"result": list(self[args[0]].aggregate(kwargs.pop("pipeline"), **kwargs)), "ok": 1.0}
        if self._legacy_state.client.reads_as_pymongo_2 and len(args) <= CODEC_OPTIONS_PLACE:
            uuids = self.codec_options.uuid_representation
            kwargs.setdefault("codec_options", CodecOptions(uuid_representation=uuids))
        try:
            return super().command(command, *args, **kwargs)
        except pymongo_errors.OperationFailure as error:
            dropped = _dropped_command(command)
            if dropped and (error.code == COMMAND_NOT_FOUND or "not supported" in str(error)):
                raise refusal(dropped) from error
            raise

    @Translated("list_collection_names")
    def collection_names(self, include_system_collections: bool = True, session: Any = None) -> list[str]:
        """The names of the collections, without migopy's own."""
        own = self._legacy_state.client.own
        names = [name for name in self.list_collection_names(session=session) if (self.name, name) not in own]
        return [name for name in names if include_system_collections or not name.startswith("system.")]

    @Translated("update_one and read its result")
    def last_status(self) -> dict[str, Any]:
        """What ``getLastError`` said of the last write."""
        if self._legacy_state.last_reply is None:
            raise refusal("getLastError")
        return {"n": 0, "err": None, "ok": 1.0, **self._legacy_state.last_reply}

    @Translated("try and except around the write")
    def error(self) -> None:
        # An acknowledged write has raised its error already.
        if self._legacy_state.last_reply is None:
            raise refusal("getLastError")

    @Translated("try and except around the write")
    def previous_error(self) -> None:
        if self._legacy_state.last_reply is None:
            raise refusal("getPrevError")

    @Translated("nothing")
    def reset_error_history(self) -> None:
        self._legacy_state.last_reply = {}

    @Translated("command('createUser', ...) or command('updateUser', ...)")
    def add_user(
        self, name: str, password: str | None = None, read_only: bool | None = None, session: Any = None, **kwargs: Any
    ) -> None:
        """Create the user or change it. A new one without roles is the owner of this database."""
        _check_user(name, password, read_only, kwargs)
        create = self._lacks_user(name, session)
        if read_only or (create and "roles" not in kwargs):
            owner, reader = ("root", "readAnyDatabase") if self.name == "admin" else ("dbOwner", "read")
            kwargs["roles"] = [reader if read_only else owner]
        if password is not None:
            kwargs["pwd"] = password
        self.command("createUser" if create else "updateUser", name, session=session, **kwargs)

    def _lacks_user(self, name: str, session: Any) -> bool:
        try:
            return not self.command("usersInfo", name, session=session)["users"]
        except pymongo_errors.OperationFailure as error:
            if error.code == UNAUTHORIZED:  # the first user is created when nobody may ask for users yet
                return True
            raise

    @Translated("command('dropUser', name)")
    def remove_user(self, name: str, session: Any = None) -> None:
        self.command("dropUser", name, session=session)


def legacy_database(client: pymongo.MongoClient[Any], database: pymongo.database.Database[Any]) -> Database:
    """A database with the name and the options of PyMongo's."""
    return Database(client, database.name, **options_of(database))


def _dropped_command(command: Any) -> str | None:
    """The name in ``DROPPED`` of a command, which MongoDB 2 took in upper and lower case and with a ``$``."""
    name = str(command if isinstance(command, str) else next(iter(command))).lstrip("$").lower()
    return next((known for known in DROPPED if known.lower() == name), None)


def _check_user(name: Any, password: Any, read_only: Any, more: dict[str, Any]) -> None:
    """Refuse what PyMongo 3.13 refused."""
    for argument, value in (("name", name), ("password", "password" if password is None else password)):
        if not isinstance(value, str):
            raise TypeError(f"{argument} must be an instance of str")
    if password == "":
        raise ValueError("password can't be empty")
    if read_only is not None:
        require_boolean("read_only", read_only)
        if "roles" in more:
            raise pymongo_errors.ConfigurationError("Can not use read_only and roles together")
    if "digestPassword" in more:
        raise pymongo_errors.ConfigurationError("The digestPassword option is not supported via add_user")
