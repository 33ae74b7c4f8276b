"""What help prints, of subtasks and of topics."""

from __future__ import annotations

import contextlib
import io
import unittest
from pathlib import Path

import migopy
from migopy.errors import UnknownSubtask
from migopy.fab.help import overview
from migopy.fab.task import help_lines
from tests.documents import PAGES


class Team(migopy.MigrationsManager):
    FAB_TASK = "db"

    @migopy.task
    def speed(self, depth: str | None = None, *others: str) -> None:
        """Measure it

        All of it, for an hour."""

    @migopy.task
    def silent(self, first: str) -> None: ...

    @migopy.task
    def execute(self, spec_migr: str | None = None) -> None:  # type: ignore[override]
        """Our own way"""


class HelpTestCase(unittest.TestCase):
    def shown(self, *options: str) -> str:
        """What stands on stdout, and nothing on stderr."""
        with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
            Team().help(*options)
        self.assertEqual("", stderr.getvalue())
        return stdout.getvalue()

    def refused(self, word: str) -> str:
        with self.assertRaises(UnknownSubtask) as caught:
            Team().help(word)
        return str(caught.exception)


class TestTheList(HelpTestCase):
    def test_it_is_the_one_of_1_0_with_the_topics_below(self) -> None:
        lines = self.shown().splitlines()
        named_by_pause = ("fab db:resume", "fab db:pace", "fab db:stop")
        subtasks = [f"{command} - {line}" for command, line in help_lines(Team) if command not in named_by_pause]
        self.assertEqual(subtasks, lines[: len(subtasks)])
        self.assertEqual(["fab db:help,topics - List the pages of this documentation"], lines[len(subtasks) :])
        self.assertIn("fab db:speed - Measure it", lines)

    def test_a_subtask_of_the_team_is_always_listed(self) -> None:
        class Own(Team):
            @migopy.task
            def stop(self, because: str = "") -> None:
                """Stop our workers too"""

        self.assertIn(("fab db:stop", "Stop our workers too"), overview(Own))
        self.assertNotIn("fab db:pace", dict(overview(Own)))

    def test_the_topics_with_their_titles(self) -> None:
        titles = [f"fab db:help,{topic} - {text[2:].partition(chr(10))[0]}" for topic, text in PAGES.items()]
        self.assertEqual(titles, self.shown("topics").splitlines())

    def test_a_subtask_of_ours_is_one_line_of_a_terminal(self) -> None:
        for command, line in help_lines(migopy.MigrationsManager):
            self.assertLessEqual(len(f"fab migrations:show_status - {line}"), 80, command)


class TestATopic(HelpTestCase):
    def test_each_page_is_printed_as_it_is(self) -> None:
        for topic, text in PAGES.items():
            if topic != "speed":
                self.assertEqual(text, self.shown(topic))

    def test_a_subtask_of_that_name_wins(self) -> None:
        self.assertTrue(self.shown("speed").startswith("fab db:speed[,depth]"))


class TestASubtask(HelpTestCase):
    def test_how_it_is_written_and_its_whole_docstring(self) -> None:
        self.assertEqual(
            "fab db:speed[,depth][,...]\n\nMeasure it\n\nAll of it, for an hour.\n",
            self.shown("speed"),
        )
        self.assertEqual("fab db:execute[,NAME]\n\nOur own way\n", self.shown("execute"))

    def test_each_of_ours_shows_all_its_options(self) -> None:
        written = {
            "ignore": "[,NAME][,to=NAME][,json=yes]",
            "rollback": "[,NAME][,last=N][,to=NAME][,plan=yes][,resume=yes][,json=yes]",
            "rehearse": "[,NAME][,to=NAME][,documents=N][,keep=yes][,preflight=N][,report=FILE][,json=yes]",
            "dbrestore": "[,DUMP][,force=yes][,from=NAME]",
            "help": "[,TOPIC]",
        }
        for name, options in written.items():
            usage, empty, text = self.shown(name).split("\n", 2)
            self.assertEqual((f"fab db:{name}{options}", ""), (usage, empty))
            self.assertTrue(text.strip(), name)

    def test_one_without_a_docstring_and_another_name(self) -> None:
        self.assertEqual("fab db:silent,first\n", self.shown("silent"))
        self.assertTrue(self.shown("status").startswith("fab db:show_status[,json=yes]\n\nShow "))


class TestAnythingElse(HelpTestCase):
    def test_it_is_one_sentence_with_all_there_is(self) -> None:
        for word in ("nonsense", "", "not_a_subtask", "../docs/batches", "close"):
            sentence = self.refused(word)
            self.assertRegex(
                sentence,
                r"^fab db:help knows no subtask or topic '.*'\. It knows show_status, execute, [^;\n]+\.$",
            )
            for name in ("speed", "silent", "help", *PAGES):
                self.assertIn(f", {name}", sentence)

    def test_what_is_nearly_right_is_named(self) -> None:
        self.assertIn("'batchs'. Did you mean batches? It knows show_status, ", self.refused("batchs"))
        self.assertIn("'exceute'. Did you mean execute?", self.refused("exceute"))


class TestThePages(unittest.TestCase):
    def test_they_lie_in_the_package_and_nothing_else_does(self) -> None:
        self.assertEqual(set(PAGES), {path.stem for path in (Path(migopy.__file__).parent / "docs").iterdir()})
