"""The exceptions of migopy.

MigopyException          exit code 1 unless stated otherwise
  ConfigurationError
  UnknownSubtask
  MigrationNotFound
  BadMigration
  WrongState
  MigrationFailed
    Irreversible
  BatchFailed
    DocumentsRejected
  NoSuchCall
  ServerFailed
    NotAllowed
  DumpFailed
  LockHeld               exit code 3
  LockLost               exit code 3
    RegisteredMeanwhile
  CheckFailed            exit code 4
StopTaskExecution        not an error
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Iterator, TypeVar

Failure = TypeVar("Failure", bound="MigopyException")


class MigopyException(Exception):  # noqa: N818 - the name comes from 1.0
    """An expected failure. Its text is one sentence that tells a person what to do.

    The task that ``create_task()`` makes prints the text in red and ends ``fab`` with ``exit_code`` (int).
    ``migration`` (str) is the name of the migration file, or None if the failure is not about a single file.
    """

    exit_code = 1

    def __init__(self, text: str = "", *, migration: str | None = None) -> None:
        super().__init__(text)
        self.migration = migration

    def with_context(self: Failure, before: str = "", after: str = "") -> Failure:
        """Add text before and after the text of this exception, and return the exception."""
        self.args = (" ".join(filter(None, [before, str(self), after])),)
        return self


class ConfigurationError(MigopyException):
    """A setting is missing or wrong, or the server that it names cannot be used."""


class UnknownSubtask(MigopyException):
    """The subtask does not exist, or it does not take these options."""


class MigrationNotFound(MigopyException):
    """No migration file has this name, or several files match a short name."""


class BadMigration(MigopyException):
    """The file cannot be imported, has a wrong name, or has no usable ``up`` or ``down``."""


class WrongState(MigopyException):
    """The migration is already registered, is not registered, or was interrupted, or its ``require()`` raised."""


class MigrationFailed(MigopyException):
    """The team's own code raised ``__cause__``, which is printed with its traceback."""


class Irreversible(MigrationFailed):
    """``down()`` raised ``NotImplementedError``; ``reason`` (str) is its text."""

    def __init__(self, text: str = "", *, migration: str | None = None, reason: str = "") -> None:
        super().__init__(text, migration=migration)
        self.reason = reason


class BatchFailed(MigopyException):
    """A batch failed, or ``Batches`` got wrong arguments. The text names the document, if one is to blame.

    ``reason`` (str) is why that document cannot be changed, and empty if none is to blame.
    """

    def __init__(self, text: str = "", *, migration: str | None = None, reason: str = "") -> None:
        super().__init__(text, migration=migration)
        self.reason = reason


class DocumentsRejected(BatchFailed):
    """``batches.update(..., errors=N)`` has set documents aside, so the migration is not complete."""


class NoSuchCall(MigopyException):
    """MongoDB or PyMongo has removed this call, and migopy does not replace it."""


class ServerFailed(MigopyException):
    """MongoDB cannot be reached, or refused a command. ``answers`` (bool) is True if it still answers."""

    def __init__(self, text: str = "", *, answers: bool = True) -> None:
        super().__init__(text)
        self.answers = answers


class NotAllowed(ServerFailed):
    """The database user lacks a right."""


@contextlib.contextmanager
def already_done(deed: str) -> Iterator[None]:
    """Add to a failure what has succeeded before it: ``1_a.py is unregistered``."""
    try:
        yield
    except ServerFailed as error:
        error.with_context(before=f"{deed}, but this could not be recorded:")
        raise


class LockHeld(MigopyException):
    """Another run holds the lock. ``by`` (str) is its user@host, ``since`` (datetime) is when it took the lock."""

    exit_code = 3

    def __init__(self, text: str = "", *, by: str | None = None, since: datetime | None = None) -> None:
        super().__init__(text)
        self.by = by
        self.since = since


class LockLost(MigopyException):
    """The lease of this run expired. ``answers`` (bool) is False if no server answers any more."""

    exit_code = 3

    def __init__(self, text: str = "", *, migration: str | None = None, answers: bool = True) -> None:
        super().__init__(text, migration=migration)
        self.answers = answers


class RegisteredMeanwhile(LockLost):
    """Another run registered the migration while this one was executing it."""


def no_server_answers(error: BaseException | None) -> bool:
    """Whether the error says that no server answers. Another command would only wait again."""
    return isinstance(error, (ServerFailed, LockLost)) and not error.answers


class DumpFailed(MigopyException):
    """``mongodump`` or ``mongorestore`` is not installed, or failed."""


class CheckFailed(MigopyException):
    """``check``, ``plan`` or ``rehearse`` found a problem."""

    exit_code = 4


class StopTaskExecution(Exception):  # noqa: N818 - the name comes from 1.0
    """Ends the task without an error. ``task_hook`` or any code that the task runs may raise it."""
