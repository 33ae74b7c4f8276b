"""Which databases there are, and which of them a command means."""

from __future__ import annotations

import inspect
import re
from fnmatch import fnmatchcase
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence, Sized

from ..errors import ConfigurationError, MigopyException, UnknownSubtask
from ..mongo import server_errors
from ..mongo.server import database_in
from ..run.status import UNFINISHED
from ..terminal.options import closest_word
from ..terminal.signature import signature
from ..terminal.streams import say
from ..terminal.texts import mask, summary
from ..terminal.tracebacks import team_traceback
from ..terminal.wording import plural, some

STATES = ("failed", "behind", "running")
"""What ``databases=`` may say in place of names: those that need a look, have unregistered migrations, or a run."""

FORBIDDEN = re.compile(r'[/\\. "$\0]')
MAX_NAME_BYTES = 63
"""What MongoDB demands of the name of a database: its manual, "Naming Restrictions"."""


class Target(NamedTuple):
    """One of the databases: its name for people, and where it is if it is not at ``MONGO_HOST`` or ``MONGO_URI``."""

    name: str
    uri: str | None = None
    was_there: bool = False
    """Whether it existed when the command began. One that is dropped meanwhile must not be made again."""

    @property
    def settings(self) -> dict[str, Any]:
        """The attributes of the class for this database."""
        database = {"MONGO_DATABASES": None, "MONGO_DATABASE": self.name if self.names_database else None}
        return database if self.uri is None else {**database, "MONGO_URI": self.uri}

    @property
    def names_database(self) -> bool:
        """Whether the name is that of the database; it is any word if the URI has a database."""
        return not database_in(self.uri or "")


def in_words(targets: Sequence[Target]) -> str:
    """``3 databases (a, b, c)``, or the name of the only one."""
    names = some([target.name for target in targets])
    return f"{plural(len(targets), 'database')} ({names})" if len(targets) > 1 else names


def all_targets(manager_class: type[Any], client: Callable[[], Any]) -> list[Target]:
    """The databases in ``MONGO_DATABASES``, in its order. Raises ``ConfigurationError`` if these are no names."""
    given = manager_class.MONGO_DATABASES
    if callable(given):
        given = _call(given, manager_class, client())
    names = [] if isinstance(given, str) or not isinstance(given, Iterable) else [*given]
    _require_names(names)
    uris = given if isinstance(given, Mapping) else {}
    targets = [Target(name, uris.get(name)) for name in dict.fromkeys(names)]
    _require_uris(uris)
    _require_possible_names([target.name for target in targets if target.names_database])
    return targets


def look_which_exist(targets: Sequence[Target], client: Callable[[], Any]) -> list[Target]:
    """The same, knowing which are there. A user who may not ask for that is shown those that the user may read."""
    if any(target.uri is not None for target in targets):
        return [*targets]
    with server_errors("the server of MONGO_DATABASES"):
        there = set(client().list_database_names())
    return [target._replace(was_there=target.name in there) for target in targets]


def _require_names(names: Sequence[Any]) -> None:
    """Raises ``ConfigurationError`` unless these are names, and at least one."""
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            "MONGO_DATABASES has to be a list of at least one name, or a function that returns one."
        )


def _require_uris(uris: Mapping[Any, Any]) -> None:
    """Raises ``ConfigurationError`` if one is no text."""
    if not all(isinstance(uri, str) for uri in uris.values()):
        raise ConfigurationError("MONGO_DATABASES, as a dictionary, has to have a connection string for each name.")


def _require_possible_names(names: Sequence[str]) -> None:
    """Raises ``ConfigurationError`` for a name that no database can have."""
    for name in names:
        if FORBIDDEN.search(name) or len(name.encode()) > MAX_NAME_BYTES:
            raise ConfigurationError(
                f"MONGO_DATABASES cannot have {name!r}: the name of a database has at most {MAX_NAME_BYTES} bytes and"
                ' none of / \\ . " $ or a space.'
            )


def _call(function: Callable[..., Any], manager_class: type[Any], client: Any) -> Any:
    """What the function returns, a list if it yields names. Raises ``ConfigurationError`` for what it raises."""
    try:
        # In a class, a function is a method: it may take the manager before the client, or the client alone.
        takes_manager = len(signature(function).parameters) > 1
        with server_errors("the server of MONGO_DATABASES"):
            given = function(manager_class(), client) if takes_manager else function(client)
            names = [*given] if inspect.isgenerator(given) else given
        if isinstance(names, Sized) and not names:
            raise ConfigurationError("Nothing was done: MONGO_DATABASES returned no name.")
        return names
    except MigopyException:
        raise
    except Exception as error:
        say(mask(team_traceback(error)))
        raise ConfigurationError(f"Nothing was done: MONGO_DATABASES failed ({summary(error)}).") from error


def states(status: Mapping[str, Any]) -> set[str]:
    """Which of ``STATES`` a database is in. ``status`` is the document of ``show_status``, empty if it failed."""
    if not status:
        return {"failed"}
    lock = status["lock"] or {}
    is_left = lock.get("migration") and (lock["gone"] or not lock["held"])
    has_failed = any(problem["kind"] in (*UNFINISHED, "half restored") for problem in status["problems"])
    found = {
        "failed": has_failed or is_left,
        "behind": status["unregistered"],
        "running": lock.get("held") and not lock["gone"],
    }
    return {state for state, is_so in found.items() if is_so}


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
        f" Write names, patterns such as tenant_*, all, {', '.join(STATES[:-1])} or {STATES[-1]}."
    )
