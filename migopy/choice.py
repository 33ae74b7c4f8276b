"""Which migrations are meant: by all, by a short name, by ``to=`` and ``last=``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Container, Mapping, Sequence

from .errors import MigrationNotFound, UnknownSubtask, WrongState
from .loader import Migration, order
from .subtasks import positive

if TYPE_CHECKING:
    from .history import Record


@dataclass(frozen=True)
class Choice:
    """The files and the registered migrations to choose among; ``directory`` and ``command`` are for messages."""

    files: Sequence[Migration]
    records: Mapping[str, Record]
    number_of: Callable[[str], int | None]
    directory: str
    command: str

    def name(self, short_name: str) -> str:
        """The one name that is meant by a file name, the same without ``.py``, or a number.

        Raises ``MigrationNotFound`` when there is none, or more than one.
        """
        names = dict.fromkeys([*(migration.name for migration in self.files), *self.records])
        for exact in (short_name, short_name + ".py"):
            if exact in names:
                return exact
        fitting = [name for name in names if short_name.isdecimal() and self.number_of(name) == int(short_name)]
        if not fitting:
            raise MigrationNotFound(f"No migration {short_name!r} in {self.directory}; see {self.command}:history.")
        if len(fitting) > 1:
            raise MigrationNotFound(f"{short_name!r} may mean {' or '.join(fitting)}: write the whole name.")
        return fitting[0]

    def registered(self, short_name: str) -> str:
        """The name of a registered migration. Raises ``WrongState`` when it is not registered."""
        name = self.name(short_name)
        if name not in self.records:
            raise WrongState(f"{name} is not registered, there is nothing to take back.")
        return name

    def unregistered(self, names: Container[str], spec_migr: str | None, to: str | None) -> list[Migration]:
        """Of the unregistered names all, the one that is named, or those up to one.

        Raises ``WrongState`` when the one is registered. Where nothing is unregistered, whatever name was given, there
        is nothing to choose, as in 1.0.
        """
        if spec_migr and to:
            raise UnknownSubtask(f"Write one migration or to=, not both: {spec_migr!r} and to={to!r}.")
        chosen = [migration for migration in self.files if migration.name in names]
        if not spec_migr or not chosen:
            return self.up_to(to, chosen)
        name = self.name(spec_migr)
        if name in self.records:
            raise WrongState(f"{name} is already registered; {self.command}:rollback,{name} takes it back.")
        return [migration for migration in chosen if migration.name == name]

    def up_to(self, to: str | None, migrations: list[Migration]) -> list[Migration]:
        """Of the migrations those up to and including one; all without one."""
        if to is None:
            return migrations
        if not to:  # of an empty variable in a deploy script, which must not mean all
            raise UnknownSubtask("Nothing was done: to= is empty. Write to=NAME.")
        last = self._order(self.name(to))
        return [migration for migration in migrations if migration.order <= last]

    def to_roll_back(self, spec_migr: str | None, last: str | None, to: str | None) -> list[Migration]:
        """The one that is named, the last ones that were executed, or all executed after one; newest first.

        Raises ``MigrationNotFound`` when one of them has no file any more.
        """
        if spec_migr:
            return self._files_of([self.registered(spec_migr)])
        newest_first = sorted(self.records.values(), key=self._time_and_order, reverse=True)
        if to:
            target = self.registered(to)
            newest_first = list(itertools.takewhile(lambda record: record.name != target, newest_first))
        executed = [record.name for record in newest_first if record.state == "executed"]
        return self._files_of(executed[: positive("last", last)] if last else executed)

    def _files_of(self, names: Sequence[str]) -> list[Migration]:
        files = {migration.name: migration for migration in self.files}
        for name in names:
            if name not in files:
                raise MigrationNotFound(
                    f"{name} is registered, but there is no such file in {self.directory}: bring it back, or"
                    f" {self.command}:forget,{name} unregisters it without running down(). Nothing was rolled back."
                )
        return [files[name] for name in names]

    def _time_and_order(self, record: Record) -> tuple[float, tuple[bool, int, str]]:
        """1.0 noted the time in seconds only; of one second the order of the files tells."""
        return record.at.timestamp() if record.at else 0.0, self._order(record.name)

    def _order(self, name: str) -> tuple[bool, int, str]:
        return order(self.number_of(name), name)
