"""Help in fab: without a database, a directory or PyMongo."""

from __future__ import annotations

from tests.cases import FabTestCase
from tests.documents import PAGES
from tests.server import free_port

AT_EXIT = """

import atexit
import sys

atexit.register(lambda: print([name for name in sys.modules if name.split(".")[0] in ("pymongo", "bson")]))
"""


class TestHelp(FabTestCase):
    def test_a_topic_and_a_subtask_need_nothing_but_the_fabfile(self) -> None:
        body = """
    @migopy.task
    def mytask(self, option=None):
        \"""Ours

        In detail.\"""
"""
        project = self.project(body, AT_EXIT, MONGO_PORT=free_port())
        result = project.fab("--hide=status", "migrations:help,rehearsals", "migrations:help,mytask", cold=True)
        self.assert_code(0, result)
        mytask = "fab migrations:mytask[,option]\n\nOurs\n\nIn detail.\n"
        self.assertEqual((f"{PAGES['rehearsals']}{mytask}[]\n", ""), (result.stdout, result.stderr))
        self.assertEqual(["fabfile.py"], [path.name for path in project.path.iterdir() if path.name != "__pycache__"])

    def test_what_there_is_not_ends_with_exit_code_1(self) -> None:
        result = self.project(MONGO_PORT=free_port()).fab("migrations:help,nonsense")
        topics = ", ".join(PAGES)
        self.assert_one_sentence(rf"fab migrations:help knows no subtask or topic 'nonsense'\. .*, {topics}\.", result)
        self.assertEqual("", result.stdout)
