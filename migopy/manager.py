"""``MigrationsManager``: the subtasks and hooks of a fabfile."""

from __future__ import annotations

import contextlib
import functools
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Sequence, TypeVar

from . import fab, lazy
from .errors import CheckFailed
from .fab import env, task
from .settings import Hooks, Settings
from .terminal import ColorsLogger, show
from .terminal.messages import require_yes
from .terminal.options import is_yes, positive_number, require_exactly_one, require_not_empty

if TYPE_CHECKING:
    from pathlib import Path

    import pymongo
    from pymongo.collection import Collection
    from pymongo.database import Database

    Client = pymongo.MongoClient[Dict[str, Any]]

Manager = TypeVar("Manager", bound="MigrationsManager")


class MigrationsManager(Settings, Hooks):
    """The base class for a fabfile. Set its attributes, then ``migrations = Migrations.create_task()``."""

    logger: ColorsLogger = ColorsLogger()
    other_databases: Sequence[lazy.rehearsal.OtherDatabase] = ()  # those for which this one stands in a rehearsal
    must_exist = False  # whether the database was there when a command for many began

    @staticmethod
    def MongoClient(*args: Any, **kwargs: Any) -> Client:  # noqa: N802 - the name comes from 1.0
        """Makes the client. To be replaced by any function with the arguments of ``pymongo.MongoClient``."""
        return lazy.mongo.make_client(*args, **kwargs)

    def __new__(cls: type[Manager], *options: object, **named: object) -> Manager:
        fab.refuse_as_task(cls, options, named)  # not in __init__, which a team may override without super()
        return super().__new__(cls)

    def __init__(self) -> None:
        """Takes no arguments and does no I/O. Without this method, ``__new__`` would accept any arguments."""

    # The task

    @classmethod
    def create_task(cls) -> Callable[..., Any]:
        """The function that becomes the task when the fabfile gives it a name. Fabric's ``task()`` may wrap it."""
        return fab.create_task(cls)

    @classmethod
    def task_hook(cls, subtask: str | None, option: str | None) -> None:
        """Called before each subtask. Override it, for example to run the subtask on a remote machine instead.

        ``subtask`` and ``option`` (str or None) are the words of the fab command line, in Fabric's own syntax. Raise
        ``StopTaskExecution`` to end the task.
        """

    @classmethod
    def fab_command(cls, subtask: str | None = None, option: str | None = None) -> str:
        """The command line (str) that runs the same on another machine, from the arguments of ``task_hook``."""
        return fab.fab_command(cls.FAB_TASK, subtask, option)

    @classmethod
    def run_in_databases(cls, subtask: str | None, options: list[str], named: Mapping[str, str]) -> Any:
        """Run a subtask in the databases of ``MONGO_DATABASES`` that the option ``databases`` (str) means."""
        return lazy.databases.run(cls, subtask, options, named)

    @staticmethod
    def tasks(manager: MigrationsManager) -> dict[str, Callable[..., Any]]:
        """The subtasks of a manager: bound methods by name."""
        return {name: getattr(manager, name) for name in fab.subtask_names(type(manager))}

    # The subtasks

    @task(default=True)
    def show_status(self, json: str | None = None) -> None:
        """Show what is unregistered, and all problems"""
        workspace = self._workspace()
        status = workspace.status()
        if is_yes("json", json):
            return show(lazy.run.report.as_json(lazy.run.report.status_rows(status)))
        lazy.run.screen.show_status(self.logger, status, is_new=workspace.is_new_database(status))

    @task
    def execute(
        self,
        spec_migr: str | None = None,
        to: str | None = None,
        *,
        resume: str | None = None,
        pace: str | None = None,
        json: str | None = None,
    ) -> None:
        """Execute the unregistered migrations in order

        All, one (execute,NAME), or all up to and including one (execute,to=NAME). resume=yes continues batches with the
        filter that they began with; pace=N goes through at most N documents a second
        """
        with lazy.run.open_outcome("execute", json) as outcome:
            self._require_name("execute", spec_migr)
            workspace = self._workspace(keeps_filters=is_yes("resume", resume), pace=pace)
            with workspace.hold_lock_to_register("execute", spec_migr, to) as (status, chosen):
                if not chosen:
                    return self.logger.green(status.inventory.nothing_to_execute(to))
                plan = self._planning(workspace).plan("up", chosen, status, named=spec_migr)
                for failure in plan.failed_before:
                    self.logger.white(failure)
                lazy.run.run_all(lazy.run.EXECUTE, plan, workspace, outcome, self)

    @task
    def ignore(self, spec_migr: str | None = None, to: str | None = None, *, json: str | None = None) -> None:
        """Register migrations without executing them

        All, one (ignore,NAME), or all up to and including one (ignore,to=NAME)
        """
        with lazy.run.open_outcome("ignore", json) as outcome:
            self._require_name("ignore", spec_migr)
            workspace = self._workspace()
            with workspace.hold_lock_to_register("ignore", spec_migr, to) as (status, chosen):
                if not chosen:
                    return self.logger.green(status.inventory.nothing_to_execute(to))
                for migration in chosen:
                    self.logger.white_bold(f"Registering migration {migration.name}...")
                outcome.plan([migration.name for migration in chosen])
                outcome.record_ignored(*workspace.ignore(chosen, status))

    @task
    def rollback(
        self,
        spec_migr: str | None = None,
        last: str | None = None,
        to: str | None = None,
        *,
        plan: str | None = None,
        resume: str | None = None,
        json: str | None = None,
    ) -> None:
        """Run down() and unregister: rollback,NAME

        One (rollback,NAME), the N executed last (rollback,last=N), or all executed after one, which stays executed
        (rollback,to=NAME); newest first. plan=yes only shows which
        """
        with lazy.run.open_outcome("rollback", json) as outcome:
            usages = [self.command(f"rollback,{target}") for target in lazy.run.ROLLBACK_TARGETS]
            require_exactly_one("Which migrations should be rolled back?", usages, spec_migr, last, to)
            workspace = self._workspace(keeps_filters=is_yes("resume", resume))
            if not (chosen := workspace.to_roll_back(workspace.inventory(), spec_migr, last, to)):
                return self.logger.green(f"No migration was executed after {to}, nothing to roll back")
            if is_yes("plan", plan):
                outcome.plan([migration.name for migration in chosen])
                return show(self._planning(workspace).rollback_table(workspace.status_from_log(), spec_migr, last, to))
            with workspace.hold_lock("rollback"):
                status = workspace.status_from_log()
                chosen = status.inventory.to_roll_back(spec_migr, last, to)
                down = self._planning(workspace).plan("down", chosen, status, named=spec_migr)
                lazy.run.run_all(lazy.run.ROLL_BACK, down, workspace, outcome, self)

    @task
    def forget(self, name: str) -> None:
        """Unregister without running down(): forget,NAME"""
        workspace = self._workspace()
        workspace.require_something_to_forget(workspace.inventory(), name)
        with workspace.hold_lock("forget"):
            inventory = workspace.inventory()
            known = workspace.require_something_to_forget(inventory, name)
            what = "migration" if known in inventory.records else "the progress of"
            self.logger.white_bold(f"Forgetting {what} {known}...")
            workspace.forget(known, inventory)

    @task
    def accept(self, name: str, *, was: str | None = None) -> None:
        """Take a changed or renamed file as executed

        accept,NAME keeps the history of the file; accept,NEW,was=OLD is for one that was renamed and changed
        """
        workspace = self._workspace()
        if not lazy.run.find_acceptance(workspace, inventory := workspace.inventory(), name, was):
            return self.logger.green(f"{inventory.name(name)} is the file that was executed, nothing to accept")
        with workspace.hold_lock("accept") as lock:
            if accepted := lazy.run.find_acceptance(workspace, workspace.inventory(), name, was):
                self.logger.white_bold(f"Accepting {accepted}...")
                lock.confirm()
                accepted.carry_out(workspace)

    @task
    def plan(self, *, to: str | None = None, json: str | None = None) -> None:
        """Show what execute would do, and all problems"""
        workspace = self._workspace()
        status = workspace.status(with_contents=True)
        inventory = status.inventory
        chosen = [migration for migration in inventory.up_to(to) if migration in status.unregistered]
        planning = self._planning(workspace)
        steps, obstacles = planning.steps(chosen, status)
        if is_yes("json", json):
            rows = lazy.run.report.status_rows(status)
            show(lazy.run.report.as_json({"plan": steps, "obstacles": obstacles, **rows}))
        else:
            if steps:
                show(lazy.run.report.plan_table(steps))
            elif not obstacles and not status.running_now:
                self.logger.green(inventory.nothing_to_execute(to))
            for doubt in planning.warnings(steps):
                self.logger.white(doubt)
            lazy.run.screen.show_obstacles(self.logger, obstacles, status)
        if obstacles:
            raise CheckFailed(f"{self.command('execute')} would stop, see above.")

    @task
    def rehearse(
        self,
        spec_migr: str | None = None,
        to: str | None = None,
        documents: str | None = None,
        keep: str | None = None,
        preflight: str | None = None,
        report: str | None = None,
        json: str | None = None,
    ) -> None:
        """Try migrations on a copy of the database

        What they change, and if down() takes it back: all, one (rehearse,NAME) or up to one (rehearse,to=NAME). The
        copy has a sample of each collection (documents=N or documents=all); keep=yes keeps it. Then the real database
        is read for what they will do to it, 60 seconds at most (preflight=N or preflight=no). report=FILE.md or
        report=FILE.html writes it all to a file
        """
        results, as_table, keeps = lazy.rehearsal.Results(), not is_yes("json", json), is_yes("keep", keep)
        with lazy.run.json_output("rehearse", json, results.rows), lazy.rehearsal.report_file(report, results):
            self._require_name("rehearse", spec_migr)
            limit, seconds = lazy.rehearsal.sample_limit(documents), lazy.rehearsal.preflight_seconds(preflight)
            lazy.files.require_plain_function(self.before_rehearsal, "before_rehearsal")
            workspace = self._workspace()
            results.where = f"{workspace.db.name} at {workspace.address}"
            status = workspace.status()
            chosen = status.inventory.to_execute(spec_migr, to)
            if not chosen:
                return self.logger.green(status.inventory.nothing_to_execute(to))
            for sentence in status.left_in_copy([migration.name for migration in chosen]):
                self.logger.white(sentence)
            with lazy.rehearsal.open_stage(workspace, self.MongoClient, self.other_databases, keep=keeps) as stage:
                rehearsal = self._rehearsal(stage, limit, seconds)
                with results.shown_at_end(as_table=as_table):
                    rehearsal.run(chosen, self.before_rehearsal, results, self.logger)
            self.logger.green(results.judge(stage.state_of_original))

    @task
    def check(self, pending: str | None = None, json: str | None = None) -> None:
        """Exit with 0 if all is well, else with 4

        All is well if the database is up to date and has no problems. Before a deployment (check,pending=ok) it is
        enough that execute can run and settles the rest
        """
        may_be_pending = is_yes("pending", pending, "ok")
        workspace = self._workspace()
        status = workspace.status(with_contents=True)
        _, obstacles = self._planning(workspace).steps(status.unregistered, status)
        found = lazy.run.report.wrong(status, obstacles, may_be_pending=may_be_pending)
        if is_yes("json", json):
            rows = lazy.run.report.status_rows(status)
            show(lazy.run.report.as_json({"ok": not found, "obstacles": obstacles, **rows}))
        else:
            for migration in [] if may_be_pending else status.unregistered:
                self.logger.red(f"{migration.name}: unregistered")
            lazy.run.screen.show_obstacles(self.logger, obstacles, status)
        if found:
            raise CheckFailed(f"{found}. See {self.command('plan')}.")
        self.logger.green(lazy.run.report.nothing_wrong(status, self.command("execute")))

    @task
    def history(self, name: str | None = None, last: str | None = None, json: str | None = None) -> None:
        """Show every migration: state, when, by whom

        One with its events (history,NAME), or the N executed last (history,last=N)
        """
        if name is not None:
            self._require_name("history", name)
        newest = None if last is None else positive_number("last", last)
        history = lazy.run.find_history(self._workspace(), name, newest)
        if is_yes("json", json):
            return show(lazy.run.report.as_json(history.document))
        show(lazy.run.report.history_text(history.rows, history.events))
        lazy.run.screen.show_problems(self.logger, history.problems)

    @task
    def create(self, words: str) -> str:
        """Write a new file: create,words of its name"""
        require_not_empty("WORDS", words, f"{self.command('create')},WORDS")
        registered = self._workspace().history.records()
        directory = self._folder / self.MIGRATIONS_DIRECTORY
        path = lazy.files.create(directory, words, registered, self.MIGRATIONS_FILE_PATTERN, self.MIGRATION_TEMPLATE)
        show(str(path))
        if self.MIGRATION_TEST_TEMPLATE is not None:
            show(str(lazy.files.create_test(path, words, self.MIGRATION_TEST_TEMPLATE)))
        return str(path)

    @task
    def sample(self, collection: str, file: str, documents: str | None = None, force: str | None = None) -> None:
        """Write a sample of a collection to a file, for tests

        sample,COLLECTION,FILE writes it as Extended JSON, masked by before_rehearsal if the class has it. documents=N
        or documents=all sets its size; force=yes replaces a file
        """
        lazy.files.require_plain_function(self.before_rehearsal, "before_rehearsal")
        sample = lazy.rehearsal.Sample(collection, file, documents)
        workspace = self._workspace()
        sample.require_collection(workspace.db, workspace.address)
        if sample.path.exists():
            self._require_yes(f"Replace {sample.path}?", force)
        if not lazy.rehearsal.is_overridden(self.before_rehearsal):
            written = sample.write(workspace.db, workspace.address)
            return self.logger.green(f"{written} Nothing in it is masked, because there is no before_rehearsal().")
        with lazy.rehearsal.open_stage(workspace, self.MongoClient, keep=False) as stage:
            rehearsal = self._rehearsal(stage, sample.limit)
            with rehearsal.open_copy(self.before_rehearsal, lazy.rehearsal.Results(), self.logger) as copy:
                self.logger.green(sample.write(copy, stage.scratch.address))

    @task
    def dbdump(self) -> str | None:
        """Dump the database with mongodump into a new folder"""
        mongodump = self._tool("mongodump")
        database = self._server.database_name()
        self.logger.white_bold("Doing mongo dump...")
        command = functools.partial(lazy.dumps.dump_command, database)
        folder = lazy.dumps.make(self._dumps_folder, lambda folder: mongodump.run(command(folder)))
        if folder:
            return str(folder)
        self.logger.white(f"The database {database} does not exist yet, nothing to dump.")
        return None

    @task
    def dbrestore(self, dump_folder: str = "", force: str | None = None, from_: str | None = None) -> None:
        """Replace the collections with those of a dump

        dbrestore,DUMP, after a question, which force=yes answers; from=NAME restores the dump of another database.
        Without a name, the dumps are listed
        """
        lazy.dumps.require_name(dump_folder, self._dumps_folder, self.command("dbrestore,DUMP"))
        require_not_empty("from", from_, self.command("dbrestore,DUMP,from=NAME"))
        mongorestore = self._tool("mongorestore")
        database = self._server.database_name()
        dump = lazy.dumps.find(dump_folder, self._dumps_folder, from_ or database)
        workspace = self._workspace()
        restore = lazy.dumps.Restore(dump, workspace.db, workspace.history, workspace.names, address=workspace.address)
        restore.require_rights()
        for warning in restore.warnings():
            self.logger.white(warning)
        self._require_yes(
            f"Replace the collections of {database} at {workspace.address} with those in {dump.root}?", force
        )
        with workspace.hold_lock("dbrestore") as lock:
            command = lazy.dumps.restore_command(dump, database, without=restore.not_for_mongorestore)
            restore.run(lambda: mongorestore.run(command, lock.require_seconds_left), lock.confirm)
        self.logger.green(f"Restored {database} from {dump.root}.")

    @task
    def kept(
        self, drop: str | None = None, older: str | None = None, force: str | None = None, json: str | None = None
    ) -> None:
        """Show, or delete, what is kept for rollbacks

        kept,drop=NAME deletes what one has kept, and kept,older=30 all that is older than so many days, after a
        question, which force=yes answers
        """
        kept, workspace = lazy.run.kept, self._workspace()
        found = kept.find(workspace, drop, older)
        if drop is None and older is None:
            kept.print_all(found, as_json=is_yes("json", json))
        if not found:
            self.logger.green("Nothing is kept" + (f" for more than {older} days" if older else ""))
        elif drop or older:
            self._require_yes(kept.question(found), force)
            with workspace.hold_lock("kept"):
                workspace.kept.drop(each.walk for each in found)
            self.logger.green("Deleted what was kept.")

    @task
    def rejected(
        self, name: str | None = None, drop: str | None = None, force: str | None = None, json: str | None = None
    ) -> None:
        """Show the documents that batches have set aside

        Those of one migration with rejected,NAME; rejected,drop=NAME leaves them as they are, after a question, which
        force=yes answers
        """
        rejected, workspace = lazy.run.rejected, self._workspace()
        found = rejected.find(workspace, name if drop is None else drop)
        if drop is not None:
            self._require_yes(rejected.question(found), force)
            with workspace.hold_lock("rejected"):
                return self.logger.green(rejected.drop(workspace, found))
        rejected.show_all(workspace, found, self.logger, as_json=is_yes("json", json))

    @task
    def unlock(self, force: str | None = None) -> None:
        """Show who holds the lock, and free it"""
        workspace = self._workspace()
        holder = workspace.lock.holder()
        if holder is None:
            return self.logger.green("Nobody holds the lock.")
        self.logger.white_bold(workspace.lock_sentence(holder))
        self._require_yes("Free it? If that run still works, it will lose the lock and register nothing more.", force)
        freed = workspace.unlock(holder)
        self.logger.green("The lock is free." if freed else "The lock was released in the meantime.")

    @task
    def pause(self, because: str = "") -> None:
        """Pause a run in batches; also resume, pace, stop"""
        self.logger.green(self._operator().pause(because))

    @task
    def resume(self, because: str = "") -> None:
        """Let a paused run continue"""
        self.logger.green(self._operator().resume(because))

    @task
    def pace(self, full: str | None = None, documents: str | None = None) -> None:
        """Set how many documents a second the run may change"""
        self.logger.green(self._operator().pace(full, documents))

    @task
    def stop(self, because: str = "") -> None:
        """Stop the run after the batch under way"""
        self.logger.green(self._operator().stop(because))

    @task
    def help(self, topic: str | None = None) -> None:
        """Show this help, or of one subtask: help,NAME"""
        from .fab.help import help_text  # the other tasks of a fabfile do not pay for it

        show(help_text(self, topic))

    # For the team to use

    @cached_property
    def mongo_client(self) -> Client:
        """The client, connected at first use. It is closed after the task, unless the application holds it too."""
        client = lazy.mongo.connect(self.MongoClient, self._server)
        self._open_resources.callback(lazy.mongo.close, client)
        return client

    @cached_property
    def db(self) -> Database[dict[str, Any]]:
        """The database of the settings, which ``up`` and ``down`` get."""
        db = lazy.mongo.database(self.mongo_client, self._server)
        return self._with_legacy_calls(db, lazy.store.Names(self.MIGRATIONS_COLLECTION))

    @cached_property
    def collection(self) -> Collection[dict[str, Any]]:
        """The collection of the registered migrations."""
        return self.db[self.MIGRATIONS_COLLECTION]

    def unregistered(self) -> list[str]:
        """The names of the unregistered files, in order. Raises ``BadMigration`` if a file has a wrong name."""
        inventory = self._workspace().inventory()
        inventory.require_good_names()
        return [migration.name for migration in inventory.unregistered]

    def sorted(self, names: list[str]) -> list[str]:
        """The names by number, then by name. Raises ``BadMigration`` if a name does not match the pattern."""
        return lazy.files.sort_names(names, self.MIGRATIONS_FILE_PATTERN)

    def close(self) -> None:
        """Close the client, if there is one."""
        self._open_resources.close()

    # What the subtasks share

    def _workspace(
        self, copy: Database[dict[str, Any]] | None = None, *, keeps_filters: bool = False, pace: str | None = None
    ) -> lazy.run.Workspace:
        """A new workspace, for the database of the settings or for the copy of a rehearsal."""
        settings, limit = Settings.read(self), None if pace is None else positive_number("pace", pace)
        make_server = lazy.mongo.Server.from_settings if copy is None else lazy.mongo.Server.for_rehearsal
        server, say = make_server(settings), self.logger.white_bold
        db = lazy.mongo.database(self.mongo_client, server) if copy is None else copy
        return lazy.run.Workspace(db, settings, server, self._folder, say, keeps_filters, limit, self.must_exist)

    @property
    def _server(self) -> lazy.mongo.Server:
        return lazy.mongo.Server.from_settings(Settings.read(self))

    def _with_legacy_calls(self, db: Database[dict[str, Any]], names: lazy.store.Names) -> Database[dict[str, Any]]:
        if not self.LEGACY_PYMONGO:
            return db
        self._open_resources.enter_context(lazy.legacy.warnings_shown(self.logger.white))
        return lazy.legacy.database(db, names.others)

    @property
    def _folder(self) -> Path:
        """Relative directories are below it: the fabfile's folder, or the working directory without fab."""
        from pathlib import Path

        fabfile = env.get("real_fabfile")
        return Path(os.path.dirname(fabfile) if fabfile else os.getcwd())

    @property
    def _dumps_folder(self) -> Path:
        return self._folder / self.MONGO_DUMP_DIRECTORY

    def _tool(self, name: str) -> lazy.dumps.Tool:
        dumps = self.DO_MONGO_DUMP
        return lazy.dumps.Tool(name, self._server, lambda: self.mongo_client, fab.show_command, of_each_run=dumps)

    @cached_property
    def _open_resources(self) -> contextlib.ExitStack:
        return contextlib.ExitStack()

    # Running

    def _operator(self) -> lazy.run.Operator:
        return lazy.run.Operator(self._workspace(), self.logger.white)

    def _planning(self, workspace: lazy.run.Workspace) -> lazy.run.Planning:
        return lazy.run.Planning(workspace, functools.partial(self._tool, "mongodump"), db=lambda: self.db)

    def dump_before_run(self) -> Mapping[str, Any]:
        """Dump the database, if the settings say so; the facts about the dump, for the history."""
        dump = self.dbdump() if self.DO_MONGO_DUMP else None  # a team may override dbdump()
        return lazy.dumps.facts(dump, self._server.database_name())

    def _rehearsal(
        self, stage: lazy.rehearsal.Stage, limit: int | None, preflight_seconds: float | None = None
    ) -> lazy.rehearsal.Rehearsal:
        copy = self._workspace(stage.db)
        db = self._with_legacy_calls(stage.db, copy.names)
        return lazy.rehearsal.Rehearsal(stage, copy, db, self.db, limit, preflight_seconds, self.other_databases)

    # Messages

    def _require_yes(self, question: str, force: str | None) -> None:
        require_yes(question, force, may_ask=not env.abort_on_prompts)

    def _require_name(self, subtask: str, name: str | None) -> None:
        require_not_empty("NAME", name, f"{self.command(f'{subtask},NAME')}, or {self.command(subtask)} for all")
