"""The ``MigrationsManager``: the settings, and the subtasks as a fabfile's author knows them."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import socket
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping

from fabric.context_managers import hide, settings
from fabric.operations import local
from fabric.state import env

from . import dump, loader, subtasks
from .console import ColorsLogger, ask, local_time
from .errors import (
    BadMigration,
    ConfigurationError,
    DumpFailed,
    LockHeld,
    MigrationNotFound,
    UnknownSubtask,
    WrongState,
)
from .loader import LoadedMigration, Migration
from .status import Status
from .subtasks import task
from .version import __version__

if TYPE_CHECKING:
    import pymongo
    from pymongo.collection import Collection
    from pymongo.database import Database

    from .history import History
    from .lock import Holder, Lock
    from .mongo import Server
    from .run import Run

    Client = pymongo.MongoClient[Dict[str, Any]]


LOCK_POLL = 0.5
"""Seconds between two attempts to take a lock that another run holds."""


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

    DO_MONGO_DUMP: bool = False
    MONGO_DUMP_DIRECTORY: str = "mongodumps"

    LOCK_LEASE: float = 60
    """Seconds after which the lock of a run that died is free."""
    LOCK_WAIT: float = 60
    """Seconds to wait while another run holds the lock."""
    LEGACY_PYMONGO: bool = True
    """Whether databases answer the calls that PyMongo 3 and 4 removed."""

    FAB_TASK: str = "migrations"
    """The name that the task has in the fabfile."""

    logger: ColorsLogger = ColorsLogger()

    @staticmethod
    def MongoClient(*args: Any, **kwargs: Any) -> Client:  # noqa: N802 - the name is that of 1.0
        """Make the client; replace it by another callable that takes what ``pymongo.MongoClient`` takes."""
        import pymongo

        return pymongo.MongoClient(*args, **kwargs)

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
    def show_status(self) -> None:
        """Show the unregistered migrations"""
        names = self.unregistered()
        if names:
            self.logger.white_bold(f"Unregistered migrations ({self._command('execute')} to execute them):")
            for name in names:
                self.logger.red(name)
        else:
            self._nothing_to_execute()
        self._show_problems()

    @task
    def execute(self, spec_migr: str | None = None) -> None:
        """Execute the unregistered migrations in order, or one: execute,NAME"""
        if not self._chosen(spec_migr):
            self._nothing_to_execute()
            return
        with self._locked("execute") as lock:
            chosen = self._chosen(spec_migr)
            if not chosen:
                self._nothing_to_execute()
                return
            loaded = [migration.load("up") for migration in chosen]
            ready = loaded if spec_migr else self._before_interrupted(loaded)
            dump_path = self._dump_before(ready)
            run = self._run(lock)
            for place, migration in enumerate(ready, start=1):
                self.logger.white_bold(f"Executing migration {migration.name}...")
                run.execute(migration, dump_path, after=len(loaded) - place)
            if ready != loaded:
                raise WrongState(self._interrupted(loaded[len(ready)].name))

    @task
    def ignore(self, spec_migr: str | None = None) -> None:
        """Register the unregistered migrations without executing them, or one: ignore,NAME"""
        if not self._chosen(spec_migr):
            self._nothing_to_execute()
            return
        with self._locked("ignore") as lock:
            chosen = self._chosen(spec_migr)
            if not chosen:
                self._nothing_to_execute()
                return
            for migration in chosen:
                self.logger.white_bold(f"Registering migration {migration.name}...")
            self._history.ignore({migration.name: migration.checksum() for migration in chosen}, at=lock.now())

    @task
    def rollback(self, spec_migr: str | None = None) -> None:
        """Run down() of a registered migration and unregister it: rollback,NAME"""
        if spec_migr is None:
            raise UnknownSubtask(f"What is to be rolled back? Write {self._command('rollback')},NAME.")
        self._registered(spec_migr)
        with self._locked("rollback") as lock:
            migration = self._registered(spec_migr).load("down")
            self._dump_before([migration])
            self.logger.white_bold(f"Rollback migration {migration.name}...")
            self._run(lock).roll_back(migration, self._history.registered()[migration.name], after=0)

    @task
    def dbdump(self) -> str | None:
        """Dump the database with mongodump into a new folder"""
        dump.require("mongodump")
        server = self._server
        database = server.database_name()
        self.mongo_client  # noqa: B018 - of a server that is not there our client says so in 5 s, mongodump in 30
        self.logger.white_bold("Doing mongo dump...")
        folder = dump.new_folder(self._folder / self.MONGO_DUMP_DIRECTORY)
        with dump.config_file(server.connection_string()) as config:
            self._local(dump.dump_command(config, database, folder))
        if not any(folder.iterdir()):
            folder.rmdir()
            self.logger.white(f"The database {database} does not exist yet, there was nothing to dump.")
            return None
        return str(folder)

    @task
    def dbrestore(self, dump_folder: str, force: str | None = None) -> None:
        """Restore the collections of a dump, after a question: dbrestore,DUMP (force=yes answers it)"""
        dump.require("mongorestore")
        server = self._server
        database = server.database_name()
        folder = dump.find_folder(dump_folder, self._folder / self.MONGO_DUMP_DIRECTORY, database)
        self._agree(f"Replace the collections of {database} at {server.address} by those in {folder}?", force)
        with self._locked("dbrestore") as lock, dump.config_file(server.connection_string()) as config:
            kept = [f"{self.MIGRATIONS_COLLECTION}_lock", f"{self.MIGRATIONS_COLLECTION}_log"]
            self._local(dump.restore_command(config, database, folder, without=kept))
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
        self.logger.white_bold(f"The lock is {'held' if holder.held else 'left behind'} by {holder}.")
        self._agree("Free it? A run that still goes on will lose it and register nothing more.", force)
        if not lock.free(holder):
            self.logger.green("It has been given back meanwhile.")
            return
        self._log_interrupted(holder)
        self._history.log("unlocked", holder.migration, error=str(holder))
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

        return mongo.connect(self.MongoClient, self._server)

    @cached_property
    def db(self) -> Database[dict[str, Any]]:
        """The database of the settings, the one that ``up`` and ``down`` get."""
        return self.mongo_client[self._server.database_name()]

    @cached_property
    def collection(self) -> Collection[dict[str, Any]]:
        """The collection of the registered migrations."""
        return self.db[self.MIGRATIONS_COLLECTION]

    def unregistered(self) -> list[str]:
        """The names of the unregistered files, in order. Raises ``BadMigration`` when one is badly named."""
        status = Status(self._files, self._history.registered())
        if status.badly_named:
            names = ", ".join(migration.name for migration in status.badly_named)
            raise BadMigration(
                f"Not the name of a migration: {names}. A name has to match {self.MIGRATIONS_FILE_PATTERN}, or start"
                " with _ if the file is no migration."
            )
        return [migration.name for migration in status.unregistered]

    def sorted(self, names: list[str]) -> list[str]:
        """The names in the order of their numbers, equal ones by name."""
        number_of = loader.numbering(self.MIGRATIONS_FILE_PATTERN)
        return sorted(names, key=lambda name: Migration(number_of(name), name, Path(name)).order)

    def before_each(self, name: str) -> None:
        """Override it to do something before each ``up()`` and ``down()``; what it raises stops the run."""

    def after_each(self, name: str) -> None:
        """Override it to do something after each ``up()`` and ``down()``; what it raises stops the run."""

    def close(self) -> None:
        """Close the client, if there is one."""
        client = self.__dict__.pop("mongo_client", None)
        if client is not None:
            client.close()

    # Which migrations are meant

    def _chosen(self, spec_migr: str | None) -> list[Migration]:
        """The unregistered migrations that a subtask is about: all, or the one that is named."""
        names = self.unregistered()
        if spec_migr and names:
            names = [self._unregistered_name(spec_migr, names)]
        return [migration for migration in self._files if migration.name in names]

    def _unregistered_name(self, spec_migr: str, unregistered: list[str]) -> str:
        name = self._name(spec_migr, [migration.name for migration in self._files])
        if name not in unregistered:
            raise WrongState(f"{name} is already registered; {self._command('rollback')},{name} takes it back.")
        return name

    def _registered(self, spec_migr: str) -> Migration:
        """The registered migration that is named, with its file."""
        files = {migration.name: migration for migration in self._files}
        registered = self._history.registered()
        name = self._name(spec_migr, {**files, **registered})
        if name not in registered:
            raise WrongState(f"{name} is not registered, there is nothing to roll back.")
        if name not in files:
            raise MigrationNotFound(f"{name} is registered, but there is no such file in {self.MIGRATIONS_DIRECTORY}.")
        return files[name]

    def _name(self, short_name: str, names: Mapping[str, Any] | list[str]) -> str:
        number_of = loader.numbering(self.MIGRATIONS_FILE_PATTERN)
        return loader.choose(short_name, names, number_of, self.MIGRATIONS_DIRECTORY)

    # What is there

    @property
    def _folder(self) -> Path:
        """Where relative directories count from: the fabfile's folder, or the working directory without a fab."""
        fabfile = env.get("real_fabfile")
        return Path(os.path.dirname(fabfile) if fabfile else os.getcwd())

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

        server = self._server
        db = self.mongo_client[server.database_name()]
        return Lock(db, self.MIGRATIONS_COLLECTION, server.address, self.LOCK_LEASE, _who(), os.getpid())

    @cached_property
    def _files(self) -> list[Migration]:
        return loader.find(self._folder / self.MIGRATIONS_DIRECTORY, self.MIGRATIONS_FILE_PATTERN)

    def _look_again(self) -> None:
        self._history.read_again()
        self.__dict__.pop("_files", None)

    # Running

    @contextlib.contextmanager
    def _locked(self, subtask: str) -> Iterator[Lock]:
        """Hold the lock, and see what is there now: another run may have been at work until this moment."""
        lock = self._lock
        self._wait_for(lock, subtask)
        with lock, loader.importable(self._folder):
            self._look_again()
            if lock.died:
                self._log_interrupted(lock.died)
                lock.settled()
            yield lock

    def _wait_for(self, lock: Lock, subtask: str) -> None:
        until = time.monotonic() + self.LOCK_WAIT
        holder = lock.take(subtask)
        if holder:
            self.logger.white_bold(f"Waiting for {holder}...")
        while holder:
            if time.monotonic() >= until:
                raise LockHeld(
                    f"The lock is held by {holder}. Nothing was done after waiting {self.LOCK_WAIT:g} s; try again"
                    f" later, and if that process is no more: {self._command('unlock')}."
                )
            time.sleep(LOCK_POLL)
            holder = lock.take(subtask)

    def _log_interrupted(self, holder: Holder) -> None:
        if holder.left_half_done(self._history.registered()):
            self._history.log("interrupted", holder.migration, error=str(holder))
            self._history.read_again()

    def _run(self, lock: Lock) -> Run:
        from .run import Run

        hooks = (self.before_each, self.after_each)
        return Run(lock, self._history, self.db, hooks, self.logger.red, self.FAB_TASK)

    def _before_interrupted(self, loaded: list[LoadedMigration]) -> list[LoadedMigration]:
        """Those before the first one that was interrupted; one in a transaction happened whole or not at all."""

        def is_safe(migration: LoadedMigration) -> bool:
            return migration.in_transaction or not self._was_interrupted(migration.name)

        return list(itertools.takewhile(is_safe, loaded))

    def _dump_before(self, migrations: list[LoadedMigration]) -> str | None:
        return self.dbdump() if self.DO_MONGO_DUMP and migrations else None

    def _local(self, command: str) -> None:
        """Run a tool through Fabric, which shows the command; raises ``DumpFailed`` when it fails."""
        with settings(hide("warnings"), warn_only=True):
            result = local(command)
        if result.failed:
            tool = command.partition(" ")[0]
            raise DumpFailed(f"{tool} failed with exit code {result.return_code}, see what it says above.")

    # Messages

    def _command(self, subtask: str) -> str:
        return f"fab {self.FAB_TASK}:{subtask}"

    def _nothing_to_execute(self) -> None:
        self.logger.green("All migrations registered, nothing to execute")

    def _show_problems(self) -> None:
        """Whatever needs a person and can be told without reading the files."""
        status = Status(self._files, self._history.registered(), self._history.last_events(), self._lock.holder())
        for name, event in status.all_unfinished.items():
            if event.event == "interrupted":
                self.logger.red(self._interrupted(name))
            else:
                self.logger.red(f"{name}: {event.event} on {local_time(event.at)} by {event.by}: {event.error}")
        if status.died_in and status.died_in not in status.last_events:
            self.logger.red(self._interrupted(status.died_in))
        if status.holder and status.holder.held:
            self.logger.white(f"Locked by {status.holder}.")
        for fact, names in status.oddities().items():
            self.logger.white(f"{fact}: {', '.join(names)}")

    def _was_interrupted(self, name: str) -> bool:
        event = Status(self._files, self._history.registered(), self._history.last_events()).unfinished(name)
        return event is not None and event.event == "interrupted"

    def _interrupted(self, name: str) -> str:
        again, done = ("rollback", "forget") if name in self._history.registered() else ("execute", "ignore")
        return (
            f"{name} was interrupted: it may be half applied, or still be running behind a broken network. Look at"
            f" the data; then {self._command(again)},{name} runs it again, or {self._command(done)},{name} takes it as"
            " done."
        )

    def _agree(self, question: str, force: str | None) -> None:
        """Ask before something that cannot be undone; raises ``WrongState`` unless the answer, or ``force``, is yes."""
        if force == "yes":
            return
        if force is not None:
            raise UnknownSubtask(f"force can only be yes, not {force!r}.")
        if not sys.stdin.isatty():
            raise WrongState("Nothing was done: there is no terminal to ask on. Write force=yes to answer yes.")
        if not ask(question):
            raise WrongState("Nothing was done.")


def _who() -> str:
    """``user@host``; in a container the user may have a number only."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
