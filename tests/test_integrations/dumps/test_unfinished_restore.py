"""Every way in which a restore can end, and what the database says of itself afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Mapping

import bson

from tests.cases import DumpTestCase
from tests.server import runs, wait_for
from tests.support import Result


class HalfRestoredTestCase(DumpTestCase):
    """A project with a dump of two documents and one executed migration, made before a second one was executed."""

    settings: Mapping[str, Any] = MappingProxyType({})

    def setUp(self) -> None:
        super().setUp()
        self.project_of_dump = self.project(LOCK_WAIT=10, **self.settings)
        self.names = self.counting_ones(self.project_of_dump, 2)
        self.db.notes.insert_many([{"_id": 1, "text": "a"}, {"_id": 2, "text": "b"}])
        self.run_fab("execute,1")
        self.run_fab("dbdump")
        self.dump = self.dumps(self.project_of_dump)[0]
        self.run_fab("execute")
        self.db.notes.delete_many({})

    def run_fab(self, subtask: str, code: int = 0, **standin: str) -> Result:
        result = self.fab_with_tools(self.project_of_dump, f"migrations:{subtask}", **standin)
        self.assert_code(code, result)
        return result

    def restore(self, code: int = 0, dump: str | Path = "", options: str = "", **standin: str) -> Result:
        return self.run_fab(f"dbrestore,{dump or self.dump.name},force=yes{options}", code, **standin)

    def assert_restored(self) -> None:
        self.assertEqual((["a", "b"], self.names[:1]), (self.notes(), self.registered()))
        self.assertNotIn("half restored", self.run_fab("check", code=4).output)
        self.run_fab("execute")
        self.run_fab("check")

    def assert_half_restored(self) -> None:
        """Seen by everybody, and in nobody's way but those who would build on it; a restore ends it."""
        for subtask, code in (("check", 4), ("show_status", 0), ("plan", 4)):
            self.assertIn("Unfinished restore: the restore of", self.run_fab(subtask, code).stderr)
        self.assertIn('"kind": "half restored"', self.run_fab("check,json=yes", code=4).stdout)
        self.assertEqual(self.names, self.registered(), "the history comes last")
        for subtask in ("execute", "execute,1", "ignore", "rollback,last=1"):
            refusal = self.run_fab(subtask, code=1).stderr
            self.assertRegex(refusal, rf"^Unfinished restore: .*:dbrestore,{self.dump}\b.* Nothing was done")
        self.assertEqual(self.names, self.ran())
        self.restore()
        self.assert_restored()

    def untouched(self) -> tuple[list[str], list[str], list[str]]:
        """The documents, the registrations and what the log says of restores."""
        log = [event for event in self.logged() if event.startswith("restore")]
        return self.notes(), self.registered(), log


class TestFailures(HalfRestoredTestCase):
    def broken(self, damage: Callable[[Path], object]) -> Path:
        """A copy of the dump, damaged in its folder of this database."""
        copy = self.project_of_dump.path / "copy"
        shutil.copytree(self.dump, copy)
        damage(copy / self.database)
        return copy

    def test_mongorestore_fails(self) -> None:
        result = self.restore(1, STANDIN_FAIL="1")
        self.assertIn("mongorestore failed with exit code 1", result.stderr)
        self.assertEqual(["restore begun", "restore failed"], self.logged(name=None))
        self.assert_half_restored()

    def test_it_leaves_something_out_and_ends_with_exit_code_0(self) -> None:
        self.db.zoo.insert_one({})
        self.run_fab("dbdump")
        self.db.zoo.drop()
        result = self.restore(1, dump=self.dumps(self.project_of_dump)[-1], STANDIN_FAIL="quietly")
        self.assertRegex(result.stderr, r"(?m)^mongorestore did not restore everything in the dump: .*zoo is missing\.")

    def test_a_document_is_twice_in_the_dump(self) -> None:
        def double(folder: Path) -> None:
            with (folder / "notes.bson").open("ab") as file:
                file.write(bson.encode({"_id": 1, "text": "again"}))

        self.restore(1, dump=self.broken(double))
        self.assertEqual(["restore begun", "restore failed"], self.logged(name=None))
        self.assertIn("half restored", self.run_fab("check", code=4).stderr)
        self.restore()
        self.assert_restored()

    def test_a_dump_that_is_not_whole_touches_nothing(self) -> None:
        def empty(folder: Path) -> None:
            shutil.rmtree(folder)
            folder.mkdir()

        def without_documents(folder: Path) -> None:
            (folder / "notes.bson").unlink()

        def cut(folder: Path) -> None:
            os.truncate(folder / "notes.bson", 20)

        for damage in (empty, without_documents, cut):
            before = self.untouched()
            copy = self.broken(damage)
            self.assertIn("The dump is incomplete or damaged: ", self.restore(1, dump=copy).stderr)
            self.assertEqual(before, self.untouched())
            shutil.rmtree(copy)
        self.run_fab("check")

    def test_a_signal(self) -> None:
        env = self.with_tools(self.project_of_dump, STANDIN_SLEEP="600")
        process = self.project_of_dump.fab_start(f"migrations:dbrestore,{self.dump.name},force=yes", env=env)
        tool = self.wait_for_call(self.project_of_dump, 2)["pid"]
        os.kill(process.pid, signal.SIGTERM)
        self.assert_code(1, self.end_of(process))
        self.assertFalse(runs(tool))
        self.assertIsNone(self.lock())
        self.assertEqual(["restore begun", "restore failed"], self.logged(name=None))
        self.assert_half_restored()

    def test_a_kill_ends_mongorestore_too_and_the_next_run_knows(self) -> None:
        env = self.with_tools(self.project_of_dump, STANDIN_SLEEP="600")
        process = self.project_of_dump.fab_start(f"migrations:dbrestore,{self.dump.name},force=yes", env=env)
        tool = self.wait_for_call(self.project_of_dump, 2)["pid"]
        process.kill()
        process.wait()
        wait_for("end of mongorestore", lambda: not runs(tool), timeout=10)
        self.assertEqual(["restore begun"], self.logged(name=None))
        self.assertEqual([], self.left_over(self.project_of_dump), "the password must not stay on disk")
        self.wait_for_dead_lock()
        self.assert_half_restored()

    def test_a_stopped_fab_restores_nothing_after_its_lease(self) -> None:
        env = self.with_tools(self.project_of_dump, STANDIN_SLEEP="600")
        process = self.project_of_dump.fab_start(f"migrations:dbrestore,{self.dump.name},force=yes", env=env)
        tool = self.wait_for_call(self.project_of_dump, 2)["pid"]
        self.wait_for_lock(subtask="dbrestore")
        os.kill(process.pid, signal.SIGSTOP)
        self.wait_for_dead_lock()
        self.assertFalse(runs(tool), "the lock may be another's, and mongorestore went on")
        os.kill(process.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(process))
        self.assertIn("half restored", self.run_fab("check", code=4).stderr)

    def test_while_it_is_at_work_it_is_no_problem(self) -> None:
        env = self.with_tools(self.project_of_dump, STANDIN_SLEEP="2")
        process = self.project_of_dump.fab_start(f"migrations:dbrestore,{self.dump.name},force=yes", env=env)
        self.wait_for_call(self.project_of_dump, 2)
        status = self.run_fab("show_status").stderr
        self.assertNotIn("half restored", status)
        self.assertIn("dbrestore", status)
        self.assert_code(0, self.end_of(process))
        self.assert_restored()


class TestHistoryOfTheDump(HalfRestoredTestCase):
    def test_that_of_a_dump_before_the_first_migration_is_none(self) -> None:
        self.client.drop_database(self.database)
        self.db.notes.insert_one({"text": "before"})
        fabfile = (self.project_of_dump.path / "fabfile.py").read_text()
        self.project_of_dump.write("fabfile.py", fabfile.replace("LOCK_WAIT", "DO_MONGO_DUMP = True\n    LOCK_WAIT"))
        self.run_fab("execute")
        self.assertEqual(self.names, self.registered())
        self.restore(dump=self.dumps(self.project_of_dump)[-1])
        self.assertEqual([], self.registered())
        self.assertIn(f"{self.names[0]}: unregistered", self.run_fab("check", code=4).stderr)

    def test_newer_collections_are_named_before_the_question_and_stay(self) -> None:
        self.db["made later"].insert_one({})
        task = f"migrations:dbrestore,{self.dump.name}"
        result = self.project_of_dump.fab_in_terminal(task, env=self.with_tools(self.project_of_dump), input="yes\n")
        self.assert_code(0, result)
        self.assertLess(
            result.output.index("These collections are not in the dump and stay unchanged: made later."),
            result.output.index("Replace the collections of"),
        )
        self.assertEqual(1, self.db["made later"].count_documents({}))
        self.assertNotIn("not in the dump", self.restore_into_empty().output)

    def restore_into_empty(self) -> Result:
        self.client.drop_database(self.database)
        return self.restore()

    def test_what_happened_after_the_dump_is_undone_and_what_happened_before_is_not(self) -> None:
        self.project_of_dump.migration("3_dies.py", "1 / 0")
        self.run_fab("execute", code=1)
        self.run_fab("dbdump")
        with_failure = self.dumps(self.project_of_dump)[-1]
        self.run_fab("execute", code=1)
        self.db.migrations_log.insert_one({"event": "interrupted", "name": "3_dies.py", "at": self.now()})
        self.assertIn("3_dies.py was interrupted", self.run_fab("check", code=4).stderr)
        self.restore(dump=with_failure)
        status = self.run_fab("check", code=4).stderr
        self.assertIn("3_dies.py: failed", status)
        self.assertNotIn("interrupted", status)
        self.restore()
        self.assertNotIn("failed", self.run_fab("check", code=4).stderr)

    def now(self) -> Any:
        return self.client.admin.command("isMaster")["localTime"]


class TestWriteConcern(HalfRestoredTestCase):
    def setUp(self) -> None:
        self.settings = {"MONGO_URI": f"{self.find_server().uri}?w=0&journal=false&readPreference=secondaryPreferred"}
        super().setUp()

    def test_that_of_the_uri_is_not_for_a_restore(self) -> None:
        self.restore()
        self.assert_restored()


class TestOtherDatabase(HalfRestoredTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.production = f"{self.database}_production"
        self.addCleanup(self.client.drop_database, self.production)

    def dump_of_production(self) -> Path:
        production = self.project(MONGO_DATABASE=self.production)
        self.client[self.production].notes.insert_one({"text": "production"})
        self.client[self.production].migrations.insert_one({"_id": "9_theirs.py", "name": "9_theirs.py"})
        self.assert_code(0, self.fab_with_tools(production, "migrations:dbdump"))
        return self.dumps(production)[0]

    def test_from_names_it(self) -> None:
        dump = self.dump_of_production()
        refusal = self.restore(1, dump=dump).stderr
        self.assertRegex(
            refusal, f"There is no dump of the database {self.database} in .*It has one of {self.production}: "
        )
        self.restore(dump=dump, options=f",from={self.production}")
        self.assertEqual((["production"], ["9_theirs.py"]), (self.notes(), self.db.migrations.distinct("name")))
        self.assertEqual(1, self.client[self.production].notes.count_documents({}))

    def test_an_empty_name_is_an_error(self) -> None:
        result = self.run_fab(f"dbrestore,{self.dump.name},from=,force=yes", code=1)
        self.assertRegex(result.stderr, r"^Nothing was done: .* is empty\. Write .*\n$")

    def test_without_a_name_and_with_a_wrong_one_the_dumps_are_named(self) -> None:
        (self.dump.parent / "2014_01_14.unfinished").mkdir()
        for options in ("", ",", ",,force=yes", ",2014"):
            result = self.run_fab(f"dbrestore{options}", code=1)
            self.assertRegex(result.stderr, rf"^(Nothing|There) .* {self.dump.parent} has {self.dump.name}\.\n$")

    def test_it_is_explained(self) -> None:
        self.assertIn("from=NAME", self.run_fab("help,dbrestore").stdout)
