"""Which databases there are, and which of them a command means."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ..errors import ConfigurationError, UnknownSubtask
from ..mongo import server_errors
from ..run.status import UNFINISHED
from ..terminal.options import closest_word

SHOWN_NAMES = 5
"""How many names a message for people lists."""

STATES = ("failed", "behind")
"""What ``databases=`` may say in place of names: those that need a look, and those with unregistered migrations."""


class Target(NamedTuple):
    """One of the databases: its name for people, and where it is if it is not at ``MONGO_HOST`` or ``MONGO_URI``."""

    name: str
    uri: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes of the class for this database."""
        alone = {"MONGO_DATABASES": None, "MONGO_DATABASE": self.name}
        if self.uri is None:
            return alone
        has_database = self.uri.partition("://")[2].partition("?")[0].partition("/")[2]
        return {**alone, "MONGO_URI": self.uri, "MONGO_DATABASE": None if has_database else self.name}


def all_targets(manager_class: type[Any], client: Callable[[], Any]) -> list[Target]:
    """The databases in ``MONGO_DATABASES``, in its order. Raises ``ConfigurationError`` if these are no names."""
    given = manager_class.MONGO_DATABASES
    if callable(given):
        # In a class, a function is a method: it may take the manager before the client, or the client alone.
        takes_manager = len(inspect.signature(given).parameters) > 1
        with server_errors("the server"):
            given = given(manager_class(), client()) if takes_manager else given(client())
    names = [] if isinstance(given, str) or not isinstance(given, Iterable) else [*dict.fromkeys(given)]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            "MONGO_DATABASES has to be a list of at least one name, or a function that returns one."
        )
    uris = given if isinstance(given, Mapping) else {}
    return [Target(name, uris.get(name)) for name in names]


def states(status: Mapping[str, Any]) -> set[str]:
    """``failed`` if a migration has not ended well or nothing is known, ``behind`` with unregistered ones.

    ``status`` is the document of ``show_status``, or empty.
    """
    failed = not status or any(problem["kind"] in (*UNFINISHED, "half restored") for problem in status["problems"])
    return {*(["failed"] if failed else []), *(["behind"] if status.get("unregistered") else [])}


def choose(targets: Sequence[Target], wanted: str) -> list[Target]:
    """The databases that ``databases=`` means. Raises ``UnknownSubtask`` if there is no such.

    ``wanted`` has names or patterns such as ``tenant_*``.
    """
    by_name = {target.name: target for target in targets}
    chosen: dict[Target, None] = {}
    for word in [wanted] if wanted in by_name else re.split(r"[ ,]+", wanted.strip(" ,")):
        found = [by_name[word]] if word in by_name else [t for t in targets if fnmatchcase(t.name, word)]
        if not found:
            raise UnknownSubtask(_not_found(word, [*by_name]))
        chosen.update(dict.fromkeys(found))
    # In the order of MONGO_DATABASES, whose first database is the first to be migrated.
    return [target for target in targets if target in chosen]


def _not_found(word: str, names: Sequence[str]) -> str:
    similar = closest_word(word, names)
    hint = f" Did you mean {similar}?" if similar else ""
    return (
        f"Nothing was done: databases={word} matches none of MONGO_DATABASES ({some(names)}).{hint}"
        " Write names, patterns such as tenant_*, all, failed or behind."
    )


def some(names: Sequence[str]) -> str:
    """``a, b, c, d, e and 207 more``"""
    shown = ", ".join(names[:SHOWN_NAMES])
    return f"{shown} and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else shown
