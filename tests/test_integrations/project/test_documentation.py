"""Every example of the documentation of migopy 1.0, as it stands there."""

from __future__ import annotations

from typing import Any

from tests.support import MongoTestCase, Project, Result, tools_on_path

# Where a migration makes a call of PyMongo 2, that is a warning, and in these tests a warning is an error.
AS_IN_2014 = {"PYTHONWARNINGS": ""}

NOTES = """
def up(db):
    db.notes.insert({'content': 'test'})
    pass

def down(db):
    db.notes.remove({'content': 'test'})
"""

DONE = "All migrations registered, nothing to execute\n"


class DocumentationTestCase(MongoTestCase):
    def project_of(self, fabfile: str) -> Project:
        """A project with this fabfile, where the documentation's `# host` and such are filled in."""
        settings = {
            "# host": repr(self.server.host),
            "# port": f"{self.server.port}; MONGO_DATABASE = {self.database!r}",
            "# username": "None",
            "# password": "None",
        }
        for comment, value in settings.items():
            fabfile = fabfile.replace(comment, value)
        return Project(self, fabfile)

    def notes(self) -> list[Any]:
        return self.db.notes.distinct("content")

    def assert_done(self, result: Result) -> None:
        self.assertEqual(0, result.code, result.output)
        self.assertIn("Done.", result.stdout)


QUICK_START = """
import migopy

class Migrations(migopy.MigrationsManager):
    MONGO_HOST = # host
    MONGO_PORT = # port
    MONGO_USER = # username
    MONGO_USER_PASSWORD = # password

migrations = Migrations.create_task()
# or for new style tasks:
# from fabric.api import task
# migrations = task(Migrations.create_task())
"""

NEW_STYLE = """
import migopy
from fabric.api import task

class Migrations(migopy.MigrationsManager):
    MONGO_HOST = # host
    MONGO_PORT = # port

migrations = task(Migrations.create_task())
"""


class TestQuickStart(DocumentationTestCase):
    def test_basic_and_additional_commands(self) -> None:
        project = self.project_of(QUICK_START)
        project.write("mongomigrations/1_ex.py", NOTES)
        project.migration(
            "2_ex.py", "db.notes.insert_one({'content': 'two'})", "db.notes.delete_one({'content': 'two'})"
        )
        project.migration("3_ex.py", "db.notes.insert_one({'content': 'three'})")

        result = project.fab("migrations", env=AS_IN_2014)
        self.assert_done(result)
        self.assertTrue(
            result.stderr.endswith(
                "Unregistered migrations (fab migrations:execute to execute them):\n1_ex.py\n2_ex.py\n3_ex.py\n"
            ),
            result.stderr,
        )
        self.assertEqual([], self.client[self.database].list_collection_names())

        self.assert_done(project.fab("migrations:ignore,2_ex.py", env=AS_IN_2014))
        self.assertEqual((["2_ex.py"], []), (self.registered(), self.notes()))

        self.assert_done(project.fab("migrations:execute,1_ex.py", env=AS_IN_2014))
        self.assertEqual((["2_ex.py", "1_ex.py"], ["test"]), (self.registered(), self.notes()))

        self.assert_done(project.fab("migrations:rollback,1_ex.py", env=AS_IN_2014))
        self.assertEqual((["2_ex.py"], []), (self.registered(), self.notes()))

        self.assert_done(project.fab("migrations:execute", env=AS_IN_2014))
        self.assertEqual((["2_ex.py", "1_ex.py", "3_ex.py"], ["test", "three"]), (self.registered(), self.notes()))

        result = project.fab("migrations", env=AS_IN_2014)
        self.assert_done(result)
        self.assertTrue(result.stderr.endswith(DONE), result.stderr)

    def test_ignore_registers_all_without_executing_them(self) -> None:
        project = self.project_of(QUICK_START)
        project.write("mongomigrations/1_ex.py", NOTES)
        project.write("mongomigrations/2_ex.py", NOTES)
        self.assert_done(project.fab("migrations:ignore"))
        self.assertEqual((["1_ex.py", "2_ex.py"], []), (self.registered(), self.notes()))

    def test_new_style_tasks(self) -> None:
        project = self.project_of(NEW_STYLE)
        project.migration("1_ex.py", "db.notes.insert_one({'content': 'test'})")
        self.assertEqual("migrations\n", project.fab("--shortlist").stdout)
        self.assert_done(project.fab("migrations:execute,1_ex.py"))
        self.assertEqual((["1_ex.py"], ["test"]), (self.registered(), self.notes()))

    def test_help_shows_the_commands(self) -> None:
        result = self.project_of(QUICK_START).fab("migrations:help")
        self.assert_done(result)
        for subtask in ("show_status", "execute", "ignore", "rollback", "dbdump", "help"):
            self.assertRegex(result.stdout, rf"(?m)^fab migrations:{subtask} - .+$")

    def test_up_and_down_get_a_pymongo_database(self) -> None:
        project = self.project_of(QUICK_START)
        check = "import pymongo.database\nassert isinstance(db, pymongo.database.Database), type(db)\n"
        project.migration("1_ex.py", check + "db.notes.insert_one({'content': db.name})", check)
        self.assert_done(project.fab("migrations:execute", "migrations:rollback,1_ex.py"))
        self.assertEqual(([], [self.database]), (self.registered(), self.notes()))


class TestEnvironments(DocumentationTestCase):
    """The remote side of this example is in test_remote.py; here is what runs on the local one."""

    FABFILE = """
import migopy
import settings # your settings
from fabric.api import run

is_remote = False

def staging():
    is_remote = True

def production():
    is_remote = True

# Bind your settings with those in Migopy
class Migrations(migopy.MigrationsManager):
    MONGO_HOST = settings.MONGO_HOST
    MONGO_PORT = settings.MONGO_PORT
    MONGO_DATABASE = settings.MONGO_DATABASE

    @classmethod
    def task_hook(cls, subtask, option):
        if is_remote:
            run(cls.fab_command(subtask, option))
            raise migopy.StopTaskExecution()


migrations = Migrations.create_task()
"""

    def test_the_teams_settings_are_used_and_plain_tasks_stay(self) -> None:
        project = Project(self, self.FABFILE)
        host, port = self.server.host, self.server.port
        project.write("settings.py", f"MONGO_HOST, MONGO_PORT, MONGO_DATABASE = {host!r}, {port}, {self.database!r}\n")
        project.migration("1_ex.py", "db.notes.insert_one({'content': 'test'})")
        self.assertEqual(
            ["Migrations", "migrations", "production", "staging"], project.fab("--shortlist").stdout.split()
        )
        self.assert_done(project.fab("staging", "migrations:execute"))
        self.assertEqual((["1_ex.py"], ["test"]), (self.registered(), self.notes()))


class TestMoreOnMigrationFiles(DocumentationTestCase):
    def test_a_migration_uses_the_teams_models_which_connect_by_their_own(self) -> None:
        project = self.project_of(QUICK_START)
        project.write(
            "mymongokitmodel.py",
            f"""
            import atexit
            import pymongo

            class Notes(dict):
                def save(self):
                    client = pymongo.MongoClient({self.server.uri!r})
                    client[{self.database!r}].notes.insert_one({{'content': self['name']}})
                    client.close()
            """,
        )
        project.write(
            "mongomigrations/1_ex.py",
            """
            import mymongokitmodel

            def up(db):
                note = mymongokitmodel.Notes()
                note['name'] = 'test'
                note.save()
            """,
        )
        self.assert_done(project.fab("migrations:execute"))
        self.assertEqual((["1_ex.py"], ["test"]), (self.registered(), self.notes()))


class TestFurtherCustomization(DocumentationTestCase):
    def test_additional_configuration(self) -> None:
        """The documentation's files are called ex_1_ex.py, for which its default pattern is not enough."""
        project = self.project_of("""
import migopy

class Migrations(migopy.MigrationsManager):
    MONGO_HOST = # host
    MONGO_PORT = # port
    MIGRATIONS_DIRECTORY = 'changes'
    MIGRATIONS_FILE_PATTERN = r'ex_(?P<migr_nr>[0-9]+)_[a-z]+\\.py'
    DO_MONGO_DUMP = True
    MONGO_DUMP_DIRECTORY = 'saved'

migrations = Migrations.create_task()
""")
        self.db.notes.insert_one({"content": "before"})
        project.write("changes/ex_10_ex.py", "def up(db):\n    db.notes.insert_one({'content': '10'})\n")
        project.write("changes/ex_9_ex.py", NOTES)
        environment = {**AS_IN_2014, "PATH": tools_on_path(project.path / "bin", project.path / "calls")}
        self.assertIn("\nex_9_ex.py\nex_10_ex.py\n", project.fab("migrations", env=environment).stderr)
        for command in ("execute,ex_9_ex.py", "rollback,ex_9_ex.py", "ignore,ex_9_ex.py", "execute"):
            self.assert_done(project.fab(f"migrations:{command}", env=environment))
        self.assertEqual((["ex_9_ex.py", "ex_10_ex.py"], ["10", "before"]), (self.registered(), self.notes()))
        dumped = [path for path in project.path.glob("saved/*/*/notes.bson") if path.parent.name == self.database]
        self.assertEqual(3, len(dumped), "one dump for each execute and rollback")

    def test_overridden_methods(self) -> None:
        project = self.project_of("""
import migopy

class Migrations(migopy.MigrationsManager):
    MONGO_HOST = # host
    MONGO_PORT = # port

    @migopy.task
    def execute(self, spec_migr=None):
        super(Migrations, self).execute(spec_migr)
        print('after %s: %s' % (spec_migr, self.db.notes.count_documents({})))

    @migopy.task
    def dbdump(self):
        print('our dump')

migrations = Migrations.create_task()
""")
        for number in range(1, 4):
            project.migration(f"{number}_ex.py", f"db.notes.insert_one({{'content': '{number}'}})")
        result = project.fab("migrations:execute,1_ex.py", "migrations:execute", "migrations:dbdump")
        self.assert_done(result)
        self.assertIn("after 1_ex.py: 1\nafter None: 3\nour dump\n", result.stdout)
        self.assertEqual((["1_ex.py", "2_ex.py", "3_ex.py"], ["1", "2", "3"]), (self.registered(), self.notes()))

    def test_additional_subtasks(self) -> None:
        project = self.project_of("""
import migopy

class Migrations(migopy.MigrationsManager):
    MONGO_HOST = # host
    MONGO_PORT = # port

    @migopy.task
    def mytask(self, option=None):
        \"""Here should be a help doc which will be showed under
        fab migrations:help command\"""
        print('mytask of %s' % option)

migrations = Migrations.create_task()
""")
        result = project.fab("migrations:mytask", "migrations:mytask,some_option", "migrations:help")
        self.assert_done(result)
        self.assertIn("mytask of None\nmytask of some_option\n", result.stdout)
        help_doc = "Here should be a help doc which will be showed under fab migrations:help command"
        self.assertIn(f"fab migrations:mytask - {help_doc}\n", result.stdout)
