"""One run under the lock: each migration executed or rolled back, and its history written, together or not at all.

Between ``fab`` and ``up()`` these context managers are entered, in this order:

1.  ``terminal.signals.handle_signals``: Ctrl-C, SIGTERM and SIGHUP raise ``KeyboardInterrupt``.
2.  ``outcome.print_json_at_end``, only with ``json=yes``: stdout is sent to stderr, one document is printed at the end.
3.  ``terminal.signals.hold_back``: from here on a signal takes effect only inside of ``let_through``.
4.  ``store.Lock``: a thread renews the lock, which ``Workspace.hold_lock`` has taken.
5.  ``files.importing.on_sys_path``: the folder of the fabfile is on ``sys.path``.
6.  ``legacy.warnings_shown``, when ``db`` is first used: each call of PyMongo 2 and 3 is shown once.
7.  ``Run.announced``: the names of the migrations are in the lock; at the end the lock is given back.
8.  ``Outcome.record``, for each migration: its result, for the document of 2.
9.  ``Run._explain_failures``: what the team's code raises is logged and becomes ``MigrationFailed``. Inside of it, for
    a migration with a parameter ``session``, ``mongo.transaction.Transaction`` runs the rest, perhaps several times.
10. ``Watcher.watch``: where it takes long, its thread (which 7 has started) says what the server is doing.
11. ``batches.Batches``, for a migration with a parameter ``batches``: tells at the end how far it is.
12. ``mongo.client.end_commands_on_signal``: the server ends the commands of an interrupted migration.
13. ``terminal.signals.let_through``: signals take effect at once. With ``contain_forks``, a forked process ends here.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Protocol, Sequence

from bson.errors import InvalidBSON
from pymongo.errors import AutoReconnect, NetworkTimeout, OperationFailure

from .. import legacy
from ..batches.batches import Batches
from ..batches.control import Control, NoControl
from ..errors import (
    BatchFailed,
    DocumentsRejected,
    Irreversible,
    LockLost,
    MigopyException,
    MigrationFailed,
    NoSuchCall,
    RegisteredMeanwhile,
    ServerFailed,
    StopTaskExecution,
    WrongState,
    already_done,
    no_server_answers,
)
from ..files.faults import innermost_line
from ..files.migration import LoadedMigration, NotVerified, irreversible_words, unrun_type
from ..mongo.client import end_commands_on_signal
from ..mongo.clock import clock
from ..mongo.transaction import Transaction
from ..mongo.transaction_guard import NotInTransaction, guard_of, watch_writes
from ..store.history import EventKind, History, Record
from ..terminal import signals
from ..terminal.progress import ProgressLine
from ..terminal.signature import takes_session
from ..terminal.texts import summary
from ..terminal.wording import stopper
from .direction import Direction, RunLock
from .registrar import Registrar
from .retries import Retries
from .watcher import Watcher

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from ..terminal import ColorsLogger


# Error codes of MongoDB (src/mongo/base/error_codes.yml).
NOT_IN_TRANSACTION = 263  # OperationNotSupportedInTransaction
TRANSACTION_ENDED = (251, 290)  # NoSuchTransaction, TransactionExceededLifetimeLimitSeconds


class NotRun(Exception):  # noqa: N818 - people read the name in front of its text
    """The team's function returned something that has not run yet."""


class Hooks(Protocol):
    """The methods of a team's class that a run calls; a ``MigrationsManager`` has them."""

    def before_each(self, name: str) -> None:
        return None

    def after_each(self, name: str) -> None:
        return None

    def on_failure(self, name: str, error: BaseException) -> None:
        return None

    def throttle(self, db: Database[dict[str, Any]]) -> str | None:
        return None


class Team(Hooks, Protocol):
    """The team's class, for a run on the real database."""

    logger: ColorsLogger

    @property
    def db(self) -> Database[dict[str, Any]]: ...

    def dump_before_run(self) -> Mapping[str, Any]: ...


class NoHooks(Hooks):
    """A rehearsal does not call the hooks, which belong to the real database."""


HOOKS = [name for name in vars(Hooks) if not name.startswith("_")]


@dataclass(frozen=True)
class RunContext:
    """What a run works with.

    ``records`` are the registrations at its beginning, ``dump`` the facts about the dump taken before. ``batches``
    makes the batches of a migration, ``forget`` deletes the checkpoints of one that has ended, ``watcher``
    says what the server is doing, ``control`` pauses and stops the run. ``say`` shows a message where no exception of
    ours can carry it: Ctrl-C or ``sys.exit()`` in a migration ends ``fab`` as without migopy.
    """

    lock: RunLock
    history: History
    db: Database[dict[str, Any]]
    records: Mapping[str, Record]
    hooks: Hooks
    batches: Callable[[LoadedMigration], Batches]
    forget: Callable[[str], None]
    say: Callable[[str], None]
    watcher: Watcher
    control: Control = field(default_factory=NoControl)
    task: str = "fab migrations"
    dump: Mapping[str, Any] = field(default_factory=dict)


class Run:
    """Executes or rolls back loaded migrations while the lock holds."""

    _client_session: ClientSession | None = None
    _transaction: Transaction | None = None
    _retries: Retries | None = None
    _has_called = False
    """Whether ``up()`` or ``down()`` of the present migration has begun."""

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
        self._watcher = context.watcher
        self._control = context.control
        self._registrar = Registrar(
            direction, context.lock, context.history, context.records, context.dump, context.say
        )
        self.finished: list[str] = []
        """The names of the migrations that have run and whose history is written."""
        self.seconds: float | None = None
        """What the last migration took, also if it failed; None if it has not begun."""

    @property
    def walks(self) -> list[dict[str, Any]] | None:
        """What the last migration did in batches."""
        return self._registrar.walks

    @contextlib.contextmanager
    def announced(self, migrations: Sequence[LoadedMigration]) -> Iterator[None]:
        """Write the names of all migrations into the lock; at the end, give the lock back."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._watcher)
            if any(migration.in_transaction for migration in migrations):
                self._client_session = stack.enter_context(self._db.client.start_session())
            session = bytes(self._client_session.session_id["id"]) if self._client_session else None
            in_batches = [migration.name for migration in migrations if migration.in_batches]
            self._lock.announce([migration.name for migration in migrations], session, in_batches)
            try:
                yield
            except BaseException as error:
                with contextlib.suppress(MigopyException):
                    self._give_back(error)
                raise
            self._give_back()

    def _give_back(self, error: BaseException | None = None) -> None:
        """Give back the lock, with the history complete."""
        if not no_server_answers(error):
            self._registrar.repair()
            self._lock.give_back(error)
            self._registrar.repair()  # giving it back may have shown that both were dropped

    def migrate(self, migration: LoadedMigration, left: int) -> float:
        """Run ``up()`` or ``down()`` of one migration and write its history; the seconds it took.

        ``left`` is the number of migrations that will not run if this one fails. Raises ``MigrationFailed`` from what
        the team's code raised, ``LockLost`` if the lock was lost, ``ServerFailed`` if the migration has run and its
        history could not be written.
        """
        self.seconds = None
        self._begin(migration.name, left)
        self._registrar.may_have_dropped = migration.name if migration.may_drop else None
        self._registrar.kept = {}
        with self._explain_failures(migration, left):
            self._call(self._hooks.before_each, migration.name)
            seconds = self._in_transaction(migration) if migration.in_transaction else self._perform(migration)
        self.seconds = seconds
        if not migration.in_transaction:
            self._write(migration, seconds)
        self.finished.append(migration.name)
        with already_done(f"{migration.name}: {self._direction.after_success}"):
            self._registrar.repair()
            if migration.in_batches:
                self._forget(migration.name)
        with self._explain_failures(migration, left, ended=f"it was in after_each(), {self._direction.after_success}"):
            self._call(self._hooks.after_each, migration.name)
        return seconds

    def _begin(self, name: str, left: int) -> None:
        """Check that the migration may begin. If this raises, it has not begun."""
        try:
            self._lock.confirm()
            signals.raise_pending()
            self._wait_while_paused(name)
        except (LockLost, ServerFailed) as error:
            error.with_context(after=f"{name} was not run.")
            raise
        except KeyboardInterrupt as error:
            self._say(f"Stopped by {stopper(summary(error))}: {name} was not run{_and_left(left)}.")
            raise
        self._lock.begin()
        self._has_called, self._registrar.walks = False, None

    def _wait_while_paused(self, name: str) -> None:
        with ProgressLine(self._say) as line, signals.let_through():
            self._control.wait(lambda reason: line.show(f"{name} has not begun; {reason}", 0, None))

    def _perform(self, migration: LoadedMigration, session: ClientSession | None = None) -> float:
        """Call ``up()`` or ``down()`` with the arguments that it asks for; the seconds it took."""
        started, db = clock(), legacy.database_for(self._db, migration.content)
        with watch_writes(self._db.client, session), self._watcher.watch(migration.name, session):
            with self._batches(migration) if migration.in_batches else contextlib.nullcontext() as batches:
                offered = {"session": session, "batches": batches}
                self._has_called = True
                self._call(migration.call, db, **{name: offered[name] for name in migration.asks_for})
            if batches:
                self._registrar.walks = [walked.facts() for walked in batches.walked] or None
                if batches and self._direction.executes:
                    self._registrar.kept = batches.kept_facts()
            seconds = round(clock() - started, 3)
            self._verify(migration, db, session)
        return seconds

    def _verify(self, migration: LoadedMigration, db: Database[Any], session: ClientSession | None) -> None:
        """Call ``verify()`` of the file, if there is one, after ``up()``."""
        verify = migration.verify if self._direction.executes else None
        if verify and self._call(verify, db, **{"session": session} if takes_session(verify) else {}) is False:
            raise NotVerified("verify() returned False")

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function of the team: only here can a signal interrupt the run."""
        with end_commands_on_signal(self._db.client, self._client_session), signals.let_through():
            result = function(*args, **options)
            kind = unrun_type(result)
        if kind:
            name = getattr(function, "__name__", "it")
            raise NotRun(f"{name}() returned an object of type {kind}, and nothing in it has run")
        return result

    # The history

    @contextlib.contextmanager
    def _end_migration(self) -> Iterator[None]:
        """Around writing how the migration ended. Unless that fails, the lock may be given back afterwards."""
        yield
        self._lock.end()

    def _write(self, migration: LoadedMigration, seconds: float) -> None:
        """Write the history of a migration outside of a transaction, after it has run."""
        with self._explain_unwritten(migration.name), self._end_migration():
            self._lock.confirm()
            self._registrar.register(migration, seconds)
        with already_done(f"{migration.name}: {self._direction.after_success}"):
            if not self._direction.executes:
                self._registrar.log_rolled_back(migration.name, seconds)
            self._registrar.remember(migration, seconds)

    def _in_transaction(self, migration: LoadedMigration) -> float:
        """Run a migration and write its history in one transaction; the seconds that its last attempt took."""
        session = self._client_session
        assert session is not None  # announced() has started it
        took: list[float] = []

        def migrate_and_register() -> None:
            self._lock.confirm()
            self._registrar.register_before(migration, session)
            took.append(self._perform(migration, session))
            self._registrar.complete_after(migration, took[-1], session)
            self._lock.confirm()

        self._retries = Retries(migration, self._db.client, self._say)
        self._transaction = Transaction(session, self._retries)
        with self._end_migration():
            self._transaction.run(migrate_and_register)
        self._registrar.remember(migration, took[-1])
        return took[-1]

    # Failures

    @contextlib.contextmanager
    def _explain_unwritten(self, name: str) -> Iterator[None]:
        """Say that a migration has run, if its history cannot be written."""
        try:
            yield
        except RegisteredMeanwhile as error:
            sentence = f"{name} ran twice: another run registered it while this one was executing it. Check the data."
            what = "executed twice, another run registered it meanwhile"
            sentence = self._log(sentence, "failed", name, error=what)
            raise RegisteredMeanwhile(sentence, migration=name) from error
        except BaseException as error:
            fact = self._direction.not_written.format(name=name)
            state = "not registered" if self._direction.executes else "registered"
            advice = (
                f"Next, check {self._task}: if {name} is still {state} and no other run is at work, type"
                f" {self._task}:{self._direction.repair},{name}."
            )
            with self._say_if_interrupted(f"{fact}. {advice}"):
                advice += self._log_interrupted(name, error)
            if isinstance(error, (LockLost, ServerFailed)):
                error.with_context(f"{fact}.", advice)
            else:
                self._say(f"{fact} ({summary(error)}). {advice}")
            raise

    @contextlib.contextmanager
    def _say_if_interrupted(self, sentence: str) -> Iterator[None]:
        """Around writing to the log: say what failed even if a second signal interrupts that."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self._say(f"{sentence} It may be missing from the log.")
            raise

    def _log_interrupted(self, name: str, error: BaseException) -> str:
        """Log the migration as interrupted, so that no run repeats it; what to add to the message if that fails."""
        if no_server_answers(error) or not isinstance(error, Exception):
            return ""  # the lock is left to run out, which tells the next run the same
        try:
            with self._end_migration():
                if (name in self._history.records()) != self._direction.executes:
                    self._history.log("interrupted", name, error=summary(error))
        except ServerFailed as failure:
            return f" The log could not be written either: {failure}"
        return ""

    @contextlib.contextmanager
    def _explain_failures(self, migration: LoadedMigration, left: int, ended: str = "") -> Iterator[None]:
        """Log what the team's code raises, and say what it means.

        ``ended`` is what that changes if the migration has already ended; then nothing is logged.
        """
        started = clock()
        try:
            yield
        except LockLost as error:
            if migration.in_transaction:
                self._lock.end()  # it has changed nothing
            elif not ended:
                with self._say_if_interrupted(str(error)):
                    self._log_interrupted(migration.name, error)
            raise
        except BaseException as error:
            if not ended:
                self.seconds = round(clock() - started, 3)
            if self._is_commit_unknown:
                left_behind, known = "", f"it is not known whether its transaction was committed, check {self._task}"
            else:
                left_behind = "" if ended else self._left_behind(migration, error)
                known = f"{ended or self._direction.after_failure}{_and_left(left)}"
            sentence = self._failure_sentence(migration, error, known) + left_behind
            if isinstance(error, WrongState) or self._is_refusal(migration, error):
                self._lock.end()  # what the log says of the failure before still holds
            elif not ended:
                sentence = self._log_failure(sentence, migration, error)
            self._call_on_failure(migration.name, error)
            self._raise_failure(migration, error, sentence)
            raise

    @property
    def _is_commit_unknown(self) -> bool:
        return self._transaction is not None and self._transaction.is_commit_unknown

    def _is_refusal(self, migration: LoadedMigration, error: BaseException) -> bool:
        """Whether ``down()`` has only said that it takes nothing back: all that it wrote was in its transaction."""
        guard = guard_of(self._db.client)
        has_written = not migration.in_transaction and (guard is None or guard.has_written)
        return migration.is_irreversible(error) and not has_written

    def _failure_sentence(self, migration: LoadedMigration, error: BaseException, known: str) -> str:
        name, place = migration.name, _place(migration, error)
        in_line = f" ({place.rstrip(', ')})" if place else ""
        if migration.is_irreversible(error):
            fact = "Nothing was changed" if self._is_refusal(migration, error) else "down() had already written"
            return f"{name} cannot be taken back{in_line}: {irreversible_words(error).rstrip('.')}. {fact}: {known}."
        if isinstance(error, NotInTransaction):
            return f"{name} failed{in_line}: {error}. Nothing of the migration has happened: {known}."
        if isinstance(error, KeyboardInterrupt):
            return f"{name} was stopped by {stopper(summary(error))}{in_line}: {known}."
        if isinstance(error, DocumentsRejected):
            return f"{name} is not complete{in_line}, {error}: {known}."
        return f"{name} failed ({place}{summary(error)}): {known}."

    def _left_behind(self, migration: LoadedMigration, error: BaseException) -> str:
        """What a failed migration leaves in the database, and the next step."""
        if migration.is_irreversible(error):
            forget = f"{self._task}:forget,{migration.name}" if self._is_refusal(migration, error) else ""
            return f" {forget} deletes its record and leaves its changes." if self._direction.again and forget else ""
        if not self._direction.again:
            return ""
        again = f"{self._task}:{self._direction.again.format(name=migration.name)}"
        fix = again if isinstance(error, KeyboardInterrupt) else f"Fix it, then {again}"
        if migration.in_transaction:
            undone = "" if isinstance(error, NotInTransaction) else " Nothing of it stays: its transaction was undone."
            return f"{undone} {fix} runs it again."
        if not self._has_called:
            return f" {self._direction.function}() did not run."
        return f" {self._changes_and_next_step(migration, error, again, fix)}"

    def _changes_and_next_step(self, migration: LoadedMigration, error: BaseException, again: str, fix: str) -> str:
        """What stays of a migration outside of a transaction; ``again`` is the next command, ``fix`` the advice."""
        if migration.is_raised_by_verify(error):
            return f"What up() changed stays. Check the data, then {again} runs up() again."
        if isinstance(error, DocumentsRejected):
            shown = f"{self._task}:rejected,{migration.name}"
            return f"{shown} shows them. Fix them or the file, then {again} tries them again."
        if isinstance(error, AutoReconnect):  # without the log, the next run takes it for interrupted
            named = f"{self._task}:{'execute' if self._direction.executes else 'rollback'},{migration.name}"
            fix = f"Once MongoDB answers, check the data, then {named}"
        runs = "continues where it stopped" if migration.in_batches else "runs it again"
        return f"What it had changed stays. {fix} {runs}."

    def _raise_failure(self, migration: LoadedMigration, error: BaseException, sentence: str) -> None:
        """Raises ``MigrationFailed`` with the sentence, or returns if the error itself is to be raised."""
        if migration.is_irreversible(error):
            shown = None if self._is_refusal(migration, error) else error
            raise Irreversible(sentence, migration=migration.name, reason=irreversible_words(error)) from shown
        if isinstance(error, MigopyException) and not isinstance(error, (NoSuchCall, BatchFailed)):
            if isinstance(error, ServerFailed) and migration.in_transaction:
                error.with_context(
                    before=f"Nothing of {migration.name} was applied, because its registration is part of the same"
                    " transaction:",
                    after=(self._retries.advice(error) if self._retries else "").strip(),
                )
            return
        has_no_line = isinstance(error, (StopTaskExecution, NotRun, NotVerified))
        if has_no_line or (isinstance(error, SystemExit) and not error.code):
            # sys.exit() in a migration must not look like success to the next command.
            raise MigrationFailed(sentence, migration=migration.name) from None
        if isinstance(error, (Exception, NotInTransaction)):
            raise MigrationFailed(sentence + self._advice(migration, error), migration=migration.name) from error
        self._say(sentence)

    def _advice(self, migration: LoadedMigration, error: BaseException) -> str:
        if migration.in_transaction:
            return (self._retries.advice(error) if self._retries else "") or _advice(error)
        guard = guard_of(self._db.client)
        if isinstance(error, InvalidBSON) and guard and guard.unread_write:
            return (
                f" The write was done: MongoDB has carried out this {guard.unread_write}, and PyMongo cannot read the"
                " document in its answer. update_one changes a document without reading it."
            )
        return _advice(error)

    def _call_on_failure(self, name: str, error: BaseException) -> None:
        try:
            with signals.contain_forks():
                self._hooks.on_failure(name, error)
        except BaseException as another:  # even sys.exit() or a second Ctrl-C: the failure itself matters more
            self._say(f"on_failure() itself failed, which changes nothing: {summary(another)}.")

    def _log_failure(self, sentence: str, migration: LoadedMigration, error: BaseException) -> str:
        """Write to the log what ended the migration; the sentence, and more if that fails."""
        event = self._direction.stop if isinstance(error, KeyboardInterrupt) else self._direction.failure
        is_undone = migration.in_transaction and not self._is_commit_unknown
        facts = {"seconds": self.seconds, "error": summary(error), "transaction": is_undone or None}
        phase = "before_each" if not self._has_called else "verify" if migration.is_raised_by_verify(error) else None
        return self._log(sentence, event, migration.name, phase=phase, **facts)

    def _log(self, sentence: str, event: EventKind, name: str, **facts: Any) -> str:
        """Write an event to the log; the sentence, and more if that fails."""
        try:
            with self._say_if_interrupted(sentence), self._end_migration():
                self._history.log(event, name, **facts)
        except ServerFailed as failure:
            if failure.answers:
                self._lock.end()  # the lock is given back all the same: a failed migration may run again
            return f"{sentence} The log could not be written either: {failure}"
        return sentence


def _place(migration: LoadedMigration, error: BaseException) -> str:
    """Where in the team's file it failed, as far as that is known: ``line 12, verify(), ``."""
    line = innermost_line(migration.migration.path, error)
    place = f"line {line}, " if line else ""
    return place + ("verify(), " if migration.is_raised_by_verify(error) else "")


def _and_left(left: int) -> str:
    return {0: "", 1: ", and the one after it did not run"}.get(left, f", and the {left} after it did not run")


def _advice(error: BaseException) -> str:
    code = error.code if isinstance(error, OperationFailure) else None
    if code == NOT_IN_TRANSACTION:
        return " MongoDB cannot do that in a transaction: remove the parameter session."
    if code in TRANSACTION_ENDED:
        return (
            " MongoDB ends a transaction after transactionLifetimeLimitSeconds, by default 60: do less in one, or"
            " remove the parameter session."
        )
    if isinstance(error, NetworkTimeout):
        return " MongoDB may still be working on it: check db.currentOp() before you execute it again."
    of_pymongo_2 = legacy.advice(error)
    return f" {of_pymongo_2}" if of_pymongo_2 else ""
