"""One run under the lock: each migration executed or rolled back, and the history of it, together or not at all."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Callable, Iterator, Literal, Mapping, NamedTuple, Sequence

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
from .history import EventKind, History, Record
from .loader import LoadedMigration, line_in
from .lock import Lock, clock
from .texts import summary

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

NOT_IN_TRANSACTION = 263  # OperationNotSupportedInTransaction

NOT_KNOWN = "whether its transaction was committed is not known, the subtask show_status tells"


class Direction(NamedTuple):
    """What differs between executing and rolling back, in words: of people, of the log, of the way on."""

    subtask: Literal["execute", "rollback"]
    doing: str
    done: str
    failure: EventKind
    after_failure: str
    after_success: str
    not_written: str
    repair: Literal["ignore", "forget"]


EXECUTE = Direction(
    subtask="execute",
    doing="Executing",
    done="Executed",
    failure="failed",
    after_failure="it is not registered",
    after_success="the migration is registered",
    not_written="{name} was executed, but it could not be registered",
    repair="ignore",
)

ROLL_BACK = Direction(
    subtask="rollback",
    doing="Rollback",
    done="Rolled back",
    failure="rollback failed",
    after_failure="it stays registered",
    after_success="the migration is rolled back",
    not_written="down() of {name} has run, but it could not be unregistered",
    repair="forget",
)


class Run:
    """Executes and rolls back loaded migrations while ``lock`` holds.

    ``hooks`` are before_each and after_each, called with the name around every migration, and ``on_failure`` with the
    name and the error when one of them, or the migration, fails. ``records`` are the
    registrations when the run began. ``dump`` is the path of the dump taken before it. ``say`` is told what can go
    into no exception of ours: a Ctrl-C or ``sys.exit()`` in a migration ends ``fab`` as it would without migopy.
    """

    def __init__(
        self,
        direction: Direction,
        lock: Lock,
        history: History,
        db: Database[dict[str, Any]],
        *,
        records: Mapping[str, Record],
        dump: str | None,
        hooks: tuple[Callable[[str], None], Callable[[str], None]],
        on_failure: Callable[[str, BaseException], None],
        say: Callable[[str], None],
        command: str,
    ) -> None:
        self._direction = direction
        self._lock = lock
        self._history = history
        self._db = db
        self._records = records
        self._dump = dump
        self._before_each, self._after_each = hooks
        self._on_failure = on_failure
        self._say = say
        self._command = command
        self.done: list[str] = []
        """The names of those that have run and whose history has been written."""

    def announce(self, migrations: Sequence[LoadedMigration]) -> None:
        """Write down what will run, before the first one does."""
        self._lock.announce([migration.name for migration in migrations])

    def one(self, migration: LoadedMigration, left: int) -> float:
        """Run ``up()`` or ``down()`` of one migration and write its history; how many seconds it took.

        ``left`` is the number of migrations that will not run if this one fails. Raises ``MigrationFailed`` from
        what the team's code raised, ``LockLost`` when the lock did not last, ``ServerFailed`` when it has run and its
        history could not be written.
        """
        self._begin(migration.name)
        with self._failures(migration, self._direction.failure, self._direction.after_failure, left):
            self._before_each(migration.name)
            started = clock()
            if migration.in_transaction:
                self._in_transaction(migration)
            else:
                migration.call(self._db)
        seconds = clock() - started
        with self._written_down():
            if not migration.in_transaction:
                self._write(migration, seconds)
        self.done.append(migration.name)
        with self._failures(migration, None, f"it was in after_each(), {self._direction.after_success}", left):
            self._after_each(migration.name)
        return seconds

    def _begin(self, name: str) -> None:
        try:
            self._lock.begin()
        except (LockLost, ServerFailed) as error:
            raise error.told(after=f"{name} was not run.") from error

    @contextlib.contextmanager
    def _written_down(self) -> Iterator[None]:
        """What is written inside says how the migration ended; only after that may the lock be given back."""
        yield
        self._lock.end()

    # The history

    def _write(self, migration: LoadedMigration, seconds: float) -> None:
        """Of a migration outside of a transaction, once it has run."""
        with self._explained(migration.name):
            self._lock.confirm()
            if self._direction is EXECUTE:
                self._history.register(self._record(migration, seconds), self._lock.confirm)
            else:
                self._history.unregister(migration.name)
        if self._direction is ROLL_BACK:
            self._log_rolled_back(migration.name, seconds)

    def _in_transaction(self, migration: LoadedMigration) -> None:
        """The history's part and the migration in one transaction; PyMongo begins again after transient errors."""

        def both(session: ClientSession) -> None:
            started = clock()
            self._write_first(migration, session)
            migration.call(self._db, session=session)
            self._write_last(migration, clock() - started, session)
            self._lock.confirm()

        with self._db.client.start_session() as session:
            # Whatever the URI says; with another level than local a new collection could not be made (MongoDB 4.4).
            session.with_transaction(both, ReadConcern("local"), WriteConcern("majority"), ReadPreference.PRIMARY)

    def _write_first(self, migration: LoadedMigration, session: ClientSession) -> None:
        """With a broken lock the second of two owners fails on this, before its ``up()``."""
        if self._direction is EXECUTE:
            self._history.register(self._record(migration, None), self._lock.confirm, session=session)
        else:
            self._history.unregister(migration.name, session=session)

    def _write_last(self, migration: LoadedMigration, seconds: float, session: ClientSession) -> None:
        if self._direction is EXECUTE:
            self._history.took(migration.name, round(seconds, 3), session=session)
        else:
            self._log_rolled_back(migration.name, seconds, session)

    def _record(self, migration: LoadedMigration, seconds: float | None) -> Record:
        return Record(
            migration.name,
            at=self._lock.now(),
            state="executed",
            seconds=None if seconds is None else round(seconds, 3),
            checksum=migration.checksum,
            dump=self._dump,
        )

    def _log_rolled_back(self, name: str, seconds: float, session: ClientSession | None = None) -> None:
        executed_at = self._records[name].at
        facts = {"seconds": round(seconds, 3), "executed_at": executed_at, "dump": self._dump}
        self._history.log("rolled back", name, session=session, **facts)

    # Failures

    @contextlib.contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """What a migration has done stands, whatever happens to the history; the message says both."""
        try:
            yield
        except RegisteredMeanwhile as error:
            with self._written_down():
                self._history.log("failed", name, error="executed twice, another run registered it meanwhile")
            raise RegisteredMeanwhile(
                f"{name} has run twice: another run has registered it while this one was executing it."
                " Look at the data.",
                migration=name,
            ) from error
        except BaseException as error:
            fact = self._direction.not_written.format(name=name)
            way_on = f"{self._command}:{self._direction.repair},{name}"
            advice = f"Then look at {self._command}, and if no other run has done it, write {way_on}."
            if isinstance(error, (LockLost, ServerFailed)):
                raise error.told(f"{fact}.", advice) from error
            self._say(f"{fact} ({summary(error)}). {advice}")
            raise

    @contextlib.contextmanager
    def _failures(
        self, migration: LoadedMigration, event: EventKind | None, consequence: str, left: int
    ) -> Iterator[None]:
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
            known = NOT_KNOWN if _is_unknown_commit(error) else f"{consequence}{_not_run(left)}"
            sentence = f"{migration.name} failed ({place}{summary(error)}): {known}."
            if event:
                sentence += self._logged(event, migration.name, round(clock() - started, 3), summary(error))
            self._tell_the_team(migration.name, error)
            if isinstance(error, MigopyException) and not isinstance(error, NoSuchCall):
                raise
            if isinstance(error, SystemExit) and not error.code:
                # sys.exit() must not look like success to what comes after
                raise MigrationFailed(sentence, migration=migration.name) from None
            if isinstance(error, Exception):
                raise MigrationFailed(sentence + _advice(error), migration=migration.name) from error
            self._say(sentence)
            raise

    def _tell_the_team(self, name: str, error: BaseException) -> None:
        """What on_failure() raises, be it ``sys.exit()`` or a second Ctrl-C, changes nothing: the failure counts."""
        try:
            self._on_failure(name, error)
        except BaseException as another:
            self._say(f"on_failure() failed itself, which changes nothing: {summary(another)}.")

    def _logged(self, event: EventKind, name: str, seconds: float, error: str) -> str:
        """Write the failure to the log; what to add to the sentence if that cannot be done."""
        try:
            with self._written_down():
                self._history.log(event, name, seconds=seconds, error=error)
        except ServerFailed as failure:
            return f" The log could not be written either: {failure}"
        return ""


def _not_run(left: int) -> str:
    return {0: "", 1: ", and the one after it did not run"}.get(left, f", and the {left} after it did not run")


def _is_unknown_commit(error: BaseException) -> bool:
    return isinstance(error, PyMongoError) and error.has_error_label("UnknownTransactionCommitResult")


def _advice(error: Exception) -> str:
    if isinstance(error, OperationFailure) and error.code == NOT_IN_TRANSACTION:
        return " MongoDB does not do that in a transaction: leave out the parameter session."
    return ""
