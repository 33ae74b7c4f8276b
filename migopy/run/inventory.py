"""The files joined with the registrations. Every subtask starts here, so that no two can disagree."""

from __future__ import annotations

import itertools
import os
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Callable, Iterable, Mapping, Sequence

from ..errors import MigrationNotFound, UnknownSubtask, WrongState
from ..files.directory import require_good_names
from ..files.migration import Migration, sort_key
from ..terminal.options import closest_word, positive_number, require_not_empty
from ..terminal.wording import local_time, plural

if TYPE_CHECKING:
    from ..store.history import Record, UnfinishedRestore


@dataclass(frozen=True)
class Inventory:
    """The files of one directory, and the registrations in one database.

    ``number_of`` returns the number of a file name, None if it does not match ``pattern``. ``directory`` and
    ``command`` (``fab migrations``) are for messages.
    """

    files: Sequence[Migration]
    records: Mapping[str, Record]
    number_of: Callable[[str], int | None]
    pattern: str = ""
    directory: str = "mongomigrations"
    command: str = "fab migrations"
    unfinished_restore: UnfinishedRestore | None = None

    @cached_property
    def unregistered(self) -> list[Migration]:
        """The files that are not registered, in order; badly named files come last."""
        return [migration for migration in self.files if migration.name not in self.records]

    @property
    def registered_files(self) -> list[Migration]:
        """The files that are registered, in order."""
        return [migration for migration in self.files if migration.name in self.records]

    @cached_property
    def file_names(self) -> frozenset[str]:
        return frozenset(migration.name for migration in self.files)

    @property
    def missing(self) -> list[str]:
        """Registered names without a file."""
        return sorted(name for name in self.records if name not in self.file_names)

    @property
    def badly_named(self) -> list[str]:
        return [migration.name for migration in self.unregistered if migration.number is None]

    @property
    def last_registered_file(self) -> Migration | None:
        """The registered file with the highest number."""
        numbered = [migration for migration in self.registered_files if migration.number is not None]
        return numbered[-1] if numbered else None

    @property
    def out_of_order(self) -> list[str]:
        """Unregistered files numbered below a registered one."""
        last = self.last_registered_file
        highest = last.number if last and last.number is not None else -1
        return [m.name for m in self.unregistered if m.number is not None and m.number < highest]

    @property
    def same_number(self) -> dict[str, list[str]]:
        """Unregistered files that have the number of registered ones, each with the names of these."""
        # Where all are unregistered, they run in the order of their names on every database.
        registered: dict[int | None, list[str]] = defaultdict(list)
        for migration in self.registered_files:
            registered[migration.number].append(migration.name)
        unregistered = [migration for migration in self.unregistered if migration.number is not None]
        return {m.name: registered[m.number] for m in unregistered if m.number in registered}

    @property
    def names(self) -> list[str]:
        """The names of all files and registrations, in order."""
        return sorted({*(migration.name for migration in self.files), *self.records}, key=self._order)

    # The migrations that an option names

    def name(self, short_name: str, also: Iterable[str] = ()) -> str:
        """The full name for a file name, the same without ``.py``, or a number.

        ``also`` are names that count if no file and no registration fits. Raises ``MigrationNotFound`` if no migration
        fits, or more than one.
        """
        require_not_empty("NAME", short_name, "the name or the number of a migration")
        # A team's own subtask may give a number or a Path. The shell completes a path: mongomigrations/3_c.py.
        short_name, names = os.path.basename(str(short_name).rstrip("/")), self.names
        fitting = self._fitting(short_name, names) or self._fitting(short_name, sorted({*also} - {*names}))
        if not fitting:
            near = self._nearest(short_name)
            hint = f"did you mean {near}?" if near else f"{self.command}:history lists them all."
            raise MigrationNotFound(f"No migration {short_name!r} in {self.directory}; {hint}")
        if len(fitting) > 1:
            raise MigrationNotFound(f"{short_name!r} may mean {' or '.join(fitting)}: write the whole name.")
        return fitting[0]

    def _fitting(self, short_name: str, names: Sequence[str]) -> list[str]:
        exact = [name for name in (short_name, f"{short_name}.py") if name in names]
        is_number = short_name.isdecimal()
        return exact[:1] or [name for name in names if is_number and self.number_of(name) == int(short_name)]

    def _nearest(self, wrong_name: str) -> str | None:
        """The name that was probably meant: a similar one, or the only one with that number."""
        near = closest_word(_stem(wrong_name), map(_stem, self.names))
        digits = re.match("[0-9]*", wrong_name)[0]  # type: ignore[index]
        numbered = [_stem(name) for name in self.names if digits and self.number_of(name) == int(digits)]
        return near or (numbered[0] if len(numbered) == 1 else None)

    def registered_name(self, short_name: str) -> str:
        """The full name of a registered migration. Raises ``WrongState`` if it is not registered."""
        name = self.name(short_name)
        if name not in self.records:
            raise WrongState(f"{name} is not registered. Nothing was done.", migration=name)
        return name

    def require_good_names(self) -> None:
        """Raises ``BadMigration`` if an unregistered file does not match the pattern."""
        require_good_names(self.badly_named, self.pattern)

    @property
    def restore_problem(self) -> str:
        """The sentence about an unfinished restore, with the next step; empty if there is none."""
        if self.unfinished_restore is None:
            return ""
        dump, at, by = self.unfinished_restore
        begun = f"begun on {local_time(at)}" if at else "begun"
        return (
            f"Unfinished restore: the restore of {dump}, {begun} by {by}, did not finish, so the database is only half"
            f" restored. Start it again with {self.command}:dbrestore,{dump}, or restore another dump."
        )

    def refuse_unfinished_restore(self) -> None:
        """Raises ``WrongState`` while a restore has begun and not finished."""
        # Then the data is neither what it was nor what is in a dump.
        if self.unfinished_restore:
            raise WrongState(f"{self.restore_problem} Nothing was done.")

    def nothing_to_execute(self, to: str | None = None) -> str:
        """The sentence for a run that has nothing to do, up to the migration ``to`` or at all."""
        if not self.files and not self.records:
            return f"There is no migration in {self.directory} yet; {self.command}:create,WORDS writes the first"
        which = f"All migrations up to {to}" if to and self.unregistered else "All migrations"
        return f"{which} registered, nothing to execute"

    def to_execute(self, spec_migr: str | None, to: str | None) -> list[Migration]:
        """The unregistered migrations: all, the one in ``spec_migr``, or all up to the one in ``to``.

        Raises ``BadMigration`` if a file is badly named, and ``WrongState`` if the one is registered.
        """
        self.refuse_unfinished_restore()
        self.require_good_names()
        if spec_migr and to:
            raise UnknownSubtask(
                f"Nothing was done. {spec_migr!r} and to={to!r} are given: a comma begins another option. Write one"
                " NAME, or to=NAME for all up to it."
            )
        if not spec_migr:
            return self.up_to(to)
        name = self.name(spec_migr)
        if name in self.records:
            record = self.records[name]
            when = f" on {local_time(record.at)}" if record.at else ""
            by = f" by {record.by}" if record.by else ""
            raise WrongState(
                f"{name} is already registered: {record.state}{when}{by}. Nothing was done. To run it again, undo it"
                f" first: {self.command}:rollback,{name}",
                migration=name,
            )
        return [migration for migration in self.unregistered if migration.name == name]

    def up_to(self, to: str | None) -> list[Migration]:
        """The unregistered migrations up to this one, itself included; all if it is None."""
        if to is None:
            return self.unregistered
        require_not_empty("to", to, "to=NAME")
        last = self._order(self.name(to))
        return [migration for migration in self.unregistered if migration.sort_key <= last]

    def to_roll_back(self, spec_migr: str | None, last: str | None, to: str | None) -> list[Migration]:
        """The registered migrations, newest first: the one in ``spec_migr``, the ``last`` so many, or all after ``to``.

        Raises ``MigrationNotFound`` if the file of one is missing, ``WrongState`` if ``last`` is too many.
        """
        self.refuse_unfinished_restore()
        if spec_migr:
            return self._files_of([self.registered_name(spec_migr)])
        newest_first = sorted(self.records.values(), key=self._time_and_order, reverse=True)
        if to:
            target = self.registered_name(to)
            newest_first = list(itertools.takewhile(lambda record: record.name != target, newest_first))
        executed = [record.name for record in newest_first if record.state == "executed"]  # not those only ignored
        if last:
            executed = _first(executed, positive_number("last", last))
        return self._files_of(executed)

    def _files_of(self, names: Iterable[str]) -> list[Migration]:
        files = {migration.name: migration for migration in self.files}
        for name in names:
            if name not in files:
                raise MigrationNotFound(
                    f"{name} is registered, but there is no such file in {self.directory}. Nothing was rolled back."
                    f" Bring the file back, or unregister it without running down(): {self.command}:forget,{name}",
                    migration=name,
                )
        return [files[name] for name in names]

    def _time_and_order(self, record: Record) -> tuple[float, tuple[bool, int, str]]:
        # migopy 1.0 stored whole seconds only; within one second the order of the files counts.
        return record.at.timestamp() if record.at else 0.0, self._order(record.name)

    def _order(self, name: str) -> tuple[bool, int, str]:
        return sort_key(self.number_of(name), name)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _first(executed: list[str], wanted: int) -> list[str]:
    if wanted > len(executed):
        raise WrongState(
            f"last={wanted} is too many: {plural(len(executed), 'migration')} can be rolled back. Nothing was done."
        )
    return executed[:wanted]
