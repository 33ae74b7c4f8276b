"""The rehearsal: tries the unregistered migrations on a copy of the database, up, down and up again."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Sequence

from ..batches.batches import Batches
from ..errors import CheckFailed, Irreversible, MigopyException, MigrationFailed
from ..files.allowances import OTHER_VALUES
from ..files.faults import innermost_line
from ..files.migration import unrun_type
from ..mongo.failures import server_errors
from ..mongo.kind import has_transactions
from ..run.direction import EXECUTE, ROLL_BACK, Direction
from ..run.planning import load, require_transactions, restore_kept
from ..run.requirements import unmet_requirements
from ..run.runner import NoHooks, Run, RunContext
from ..run.watcher import Watcher
from ..settings import Hooks
from ..terminal import signals
from ..terminal.progress import ProgressLine
from ..terminal.texts import summary
from ..terminal.wording import duration, stopper
from .ahead import LookAhead
from .copy_job import CopyJob
from .preflight import Questions, Scale
from .result import RehearsedMigration
from .scratch.comparing import Snapshot, compare, only_values_differ
from .scratch.database import MARK
from .scratch.digest import Digester
from .scratch.raw import server_time
from .stage import Stage
from .walks import RecordedTrail

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from ..files.migration import LoadedMigration, Migration
    from ..run import Workspace
    from ..terminal.messages import ColorsLogger
    from .ahead import OtherDatabase
    from .report import Results

UP = EXECUTE._replace(after_failure="the rehearsal ends here", again="")
UP_AGAIN = UP._replace(after_failure="this was the second up(), after down(); the rehearsal ends here")
DOWN = ROLL_BACK._replace(after_failure="the rehearsal ends here", again="")

SEARCHES = {"find", "getMore", "aggregate", "count", "distinct", "update", "delete", "findAndModify", "collStats"}
"""Commands that look for documents."""


class NoLock:
    """The lock of a run in the scratch database, which nobody else uses."""

    was_dropped = False

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str], session: bytes | None, in_batches: Sequence[str]) -> None: ...

    def give_back(self, error: BaseException | None = None) -> None: ...

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class Rehearsal:
    """Rehearses migrations on a ``stage``, with ``limit`` documents of each collection, or all.

    Afterwards the real database is asked what they will do to it, for at most so many seconds, unless that is None, and
    so are ``others``, for which it stands.

    ``db`` is what the migrations get: the scratch database, with the legacy calls if they need them. ``workspace`` is
    about the scratch database too. ``original`` is what ``require()`` gets: the real database, to be read.
    """

    def __init__(
        self,
        stage: Stage,
        workspace: Workspace,
        db: Database[dict[str, Any]],
        original: Database[dict[str, Any]],
        limit: int | None,
        preflight_seconds: float | None,
        others: Sequence[OtherDatabase] = (),
    ) -> None:
        self._stage = stage
        self._original = original
        self._scratch, self._guard = stage.scratch, stage.guard
        self._workspace = workspace
        self._db = db
        self._preflight_seconds = preflight_seconds
        self._others = others
        self._copy_job = CopyJob(stage.source, stage.scratch, workspace.names, limit=limit)
        self._say: Callable[[str], None] = _do_nothing
        self._show: Callable[[str], None] = _do_nothing
        self._own_collections = [MARK, workspace.names.migrations, *workspace.names.others]

    def run(
        self,
        chosen: Sequence[Migration],
        before: Callable[[Database[dict[str, Any]]], object],
        results: Results,
        logger: ColorsLogger,
    ) -> None:
        """Copy the database and rehearse one migration after the other, up to the first that fails.

        ``before`` is the team's ``before_rehearsal``. What is found is put into ``results``.
        """
        with self._workspace.on_sys_path():
            migrations = self._load(chosen)
            self._require_transactions(migrations)
            for unmet in unmet_requirements(migrations, self._original, self._stage.source_address):
                raise CheckFailed(f"execute would stop: {unmet} Nothing was copied.")
            with self.open_copy(before, results, logger):
                self._take_first_snapshot()
                self._rehearse_all(migrations, results, logger)
            error = next((each.error for each in results.rehearsed if each.error), None)
            # If the server is gone, it has no answers; a failed migration may find in them why it failed.
            if self._preflight_seconds is not None and (error is None or isinstance(error, MigrationFailed)):
                source = self._stage.source
                questions = Questions(source, self._preflight_seconds, hides_values=is_overridden(before))
                self._look_ahead(migrations, results.rehearsed, questions)
            if error:
                raise error

    def _rehearse_all(self, migrations: Sequence[LoadedMigration], results: Results, logger: ColorsLogger) -> None:
        """One migration after the other, up to the first that fails."""
        for place, migration in enumerate(migrations, start=1):
            position = f" ({place} of {len(migrations)})" if len(migrations) > 1 else ""
            logger.white_bold(f"Rehearsing migration {migration.name}...{position}")
            results.rehearsed.append(self._rehearse(migration, left=len(migrations) - place))
            if results.rehearsed[-1].error:
                return

    @contextlib.contextmanager
    def open_copy(
        self, before: Callable[[Database[dict[str, Any]]], object], results: Results, logger: ColorsLogger
    ) -> Iterator[Database[dict[str, Any]]]:
        """Copy the database and let ``before`` change the copy, which is dropped at the end."""
        self._say = logger.white
        extent = self._copy_job.extent
        for warning in self._stage.warnings(extent):
            logger.white(warning)
        logger.white_bold(f"Copying {extent} to {self._stage.where}...")
        try:
            with self._open_scratch(logger):
                self._copy(results, logger)
                self._prepare(before)
                yield self._scratch.db
        except KeyboardInterrupt as error:
            removed = "" if self._scratch.keep else ", and the copy is removed"
            logger.white(f"Stopped by {stopper(summary(error))}{removed}")
            raise

    def _look_ahead(
        self, migrations: Sequence[LoadedMigration], rehearsed: Sequence[RehearsedMigration], questions: Questions
    ) -> None:
        """Ask the real database what each migration will do to it, and those for which it stands."""
        with server_errors(self._stage.source_address):
            has_oplog = has_transactions(self._stage.source.client)
        scale = Scale(self._workspace.settings.PREFLIGHT_DOCUMENTS, has_oplog, factors={})
        ahead = LookAhead(questions, scale, self._copy_job.counts, migrations, rehearsed)
        ahead.ask()
        with ProgressLine(self._say) as line:
            ahead.ask_others(self._others, line.step)

    def _load(self, chosen: Sequence[Migration]) -> list[LoadedMigration]:
        # Guarded too: a file may write when it is imported, and the guard sees the clients that it makes.
        loaded = []
        for migration in chosen:
            with self._inside_copy(migration.name, migration.path):
                loaded.append(load(migration, "up"))
        return loaded

    def _require_transactions(self, migrations: Sequence[LoadedMigration]) -> None:
        functions = [*migrations, *filter(None, map(_down_of, migrations))]
        next_step = "set REHEARSAL_URI to a replica set. Nothing was copied."
        require_transactions(functions, self._workspace, next_step)

    @contextlib.contextmanager
    def _open_scratch(self, logger: ColorsLogger) -> Iterator[None]:
        # A signal can interrupt the work inside, and not the dropping afterwards.
        with signals.hold_back(), self._scratch as scratch, contextlib.ExitStack() as afterwards, signals.let_through():
            if scratch.keep:
                kept = f"The copy is kept in {self._stage.where} until the next rehearsal there"
                afterwards.callback(logger.white, kept)
            if scratch.left_behind:
                logger.white(f"Removed the copy that {scratch.left_behind} had left behind")
            yield

    def _copy(self, results: Results, logger: ColorsLogger) -> None:
        started = time.monotonic()
        self._copy_job.require_space()
        with ProgressLine() as line:
            documents = self._copy_job.run(line)
        results.sampled = self._copy_job.sampled
        logger.white(f"Copied {documents:,} documents in {duration(time.monotonic() - started)}")
        if self._copy_job.left_out:
            logger.white(f"Documents that expire within an hour are not copied: {self._copy_job.left_out}")

    def _prepare(self, before: Callable[[Database[dict[str, Any]]], object]) -> None:
        """Let the team change the copy."""
        with self._workspace.on_sys_path(), self._inside_copy("before_rehearsal()"):
            try:
                kind = unrun_type(before(self._db))
            except (Exception, SystemExit) as error:  # sys.exit() must not look like success
                raise MigrationFailed(f"before_rehearsal() failed ({summary(error)}). No migration was run.") from error
        if kind:
            raise MigrationFailed(
                f"before_rehearsal() returned an object of type {kind}, and nothing in it has run. Write a plain"
                " function. No migration was run."
            )

    def _take_first_snapshot(self) -> None:
        with server_errors(self._scratch.address):
            self._digester = Digester(min(time.time(), server_time(self._scratch.db)))
            self._take_snapshot()
            if self._stage.unguarded_clients:  # the guard does not see what they write
                self._snapshot.read_documents()

    # One migration

    def _rehearse(self, migration: LoadedMigration, left: int) -> RehearsedMigration:
        """Up, down and up again; ``left`` is the number of migrations after this one."""
        rehearsed = RehearsedMigration(migration.name)
        with ProgressLine(self._say) as line:
            self._show = lambda step: line.step(f"{migration.name}: {step}")
            try:
                with server_errors(self._scratch.address):
                    self._up_down_up(migration, rehearsed, left)
            except MigopyException as error:
                rehearsed.error = error
        return rehearsed

    def _up_down_up(self, up: LoadedMigration, rehearsed: RehearsedMigration, left: int) -> None:
        before = self._snapshot
        self._show("up()")
        try:
            rehearsed.seconds = self._run(UP, up, left)
        finally:
            rehearsed.commands = self._commands_of_the_team()
            sent = self._guard.recorder.sent
            rehearsed.sent = [each for each in sent if each.collection not in self._own_collections]
        rehearsed.whole_seconds = self._estimate_whole_seconds(rehearsed)
        after = self._take_snapshot(before)
        rehearsed.changes = compare(before, after)
        rehearsed.missing = _only_searched(rehearsed.commands) - {*before.states, *after.states}
        rehearsed.allowed = up.allowances.get(OTHER_VALUES)
        rehearsed.down_from_kept = up.restores_what_it_kept
        down = _down_of(up)
        if down is None:
            return
        self._show("down()")
        rehearsed.irreversible = self._run_down(down, left, after)
        if rehearsed.irreversible:
            return
        back = self._take_snapshot(before, after)
        rehearsed.not_restored = compare(before, back)
        self._show("up() again")
        self._run(UP_AGAIN, up, left)
        again = self._take_snapshot(before, after, back)
        rehearsed.different_again = compare(after, again)
        rehearsed.only_values_differ = only_values_differ(after, again, rehearsed.different_again)

    def _run_down(self, down: LoadedMigration, left: int, after: Snapshot) -> str | None:
        """Run ``down()``; its words if it takes nothing back, but raises ``NotImplementedError``."""
        try:
            self._run(DOWN, down, left)
        except Irreversible as error:
            if compare(after, self._take_snapshot(after)):
                raise
            return error.reason
        return None

    def _run(self, direction: Direction, migration: LoadedMigration, left: int) -> float:
        """Run one function of the migration; returns how many seconds it took, without those of the snapshot."""
        if migration.in_transaction:
            self._workspace.prepare_transactions()
        trail = RecordedTrail(migration.name, direction.function, lambda: self._guard.recorder)
        batches = Batches(trail, kept=self._workspace.kept, rejected=self._workspace.rejected)
        context = RunContext(
            lock=NoLock(),
            history=self._workspace.history,
            db=self._db,
            records=self._workspace.history.records(),
            hooks=NoHooks(),
            batches=lambda migration: batches,
            forget=_do_nothing,
            say=_do_nothing,
            watcher=Watcher(self._stage.db.client, self._say, tell=_do_nothing),
        )
        run = Run(direction, context)
        snapshot = self._snapshot
        if migration.in_transaction:  # only its last attempt is timed, which may not be the one that reads
            snapshot.read_documents()
        reading_before = snapshot.seconds
        path = migration.migration.path
        with self._inside_copy(migration.name, path, snapshot.read_documents), run.announced([migration]):
            seconds = run.migrate(migration, left)
        self._scratch.mark_again()
        for walked in batches.walked:
            if walked.is_missing and direction is not UP_AGAIN:
                self._say(f"{migration.name}: {walked}")
        return seconds - (snapshot.seconds - reading_before)

    @contextlib.contextmanager
    def _inside_copy(
        self, name: str, path: Path | None = None, before_write: Callable[[str | None], None] = lambda collection: None
    ) -> Iterator[None]:
        """Raises ``MigrationFailed`` if the code inside wanted to leave the copy, even if it has caught the error."""
        try:
            with self._guard.watch(before_write):
                yield
        except BaseException:
            # An error of the guard is explained below, whatever the code has made of it.
            if not (self._guard.stopped or self._guard.before_write_error):
                raise
        if self._guard.before_write_error:
            with server_errors(self._scratch.address):
                raise self._guard.before_write_error
        if self._guard.stopped:
            line = innermost_line(path, self._guard.stopped) if path else None
            place = f" (line {line})" if line else ""
            raise MigrationFailed(
                f"{name}{place} was stopped: {self._guard.stopped}, and the rehearsal ends here.",
                migration=name,
            ) from self._guard.stopped

    def _take_snapshot(self, *known: Snapshot) -> Snapshot:
        self._snapshot = Snapshot(
            self._scratch.db, self._digester, self._own_collections, known, lambda name: self._show(f"comparing {name}")
        )
        return self._snapshot

    def _commands_of_the_team(self) -> Mapping[tuple[str, str], int]:
        sent = self._guard.commands.items()
        return {command: number for command, number in sent if command[0] not in self._own_collections}

    def _estimate_whole_seconds(self, rehearsed: RehearsedMigration) -> float | None:
        """About how long ``up()`` takes with all documents; None if it used no sample."""
        counts = self._copy_job.counts
        # By the largest of the collections that it has used.
        used = [counts[name] for name, _ in rehearsed.commands if name in counts]
        factor = max((each.original / each.copy for each in used if each.copy), default=1)
        return factor * (rehearsed.seconds or 0) if factor > 1 else None


def _only_searched(commands: Iterable[tuple[str, str]]) -> set[str]:
    """The collections to which nothing was sent but what looks for documents there, to read or to change them."""
    made_or_dropped = {collection for collection, command in commands if command not in SEARCHES}
    return {collection for collection, _ in commands} - made_or_dropped


def _down_of(up: LoadedMigration) -> LoadedMigration | None:
    """``down()`` of the same file, which is not imported again; None if it has none and does not keep everything."""
    if up.restores_what_it_kept:
        return replace(up, call=restore_kept)
    return replace(up, call=up.module.down) if up.has_down else None


def is_overridden(before_rehearsal: Callable[..., object]) -> bool:
    """Whether the team changes the copy: then it may mask what nobody should read."""
    return getattr(before_rehearsal, "__func__", None) is not Hooks.before_rehearsal


def _do_nothing(*args: object) -> None:
    """Stands in for hooks and messages, which are for real runs."""
