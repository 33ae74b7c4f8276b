from __future__ import annotations

import json
import re
import time
from typing import Any, NamedTuple

from tests.server import free_port
from tests.support import MongoTestCase, Project, Result, basic_fabfile

UNREGISTERED = "Unregistered migrations (fab migrations:execute to execute them):\n"
NOTHING = "All migrations registered, nothing to execute\n"

# A task that runs one subtask after the other, as separate fabs would, and notes how each ended.
TRY_EACH = """

def try_each():
    import json
    import os
    import sys

    for options, named in json.loads(os.environ["SUBTASKS"]):
        code = 0
        try:
            migrations(*options, **named)
        except SystemExit as error:
            code = error.code
        print("exit %s" % code)
        sys.stderr.write("----\\n")
        sys.stderr.flush()
"""


class Attempt(NamedTuple):
    code: int
    stderr: str


def announced(result: Attempt | Result) -> list[str]:
    """What the run said that it was about to do."""
    return re.findall(r"(?m)^(?:Executing|Registering|Rollback) migration \S+?\.\.\.", result.stderr)


class FabTestCase(MongoTestCase):
    def registered(self, collection: str = "migrations") -> list[str]:
        """The registered names in the order of their registration."""
        return [document["name"] for document in self.db[collection].find().sort([("at", 1), ("_id", 1)])]

    def notes(self) -> list[Any]:
        """What the migrations noted, as it came; ids that two processes made in one second have no order."""
        return [document["text"] for document in self.db.notes.find().sort("$natural", 1)]

    def noting(self, project: Project, *names: str) -> Project:
        """Write migrations that note their names, and in down() that they are undone."""
        for name in names:
            note = "db.notes.insert_one({{'text': {!r}}})"
            project.migration(name, note.format(name), note.format(f"undone {name}"))
        return project

    def project_and(self, more: str, **attributes: Any) -> Project:
        """The basic project with more text in its fabfile."""
        return Project(self, basic_fabfile(self.server, self.database, **attributes) + more)

    def project_with(self, body: str, **attributes: Any) -> Project:
        """The basic project with more in the body of its class."""
        text = basic_fabfile(self.server, self.database, **attributes)
        return Project(self, text.replace("\n\n\nmigrations =", f"\n{body}\n\nmigrations ="))

    def attempts(self, project: Project, *subtasks: tuple[Any, ...]) -> list[Attempt]:
        """Run subtasks one after the other; options at the end of a tuple may be a dictionary of named ones."""
        calls = [(list(s[:-1]), s[-1]) if s and isinstance(s[-1], dict) else (list(s), {}) for s in subtasks]
        result = project.fab("--hide=status", "try_each", env={"SUBTASKS": json.dumps(calls)})
        codes = [int(line[5:]) for line in result.stdout.splitlines() if line.startswith("exit ")]
        self.assertEqual(len(subtasks), len(codes), result.output)
        return [Attempt(code, text) for code, text in zip(codes, result.stderr.split("----\n"))]

    def assert_done(self, result: Result) -> None:
        self.assertEqual(0, result.code, result.output)

    def assert_one_sentence(self, sentence: str, attempt: Attempt | Result) -> None:
        """Exactly one line on stderr, which matches, and exit code 1."""
        self.assertRegex(attempt.stderr, rf"^{sentence}\n$")
        self.assertEqual(1, attempt.code)


class TestStatus(FabTestCase):
    def test_names_come_in_the_order_of_their_numbers_on_stderr(self) -> None:
        project = self.noting(self.project(), "010_a.py", "3_a.py", "20140101120000_x.py", "0002_a.py", "3_0.py")
        result = project.fab("--hide=status", "migrations", "migrations:", "migrations:show_status")
        names = "0002_a.py\n3_0.py\n3_a.py\n010_a.py\n20140101120000_x.py\n"
        self.assertEqual((0, ""), (result.code, result.stdout))
        texts = result.stderr.split(UNREGISTERED)
        self.assertEqual(4, len(texts), result.stderr)
        self.assertEqual(["", True, True, True], [texts[0], *(text.startswith(names) for text in texts[1:])])
        self.assertEqual([], self.db.list_collection_names())

    def test_in_a_terminal_it_has_colours_unless_they_are_refused(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        coloured = f"\033[1m{UNREGISTERED[:-1]}\033[0m\n\033[31m1_a.py\033[0m\n"
        self.assertIn(coloured, project.fab_in_terminal("migrations").output)
        self.assertIn(f"{UNREGISTERED}1_a.py\n", project.fab_in_terminal("migrations", env={"NO_COLOR": "1"}).output)
        self.db.migrations.insert_one({"name": "1_a.py"})
        self.assertIn(f"\033[32m{NOTHING[:-1]}\033[0m\n", project.fab_in_terminal("migrations").output)

    def test_with_nothing_to_do_all_say_so_whatever_name_is_given(self) -> None:
        project = self.project_and(TRY_EACH)
        (project.path / "mongomigrations").mkdir()
        for attempt in self.attempts(project, (), ("execute",), ("ignore",), ("execute", "9_x.py"), ("ignore", "9")):
            self.assertEqual((0, NOTHING), attempt)
        self.noting(project, "1_a.py")
        self.db.migrations.insert_one({"name": "1_a.py"})
        for attempt in self.attempts(project, (), ("execute",), ("ignore",), ("execute", "1_a.py"), ("ignore", "9")):
            self.assertEqual((0, NOTHING), attempt)
        self.assertEqual(["migrations"], self.db.list_collection_names())

    def test_only_unregistered_files_have_to_match_the_pattern(self) -> None:
        project = self.noting(self.project(), "Old-name.py", "1_a.py")
        self.db.migrations.insert_many([{"name": "Old-name.py"}, {"name": "0_gone.py"}])
        self.assert_done(project.fab("migrations", "migrations:execute"))
        self.assertEqual(["1_a.py"], self.notes())

    def test_hidden_files_directories_and_helpers_are_passed_over(self) -> None:
        project = self.noting(self.project(), "1_a.py", "_helper.py", ".#1_a.py")
        project.write("mongomigrations/2_dir.py/x", "")
        project.write("mongomigrations/README", "")
        project.write("mongomigrations/2_b.py~", "")
        result = project.fab("migrations", "migrations:execute")
        self.assertIn(f"{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertEqual((0, ["1_a.py"], ["1_a.py"]), (result.code, self.registered(), self.notes()))


class TestExecute(FabTestCase):
    def test_each_is_announced_executed_and_registered_at_once(self) -> None:
        project = self.project()
        for number, name in enumerate(("1_first.py", "2_second.py", "10_third.py")):
            up = f"print('in {name}'); assert db.migrations.count_documents({{}}) == {number}"
            project.migration(name, up)
        result = project.fab("--hide=status", "migrations:execute")
        self.assert_done(result)
        names = ["1_first.py", "2_second.py", "10_third.py"]
        self.assertEqual([f"Executing migration {name}..." for name in names], announced(result))
        self.assertEqual("".join(f"in {name}\n" for name in names), result.stdout)
        self.assertEqual(names, self.registered())

    def test_what_is_registered_tells_how_and_can_be_read_by_1_0(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        self.assert_done(project.fab("migrations:execute,1_first.py", "migrations:ignore"))
        executed, ignored = self.db.migrations.find().sort("_id", 1)
        self.assertEqual(["1_first.py"] * 2, [executed["_id"], executed["name"]])
        self.assertEqual(["executed", "ignored"], [executed["state"], ignored["state"]])
        self.assertLess(abs(executed["at"].timestamp() - time.time() + time.timezone), 24 * 3600)
        self.assertRegex(executed["by"], r"^\S+@\S+$")
        self.assertRegex(executed["checksum"], r"^[0-9a-f]{64}$")
        self.assertIsInstance(executed["seconds"], float)
        self.assertEqual("2.0.0", executed["migopy"])

    def test_one_may_be_named_in_several_ways(self) -> None:
        project = self.noting(self.project_and(TRY_EACH), *(f"{n}_x.py" for n in range(1, 8)))
        attempts = self.attempts(
            project,
            ("execute", "3_x.py"),
            ("execute", "4_x"),
            ("execute", "05"),
            ("execute", {"spec_migr": "6_x.py"}),
            ({"subtask": "execute", "spec_migr": "2_x.py"},),
            ("execute", ""),
        )
        self.assertEqual([0] * 6, [attempt.code for attempt in attempts])
        self.assertEqual([f"{n}_x.py" for n in (3, 4, 5, 6, 2, 1, 7)], self.notes())

    def test_migrations_of_1_0_count_as_executed(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        self.db.migrations.insert_many([{"name": "1_first.py"}, {"name": "1_first.py"}])
        self.assert_done(project.fab("migrations:execute", "migrations:rollback,1_first.py"))
        self.assertEqual(["2_second.py", "undone 1_first.py"], self.notes())
        self.assertEqual(["2_second.py"], self.registered())

    def test_with_several_hosts_the_second_time_finds_nothing_to_do(self) -> None:
        project = self.noting(self.project(), "1_first.py")
        result = project.fab("-H", "one,two", "migrations:execute")
        self.assert_done(result)
        self.assertEqual(["Executing migration 1_first.py..."], announced(result))
        self.assertTrue(result.stderr.endswith(f"\n{NOTHING}"), result.stderr)
        self.assertEqual(["1_first.py"], self.notes())

    def test_in_parallel_each_migration_runs_once(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        result = project.fab("-P", "-H", "one,two", "migrations:execute")
        self.assert_done(result)
        self.assertEqual(["1_first.py", "2_second.py"], self.notes())
        self.assertEqual(["1_first.py", "2_second.py"], self.registered())


class TestIgnoreAndRollback(FabTestCase):
    def test_ignore_announces_and_registers_without_executing(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py", "3_c.py")
        result = project.fab("--hide=status", "migrations:ignore,2_b.py", "migrations:ignore")
        self.assert_done(result)
        names = ("2_b.py", "1_a.py", "3_c.py")
        self.assertEqual([f"Registering migration {name}..." for name in names], announced(result))
        self.assertEqual(({"1_a.py", "2_b.py", "3_c.py"}, []), (set(self.registered()), self.notes()))

    def test_ignoring_imports_nothing(self) -> None:
        project = self.project()
        project.write("mongomigrations/1_broken.py", "def up(db:")
        self.assert_done(project.fab("migrations:ignore"))
        self.assertEqual(["1_broken.py"], self.registered())

    def test_rollback_runs_down_of_a_registered_migration_and_unregisters_it(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py")
        result = project.fab("--hide=status", "migrations:execute", "migrations:rollback,1_a.py", "migrations")
        self.assert_done(result)
        self.assertEqual("Rollback migration 1_a.py...", announced(result)[-1])
        self.assertIn(f"\n{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertEqual((["2_b.py"], ["1_a.py", "2_b.py", "undone 1_a.py"]), (self.registered(), self.notes()))

    def test_a_rollback_that_fails_leaves_it_registered(self) -> None:
        project = self.project()
        project.migration("1_a.py", down="raise ValueError('no way back')")
        self.db.migrations.insert_one({"name": "1_a.py"})
        result = project.fab("migrations:rollback,1_a.py")
        self.assertEqual((1, ["1_a.py"]), (result.code, self.registered()))
        self.assertIn("1_a.py failed (line 6, ValueError: no way back): it stays registered.\n", result.stderr)
        self.assertIn("Traceback (most recent call last):\n", result.stderr)


class TestFailingMigrations(FabTestCase):
    def test_the_run_stops_at_the_first_that_raises_and_begins_there_again(self) -> None:
        project = self.noting(
            self.project_and("\n\ndef restart():\n    print('restarted')\n"), "1_a.py", "3_c.py", "4_d.py"
        )
        project.migration("2_b.py", "def inner():\n    raise KeyError('lost')\ninner()")
        result = project.fab("migrations:execute", "restart")
        self.assertEqual((1, ""), (result.code, result.stdout))
        self.assertEqual([f"Executing migration {name}..." for name in ("1_a.py", "2_b.py")], announced(result))
        before, _, trace = result.stderr.partition("Traceback ")
        self.assertRegex(
            before.splitlines()[-1],
            r"^2_b\.py failed \(line 3, KeyError: 'lost'\): it is not registered, (and )?the 2 after it did not run\.",
        )
        path = project.path / "mongomigrations" / "2_b.py"
        self.assertTrue(trace.startswith(f'(most recent call last):\n  File "{path}", line 4, in up\n'), trace)
        self.assertIn(f"  File \"{path}\", line 3, in inner\n    raise KeyError('lost')\n", trace)
        self.assertIn("\nKeyError: 'lost'\n", trace)
        self.assertNotIn("migopy/", trace)
        self.assertEqual((["1_a.py"], ["1_a.py"]), (self.registered(), self.notes()))

        self.noting(project, "2_b.py")
        self.assertEqual("restarted", project.fab("migrations:execute", "restart").stdout.split()[0])
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py", "4_d.py"], self.notes())
        self.assertEqual(self.notes(), self.registered())

    def test_what_a_migration_may_raise_to_end_the_run(self) -> None:
        project = self.project_and(TRY_EACH)
        cases: dict[str, tuple[int, str]] = {
            "import migopy; raise migopy.MigopyException('Not on Fridays.')": (1, r"^Not on Fridays\.$"),
            "import migopy; raise migopy.StopTaskExecution()": (0, ""),
            "import sys; sys.exit(3)": (3, ""),
            "from fabric.api import abort; abort('no')": (1, r"^Fatal error: no$"),
            "from fabric.api import local; local('false')": (1, r"^Fatal error: local\(\) "),
        }
        for number, up in enumerate(cases, start=1):
            project.migration(f"{number}_a.py", up)
        attempts = self.attempts(project, *(("execute", str(number)) for number in range(1, len(cases) + 1)))
        for number, (code, expected), attempt in zip(range(1, 9), cases.values(), attempts):
            self.assertEqual(code, attempt.code, attempt)
            self.assertRegex(attempt.stderr, f"(?m){expected}")
            self.assertEqual([f"Executing migration {number}_a.py..."], announced(attempt))
            self.assertNotIn("Traceback", attempt.stderr)
        self.assertEqual("Not on Fridays.", attempts[0].stderr.splitlines()[-1])
        self.assertEqual(1, len(attempts[1].stderr.splitlines()))
        self.assertEqual([], self.registered())

    def test_the_code_of_sys_exit_is_that_of_fab(self) -> None:
        project = self.noting(self.project(), "1_a.py", "3_c.py")
        project.migration("2_b.py", "import sys; sys.exit(3)")
        self.assertEqual(3, project.fab("migrations:execute", "migrations").code)
        self.assertEqual((["1_a.py"], ["1_a.py"]), (self.registered(), self.notes()))


class TestTheTaskInFab(FabTestCase):
    def test_fab_lists_and_describes_it_without_a_server(self) -> None:
        project = Project(
            self, basic_fabfile(self.server, "x", MONGO_PORT=free_port()) + "\n\ndef staging():\n    pass\n"
        )
        listed = project.fab("-l")
        self.assert_done(listed)
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
    print("deployed")
"""
        project = Project(self, basic_fabfile(self.server, "x", MONGO_PORT=free_port()) + more)
        listed, others = project.fab("-l"), project.fab("Migrations", "deploy", "migrations:help")
        self.assertEqual([0, 0], [listed.code, others.code], others.output)
        self.assertTrue(listed.stdout.endswith("\n[]\n"), listed.stdout)
        self.assertTrue(others.stdout.endswith("deployed\n\nDone.\n[]\n"), others.stdout)
        self.assertEqual(["fabfile.py"], sorted(p.name for p in project.path.iterdir() if p.name != "__pycache__"))

    def test_help_shows_every_documented_subtask_on_one_line(self) -> None:
        project = self.project_with("""
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
""")
        result = project.fab("migrations:help")
        self.assert_done(result)
        lines = [line for line in result.stderr.splitlines() if line]
        self.assertEqual([], [line for line in lines if not line.startswith("fab migrations:")])
        self.assertIn("fab migrations:long - First line and second.", lines)
        self.assertIn("fab migrations:execute - Our own words", lines)
        self.assertNotRegex(result.stderr, "silent|ignore - No|:ignore ")
        self.assertEqual(
            (1, True), (lambda r: (r.code, "no subtask 'ignore'" in r.stderr))(project.fab("migrations:ignore"))
        )

    def test_fab_task_is_the_name_in_messages(self) -> None:
        text = basic_fabfile(self.server, self.database, FAB_TASK="mongo").replace("\nmigrations =", "\nmongo =")
        project = self.noting(Project(self, text), "1_a.py")
        result = project.fab("mongo", "mongo:help")
        self.assert_done(result)
        self.assertIn("Unregistered migrations (fab mongo:execute to execute them):\n1_a.py\n", result.stderr)
        self.assertIn("\nfab mongo:execute - ", result.stderr)
        self.assertNotIn("fab migrations", result.output)

    def test_the_task_hook_gets_what_stands_on_the_command_line_and_may_stop(self) -> None:
        project = self.project_with(
            """
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
        project = self.project_with("""
    @migopy.task(default=True)
    def mine(self, option="nothing"):
        return "mine of " + option
""")
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
            self.project_with(
                """
    @migopy.task
    def show(self):
        print(self.unregistered())
        print(self.sorted(["10_a.py", "9_a.py"]))
        print(sorted(self.tasks(self))[:2])
        self.collection.insert_one({"name": "2_b.py"})
        self.db.notes.insert_one({"text": "by show"})
        self.mongo_client.admin.command("ping")
        self.logger.green("fine")
""",
                MIGRATIONS_COLLECTION="changes",
            ),
            "1_a.py",
            "2_b.py",
        )
        result = project.fab("--hide=status", "migrations:show", "migrations")
        self.assert_done(result)
        self.assertTrue(result.stdout.startswith("['1_a.py', '2_b.py']\n['9_a.py', '10_a.py']\n"), result.stdout)
        self.assertEqual(f"fine\n{UNREGISTERED}1_a.py\n", "".join(result.stderr.splitlines(True)[:3]))
        self.assertEqual((["2_b.py"], ["by show"]), (self.registered("changes"), self.notes()))

    def test_another_collection_is_used_for_everything(self) -> None:
        project = self.noting(self.project(MIGRATIONS_COLLECTION="changes"), "1_a.py")
        self.assert_done(project.fab("migrations:execute", "migrations:rollback,1_a.py", "migrations:execute"))
        self.assertEqual(["1_a.py"], self.registered("changes"))
        others = set(self.db.list_collection_names()) - {"notes"}
        self.assertEqual(set(), {name for name in others if not name.startswith("changes")})

    def test_with_logging_in_the_fabfile_each_line_comes_once(self) -> None:
        project = self.noting(self.project_and("\nimport logging\nlogging.basicConfig(level=logging.INFO)\n"), "1_a.py")
        result = project.fab("migrations")
        self.assertEqual(1, result.output.count("1_a.py"), result.output)

    def test_the_hooks_around_each_migration_know_its_name(self) -> None:
        project = self.noting(
            self.project_with("""
    def before_each(self, name):
        print("before " + name)

    def after_each(self, name):
        print("after " + name)
        if name == "2_b.py":
            raise ValueError("enough")
"""),
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


class TestErrors(FabTestCase):
    """Each ends in one sentence on stderr and exit code 1, and nothing has been run or registered."""

    def test_wrong_subtasks_and_options(self) -> None:
        project = self.project_and(TRY_EACH, MONGO_PORT=free_port())
        attempts = self.attempts(
            project,
            ("nope",),
            ("execute", "1", "2", "3"),
            ("execute", {"what": "1"}),
            ("help", "x"),
            ("rollback",),
        )
        sentences = [
            "fab migrations has no subtask 'nope'; there are: show_status, execute, .*help.*",
            r"fab migrations:execute: too many positional arguments\. Write fab migrations:execute\[,spec_migr\].*",
            r"fab migrations:execute: .*'what'.*\. Write fab migrations:execute\[,spec_migr\].*",
            r"fab migrations:help: too many positional arguments\. Write fab migrations:help\.",
            ".*fab migrations:rollback,NAME.*",
        ]
        for sentence, attempt in zip(sentences, attempts):
            self.assert_one_sentence(sentence, attempt)

    def test_the_sentence_is_red_and_the_exit_code_is_that_of_fab(self) -> None:
        project = self.project_and("\n\ndef restart():\n    print('restarted')\n")
        result = project.fab_in_terminal("migrations:nope", "restart")
        self.assertRegex(result.output, "\033\\[31mfab migrations has no subtask 'nope'; .*\033\\[0m\n")
        self.assertEqual((1, False), (result.code, "restarted" in result.output))

    def test_wrong_names(self) -> None:
        project = self.noting(self.project_and(TRY_EACH), "1_a.py", "2_b.py", "02_c.py", "3_d.py")
        self.db.migrations.insert_many([{"name": "1_a.py"}, {"name": "0_gone.py"}])
        attempts = self.attempts(
            project,
            ("execute", "9_x.py"),
            ("ignore", "9"),
            ("rollback", "9_x"),
            ("execute", "2"),
            ("execute", "1_a.py"),
            ("ignore", "1"),
            ("rollback", "3_d.py"),
            ("rollback", "0_gone.py"),
        )
        sentences = [
            r"No migration '9_x\.py' in mongomigrations.*",
            r"No migration '9' in mongomigrations.*",
            r"No migration '9_x' in mongomigrations.*",
            r"'2' may mean (02_c\.py or 2_b\.py|2_b\.py or 02_c\.py): write the whole name\.",
            r"1_a\.py is already registered.*fab migrations:rollback,1_a\.py.*",
            r"1_a\.py is already registered.*",
            r"3_d\.py is not registered.*",
            r"0_gone\.py is registered, but there is no such file in mongomigrations.*",
        ]
        for sentence, attempt in zip(sentences, attempts):
            self.assert_one_sentence(sentence, attempt)
        self.assertEqual(({"1_a.py", "0_gone.py"}, []), (set(self.registered()), self.notes()))

    def test_a_badly_named_file_is_named(self) -> None:
        project = self.noting(self.project_and(TRY_EACH), "1_a.py", "2-b.py", "Three.py", "4_d.py_x.py")
        for attempt in self.attempts(project, (), ("execute",), ("execute", "1_a.py"), ("ignore",)):
            self.assert_one_sentence(r"Not the name of a migration: .*2-b\.py.*Three\.py.*", attempt)
            self.assertNotIn("1_a.py", attempt.stderr)
            self.assertIn("4_d.py_x.py", attempt.stderr)
        self.assertEqual([], self.db.list_collection_names())

    def test_a_missing_and_an_unreadable_directory(self) -> None:
        project = self.project_and(TRY_EACH)
        directory = project.path / "mongomigrations"
        for attempt in self.attempts(project, (), ("execute",), ("ignore",), ("rollback", "1")):
            self.assert_one_sentence(f"The migrations directory {directory} does not exist: .*", attempt)
        directory.write_text("a file")
        for attempt in self.attempts(project, (), ("execute",)):
            self.assert_one_sentence(f"The migrations directory {directory} cannot be read: Not a directory.*", attempt)
        self.assertEqual([], self.db.list_collection_names())

    def test_a_pattern_without_its_group(self) -> None:
        project = self.noting(self.project(MIGRATIONS_FILE_PATTERN=r"[0-9]+_.*\.py"), "1_a.py")
        self.assert_one_sentence(
            r"MIGRATIONS_FILE_PATTERN .* group \(\?P<migr_nr>\[0-9\]\+\)\.", project.fab("migrations")
        )

    def test_a_file_that_cannot_be_run_is_noticed_before_the_first_one_runs(self) -> None:
        project = self.noting(self.project_and(TRY_EACH), "1_a.py", "2_b.py")
        cases = {
            "def up(db)\n    pass": r"3_c\.py cannot be imported \(line 1\): SyntaxError: .*",
            "def up(db):\n    print 'x'\n": r"4_c\.py cannot be imported \(line 2, is Python 2 syntax\): Syntax.*",
            "import nowhere": r"5_c\.py cannot be imported \(line 1\): ModuleNotFoundError: .* 'nowhere'.*",
            "from os import nothing": r"6_c\.py cannot be imported \(line 1\): ImportError: cannot import name .*",
            "def down(db): pass": r"7_c\.py has no function up\(db\).*",
        }
        for number, text in enumerate(cases, start=3):
            project.write(f"mongomigrations/{number}_c.py", text)
        attempts = self.attempts(project, ("execute",), *(("execute", str(number)) for number in range(4, 8)))
        for sentence, attempt in zip(cases.values(), attempts):
            self.assert_one_sentence(sentence, attempt)
        self.assertEqual(([], []), (self.registered(), self.notes()))

    def test_a_migration_whose_module_raises_shows_where(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        project.write("mongomigrations/2_b.py", "x = 1\nx / 0\n")
        result = project.fab("migrations:execute")
        self.assertEqual((1, [], []), (result.code, self.registered(), self.notes()))
        self.assertIn(
            "2_b.py cannot be imported (line 2): ZeroDivisionError: division by zero. No migration", result.stderr
        )
        trace = result.stderr.partition("Traceback (most recent call last):\n")[2]
        self.assertIn(f'File "{project.path}/mongomigrations/2_b.py", line 2', trace)

    def test_a_migration_without_down_cannot_be_rolled_back(self) -> None:
        project = self.project()
        project.migration("1_a.py", down=None)
        self.db.migrations.insert_one({"name": "1_a.py"})
        self.assert_one_sentence(r"1_a\.py has no function down\(db\).*", project.fab("migrations:rollback,1_a.py"))
        self.assertEqual(["1_a.py"], self.registered())

    def test_without_a_database_a_sentence_says_what_to_add(self) -> None:
        project = self.noting(self.project(MONGO_DATABASE=None), "1_a.py")
        self.assert_one_sentence("No database is set: add MONGO_DATABASE = .*MONGO_URI.*", project.fab("migrations"))


class TestFabricsOwnWays(FabTestCase):
    def test_with_warn_only_the_tasks_after_a_failure_run(self) -> None:
        more = """

from fabric.api import env, settings


def careless():
    with settings(warn_only=True):
        print(migrations("nope"))
        print(migrations("execute"))
    print("went on")
"""
        project = self.project_and(more)
        project.migration("1_a.py", "1 / 0")
        result = project.fab("--hide=status", "careless")
        self.assertEqual((0, "None\nNone\nwent on\n"), (result.code, result.stdout))
        self.assertIn("no subtask 'nope'", result.stderr)
        self.assertIn("ZeroDivisionError: division by zero\n", result.stderr)
        self.assertEqual([], self.registered())
        self.assert_done(project.fab("--warn-only", "migrations:nope"))

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
        result = self.project_and(more).fab("--hide=status", "careful")
        self.assert_done(result)
        self.assertTrue(result.stdout.startswith("caught fab migrations has no subtask 'nope'; "), result.output)
