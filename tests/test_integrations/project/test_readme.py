"""The README, read as a newcomer does: its files are written, its commands typed, its output compared."""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path
from typing import Iterator

from tests.support import MongoTestCase, Project

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


class Steps:
    """What the README shows, in its order."""

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """The line before, the language, and the text of each block."""
        for block in FENCE.finditer(README):
            yield block["before"], block["language"], block["text"]

    def text(self, containing: str) -> str:
        """The one block with that text in it."""
        (found,) = [text for _, _, text in self if containing in text]
        return found


class TestReadme(MongoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.steps = Steps()
        self.newcomer = Project(self, "")

    def write(self, path: str, text: str) -> None:
        """Write a file of the README, for the server and the database of this test."""
        text = text.replace("27017", str(self.server.port)).replace('"blog"', repr(self.database))
        self.newcomer.write(path, text)

    def type(self, command: str) -> str:
        """Type a command of the README in a terminal; what it prints, but for what is never the same."""
        program, _, arguments = command.partition(" ")
        self.assertEqual("fab", program)
        result = self.newcomer.fab_in_terminal(arguments, env={"NO_COLOR": "1", "COLUMNS": "80"})
        output = result.stdout.replace(str(self.newcomer.path), "/srv/blog")
        output = re.sub(r"\n[ ~^]+\n", "\n", output)  # Python 3.11 and later mark the place in the line
        output = output.replace(self.database, "blog").replace(str(self.server.port), "27017")
        output = output.replace(str(self.server.host), "localhost")
        output = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", "2026-01-31 12:00:00 UTC", output)
        output = re.sub(r"(<1|\d+) ms\b", "12 ms", output)
        output = re.sub(r"(?:[^\n]*\r)?\x1b\[K", "", output)  # what a terminal clears
        output = re.sub(r"ObjectId\('\w+'\)", "ObjectId('65ba36f0c8d1f2a4b3e07915')", output)
        output = re.sub(r"\((\d+|\d\.\d) k?B\)", "(1.2 kB)", output)  # the history tells who and where
        output = re.sub(r"\b[\w.-]+@[\w.-]+", "ann@web1", output)
        return output

    def assert_shown(self, shown: str, printed: str) -> None:
        """Fail with the lines that differ, and nothing else."""
        differences = list(unified_diff(words(shown), words(printed), "README.md", "fab", lineterm="", n=0))
        if differences:
            self.fail("\n".join(["README.md shows other lines than fab prints:", *differences]))

    def test_every_session_prints_what_the_readme_shows(self) -> None:
        sessions = 0
        for before, language, text in self.steps:
            path = re.search(r"`([\w/]+\.py)`.*:$", before)
            if language == "python" and path:
                self.write(path[1], text)
            elif language == "console":
                sessions += 1
                for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                    with self.subTest(command):
                        self.assert_shown(shown, self.type(command))
        self.assertGreaterEqual(sessions, 4)

    def test_the_example_of_customising_works(self) -> None:
        self.write("fabfile.py", self.steps.text('MONGO_DATABASE = "blog"'))
        fabfile = (self.newcomer.path / "fabfile.py").read_text()
        settings, rest = fabfile.split("class Migrations(migopy.MigrationsManager):\n")[1].split("\n\n\n", 1)
        self.newcomer.write(
            "fabfile.py", f"import migopy\n\n\n{self.steps.text('mytask(self')}\n{settings}\n\n\n{rest}"
        )
        self.newcomer.migration("1_first.py")
        self.assertIn("The database is migrated", self.type("fab migrations:execute"))
        self.assertRegex(self.type("fab migrations:help"), r"fab migrations:mytask +- Here should be a help doc")
        for command in self.steps.text("fab migrations:mytask,some_option").splitlines():
            self.assertEqual("\nDone.\n", self.type(command))

    def test_the_example_of_environments_works_locally(self) -> None:
        self.newcomer.write("settings.py", f"MONGO_HOST = {self.server.uri!r}\nMONGO_DATABASE = {self.database!r}\n")
        self.write("fabfile.py", self.steps.text("def staging"))
        self.newcomer.migration("1_first.py")
        self.assertIn("staging", self.type("fab -l"))
        self.assertIn("Executing migration 1_first.py...", self.type("fab migrations:execute"))

    def test_tables_name_every_subtask_and_every_setting(self) -> None:
        import migopy
        from migopy.fab.task import names

        for name in names(migopy.MigrationsManager):
            if name != "show_status":
                self.assert_in_readme(f"| `fab migrations:{name}", r"\b")
        for name in vars(migopy.MigrationsManager):
            if name.isupper():
                self.assert_in_readme(f"`{name}`")

    def assert_in_readme(self, text: str, then: str = "") -> None:
        self.assertTrue(re.search(re.escape(text) + then, README), f"README.md has nowhere: {text}")


def words(text: str) -> list[str]:
    """The lines with single spaces: columns are as wide as the names in them, which are not those of the README."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]
