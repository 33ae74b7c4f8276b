"""One migration under test: run as ``execute`` and ``rollback`` run it, in a database of its own."""

from __future__ import annotations

import time
from pathlib import Path
from traceback import FrameSummary
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping
from unittest import mock

from pymongo.database import Database

from ..errors import MigopyException, MigrationFailed
from ..files.allowances import OTHER_VALUES, example_of_allow
from ..manager import MigrationsManager
from ..rehearsal import Results, open_stage
from ..rehearsal.preflight.questions import ALL_SECONDS
from ..rehearsal.report import change_lines
from ..rehearsal.scratch.comparing import Change, Snapshot, compare, only_values_differ
from ..rehearsal.scratch.digest import Digester
from ..rehearsal.scratch.raw import server_time
from ..terminal import ColorsLogger
from ..terminal.signature import takes_session
from ..terminal.texts import one_line
from ..terminal.tracebacks import is_team_frame
from .client import STOPPER, Stopped, shared_client
from .databases import new_name
from .server import server_uri

if TYPE_CHECKING:
    from ..files.migration import LoadedMigration
    from ..rehearsal.result import RehearsedMigration

# pytest leaves out the lines of this file when a test fails, and so does MigrationTestCase.
__tracebackhide__ = True

MAX_STOPS = 1_000
"""How often ``assert_resumes()`` stops a migration at most."""


class MigrationTest:
    """One migration in a database that only this test has, with the documents of the test in it.

    ``db`` (``pymongo.database.Database``) is what ``up()`` and ``down()`` get. The database is dropped by ``close()``.
    """

    def __init__(
        self,
        manager: type[MigrationsManager],
        folder: Path,
        name: str,
        collections: Mapping[str, Iterable[Mapping[str, Any]]],
        after: str | None = None,
    ) -> None:
        self._manager = _for_tests(manager, folder)()
        self._manager.mongo_client = shared_client()
        self._collections = {collection: [*documents] for collection, documents in collections.items()}
        self._after = after
        self._names = self._manager._workspace().names
        try:
            self.name: str = self._call(self._manager._workspace().inventory().name, name)
            self.db: Database[dict[str, Any]] = self._manager.db
            self._begin()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the database."""
        self._manager.mongo_client.drop_database(self._manager.MONGO_DATABASE or "")
        self._manager.close()

    def up(self) -> None:
        """Execute the migration. Raises what ``up()``, ``verify()`` or ``require()`` raised, from its own line."""
        self._call(self._manager.execute, self.name)

    def down(self) -> None:
        """Roll the migration back. Raises what ``down()`` raised, from its own line."""
        self._call(self._manager.rollback, self.name)

    def verify(self) -> None:
        """Call ``verify()`` of the file again, which ``up()`` has called already."""
        check = self._load().verify
        if check is None:
            raise AssertionError(f"{self.name} has no verify().")
        session = {"session": None} if takes_session(check) else {}
        if check(self.db, **session) is False:
            raise AssertionError(f"verify() of {self.name} returned False.")

    def documents(self, collection: str) -> list[dict[str, Any]]:
        """The documents of a collection, in the order of their ``_id``s."""
        return list(self.db[collection].find().sort("_id", 1))

    def assert_restored(self) -> None:
        """Fail unless the database is as it was before ``up()``, in documents, indexes, options and views."""
        self._fail_for(f"down() of {self.name} does not restore everything:", compare(self._first, self._snapshot()))

    def assert_repeatable(self) -> None:
        """Fail unless ``up()`` does the same again after ``down()``. Other values may be meant: ``ALLOW``."""
        if not self._is_registered:
            self.up()
        before = self._snapshot()
        self.down()
        self.up()
        again = self._snapshot(before)
        changes = compare(before, again)
        if not (OTHER_VALUES in self._load().allowances and only_values_differ(before, again, changes)):
            self._fail_for(f"the second up() of {self.name} differs from the first:", changes)

    def assert_resumes(self) -> None:
        """Fail unless ``up()``, stopped after any of its batches and executed again, ends as if it ran at once."""
        # Small batches, so that a few documents are enough to stop between them.
        with mock.patch("migopy.batches.pace.FIRST_BATCH", 1):
            self._begin_anew()
            self.up()
            whole = self._snapshot()
            for place in range(1, MAX_STOPS):
                self._begin_anew()
                if not self._up_stopped_at(place):
                    return
                self.up()
                changes = compare(whole, self._snapshot(whole))
                self._fail_for(f"{self.name}, stopped at its batch {place} and executed again, differs:", changes)

    def assert_clean(self) -> None:
        """Fail if ``up()`` would lose values of these documents, meet duplicates, or do what else a preflight warns of.

        What ``ALLOW`` in the file names is allowed. Afterwards the database is as it was before ``up()``.
        """
        self._begin_anew()
        rehearsed: RehearsedMigration = self._call(self._rehearse)
        grave = [finding for finding in rehearsed.preflight or () if finding.is_grave]
        if grave:
            lines = [f"{self.name} will have trouble with data like these:", *(f"  {one_line(each)}" for each in grave)]
            lines.append(f"If that is known, write {example_of_allow(grave[0].kind)} into the file.")
            raise AssertionError("\n".join(lines))

    def _rehearse(self) -> RehearsedMigration:
        workspace, results = self._manager._workspace(), Results()
        chosen = workspace.inventory().to_execute(self.name, None)
        with open_stage(workspace, self._manager.MongoClient, keep=False) as stage:
            rehearsal = self._manager._rehearsal(stage, None, ALL_SECONDS)
            rehearsal.run(chosen, _do_nothing, results, self._manager.logger)
        return results.rehearsed[0]

    def _up_stopped_at(self, place: int) -> bool:
        """Run ``up()`` and stop it before the note of a batch is written. Returns whether it has so many batches."""
        STOPPER.begin(self._names.batches, place)
        try:
            self.up()
        except Stopped:
            return True
        finally:
            STOPPER.end()
        return False

    @property
    def _is_registered(self) -> bool:
        return self.name in self._manager._workspace().history.records()

    def _load(self) -> LoadedMigration:
        workspace = self._manager._workspace()
        file = next(file for file in workspace.inventory().files if file.name == self.name)
        with workspace.on_sys_path():
            return file.load("up")

    def _begin(self) -> None:
        """Run the earlier migrations, and insert the documents of the test."""
        if self._after is not None:
            self._call(self._manager.execute, to=self._after)
        for collection, documents in self._collections.items():
            if documents:
                self.db[collection].insert_many([{**document} for document in documents])
        self._digester = Digester(min(time.time(), server_time(self.db)))
        self._first = self._snapshot()
        self._first.read_documents()

    def _begin_anew(self) -> None:
        self._manager.mongo_client.drop_database(self.db.name)
        self._begin()

    def _snapshot(self, *known: Snapshot) -> Snapshot:
        own = [self._names.migrations, *self._names.others]
        snapshot = Snapshot(self.db, self._digester, own, known or ())
        snapshot.read_documents()
        return snapshot

    def _fail_for(self, title: str, changes: list[Change]) -> None:
        real = [change for change in changes if change.is_real]
        if real:
            raise AssertionError("\n".join([title, *change_lines(real)]))

    def _call(self, subtask: Callable[..., Any], *options: str, **named: str) -> Any:
        try:
            return subtask(*options, **named)
        except MigopyException as error:
            cause = error.__cause__ if isinstance(error, MigrationFailed) else None
            failure = cause or error
        _cut_to_team_lines(failure)
        raise failure  # outside of the block, or its context would be the error that it is the cause of


def _cut_to_team_lines(error: BaseException | None) -> None:
    """Leave only the team's lines in the tracebacks of an error and of its causes."""
    while error is not None:
        keep_lines(error, _is_team_line)
        error = error.__cause__


def _is_team_line(trace: TracebackType) -> bool:
    code = trace.tb_frame.f_code
    return is_team_frame(FrameSummary(code.co_filename, trace.tb_lineno, code.co_name, lookup_line=False))


def keep_lines(error: BaseException, is_kept: Callable[[TracebackType], bool]) -> None:
    """Leave only some lines in the traceback of an error."""
    lines, trace = [], error.__traceback__
    while trace:
        lines.append(trace)
        trace = trace.tb_next
    cut: TracebackType | None = None
    for line in filter(is_kept, reversed(lines)):
        cut = TracebackType(cut, line.tb_frame, line.tb_lasti, line.tb_lineno)
    error.__traceback__ = cut


def _do_nothing(*_: object) -> None:
    """Stands in for the hooks."""


class Silence(ColorsLogger):
    """Shows nothing: a test says itself what went wrong."""

    def _say(self, *message: object) -> None: ...


def _for_tests(manager: type[MigrationsManager], folder: Path) -> type[MigrationsManager]:
    """The team's class with a database of its own, without hooks and dumps. Relative paths stay below ``folder``."""

    settings: dict[str, Any] = {
        "MONGO_URI": server_uri(),
        "MONGO_DATABASE": new_name(),
        "MONGO_DATABASES": None,
        "MONGO_CLIENT_OPTIONS": {},
        "MongoClient": staticmethod(MigrationsManager.MongoClient),
        "MIGRATIONS_DIRECTORY": folder / manager.MIGRATIONS_DIRECTORY,
        "DO_MONGO_DUMP": False,
        "STRICT": False,
        "logger": Silence(),
        "REHEARSAL_URI": None,
        "REHEARSAL_DATABASE": None,
        **{hook: _do_nothing for hook in ("before_each", "after_each", "on_failure")},
        "_folder": folder,
    }
    return type(manager.__name__, (manager,), settings)
