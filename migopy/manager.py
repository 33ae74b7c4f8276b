"""The ``MigrationsManager``: the settings, and the subtasks as a fabfile's author knows them."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, Mapping, Sequence, Sized, TypeVar

from . import lazy
from .errors import CheckFailed, WrongState, done
from .fab import dispatch as subtasks
from .fab.dispatch import task
from .fab.door import env, output
from .terminal import signals
from .terminal.messages import ColorsLogger, ask, duration, explained, is_terminal, show
from .terminal.options import exactly_one, is_yes, not_empty, positive

if TYPE_CHECKING:
    from pathlib import Path

    import pymongo
    from pymongo.collection import Collection
    from pymongo.database import Database

    from .files.directory import LoadedMigration
    from .mongo.client import Server
    from .rehearsal.rehearsal import Rehearsal, Rehearsed, Stage
    from .rehearsal.report import Results
    from .run.inventory import Inventory
    from .run.outcome import Account
    from .run.planning import Plan, Planning
    from .run.runner import Direction, Run
    from .run.status import Problem, Status
    from .run.workspace import Session

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
    BATCH_MAX_LAG: float = 10
    """Seconds that a member of the replica set may be behind before a migration in batches waits for it."""
    STRICT: bool = False
    """Whether execute refuses when a registered file changed or is missing, or an unregistered one is out of order."""
    LEGACY_PYMONGO: bool = True
    """Whether databases answer the calls that PyMongo 3 and 4 removed."""

    REHEARSAL_URI: str | None = None
    """Another server for rehearsals; the database keeps its name there. By default the copy is on the same one."""
    REHEARSAL_DATABASE: str | None = None
    """The name of the copy; by default that of the database with ``_rehearsal`` behind it."""

    FAB_TASK: str = "migrations"
    """The name that the task has in the fabfile."""

    logger: ColorsLogger = ColorsLogger()

    @staticmethod
    def MongoClient(*args: Any, **kwargs: Any) -> Client:  # noqa: N802 - the name is that of 1.0
        """Make the client; replace it by another callable that takes what ``pymongo.MongoClient`` takes."""
        return lazy.mongo.make_client(*args, **kwargs)

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
            show(lazy.run.report.as_json(lazy.run.report.status_rows(status)))
            return
        self.logger.white(f"Database {status.database} at {status.server}")
        self.logger.white(lazy.run.report.summary_line(status))
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
                self._carry_out(lazy.run.EXECUTE, plan, session, account)

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
                session.forget_batches(*set(checksums).intersection(session.known(inventory).progresses))
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
                self._carry_out(lazy.run.ROLL_BACK, plan, session, account)

    @task
    def forget(self, name: str) -> None:
        """Unregister a migration without running down(), the opposite of ignore: forget,NAME"""
        session = self._session()
        session.require_something_to_forget(session.inventory(), name)
        with session.locked("forget") as lock:
            inventory = session.inventory()
            known = session.require_something_to_forget(inventory, name)
            record = inventory.records.get(known)
            what = "migration" if record else "how far it was:"
            self.logger.white_bold(f"Forgetting {what} {known}...")
            lock.confirm()
            if record:
                session.forget_batches(known)
            else:
                session.checkpoints.forget([known])
            session.history.unregister(known)
            with done(f"{known} is unregistered"):
                session.history.log("forgotten", known, executed_at=record.at if record else None)

    @task
    def plan(self, *, to: str | None = None, json: str | None = None) -> None:
        """Show what execute would do, in order, and every problem; runs nothing (plan,to=NAME, json=yes)"""
        session = self._session()
        inventory = session.inventory()
        chosen = inventory.up_to(to)
        status = session.status(inventory, with_contents=True)
        planning = self._planning(session)
        steps, obstacles = planning.steps(chosen, status)
        if is_yes("json", json):
            show(
                lazy.run.report.as_json({"plan": steps, "obstacles": obstacles, **lazy.run.report.status_rows(status)})
            )
        else:
            if steps:
                show(lazy.run.report.plan_table(steps))
            elif not obstacles:
                self._nothing_to_execute(inventory, to)
            for doubt in planning.doubts(steps):
                self.logger.white(doubt)
            self._show_obstacles(obstacles, status)
        if obstacles:
            raise CheckFailed(f"{self._command('execute')} would stop, see above.")

    @task
    def rehearse(
        self,
        spec_migr: str | None = None,
        to: str | None = None,
        documents: str | None = None,
        keep: str | None = None,
        json: str | None = None,
    ) -> None:
        """Try migrations on a copy of the database, and show what they change and whether down() takes it back: all
        unregistered, one (rehearse,NAME) or up to one (rehearse,to=NAME); with a sample of each collection, or as
        documents=N|all says (keep=yes leaves the copy, json=yes for programs)
        """
        results = lazy.rehearsal.Results()
        with self._printed("rehearse", json, results.rows):
            not_empty("NAME", spec_migr, f"{self._command('rehearse')},NAME, or {self._command('rehearse')} for all")
            limit, keeps = lazy.rehearsal.limit_of(documents), is_yes("keep", keep)
            lazy.files.require_runs(self.before_rehearsal, "before_rehearsal")
            session = self._session()
            inventory = session.inventory()
            chosen = inventory.to_execute(spec_migr, to)
            if not chosen:
                return self._nothing_to_execute(inventory, to)
            for problem in session.status(inventory).unfinished_of([migration.name for migration in chosen]):
                self.logger.white(f"{problem.text.rstrip('.')}. The copy has what it left behind.")
            with self._stage(keeps) as stage:
                session = self._session(stage.db)
                rehearsal = lazy.rehearsal.Rehearsal(
                    stage,
                    session,
                    self._with_legacy_calls(stage.db),
                    limit=limit,
                    collection=self.MIGRATIONS_COLLECTION,
                )
                try:
                    with session.importable():
                        self._rehearse(rehearsal, rehearsal.load(chosen), stage, results)
                finally:
                    if results.rehearsed and not is_yes("json", json):
                        show(results.as_text())
            self._judge(results.rehearsed, stage)

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
        found = _listed([*filter(None, wrong)])
        if is_yes("json", json):
            rows = lazy.run.report.status_rows(status)
            show(lazy.run.report.as_json({"ok": not found, "obstacles": obstacles, **rows}))
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
        report = lazy.run.report
        session = self._session()
        inventory = session.inventory()
        status = session.status(inventory, with_contents=True)
        rows = report.history_rows(status)
        events = None
        if name is not None:
            not_empty("NAME", name, f"{self._command('history')},NAME, or {self._command('history')} for all")
            name = inventory.name(name)
            rows = [row for row in rows if row["name"] == name]
            events = report.event_rows(session.history.events(name))
        elif last is not None:
            rows = report.executed_last(rows, positive("last", last))
        problems = [problem for problem in status.problems if name in (None, problem.name)]
        if is_yes("json", json):
            document = {"migrations": rows, "problems": [problem._asdict() for problem in problems]}
            show(report.as_json(document if events is None else {**document, "events": events}))
            return
        show(report.history_table(rows))
        if name and rows[0]["dump"]:
            show(f"\n{report.dump_line(rows[0])}")
        if events:
            show(f"\n{report.event_table(events)}")
        others = [dump for dump in report.dumps(events or []) if dump != rows[0]["dump"]]
        if others:
            show("\nOther dumps: " + ", ".join(others))
        self._show_problems(problems)

    @task
    def create(self, words: str) -> str:
        """Write a new migration file, numbered after the highest: create,words of its name"""
        not_empty("WORDS", words, f"{self._command('create')},WORDS")
        registered = self._session().history.registered()
        directory = self._folder / self.MIGRATIONS_DIRECTORY
        path = lazy.files.create(directory, words, registered, self.MIGRATIONS_FILE_PATTERN, self.MIGRATION_TEMPLATE)
        show(str(path))
        return str(path)

    @task
    def dbdump(self) -> str | None:
        """Dump the database with mongodump into a new folder"""
        config = self._require_tool("mongodump")
        database = self._server.database_name()
        self.logger.white_bold("Doing mongo dump...")

        def mongodump(folder: Path) -> None:
            self._run_tool(lazy.dumps.tools.dump_command(database, folder), config)

        folder = lazy.dumps.make(self._dumps_folder, mongodump)
        if folder:
            return str(folder)
        self.logger.white(f"The database {database} does not exist yet, there was nothing to dump.")
        return None

    @task
    def dbrestore(self, dump_folder: str, force: str | None = None, from_: str | None = None) -> None:
        """Restore a dump in place of what is there, after a question: dbrestore,DUMP (force=yes answers it,
        from=NAME takes the dump of another database)
        """
        not_empty("the name of the dump", dump_folder, "dbrestore,DUMP")
        not_empty("from", from_, "from=NAME")
        config = self._require_tool("mongorestore")
        server = self._server
        database = server.database_name()
        dump = lazy.dumps.find(dump_folder, self._dumps_folder, from_ or database)
        session = self._session()
        restore = session.restore(dump)
        restore.require_rights()
        newer = restore.newer()
        if newer:
            self.logger.white(f"Not in the dump, so they stay as they are: {', '.join(newer)}.")
        self._agree(f"Replace the collections of {database} at {server.address} by those in {dump.root}?", force)
        with session.locked("dbrestore") as lock:
            command = lazy.dumps.tools.restore_command(dump, database, without=restore.not_for_mongorestore)
            restore.run(lambda: self._run_tool(command, config, lock.seconds_sure), lock.confirm)
        self.logger.green(f"Restored {database} from {dump.root}.")

    @task
    def unlock(self, force: str | None = None) -> None:
        """Show who holds the lock, and free it after a question (force=yes answers it)"""
        session = self._session()
        holder = session.lock.holder()
        if holder is None:
            self.logger.green("Nobody holds the lock.")
            return
        kind = "held" if holder.held else "left behind"
        self.logger.white_bold(f"The lock is {kind} by {session.described(holder)}{holder.until()}.")
        self._agree("Free it? A run that still goes on will lose it and register nothing more.", force)
        freed = session.unlock(holder)
        self.logger.green("The lock is free." if freed else "It has been given back meanwhile.")

    @task
    def help(self) -> None:
        """Show this help"""
        self.logger.white(explained(subtasks.help_lines(type(self))))

    # For the team to use and to override

    @cached_property
    def mongo_client(self) -> Client:
        """The client, connected at first use and closed when the task is done; not one that the application holds."""
        client = lazy.mongo.connect(self.MongoClient, self._server)
        self._until_closed.callback(lazy.mongo.close, client)
        return client

    @cached_property
    def db(self) -> Database[dict[str, Any]]:
        """The database of the settings, the one that ``up`` and ``down`` get."""
        return self._with_legacy_calls(lazy.mongo.database(self.mongo_client, self._server))

    @property
    def _own_collections(self) -> list[str]:
        """What is there beside the registered migrations: 1.0 had none of these."""
        return [f"{self.MIGRATIONS_COLLECTION}_{name}" for name in ("lock", "log", "batches")]

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
        """The names in the order of their numbers, equal ones by name. Raises ``BadMigration`` for one without."""
        number_of = lazy.files.numbering(self.MIGRATIONS_FILE_PATTERN)
        badly_named = [name for name in names if number_of(name) is None]
        lazy.files.require_good_names(badly_named, self.MIGRATIONS_FILE_PATTERN)
        return lazy.files.in_order(names, number_of)

    def before_each(self, name: str) -> None:
        """Override it to do something before each ``up()`` and ``down()``; what it raises stops the run."""

    def after_each(self, name: str) -> None:
        """Override it to do something after each ``up()`` and ``down()``; what it raises stops the run."""

    def before_rehearsal(self, db: Database[dict[str, Any]]) -> None:
        """Override it to mask personal data in the copy, before anything else is done with it."""

    def on_failure(self, name: str, error: BaseException) -> None:
        """Override it to tell somebody that an ``up()``, a ``down()`` or one of the hooks above failed; what it raises
        is said and changes nothing.
        """

    def close(self) -> None:
        """Let go of what was taken at first use: the client, if there is one."""
        self._until_closed.close()

    # What a subtask works with

    def _session(self, db: Database[dict[str, Any]] | None = None) -> Session:
        """What one subtask finds; nothing that it reads or holds is there for the next one. ``db`` is that of the
        settings, but for a rehearsal.
        """
        server = self._server if db is None else self._rehearsal_server
        return lazy.run.Session(
            lazy.mongo.database(self.mongo_client, server) if db is None else db,
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
        account = lazy.run.Account()
        with self._printed(subtask, json, account.rows):
            yield account

    @staticmethod
    def _printed(
        subtask: str, json: str | None, rows: Callable[[], Mapping[str, Any]]
    ) -> contextlib.AbstractContextManager[None]:
        return lazy.run.printed(subtask, rows) if is_yes("json", json) else contextlib.nullcontext()

    def _planning(self, session: Session) -> Planning:
        require_dump = functools.partial(self._require_tool, "mongodump")
        return lazy.run.Planning(session, strict=self.STRICT, dumps=self.DO_MONGO_DUMP, require_dump=require_dump)

    @property
    def _server(self) -> Server:
        settings = lazy.settings
        settings.require_kinds({name: getattr(self, name) for name in settings.KINDS})
        host = settings.hosts(self.MONGO_HOST)
        # MongoClient(host) takes a URI too, so a fabfile may have one there.
        uri = self.MONGO_URI or (host if "://" in host else None)
        password = self.MONGO_USER_PASSWORD or self.MONGO_USER_PASS
        if not uri:
            settings.require_password(self.MONGO_USER, password, self.MONGO_CLIENT_OPTIONS)
        return lazy.mongo.Server(
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
    def _rehearsal_server(self) -> Server:
        """Where the copy is."""
        database = self._server.database_name()
        name = self.REHEARSAL_DATABASE or (database if self.REHEARSAL_URI else f"{database}_rehearsal")
        return self._server.elsewhere(self.REHEARSAL_URI, name)

    def _with_legacy_calls(self, db: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
        if not self.LEGACY_PYMONGO:
            return db
        self._until_closed.enter_context(lazy.legacy.warnings_shown(self.logger.white))
        return lazy.legacy.database(db, self._own_collections)

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
        for hook in ("before_each", "after_each", "on_failure"):
            lazy.files.require_runs(getattr(self, hook), hook)
        account.plan([migration.name for migration in (*plan.ready, *plan.blocked)])
        with signals.let_through():  # the team may have a dbdump() of its own
            dump = self.dbdump() if self.DO_MONGO_DUMP and plan.ready else None
        if any(migration.in_transaction for migration in plan.ready):
            session.prepare_transactions()
        run = self._run(direction, plan, session, dump)
        started, several = time.monotonic(), len(plan.ready) > 1
        with run.of(plan.ready):
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

    def _run(self, direction: Direction, plan: Plan, session: Session, dump: str | None) -> Run:
        return lazy.run.Run(
            direction,
            session.lock,
            session.history,
            self.db,
            records=plan.status.inventory.records,
            dump=lazy.dumps.facts(dump, self._server.database_name()),
            hooks=lazy.run.Hooks(self.before_each, self.after_each, self.on_failure),
            batches=session.batches(direction.function, plan.status, self.logger.white, self.BATCH_MAX_LAG),
            forget=session.forget_batches,
            say=self.logger.red,
            command=f"fab {self.FAB_TASK}",
        )

    @contextlib.contextmanager
    def _stage(self, keep: bool) -> Iterator[Stage]:
        """The scratch database of a rehearsal, on the server of the settings or on one of its own."""
        server = self._rehearsal_server

        def connect() -> Client:
            return lazy.mongo.connect(self.MongoClient, server)

        with contextlib.ExitStack() as until_closed:
            ours = self.mongo_client
            if self.REHEARSAL_URI:
                ours = connect()
                until_closed.callback(lazy.mongo.close, ours)
            source = self.mongo_client[self._server.database_name()]
            yield until_closed.enter_context(
                lazy.rehearsal.Stage(source, ours, server, connect, owner=lazy.run.who(), keep=keep)
            )

    def _rehearse(
        self, rehearsal: Rehearsal, migrations: Sequence[LoadedMigration], stage: Stage, results: Results
    ) -> None:
        """Copy the database, and try one migration after the other, up to the first that fails."""
        rehearsal.require_transactions(migrations)
        for warning in stage.warnings(rehearsal.extent):
            self.logger.white(warning)
        self.logger.white_bold(f"Copying {rehearsal.extent} to {stage.where}...")
        started = time.monotonic()
        with signals.held_back(), stage.scratch as scratch, contextlib.ExitStack() as afterwards, signals.let_through():
            if scratch.keep:
                afterwards.callback(
                    self.logger.white, f"The copy stays in {stage.where}, until the next rehearsal there"
                )
            if scratch.left_behind:
                self.logger.white(f"Removed there what {scratch.left_behind} had left behind")
            rehearsal.require_space()
            with lazy.progress.Line() as line:
                documents = rehearsal.copy(line)
            results.sampled = rehearsal.sampled
            self.logger.white(f"Copied {documents:,} documents in {duration(time.monotonic() - started)}")
            rehearsal.prepare(self.before_rehearsal)
            for place, migration in enumerate(migrations, start=1):
                position = f" ({place} of {len(migrations)})" if len(migrations) > 1 else ""
                self.logger.white_bold(f"Rehearsing migration {migration.name}...{position}")
                rehearsed = rehearsal.one(migration, left=len(migrations) - place)
                results.rehearsed.append(rehearsed)
                if rehearsed.error:
                    raise rehearsed.error

    def _judge(self, rehearsed: Sequence[Rehearsed], stage: Stage) -> None:
        """Raises ``CheckFailed`` for what the rehearsal has found."""
        found = [one.name for one in rehearsed if not one.is_well]
        if found:
            raise CheckFailed(
                f"down() does not restore everything, or up() does not do the same again: {', '.join(found)}."
                f" {stage.about_the_original}."
            )
        self.logger.green(f"The rehearsal went well. {stage.about_the_original}")

    @property
    def _dumps_folder(self) -> Path:
        return self._folder / self.MONGO_DUMP_DIRECTORY

    def _require_tool(self, tool: str) -> str:
        """What mongodump or mongorestore connects with. Raises ``DumpFailed`` when it is not installed.

        It is asked for when our client is connected: of a server that is not there the client says so in 5 s, the tools
        in 30.
        """
        lazy.dumps.tools.require(tool)
        server = self._server
        lazy.dumps.connection(server)  # what the tools cannot do is said without a server too
        with lazy.mongo.server_errors(server.address):
            replica_set = lazy.mongo.followed_replica_set(self.mongo_client)
        return lazy.dumps.connection(server, replica_set).config()

    @staticmethod
    def _run_tool(command: Sequence[str], config: str, seconds_left: Callable[[], float] | None = None) -> None:
        """Show the command as Fabric's ``local()`` would, and run it. Raises ``DumpFailed`` when it fails."""
        if output.running:
            print(f"[localhost] local: {shlex.join(command)}", flush=True)
        with signals.let_through():
            lazy.dumps.tools.run(command, config, seconds_left)

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
            self.logger.white(f"Locked by {status.holder.described(status.inventory.records)}{status.holder.until()}.")
            if status.running and status.running in status.progresses:
                self.logger.white(status.progresses[status.running])

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


def _listed(words: Sequence[str]) -> str:
    """``a, b and c``"""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
