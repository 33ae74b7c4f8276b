"""What people get wrong, and the sentence each of them gets."""

from __future__ import annotations

from tests.cases import TRY_EACH, FabTestCase
from tests.server import free_port


class TestMistakes(FabTestCase):
    """Each ends in one sentence on stderr and exit code 1, and nothing has been run or registered."""

    def test_wrong_subtasks_and_options(self) -> None:
        project = self.project(more=TRY_EACH, MONGO_PORT=free_port())
        attempts = self.attempts(
            project,
            ("nope",),
            ("execute", "1", "2", "3"),
            ("execute", {"what": "1"}),
            ("help", "x", "y"),
            ("rollback",),
        )
        sentences = [
            r"fab migrations has no subtask 'nope'\. The subtasks are show_status, execute, .*help.*",
            r"fab migrations:execute: too many options \(.*\)\. Write fab migrations:execute\[,NAME\].*",
            r"fab migrations:execute: .*'what'.*\. Write fab migrations:execute\[,NAME\].*",
            r"fab migrations:help: too many options \(.*\)\. Write fab migrations:help\[,TOPIC\]\.",
            ".*fab migrations:rollback,NAME.*",
        ]
        for sentence, attempt in zip(sentences, attempts):
            self.assert_one_sentence(sentence, attempt)

    def test_the_sentence_is_red_and_the_exit_code_is_that_of_fab(self) -> None:
        project = self.project(more="\n\ndef restart():\n    print('restarted')\n")
        result = project.fab_in_terminal("migrations:nope", "restart", env={"COLUMNS": "1000"})
        self.assertRegex(result.output, "\033\\[31mfab migrations has no subtask 'nope'\\. .*\033\\[0m\n")
        self.assertEqual((1, False), (result.code, "restarted" in result.output))

    def test_wrong_names(self) -> None:
        project = self.noting(self.project(more=TRY_EACH), "1_a.py", "2_b.py", "02_c.py", "3_d.py")
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
        project = self.noting(self.project(more=TRY_EACH), "1_a.py", "2-b.py", "Three.py", "4_d.py_x.py")
        for attempt in self.attempts(project, ("execute",), ("execute", "1_a.py"), ("ignore",)):
            self.assert_one_sentence(r"Not the name of a migration: .*2-b\.py.*Three\.py.*", attempt)
            self.assertNotIn("1_a.py", attempt.stderr)
            self.assertIn("4_d.py_x.py", attempt.stderr)
        self.assertEqual([], self.db.list_collection_names())

    def test_a_missing_and_an_unreadable_directory(self) -> None:
        project = self.project(more=TRY_EACH)
        directory = project.path / "mongomigrations"
        for attempt in self.attempts(project, (), ("execute",), ("ignore",), ("rollback", "1")):
            self.assert_one_sentence(rf"The migrations directory {directory} does not exist\. Create it, .*", attempt)
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
        project = self.noting(self.project(more=TRY_EACH), "1_a.py", "2_b.py")
        cases = {
            "def up(db)\n    pass": r"3_c\.py cannot be imported \(line 1\): SyntaxError: .*",
            "def up(db):\n    print 'x'\n": r"4_c\.py cannot be imported \(line 2, Python 2 syntax\): Syntax.*",
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
        self.assert_one_sentence(
            r"1_a\.py has no function down\(db\).* fab migrations:forget,1_a\.py deletes its record.*",
            project.fab("migrations:rollback,1_a.py"),
        )
        self.assertEqual(["1_a.py"], self.registered())

    def test_without_a_database_a_sentence_says_what_to_add(self) -> None:
        project = self.noting(self.project(MONGO_DATABASE=None), "1_a.py")
        self.assert_one_sentence("No database is set: add MONGO_DATABASE = .*MONGO_URI.*", project.fab("migrations"))
