"""What one subtask finds: the files, the history, the lock, and what they say together.

A session is made for one subtask and gone with it, so nothing that was read or held outlives it: a team's own subtask
may call two of ours one after the other, and each looks at the world as it is then.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from . import loader, mongo
from .errors import BadMigration, ConfigurationError, LockHeld
from .history import History
from .inventory import Inventory
from .lock import Holder, Lock
from .status import Contents, Status
from .texts import one_line
from .version import __version__

if TYPE_CHECKING:
    from pymongo.database import Database

    from .loader import Migration

LOCK_POLL = 0.5
"""Seconds between two attempts to take a lock that another run holds."""


class Session:
    """The files in ``folder / directory`` and their history in ``db``, for one subtask.

    ``lease`` and ``wait`` are the seconds of ``LOCK_LEASE`` and ``LOCK_WAIT``; ``command`` is how the task is called;
    ``say`` is told what the session waits for.
    """

    def __init__(
        self,
        db: Database[dict[str, Any]],
        *,
        collection: str,
        address: str,
        folder: Path,
        directory: str,
        pattern: str,
        lease: float,
        wait: float,
        command: str,
        say: Callable[[str], None],
    ) -> None:
        require_seconds("LOCK_LEASE", lease, least=1)
        require_seconds("LOCK_WAIT", wait, least=0)
        mongo.named(db, collection, "MIGRATIONS_COLLECTION")
        self.history = History(db, collection, address=address, by=who(), version=__version__)
        self.lock = Lock(db, collection, address=address, lease=lease, by=who(), pid=os.getpid())
        self.address = address
        self._db = db
        self._folder = folder
        self._directory = directory
        self._pattern = pattern
        self._wait = wait
        self._command = command
        self._say = say

    def inventory(self) -> Inventory:
        """The files and what is registered of them, now: one listing of the directory and one read."""
        return Inventory(
            loader.find(self._folder / self._directory, self._pattern),
            self.history.registered(),
            loader.numbering(self._pattern),
            self._pattern,
            self._directory,
            self._command,
        )

    def known(self, inventory: Inventory) -> Status:
        """What the log says of these migrations: one read more."""
        return Status(inventory, self.history.last_events())

    def status(self, inventory: Inventory, *, with_contents: bool = False) -> Status:
        """The same and who has the lock: two reads more. ``with_contents`` reads the registered files too."""
        contents = self.contents(inventory, with_registered=with_contents)
        last_events, holder = self.history.last_events(), self.lock.holder()
        strangers = sorted({*self.history.strangers, *self.lock.strangers})
        return Status(inventory, last_events, holder, strangers=strangers, **contents._asdict())

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
        unreadable.update(loader.no_files(self._folder / self._directory, self._pattern))
        return Contents(changed, renamed, dict(sorted(unreadable.items())))

    def has_transactions(self) -> bool:
        """Whether the server is a replica set or a sharded cluster. Raises ``ServerFailed``."""
        with mongo.server_errors(self.address):
            return mongo.has_transactions(self._db.client)

    def importable(self) -> contextlib.AbstractContextManager[None]:
        """Migrations import what the project has: while they are imported and run, its folder is on ``sys.path``."""
        return loader.importable(self._folder)

    @contextlib.contextmanager
    def locked(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock. Read inside what is there now: another run may have been at work until this moment.

        Raises ``LockHeld`` when another run has it for longer than ``LOCK_WAIT``.
        """
        self._take(subtask)
        with self.lock, self.importable():
            if self.lock.died:
                self.log_interrupted(self.lock.died)
                self.lock.clear_died()
            yield self.lock

    def _take(self, subtask: str) -> None:
        until = time.monotonic() + self._wait
        holder = self.lock.take(subtask)
        if holder:
            self._say(f"Waiting for {self.described(holder)}...")
        while holder:
            if time.monotonic() >= until:
                raise LockHeld(
                    f"The lock is held by {self.described(holder)}. Nothing was done after waiting {self._wait:g} s;"
                    f" try again later, and if that process is no more: {self._command}:unlock.",
                    by=holder.by,
                    since=holder.since,
                )
            time.sleep(LOCK_POLL)
            holder = self.lock.take(subtask)

    def described(self, holder: Holder) -> str:
        """Who it is, and where it is now: which of its migrations are done stands in the history."""
        return holder.described(self.history.registered())

    def log_interrupted(self, holder: Holder) -> None:
        """Write to the log which migration a run that is no more was in, if it was in one."""
        registered = self.history.registered()
        migration = holder.migration(registered)
        if migration:
            self.history.log("interrupted", migration, error=holder.described(registered))


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
