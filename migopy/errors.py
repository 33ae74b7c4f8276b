"""What can go wrong, and what each kind of failure means for the exit code of ``fab``."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Iterator, TypeVar

Failure = TypeVar("Failure", bound="MigopyException")


class MigopyException(Exception):  # noqa: N818 - the name is that of 1.0
    """An expected failure: its text is one sentence that a person can act on.

    The task that ``create_task()`` makes shows it as one red line and ends ``fab`` with ``exit_code``. ``migration`` is
    the name of the file that it is about, None where it is about no single one.
    """

    exit_code = 1

    def __init__(self, text: str = "", *, migration: str | None = None) -> None:
        super().__init__(text)
        self.migration = migration

    def with_context(self: Failure, before: str = "", after: str = "") -> Failure:
        """The same failure, its text between what else is to be said where it is caught."""
        self.args = (" ".join(filter(None, [before, str(self), after])),)
        return self


class ConfigurationError(MigopyException):
    """A class attribute is missing or wrong, or the server that it names cannot be used."""


class UnknownSubtask(MigopyException):
    """No such subtask, or it does not take such an option."""


class MigrationNotFound(MigopyException):
    """No such migration file, or more than one that a short name fits."""


class BadMigration(MigopyException):
    """A file that cannot be imported, lacks ``up`` or ``down``, or whose name does not fit."""


class WrongState(MigopyException):
    """The migration is already registered, is not registered, or was interrupted."""


class MigrationFailed(MigopyException):
    """The team's own code raised; ``__cause__`` is what it raised, shown with its traceback."""


class BatchFailed(MigopyException):
    """A batch could not be done, or what was asked of batches makes no sense. Names the document, if it was one."""


class NoSuchCall(MigopyException):
    """A call that MongoDB or PyMongo no longer has, and for which migopy does not stand in."""


class ServerFailed(MigopyException):
    """MongoDB is not there, went away, or refused what was asked of it; that last is an answer (``answers``)."""

    def __init__(self, text: str = "", *, answers: bool = True) -> None:
        super().__init__(text)
        self.answers = answers


class NotAllowed(ServerFailed):
    """The user of the settings lacks a right."""


@contextlib.contextmanager
def already_done(deed: str) -> Iterator[None]:
    """Around writing down what has been done, so that a failure says first that it has: ``1_a.py is unregistered``."""
    try:
        yield
    except ServerFailed as error:
        error.with_context(before=f"{deed}, but that could not be written down:")
        raise


class LockHeld(MigopyException):
    """Another run holds the lock: that of ``by`` (user@host), since then."""

    exit_code = 3

    def __init__(self, text: str = "", *, by: str | None = None, since: datetime | None = None) -> None:
        super().__init__(text)
        self.by = by
        self.since = since


class LockLost(MigopyException):
    """The lease of this run ran out before it could be renewed; then perhaps no server answers (``answers``)."""

    exit_code = 3

    def __init__(self, text: str = "", *, migration: str | None = None, answers: bool = True) -> None:
        super().__init__(text, migration=migration)
        self.answers = answers


class RegisteredMeanwhile(LockLost):
    """Another run has registered the migration that this one was executing."""


def no_server_answers(error: BaseException | None) -> bool:
    """Whether no server answers, so that asking it for something more would only be waiting again."""
    return isinstance(error, (ServerFailed, LockLost)) and not error.answers


class DumpFailed(MigopyException):
    """``mongodump`` or ``mongorestore`` is not installed, or failed."""


class CheckFailed(MigopyException):
    """``check``, ``plan`` or ``rehearse`` found something."""

    exit_code = 4


class StopTaskExecution(Exception):  # noqa: N818 - the name is that of 1.0
    """Raised by ``task_hook``, or by anything the task runs, to end the task quietly. Not an error."""
