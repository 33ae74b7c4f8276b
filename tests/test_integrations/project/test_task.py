"""The task in fab: listed, described, customised by a team, and in Fabric's own ways."""

from __future__ import annotations

import re

from tests.cases import UNREGISTERED, FabTestCase
from tests.documents import section
from tests.server import free_port
from tests.support import Project, basic_fabfile


class TestTheTaskInFab(FabTestCase):
    def test_fab_lists_and_describes_it_without_a_server(self) -> None:
        project = self.project(more="\n\ndef staging():\n    pass\n", MONGO_PORT=free_port())
        listed = project.fab("-l")
        self.assert_code(0, listed)
        self.assertRegex(listed.stdout, r"(?m)^    migrations  Mongo migrations \(migopy\)$")
        self.assertRegex(listed.stdout, r"(?m)^    staging")
        self.assertEqual(["Migrations", "migrations", "staging"], project.fab("--shortlist").stdout.split())
        described = project.fab("-d", "migrations").stdout
        self.assertIn("Mongo migrations (migopy)", described)
        self.assertIn("fab migrations:execute - ", described)

    def test_listing_and_making_an_object_need_neither_server_nor_directory_nor_pymongo(self) -> None:
        more = """

import atexit
import sys


@atexit.register
def show_modules():
    print([name for name in sys.modules if name.split(".")[0] in ("pymongo", "bson")])


def deploy():
    Migrations()
    print("deployed")
"""
        project = self.project(more=more, MONGO_PORT=free_port())
        listed, others = project.fab("-l", cold=True), project.fab("deploy", "migrations:help", cold=True)
        self.assertEqual([0, 0], [listed.code, others.code], others.output)
        self.assertTrue(listed.stdout.endswith("\n[]\n"), listed.stdout)
        self.assertRegex(others.stdout, r"(?s)^deployed\nfab migrations:show_status - .*\n\nDone\.\n\[\]\n$")
        self.assertEqual(["fabfile.py"], sorted(p.name for p in project.path.iterdir() if p.name != "__pycache__"))

    def test_help_shows_every_documented_subtask_on_one_line(self) -> None:
        project = self.project(
            body="""
    @migopy.task
    def long(self):
        \"""First line
        and second.

        Not this.\"""

    @migopy.task
    def silent(self):
        pass

    @migopy.task
    def execute(self, spec_migr=None):
        \"""Our own words\"""

    def ignore(self, spec_migr=None):
        \"""No subtask\"""
"""
        )
        result = project.fab("--hide=status", "migrations:help")
        self.assert_code(0, result)
        self.assertEqual("", result.stderr)
        lines = result.stdout.splitlines()
        self.assertEqual([], [line for line in lines if not line.startswith("fab migrations:")])
        self.assertIn("fab migrations:long - First line and second.", lines)
        self.assertIn("fab migrations:execute - Our own words", lines)
        self.assertNotRegex(result.output, "silent|ignore - No|:ignore ")
        self.assertEqual(
            (1, True), (lambda r: (r.code, "no subtask 'ignore'" in r.stderr))(project.fab("migrations:ignore"))
        )

    def test_help_has_the_order_of_the_table_and_the_docstring_lists_the_subtasks(self) -> None:
        project = self.project()
        shown = project.fab("--hide=status", "migrations:help").stdout
        order = [line.split()[1] for line in shown.splitlines() if ":help," not in line]
        table = re.findall(r"(?m)^\| `fab migrations:(\w+)", section("Subtasks"))
        names = [name for name in ["show_status", *dict.fromkeys(table)] if name not in ("resume", "pace", "stop")]
        self.assertEqual([f"migrations:{name}" for name in names], order)
        self.assertIn("fab migrations:pause - Pause a run in batches; also resume, pace, stop\n", shown)
        self.assertIn("fab migrations:create - ", project.fab("-d", "migrations").stdout)
        self.assertIn("migrations", project.fab("--shortlist").stdout.split())

    def test_fab_task_is_the_name_in_messages(self) -> None:
        text = basic_fabfile(self.server, self.database, FAB_TASK="mongo").replace("\nmigrations =", "\nmongo =")
        project = self.noting(Project(self, text), "1_a.py")
        result = project.fab("mongo", "mongo:help")
        self.assert_code(0, result)
        self.assertIn("Unregistered migrations (fab mongo:execute to execute them):\n1_a.py\n", result.stderr)
        self.assertIn("\nfab mongo:execute - ", result.stdout)
        self.assertNotIn("fab migrations", result.output)

    def test_the_task_hook_gets_what_stands_on_the_command_line_and_may_stop(self) -> None:
        project = self.project(
            body="""
    @classmethod
    def task_hook(cls, subtask, option):
        print((subtask, option))
        print(cls.fab_command(subtask, option))
        raise migopy.StopTaskExecution()
""",
            MONGO_PORT=free_port(),
        )
        words = ["migrations", "migrations:execute", "migrations:execute,1_first.py", "migrations:execute,to=12"]
        result = project.fab("--hide=status", *words, r"migrations:mytask,a\,b,c\=d")
        self.assertEqual((0, ""), (result.code, result.stderr))
        self.assertEqual(
            [
                "(None, None)",
                "fab migrations",
                "('execute', None)",
                "fab migrations:execute",
                "('execute', '1_first.py')",
                "fab migrations:execute,1_first.py",
                "('execute', 'to=12')",
            ],
            result.stdout.splitlines()[:7],
        )
        self.assertEqual(r"('mytask', 'a\\,b,c\\=d')", result.stdout.splitlines()[8])

    def test_a_default_of_the_team_and_what_subtasks_return(self) -> None:
        project = self.project(
            body="""
    @migopy.task(default=True)
    def mine(self, option="nothing"):
        return "mine of " + option
"""
        )
        fabfile = project.path / "fabfile.py"
        fabfile.write_text(
            fabfile.read_text()
            + """
def ask():
    from fabric.api import execute
    print(migrations())
    print(migrations("mine", "a"))
    print(execute(migrations, "mine", option="b"))
"""
        )
        result = project.fab("--hide=status", "ask")
        self.assertEqual("mine of nothing\nmine of a\n{'<local-only>': 'mine of b'}\n", result.stdout)

    def test_methods_of_the_team_can_use_what_1_0_gave_them(self) -> None:
        project = self.noting(
            self.project(
                body="""
    @migopy.task
    def show(self):
        print(self.unregistered())
        print(self.sorted(["10_a.py", "9_a.py"]))
        print(sorted(self.tasks(self))[:2])
        self.collection.insert_one({"name": "2_b.py"})
        self.db.ran.insert_one({"did": "up", "name": "by show"})
        self.mongo_client.admin.command("ping")
        self.logger.green("fine")
""",
                MIGRATIONS_COLLECTION="changes",
            ),
            "1_a.py",
            "2_b.py",
        )
        result = project.fab("--hide=status", "migrations:show", "migrations")
        self.assert_code(0, result)
        self.assertTrue(result.stdout.startswith("['1_a.py', '2_b.py']\n['9_a.py', '10_a.py']\n"), result.stdout)
        self.assertRegex(result.stderr, r"^fine\nDatabase .*\n1 executed, 1 unregistered; last 2_b.py on .*\n")
        self.assertIn(f"\n{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertEqual((["2_b.py"], ["by show"]), (self.registered("changes"), self.notes()))

    def test_another_collection_is_used_for_everything(self) -> None:
        project = self.noting(self.project(MIGRATIONS_COLLECTION="changes"), "1_a.py")
        self.assert_code(0, project.fab("migrations:execute", "migrations:rollback,1_a.py", "migrations:execute"))
        self.assertEqual(["1_a.py"], self.registered("changes"))
        others = set(self.db.list_collection_names()) - {"ran"}
        self.assertEqual(set(), {name for name in others if not name.startswith("changes")})

    def test_with_logging_in_the_fabfile_each_line_comes_once(self) -> None:
        project = self.noting(
            self.project(more="\nimport logging\nlogging.basicConfig(level=logging.INFO)\n"), "1_a.py"
        )
        result = project.fab("migrations")
        self.assertEqual(1, result.output.count("1_a.py"), result.output)

    def test_the_hooks_around_each_migration_know_its_name(self) -> None:
        project = self.noting(
            self.project(
                body="""
    def before_each(self, name):
        print("before " + name)

    def after_each(self, name):
        print("after " + name)
        if name == "2_b.py":
            raise ValueError("enough")
"""
            ),
            "1_a.py",
            "2_b.py",
            "3_c.py",
        )
        result = project.fab("migrations:execute")
        self.assertEqual((1, ["1_a.py", "2_b.py"]), (result.code, self.registered()))
        self.assertEqual("before 1_a.py\nafter 1_a.py\nbefore 2_b.py\nafter 2_b.py\n", result.stdout)
        self.assertIn(
            "it was in after_each(), the migration is registered, and the one after it did not run", result.stderr
        )


class TestFabricsOwnWays(FabTestCase):
    def test_with_warn_only_the_tasks_after_a_failure_run(self) -> None:
        more = """

from fabric.api import env, settings


def careless():
    with settings(warn_only=True):
        print(type(migrations("nope")).__name__)
        print(migrations("execute").exit_code)
        print(migrations("check").exit_code)
        migrations("ignore")
        print(migrations("check"))
    print("went on")
"""
        project = self.project(more=more)
        project.migration("1_a.py", "1 / 0")
        result = project.fab("--hide=status", "careless")
        self.assertEqual((0, "UnknownSubtask\n1\n4\nNone\nwent on\n"), (result.code, result.stdout))
        self.assertIn("no subtask 'nope'", result.stderr)
        self.assertIn("ZeroDivisionError: division by zero\n", result.stderr)
        self.assertEqual(["1_a.py"], self.registered())
        self.assert_code(0, project.fab("--warn-only", "migrations:nope"))

    def test_the_abort_exception_of_the_fabfile_is_raised(self) -> None:
        more = """

from fabric.api import env


class TeamsError(Exception):
    pass


env.abort_exception = TeamsError


def careful():
    try:
        migrations("nope")
    except TeamsError as error:
        print("caught " + str(error))
"""
        result = self.project(more=more).fab("--hide=status", "careful")
        self.assert_code(0, result)
        self.assertTrue(result.stdout.startswith("caught fab migrations has no subtask 'nope'. "), result.output)
