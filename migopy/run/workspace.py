"""What one subtask finds: the files, the history, the lock, and what they say together.

A session is made for one subtask and gone with it, so nothing that was read or held outlives it: a team's own subtask
may call two of ours one after the other, and each looks at the world as it is then.
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

from ..batches import Batches
from ..batches.progress import Line
from ..dumps.restore import Restore
from ..errors import BadMigration, ConfigurationError, LockHeld, NotAllowed, ServerFailed, done
from ..files import directory as loader
from ..mongo import client as mongo
from ..store.checkpoints import Checkpoints
from ..store.history import History
from ..store.lock import Holder, Lock
from ..terminal import signals
from ..terminal.texts import one_line
from ..version import __version__
from .inventory import Inventory
from .status import Contents, Status

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..dumps.dump import Dump
    from ..files.directory import LoadedMigration, Migration

LOCK_POLL = 0.5
"""Seconds between two attempts to take a lock that another run holds."""


@dataclass(eq=False)
class Session:
    """The files in ``folder / directory`` and their history in ``db``, for one subtask.

    ``lease`` and ``wait`` are the seconds of ``LOCK_LEASE`` and ``LOCK_WAIT``; ``command`` is how the task is called;
    ``say`` is told what the session waits for.
    """

    db: Database[dict[str, Any]]
    collection: str
    address: str
    folder: Path
    directory: str
    pattern: str
    lease: float
    wait: float
    command: str
    say: Callable[[str], None]

    waited_for: Holder | None = field(default=None, init=False)
    """The first run that had the lock when this one wanted it."""

    def __post_init__(self) -> None:
        require_seconds("LOCK_LEASE", self.lease, least=1)
        require_seconds("LOCK_WAIT", self.wait, least=0)
        mongo.named(self.db, self.collection, "MIGRATIONS_COLLECTION")
        place: dict[str, Any] = {"address": self.address, "by": who()}
        self.history = History(self.db, self.collection, version=__version__, **place)
        self.checkpoints = Checkpoints(self.db, self.collection, **place)
        was_unlocked = self.history.unlocked_since
        self.lock = Lock(
            self.db, self.collection, lease=self.lease, pid=os.getpid(), was_unlocked=was_unlocked, **place
        )

    def inventory(self) -> Inventory:
        """The files and what is registered of them, now: one listing of the directory and one read."""
        records, half_restored = self.history.read()
        return Inventory(
            loader.find(self.folder / self.directory, self.pattern),
            records,
            loader.numbering(self.pattern),
            self.pattern,
            self.directory,
            self.command,
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
        strangers = sorted({*self.history.strangers, *self.lock.strangers, *self.checkpoints.strangers})
        return dataclasses.replace(status, strangers=strangers)

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
        executed = [file for file in inventory.registered if file.name in noted] if with_registered else []
        found, unreadable = _checksums([*executed, *(inventory.unregistered if gone else [])])
        changed = [name for name, checksum in found.items() if checksum != noted.get(name, checksum)]
        unregistered = {checksum: name for name, checksum in found.items() if name not in noted}
        renamed = {name: unregistered[noted[name]] for name in gone if noted[name] in unregistered}
        unreadable.update(loader.no_files(self.folder / self.directory, self.pattern))
        return Contents(changed, renamed, dict(sorted(unreadable.items())))

    # Migrations that go through collections in batches

    def batches(
        self, direction: str, status: Status, say: Callable[[str], None], max_lag: float
    ) -> Callable[[LoadedMigration], Batches]:
        """What makes the batches of a migration in this run.

        How far it was counts only where the log says that it has not ended well since it was last registered.
        """
        require_seconds("BATCH_MAX_LAG", max_lag, least=0)

        def of(migration: LoadedMigration) -> Batches:
            goes_on = status.unfinished(migration.name) is not None
            trail = self.checkpoints.trail(migration.name, direction, checksum=migration.checksum, goes_on=goes_on)
            return Batches(trail, self.lock.confirm, Line(say), max_lag)

        return of

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
    def server(self) -> mongo.Kind:
        """What the server is; that does not change while a subtask runs. Raises ``ServerFailed``."""
        with mongo.server_errors(self.address):
            return mongo.kind(self.db.client)

    def prepare_transactions(self) -> None:
        """MongoDB 4.2 makes no collection in a transaction, so those of the history are made before."""
        if not self.server.creates_in_transactions:
            self.history.make_collections()

    def restore(self, dump: Dump) -> Restore:
        return Restore(dump, self.db, self.history, collection=self.collection, address=self.address)

    def importable(self) -> contextlib.AbstractContextManager[None]:
        """Migrations import what the project has: while they are imported and run, its folder is on ``sys.path``."""
        return loader.importable(self.folder)

    @contextlib.contextmanager
    def locked(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock. Read inside what is there now: another run may have been at work until this moment.

        Signals are held back meanwhile. Raises ``LockHeld`` when another run has it for longer than ``LOCK_WAIT``.
        """
        with signals.held_back():
            self._take(subtask)
            with self.lock, self.importable():
                if self.lock.died:
                    self._bury(self.lock.died)
                    self.lock.clear_died()
                yield self.lock

    def unlock(self, holder: Holder) -> bool:
        """Take the lock away from that holder and no other, and write down what it was in; False if it has ended."""
        with signals.held_back():
            freed = self.lock.take_away(holder)
            if freed is None:
                return False
            registered = self.history.registered()
            with done(f"The lock was taken away from {freed.described(registered)}"):
                self.history.log("unlocked", freed.migration(registered), run=freed.described(registered))
                self._bury(freed)
                self.lock.delete()
        return True

    def _take(self, subtask: str) -> None:
        try:
            self._wait_for_lock(subtask)
        except BaseException as error:
            self.lock.give_back(error)  # the server may have given it to us without our knowing
            raise

    def _wait_for_lock(self, subtask: str) -> None:
        until = time.monotonic() + self.wait
        holder = self.lock.take(subtask)
        self.waited_for = holder
        if holder:
            self.say(f"Waiting for {self.described(holder)}...")
        while holder:
            if time.monotonic() >= until:
                raise LockHeld(
                    f"The lock is held by {self.described(holder)}. Nothing was done after waiting {self.wait:g} s;"
                    f" try again later, and if that process is no more: {self.command}:unlock.",
                    by=holder.by,
                    since=holder.since,
                )
            with signals.let_through():
                time.sleep(LOCK_POLL)
            holder = self.lock.take(subtask)

    def described(self, holder: Holder) -> str:
        """Who it is, and where it is now: which of its migrations are done stands in the history."""
        return holder.described(self.history.registered())

    def _bury(self, holder: Holder) -> None:
        """Write to the log which migration a run that is no more was in, if it was in one, and end its transaction.

        MongoDB does so by itself, but only after a minute, in which the next run waits. Who may not do it waits too.
        """
        if holder.session:
            mongo.kill_sessions(self.db.client, [{"id": Binary(holder.session, UUID_SUBTYPE)}])
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


def require_seconds(setting: str, value: Any, *, least: float) -> None:
    """Raises ``ConfigurationError`` unless the value is a number of seconds that is not less than that."""
    if not isinstance(value, (int, float)) or value < least:
        raise ConfigurationError(f"{setting} has to be a number of seconds from {least} on, not {value!r}.")


def who() -> str:
    """``user@host``; in a container the user may have a number only."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return one_line(f"{user}@{socket.gethostname()}")
