from __future__ import annotations

import functools
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.server import Mongod, wait_for
from tests.support import MongoTestCase, Project, Result, tools_on_path

PASSWORD = "p w@/:%+'\"$ż"


class DumpTestCase(MongoTestCase):
    def dumping(self, **attributes: Any) -> Project:
        """A project with one document in its database and one migration that adds another."""
        project = self.project(**attributes)
        project.migration("1_a.py", "db.notes.insert_one({'text': 'after'})", "db.notes.delete_one({'text': 'after'})")
        self.db.notes.insert_one({"text": "before"})
        return project

    def fab(self, project: Project, *words: str, **standin: str) -> Result:
        return project.fab(*words, env=self.with_tools(project, **standin))

    def with_tools(self, project: Project, **standin: str) -> dict[str, str]:
        return {"PATH": tools_on_path(project.path / "bin", project.path / "calls", **standin)}

    def record_of(self, project: Project) -> str:
        record = project.path / "calls"
        return record.read_text() if record.exists() else ""

    def calls(self, project: Project) -> list[dict[str, Any]]:
        """The calls of the tools until now; their config files were for their owner only and are gone."""
        calls = [json.loads(line) for line in self.record_of(project).splitlines()]
        for call in calls:
            self.assertEqual("0o600", call["config_mode"])
            self.assertFalse(os.path.exists(call["config_file"]))
        return calls

    def dumps(self, project: Project, directory: str = "mongodumps") -> list[Path]:
        return sorted((project.path / directory).glob("*"))

    def registered(self) -> list[str]:
        return self.db.migrations.distinct("name")

    def notes(self) -> list[str]:
        return sorted(document["text"] for document in self.db.notes.find())


class TestDbdump(DumpTestCase):
    def test_it_dumps_the_server_and_database_of_the_settings_into_a_new_folder(self) -> None:
        project = self.dumping()
        result = self.fab(project, "migrations:dbdump", "migrations:dbdump")
        self.assertEqual(0, result.code, result.output)
        dumps = self.dumps(project)
        self.assertEqual(2, len(dumps))
        for call, folder in zip(self.calls(project), dumps):
            config, database, out = call["argv"]
            self.assertEqual(
                [f"--config={call['config_file']}", f"--db={self.database}", f"--out={folder}"], call["argv"]
            )
            self.assertEqual(f"uri: mongodb://{self.server.host}:{self.server.port}/\n", call["config"])
            self.assertIn(f"[localhost] local: mongodump {config} {database} {out}\n", result.stdout)
            self.assertRegex(folder.name, r"^\d{4}(_\d\d){5}(_2)?$")
            self.assertEqual(0o700, stat.S_IMODE(folder.stat().st_mode))
            self.assertTrue((folder / self.database / "notes.bson").stat().st_size)
        self.assertEqual(2, result.stderr.count("Doing mongo dump...\n"))

    def test_folders_that_need_quotes(self) -> None:
        for directory in ("our $(dumps)/of 'notes'; `id`", str(self.dumping().path / "absolute \\ folder")):
            project = self.dumping(MONGO_DUMP_DIRECTORY=directory)
            result = self.fab(project, "migrations:dbdump")
            self.assertEqual(0, result.code, result.output)
            (dump,) = self.dumps(project, directory)
            self.assertTrue((dump / self.database / "notes.bson").exists())

    def test_a_database_that_does_not_exist_yet_leaves_no_folder(self) -> None:
        project = self.project()
        result = self.fab(project, "migrations:dbdump")
        self.assertEqual((0, []), (result.code, self.dumps(project)), result.output)
        self.assertIn(f"The database {self.database} does not exist yet", result.stderr)

    def test_without_mongodump_a_sentence_says_so_before_anything_runs(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        for subtask in ("dbdump", "execute"):
            result = project.fab(f"migrations:{subtask}", env={"PATH": str(project.path)})
            self.assertRegex(result.stderr, r"^mongodump is not on PATH.*\n$")
            self.assertEqual((1, "", ["before"]), (result.code, result.stdout, self.notes()))
        self.assertEqual(([], []), (self.registered(), self.dumps(project)))


class TestDumpBeforeRuns(DumpTestCase):
    def test_execute_and_rollback_dump_before_anything_runs(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        result = self.fab(project, "migrations:execute", "migrations:rollback,1_a.py")
        self.assertEqual(0, result.code, result.output)
        first, second = self.dumps(project)
        sizes = [(folder / self.database / "notes.bson").stat().st_size for folder in (first, second)]
        self.assertLess(sizes[0], sizes[1])
        self.assertLess(
            result.stderr.index("Doing mongo dump..."), result.stderr.index("Executing migration 1_a.py...")
        )
        self.assertEqual(0, self.fab(project, "migrations:execute").code)
        document = self.db.migrations.find_one({"name": "1_a.py"}) or {}
        self.assertEqual(str(self.dumps(project)[2]), document["dump"])

    def test_there_is_no_dump_when_nothing_will_run(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        self.fab(project, "migrations", "migrations:ignore", "migrations:execute", "migrations:help")
        project.write("mongomigrations/2_b.py", "def up(db:")
        self.assertEqual(1, self.fab(project, "migrations:execute").code)
        self.assertEqual(1, self.fab(project, "migrations:rollback,9_x.py").code)
        self.assertEqual(([], []), (self.dumps(project), self.calls(project)))

    def test_a_dump_that_fails_stops_the_run(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        result = self.fab(project, "migrations:execute", "migrations:help", STANDIN_FAIL="1")
        self.assertEqual((1, [], ["before"]), (result.code, self.registered(), self.notes()))
        self.assertRegex(result.stderr, r"(?m)^Failed: connection closed$|\tFailed: connection closed$")
        self.assertTrue(result.stderr.splitlines()[-1].startswith("mongodump failed with exit code 1"), result.stderr)
        self.assertNotIn("Executing", result.stderr)
        (call,) = self.calls(project)
        self.assertNotIn(call["config"], result.output)
        self.assertEqual([], self.dumps(project), "half a dump must not be taken for a whole one")

    def test_ctrl_c_and_sigterm_end_the_dump_and_the_run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            project = self.dumping(DO_MONGO_DUMP=True)
            self.client.drop_database(self.database)
            process = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="30"))
            call = wait_for("call of mongodump", functools.partial(self.record_of, project))
            os.killpg(process.pid, number)
            output = process.communicate(timeout=20)
            with self.subTest(number):
                self.assertEqual(1, process.returncode, output)
                self.assertFalse(os.path.exists(json.loads(call)["config_file"]))
                self.assertEqual(([], []), (self.registered(), self.notes()))
                self.assertEqual(0, self.db.migrations_lock.count_documents({}))

    def test_a_dbdump_of_the_team_is_the_one_that_is_called(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        fabfile = project.path / "fabfile.py"
        own = "\n    @migopy.task\n    def dbdump(self):\n        print('our dump')\n"
        fabfile.write_text(fabfile.read_text().replace("\n\n\nmigrations =", f"\n{own}\n\nmigrations ="))
        result = self.fab(project, "--hide=status", "migrations:execute")
        self.assertEqual((0, "our dump\n", []), (result.code, result.stdout, self.calls(project)))


class TestSecrets(DumpTestCase):
    mongod: Mongod

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mongod = Mongod(auth=True)
        cls.mongod.start()
        cls.addClassCleanup(cls.mongod.close)

    def find_server(self) -> Mongod:
        return self.mongod

    def test_the_password_is_in_the_config_file_only(self) -> None:
        self.mongod.add_user(self.database, "me@home", PASSWORD, [{"role": "readWrite", "db": self.database}])
        self.addCleanup(self.db.command, "dropUser", "me@home")
        at = f"{self.server.host}:{self.server.port}"
        by_user = {"MONGO_USER": "me@home", "MONGO_USER_PASSWORD": PASSWORD}
        by_uri = {
            "MONGO_HOST": "nowhere.invalid",
            "MONGO_DATABASE": None,
            "MONGO_URI": f"mongodb://me%40home:{quote(PASSWORD, safe='')}@{at}/{self.database}",
        }
        for settings in (by_user, by_uri):
            project = self.dumping(**settings)
            result = self.fab(project, "migrations:dbdump")
            self.assertEqual(0, result.code, result.output)
            call = self.calls(project)[-1]
            for text in (result.output, str(call["argv"])):
                self.assertNotIn("p w", text)
                self.assertNotIn("p%20w", text)
            self.assertIn(at, call["config"])
            self.assertTrue((self.dumps(project)[0] / self.database / "notes.bson").stat().st_size)
