"""create: a new file, numbered after the highest, never over another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

from tests.cases import TeamTestCase
from tests.documents import example
from tests.support import clean_environment


class TestCreate(TeamTestCase):
    def created(self, words: str) -> str:
        path = self.fab("--hide=status", f"migrations:create,{words}").stdout.strip()
        self.assertEqual(self.team.path / "mongomigrations", self.team.path / os.path.dirname(path))
        return os.path.basename(path)

    def test_it_is_numbered_after_the_highest_as_wide_as_that_and_can_be_executed(self) -> None:
        self.assertEqual("001_first.py", self.created("first"))  # makes the directory too
        self.db.migrations.insert_one({"name": "0006_gone.py"})
        self.assertEqual("0007_add_index_on_users.py", self.created("add index on Users!"))
        text = (self.team.path / "mongomigrations/0007_add_index_on_users.py").read_text()
        self.assertIn('"""add index on Users!"""', text)
        self.fab("migrations:execute")
        self.fab("migrations:rollback,7")
        self.assertEqual("0008_uber_geneve_mas.py", self.created("Über Genève & más"))

    def test_a_number_that_is_given_is_taken_if_it_is_free(self) -> None:
        self.assertEqual("012_add_tags.py", self.created("012_add_tags"))
        self.assertEqual("014_add_more.py", self.created("014_add more.py"))
        told = "The number 12 is taken by 012_add_tags.py. Choose another one, or leave it out."
        self.assertIn(told, self.fab("migrations:create,12_again", code=1).stderr)

    def test_a_path_that_the_shell_completes_is_its_name(self) -> None:
        self.assertEqual("012_add_tags.py", self.created("mongomigrations/012_add_tags.py"))
        self.assertEqual("013_more.py", self.created("mongomigrations/more"))

    def test_any_words_are_a_docstring(self) -> None:
        for words in (r'rename \(a\, b\) to "C"', "two\nlines", "x" * 9 + "\\"):
            self.created(words)
        self.fab("migrations:execute")
        text = (self.team.path / "mongomigrations/001_rename_a_b_to_c.py").read_text()
        self.assertIn("""\"\"\"rename (a, b) to 'C'\"\"\"\n""", text)

    def test_the_template_of_the_team(self) -> None:
        self.team = self.project(MIGRATION_TEMPLATE="# {words}, {not ours}\ndef up(db): pass\n")
        name = self.created("tags")
        self.assertEqual(
            "# tags, {not ours}\ndef up(db): pass\n", (self.team.path / "mongomigrations" / name).read_text()
        )

    def test_a_test_beside_it(self) -> None:
        self.team = self.project(example("MIGRATION_TEST_TEMPLATE = ").partition("\n")[2])
        shown = self.fab("--hide=status", "migrations:create,add tags").stdout.splitlines()
        folder = self.team.path / "mongomigrations"
        test = folder / "tests" / "test_001_add_tags.py"
        self.assertEqual([str(folder / "001_add_tags.py"), str(test)], shown)
        self.assertTrue(test.read_text().startswith('"""add tags"""\n'))
        command = [sys.executable, "-m", "unittest", "discover", "mongomigrations/tests"]
        uri = {"MIGOPY_TEST_URI": self.server.uri}
        done = subprocess.run(command, cwd=self.team.path, env={**clean_environment(), **uri}, capture_output=True)
        self.assertEqual((0, 1), (done.returncode, done.stderr.count(b"Ran 1 test ")), done.stderr)
        self.fab("migrations:execute")
        (folder / "tests" / "test_002_more.py").write_text("ours")
        self.fab("migrations:create,more")
        self.assertEqual("ours", (folder / "tests" / "test_002_more.py").read_text())
        (folder / "tests").rename(folder / "old")
        (folder / "tests").write_text("")
        refused = self.fab("migrations:create,more again", code=1)
        self.assertRegex(refused.stderr, r"^The test .*/tests/test_003_more_again\.py cannot be written: .*\.\n$")

    def test_what_would_not_match_the_pattern_is_refused(self) -> None:
        self.team = self.project(MIGRATIONS_FILE_PATTERN=r"m(?P<migr_nr>[0-9]+)\.py")
        self.assertIn("MIGRATIONS_FILE_PATTERN", self.fab("migrations:create,first", code=1).stderr)
        self.team = self.project()
        self.assertIn("No name can be made of '???'", self.fab("migrations:create,???", code=1).stderr)
        self.assertIn("Nothing was done: WORDS is empty.", self.fab("migrations:create,", code=1).stderr)
        self.assertEqual([], list(self.team.path.glob("mongomigrations/*")))

    def test_two_at_the_same_moment_do_not_overwrite_each_other(self) -> None:
        self.files("1_a.py")
        threads = [threading.Thread(target=self.team.fab, args=("migrations:create,same words",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(5, len(list(self.team.path.glob("mongomigrations/*.py"))))
