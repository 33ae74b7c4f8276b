"""The ``MigrationsManager``: the settings, and the subtasks as a fabfile's author knows them."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Sequence, Sized, TypeVar

from . import rooms, subtasks
from .console import ColorsLogger, ask, duration, is_terminal, show
from .errors import CheckFailed, WrongState
from .fab import env, output
from .options import exactly_one, is_yes, not_empty, positive
from .subtasks import task

if TYPE_CHECKING:
    from pathlib import Path

    import pymongo
    from pymongo.collection import Collection
    from pymongo.database import Database

    from .account import Account
    from .inventory import Inventory
    from .mongo import Server
    from .planning import Plan, Planning
    from .run import Direction
    from .session import Session
    from .status import Problem, Status

    Client = pymongo.MongoClient[Dict[str, Any]]

Made = TypeVar("Made", bound="MigrationsManager")

TEMPLATE = '''"""{words}"""


def up(db):
    """What fab migrations:execute does."""


def down(db):
    """What fab migrations:rollback does: take back what up() did."""
'''


class MigrationsManager:
    """Subclass it in the fabfile, set the attributes, and make the task: ``migrations = Migrations.create_task()``.

    Making an object does no I/O.
    """

    MONGO_HOST: str | list[str] = "localhost"
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
        return rooms.mongo.make_client(*args, **kwargs)

    def __new__(cls: type[Made], *options: object, **named: object) -> Made:
        """Not in ``__init__``, which a team's class may have of its own without calling this one's."""
        subtasks.refuse_as_task(cls, options, named)
        return super().__new__(cls)

    def __init__(self) -> None:
        """An object takes no arguments; without this, ``__new__`` would take them all in silence."""

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
        session = self._session()
        inventory = session.inventory()
        status = session.status(inventory)
        if is_yes("json", json):
            show(rooms.report.as_json(rooms.report.status_rows(status)))
            return
        if inventory.unregistered:
            self.logger.white_bold(f"Unregistered migrations ({self._command('execute')} to execute them):")
            for migration in inventory.unregistered:
                self.logger.red(migration.name)
        else:
            self._nothing_to_execute(inventory)
        self._show_problems(status.problems, status)

    @task
    def execute(self, spec_migr: str | None = None, to: str | None = None, *, json: str | None = None) -> None:
        """Execute the unregistered migrations in order: all, one (execute,NAME) or up to one (execute,to=NAME);
        json=yes tells programs what was done
        """
        with self._account("execute", json) as account:
            session = self._session()
            inventory = session.inventory()
            if not inventory.to_execute(spec_migr, to):
                return self._nothing_to_execute(inventory, to)
            with session.locked("execute"):
                inventory = session.inventory()
                chosen = inventory.to_execute(spec_migr, to)
                if not chosen:
                    return self._nothing_to_execute(inventory, to)
                plan = self._planning(session).plan("up", chosen, inventory, named=spec_migr)
                for failure in plan.failed_before:
                    self.logger.white(f"{failure}; trying it again")
                self._carry_out(rooms.run.EXECUTE, plan, session, account)

    @task
    def ignore(self, spec_migr: str | None = None, to: str | None = None, *, json: str | None = None) -> None:
        """Register migrations without executing them: all, one (ignore,NAME) or up to one (ignore,to=NAME);
        json=yes tells programs what was done
        """
        with self._account("ignore", json) as account:
            not_empty("NAME", spec_migr, f"{self._command('ignore')},NAME, or {self._command('ignore')} for all")
            session = self._session()
            inventory = session.inventory()
            if not inventory.to_execute(spec_migr, to):
                return self._nothing_to_execute(inventory, to)
            with session.locked("ignore") as lock:
                inventory = session.inventory()
                chosen = inventory.to_execute(spec_migr, to)
                if not chosen:
                    return self._nothing_to_execute(inventory, to)
                for migration in chosen:
                    self.logger.white_bold(f"Registering migration {migration.name}...")
                checksums = {migration.name: migration.checksum() for migration in chosen}
                account.plan([*checksums])
                lock.confirm()
                session.history.ignore(checksums, at=lock.now())
                account.ignored([*checksums], at=lock.now())

    @task
    def rollback(
        self, spec_migr: str | None = None, last: str | None = None, to: str | None = None, *, json: str | None = None
    ) -> None:
        """Run down() and unregister: one (rollback,NAME), the N executed last (rollback,last=N)
        or all executed after one (rollback,to=NAME), newest first; json=yes tells programs what was done
        """
        with self._account("rollback", json) as account:
            written = [self._command(f"rollback,{option}") for option in ("NAME", "last=N", "to=NAME")]
            exactly_one("What is to be rolled back?", written, spec_migr, last, to)
            session = self._session()
            if not session.inventory().to_roll_back(spec_migr, last, to):
                self.logger.green("No such migration was executed, nothing to roll back")
                return
            with session.locked("rollback"):
                inventory = session.inventory()
                chosen = inventory.to_roll_back(spec_migr, last, to)
                plan = self._planning(session).plan("down", chosen, inventory, named=spec_migr)
                self._carry_out(rooms.run.ROLL_BACK, plan, session, account)

    @task
    def forget(self, name: str) -> None:
        """Unregister a migration without running down(), the opposite of ignore: forget,NAME"""
        session = self._session()
        session.inventory().registered_name(name)
        with session.locked("forget") as lock:
            inventory = session.inventory()
            registered = inventory.registered_name(name)
            self.logger.white_bold(f"Forgetting migration {registered}...")
            lock.confirm()
            session.history.unregister(registered)
            session.history.log("forgotten", registered, executed_at=inventory.records[registered].at)

    @task
    def plan(self, to: str | None = None, json: str | None = None) -> None:
        """Show what execute would do, in order, and every problem; runs nothing (plan,to=NAME, json=yes)"""
        session = self._session()
        inventory = session.inventory()
        chosen = inventory.up_to(to)
        status = session.status(inventory, with_contents=True)
        steps, obstacles = self._planning(session).steps(chosen, status)
        if is_yes("json", json):
            show(rooms.report.as_json({"plan": steps, "obstacles": obstacles, **rooms.report.status_rows(status)}))
        else:
            if steps:
                show(rooms.report.plan_table(steps))
            elif not obstacles:
                self._nothing_to_execute(inventory, to)
            self._show_obstacles(obstacles, status)
        if obstacles:
            raise CheckFailed(f"{self._command('execute')} would stop, see above.")

    @task
    def check(self, pending: str | None = None, json: str | None = None) -> None:
        """Exit with 0 if the database is up to date and nothing is wrong, else with 4; before a deployment
        (check,pending=ok) with 0 if all that is unregistered could be executed (json=yes for programs)
        """
        may_be_pending = is_yes("pending", pending, "ok")
        session = self._session()
        status = session.status(session.inventory(), with_contents=True)
        unregistered, problems = status.inventory.unregistered, status.problems
        _, obstacles = self._planning(session).steps(unregistered, status)
        wrong = [_number(problems, "problem"), "execute would stop" if obstacles else ""]
        if not may_be_pending:
            wrong.insert(0, _number(unregistered, "unregistered migration"))
        found = " and ".join(filter(None, wrong))
        if is_yes("json", json):
            rows = rooms.report.status_rows(status)
            show(rooms.report.as_json({"ok": not found, "obstacles": obstacles, **rows}))
        else:
            for migration in [] if may_be_pending else unregistered:
                self.logger.red(f"{migration.name}: unregistered")
            self._show_obstacles(obstacles, status)
        if found:
            state = "Something is wrong" if may_be_pending else "Not up to date"
            raise CheckFailed(f"{state}: {found}. See {self._command('history')}.")
        pending_ones = _number(unregistered, "migration")
        self.logger.green(
            f"Nothing is wrong, {pending_ones} to execute" if pending_ones else "Up to date, nothing is wrong"
        )

    @task
    def history(self, name: str | None = None, last: str | None = None, json: str | None = None) -> None:
        """Show every migration: its state, when, how long, by whom; one with its events (history,NAME),
        or only the last (history,last=N; json=yes for programs)
        """
        report = rooms.report
        session = self._session()
        inventory = session.inventory()
        status = session.status(inventory, with_contents=True)
        rows = report.history_rows(status)
        events = None
        if name:
            name = inventory.name(name)
            rows = [row for row in rows if row["name"] == name]
            events = report.event_rows(session.history.events(name))
        elif last is not None:
            rows = rows[-positive("last", last) :]
        problems = [problem for problem in status.problems if name in (None, problem.name)]
        if is_yes("json", json):
            document = {"migrations": rows, "problems": [problem._asdict() for problem in problems]}
            show(report.as_json(document if events is None else {**document, "events": events}))
            return
        show(report.history_table(rows))
        if events:
            show(f"\n{report.event_table(events)}")
        self._show_problems(problems)

    @task
    def create(self, words: str) -> str:
        """Write a new migration file, numbered after the highest: create,words of its name"""
        registered = self._session().history.registered()
        directory = self._folder / self.MIGRATIONS_DIRECTORY
        path = rooms.loader.create(directory, words, registered, self.MIGRATIONS_FILE_PATTERN, self.MIGRATION_TEMPLATE)
        show(str(path))
        return str(path)

    @task
    def dbdump(self) -> str | None:
        """Dump the database with mongodump into a new folder"""
        dump = rooms.dump
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
        dump = rooms.dump
        dump.require("mongorestore")
        server = self._server
        database = server.database_name()
        folder = dump.find_folder(dump_folder, self._folder / self.MONGO_DUMP_DIRECTORY, database)
        self._agree(f"Replace the collections of {database} at {server.address} by those in {folder}?", force)
        session = self._session()
        with session.locked("dbrestore") as lock, dump.config_file(server.connection_string()) as config:
            kept = [f"{self.MIGRATIONS_COLLECTION}_lock", f"{self.MIGRATIONS_COLLECTION}_log"]
            self._run_tool(dump.restore_command(config, database, folder, without=kept))
            lock.check()
            session.history.log("restored", None, dump=str(folder))
        self.logger.green(f"Restored {database} from {folder}.")

    @task
    def unlock(self, force: str | None = None) -> None:
        """Show who holds the lock, and free it after a question (force=yes answers it)"""
        session = self._session()
        holder = session.lock.holder()
        if holder is None:
            self.logger.green("Nobody holds the lock.")
            return
        kind = "held" if holder.held else "left behind"
        self.logger.white_bold(f"The lock is {kind} by {session.described(holder)}.")
        self._agree("Free it? A run that still goes on will lose it and register nothing more.", force)
        freed = session.lock.take_away(holder)
        if freed is None:
            self.logger.green("It has been given back meanwhile.")
            return
        registered = session.history.registered()
        session.history.log("unlocked", freed.migration(registered), error=freed.described(registered))
        session.log_interrupted(freed)
        session.lock.delete()
        self.logger.green("The lock is free.")

    @task
    def help(self) -> None:
        """Show this help"""
        for command, line in subtasks.help_lines(type(self)):
            self.logger.white(f"{command} - {line}")

    # For the team to use and to override

    @cached_property
    def mongo_client(self) -> Client:
        """The client, connected at first use and closed when the task is done; not one that the application holds."""
        client = rooms.mongo.connect(self.MongoClient, self._server)
        self._until_closed.callback(rooms.mongo.close, client)
        return client

    @cached_property
    def db(self) -> Database[dict[str, Any]]:
        """The database of the settings, the one that ``up`` and ``down`` get."""
        db = rooms.mongo.database(self.mongo_client, self._server)
        if not self.LEGACY_PYMONGO:
            return db
        self._until_closed.enter_context(rooms.legacy.warnings_shown(self.logger.white))
        return rooms.legacy.database(db)

    @cached_property
    def collection(self) -> Collection[dict[str, Any]]:
        """The collection of the registered migrations."""
        return self.db[self.MIGRATIONS_COLLECTION]

    def unregistered(self) -> list[str]:
        """The names of the unregistered files, in order. Raises ``BadMigration`` when one is badly named."""
        inventory = self._session().inventory()
        inventory.require_good_names()
        return [migration.name for migration in inventory.unregistered]

    def sorted(self, names: list[str]) -> list[str]:
        """The names in the order of their numbers, equal ones by name."""
        return rooms.loader.in_order(names, rooms.loader.numbering(self.MIGRATIONS_FILE_PATTERN))

    def before_each(self, name: str) -> None:
        """Override it to do something before each ``up()`` and ``down()``; what it raises stops the run."""

    def after_each(self, name: str) -> None:
        """Override it to do something after each ``up()`` and ``down()``; what it raises stops the run."""

    def on_failure(self, name: str, error: BaseException) -> None:
        """Override it to tell somebody that an ``up()``, a ``down()`` or one of the hooks above failed; what it raises
        is said and changes nothing.
        """

    def close(self) -> None:
        """Let go of what was taken at first use: the client, if there is one."""
        self._until_closed.close()

    # What a subtask works with

    def _session(self) -> Session:
        """What one subtask finds; nothing that it reads or holds is there for the next one."""
        server = self._server
        return rooms.session.Session(
            rooms.mongo.database(self.mongo_client, server),
            collection=self.MIGRATIONS_COLLECTION,
            address=server.address,
            folder=self._folder,
            directory=self.MIGRATIONS_DIRECTORY,
            pattern=self.MIGRATIONS_FILE_PATTERN,
            lease=self.LOCK_LEASE,
            wait=self.LOCK_WAIT,
            command=f"fab {self.FAB_TASK}",
            say=self.logger.white_bold,
        )

    @contextlib.contextmanager
    def _account(self, subtask: str, json: str | None) -> Iterator[Account]:
        """What is done inside, printed in the end where a program asked for it."""
        account = rooms.account.Account(subtask)
        with account.printed() if is_yes("json", json) else contextlib.nullcontext():
            yield account

    def _planning(self, session: Session) -> Planning:
        return rooms.planning.Planning(session, strict=self.STRICT, dumps=self.DO_MONGO_DUMP)

    @property
    def _server(self) -> Server:
        settings = rooms.settings
        settings.require_kinds({name: getattr(self, name) for name in settings.KINDS})
        host = settings.hosts(self.MONGO_HOST)
        # MongoClient(host) takes a URI too, so a fabfile may have one there.
        uri = self.MONGO_URI or (host if "://" in host else None)
        password = self.MONGO_USER_PASSWORD or self.MONGO_USER_PASS
        if not uri:
            settings.require_password(self.MONGO_USER, password, self.MONGO_CLIENT_OPTIONS)
        return rooms.mongo.Server(
            host=host,
            port=settings.port(self.MONGO_PORT),
            uri=uri,
            database=self.MONGO_DATABASE,
            user=self.MONGO_USER,
            password=password,
            auth_database=self.MONGO_AUTH_DATABASE,
            client_options=self.MONGO_CLIENT_OPTIONS,
        )

    @property
    def _folder(self) -> Path:
        """Where relative directories count from: the fabfile's folder, or the working directory without a fab."""
        from pathlib import Path

        fabfile = env.get("real_fabfile")
        return Path(os.path.dirname(fabfile) if fabfile else os.getcwd())

    @cached_property
    def _until_closed(self) -> contextlib.ExitStack:
        return contextlib.ExitStack()

    # Running

    def _carry_out(self, direction: Direction, plan: Plan, session: Session, account: Account) -> None:
        """Run one migration after the other and say so, up to the first that was interrupted."""
        account.plan([migration.name for migration in (*plan.ready, *plan.blocked)])
        dump = self.dbdump() if self.DO_MONGO_DUMP and plan.ready else None
        run = rooms.run.Run(
            direction,
            session.lock,
            session.history,
            self.db,
            records=plan.status.inventory.records,
            dump=dump,
            hooks=(self.before_each, self.after_each),
            on_failure=self.on_failure,
            say=self.logger.red,
            command=f"fab {self.FAB_TASK}",
        )
        run.announce(plan.ready)
        started, several = time.monotonic(), len(plan.ready) > 1
        for place, migration in enumerate(plan.ready, start=1):
            position = f" ({place} of {len(plan.ready)})" if several else ""
            self.logger.white_bold(f"{direction.doing} migration {migration.name}...{position}")
            with account.one(migration.name, direction.done.lower(), run.done, session.lock.now):
                seconds = run.one(migration, plan.left_after(place))
            self.logger.white(f"{direction.done} {migration.name} in {duration(seconds)}")
        if several:
            took = duration(time.monotonic() - started)
            self.logger.green(f"{direction.done} {len(plan.ready)} migrations in {took}")
        plan.stop_at_interrupted()

    @staticmethod
    def _run_tool(command: str) -> None:
        """Show the command as Fabric's ``local()`` would, and run it. Raises ``DumpFailed`` when it fails."""
        if output.running:
            print(f"[localhost] local: {command}", flush=True)
        rooms.dump.run(command)

    # Messages

    def _command(self, subtask: str) -> str:
        return f"fab {self.FAB_TASK}:{subtask}"

    def _nothing_to_execute(self, inventory: Inventory, to: str | None = None) -> None:
        which = f"All migrations up to {to}" if to and inventory.unregistered else "All migrations"
        self.logger.green(f"{which} registered, nothing to execute")

    def _show_obstacles(self, obstacles: Sequence[str], status: Status) -> None:
        """Why execute would stop, then the problems that this has not told yet."""
        for obstacle in obstacles:
            self.logger.red(f"execute would stop: {obstacle}")
        untold = [problem for problem in status.problems if not any(problem.text in text for text in obstacles)]
        self._show_problems(untold, status)

    def _show_problems(self, problems: Sequence[Problem], status: Status | None = None) -> None:
        """In red what went wrong, then what is no error and still worth a look, and who is at work now."""
        for problem in problems:
            say = self.logger.red if problem.is_unfinished else self.logger.white
            say(problem.text)
        if status and status.holder and status.holder.held:
            self.logger.white(f"Locked by {status.holder.described(status.inventory.records)}.")

    def _agree(self, question: str, force: str | None) -> None:
        """Ask before something that cannot be undone; raises ``WrongState`` unless the answer, or ``force``, is yes."""
        if is_yes("force", force):
            return
        if env.abort_on_prompts:
            raise WrongState("Nothing was done: fab may not ask (--abort-on-prompts). Write force=yes to answer yes.")
        if not is_terminal(sys.stdin):
            raise WrongState("Nothing was done: there is no terminal to ask on. Write force=yes to answer yes.")
        if not ask(question):
            raise WrongState("Nothing was done.")


def _number(things: Sized, name: str) -> str:
    """``2 problems``; empty where there are none."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}" if things else ""
