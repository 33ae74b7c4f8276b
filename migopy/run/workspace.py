"""What one subtask works with: the files, the history, the lock, the checkpoints, and what they show together.

Each subtask makes its own workspace, so nothing is cached from one to the next: a team's subtask may call two of ours.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, Sequence

from bson.binary import UUID_SUBTYPE, Binary

from ..batches import Batches, Control, Line, Trail
from ..errors import BadMigration, LockHeld, NotAllowed, ServerFailed, WrongState, already_done
from ..files.directory import find, number_parser, unusable_entries
from ..files.importing import on_sys_path
from ..mongo import ServerKind, kill_sessions, look_up, server_errors, server_kind
from ..store import Checkpoints, Found, History, Holder, KeptStore, Lock, Names, Record, RejectedStore, read_in_one
from ..terminal import signals
from ..terminal.messages import failure_method
from ..terminal.texts import one_line
from ..terminal.wording import capitalized, plural
from ..version import __version__
from .direction import Direction
from .inventory import Inventory
from .runner import RunContext, Team
from .status import Contents, Status
from .watcher import Watcher

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.database import Database

    from ..files.fingerprint import Fingerprint
    from ..files.migration import LoadedMigration, Migration
    from ..mongo.server import Server
    from ..settings import Settings

LOCK_POLL_SECONDS = 0.5
"""How often to try to take a lock that another run holds."""


@dataclass(eq=False)
class Workspace:
    """The migrations directory below ``folder``, and its history in ``db`` on ``server``, for one subtask.

    ``say`` shows a message while the subtask waits.
    """

    db: Database[dict[str, Any]]
    settings: Settings
    server: Server
    folder: Path
    say: Callable[[str], None]

    keeps_filters: bool = False
    """Whether walks continue with the filters that they began with, though the file has others now (resume=yes)."""
    pace: int | None = None
    """Documents a second that walks go through at most (pace=N); None for the one in the settings."""
    must_exist: bool = False
    """Whether the database has to be there already, as one of many that existed when the command began."""
    waited_for: Holder | None = field(default=None, init=False)
    """The run that this one had to wait for first, if any."""

    def __post_init__(self) -> None:
        look_up(self.db, self.settings.MIGRATIONS_COLLECTION, "MIGRATIONS_COLLECTION")  # raises for a wrong name
        self.address = self.server.address
        self.names = Names(self.settings.MIGRATIONS_COLLECTION)
        self.directory = self.folder / self.settings.MIGRATIONS_DIRECTORY
        self.by = user_at_host(self.settings.BY)
        self.history = History(self.db, self.names, address=self.address, by=self.by, version=__version__)
        self.lock = Lock(
            self.db,
            self.names,
            address=self.address,
            lease=self.settings.LOCK_LEASE,
            by=self.by,
            pid=os.getpid(),
            was_unlocked=self.history.was_unlocked_since,
        )
        self.lock.first_pace = self.pace or self.settings.BATCH_PACE

    # Made at first use: a status of many databases needs none of them.

    @cached_property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.db, self.names, address=self.address, by=self.by)

    @cached_property
    def kept(self) -> KeptStore:
        return KeptStore(self.db, self.names, address=self.address, by=self.by)

    @cached_property
    def rejected(self) -> RejectedStore:
        return RejectedStore(self.db, self.names, address=self.address, by=self.by)

    def is_new_database(self, status: Status) -> bool:
        """Whether the database does not exist yet, as far as this user may know. Asks only if the history is empty."""
        if status.inventory.records or status.last_events or status.holder:
            return False
        asked = {"listDatabases": 1, "nameOnly": True, "filter": {"name": self.db.name}}
        with contextlib.suppress(ServerFailed), server_errors(self.address):  # a user who may not ask gets no answer
            return not self.db.client.admin.command(asked)["databases"]
        return False

    def inventory(self, registrations: Iterable[Mapping[str, Any]] | None = None) -> Inventory:
        """The files and the registrations, as they are now. One read, unless the registrations are given."""
        records, unfinished_restore = self.history.records_and_restore(registrations)
        pattern = self.settings.MIGRATIONS_FILE_PATTERN
        return Inventory(
            find(self.directory, pattern),
            records,
            number_parser(pattern),
            pattern,
            self.settings.MIGRATIONS_DIRECTORY,
            self.settings.task,
            unfinished_restore,
        )

    def status_from_log(self) -> Status:
        """The status without lock and file contents. One read, and one more if a migration is unfinished."""
        found = self._read_in_one(with_lock=False)
        return self._with_progress(Status(self.inventory(found.registrations), self.history.last_events(found.log)))

    def status(self, *, with_contents: bool = False) -> Status:
        """The inventory and all about it. One read, and one more if a migration is running or unfinished.

        ``with_contents`` reads the registered files too.
        """
        found = self._read_in_one(with_lock=True)
        inventory = self.inventory(found.registrations)
        contents = self.contents(inventory, with_registered=with_contents)
        last_events, holder = self.history.last_events(found.log), self.lock.holder(found.lock)
        facts = {"database": self.db.name, "server": self.address, **contents._asdict()}
        status = self._with_progress(Status(inventory, last_events, holder, **facts))
        foreign = {*self.history.foreign, *self.lock.foreign, *status.foreign}
        return dataclasses.replace(status, foreign=sorted(foreign)) if foreign else status

    def _read_in_one(self, *, with_lock: bool) -> Found:
        with server_errors(self.address):
            return read_in_one(self.db, self.names, with_lock=with_lock)

    def _with_progress(self, status: Status) -> Status:
        registered = status.inventory.records
        directions = {name: "down" if name in registered else "up" for name in status.running_or_unfinished}
        if not directions:
            return status
        with contextlib.suppress(NotAllowed):  # a user without this right still sees all the rest
            progress = self.checkpoints.progress(directions)
            status = dataclasses.replace(status, progress=progress, foreign=[*self.checkpoints.foreign])
        return status

    def contents(self, inventory: Inventory, *, with_registered: bool = True) -> Contents:
        """What the contents of the files show; of the registered files only ``with_registered``."""
        # migopy 1.0 stored no checksums.
        noted = {name: record for name, record in inventory.records.items() if record.checksum}
        missing = [name for name in inventory.missing if name in noted]
        registered = [file for file in inventory.registered_files if file.name in noted] if with_registered else []
        # The unregistered files matter only if one of them may be a missing one under a new name.
        found, unreadable = _fingerprints([*registered, *(inventory.unregistered if missing else [])])
        unreadable.update(unusable_entries(self.directory, self.settings.MIGRATIONS_FILE_PATTERN))
        changed = [name for name, file in found.items() if name in noted and not noted[name].fits(file)]
        return Contents(changed, _find_renamed(missing, noted, found), dict(sorted(unreadable.items())))

    # Migrations in batches

    def batches(
        self,
        migration: LoadedMigration,
        direction: str,
        status: Status,
        say: Callable[[str], None],
        throttle: Callable[[], object] = lambda: None,
    ) -> Batches:
        """The batches of a migration in this run."""
        # Checkpoints count only if the migration has not ended well since it was last registered.
        resumes = status.unfinished_kind(migration.name) is not None
        trail = Trail(
            self.checkpoints,
            migration.name,
            direction,
            migration.fingerprint.checksum,
            resumes,
            keeps_filter=self.keeps_filters,
            task=self.settings.task,
        )
        line, record = Line(say), status.inventory.records.get(migration.name)
        pace = self.pace or self.settings.BATCH_PACE
        return Batches(
            trail,
            self.lock.confirm,
            line,
            self.settings.BATCH_MAX_LAG,
            self.lock.tell,
            control=Control(self.lock, lambda text: line.say(f"{migration.name}: {text}"), throttle, pace),
            kept=self.kept,
            now=self.lock.now,
            registered=record.to_restore if record else None,
            workers=self.settings.BATCH_WORKERS,
            rejected=self.rejected,
        )

    def context(self, direction: Direction, status: Status, team: Team, dump: Mapping[str, Any]) -> RunContext:
        """What a run works with; ``dump`` are the facts about the dump that was taken before."""
        db, logger = team.db, team.logger

        def batches(migration: LoadedMigration) -> Batches:
            return self.batches(migration, direction.function, status, logger.white, lambda: team.throttle(db))

        return RunContext(
            lock=self.lock,
            history=self.history,
            db=db,
            records=status.inventory.records,
            hooks=team,
            batches=batches,
            forget=self.forget_batches,
            say=failure_method(logger),
            watcher=Watcher(self.db.client, logger.white, self.lock.tell),
            control=Control(self.lock, logger.white),
            task=self.settings.task,
            dump=dump,
        )

    # Registrations without running anything

    def ignore(self, chosen: Sequence[Migration], status: Status) -> tuple[list[str], datetime]:
        """Register migrations that are not executed, under the lock. Returns their names, and when it was."""
        files = {migration.name: migration.fingerprint() for migration in chosen}
        progress = status.progress
        rejected = {name: progress[name].rejected for name in files if name in progress and progress[name].rejected}
        for name, documents in rejected.items():
            self.say(f"{name}: {plural(documents, 'document')} that it has set aside stay as they are")
        self.lock.confirm()
        self.history.ignore(files, rejected, at=self.lock.now())
        self.forget_batches(*set(files).intersection(progress))
        return [*files], self.lock.now()

    def forget(self, name: str, inventory: Inventory) -> None:
        """Delete the registration and the checkpoints of a migration, under the lock."""
        record = inventory.records.get(name)
        self.lock.confirm()
        if record:
            self.forget_batches(name)
        else:
            self.checkpoints.forget([name])
        self.history.unregister(name)
        with already_done(f"{name} is unregistered"):
            self.history.log("forgotten", name, **(record.facts_of_removal if record else {}))

    def forget_batches(self, *names: str) -> None:
        """Delete the checkpoints of migrations that have ended, according to the history."""
        with contextlib.suppress(ServerFailed):  # they no longer count, even if they stay
            self.checkpoints.forget(names)

    def to_roll_back(self, inventory: Inventory, *targets: str | None) -> list[Migration]:
        """As ``Inventory.to_roll_back``. If the migration is not registered, the error says how to undo its traces."""
        try:
            return inventory.to_roll_back(*targets)
        except WrongState as error:
            if error.migration:
                error.with_context(after=self.status().undo_sentence(error.migration))
            raise

    def require_something_to_forget(self, inventory: Inventory, short_name: str) -> str:
        """The name of a migration that is registered or has checkpoints. Raises ``WrongState`` for any other."""
        name = inventory.name(short_name)
        if name in inventory.records or self.checkpoints.find({"migration": name}):
            return name
        return inventory.registered_name(name)

    @cached_property
    def kind(self) -> ServerKind:
        """What the server is. Raises ``ServerFailed``."""
        with server_errors(self.address):
            return server_kind(self.db.client)

    def prepare_transactions(self) -> None:
        """Make the collections of the history, if transactions cannot (MongoDB 4.2)."""
        if not self.kind.creates_in_transactions:
            self.history.make_collections()

    def on_sys_path(self) -> contextlib.AbstractContextManager[None]:
        """Keep the project's folder on ``sys.path``, for what migrations import from it."""
        return on_sys_path(self.folder)

    @contextlib.contextmanager
    def hold_lock(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock, and hold back signals.

        Read everything again inside, because another run may have just ended. Raises ``LockHeld`` if another run keeps
        the lock for longer than ``LOCK_WAIT``.
        """
        with signals.hold_back():
            self._take(subtask)
            with self.lock, self.on_sys_path():
                if self.lock.dead_run:
                    self.log_dead_run(self.lock.dead_run)
                    self.lock.clear_dead_run()
                yield self.lock

    @contextlib.contextmanager
    def hold_lock_to_register(
        self, subtask: str, spec_migr: str | None, to: str | None
    ) -> Iterator[tuple[Status, list[Migration]]]:
        """Hold the lock unless there is nothing to execute or ignore: the status from the log, and what is chosen."""
        inventory = self.inventory()
        chosen = inventory.to_execute(spec_migr, to)
        if chosen and self.must_exist and self.is_new_database(Status(inventory)):
            self.say(f"Nothing was done: {self.db.name} was dropped after this command had begun.")
            chosen = []
        if not chosen:
            yield Status(inventory), chosen
            return
        with self.hold_lock(subtask):
            status = self.status_from_log()
            yield status, status.inventory.to_execute(spec_migr, to)

    def unlock(self, holder: Holder) -> bool:
        """Take the lock away from this holder and no other, and log what it was doing; False if it has ended."""
        with signals.hold_back():
            freed = self.lock.take_away(holder)
            if freed is None:
                return False
            registered = self.history.records()
            run = freed.description(registered)
            with already_done(f"The lock was taken away from {run}"):
                self.history.log("unlocked", freed.migration(registered), run=run)
                self.log_dead_run(freed)
                self.lock.delete()  # last: if this process dies before, the next run logs the same
        return True

    def _take(self, subtask: str) -> None:
        try:
            self._wait_for_lock(subtask)
        except BaseException as error:
            self.lock.give_back(error)  # the server may have given it to us, and its answer was lost
            raise

    def _wait_for_lock(self, subtask: str) -> None:
        until = time.monotonic() + self.settings.LOCK_WAIT
        holder = self.lock.take(subtask)
        self.waited_for = holder
        if holder and self.settings.LOCK_WAIT:  # once, and not at each attempt
            self.say(f"Waiting for {self.description(holder)}{self._so_far(holder)}...")
        knows_it_is_gone = False
        while holder:
            if time.monotonic() >= until:
                waited = f" after waiting {self.settings.LOCK_WAIT:g} s" if self.settings.LOCK_WAIT else ""
                raise LockHeld(
                    f"The lock is held by {self.description(holder)}{self._so_far(holder)}. Nothing was done{waited}:"
                    f" {holder.prospect(self.settings.command('unlock'))}.",
                    by=holder.by,
                    since=holder.since,
                )
            if holder.is_gone and not knows_it_is_gone:
                self.say(f"{capitalized(holder.prospect(self.settings.command('unlock')))}.")
                knows_it_is_gone = True
            with signals.let_through():  # Ctrl-C ends the waiting
                time.sleep(LOCK_POLL_SECONDS)
            holder = self.lock.take(subtask)

    def _so_far(self, holder: Holder) -> str:
        """How far the migration of another run is, if it works in batches."""
        name = holder.migration(self.history.records())
        direction = "down" if holder.subtask == "rollback" else "up"
        with contextlib.suppress(NotAllowed):
            progress = self.checkpoints.progress({name: direction}).get(name) if name else None
            return f": {progress.documents} are done" if progress else ""
        return ""

    def description(self, holder: Holder) -> str:
        """Who holds the lock, and which migration is running, as far as the history shows."""
        return holder.description(self.history.records())

    def lock_sentence(self, holder: Holder) -> str:
        """Who holds the lock or has left it behind, and what will become of it, for the subtask unlock."""
        state = "is held" if holder.held else "was left behind"
        prospect = f": {holder.prospect()}" if holder.held else ""
        return f"The lock {state} by {self.description(holder)}{prospect}."

    def log_dead_run(self, holder: Holder) -> None:
        """Log the migration that a dead run was in, if it was in one, and end its transaction."""
        # Without this right, MongoDB ends the transaction after a minute, and the next run waits for that.
        if holder.session:
            kill_sessions(self.db.client, [{"id": Binary(holder.session, UUID_SUBTYPE)}])
        registered = self.history.records()
        migration = holder.migration(registered)
        if migration:
            self.history.log("interrupted", migration, run=holder.description(registered))


def _find_renamed(
    missing: Sequence[str], noted: Mapping[str, Record], found: Mapping[str, Fingerprint]
) -> dict[str, str]:
    """The missing names whose file seems to have a new name, each with that name."""
    renamed = {}
    for old in missing:
        same_code = [name for name, file in found.items() if name not in noted and noted[old].fits(file)]
        if same_code:  # the same text says more than the same code
            renamed[old] = max(same_code, key=lambda name: found[name].checksum == noted[old].checksum)
    return renamed


def _fingerprints(files: Sequence[Migration]) -> tuple[dict[str, Fingerprint], dict[str, str]]:
    """The fingerprints by name, and for files that cannot be read the reasons by name."""
    fingerprints, reasons = {}, {}
    for file in files:
        try:
            fingerprints[file.name] = file.fingerprint()
        except BadMigration as error:
            reasons[file.name] = str(error).rstrip(".")
    return fingerprints, reasons


def user_at_host(who: str | None = None) -> str:
    """``ann@web1``; ``who`` stands in place of the user of this machine."""
    import getpass
    import socket

    try:
        user = who or getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())  # in a container the user may have no name
    return one_line(f"{user}@{socket.gethostname()}")
