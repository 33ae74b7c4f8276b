"""The database that ``up`` and ``down`` get."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Callable, NoReturn

import pymongo.collection
import pymongo.database
from bson.code import Code
from pymongo import errors as pymongo_errors

from ..errors import NoSuchCall
from . import operators
from .arguments import boolean
from .calls import DROPPED, MANIPULATORS, PYMONGO, Translated, TranslatedProperty, by_name, refusal, refused, warn
from .collection import Collection, DroppedCollection
from .options import Adjustable, options_of

if TYPE_CHECKING:
    from .client import Client

COMMAND_OPTIONS = {
    "as_class",
    "compile_re",
    "secondary_acceptable_latency_ms",
    "slave_okay",
    "tag_sets",
    "uuid_subtype",
}
COMMAND_NOT_FOUND, UNAUTHORIZED = 59, 13


class SystemJS:
    """``db.system_js``: the stored functions, which MongoDB still has, though it can no longer call one by itself."""

    def __init__(self, db: Database) -> None:
        vars(self)["_functions"] = db["system.js"]

    def __setattr__(self, name: str, code: str) -> None:
        warn("system_js", "db['system.js'].replace_one")
        self._functions.replace_one({"_id": name}, {"_id": name, "value": Code(code)}, upsert=True)

    def __delattr__(self, name: str) -> None:
        warn("system_js", "db['system.js'].delete_one")
        self._functions.delete_one({"_id": name})

    def __getattr__(self, name: str) -> NoReturn:
        raise refusal("eval", [])

    __setitem__, __delitem__, __getitem__ = __setattr__, __delattr__, __getattr__

    def list(self) -> Any:
        warn("system_js", "db['system.js'].distinct('_id')")
        return self._functions.distinct("_id")


class Database(Adjustable, pymongo.database.Database):  # type: ignore[type-arg]
    """A database whose collections understand PyMongo 2 and 3."""

    _as_method: Callable[..., Any] | None = None

    eval, authenticate, logout = by_name("eval"), by_name("authenticate"), by_name("logout")
    add_son_manipulator, current_op = by_name("add_son_manipulator"), by_name("current_op")
    profiling_level, set_profiling_level = by_name("profiling_level"), by_name("set_profiling_level")
    profiling_info = by_name("profiling_info")
    incoming_manipulators, incoming_copying_manipulators = map(refused, MANIPULATORS[1:3])
    outgoing_manipulators, outgoing_copying_manipulators = map(refused, MANIPULATORS[3:])

    def __init__(self, client: Client, name: str, **options: Any) -> None:
        super().__init__(client._plain, name, **options)
        self._client_of_2014 = client
        self._status: dict[str, Any] | None = {}  # the reply to the last write; None: it was not acknowledged

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``client.database_names()``: the database ``database_names``, called."""
        if self._as_method:
            return self._as_method(*args, **kwargs)
        if callable(getattr(pymongo.collection.Collection, self.name, None)):
            raise NoSuchCall(
                f"{self.name}: db.client and db.connection are the client, write db['client'] or db['connection'] for a"
                " collection of that name."
            )
        raise refusal(self.name, dir(type(self.client)))

    @property
    def client(self) -> Any:
        """PyMongo's own code gets its own client: no other one passes for that of a session."""
        asked_by_pymongo = sys._getframe(1).f_code.co_filename.startswith(PYMONGO)
        return super().client if asked_by_pymongo else self._client_of_2014

    @TranslatedProperty("client")
    def connection(self) -> Client:
        return self._client_of_2014

    def _adjust(self, **options: Any) -> None:
        super().__init__(self._client_of_2014._plain, self.name, **{**options_of(self), **options})

    def __bool__(self) -> bool:  # type: ignore[override]
        warn("the truth value of a database", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return self._legacy(super().__getitem__(name))

    def get_collection(self, *args: Any, **kwargs: Any) -> Collection:
        return self._legacy(super().get_collection(*args, **kwargs))

    def create_collection(self, name: str, *args: Any, **options: Any) -> Collection:
        return self._legacy(super().create_collection(name, *args, **operators.collection_options(options)))

    def with_options(self, *args: Any, **kwargs: Any) -> Database:
        return Database(self._client_of_2014, self.name, **options_of(super().with_options(*args, **kwargs)))

    def _legacy(self, collection: pymongo.collection.Collection[Any]) -> Collection:
        dropped = collection.name in DROPPED and (self.name, collection.name) != ("admin", "system.users")
        made_of = DroppedCollection if dropped and collection.name.startswith("system.") else Collection
        return made_of(self, collection.name, **options_of(collection))

    def _connection_id(self) -> int:
        return int(super().command("isMaster")["connectionId"])

    def _beside(self, name: str) -> Database:
        """Another database of the same client."""
        return self._client_of_2014[name]

    @property
    def system_js(self) -> SystemJS:
        return SystemJS(self)

    def command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """As today, without the options of PyMongo 2, and with a sentence for a command that MongoDB dropped."""
        for name in COMMAND_OPTIONS.intersection(kwargs):
            warn(f"command({name}=...)", "command without it")
            value = kwargs.pop(name)
            if name == "as_class":
                kwargs["codec_options"] = self.codec_options.with_options(document_class=value)
        if command == "aggregate" and args and not kwargs.keys() & {"cursor", "explain"}:
            warn("command('aggregate')", "aggregate(...)")
            return {"result": list(self[args[0]].aggregate(kwargs.pop("pipeline"), **kwargs)), "ok": 1.0}
        try:
            return super().command(command, *args, **kwargs)
        except pymongo_errors.OperationFailure as error:
            name = str(command if isinstance(command, str) else next(iter(command))).lstrip("$").lower()
            dropped = [known for known in DROPPED if known.lower() == name]
            if dropped and (error.code == COMMAND_NOT_FOUND or "not supported" in str(error)):
                raise refusal(dropped[0], []) from error
            raise

    @Translated("list_collection_names")
    def collection_names(self, include_system_collections: bool = True, session: Any = None) -> list[str]:
        """``list_collection_names()``, a call of today, names all; this one what there was in 2014."""
        own = self._client_of_2014._own
        names = [name for name in self.list_collection_names(session=session) if (self.name, name) not in own]
        return [name for name in names if include_system_collections or not name.startswith("system.")]

    @Translated("what the write itself returns or raises")
    def last_status(self) -> dict[str, Any]:
        """What getLastError said of the last write of this ``db``, whose errors are raised by the write itself."""
        if self._status is None:
            raise refusal("getLastError", [])
        return {"n": 0, "err": None, "ok": 1.0, **self._status}

    @Translated("what the write itself returns or raises")
    def error(self) -> None:
        if self._status is None:
            raise refusal("getLastError", [])

    @Translated("what the write itself returns or raises")
    def previous_error(self) -> None:
        if self._status is None:
            raise refusal("getPrevError", [])

    @Translated("nothing")
    def reset_error_history(self) -> None:
        self._status = {}

    @Translated("command('createUser', ...) or command('updateUser', ...)")
    def add_user(
        self, name: str, password: str | None = None, read_only: bool | None = None, session: Any = None, **kwargs: Any
    ) -> None:
        """Create the user, as owner of this database if no roles are given, or change the one there is."""
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
            if error.code == UNAUTHORIZED:  # the first user is made before anybody can ask for users
                return True
            raise

    @Translated("command('dropUser', name)")
    def remove_user(self, name: str, session: Any = None) -> None:
        self.command("dropUser", name, session=session)


def _check_user(name: Any, password: Any, read_only: Any, more: dict[str, Any]) -> None:
    """Refuse what PyMongo 3.13 refused."""
    for argument, value in (("name", name), ("password", "password" if password is None else password)):
        if not isinstance(value, str):
            raise TypeError(f"{argument} must be an instance of str")
    if password == "":
        raise ValueError("password can't be empty")
    if read_only is not None:
        boolean("read_only", read_only)
        if "roles" in more:
            raise pymongo_errors.ConfigurationError("Can not use read_only and roles together")
    if "digestPassword" in more:
        raise pymongo_errors.ConfigurationError("The digestPassword option is not supported via add_user")
