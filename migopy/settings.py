"""What the settings of the team's class may be. One that cannot be right is named, and its value never shown."""

from __future__ import annotations

import os
import re
from typing import Any, Mapping, NamedTuple

from .errors import ConfigurationError


class Kind(NamedTuple):
    """What a setting may be: the Python types of it, and how a person writes that."""

    types: tuple[type, ...]
    words: str


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
    "STRICT": YES_OR_NO,
    "LEGACY_PYMONGO": YES_OR_NO,
}


def require_kinds(settings: Mapping[str, Any]) -> None:
    """Raises ``ConfigurationError`` for the first setting that is of another kind."""
    for setting, kind in KINDS.items():
        value = settings[setting]
        if not isinstance(value, kind.types):
            shown = "None" if value is None else f"of the type {type(value).__name__}"
            raise ConfigurationError(f"{setting} has to be {kind.words}; it is {shown}.")


def hosts(host: str | list[str] | tuple[str, ...]) -> str:
    """``MONGO_HOST`` may be a list, as ``MongoClient`` takes one. Raises ``ConfigurationError`` for an empty one."""
    several = [host] if isinstance(host, str) else host
    if not several or not all(isinstance(name, str) and name.strip() for name in several):
        raise ConfigurationError("MONGO_HOST has to be the name of a server in quotes, or a list of such names.")
    return ",".join(several)


def port(value: int | str) -> int:
    """Raises ``ConfigurationError`` for what is no port; a password may stand there, so it is not shown."""
    try:
        number = int(value)
    except ValueError:
        raise ConfigurationError("MONGO_PORT has to be a number; what it is now is not shown.") from None
    if not 0 < number < 65536:
        raise ConfigurationError(f"MONGO_PORT has to be a number from 1 to 65535, not {number}.")
    return number


def require_password(user: str | None, password: str | None, options: Mapping[str, Any]) -> None:
    """Raises ``ConfigurationError`` for a user without a password; some mechanisms, of certificates, need none."""
    has_other_means = any(name.lower() in ("password", "authmechanism") for name in options)
    if user and not password and not has_other_means:
        raise ConfigurationError(
            "MONGO_USER is set and MONGO_USER_PASSWORD is not: add it to the class in the fabfile."
        )
