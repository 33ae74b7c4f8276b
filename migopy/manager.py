"""The ``MigrationsManager``: the settings, and the subtasks as a fabfile's author knows them."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Sequence, Sized

from fabric.state import env, output

from . import subtasks
from .console import ColorsLogger, ask, duration
from .errors import (
    BadMigration,
    CheckFailed,
    ConfigurationError,
    LockHeld,
    MigopyException,
    WrongState,
)
from .subtasks import is_yes, task
from .version import __version__

# The fabfile's other tasks pay for the import of this module; the methods that need the others import them.
if TYPE_CHECKING:
    from pathlib import Path

    import pymongo
    from pymongo.collection import Collection
    from pymongo.database import Database

    from .choice import Choice
    from .history import History
    from .loader import LoadedMigration, Migration
    from .lock import Holder, Lock
    from .mongo import Server
    from .run import Run
    from .status import Status

    Client = pymongo.MongoClient[Dict[str, Any]]


LOCK_POLL = 0.5
"""Seconds between two attempts to take a lock that another run holds."""

TEMPLATE = '''"""{words}"""


def up(db):
    """What fab migrations:execute does."""


def down(db):
    """What fab migrations:rollback does: take back what up() did."""
'''


class MigrationsManager:
    """Subclass it in the fabfile, set the attributes, and make the task: ``migrations = Migrations.create_task()``.

    Making an object does no I/O: Fabric lists the class itself as a task, and ``fab Migrations`` makes one.
    """

    MONGO_HOST: str = "localhost"
    MONGO_PORT: int = 27017
    MONGO_DATABASE: str | None = None
    MONGO_USER: str | None = None
    MONGO_USER_PASSWORD: str | None = None
    MONGO_USER_PASS: str | None = None
    """The name that 1.0 read; ``MONGO_USER_PASSWORD`` is the documented one."""
    MONGO_AUTH_DATABASE: str | None = None
    """The database that knows the user; ``MONGO_DATABASE`` if not set, as in 1.0."""
    MONGO_URI: str | None = None
    """A whole connection string; wins over host, port and user."""
    MONGO_CLIENT_OPTIONS: Mapping[str, Any] = {}
    """Further keyword arguments of the client, TLS for example."""

    MIGRATIONS_COLLECTION: str = "migrations"
    MIGRATIONS_DIRECTORY: str = "mongomigrations"
    MIGRATIONS_FILE_PATTERN: str = r"(?P<migr_nr>[0-9]+)_[a-z0-9_]+\.py"

    MIGRATION_TEMPLATE: str = TEMPLATE
    """The text of a file that create makes; ``{words}`` in it stands for the words it was given."""

    DO_MONGO_DUMP: bool = False
    MONGO_DUMP_DIRECTORY: str = "mongodumps"

    LOCK_LEASE: float = 60
    """Seconds after which the lock of a run that died is free."""
    LOCK_WAIT: float = 60
    """Seconds to wait while another run holds the lock."""
    STRICT: bool = False
    """Whether execute refuses when a registered file changed or is missing, or an unregistered one is out of order."""
    LEGACY_PYMONGO: bool = True
    """Whether databases answer the calls that PyMongo 3 and 4 removed."""

    FAB_TASK: str = "migrations"
    """The name that the task has in the fabfile."""

    logger: ColorsLogger = ColorsLogger()

    @staticmethod
    def MongoClient(*args: Any, **kwargs: Any) -> Client:  # noqa: N802 - the name is that of 1.0
        """Make the client; replace it by another callable that takes what ``pymongo.MongoClient`` takes."""
        from . import mongo

        return mongo.make_client(*args, **kwargs)

    # The task

    @classmethod
    def create_task(cls) -> Callable[..., Any]:
        """The function to assign to a name in the fabfile; Fabric's own ``task()`` may be put around it."""
        return subtasks.create_task(cls)

    @classmethod
    def task_hook(cls, subtask: str | None, option: str | None) -> None:
        """Called before every subtask, for example to run it on a remote machine instead.

        ``subtask`` and ``option`` are what stands on the fab command line, in Fabric's own syntax, or None. Raise
        ``StopTaskExecution`` to end the task here.
        """

    @classmethod
    def fab_command(cls, subtask: str | None = None, option: str | None = None) -> str:
        """The command line that does on another machine what the arguments of ``task_hook`` do here."""
        return subtasks.fab_command(cls.FAB_TASK, subtask, option)

    @staticmethod
    def tasks(manager: MigrationsManager) -> dict[str, Callable[..., Any]]:
        """The subtasks of a manager, by name."""
        return {name: getattr(manager, name) for name in subtasks.names(type(manager))}

    # The subtasks

    @task(default=True)
    def show_status(self, json: str | None = None) -> None:
        """Show the unregistered migrations, and whatever needs a person (json=yes for programs)"""
        from . import report

        names = self.unregistered()
        status = self._status()
        if is_yes("json", json):
            print(report.as_json(report.status_rows(status)))
            return
        if names:
            self.logger.white_bold(f"Unregistered migrations ({self._command('execute')} to execute them):")
            for name in names:
                self.logger.red(name)
        else:
            self._nothing_to_execute()
        self._show_problems(status)

    @task
    def execute(self, spec_migr: str | None = None, to: str | None = None) -> None:
        """Execute the unregistered migrations in order: all, one (execute,NAME) or up to one (execute,to=NAME)"""
        if not self._chosen(spec_migr, to):
            return self._nothing_to_execute(to)
        with self._locked("execute") as lock:
            chosen = self._chosen(spec_migr, to)
            if not chosen:
                return self._nothing_to_execute(to)
            self._refuse_drift()
            known = self._known()
            ready, blocked = self._load(chosen, "up", known, named=spec_migr)
            self._say_what_failed_before(ready, known)
            dump_path = self._dump_before(ready)
            lock.announce([migration.name for migration in ready])
            run = self._run(lock)
            self._each(ready, "Executing", "Executed", lambda m, left: run.execute(m, dump_path, left + len(blocked)))
            self._stop_at_interrupted(blocked, known)

    @task
    def ignore(self, spec_migr: str | None = None, to: str | None = None) -> None:
        """Register migrations without executing them: all, one (ignore,NAME) or up to one (ignore,to=NAME)"""
        if not self._chosen(spec_migr, to):
            return self._nothing_to_execute(to)
        with self._locked("ignore") as lock:
            chosen = self._chosen(spec_migr, to)
            if not chosen:
                return self._nothing_to_execute(to)
            for migration in chosen:
                self.logger.white_bold(f"Registering migration {migration.name}...")
            checksums = {migration.name: migration.checksum() for migration in chosen}
            lock.confirm()
            self._history.ignore(checksums, at=lock.now())

    @task
    def rollback(self, spec_migr: str | None = None, last: str | None = None, to: str | None = None) -> None:
        """Run down() and unregister: one (rollback,NAME), the N executed last (rollback,last=N)
        or all executed after one (rollback,to=NAME), newest first
        """
        subtasks.require_rollback_option(f"fab {self.FAB_TASK}", spec_migr, last, to)
        if not self._choice().to_roll_back(spec_migr, last, to):
            return self._nothing_to_roll_back()
        with self._locked("rollback") as lock:
            chosen = self._choice().to_roll_back(spec_migr, last, to)
            known = self._known()
            ready, blocked = self._load(chosen, "down", known, named=spec_migr)
            dump_path = self._dump_before(ready)
            lock.announce([migration.name for migration in ready])
            run, records = self._run(lock), known.records

            def roll_back(migration: LoadedMigration, left: int) -> float:
                return run.roll_back(migration, records[migration.name], dump_path, left + len(blocked))

            self._each(ready, "Rollback", "Rolled back", roll_back)
            self._stop_at_interrupted(blocked, known)

    @task
    def forget(self, name: str) -> None:
        """Unregister a migration without running down(), the opposite of ignore: forget,NAME"""
        self._choice().registered(name)
        with self._locked("forget") as lock:
            registered = self._choice().registered(name)
            record = self._history.registered()[registered]
            self.logger.white_bold(f"Forgetting migration {registered}...")
            lock.confirm()
            self._history.unregister(registered)
            self._history.log("forgotten", registered, executed_at=record.at)

    @task
    def plan(self, to: str | None = None, json: str | None = None) -> None:
        """Show what execute would do, in order, and every problem; runs nothing (plan,to=NAME, json=yes)"""
        from . import loader, report

        status = self._status(with_changed=True)
        with loader.importable(self._folder):
            planned = [self._step(migration) for migration in self._choice().up_to(to, status.unregistered)]
        steps = [step for step, _ in planned]
        obstacles = self._obstacles([loaded for _, loaded in planned if loaded])
        if is_yes("json", json):
            print(report.as_json({"plan": steps, "obstacles": obstacles, **report.status_rows(status)}))
            return
        if steps:
            print(report.plan_table(steps))
        else:
            self._nothing_to_execute(to)
        for obstacle in [*(step["error"] for step in steps if step["error"]), *obstacles]:
            self.logger.red(f"execute would stop: {obstacle}")
        self._show_problems(status)

    @task
    def check(self, json: str | None = None) -> None:
        """Exit with 0 if the database is up to date and nothing is wrong, else with 4 (json=yes for programs)"""
        from . import report

        status = self._status(with_changed=True)
        unregistered, problems = status.unregistered, status.problems
        if is_yes("json", json):
            print(report.as_json({"ok": not (unregistered or problems), **report.status_rows(status)}))
        else:
            for migration in unregistered:
                self.logger.red(f"{migration.name}: unregistered")
            self._show_problems(status)
        if unregistered or problems:
            found = [_number(unregistered, "unregistered migration"), _number(problems, "problem")]
            raise CheckFailed(f"Not up to date: {' and '.join(filter(None, found))}. See {self._command('history')}.")
        self.logger.green("Up to date, nothing is wrong")

    @task
    def history(self, name: str | None = None, last: str | None = None, json: str | None = None) -> None:
        """Show every migration: its state, when, how long, by whom; one with its events (history,NAME),
        or only the last (history,last=N; json=yes for programs)
        """
        from . import report

        rows = report.history_rows(self._status(with_changed=True), self._number_of)
        events = None
        if name:
            name = self._choice().name(name)
            rows = [row for row in rows if row["name"] == name]
            events = report.event_rows(self._history.events(name))
        elif last is not None:
            rows = rows[-subtasks.positive("last", last) :]
        if is_yes("json", json):
            print(report.as_json({"migrations": rows} if events is None else {"migrations": rows, "events": events}))
            return
        print(report.history_table(rows))
        if events:
            print(f"\n{report.event_table(events)}")

    @task
    def create(self, words: str) -> str:
        """Write a new migration file, numbered after the highest: create,words of its name"""
        from . import loader

        directory = self._folder / self.MIGRATIONS_DIRECTORY
        registered = self._history.registered()
        path = loader.create(directory, words, registered, self.MIGRATIONS_FILE_PATTERN, self.MIGRATION_TEMPLATE)
        print(path)
        return str(path)

    @task
    def dbdump(self) -> str | None:
        """Dump the database with mongodump into a new folder"""
        from . import dump

        dump.require("mongodump")
        server = self._server
        database = server.database_name()
        self.mongo_client  # noqa: B018 - of a server that is not there our client says so in 5 s, mongodump in 30
        self.logger.white_bold("Doing mongo dump...")
        parent = self._folder / self.MONGO_DUMP_DIRECTORY
        with dump.config_file(server.connection_string()) as config, dump.new_folder(parent) as folder:
            self._run_tool(dump.dump_command(config, database, folder))
        if folder.exists():
            return str(folder)
        self.logger.white(f"The database {database} does not exist yet, there was nothing to dump.")
        return None

    @task
    def dbrestore(self, dump_folder: str, force: str | None = None) -> None:
        """Restore the collections of a dump, after a question: dbrestore,DUMP (force=yes answers it)"""
        from . import dump

        dump.require("mongorestore")
        server = self._server
        database = server.database_name()
        folder = dump.find_folder(dump_folder, self._folder / self.MONGO_DUMP_DIRECTORY, database)
        self._agree(f"Replace the collections of {database} at {server.address} by those in {folder}?", force)
        with self._locked("dbrestore") as lock, dump.config_file(server.connection_string()) as config:
            kept = [f"{self.MIGRATIONS_COLLECTION}_lock", f"{self.MIGRATIONS_COLLECTION}_log"]
            self._run_tool(dump.restore_command(config, database, folder, without=kept))
            lock.check()
            self._history.log("restored", None, dump=str(folder))
        self.logger.green(f"Restored {database} from {folder}.")

    @task
    def unlock(self, force: str | None = None) -> None:
        """Show who holds the lock, and free it after a question (force=yes answers it)"""
        lock = self._lock
        holder = lock.holder()
        if holder is None:
            self.logger.green("Nobody holds the lock.")
            return
        kind = "held" if holder.held else "left behind"
        self.logger.white_bold(f"The lock is {kind} by {self._described(holder)}.")
        self._agree("Free it? A run that still goes on will lose it and register nothing more.", force)
        freed = lock.free(holder)
        if freed is None:
            self.logger.green("It has been given back meanwhile.")
            return
        description = self._described(freed)
        self._history.log("unlocked", freed.migration(self._history.registered()), error=description)
        self._log_interrupted(freed)
        lock.forget()
        self.logger.green("The lock is free.")

    @task
    def help(self) -> None:
        """Show this help"""
        for command, line in subtasks.help_lines(type(self)):
            self.logger.white(f"{command} - {line}")

    # For the team to use and to override

    @cached_property
    def mongo_client(self) -> Client:
        """The client, connected at first use and closed when the task is done."""
        from . import mongo

        client = mongo.connect(self.MongoClient, self._server)
        self._until_closed.callback(mongo.close, client)
        return client

    @cached_property
    def db(self) -> Database[dict[str, Any]]:
        """The database of the settings, the one that ``up`` and ``down`` get."""
        db = self.mongo_client[self._server.database_name()]
        if not self.LEGACY_PYMONGO:
            return db
        from . import legacy

        self._until_closed.enter_context(legacy.warnings_shown(self.logger.white))
        return legacy.database(db)

    @cached_property
    def collection(self) -> Collection[dict[str, Any]]:
        """The collection of the registered migrations."""
        return self.db[self.MIGRATIONS_COLLECTION]

    def unregistered(self) -> list[str]:
        """The names of the unregistered files, in order. Raises ``BadMigration`` when one is badly named."""
        registered = self._history.registered()
        migrations = [migration for migration in self._files if migration.name not in registered]
        badly_named = [migration.name for migration in migrations if migration.number is None]
        if badly_named:
            names = ", ".join(badly_named)
            raise BadMigration(
                f"Not the name of a migration: {names}. A name has to match {self.MIGRATIONS_FILE_PATTERN}, or start"
                " with _ if the file is no migration."
            )
        return [migration.name for migration in migrations]

    def sorted(self, names: list[str]) -> list[str]:
        """The names in the order of their numbers, equal ones by name."""
        from . import loader

        return loader.in_order(names, self._number_of)

    def before_each(self, name: str) -> None:
        """Override it to do something before each ``up()`` and ``down()``; what it raises stops the run."""

    def after_each(self, name: str) -> None:
        """Override it to do something after each ``up()`` and ``down()``; what it raises stops the run."""

    def close(self) -> None:
        """Let go of what was taken at first use: the client, if there is one."""
        self._until_closed.close()

    # What is there

    @property
    def _folder(self) -> Path:
        """Where relative directories count from: the fabfile's folder, or the working directory without a fab."""
        from pathlib import Path

        fabfile = env.get("real_fabfile")
        return Path(os.path.dirname(fabfile) if fabfile else os.getcwd())

    @cached_property
    def _until_closed(self) -> contextlib.ExitStack:
        return contextlib.ExitStack()

    @property
    def _server(self) -> Server:
        from .mongo import Server

        in_host = "://" in str(self.MONGO_HOST)  # MongoClient(host) takes a URI too, so a fabfile may have one there
        try:
            port = int(self.MONGO_PORT)
        except (TypeError, ValueError):
            raise ConfigurationError(f"MONGO_PORT has to be a number, not {self.MONGO_PORT!r}.") from None
        return Server(
            host=self.MONGO_HOST,
            port=port,
            uri=self.MONGO_URI or (self.MONGO_HOST if in_host else None),
            database=self.MONGO_DATABASE,
            user=self.MONGO_USER,
            password=self.MONGO_USER_PASSWORD or self.MONGO_USER_PASS,
            auth_database=self.MONGO_AUTH_DATABASE,
            client_options=self.MONGO_CLIENT_OPTIONS,
        )

    @cached_property
    def _history(self) -> History:
        from .history import History

        server = self._server
        db = self.mongo_client[server.database_name()]
        return History(db, self.MIGRATIONS_COLLECTION, server.address, _who(), __version__)

    @cached_property
    def _lock(self) -> Lock:
        from .lock import Lock

        for setting, value, least in (("LOCK_LEASE", self.LOCK_LEASE, 1), ("LOCK_WAIT", self.LOCK_WAIT, 0)):
            if not isinstance(value, (int, float)) or value < least:
                raise ConfigurationError(f"{setting} has to be a number of seconds from {least} on, not {value!r}.")
        server = self._server
        db = self.mongo_client[server.database_name()]
        return Lock(db, self.MIGRATIONS_COLLECTION, server.address, self.LOCK_LEASE, _who(), os.getpid())

    @cached_property
    def _files(self) -> list[Migration]:
        from . import loader

        return loader.find(self._folder / self.MIGRATIONS_DIRECTORY, self.MIGRATIONS_FILE_PATTERN)

    @cached_property
    def _number_of(self) -> Callable[[str], int | None]:
        from . import loader

        return loader.numbering(self.MIGRATIONS_FILE_PATTERN)

    def _look_again(self) -> None:
        self._history.read_again()
        self.__dict__.pop("_files", None)

    def _choice(self) -> Choice:
        """Which migrations names mean, among what is known now."""
        from .choice import Choice

        records, command = self._history.registered(), f"fab {self.FAB_TASK}"
        return Choice(self._files, records, self._number_of, self.MIGRATIONS_DIRECTORY, command)

    def _chosen(self, spec_migr: str | None, to: str | None) -> list[Migration]:
        return self._choice().unregistered(set(self.unregistered()), spec_migr, to)

    def _known(self, holder: Holder | None = None, changed: Sequence[str] = ()) -> Status:
        """What files, history and log say: one listing of the directory and one read of each collection."""
        from .status import Status

        records, events = self._history.registered(), self._history.last_events()
        return Status(self._files, records, f"fab {self.FAB_TASK}", events, holder, changed)

    def _status(self, with_changed: bool = False) -> Status:
        """The same and the lock, which is one more read; ``with_changed`` reads the registered files too."""
        return self._known(self._lock.holder(), self._changed() if with_changed else ())

    def _changed(self) -> list[str]:
        """The registered migrations whose file is not what was executed; 1.0 noted no checksum."""
        records = self._history.registered()
        noted = {migration: records[migration.name].checksum for migration in self._files if migration.name in records}
        return [migration.name for migration, checksum in noted.items() if checksum not in (None, migration.checksum())]

    # Running

    @contextlib.contextmanager
    def _locked(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock, and see what is there now: another run may have been at work until this moment."""
        from . import loader

        lock = self._lock
        self._wait_for(lock, subtask)
        with lock, loader.importable(self._folder):
            self._look_again()
            if lock.died:
                self._log_interrupted(lock.died)
                lock.died_is_logged()
            yield lock

    def _wait_for(self, lock: Lock, subtask: str) -> None:
        until = time.monotonic() + self.LOCK_WAIT
        holder = lock.take(subtask)
        if holder:
            self.logger.white_bold(f"Waiting for {self._described(holder)}...")
        while holder:
            if time.monotonic() >= until:
                raise LockHeld(
                    f"The lock is held by {self._described(holder)}. Nothing was done after waiting"
                    f" {self.LOCK_WAIT:g} s; try again later, and if that process is no more:"
                    f" {self._command('unlock')}."
                )
            time.sleep(LOCK_POLL)
            holder = lock.take(subtask)

    def _described(self, holder: Holder) -> str:
        """Who it is, and where it is now: which of its migrations are done stands in the history."""
        self._history.read_again()
        return holder.described(self._history.registered())

    def _log_interrupted(self, holder: Holder) -> None:
        migration = holder.migration(self._history.registered())
        if migration:
            self._history.log("interrupted", migration, error=holder.described(self._history.registered()))
            self._history.read_again()

    def _run(self, lock: Lock) -> Run:
        from .run import Run

        hooks = (self.before_each, self.after_each)
        return Run(lock, self._history, self.db, hooks, self.logger.red, self.FAB_TASK)

    def _load(
        self, chosen: list[Migration], function: str, known: Status, named: str | None
    ) -> tuple[list[LoadedMigration], list[LoadedMigration]]:
        """Import all that were chosen, and tell those that can run from the first one that was interrupted on.

        One that is named runs all the same, and one in a transaction happened whole or not at all.
        """
        loaded = [migration.load(function) for migration in chosen]
        self._require_transactions(loaded)

        def can_run(migration: LoadedMigration) -> bool:
            return bool(named) or migration.in_transaction or known.unfinished(migration.name) != "interrupted"

        ready = list(itertools.takewhile(can_run, loaded))
        return ready, loaded[len(ready) :]

    def _require_transactions(self, loaded: list[LoadedMigration]) -> None:
        """Raises ``ConfigurationError`` when a migration asks for a transaction and the server has none."""
        from . import mongo

        asking = [migration.name for migration in loaded if migration.in_transaction]
        if not asking:
            return
        with mongo.server_errors(self._server.address):
            if not mongo.has_transactions(self.mongo_client):
                raise ConfigurationError(
                    f"{asking[0]} has a parameter named session, which asks for a transaction, and MongoDB at"
                    f" {self._server.address} is neither a replica set nor a sharded cluster. No migration was run."
                )

    def _each(
        self,
        migrations: list[LoadedMigration],
        doing: str,
        done: str,
        run_one: Callable[[LoadedMigration, int], float],
    ) -> None:
        """Run one after the other and say so; ``run_one`` gets the number of those after it, and returns seconds."""
        started = time.monotonic()
        for place, migration in enumerate(migrations, start=1):
            position = f" ({place} of {len(migrations)})" if len(migrations) > 1 else ""
            self.logger.white_bold(f"{doing} migration {migration.name}...{position}")
            seconds = run_one(migration, len(migrations) - place)
            self.logger.white(f"{done} {migration.name} in {duration(seconds)}")
        if len(migrations) > 1:
            self.logger.green(f"{done} {len(migrations)} migrations in {duration(time.monotonic() - started)}")

    @staticmethod
    def _stop_at_interrupted(blocked: list[LoadedMigration], known: Status) -> None:
        if blocked:
            raise WrongState(known.interrupted(blocked[0].name))

    def _say_what_failed_before(self, migrations: list[LoadedMigration], known: Status) -> None:
        for failure in filter(None, (known.failure(migration.name) for migration in migrations)):
            self.logger.white(f"{failure}; trying it again")

    def _refuse_drift(self) -> None:
        """With ``STRICT``: raises ``WrongState`` when files and registered migrations do not fit together."""
        from .status import DRIFT

        if not self.STRICT:
            return
        found = [problem for problem in self._known(changed=self._changed()).problems if problem.kind in DRIFT]
        if found:
            ways_on = dict.fromkeys(DRIFT[problem.kind] for problem in found)
            facts = "; ".join(problem.text for problem in found)
            raise WrongState(f"STRICT: {facts}. Nothing was executed: {'; '.join(ways_on)}.")

    def _step(self, migration: Migration) -> tuple[dict[str, Any], LoadedMigration | None]:
        """What executing this migration would mean; None where its file cannot say."""
        step: dict[str, Any] = {"name": migration.name, "transaction": None, "down": None, "dump": self.DO_MONGO_DUMP}
        try:
            loaded = migration.load("up")
        except MigopyException as error:
            return {**step, "error": str(error)}, None
        return {**step, "transaction": loaded.in_transaction, "down": loaded.has_down, "error": None}, loaded

    def _obstacles(self, loaded: list[LoadedMigration]) -> list[str]:
        """Why execute would refuse these migrations before the first one runs."""
        from . import dump

        obstacles = []
        for refuse in (
            self._refuse_drift,
            lambda: self._require_transactions(loaded),
            lambda: dump.require("mongodump") if self.DO_MONGO_DUMP and loaded else None,
        ):
            try:
                refuse()
            except MigopyException as error:
                obstacles.append(str(error))
        return obstacles

    def _dump_before(self, migrations: list[LoadedMigration]) -> str | None:
        return self.dbdump() if self.DO_MONGO_DUMP and migrations else None

    @staticmethod
    def _run_tool(command: str) -> None:
        """Show the command as Fabric's ``local()`` would, and run it. Raises ``DumpFailed`` when it fails."""
        from . import dump

        if output.running:
            print(f"[localhost] local: {command}", flush=True)
        dump.run(command)

    # Messages

    def _command(self, subtask: str) -> str:
        return f"fab {self.FAB_TASK}:{subtask}"

    def _nothing_to_execute(self, to: str | None = None) -> None:
        which = f"All migrations up to {to}" if to and self.unregistered() else "All migrations"
        self.logger.green(f"{which} registered, nothing to execute")

    def _nothing_to_roll_back(self) -> None:
        self.logger.green("No such migration was executed, nothing to roll back")

    def _show_problems(self, status: Status) -> None:
        """Below the list of migrations: in red what went wrong, then what is no error and still worth a look."""
        for problem in status.problems:
            say = self.logger.red if problem.is_unfinished else self.logger.white
            say(problem.text)
        if status.holder and status.holder.held:
            self.logger.white(f"Locked by {status.holder.described(status.records)}.")

    def _agree(self, question: str, force: str | None) -> None:
        """Ask before something that cannot be undone; raises ``WrongState`` unless the answer, or ``force``, is yes."""
        if is_yes("force", force):
            return
        if not sys.stdin.isatty():
            raise WrongState("Nothing was done: there is no terminal to ask on. Write force=yes to answer yes.")
        if not ask(question):
            raise WrongState("Nothing was done.")


def _number(things: Sized, name: str) -> str:
    """``2 problems``; empty where there are none."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}" if things else ""


def _who() -> str:
    """``user@host``; in a container the user may have a number only."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
