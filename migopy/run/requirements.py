"""What migrations require of the database: their ``require(db)``, called before the first ``up()`` of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Sequence

from .. import legacy
from ..errors import WrongState
from ..files.faults import innermost_line
from ..files.migration import unrun_type
from ..mongo.failures import server_errors
from ..mongo.transaction_guard import NotInTransaction, watch_writes
from ..terminal.signature import takes_session
from ..terminal.texts import one_line, summary

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from ..files.migration import LoadedMigration


def unmet_requirements(loaded: Sequence[LoadedMigration], db: Database[Any], address: str) -> Iterator[WrongState]:
    """An error for each migration whose ``require()`` raises."""
    asking = [migration for migration in loaded if migration.require]
    if not asking:
        return
    with server_errors(address), db.client.start_session() as session:
        for migration in asking:
            why = _why_unmet(migration, db, session)
            if why:
                name = migration.name
                yield WrongState(f"{name} cannot run yet: {why}. No migration was run.", migration=name)


def _why_unmet(migration: LoadedMigration, db: Database[Any], session: ClientSession) -> str | None:
    require: Any = migration.require
    path = migration.migration.path
    try:
        # The session is in no transaction, so every write is refused.
        with watch_writes(db.client, session):
            database = legacy.database_for(db, migration.content)
            result = require(database, **{"session": session} if takes_session(require) else {})
            kind = unrun_type(result)
    except NotInTransaction as error:
        return f"require() may only read the database, and it writes{_place(path, error)}"
    except (Exception, SystemExit) as error:  # sys.exit() must not look like success
        return _words(error) or f"{summary(error)}{_place(path, error)}"
    if kind:
        return f"require() returned an object of type {kind}, and nothing in it has run: write a plain function"
    return "require() returned False" if result is False else None


def _place(path: Path, error: BaseException) -> str:
    line = innermost_line(path, error)
    return f" (line {line})" if line else ""


def _words(error: BaseException) -> str:
    """What the author wrote for the reader; an unexpected error has its type before it."""
    text = one_line(error).rstrip(".")
    return text if not text or isinstance(error, (AssertionError, RuntimeError)) else summary(error)
