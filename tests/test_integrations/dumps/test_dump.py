"""Dumps: dbdump, those before a run, and where the password is meanwhile."""

from __future__ import annotations

import os
import signal
import stat
from typing import Any
from urllib.parse import quote, quote_plus

import bson

from tests.cases import DumpTestCase
from tests.server import runs, wait_for
from tests.support import Project, WithUsersTestCase, basic_fabfile

PASSWORD = "p w@/:%+'\"$ż"


class TestDbdump(DumpTestCase):
    def test_it_dumps_the_server_and_database_of_the_settings_into_a_new_folder(self) -> None:
        project = self.dumping()
        result = self.fab_with_tools(project, "migrations:dbdump", "migrations:dbdump")
        self.assertEqual(0, result.code, result.output)
        dumps = self.dumps(project)
        self.assertEqual(2, len(dumps))
        for call, folder in zip(self.ended_calls(project), dumps):
            config, database, out = call["argv"]
            self.assertEqual(
                ["--config=/dev/stdin", f"--db={self.database}", f"--out={folder}.unfinished"], call["argv"]
            )
            self.assertEqual(f'uri: "mongodb://{self.server.host}:{self.server.port}/"\n', call["config"])
            self.assertIn(f"[localhost] local: mongodump {config} {database} {out}\n", result.stdout)
            self.assertRegex(folder.name, r"^\d{4}(_\d\d){5}(_2)?$")
            self.assertEqual(0o700, stat.S_IMODE(folder.stat().st_mode))
            self.assertTrue((folder / self.database / "notes.bson").stat().st_size)
        self.assertEqual(2, result.stderr.count("Doing mongo dump...\n"))

    def test_folders_that_need_quotes(self) -> None:
        for directory in ("our $(dumps)/of 'notes'; `id`", str(self.dumping().path / "absolute \\ folder")):
            project = self.dumping(MONGO_DUMP_DIRECTORY=directory)
            result = self.fab_with_tools(project, "migrations:dbdump")
            self.assertEqual(0, result.code, result.output)
            (dump,) = self.dumps(project, directory)
            self.assertTrue((dump / self.database / "notes.bson").exists())

    def test_a_database_that_does_not_exist_yet_leaves_no_folder(self) -> None:
        project = self.project()
        result = self.fab_with_tools(project, "migrations:dbdump")
        self.assertEqual((0, []), (result.code, self.dumps(project)), result.output)
        self.assertIn(f"The database {self.database} does not exist yet", result.stderr)

    def test_where_no_dump_can_be_made_nothing_runs(self) -> None:
        for directory, why in (("fabfile.py", "File exists"), ("fabfile.py/below", "Not a directory")):
            project = self.dumping(DO_MONGO_DUMP=True, MONGO_DUMP_DIRECTORY=directory)
            result = self.fab_with_tools(project, "migrations:execute")
            sentence = f"No dump can be made in MONGO_DUMP_DIRECTORY, {project.path / directory}: {why}."
            self.assertEqual(f"Doing mongo dump...\n{sentence} Nothing else was run.\n", result.stderr)
            self.assertEqual((1, [], None), (result.code, self.registered(), self.lock()))
        self.assertEqual(["before"] * 2, self.notes())

    def test_without_mongodump_a_sentence_says_so_before_anything_runs(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        for subtask in ("dbdump", "execute"):
            result = project.fab(f"migrations:{subtask}", env={"PATH": str(project.path)})
            self.assertRegex(result.stderr, r"^mongodump is not on PATH.* or set DO_MONGO_DUMP = False .*\n$")
            self.assertEqual((1, "", ["before"]), (result.code, result.stdout, self.notes()))
        self.assertEqual(([], [], None), (self.registered(), self.dumps(project), self.lock()))
        result = self.dumping().fab("migrations:dbdump", env={"PATH": str(project.path)})
        self.assertEqual(
            "mongodump is not on PATH: install the MongoDB Database Tools. Nothing was run.\n", result.stderr
        )


class TestDumpBeforeRuns(DumpTestCase):
    def test_execute_and_rollback_dump_before_anything_runs(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        names = ["1_a.py", *self.counting_ones(project, 2)]
        result = self.fab_with_tools(project, "migrations:execute")
        self.assert_code(0, result)
        self.assertLess(
            result.stderr.index("Doing mongo dump..."), result.stderr.index("Executing migration 1_a.py...")
        )
        (dump,) = self.dumps(project)
        self.assertEqual([str(dump)] * len(names), [document["dump"] for document in self.db.migrations.find()])
        self.assertTrue((dump / self.database / "notes.bson").exists())
        self.assertFalse((dump / self.database / "ran.bson").exists(), "dumped after the first one")
        self.assertEqual(0o700, stat.S_IMODE(dump.stat().st_mode))
        self.assert_code(0, self.fab_with_tools(project, "migrations:execute"))
        self.assertEqual([dump], self.dumps(project), "dumped with nothing to do")
        self.assert_code(0, self.fab_with_tools(project, "migrations:rollback,1_a.py"))
        sizes = [(folder / self.database / "notes.bson").stat().st_size for folder in self.dumps(project)]
        self.assertEqual(2, len(sizes))
        self.assertLess(sizes[0], sizes[1])
        size = sum(path.stat().st_size for path in (dump / self.database).iterdir())
        documents = sum(len(bson.decode_all(path.read_bytes())) for path in (dump / self.database).glob("*.bson"))
        known = f"Dumped before it: {dump} ({documents} documents, {size:,} bytes)\n"
        self.assertIn(known, project.fab("migrations:history,2").stdout)
        self.assertEqual([], self.left_over(project))

    def test_there_is_no_dump_when_nothing_will_run(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        self.fab_with_tools(project, "migrations", "migrations:ignore", "migrations:execute", "migrations:help")
        project.write("mongomigrations/2_b.py", "def up(db:")
        self.assertEqual(1, self.fab_with_tools(project, "migrations:execute").code)
        self.assertEqual(1, self.fab_with_tools(project, "migrations:rollback,9_x.py").code)
        self.assertEqual(([], []), (self.dumps(project), self.ended_calls(project)))

    def test_a_dump_that_fails_stops_the_run(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        result = self.fab_with_tools(project, "migrations:execute", "migrations:help", STANDIN_FAIL="1")
        self.assertEqual((1, [], ["before"]), (result.code, self.registered(), self.notes()))
        self.assertRegex(result.stderr, r"(?m)^Failed: connection closed$|\tFailed: connection closed$")
        self.assertTrue(result.stderr.splitlines()[-1].startswith("mongodump failed with exit code 1"), result.stderr)
        self.assertNotIn("Executing", result.stderr)
        (call,) = self.ended_calls(project)
        self.assertNotIn(call["config"], result.output)
        self.db.migrations.insert_one({"name": "1_a.py"})
        self.assert_code(1, self.fab_with_tools(project, "migrations:rollback,1", STANDIN_FAIL="1"))
        self.assertEqual((["1_a.py"], ["before"], None), (self.registered(), self.notes(), self.lock()))
        self.assertEqual([], self.dumps(project), "half a dump must not be taken for a whole one")
        self.assertEqual([], self.left_over(project))

    def test_a_dbdump_of_the_team_is_the_one_that_is_called(self) -> None:
        own = "\n    @migopy.task\n    def dbdump(self):\n        print('our dump')\n"
        project = self.project(own, DO_MONGO_DUMP=True)
        project.migration("1_a.py")
        result = self.fab_with_tools(project, "--hide=status", "migrations:execute")
        self.assertEqual((0, "our dump\n", []), (result.code, result.stdout, self.ended_calls(project)))

    def test_longer_than_the_lease_keeps_the_lock(self) -> None:
        project = self.project(DO_MONGO_DUMP=True, LOCK_LEASE=2)
        names = self.counting_ones(project, 1)
        first = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="4"))
        self.wait_for_call(project)
        second = self.project(LOCK_LEASE=2)
        self.counting_ones(second, 1)
        self.assert_code(0, second.fab("migrations:execute"))
        self.assert_code(0, self.end_of(first))
        self.assertEqual(names, self.ran())


class TestKilled(DumpTestCase):
    def test_fab_takes_mongodump_along_and_what_it_leaves_is_no_dump(self) -> None:
        project = self.dumping()
        process = project.fab_start("migrations:dbdump", env=self.with_tools(project, STANDIN_SLEEP="600"))
        tool = self.wait_for_call(project)["pid"]
        process.kill()
        process.wait()
        wait_for("end of mongodump", lambda: not runs(tool), timeout=10)
        (left,) = self.dumps(project)
        self.assertTrue(left.name.endswith(".unfinished"))
        self.assertEqual([], self.left_over(project))
        for name in (left.name, left.stem):
            result = self.fab_with_tools(project, f"migrations:dbrestore,{name},force=yes")
            self.assertRegex(
                result.stderr,
                rf"^The dump in {left.with_suffix('')}\S* was not finished, so it cannot be restored\. .*\n$",
            )
            self.assert_code(1, result)
        self.assertEqual(["before"], self.notes())
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        self.assertEqual([False], [dump.name.endswith(".unfinished") for dump in self.dumps(project)])

    def test_mongodump_and_then_nothing_runs(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        process = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="600"))
        os.kill(self.wait_for_call(project)["pid"], signal.SIGKILL)
        result = self.end_of(process)
        self.assertTrue(result.stderr.endswith("mongodump failed with exit code 137, see its output above.\n"))
        self.assertEqual((1, ["before"], [], None), (result.code, self.notes(), self.registered(), self.lock()))
        self.assertEqual([], self.dumps(project))


class TestSecrets(WithUsersTestCase, DumpTestCase):
    def test_the_password_is_in_the_config_file_only(self) -> None:
        self.mongod.add_user(self.database, "me@home", PASSWORD, [{"role": "readWrite", "db": self.database}])
        self.addCleanup(self.db.command, "dropUser", "me@home")
        at = f"{self.server.host}:{self.server.port}"
        user = {"username": "me@home", "password": PASSWORD, "authSource": self.database}
        elsewhere = {"MONGO_HOST": "nowhere.invalid", "MONGO_DATABASE": None}
        ways: list[dict[str, Any]] = [
            {"MONGO_USER": "me@home", "MONGO_USER_PASSWORD": PASSWORD},
            {"MONGO_URI": f"mongodb://me%40home:{quote(PASSWORD, safe='')}@{at}/{self.database}", **elsewhere},
            {"MONGO_URI": f"mongodb://me%40home:{quote_plus(PASSWORD)}@{at}/{self.database}", **elsewhere},
            {"MONGO_URI": f"mongodb://{at}/{self.database}", "MONGO_CLIENT_OPTIONS": user, **elsewhere},
        ]
        for settings in ways:
            project = self.dumping(**settings)
            result = self.fab_with_tools(project, "migrations:dbdump")
            self.assertEqual(0, result.code, result.output)
            call = self.ended_calls(project)[-1]
            self.assert_hidden(result.output, str(call["argv"]))
            self.assertIn(at, call["config"])
            self.assertTrue((self.dumps(project)[0] / self.database / "notes.bson").stat().st_size)
        refused = self.fab_with_tools(project, "migrations:dbdump", STANDIN_FAIL="connect")
        self.assertIn(f"failed to connect to mongodb://me%40home@{at}/", refused.stderr)
        self.assert_hidden(refused.output)

    def assert_hidden(self, *texts: str) -> None:
        for text in texts:
            for spelled in ("p w", "p%20w", "p+w"):
                self.assertNotIn(spelled, text)

    def test_a_user_who_may_not_go_past_a_validator_is_told_before_anything_is_restored(self) -> None:
        for user, roles in (("writes", ["readWrite"]), ("owns", ["readWrite", "dbAdmin"])):
            self.mongod.add_user(self.database, user, "p", roles)
            self.addCleanup(self.db.command, "dropUser", user)
        strict = self.dumping(MONGO_USER="owns", MONGO_USER_PASSWORD="p")
        self.db.command("collMod", "notes", validator={"text": "other"})
        self.assert_code(0, self.fab_with_tools(strict, "migrations:dbdump"))
        (dump,) = self.dumps(strict)
        self.db.notes.drop()
        project = Project(self, basic_fabfile(self.server, self.database, MONGO_USER="writes", MONGO_USER_PASSWORD="p"))
        result = self.fab_with_tools(project, f"migrations:dbrestore,{dump},force=yes")
        self.assertRegex(result.stderr, "^The dump has a collection with a validator, .*Nothing was restored\\.\n$")
        self.assertEqual((1, [], []), (result.code, self.notes(), self.logged()))
        self.assert_code(0, self.fab_with_tools(strict, f"migrations:dbrestore,{dump},force=yes"))
        self.assertEqual(["before"], self.notes())
