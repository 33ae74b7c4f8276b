"""One run under the lock: each migration executed or rolled back, and the history of it, together or not at all."""

from __future__ import annotations

import contextlib
import functools
import inspect
import time
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from pymongo.errors import NetworkTimeout, OperationFailure

from .. import legacy
from ..errors import (
    BatchFailed,
    LockLost,
    MigopyException,
    MigrationFailed,
    NoSuchCall,
    RegisteredMeanwhile,
    ServerFailed,
    StopTaskExecution,
    already_done,
    no_server_answers,
)
from ..files.faults import line_in
from ..files.migration import LoadedMigration, not_run
from ..mongo.client import RETRY_PAUSE, abandoning_nothing
from ..mongo.clock import clock
from ..mongo.transaction import Transaction
from ..store.history import EventKind
from ..terminal import signals
from ..terminal.texts import summary
from ..terminal.wording import duration
from .context import Direction, RunContext
from .registrar import Registrar

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession


# Error codes of MongoDB (src/mongo/base/error_codes.yml).
NOT_IN_TRANSACTION = 263  # OperationNotSupportedInTransaction
TRANSACTION_ENDED = (251, 290)  # NoSuchTransaction, TransactionExceededLifetimeLimitSeconds

NOT_KNOWN = "whether its transaction was committed is not known, the subtask show_status tells"


class NotRun(Exception):  # noqa: N818 - it stands in a sentence
    """The team's function has returned something that would still have to be run."""


class Run:
    """Executes and rolls back loaded migrations while the lock holds."""

    _client_session: ClientSession | None = None
    _transaction: Transaction | None = None
    _waits = False

    def __init__(self, direction: Direction, context: RunContext) -> None:
        self._direction = direction
        self._lock = context.lock
        self._history = context.history
        self._db = context.db
        self._hooks = context.hooks
        self._batches = context.batches
        self._forget = context.forget
        self._say = context.say
        self._task = context.task
        self._registrar = Registrar(
            direction, context.lock, context.history, context.records, context.dump, context.say
        )
        self.done: list[str] = []
        """The names of those that have run and whose history has been written."""

    @contextlib.contextmanager
    def announced(self, migrations: Sequence[LoadedMigration]) -> Iterator[None]:
        """Around all of them: what will run is written down before the first one does; in the end the lock is free."""
        with contextlib.ExitStack() as stack:
            if any(migration.in_transaction for migration in migrations):
                self._client_session = stack.enter_context(self._db.client.start_session())
            session = bytes(self._client_session.session_id["id"]) if self._client_session else None
            self._lock.announce([migration.name for migration in migrations], session)
            try:
                yield
            except BaseException as error:
                with contextlib.suppress(MigopyException):
                    self._give_back(error)
                raise
            self._give_back()

    def _give_back(self, error: BaseException | None = None) -> None:
        """The lock, with the history whole: also where only the giving back shows that something has dropped both."""
        if not no_server_answers(error):
            self._registrar.repair()
            self._lock.give_back(error)
            self._registrar.repair()

    def migrate(self, migration: LoadedMigration, left: int) -> float:
        """Run ``up()`` or ``down()`` of one migration and write its history; how many seconds it took.

        ``left`` is the number of migrations that will not run if this one fails. Raises ``MigrationFailed`` from
        what the team's code raised, ``LockLost`` when the lock did not last, ``ServerFailed`` when it has run and its
        history could not be written.
        """
        self._begin(migration.name, left)
        self._registrar.may_have_dropped = migration.name if migration.may_drop else None
        with self._failures(migration, self._direction.failure, self._direction.after_failure, left):
            self._call(self._hooks.before_each, migration.name)
            seconds = self._in_transaction(migration) if migration.in_transaction else self._perform(migration)
        if not migration.in_transaction:
            self._write(migration, seconds)
        self.done.append(migration.name)
        with already_done(f"{migration.name}: {self._direction.after_success}"):
            self._registrar.repair()
            if migration.in_batches:
                self._forget(migration.name)
        with self._failures(migration, None, f"it was in after_each(), {self._direction.after_success}", left):
            self._call(self._hooks.after_each, migration.name)
        return seconds

    def _begin(self, name: str, left: int) -> None:
        """Whatever is raised before the last line: the migration has not begun."""
        try:
            self._lock.confirm()
            signals.raise_pending()
        except (LockLost, ServerFailed) as error:
            error.with_context(after=f"{name} was not run.")
            raise
        except KeyboardInterrupt as error:
            self._say(f"{summary(error)}: {name} was not run{_not_run(left)}.")
            raise
        self._lock.begin()

    def _perform(self, migration: LoadedMigration, session: ClientSession | None = None) -> float:
        """Call ``up()`` or ``down()`` with what it asks for; how many seconds it took."""
        started = clock()
        with self._batches(migration) if migration.in_batches else contextlib.nullcontext() as batches:
            offered = {"session": session, "batches": batches}
            self._call(migration.call, self._db, **{name: offered[name] for name in migration.asks_for})
        seconds = clock() - started
        self._verify(migration, session)
        return seconds

    def _verify(self, migration: LoadedMigration, session: ClientSession | None) -> None:
        """Let ``verify()`` of the file look at what ``up()`` has done, before that counts."""
        verify = migration.verify if self._direction.executes else None
        if verify:
            asks_for_session = "session" in inspect.signature(verify).parameters
            self._call(verify, self._db, **{"session": session} if asks_for_session else {})

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        """Call the team's code: here a signal ends it, and here a process ends that it has forked."""
        with abandoning_nothing(self._db.client, self._client_session), signals.let_through():
            instead = not_run(function(*args, **options))
        if instead:
            name = getattr(function, "__name__", "it")
            raise NotRun(f"{name}() returned something of type {instead}, of which nothing has run")

    # The history

    @contextlib.contextmanager
    def _written_down(self) -> Iterator[None]:
        """What is written inside says how the migration ended; only after that may the lock be given back."""
        yield
        self._lock.end()

    def _write(self, migration: LoadedMigration, seconds: float) -> None:
        """Of a migration outside of a transaction, once it has run."""
        with self._unwritten(migration.name), self._written_down():
            self._lock.confirm()
            self._registrar.register(migration, seconds)
        with already_done(f"{migration.name}: {self._direction.after_success}"):
            if not self._direction.executes:
                self._registrar.log_rolled_back(migration.name, seconds)
            self._registrar.remember(migration, seconds)

    def _in_transaction(self, migration: LoadedMigration) -> float:
        """The history's part and the migration in one transaction, which may begin again; how many seconds it took."""
        session = self._client_session
        assert session is not None  # announced() has made it
        took: list[float] = []

        def both() -> None:
            self._lock.confirm()
            self._registrar.register_first(migration, session)
            took.append(self._perform(migration, session))
            self._registrar.register_last(migration, took[-1], session)
            self._lock.confirm()

        self._transaction = Transaction(session, functools.partial(self._begin_again, migration.name))
        with self._written_down():
            self._transaction.run(both)
        self._registrar.remember(migration, took[-1])
        return took[-1]

    # Failures

    @contextlib.contextmanager
    def _unwritten(self, name: str) -> Iterator[None]:
        """What a migration has done stands, whatever happens to the history; the message says both."""
        try:
            yield
        except RegisteredMeanwhile as error:
            sentence = (
                f"{name} has run twice: another run has registered it while this one was executing it. Look at the"
                " data."
            )
            what = "executed twice, another run registered it meanwhile"
            raise RegisteredMeanwhile(self._logged(sentence, "failed", name, error=what), migration=name) from error
        except BaseException as error:
            fact = self._direction.not_written.format(name=name)
            next_step = f"{self._task}:{self._direction.repair},{name}"
            advice = f"Then look at {self._task}, and if no other run has done it, write {next_step}."
            with self._said_anyway(f"{fact}. {advice}"):
                advice += self._logged_as_interrupted(name, error)
            if isinstance(error, (LockLost, ServerFailed)):
                error.with_context(f"{fact}.", advice)
            else:
                self._say(f"{fact} ({summary(error)}). {advice}")
            raise

    @contextlib.contextmanager
    def _said_anyway(self, sentence: str) -> Iterator[None]:
        """What has failed is told also where another signal ends the waiting for the log."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._say(f"{sentence} Whether it stands in the log is not known.")
            raise

    def _logged_as_interrupted(self, name: str, error: BaseException) -> str:
        """So that no run executes it again unasked; what to add to the sentence if it could not be logged.

        Where no server answers the lock says the same: it is left to run out.
        """
        if no_server_answers(error) or not isinstance(error, Exception):
            return ""
        try:
            with self._written_down():
                if (name in self._history.registered()) != self._direction.executes:
                    self._history.log("interrupted", name, error=summary(error))
        except ServerFailed as failure:
            return f" The log could not be written either: {failure}"
        return ""

    @contextlib.contextmanager
    def _failures(
        self, migration: LoadedMigration, event: EventKind | None, consequence: str, left: int
    ) -> Iterator[None]:
        """Log what the team's code raises, and put the sentence before it that says what is known."""
        started = clock()
        try:
            yield
        except LockLost as error:
            if migration.in_transaction:
                self._lock.end()  # nothing of it has happened
            elif event:
                with self._said_anyway(str(error)):
                    self._logged_as_interrupted(migration.name, error)
            raise
        except BaseException as error:
            is_open = self._transaction is not None and self._transaction.is_open_question
            known = NOT_KNOWN if is_open else f"{consequence}{_not_run(left)}"
            sentence = f"{migration.name} failed ({_place(migration, error)}{summary(error)}): {known}."
            if event:
                seconds = round(clock() - started, 3)
                sentence = self._logged(sentence, event, migration.name, seconds=seconds, error=summary(error))
            self._tell_the_team(migration.name, error)
            self._raise_failure(migration, error, sentence)
            raise

    def _raise_failure(self, migration: LoadedMigration, error: BaseException, sentence: str) -> None:
        """Raises ``MigrationFailed`` with the sentence, unless the error itself is to be raised on."""
        if isinstance(error, MigopyException) and not isinstance(error, (NoSuchCall, BatchFailed)):
            if isinstance(error, ServerFailed) and migration.in_transaction:
                error.with_context(before=f"Nothing of {migration.name} has happened, for its history is part of it:")
            return
        if isinstance(error, (StopTaskExecution, NotRun)) or (isinstance(error, SystemExit) and not error.code):
            # sys.exit() must not look like success to what comes after
            raise MigrationFailed(sentence, migration=migration.name) from None
        if isinstance(error, Exception):
            raise MigrationFailed(sentence + _advice(error), migration=migration.name) from error
        self._say(sentence)

    def _tell_the_team(self, name: str, error: BaseException) -> None:
        """What on_failure() raises, be it ``sys.exit()`` or a second Ctrl-C, changes nothing: the failure counts."""
        try:
            with signals.contained():
                self._hooks.on_failure(name, error)
        except BaseException as another:
            self._say(f"on_failure() failed itself, which changes nothing: {summary(another)}.")

    def _logged(self, sentence: str, event: EventKind, name: str, **facts: Any) -> str:
        """Write the failure to the log; the sentence about it, with what is to be added if that cannot be done.

        A server that refuses it has answered: the lock is given back all the same, for what failed is tried again.
        """
        try:
            with self._said_anyway(sentence), self._written_down():
                self._history.log(event, name, **facts)
        except ServerFailed as failure:
            if failure.answers:
                self._lock.end()
            return f"{sentence} The log could not be written either: {failure}"
        return sentence

    def _begin_again(self, name: str, error: Exception, seconds: float) -> None:
        """Say why a transaction begins again, after how long; of the waiting for its first write only once."""
        if not isinstance(error, ServerFailed):
            self._say(f"{name} begins again from the start after {duration(seconds)}: {summary(error)}")
        elif not self._waits:
            self._say(f"Waiting for another transaction, such as one that a run left behind when it died: {error}")
        self._waits = isinstance(error, ServerFailed)
        with signals.let_through():
            time.sleep(RETRY_PAUSE)


def _place(migration: LoadedMigration, error: BaseException) -> str:
    """Where in the team's file it failed, as far as that is known: ``line 12, verify(), ``."""
    line = line_in(migration.migration.path, error)
    place = f"line {line}, " if line else ""
    return place + ("verify(), " if migration.is_from_verify(error) else "")


def _not_run(left: int) -> str:
    return {0: "", 1: ", and the one after it did not run"}.get(left, f", and the {left} after it did not run")


def _advice(error: Exception) -> str:
    code = error.code if isinstance(error, OperationFailure) else None
    if code == NOT_IN_TRANSACTION:
        return " MongoDB does not do that in a transaction: leave out the parameter session."
    if code in TRANSACTION_ENDED:
        return (
            " MongoDB ends a transaction after transactionLifetimeLimitSeconds, 60 unless somebody has set it: do less"
            " in one, or leave out the parameter session."
        )
    if isinstance(error, NetworkTimeout):
        return " MongoDB may still be at work on it: look at db.currentOp() before it is executed again."
    of_pymongo_2 = legacy.advice(error)
    return f" {of_pymongo_2}" if of_pymongo_2 else ""
