"""The rehearsal: the unregistered migrations on a copy of the database, up, down and up again, and what they change."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

from ..batches.batches import Batches
from ..errors import ConfigurationError, MigopyException, MigrationFailed
from ..files.faults import innermost_line
from ..files.migration import unrun_type
from ..mongo.failures import server_errors
from ..run.direction import EXECUTE, ROLL_BACK, Direction
from ..run.planning import load, require_transactions
from ..run.runner import NoHooks, Run, RunContext
from ..terminal import signals
from ..terminal.progress import ProgressLine
from ..terminal.texts import summary
from ..terminal.wording import byte_size, duration
from .result import Extent, Rehearsed
from .scratch.comparing import Snapshot, compare
from .scratch.copying import Copied, Copy, Original, originals
from .scratch.database import MARK
from .scratch.digest import Digester
from .scratch.raw import VIEW, server_time
from .stage import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from ..files.migration import LoadedMigration, Migration
    from ..run import Workspace
    from ..terminal.messages import ColorsLogger
    from .report import Results

SPACE = 1.2
"""How much disk there has to be for a copy, as a multiple of what is to be copied."""

UP = EXECUTE._replace(after_failure="the rehearsal ends here")
AGAIN = EXECUTE._replace(after_failure="it was up() again, after down(); the rehearsal ends here")
DOWN = ROLL_BACK._replace(after_failure="the rehearsal ends here")


class NoLock:
    """Stands in for the lock of a run: nobody else is in the scratch database."""

    was_dropped = False

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str], session: bytes | None) -> None: ...

    def give_back(self, error: BaseException | None = None) -> None: ...

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class Rehearsal:
    """Rehearses migrations on a ``stage``, with ``limit`` documents of each collection, or all.

    ``db`` is what the migrations get, the scratch database with whatever they are used to; ``workspace`` is about that
    one.
    """

    def __init__(self, stage: Stage, workspace: Workspace, db: Database[dict[str, Any]], *, limit: int | None) -> None:
        self._stage = stage
        self._source, self._scratch, self._guard = stage.source, stage.scratch, stage.guard
        self._overlooked = stage.overlooked
        self._workspace = workspace
        self._db = db
        self._limit = limit
        names = workspace.names
        self._whole = [names.migrations]
        self._ours = [MARK, names.migrations, *names.others]
        with server_errors(workspace.address):
            self._originals = originals(self._source, without=[MARK, *names.others])
        self._copied: Mapping[str, Copied] = {}

    def run(
        self,
        chosen: Sequence[Migration],
        before: Callable[[Database[dict[str, Any]]], object],
        results: Results,
        logger: ColorsLogger,
    ) -> None:
        """Copy the database and try one migration after the other, up to the first that fails.

        ``before`` is the team's ``before_rehearsal``; what is found goes into ``results``.
        """
        with self._workspace.importable():
            migrations = self.load(chosen)
            self.require_transactions(migrations)
            for warning in self._stage.warnings(self.extent):
                logger.white(warning)
            logger.white_bold(f"Copying {self.extent} to {self._stage.where}...")
            with self._on_scratch(logger):
                self._copy(results, logger)
                self.prepare(before)
                for place, migration in enumerate(migrations, start=1):
                    position = f" ({place} of {len(migrations)})" if len(migrations) > 1 else ""
                    logger.white_bold(f"Rehearsing migration {migration.name}...{position}")
                    rehearsed = self.one(migration, left=len(migrations) - place)
                    results.rehearsed.append(rehearsed)
                    if rehearsed.error:
                        raise rehearsed.error

    @contextlib.contextmanager
    def _on_scratch(self, logger: ColorsLogger) -> Iterator[None]:
        with signals.hold_back(), self._scratch as scratch, contextlib.ExitStack() as afterwards, signals.let_through():
            if scratch.keep:
                kept = f"The copy stays in {self._stage.where}, until the next rehearsal there"
                afterwards.callback(logger.white, kept)
            if scratch.left_behind:
                logger.white(f"Removed there what {scratch.left_behind} had left behind")
            yield

    def _copy(self, results: Results, logger: ColorsLogger) -> None:
        started = time.monotonic()
        self.require_space()
        with ProgressLine() as line:
            documents = self.copy(line)
        results.sampled = self.sampled
        logger.white(f"Copied {documents:,} documents in {duration(time.monotonic() - started)}")

    @property
    def sampled(self) -> Mapping[str, Copied]:
        """The collections that were not copied as a whole."""
        return {name: copied for name, copied in self._copied.items() if copied.copy < copied.original}

    # What is copied

    @property
    def extent(self) -> Extent:
        """What there is to copy, as far as MongoDB knows without counting."""
        parts = [self._part(original) for original in self._originals]
        return Extent(
            collections=sum(original.kind != VIEW for original in self._originals),
            documents=sum(round(part * original.documents) for part, original in zip(parts, self._originals)),
            size=sum(round(part * original.size) for part, original in zip(parts, self._originals)),
            storage=sum(round(part * original.storage) for part, original in zip(parts, self._originals)),
            sampled=[original.name for part, original in zip(parts, self._originals) if part < 1],
        )

    def _part(self, original: Original) -> float:
        if self._limit is None or original.name in self._whole or original.documents <= self._limit:
            return 1
        return self._limit / original.documents

    def require_transactions(self, migrations: Sequence[LoadedMigration]) -> None:
        """Raises ``ConfigurationError`` when a migration needs one, and the server of the copy has none."""
        functions = [*migrations, *(down_of(migration) for migration in migrations if migration.has_down)]
        require_transactions(functions, self._workspace, ": REHEARSAL_URI may name one. Nothing was copied.")

    def require_space(self) -> None:
        """Raises ``ConfigurationError`` when the copy needs more disk than there is, as far as the server tells."""
        with server_errors(self._workspace.address):
            stats = self._scratch.db.command("dbStats")
        if not stats.get("fsTotalSize"):
            return
        needed, free = SPACE * self.extent.storage, stats["fsTotalSize"] - stats["fsUsedSize"]
        if needed > free:
            raise ConfigurationError(
                f"The copy needs about {byte_size(needed)} of disk, and at {self._scratch.address} there are"
                f" {byte_size(free)}: take a smaller sample with documents=N, or another server with REHEARSAL_URI."
                " Nothing was copied."
            )

    def copy(self, line: ProgressLine) -> int:
        """Copy the database; how many documents there are in the copy."""
        copy = Copy(self._source, self._scratch.db, self._limit, self._whole)
        total = self.extent.documents

        def show(done: int) -> None:
            line.show(f"Copied {done:,} of about {max(done, total):,} documents", done, total)

        with server_errors(self._scratch.address):
            self._copied = copy.run(self._originals, show)
        return copy.documents

    def prepare(self, before: Callable[[Database[dict[str, Any]]], object]) -> None:
        """Let the team do something with the copy, and take a first look at it."""
        with self._guarded("before_rehearsal()"):
            try:
                instead = unrun_type(before(self._db))
            except (Exception, SystemExit) as error:  # sys.exit() must not look like success
                raise MigrationFailed(f"before_rehearsal() failed ({summary(error)}). No migration was run.") from error
        if instead:
            raise MigrationFailed(
                f"before_rehearsal() returned something of type {instead}, of which nothing has run. No migration was"
                " run."
            )
        with server_errors(self._scratch.address):
            self._digester = Digester(min(time.time(), server_time(self._scratch.db)))
            self._looked()
            if self._overlooked:  # what they do to the copy nobody is told before
                self._look.read()

    # The migrations

    def load(self, chosen: Sequence[Migration]) -> list[LoadedMigration]:
        """Import the files; what they do meanwhile is guarded, and so are the clients that they make."""
        loaded = []
        for migration in chosen:
            with self._guarded(migration.name, migration.path):
                loaded.append(load(migration, "up"))
        return loaded

    def one(self, migration: LoadedMigration, left: int) -> Rehearsed:
        """Up, down and up again; ``left`` is the number of those that come after it."""
        rehearsed = Rehearsed(migration.name)
        try:
            with server_errors(self._scratch.address):
                self._rehearse(migration, rehearsed, left)
        except MigopyException as error:
            rehearsed.error = error
        return rehearsed

    def _rehearse(self, up: LoadedMigration, rehearsed: Rehearsed, left: int) -> None:
        before = self._look
        rehearsed.seconds = self._run(UP, up, left)
        rehearsed.commands = self._commands()
        rehearsed.whole = self._whole_seconds(rehearsed)
        after = self._looked(before)
        rehearsed.changes = compare(before, after)
        if not up.has_down:
            return
        rehearsed.down_seconds = self._run(DOWN, down_of(up), left)
        back = self._looked(before, after)
        rehearsed.restored = compare(before, back)
        self._run(AGAIN, up, left)
        rehearsed.repeated = compare(after, self._looked(before, after, back))

    def _run(self, direction: Direction, migration: LoadedMigration, left: int) -> float:
        if migration.in_transaction:
            self._workspace.prepare_transactions()
        context = RunContext(
            lock=NoLock(),
            history=self._workspace.history,
            db=self._db,
            records=self._workspace.history.records(),
            hooks=NoHooks(),
            batches=lambda migration: Batches(),
            forget=_nothing,
            say=_nothing,
        )
        run = Run(direction, context)
        if migration.in_transaction:  # there the time of the last attempt counts
            self._look.read()
        look, before = self._look, self._look.seconds
        with self._guarded(migration.name, migration.migration.path, look.read), run.announced([migration]):
            seconds = run.migrate(migration, left)
        self._scratch.mark_again()
        return seconds - (look.seconds - before)

    @contextlib.contextmanager
    def _guarded(
        self, name: str, path: Path | None = None, before_write: Callable[[str | None], None] = lambda collection: None
    ) -> Iterator[None]:
        """Raises ``MigrationFailed`` when code wants to leave the scratch database, also if it has hidden that."""
        try:
            with self._guard.watching(before_write):
                yield
        except BaseException:
            if not (self._guard.stopped or self._guard.not_looked):
                raise
        if self._guard.not_looked:
            with server_errors(self._scratch.address):
                raise self._guard.not_looked
        if self._guard.stopped:
            line = innermost_line(path, self._guard.stopped) if path else None
            place = f" (line {line})" if line else ""
            raise MigrationFailed(
                f"{name}{place} was stopped: {self._guard.stopped}, which is not the copy; nothing of that was sent."
                " The rehearsal ends here.",
                migration=name,
            ) from self._guard.stopped

    def _looked(self, *known: Snapshot) -> Snapshot:
        self._look = Snapshot(self._scratch.db, self._digester, self._ours, known)
        return self._look

    def _commands(self) -> Mapping[tuple[str, str], int]:
        return {sent: number for sent, number in self._guard.commands.items() if sent[0] not in self._ours}

    def _whole_seconds(self, rehearsed: Rehearsed) -> float | None:
        """How long it may take where all documents are, by the largest of the collections that it has touched."""
        copied = [self._copied[name] for name, _ in rehearsed.commands if name in self._copied]
        times = max((one.original / one.copy for one in copied if one.copy), default=1)
        return times * (rehearsed.seconds or 0) if times > 1 else None


def down_of(up: LoadedMigration) -> LoadedMigration:
    """The other function of the file, which is not imported again."""
    return replace(up, call=up.module.down)


def _nothing(*told: object) -> None:
    """Stands in for the hooks around each migration, which are about the real one, and for what is said of it."""
