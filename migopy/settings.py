"""The settings: their defaults, which values they take, and the checked values that the rest of migopy works with."""

from __future__ import annotations

import os
import re
from typing import Any, Mapping, NamedTuple

from .errors import ConfigurationError

TEMPLATE = '''"""{words}"""


def up(db):
    """What fab migrations:execute does."""


def down(db):
    """What fab migrations:rollback does: take back what up() did."""
'''


class Settings:
    """The attributes that a team sets on its class, with their defaults.

    ``Settings.read(manager)`` gives the checked values of one manager.
    """

    MONGO_HOST: str | list[str] = "localhost"
    MONGO_PORT: int = 27017
    MONGO_DATABASE: str | None = None
    MONGO_USER: str | None = None
    MONGO_USER_PASSWORD: str | None = None
    MONGO_USER_PASS: str | None = None
    """The name that 1.0 read; ``MONGO_USER_PASSWORD`` is the documented one."""
    MONGO_AUTH_DATABASE: str | None = None
    """The database that knows the user; ``MONGO_DATABASE`` if not set, as in 1.0."""
    MONGO_URI: str | None = None
    """A whole connection string; wins over host, port and user."""
    MONGO_CLIENT_OPTIONS: Mapping[str, Any] = {}
    """Further keyword arguments of the client, TLS for example."""

    MIGRATIONS_COLLECTION: str = "migrations"
    MIGRATIONS_DIRECTORY: str = "mongomigrations"
    MIGRATIONS_FILE_PATTERN: str = r"(?P<migr_nr>[0-9]+)_[a-z0-9_]+\.py"

    MIGRATION_TEMPLATE: str = TEMPLATE
    """The text of a file that create makes; ``{words}`` in it stands for the words it was given."""

    DO_MONGO_DUMP: bool = False
    MONGO_DUMP_DIRECTORY: str = "mongodumps"

    LOCK_LEASE: float = 60
    """Seconds after which the lock of a run that died is free."""
    LOCK_WAIT: float = 60
    """Seconds to wait while another run holds the lock."""
    BATCH_MAX_LAG: float = 10
    """Seconds that a member of the replica set may be behind before a migration in batches waits for it."""
    STRICT: bool = False
    """Whether execute refuses when a registered file changed or is missing, or an unregistered one is out of order."""
    LEGACY_PYMONGO: bool = True
    """Whether databases answer the calls that PyMongo 3 and 4 removed."""

    REHEARSAL_URI: str | None = None
    """Another server for rehearsals; the database keeps its name there. By default the copy is on the same one."""
    REHEARSAL_DATABASE: str | None = None
    """The name of the copy; by default that of the database with ``_rehearsal`` behind it."""

    FAB_TASK: str = "migrations"
    """The name that the task has in the fabfile."""

    @classmethod
    def read(cls, source: object) -> Settings:
        """The settings of a manager as they are now. Raises ``ConfigurationError`` for one of the wrong type."""
        settings = Settings()
        for name in KINDS:
            setattr(settings, name, checked(name, getattr(source, name)))
        return settings

    @property
    def task(self) -> str:
        """``fab migrations``"""
        return f"fab {self.FAB_TASK}"

    def command(self, subtask: str) -> str:
        """``fab migrations:execute``"""
        return f"{self.task}:{subtask}"


class Kind(NamedTuple):
    """Which values a setting takes: their Python types, and how a person writes one."""

    types: tuple[type, ...]
    words: str
    least: float | None = None

    def takes(self, value: Any) -> bool:
        is_known: bool = isinstance(value, self.types)
        return is_known and (self.least is None or not value < self.least)

    def shown(self, value: Any) -> str:
        """The value for the message: a number is shown, a text may be a password."""
        if value is None:
            return "None"
        is_number = self.least is not None and isinstance(value, (int, float))
        return repr(value) if is_number else f"of the type {type(value).__name__}"


TEXT = Kind((str,), "text in quotes")
TEXT_OR_NONE = Kind((str, type(None)), "text in quotes")
PATH = Kind((str, os.PathLike), "a path in quotes")
YES_OR_NO = Kind((bool, int, type(None)), "True or False")

KINDS = {
    "MONGO_HOST": Kind((str, list, tuple), "text in quotes, or a list of it"),
    "MONGO_PORT": Kind((int, str), "a number"),
    "MONGO_DATABASE": TEXT_OR_NONE,
    "MONGO_USER": TEXT_OR_NONE,
    "MONGO_USER_PASSWORD": TEXT_OR_NONE,
    "MONGO_USER_PASS": TEXT_OR_NONE,
    "MONGO_AUTH_DATABASE": TEXT_OR_NONE,
    "MONGO_URI": TEXT_OR_NONE,
    "MONGO_CLIENT_OPTIONS": Kind((Mapping,), "a dictionary, such as {'tls': True}"),
    "MIGRATIONS_COLLECTION": TEXT,
    "MIGRATIONS_DIRECTORY": PATH,
    "MIGRATIONS_FILE_PATTERN": Kind((str, re.Pattern), "a regular expression in quotes"),
    "MIGRATION_TEMPLATE": TEXT,
    "DO_MONGO_DUMP": YES_OR_NO,
    "MONGO_DUMP_DIRECTORY": PATH,
    "LOCK_LEASE": Kind((int, float), "a number of seconds, at least 1", least=1),
    "LOCK_WAIT": Kind((int, float), "a number of seconds, at least 0", least=0),
    "BATCH_MAX_LAG": Kind((int, float), "a number of seconds, at least 0", least=0),
    "STRICT": YES_OR_NO,
    "LEGACY_PYMONGO": YES_OR_NO,
    "REHEARSAL_URI": TEXT_OR_NONE,
    "REHEARSAL_DATABASE": TEXT_OR_NONE,
    "FAB_TASK": TEXT,
}


def checked(name: str, value: Any) -> Any:
    """The value of a setting. Raises ``ConfigurationError`` if it is of the wrong type; a secret is never shown."""
    kind = KINDS[name]
    if not kind.takes(value):
        raise ConfigurationError(f"{name} has to be {kind.words}; it is {kind.shown(value)}.")
    return value
