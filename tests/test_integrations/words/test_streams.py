"""What becomes of messages and exit codes when streams, logging and texts are not what they should be."""

from __future__ import annotations

import subprocess
from typing import Any

from tests.support import Project, RunTestCase, basic_fabfile, clean_environment, fab_command_line


class TestStreams(RunTestCase):
    def with_fabfile(self, before: str = "", **attributes: Any) -> Project:
        """A project whose fabfile does something of its own first."""
        settings = {"MONGO_URI": self.server.uri, "LOCK_LEASE": 3, **attributes}
        return Project(self, f"{before}\n{basic_fabfile(self.server, self.database, **settings)}")

    def test_messages_do_not_depend_on_what_the_team_does_to_logging(self) -> None:
        for trick in (
            "import logging.config; logging.config.dictConfig({'version': 1, 'disable_existing_loggers': True})",
            "import logging; logging.disable(logging.CRITICAL)",
            "import logging; logging.getLogger('migopy').setLevel('ERROR')",
            "import logging; logging.getLogger('migopy').handlers[:] = []",
        ):
            with self.subTest(trick):
                self.client.drop_database(self.database)
                project = self.project()
                self.counting(project, "1_a.py", then=trick)
                self.counting(project, "2_b.py", then="raise ValueError('no')")
                result = project.fab("migrations:execute")
                self.assert_code(1, result)
                self.assertIn("Executed 1_a.py in ", result.stderr)
                self.assertIn("2_b.py failed (line 3, ValueError: no): it is not registered.", result.stderr)

    def test_a_failure_is_an_error_for_the_handlers_of_a_team(self) -> None:
        handler = "import logging\nlogging.getLogger('migopy').addHandler(logging.FileHandler('log'))\n"
        shown = (
            "logging.getLogger('migopy').handlers[-1].setFormatter(logging.Formatter('%(levelname)s %(message)s'))\n"
        )
        project = self.with_fabfile(handler + shown)
        self.counting(project, "1_a.py", then="raise ValueError('no')")
        self.assert_code(1, project.fab("migrations:execute"))
        self.assert_code(0, project.fab("migrations"))
        errors = [line for line in (project.path / "log").read_text().splitlines() if line.startswith("ERROR")]
        self.assertEqual(1, len(errors), errors)
        self.assertIn("ERROR 1_a.py failed (line 3, ValueError: no): it is not registered.", errors[0])

    def test_a_failure_is_red_for_a_logger_of_a_team(self) -> None:
        loud = (
            "import migopy\n\n\nclass Loud(migopy.ColorsLogger):\n"
            "    def red(self, message):\n        print('LOUD', message)\n\n\n"
        )
        project = self.with_fabfile(loud)
        with (project.path / "fabfile.py").open("a") as fabfile:
            fabfile.write("Migrations.logger = Loud()\n")
        self.counting(project, "1_a.py", then="raise ValueError('no')")
        result = project.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertIn("LOUD 1_a.py failed (line 3, ValueError: no): it is not registered.", result.stdout)

    def test_any_stream_will_do(self) -> None:
        for trick in (
            "import sys; sys.stderr = sys.stdout = None",
            "import sys; sys.stderr.close(); sys.stdout.close()",
            "import sys; sys.stderr = sys.stdout = type('Bare', (), {'write': lambda self, text: None})()",
            "import os; os.close(1); os.close(2)",
            "import os; os.close(0); os.close(1); os.close(2)",
        ):
            for place in ("fabfile", "migration"):
                with self.subTest(f"{trick} in the {place}"):
                    self.client.drop_database(self.database)
                    project = self.with_fabfile(trick if place == "fabfile" else "")
                    self.counting(project, "1_a.py", then=trick if place == "migration" else "")
                    self.counting(project, "2_b.py")
                    self.assert_code(0, project.fab("--hide=status", "migrations:execute"))
                    self.assertEqual(["1_a.py", "2_b.py"], self.registered())
                    self.counting(project, "3_c.py")
                    self.assert_code(4, project.fab("migrations:check"))

    def test_an_encoding_that_lacks_letters_changes_no_exit_code(self) -> None:
        project = self.project(MIGRATIONS_DIRECTORY="mongomigrations")
        self.counting(project, "1_a.py", then="raise ValueError('zażółć')")
        ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        result = project.fab("migrations:execute", env=ascii_only)
        self.assert_code(1, result)
        self.assertIn(r"ValueError: za\u017c\xf3\u0142\u0107", result.stderr)
        result = project.fab("migrations:check", env=ascii_only)
        self.assert_code(4, result)
        self.assertIn(r"za\u017c\xf3\u0142\u0107", result.stderr)
        result = project.fab("--hide=status", "migrations:history,1", "migrations:history,1,json=yes", env=ascii_only)
        self.assert_code(0, result)

    def test_a_reader_that_goes_away_stops_nothing_and_changes_no_exit_code(self) -> None:
        project = self.project()
        names = self.counting_ones(project, 30, then="print('x' * 5000)")
        for redirection, unbuffered in (
            ("2>&1 | head -1", ""),
            ("2>&1 | head -1", "1"),
            ("| head -1", ""),
            ("2>&1 >/dev/null | head -1", ""),
            ("2>&1 | true", "1"),
        ):
            with self.subTest(f"{redirection} {unbuffered}"):
                self.client.drop_database(self.database)
                self.assertEqual(0, self.code_of(project, "migrations:execute", redirection, unbuffered))
                self.assertEqual(names, self.registered())
                self.assertEqual(0, self.code_of(project, "migrations:history", redirection, unbuffered))
                self.db.migrations.delete_one({"name": names[0]})
                self.assertEqual(4, self.code_of(project, "migrations:check,json=yes", redirection, unbuffered))

    def code_of(self, project: Project, subtask: str, redirection: str, unbuffered: str) -> int:
        """The exit code of the fab at the beginning of a pipe."""
        line = f'"$@" {redirection}; exit "${{PIPESTATUS[0]}}"'
        command = ["bash", "-c", line, "bash", *fab_command_line(subtask)]
        environment = {**clean_environment(), "PYTHONUNBUFFERED": unbuffered}
        return subprocess.run(
            command, cwd=project.path, env=environment, stdout=subprocess.DEVNULL, timeout=60
        ).returncode
