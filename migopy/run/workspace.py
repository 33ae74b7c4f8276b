"""What one subtask works with: the files, the history, the lock, and what they say together.

A subtask makes its own workspace, so nothing that it reads outlives it: a team's subtask may call two of ours, and each
sees the database as it is then.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from bson.binary import UUID_SUBTYPE, Binary

from ..batches import Batches, Line, Trail
from ..errors import BadMigration, LockHeld, NotAllowed, ServerFailed, already_done
from ..files.directory import find, no_files, numbering
from ..files.importing import importable
from ..mongo import Kind, kill_sessions, kind_of, named, server_errors
from ..store import Checkpoints, History, Holder, Lock, Names
from ..terminal import signals
from ..terminal.texts import one_line
from ..version import __version__
from .context import Direction, Hooks, RunContext
from .inventory import Inventory
from .status import Contents, Status

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..files.migration import LoadedMigration, Migration
    from ..mongo.server import Server
    from ..settings import Settings
    from ..terminal import ColorsLogger

LOCK_POLL = 0.5
"""Seconds between two attempts to take a lock that another run holds."""


@dataclass(eq=False)
class Workspace:
    """The migrations directory below ``folder`` and its history in ``db``, for one subtask.

    ``server`` is where ``db`` is. ``say`` shows a message to the person who waits.
    """

    db: Database[dict[str, Any]]
    settings: Settings
    server: Server
    folder: Path
    say: Callable[[str], None]

    waited_for: Holder | None = field(default=None, init=False)
    """The first run that had the lock when this one wanted it."""

    def __post_init__(self) -> None:
        named(self.db, self.settings.MIGRATIONS_COLLECTION, "MIGRATIONS_COLLECTION")
        self.address = self.server.address
        self.names = Names(self.settings.MIGRATIONS_COLLECTION)
        self.directory = self.folder / self.settings.MIGRATIONS_DIRECTORY
        self.history = History(self.db, self.names, address=self.address, by=who(), version=__version__)
        self.checkpoints = Checkpoints(self.db, self.names, address=self.address, by=who())
        self.lock = Lock(
            self.db,
            self.names,
            address=self.address,
            lease=self.settings.LOCK_LEASE,
            by=who(),
            pid=os.getpid(),
            was_unlocked=self.history.unlocked_since,
        )

    def inventory(self) -> Inventory:
        """The files and what is registered of them, now: one listing of the directory and one read."""
        records, half_restored = self.history.read()
        pattern = self.settings.MIGRATIONS_FILE_PATTERN
        return Inventory(
            find(self.directory, pattern),
            records,
            numbering(pattern),
            pattern,
            self.settings.MIGRATIONS_DIRECTORY,
            self.settings.task,
            half_restored,
        )

    def known(self, inventory: Inventory) -> Status:
        """What the log says of these migrations: one read more, and how far those are that have not ended well."""
        return self._with_progresses(Status(inventory, self.history.last_events()))

    def status(self, inventory: Inventory, *, with_contents: bool = False) -> Status:
        """The same and who has the lock: two reads more. ``with_contents`` reads the registered files too.

        How far migrations are that go through collections is one more, where one is under way or has not ended well.
        """
        contents = self.contents(inventory, with_registered=with_contents)
        last_events, holder = self.history.last_events(), self.lock.holder()
        facts = {"database": self.db.name, "server": self.address, **contents._asdict()}
        status = self._with_progresses(Status(inventory, last_events, holder, **facts))
        foreign = sorted({*self.history.foreign, *self.lock.foreign, *self.checkpoints.foreign})
        return dataclasses.replace(status, foreign=foreign)

    def _with_progresses(self, status: Status) -> Status:
        """Who may not read how far they are sees all the rest: most migrations go through no collection."""
        directions = {name: "down" if name in status.inventory.records else "up" for name in status.under_way}
        if not directions:
            return status
        with contextlib.suppress(NotAllowed):
            status = dataclasses.replace(status, progresses=self.checkpoints.progresses(directions))
        return status

    def contents(self, inventory: Inventory, *, with_registered: bool = True) -> Contents:
        """What the files themselves tell. Of what 1.0 executed it is nothing: that has no checksum.

        The unregistered ones are only read where a registered name is missing, which one of them may be.
        """
        noted = {name: record.checksum for name, record in inventory.records.items() if record.checksum}
        gone = [name for name in inventory.missing if name in noted]
        executed = [file for file in inventory.registered_files if file.name in noted] if with_registered else []
        found, unreadable = _checksums([*executed, *(inventory.unregistered if gone else [])])
        changed = [name for name, checksum in found.items() if checksum != noted.get(name, checksum)]
        unregistered = {checksum: name for name, checksum in found.items() if name not in noted}
        renamed = {name: unregistered[noted[name]] for name in gone if noted[name] in unregistered}
        unreadable.update(no_files(self.directory, self.settings.MIGRATIONS_FILE_PATTERN))
        return Contents(changed, renamed, dict(sorted(unreadable.items())))

    # Migrations that go through collections in batches

    def batches(
        self, migration: LoadedMigration, direction: str, status: Status, say: Callable[[str], None]
    ) -> Batches:
        """The batches of a migration in this run.

        Its checkpoints count only if the log says that it has not ended well since it was last registered.
        """
        goes_on = status.unfinished(migration.name) is not None
        trail = Trail(self.checkpoints, migration.name, direction, migration.checksum, goes_on)
        return Batches(trail, self.lock.confirm, Line(say), self.settings.BATCH_MAX_LAG)

    def context(
        self, direction: Direction, db: Database[dict[str, Any]], status: Status, hooks: Hooks, logger: ColorsLogger
    ) -> RunContext:
        """What a run works with; ``db`` is what migrations get."""

        def batches(migration: LoadedMigration) -> Batches:
            return self.batches(migration, direction.function, status, logger.white)

        return RunContext(
            lock=self.lock,
            history=self.history,
            db=db,
            records=status.inventory.records,
            hooks=hooks,
            batches=batches,
            forget=self.forget_batches,
            say=logger.red,
            task=self.settings.task,
        )

    def forget_batches(self, *names: str) -> None:
        """These have ended, which stands in the history: how far they were counts no more, also if it stays."""
        with contextlib.suppress(ServerFailed):
            self.checkpoints.forget(names)

    def require_something_to_forget(self, inventory: Inventory, short_name: str) -> str:
        """The name of a migration that is registered, or of which it is noted how far it was; else ``WrongState``."""
        name = inventory.name(short_name)
        if name in inventory.records or self.checkpoints.read({"migration": name}):
            return name
        return inventory.registered_name(name)

    @cached_property
    def kind(self) -> Kind:
        """What the server is; that does not change while a subtask runs. Raises ``ServerFailed``."""
        with server_errors(self.address):
            return kind_of(self.db.client)

    def prepare_transactions(self) -> None:
        """MongoDB 4.2 makes no collection in a transaction, so those of the history are made before."""
        if not self.kind.creates_in_transactions:
            self.history.make_collections()

    def importable(self) -> contextlib.AbstractContextManager[None]:
        """Migrations import what the project has: while they are imported and run, its folder is on ``sys.path``."""
        return importable(self.folder)

    @contextlib.contextmanager
    def locked(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock. Read inside what is there now: another run may have been at work until this moment.

        Signals are held back meanwhile. Raises ``LockHeld`` when another run has it for longer than ``LOCK_WAIT``.
        """
        with signals.held_back():
            self._take(subtask)
            with self.lock, self.importable():
                if self.lock.died:
                    self.log_dead_run(self.lock.died)
                    self.lock.clear_died()
                yield self.lock

    def unlock(self, holder: Holder) -> bool:
        """Take the lock away from that holder and no other, and write down what it was in; False if it has ended."""
        with signals.held_back():
            freed = self.lock.take_away(holder)
            if freed is None:
                return False
            registered = self.history.registered()
            with already_done(f"The lock was taken away from {freed.described(registered)}"):
                self.history.log("unlocked", freed.migration(registered), run=freed.described(registered))
                self.log_dead_run(freed)
                self.lock.delete()
        return True

    def _take(self, subtask: str) -> None:
        try:
            self._wait_for_lock(subtask)
        except BaseException as error:
            self.lock.give_back(error)  # the server may have given it to us without our knowing
            raise

    def _wait_for_lock(self, subtask: str) -> None:
        until = time.monotonic() + self.settings.LOCK_WAIT
        holder = self.lock.take(subtask)
        self.waited_for = holder
        if holder:
            self.say(f"Waiting for {self.described(holder)}...")
        while holder:
            if time.monotonic() >= until:
                wait, unlock = self.settings.LOCK_WAIT, self.settings.command("unlock")
                raise LockHeld(
                    f"The lock is held by {self.described(holder)}. Nothing was done after waiting {wait:g} s;"
                    f" try again later, and if that process is no more: {unlock}.",
                    by=holder.by,
                    since=holder.since,
                )
            with signals.let_through():
                time.sleep(LOCK_POLL)
            holder = self.lock.take(subtask)

    def described(self, holder: Holder) -> str:
        """Who it is, and where it is now: which of its migrations are done stands in the history."""
        return holder.described(self.history.registered())

    def log_dead_run(self, holder: Holder) -> None:
        """Write to the log which migration a run that is no more was in, if it was in one, and end its transaction.

        MongoDB does so by itself, but only after a minute, in which the next run waits. Who may not do it waits too.
        """
        if holder.session:
            kill_sessions(self.db.client, [{"id": Binary(holder.session, UUID_SUBTYPE)}])
        registered = self.history.registered()
        migration = holder.migration(registered)
        if migration:
            self.history.log("interrupted", migration, run=holder.described(registered))


def _checksums(files: Sequence[Migration]) -> tuple[dict[str, str], dict[str, str]]:
    """The checksums by name, and of the files that cannot be read the reasons."""
    checksums, reasons = {}, {}
    for file in files:
        try:
            checksums[file.name] = file.checksum()
        except BadMigration as error:
            reasons[file.name] = str(error).rstrip(".")
    return checksums, reasons


def who() -> str:
    """``user@host``; in a container the user may have a number only."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return one_line(f"{user}@{socket.gethostname()}")
