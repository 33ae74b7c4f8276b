"""How an old call is answered: with a warning that names today's, or with a sentence that refuses it."""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import warnings
from typing import Any, Callable, Iterator, NoReturn

import pymongo

from ..errors import NoSuchCall

# What MongoDB no longer has: since which version, and what to write instead.
DROPPED = {
    "autoIndexId": ("4.0", "nothing, every collection has the index of _id"),
    "clone": ("4.2", "mongodump and mongorestore"),
    "cloneCollection": ("4.2", "mongoexport and mongoimport"),
    "copy_database": ("4.2", "mongodump and mongorestore"),
    "copydb": ("4.2", "mongodump and mongorestore"),
    "eval": ("4.2", "the same steps in Python, or aggregate with $function"),
    "geoHaystack": ("5.0", "a 2d index, and $geoWithin in the query"),
    "geoNear": ("4.2", "aggregate with $geoNear"),
    "geoSearch": ("5.0", "aggregate with $geoNear"),
    "getLastError": ("5.1", "what the write itself returns or raises"),
    "getPrevError": ("5.1", "what the write itself returns or raises"),
    "group": ("4.2", "aggregate with $group"),
    "max_scan": ("4.2", "max_time_ms"),
    "parallelCollectionScan": ("4.2", "find"),
    "repairDatabase": ("4.2", "compact, or mongod --repair"),
    "resetError": ("5.1", "what the write itself returns or raises"),
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

# What PyMongo no longer has and migopy does not translate: what to write instead.
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

# The parameters that follow the ones PyMongo 2 and 3 agree on. PyMongo 3 removed the first, ``safe``.
POSITIONAL = {
    "insert": (2, ("safe", "check_keys", "continue_on_error")),
    "save": (2, ("safe", "check_keys")),
    "update": (4, ("safe", "multi", "check_keys")),
    "remove": (1, ("safe", "multi")),
}


# The folders whose lines are never those of a migration.
HERE, PYMONGO = (os.path.join(os.path.dirname(file), "") for file in (__file__, pymongo.__file__))


class LegacyCall(DeprecationWarning):
    """A call of PyMongo 2 or 3. The text names it and the one to write today."""


@contextlib.contextmanager
def warnings_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Hand each ``LegacyCall`` to ``show`` as one line, once for each place: ``mongomigrations/1_a.py:3: insert: ...``.

    Python by itself hides a DeprecationWarning outside of ``__main__``.
    """
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show_ours(message: Any, category: Any, filename: str, lineno: int, *rest: Any, **more: Any) -> None:
            if issubclass(category, LegacyCall):
                show(f"{_short(filename)}:{lineno}: {message}")
            else:
                show_others(message, category, filename, lineno, *rest, **more)

        warnings.showwarning = show_ours
        warnings.simplefilter("default", LegacyCall)
        yield


def _short(path: str) -> str:
    """The path as one would type it here."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


def warn(old: str, today: str) -> None:
    """Warn at the line that made the call: the innermost one that is neither in this package nor in PyMongo."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((HERE, PYMONGO)):
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


def refusal(name: str, known: list[str]) -> NoSuchCall:
    """The error for a method that neither PyMongo nor migopy has: what to write instead."""
    if name in DROPPED:
        since, today = DROPPED[name]
        return NoSuchCall(f"{name}: MongoDB {since} dropped it, write {today}.")
    if name in UNTRANSLATED:
        return NoSuchCall(f"{name}: PyMongo 4 removed it, write {UNTRANSLATED[name]}.")
    similar = difflib.get_close_matches(name, [method for method in known if not method.startswith("_")])
    return NoSuchCall(f"PyMongo has no method {name!r}" + (f", but {' and '.join(similar)}." if similar else "."))


class Translated:
    """A method of PyMongo 2 or 3 that today's has not. Calling it warns and names ``today``'s.

    In PyMongo 4 the attribute ``db.notes.insert`` is the collection ``notes.insert``, and so it is here: it only can be
    called in addition. (A client's is a database.)
    """

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
        named_like_it = instance[self.name]
        functools.update_wrapper(named_like_it, self.method, updated=())
        named_like_it._as_method = functools.partial(self.translate, instance)
        return named_like_it

    def translate(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        warn(self.name, self.today)
        shared, names = POSITIONAL.get(self.name, (len(args), ()))
        if not len(args) - shared <= len(names):
            return self.method(instance, *args, **kwargs)  # too many: a TypeError
        return self.method(instance, *args[:shared], **self.meaning(names, args[shared:]), **kwargs)

    def meaning(self, names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        """The arguments after those that PyMongo 2 and 3 agree on, by name, as far as they are not the defaults.

        ``update(spec, document, True, False, True)`` said ``safe`` in PyMongo 2 and ``multi`` in PyMongo 3: refused,
        where the two differ in what is written. (An unnamed ``safe=False`` may well be acknowledged.)
        """
        defaults = {**(self.method.__kwdefaults__ or {}), "safe": None}

        def changes(names: tuple[str, ...]) -> dict[str, Any]:
            given = dict(zip(names, values))
            given.pop("safe", None)
            return {name: value for name, value in given.items() if value != defaults[name]}

        if len(values) < len(names) and changes(names) != changes(names[1:]):
            raise NoSuchCall(
                f"{self.name}: PyMongo 2 takes argument {POSITIONAL[self.name][0] + 1} for {names[0]}, PyMongo 3 for"
                f" {names[1]}: write its name, as in {names[1]}={values[0]!r}."
            )
        return changes(names)


class TranslatedProperty:
    """A property of PyMongo 2 that today's has not. Unlike a method it hides the collection of that name.

    So reading or setting it warns, and names the way to that collection too.
    """

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
        warn(self.name, f"{self.today}, or [{self.name!r}] for what is named so,")
        return self.value(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        warn(f"{self.name} = ...", self.today)
        if self.change is None:
            raise AttributeError(f"{self.name} cannot be set")
        self.change(instance, value)


def by_name(name: str) -> Any:
    """An attribute that is the collection of that name, as in PyMongo 4, where PyMongo 3 has a method."""
    return property(lambda self: self[name])


def refused(name: str) -> Any:
    """A property of PyMongo 2 or 3 that cannot be answered."""

    def refuse(self: Any) -> NoReturn:
        raise refusal(name, [])

    return property(refuse)
