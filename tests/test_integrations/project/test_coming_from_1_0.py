"""A project and a database of 1.0 with today's migopy: nothing is edited, nothing is executed twice."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bson import ObjectId

from tests.legacy import record
from tests.support import MongoTestCase, Project

LEGACY_PROJECT = Path(__file__).parents[2] / "legacy"
JANUARY_2014 = ObjectId.from_datetime(datetime(2014, 1, 14, 12, tzinfo=timezone.utc))

FABFILE_OF_1_0 = """
import migopy


class Logger(migopy.ColorsLogger):
    def green(self, message):
        super(Logger, self).green('>> ' + message)


class Migrations(migopy.MigrationsManager):
    MONGO_HOST = {host!r}
    MONGO_PORT = {port!r}
    MONGO_DATABASE = {database!r}
    logger = Logger()

    @staticmethod
    def MongoClient(*args, **kwargs):
        import pymongo
        print('a client of our own')
        return pymongo.MongoClient(*args, **kwargs)

    @migopy.task
    def count(self):
        '''Count the notes'''
        self.db.notes.insert({{'content': 'counted'}})
        self.logger.green('%d notes' % self.db.notes.count())
        self.logger.white('%d registered' % self.collection.count())
        self.logger.white(migopy.Str(self.mongo_client.__class__.__name__))

    @migopy.task
    def names(self):
        print(sorted(self.tasks(self)))


migrations = Migrations.create_task()
"""


class TestComingFrom10(MongoTestCase):
    maxDiff = None

    def test_the_migrations_of_2014_leave_the_database_that_pymongo_3_left(self) -> None:
        project = Project(self, "")
        shutil.copytree(LEGACY_PROJECT, project.path, dirs_exist_ok=True)
        settings = {
            "LEGACY_HOST": self.server.host,
            "LEGACY_PORT": str(self.server.port),
            "LEGACY_DATABASE": self.database,
        }
        result = project.fab("migrations:execute", env=settings, timeout=120)
        self.assertEqual(0, result.code, result.output)
        left = record.contents(self.db)
        registered = left.pop("migrations")
        left.pop("migrations_lock", None)
        self.assertEqual(len(record.migrations()), len(registered["documents"]))
        self.assertEqual(record.expected(self.db)["migrations"], json.loads(json.dumps(left)))
        self.assertRegex(result.stderr, r"mongomigrations/\w+\.py:\d+: insert: write insert_one or insert_many today")

    def test_what_1_0_registered_is_not_executed_again_and_rollback_removes_all_of_it(self) -> None:
        project = self.project()
        project.migration("1_users.py", up="db.ran.insert_one({})", down="db.rolled_back.insert_one({})")
        project.migration("2_notes.py", up="db.ran.insert_one({})")
        self.db.migrations.insert_many([{"_id": JANUARY_2014, "name": "1_users.py"}, {"name": "1_users.py"}])
        result = project.fab("migrations")
        self.assertNotIn("\n1_users.py", result.stderr)
        self.assertIn("2_notes.py", result.stderr)
        self.assertEqual(0, project.fab("migrations:execute").code)
        self.assertEqual(1, self.db.ran.count_documents({}))
        history = json.loads(project.fab("--hide=status", "migrations:history,json=yes").stdout)["migrations"]
        self.assertEqual(["2014-01-14T12:00:00Z", "executed"], [history[0]["at"], history[0]["state"]])
        self.assertEqual(0, project.fab("migrations:rollback,1_users.py").code)
        self.assertEqual(1, self.db.rolled_back.count_documents({}))
        self.assertEqual(["2_notes.py"], self.db.migrations.distinct("name"))

    def test_1_0_reads_what_we_write(self) -> None:
        project = self.project()
        for name in ("1_a.py", "2_b.py", "3_c.py"):
            project.migration(name)
        project.fab("migrations:execute,to=2")
        project.fab("migrations:rollback,2")
        # 1.0 asked for each file: is there a document with this name?
        registered = [name for name in ("1_a.py", "2_b.py", "3_c.py") if self.db.migrations.find_one({"name": name})]
        self.assertEqual(["1_a.py"], registered)
        self.assertEqual(1, self.db.migrations.count_documents({}))

    def test_a_fabfile_of_1_0_finds_all_that_it_used(self) -> None:
        settings: dict[str, Any] = {"host": self.server.host, "port": self.server.port, "database": self.database}
        project = Project(self, FABFILE_OF_1_0.format(**settings))
        project.migration("1_a.py")
        self.db.migrations.insert_one({"name": "1_a.py"})
        result = project.fab("migrations:count")
        self.assertEqual(0, result.code, result.output)
        self.assertIn("a client of our own", result.stdout)
        self.assertIn(">> 1 notes", result.stderr)
        self.assertIn("1 registered", result.stderr)
        self.assertIn("MongoClient", result.stderr)
        self.assertIn("'count', 'create'", project.fab("migrations:names").stdout)
        self.assertIn(">> All migrations registered", project.fab("migrations").stderr)

    def test_without_legacy_pymongo_the_calls_are_those_of_the_installed_pymongo(self) -> None:
        project = self.project(LEGACY_PYMONGO=False)
        project.migration("1_a.py", up="print(type(db).__module__)")
        result = project.fab("migrations:execute")
        self.assertRegex(result.stdout, r"pymongo\.(synchronous\.)?database")

    def test_a_call_that_nobody_answers_any_more_names_file_line_and_todays_call(self) -> None:
        project = self.project()
        project.migration("1_a.py", up="db.notes.group({}, {}, {}, '')")
        result = project.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertIn("1_a.py failed (line 2, NoSuchCall: group: MongoDB 4.2 dropped it", result.stderr)
        self.assertIn("aggregate with $group): it is not registered.", result.stderr)
        self.assertEqual([], list(self.db.migrations.find()))
