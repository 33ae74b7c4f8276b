"""What a team sets on its class: the settings with their defaults and the values that each accepts, and the hooks."""

from __future__ import annotations

import collections.abc
import os
import re
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from .errors import ConfigurationError

if TYPE_CHECKING:
    from pymongo.database import Database

TEMPLATE = '''"""{words}"""


def up(db):
    """What fab migrations:execute does."""


def down(db):
    """What fab migrations:rollback does: take back what up() did."""
'''


class Settings:
    """The attributes that a team sets on its class, with their defaults."""

    MONGO_HOST: str | list[str] = "localhost"
    MONGO_PORT: int = 27017
    MONGO_DATABASE: str | None = None
    MONGO_USER: str | None = None
    MONGO_USER_PASSWORD: str | None = None
    MONGO_USER_PASS: str | None = None
    """Another name of ``MONGO_USER_PASSWORD``: the one that 1.0 read, but did not document."""
    MONGO_AUTH_DATABASE: str | None = None
    """The database in which the user was created. Default: ``MONGO_DATABASE``, as in 1.0."""
    MONGO_URI: str | None = None
    """A connection string. Host, port and user are ignored if it is set."""
    MONGO_CLIENT_OPTIONS: Mapping[str, Any] = {}
    """More keyword arguments for the client, such as ``tls``."""

    MONGO_DATABASES: Any = None
    """Many databases: a list of names, or a function of the client that returns one; or names with a URI each."""
    DATABASES_AT_ONCE: int = 4
    """How many of ``MONGO_DATABASES`` a subtask works in at the same time."""

    MIGRATIONS_COLLECTION: str = "migrations"
    MIGRATIONS_DIRECTORY: str = "mongomigrations"
    MIGRATIONS_FILE_PATTERN: str = r"(?P<migr_nr>[0-9]+)_[a-z0-9_]+\.py"

    MIGRATION_TEMPLATE: str = TEMPLATE
    """The text of a file that ``create`` writes. ``{words}`` is replaced by the words of the command."""

    MIGRATION_TEST_TEMPLATE: str | None = None
    """The text of a test that ``create`` writes beside the file; None for none. ``{name}`` is the name without .py."""

    DO_MONGO_DUMP: bool = False
    MONGO_DUMP_DIRECTORY: str = "mongodumps"

    LOCK_LEASE: float = 60
    """Seconds until the lock of a dead run is free."""
    LOCK_WAIT: float = 60
    """Seconds to wait for a lock that another run holds."""
    BATCH_MAX_LAG: float = 10
    """Seconds of replication lag at which a migration in batches waits."""
    BATCH_PACE: int | None = None
    """Documents a second that a migration in batches goes through at most; None for no limit."""
    BATCH_WORKERS: int = 1
    """How many threads an ``update`` of a migration in batches has, unless it says that itself."""
    STRICT: bool = False
    """Whether ``execute`` refuses if a registered file was changed or is missing, or if a file is out of order."""
    LEGACY_PYMONGO: bool = True
    """Whether databases have the methods that PyMongo 3 and 4 removed."""

    REHEARSAL_URI: str | None = None
    """The server for the copy that ``rehearse`` makes. Default: the server of the database."""
    REHEARSAL_DATABASE: str | None = None
    """The database for the copy. Default: ``MONGO_DATABASE``, plus ``_rehearsal`` if it is on the same server."""

    PREFLIGHT_DOCUMENTS: int = 100_000
    """Documents from which a rehearsal reports that one command changes them all, or looks for some without index."""

    BY: str | None = None
    """Who deploys, for the history, such as the person who started a CI job. Default: the user of this machine."""
    FAB_TASK: str = "migrations"
    """The name of the task in the fabfile."""

    @classmethod
    def read(cls, source: object) -> Settings:
        """The current settings of a manager. Raises ``ConfigurationError`` if one has a wrong type."""
        settings = Settings()
        for name in KINDS:
            setattr(settings, name, check_setting(name, getattr(source, name)))
        return settings

    @property
    def task(self) -> str:
        """``fab migrations``"""
        return f"fab {self.FAB_TASK}"

    def command(self, subtask: str) -> str:
        """``fab migrations:execute``"""
        return f"{self.task}:{subtask}"


class Hooks:
    """The methods that a team overrides on its class, to run code around each migration."""

    def before_each(self, name: str) -> None:
        """Override it to run code before each ``up()`` and ``down()``. An exception stops the run."""

    def after_each(self, name: str) -> None:
        """Override it to run code after each ``up()`` and ``down()``. An exception stops the run."""

    def before_rehearsal(self, db: Database[dict[str, Any]]) -> None:
        """Override it to change the copy before a rehearsal, for example to mask personal data."""

    def throttle(self, db: Database[dict[str, Any]]) -> str | None:
        """Override it to make a run in batches wait: return why, as a string. Called at most once a second."""

    def on_failure(self, name: str, error: BaseException) -> None:
        """Override it to report that ``up()``, ``down()`` or a hook failed. Its own exceptions are only printed."""


class Kind:
    """The values that a setting accepts.

    ``types`` are their types, or ``methods`` what they have to have; ``description`` is for people, ``minimum`` for
    numbers.
    """

    def __init__(
        self, types: tuple[Any, ...], description: str, minimum: float | None = None, methods: Sequence[str] = ()
    ) -> None:
        self.description = description
        self._types = types
        self._minimum = minimum
        self._methods = methods

    def accepts(self, value: Any) -> bool:
        has_type = isinstance(value, self._types) and all(hasattr(value, method) for method in self._methods)
        return has_type and (value is None or self._minimum is None or not value < self._minimum)

    def describe(self, value: Any) -> str:
        """A number is shown, but never a string: it may be a password."""
        if value is None:
            return "it is None"
        is_number = self._minimum is not None and isinstance(value, (int, float))
        return f"it is {value!r}" if is_number else f"its type is {type(value).__name__}"


STRING = Kind((str,), "a string")
STRING_OR_NONE = Kind((str, type(None)), "a string")
PATH = Kind((str, os.PathLike), "a path")
YES_OR_NO = Kind((bool, int, type(None)), "True or False")

KINDS = {
    "MONGO_HOST": Kind((str, list, tuple), "a string, or a list of strings"),
    "MONGO_PORT": Kind((int, str), "a number"),
    "MONGO_DATABASE": STRING_OR_NONE,
    "MONGO_DATABASES": Kind(
        (list, tuple, Mapping, collections.abc.Callable, type(None)), "a list of names, or a function that returns one"
    ),
    "DATABASES_AT_ONCE": Kind((int,), "a whole number, at least 1", minimum=1),
    "MONGO_USER": STRING_OR_NONE,
    "MONGO_USER_PASSWORD": STRING_OR_NONE,
    "MONGO_USER_PASS": STRING_OR_NONE,
    "MONGO_AUTH_DATABASE": STRING_OR_NONE,
    "MONGO_URI": STRING_OR_NONE,
    "MONGO_CLIENT_OPTIONS": Kind((Mapping,), "a dictionary, such as {'tls': True}"),
    "MongoClient": Kind((collections.abc.Callable,), "a function, such as pymongo.MongoClient"),
    "MIGRATIONS_COLLECTION": STRING,
    "MIGRATIONS_DIRECTORY": PATH,
    "MIGRATIONS_FILE_PATTERN": Kind((str, re.Pattern), "a regular expression"),
    "MIGRATION_TEMPLATE": STRING,
    "MIGRATION_TEST_TEMPLATE": STRING_OR_NONE,
    "DO_MONGO_DUMP": YES_OR_NO,
    "MONGO_DUMP_DIRECTORY": PATH,
    "LOCK_LEASE": Kind((int, float), "a number of seconds, at least 1", minimum=1),
    "LOCK_WAIT": Kind((int, float), "a number of seconds, at least 0", minimum=0),
    "BATCH_MAX_LAG": Kind((int, float), "a number of seconds, at least 0", minimum=0),
    "BATCH_PACE": Kind((int, type(None)), "a whole number of documents a second, at least 1, or None", minimum=1),
    "BATCH_WORKERS": Kind((int,), "a whole number, at least 1", minimum=1),
    "STRICT": YES_OR_NO,
    "LEGACY_PYMONGO": YES_OR_NO,
    "REHEARSAL_URI": STRING_OR_NONE,
    "REHEARSAL_DATABASE": STRING_OR_NONE,
    "PREFLIGHT_DOCUMENTS": Kind((int,), "a number of documents, at least 0", minimum=0),
    "BY": STRING_OR_NONE,
    "FAB_TASK": STRING,
    "logger": Kind(
        (object,),
        "an object with the methods white, red, green and white_bold",
        methods=("white", "red", "green", "white_bold"),
    ),
}


def check_setting(name: str, value: Any) -> Any:
    """The value of a setting. Raises ``ConfigurationError`` if it has a wrong type."""
    kind = KINDS[name]
    if not kind.accepts(value):
        raise ConfigurationError(f"{name} has to be {kind.description}; {kind.describe(value)}.")
    return value
