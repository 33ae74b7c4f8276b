"""Writes the history of a run, and knows what is registered in the meantime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Mapping

from ..store import Record

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from ..files.migration import LoadedMigration
    from ..store import History
    from .direction import Direction, RunLock


class Registrar:
    """Registers the migrations of a run, or unregisters them.

    ``records`` are the registrations at the beginning of the run, ``dump`` the facts about the dump taken before.
    """

    may_have_dropped: str | None = None
    """The running migration, if it may drop the history."""

    walks: list[dict[str, Any]] | None = None
    """What the running migration did in batches."""

    kept: Mapping[str, Any]
    """What the record of the running migration says about what it has kept."""

    def __init__(
        self,
        direction: Direction,
        lock: RunLock,
        history: History,
        records: Mapping[str, Record],
        dump: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._direction = direction
        self._lock = lock
        self._history = history
        self._records = dict(records)
        self._dump = dump
        self._say = say
        self.kept = {}

    def register(self, migration: LoadedMigration, seconds: float) -> None:
        """Register a migration that has run outside of a transaction, or unregister it."""
        if self._direction.executes:
            self._history.register(self._record(migration, seconds), self._lock.confirm)
        else:
            self._history.unregister(migration.name)

    def register_before(self, migration: LoadedMigration, session: ClientSession) -> None:
        """Register or unregister a migration, in its transaction, before it runs."""
        # Should two runs ever hold the lock, the second fails here, before its up().
        if self._direction.executes:
            self._history.register(self._record(migration, None), self._lock.confirm, session=session)
        else:
            self._history.unregister(migration.name, session=session)

    def complete_after(self, migration: LoadedMigration, seconds: float, session: ClientSession) -> None:
        """Add to the history, in the transaction, what is known only after the migration has run."""
        if self._direction.executes:
            self._history.set_seconds(migration.name, seconds, session=session)
        else:
            self.log_rolled_back(migration.name, seconds, session)

    def _record(self, migration: LoadedMigration, seconds: float | None) -> Record:
        record = Record(
            migration.name,
            at=self._lock.now(),
            state="executed",
            seconds=seconds,
            by=self._history.by,
            walks=self.walks,
            **self._dump,
            **self.kept,
        )
        return record.of_file(migration.name, migration.fingerprint)

    def log_rolled_back(self, name: str, seconds: float, session: ClientSession | None = None) -> None:
        facts = {"seconds": seconds, **self._records[name].facts_of_removal, **self._dump}
        self._history.log("rolled back", name, session=session, **facts)

    def remember(self, migration: LoadedMigration, seconds: float) -> None:
        """Keep in mind what is registered now, without reading it."""
        if self._direction.executes:
            self._records[migration.name] = self._record(migration, seconds)
        else:
            del self._records[migration.name]

    def repair(self) -> None:
        """Register again what a migration has dropped from the history, for example with the whole database."""
        if not self._lock.was_dropped and not self.may_have_dropped:
            return
        self._lock.confirm()
        present = self._history.records()
        lost = [record for name, record in self._records.items() if name not in present]
        # If the lock is still there, the history counts as dropped only if nothing else is left in it: a migration that
        # unregisters some others does so on purpose.
        if lost and (self._lock.was_dropped or set(present) <= {self.may_have_dropped}):
            self._history.register_again(lost)
            names = ", ".join(record.name for record in lost)
            self._say(f"The history was dropped. Registered again: {names}.")
        self._lock.was_dropped, self.may_have_dropped = False, None
