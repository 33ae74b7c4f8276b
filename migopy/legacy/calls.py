"""Old calls: each one warns and names today's call, or raises and says what to write instead."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import warnings
from typing import Any, Callable, Iterable, Iterator, NoReturn

import pymongo
import pymongo.collection

from ..errors import NoSuchCall

# What MongoDB no longer has: the version that dropped it, and what to write instead.
DROPPED = {
    "autoIndexId": ("4.0", "nothing, every collection has an index on _id"),
    "clone": ("4.2", "mongodump and mongorestore"),
    "cloneCollection": ("4.2", "mongoexport and mongoimport"),
    "copy_database": ("4.2", "mongodump and mongorestore"),
    "copydb": ("4.2", "mongodump and mongorestore"),
    "eval": ("4.2", "the same steps in Python, or aggregate with $function"),
    "geoHaystack": ("5.0", "a 2d index, and $geoWithin in the query"),
    "geoNear": ("4.2", "aggregate with $geoNear"),
    "geoSearch": ("5.0", "aggregate with $geoNear"),
    "getLastError": ("5.1", "nothing, a write raises its own error"),
    "getPrevError": ("5.1", "nothing, a write raises its own error"),
    "group": ("4.2", "aggregate with $group"),
    "max_scan": ("4.2", "max_time_ms"),
    "parallelCollectionScan": ("4.2", "find"),
    "repairDatabase": ("4.2", "compact, or mongod --repair"),
    "resetError": ("5.1", "nothing, a write raises its own error"),
    "system.indexes": ("3.0", "index_information() of each collection"),
    "system.namespaces": ("3.0", "list_collection_names()"),
    "system.users": ("2.6", "add_user, or command('usersInfo', 1)"),
    "text": ("3.0", "find with $text"),
    "touch": ("4.2", "nothing, WiredTiger needs no warming up"),
}

MANIPULATORS = (
    "add_son_manipulator",
    *("incoming_manipulators", "incoming_copying_manipulators"),
    *("outgoing_manipulators", "outgoing_copying_manipulators"),
)

# What PyMongo no longer has and migopy does not translate, and what to write instead.
UNTRANSLATED = {
    **dict.fromkeys(MANIPULATORS, "a function of your own that changes the document before it is written"),
    "authenticate": "MONGO_USER and MONGO_USER_PASSWORD in the fabfile",
    "close_cursor": "cursor.close()",
    "conn_id": "cursor.address",
    "current_op": "client.admin.command('currentOp')",
    "database_names": "db.client.list_database_names()",
    "drop_database": "db.client.drop_database(name)",
    "kill_cursors": "cursor.close()",
    "logout": "MONGO_USER and MONGO_USER_PASSWORD in the fabfile",
    "profiling_info": "list(db['system.profile'].find())",
    "profiling_level": "db.command('profile', -1)['was']",
    "set_cursor_manager": "nothing, cursors close themselves",
    "set_profiling_level": "db.command('profile', level)",
}

# How many parameters PyMongo 2 and 3 have in common, and those that follow in PyMongo 2. PyMongo 3 removed ``safe``.
POSITIONAL = {
    "insert": (2, ("safe", "check_keys", "continue_on_error")),
    "save": (2, ("safe", "check_keys")),
    "update": (4, ("safe", "multi", "check_keys")),
    "remove": (1, ("safe", "multi")),
}

# Code in these folders is never a migration.
OUR_FOLDER, PYMONGO_FOLDER = (os.path.join(os.path.dirname(file), "") for file in (__file__, pymongo.__file__))
GRIDFS_FOLDER = os.path.join(os.path.dirname(os.path.dirname(pymongo.__file__)), "gridfs", "")


class LegacyCall(DeprecationWarning):
    """A call of PyMongo 2 or 3."""


@contextlib.contextmanager
def warnings_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Hand each ``LegacyCall`` to ``show`` as one line: ``mongomigrations/1_a.py:3: insert: ...``."""
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show_ours(message: Any, category: Any, filename: str, lineno: int, *rest: Any, **more: Any) -> None:
            if issubclass(category, LegacyCall):
                show(f"{_relative_path(filename)}:{lineno}: {message}")
            else:
                show_others(message, category, filename, lineno, *rest, **more)

        warnings.showwarning = show_ours
        # Python hides a DeprecationWarning outside of __main__. "default" shows it once for each line.
        warnings.simplefilter("default", LegacyCall)
        yield


def _relative_path(path: str) -> str:
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


def warn(old: str, today: str) -> None:
    """Warn at the line of the migration that made the call."""
    frame = sys._getframe(1)
    # The call may have come through PyMongo and back: gridfs.put() calls our insert_one.
    while frame.f_back and frame.f_code.co_filename.startswith((OUR_FOLDER, PYMONGO_FOLDER, GRIDFS_FOLDER)):
        frame = frame.f_back
    module = frame.f_globals
    warnings.warn_explicit(
        f"{old}: write {today} today",
        LegacyCall,
        frame.f_code.co_filename,
        frame.f_lineno,
        module.get("__name__", "<unknown>"),
        module.setdefault("__warningregistry__", {}),
    )


def refusal(name: str, known: Iterable[str] = ()) -> NoSuchCall:
    """The error for a name that neither PyMongo nor migopy has. ``known`` are the names that may have been meant."""
    if name in DROPPED:
        since, today = DROPPED[name]
        return NoSuchCall(f"{name}: MongoDB {since} dropped it, write {today}.")
    if name in UNTRANSLATED:
        return NoSuchCall(f"{name}: PyMongo 4 removed it, write {UNTRANSLATED[name]}.")
    similar = difflib.get_close_matches(name, [method for method in known if not method.startswith("_")])
    meant = f" Did you mean {' or '.join(similar)}?" if similar else ""
    return NoSuchCall(f"PyMongo has no method {name!r}.{meant}")


def is_dropped(database: str, collection: str) -> bool:
    """Whether it is a collection such as ``system.indexes``. MongoDB keeps that elsewhere: it would be found empty."""
    is_listed = collection.startswith("system.") and collection in DROPPED
    return is_listed and (database, collection) != ("admin", "system.users")


def refuse_dropped(collection: pymongo.collection.Collection[Any]) -> None:
    if is_dropped(collection.database.name, collection.name):
        raise refusal(collection.name)


class CalledByName:
    """A collection or a database that can be called, because it may have the name of an old method.

    ``db.notes.insert`` is the collection ``notes.insert`` in PyMongo 4, and so it is here. Calling it inserts into
    ``notes``. In the same way a client's old methods are databases.
    """

    _as_method: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._as_method:
            return self._as_method(*args, **kwargs)
        raise self._unknown_method()

    def _unknown_method(self) -> NoSuchCall:
        raise NotImplementedError


class Translated:
    """A method of PyMongo 2 or 3 that PyMongo 4 lacks. Calling it warns and names the method of ``today``."""

    def __init__(self, today: str) -> None:
        self.today = today

    def __call__(self, method: Callable[..., Any]) -> Translated:
        self.method = method
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        named_like_it = instance[self.name]  # CalledByName
        functools.update_wrapper(named_like_it, self.method, updated=())
        named_like_it._as_method = functools.partial(self.translate, instance)
        return named_like_it

    def translate(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        warn(self.name, self.today)
        shared, names = POSITIONAL.get(self.name, (len(args), ()))
        if len(args) > shared + len(names):
            return self.method(instance, *args, **kwargs)  # raises the TypeError for too many arguments
        return self.method(instance, *args[:shared], **self.by_name(names, args[shared:]), **kwargs)

    def by_name(self, names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        """The arguments after the shared ones by their names, without ``safe`` and what has its default value.

        Raises ``NoSuchCall`` where PyMongo 2 and 3 would write different things: ``update(spec, document, True, False,
        True)`` means ``safe`` in PyMongo 2 and ``multi`` in PyMongo 3.
        """
        defaults = {**(self.method.__kwdefaults__ or {}), "safe": None}

        def changed(names: tuple[str, ...]) -> dict[str, Any]:
            given = dict(zip(names, values))
            given.pop("safe", None)  # an unnamed safe=False may well be acknowledged
            return {name: value for name, value in given.items() if value != defaults[name]}

        # With all of PyMongo 2's arguments it cannot be a call of PyMongo 3, which has one less.
        if len(values) < len(names) and changed(names) != changed(names[1:]):
            raise NoSuchCall(
                f"{self.name}: PyMongo 2 takes argument {POSITIONAL[self.name][0] + 1} for {names[0]}, PyMongo 3 for"
                f" {names[1]}: write its name, as in {names[1]}={values[0]!r}."
            )
        return changed(names)


class TranslatedProperty:
    """A property of PyMongo 2 that PyMongo 4 lacks. Reading or setting it warns."""

    def __init__(self, today: str, change: Callable[[Any, Any], None] | None = None) -> None:
        self.today = today
        self.change = change

    def __call__(self, value: Callable[[Any], Any]) -> Any:
        self.value = value
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        # Unlike a method it hides the collection of its name. (A client's hides a database.)
        kind = "database" if isinstance(instance, pymongo.MongoClient) else "collection"
        warn(self.name, f"{self.today}, or [{self.name!r}] for the {kind} of that name,")
        return self.value(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        warn(f"{self.name} = ...", self.today)
        if self.change is None:
            raise AttributeError(f"{self.name} cannot be set")
        self.change(instance, value)


def item_property(name: str) -> Any:
    """An attribute that is the collection of that name, as in PyMongo 4. PyMongo 3 has a method instead."""
    return property(lambda self: self[name])


def refusing_property(name: str) -> Any:
    def refuse(self: Any) -> NoReturn:
        raise refusal(name)

    return property(refuse)
