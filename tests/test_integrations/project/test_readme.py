"""README and pages, read as a newcomer does: their files are written, their commands typed, their output compared."""

from __future__ import annotations

import re
import shlex
from difflib import unified_diff

from tests.documents import PAGES, README, TEXT, blocks, example, section
from tests.server import Server, shared_replica_set
from tests.support import MongoTestCase, Project


class NewcomerTestCase(MongoTestCase):
    """A newcomer in the project of the README."""

    def setUp(self) -> None:
        super().setUp()
        self.newcomer = Project(self, "")

    def write(self, path: str, text: str) -> None:
        """Write a file of the documents, for the server and the database of this test."""
        text = text.replace("27017", str(self.server.port)).replace('"blog"', repr(self.database))
        self.newcomer.write(path, text)

    def write_all(self, text: str) -> None:
        """Write the files of a document as they are in its end."""
        for block in blocks(text):
            if block.path:
                self.write(block.path, block.text)

    def type(self, command: str) -> str:
        """Type a command in a terminal; what it prints, but for what is never the same."""
        program, *arguments = shlex.split(command)
        self.assertEqual("fab", program)
        result = self.newcomer.fab_in_terminal(*arguments, env={"NO_COLOR": "1", "COLUMNS": "1000"})
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

    def follow(self, document: str, text: str) -> int:
        """Do what a document shows, from its beginning to its end; the number of its commands."""
        typed = 0
        for block in blocks(text):
            if block.path:
                self.write(block.path, block.text)
            elif block.language == "console":
                for command, shown in block.commands:
                    typed += 1
                    with self.subTest(document=document, command=command):
                        self.assert_shown(document, command, shown, self.type(command))
        return typed

    def assert_shown(self, document: str, command: str, shown: str, printed: str) -> None:
        """Fail with the lines that differ, and nothing else."""
        differences = unified_diff(words(shown), words(printed), document, command, lineterm="", n=0)
        lines = [line for line in differences if not line.startswith("@@")]
        if lines:
            self.fail("\n".join([f"{document} shows (-) other lines than {command} prints (+):", *lines]))


class TestDocuments(NewcomerTestCase):
    def test_every_session_of_the_readme_prints_what_it_shows(self) -> None:
        self.assertGreaterEqual(self.follow("README.md", README), 5)

    def test_every_session_of_the_pages_prints_what_they_show(self) -> None:
        """Each begins in the project of the README, when all of that is executed; two have tests of their own."""
        topics = PAGES.keys() - {"databases", "testing"}
        sessions = {topic: PAGES[topic] for topic in sorted(topics) if "```console" in PAGES[topic]}
        self.assertLess({"batches", "failures", "from-1.0", "merging", "rehearsals", "subtasks"}, {*sessions, ""})
        for topic, text in sessions.items():
            self.client.drop_database(self.database)
            self.newcomer = Project(self, "")
            self.write_all(README)
            self.type("fab migrations:execute")
            self.assertEqual(3, len(self.registered()))
            self.follow(f"{topic}.md", text)

    def test_the_example_of_hooks_works(self) -> None:
        self.write("fabfile.py", example('MONGO_DATABASE = "blog"'))
        fabfile = (self.newcomer.path / "fabfile.py").read_text()
        settings, rest = fabfile.split("class Migrations(migopy.MigrationsManager):\n")[1].split("\n\n\n", 1)
        self.newcomer.write("fabfile.py", f"import migopy\n\n\n{example('mytask(self')}\n{settings}\n\n\n{rest}")
        self.newcomer.migration("1_first.py")
        self.assertIn("The database is migrated", self.type("fab migrations:execute"))
        self.assertRegex(self.type("fab migrations:help"), r"fab migrations:mytask +- Here should be a help doc")
        self.assertIn("Here should be a help doc", self.type("fab migrations:help,mytask"))
        for command in example("fab migrations:mytask,some_option").splitlines():
            self.assertEqual("\nDone.\n", self.type(command))

    def test_the_example_of_environments_works_locally(self) -> None:
        self.newcomer.write("settings.py", f"MONGO_HOST = {self.server.uri!r}\nMONGO_DATABASE = {self.database!r}\n")
        self.write("fabfile.py", example("def staging"))
        self.newcomer.migration("1_first.py")
        self.assertIn("staging", self.type("fab -l"))
        self.assertIn("Executing migration 1_first.py...", self.type("fab migrations:execute"))

    def test_tables_name_every_subtask_and_every_setting(self) -> None:
        import migopy
        from migopy.fab.task import subtask_names

        for name in subtask_names(migopy.MigrationsManager):
            if name != "show_status":
                self.assertRegex(section("Subtasks"), rf"\| `fab migrations:{name}\b")
        for name in vars(migopy.MigrationsManager):
            if name.isupper():
                self.assertIn(f"`{name}`", TEXT)


class TestTransactions(NewcomerTestCase):
    def find_server(self) -> Server:
        return shared_replica_set()

    def test_the_example_happens_as_a_whole_or_not_at_all(self) -> None:
        project = self.project(MONGO_URI=self.server.uri)
        self.newcomer = project
        self.write_all(PAGES["transactions"])
        self.make_for_transactions("notes", "counters")
        self.db.notes.insert_one({"title": "Welcome"})
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual(1, self.db.notes.count_documents({"archived": False}))
        self.assertEqual([{"_id": "notes", "changed": 1}], list(self.db.counters.find()))


def words(text: str) -> list[str]:
    """The lines with single spaces: columns are as wide as the names in them, which are not those of the documents."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]
