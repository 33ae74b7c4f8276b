"""README and pages as texts: their length, their links, and commands that can be typed."""

from __future__ import annotations

import inspect
import re
import shlex
import unittest
from typing import Iterator

from fabric.main import parse_arguments

import migopy
from migopy.fab import dispatch, syntax
from migopy.fab.help import pages
from migopy.fab.task import subtask_names
from tests.documents import ALL, FOR_USERS, PAGES, README, TOP, blocks, commands, prose, section

LONGEST_LINE = 160
"""Characters, outside of tables, and of screens in the pages: those are as wide as what fab prints."""

README_LINES = range(230, 281)

TRIED = {
    "mytask(self": "test_readme",
    "def staging": "test_readme and test_recipes",
    "def deploy():": "test_recipes",
    "search_queue": "test_operated",
    "MIGRATION_TEST_TEMPLATE": "test_create",
}
"""The examples that are no file of their own, by something in them, and what tries them."""

PLACEHOLDERS = {"NAME": "1", "OLD": "1", "NEW": "2", "DUMP": "x", "WORDS": "x", "TOPIC": "batches", "N": "1"}


def anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(text: str) -> Iterator[str]:
    """The targets within this project."""
    found = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    yield from (target for target in found if not re.match(r"https?:", target))


class TestTheTexts(unittest.TestCase):
    def test_the_readme_is_read_in_one_go(self) -> None:
        self.assertIn(len(README.splitlines()), README_LINES)

    def test_no_line_is_longer_than_a_screen_is_wide(self) -> None:
        for path, text in ALL.items():
            if path != "README.md":
                text = re.sub(r"(?ms)^```console$.*?^```$", "", text)
            lines = [line for line in text.splitlines() if not line.startswith("|")]
            self.assertEqual([], [line for line in lines if len(line) > LONGEST_LINE], path)

    def test_each_link_leads_somewhere(self) -> None:
        followed = 0
        for path, text in ALL.items():
            for target in links(text):
                followed += 1
                file, _, heading = target.partition("#")
                there = (TOP / path).parent / file if file else TOP / path
                self.assertTrue(there.exists(), f"{path}: {target}")
                if heading:
                    headings = re.findall(r"(?m)^#+ (.*)$", prose(there.read_text(encoding="utf-8")))
                    self.assertIn(heading, map(anchor, headings), path)
        self.assertGreater(followed, len(PAGES))

    def test_each_block_of_code_is_one_that_the_tests_see(self) -> None:
        """A block without an empty line before it would be passed over."""
        for path, text in ALL.items():
            self.assertEqual(len(re.findall(r"(?m)^```\w", text)), len(blocks(text)), path)

    def test_each_example_is_a_file_or_is_tried_by_a_test(self) -> None:
        for path, text in FOR_USERS.items():
            for block in blocks(text):
                if block.language == "python" and not block.path:
                    self.assertTrue(any(part in block.text for part in TRIED), f"{path}:\n{block.text}")

    def test_the_programs_of_this_project_are_there(self) -> None:
        for path, text in ALL.items():
            for module in re.findall(r"python3? -m ((?:tests|migopy)[\w.]+)", text):
                file = TOP / module.replace(".", "/")
                self.assertTrue(file.is_dir() or file.with_suffix(".py").is_file(), f"{path}: {module}")
            for file in re.findall(r"python3 (\S+\.py)", text):
                self.assertTrue((TOP / file).is_file(), f"{path}: {file}")


class TestThePages(unittest.TestCase):
    def test_their_names_are_typed_easily_and_are_no_subtasks(self) -> None:
        self.assertEqual(list(PAGES), list(pages()))
        for topic in PAGES:
            self.assertRegex(topic, r"^[a-z]+(-1\.0)?$")
            self.assertFalse(hasattr(migopy.MigrationsManager, topic), topic)

    def test_each_begins_with_its_title_which_is_its_line_of_help(self) -> None:
        for topic, text in PAGES.items():
            title, empty = text.split("\n", 2)[:2]
            self.assertRegex(title, r"^# [A-Z].{15,60}[a-z0-9]$", topic)
            self.assertEqual("", empty, topic)

    def test_the_readme_leads_to_each(self) -> None:
        beside = {"tests/terminal.svg", ".github/CONTRIBUTING.md"}
        self.assertEqual({f"migopy/docs/{topic}.md" for topic in PAGES}, set(links(README)) - beside)
        named = re.findall(r"(?m)^- \[(\S+)\]\(migopy/docs/\1\.md\): ", section("More"))
        self.assertEqual({"subtasks", "files"}, set(PAGES) - set(named), "which are linked where they belong")

    def test_the_test_command_is_in_the_readme(self) -> None:
        self.assertIn("`python3 tests/all.py`", README)
        self.assertIn("exec python3 tests/all.py\n", (TOP / ".ci" / "run").read_text())

    def test_each_python_that_the_readme_names_has_an_environment_of_tox(self) -> None:
        found = re.search(r"Python 3\.(\d+) to 3\.(\d+)", README)
        assert found
        environments = (TOP / "tox.ini").read_text().split("[testenv]")[0]
        for minor in range(int(found[1]), int(found[2]) + 1):
            self.assertRegex(environments, rf"\n    py3{minor}\b")


class TestCommands(unittest.TestCase):
    class Team(migopy.MigrationsManager):
        @migopy.task
        def mytask(self, option: str | None = None) -> None: ...

    def words(self, command: str) -> list[str]:
        """The words for the task, with something in place of what a person would put there."""
        words = [word for word in shlex.split(command) if re.match(r"migrations(:|$)", word)]
        for name, value in PLACEHOLDERS.items():
            words = [re.sub(rf"(?<![A-Z]){name}(?![A-Z])", value, word) for word in words]
        return words

    def test_each_can_be_typed(self) -> None:
        """There is such a subtask, and it takes these options."""
        typed = 0
        for path, text in ALL.items():
            for command in commands(text):
                for word in self.words(command):
                    typed += 1
                    with self.subTest(path=path, command=command):
                        self.bind(word)
        self.assertGreater(typed, 100)

    def bind(self, word: str) -> None:
        options, named = parse_arguments([word])[0][1:3]
        subtask, options, named = syntax.parse(options, named)
        named = {name: value for name, value in named.items() if name not in ("databases", "go_on")}
        method = getattr(self.Team(), dispatch.method_name(self.Team, subtask))
        bound = inspect.signature(method).bind(*options, **{syntax.parameter_name(key): named[key] for key in named})
        if subtask == "help" and options:
            self.assertIn(bound.arguments["topic"], {*PAGES, "topics", *subtask_names(self.Team)})
