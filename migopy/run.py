"""One run under the lock: each migration executed or rolled back, and the history of it, together or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, Iterator

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from .errors import (
    LockLost,
    MigopyException,
    MigrationFailed,
    NoSuchCall,
    RegisteredMeanwhile,
    ServerFailed,
    StopTaskExecution,
)
from .history import EXECUTED, FAILED, ROLLBACK_FAILED, ROLLED_BACK, History, Record
from .loader import LoadedMigration, line_in, summary
from .lock import Lock, clock

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

NOT_IN_TRANSACTION = 263  # OperationNotSupportedInTransaction

NOT_KNOWN = "whether its transaction was committed is not known, the subtask show_status tells"


class Run:
    """Executes and rolls back loaded migrations while ``lock`` holds.

    ``before_each`` and ``after_each`` are called with the name around every migration. ``say`` is told what can go
    into no exception of ours: a Ctrl-C or ``sys.exit()`` in a migration ends ``fab`` as it would without migopy.
    """

    def __init__(
        self,
        lock: Lock,
        history: History,
        db: Database[dict[str, Any]],
        hooks: tuple[Callable[[str], None], Callable[[str], None]],
        say: Callable[[str], None],
        fab_task: str,
    ) -> None:
        self._lock = lock
        self._history = history
        self._db = db
        self._before_each, self._after_each = hooks
        self._say = say
        self._fab_task = fab_task

    def execute(self, migration: LoadedMigration, dump: str | None, after: int) -> float:
        """Run ``up()`` and register the migration; how many seconds it took.

        ``after`` is the number of migrations that will not run if this one fails. Raises ``MigrationFailed`` from
        what the team's code raised, ``LockLost`` when the lock did not last, ``ServerFailed`` when it was executed and
        could not be registered.
        """
        name = migration.name
        self._begin(name)
        with self._failures(migration, FAILED, f"it is not registered{_not_run(after)}"):
            self._before_each(name)
            started = clock()
            if migration.in_transaction:
                self._in_transaction(lambda session: self._register_and_call(migration, dump, session))
            else:
                migration.call(self._db)
        seconds = clock() - started
        if not migration.in_transaction:
            with self._explained(f"{name} was executed, but it could not be registered", "ignore", name):
                self._lock.confirm()
                self._history.register(self._record(migration, dump, seconds), self._lock.confirm)
        self._lock.end()
        with self._failures(migration, None, f"it was in after_each(), the migration is registered{_not_run(after)}"):
            self._after_each(name)
        return seconds

    def roll_back(self, migration: LoadedMigration, record: Record, dump: str | None, after: int) -> float:
        """Run ``down()`` and unregister the migration; how many seconds it took. Raises as ``execute`` does."""
        name = migration.name
        self._begin(name)
        with self._failures(migration, ROLLBACK_FAILED, f"it stays registered{_not_run(after)}"):
            self._before_each(name)
            started = clock()
            if migration.in_transaction:
                self._in_transaction(lambda session: self._unregister_and_call(migration, record, dump, session))
            else:
                migration.call(self._db)
        seconds = clock() - started
        if not migration.in_transaction:
            with self._explained(f"down() of {name} has run, but it could not be unregistered", "forget", name):
                self._lock.confirm()
                self._history.unregister(name)
            self._history.log(ROLLED_BACK, name, seconds=round(seconds, 3), executed_at=record.at, dump=dump)
        self._lock.end()
        with self._failures(migration, None, f"it was in after_each(), the migration is rolled back{_not_run(after)}"):
            self._after_each(name)
        return seconds

    def _begin(self, name: str) -> None:
        try:
            self._lock.begin()
        except (LockLost, ServerFailed) as error:
            raise type(error)(f"{error} {name} was not run.") from error

    def _record(self, migration: LoadedMigration, dump: str | None, seconds: float | None) -> Record:
        return Record(
            migration.name,
            at=self._lock.now(),
            state=EXECUTED,
            seconds=None if seconds is None else round(seconds, 3),
            checksum=migration.checksum,
            dump=dump,
        )

    @contextlib.contextmanager
    def _explained(self, fact: str, repair: str, name: str) -> Iterator[None]:
        """What a migration has done stands, whatever happens to the history; the message says both."""
        try:
            yield
        except BaseException as error:
            task = f"fab {self._fab_task}"
            way_on = f"Then look at {task}, and if no other run has done it, write {task}:{repair},{name}."
            if isinstance(error, RegisteredMeanwhile):
                self._history.log(FAILED, name, error="executed twice, another run registered it meanwhile")
                self._lock.end()
                raise RegisteredMeanwhile(
                    f"{name} has run twice: another run has registered it while this one was executing it."
                    " Look at the data."
                ) from error
            if isinstance(error, (LockLost, ServerFailed)):
                raise type(error)(f"{fact}. {error} {way_on}") from error
            self._say(f"{fact} ({summary(error)}). {way_on}")
            raise

    # In a transaction

    def _in_transaction(self, both: Callable[[ClientSession], None]) -> None:
        """Run the history's part and the migration in one transaction; PyMongo begins again after transient errors."""
        with self._db.client.start_session() as session:
            # Whatever the URI says; with another level than local a new collection could not be made (MongoDB 4.4).
            session.with_transaction(both, ReadConcern("local"), WriteConcern("majority"), ReadPreference.PRIMARY)

    def _register_and_call(self, migration: LoadedMigration, dump: str | None, session: ClientSession) -> None:
        """The history document first: with a broken lock the second of two owners fails on it, before its ``up()``."""
        started = clock()
        self._history.register(self._record(migration, dump, None), self._lock.confirm, session=session)
        migration.call(self._db, session=session)
        self._history.took(migration.name, round(clock() - started, 3), session=session)
        self._lock.confirm()

    def _unregister_and_call(
        self, migration: LoadedMigration, record: Record, dump: str | None, session: ClientSession
    ) -> None:
        started = clock()
        self._history.unregister(migration.name, session=session)
        migration.call(self._db, session=session)
        facts = {"seconds": round(clock() - started, 3), "executed_at": record.at, "dump": dump}
        self._history.log(ROLLED_BACK, migration.name, session=session, **facts)
        self._lock.confirm()

    # Failures

    @contextlib.contextmanager
    def _failures(self, migration: LoadedMigration, event: str | None, consequence: str) -> Iterator[None]:
        """Log what the team's code raises, and put the sentence before it that says what is known."""
        started = clock()
        try:
            yield
        except (LockLost, StopTaskExecution) as error:
            if migration.in_transaction or isinstance(error, StopTaskExecution):
                self._lock.end()  # nothing of it has happened, or the team knows
            raise
        except BaseException as error:
            line = line_in(migration.migration.path, error)
            place = f"line {line}, " if line else ""
            known = NOT_KNOWN if _is_unknown_commit(error) else consequence
            sentence = f"{migration.name} failed ({place}{summary(error)}): {known}."
            if event:
                sentence += self._logged(event, migration.name, round(clock() - started, 3), summary(error))
            if isinstance(error, MigopyException) and not isinstance(error, NoSuchCall):
                raise
            if isinstance(error, SystemExit) and not error.code:
                raise MigrationFailed(sentence) from None  # sys.exit() must not look like success to what comes after
            if isinstance(error, Exception):
                raise MigrationFailed(sentence + _advice(error)) from error
            self._say(sentence)
            raise

    def _logged(self, event: str, name: str, seconds: float, error: str) -> str:
        """Write the failure to the log; what to add to the sentence if that cannot be done."""
        try:
            self._history.log(event, name, seconds=seconds, error=error)
        except ServerFailed as failure:
            return f" The log could not be written either: {failure}"
        self._lock.end()
        return ""


def _not_run(after: int) -> str:
    return {0: "", 1: ", and the one after it did not run"}.get(after, f", and the {after} after it did not run")


def _is_unknown_commit(error: BaseException) -> bool:
    return isinstance(error, PyMongoError) and error.has_error_label("UnknownTransactionCommitResult")


def _advice(error: Exception) -> str:
    if isinstance(error, OperationFailure) and error.code == NOT_IN_TRANSACTION:
        return " MongoDB does not do that in a transaction: leave out the parameter session."
    return ""
