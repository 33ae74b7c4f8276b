"""Tasks of a fabfile that call ours: with numbers, True and paths, and what they learn of how it ended."""

from __future__ import annotations

from tests.cases import FabTestCase

DEPLOY = """

def deploy():
    from fabric.api import execute
    from pathlib import Path

    execute(migrations, "execute", to=1)
    execute(migrations, "execute", 2)
    migrations("execute", to=None)
    migrations("rollback", last=1)
    migrations(json=True)
    migrations("history", json=False)
    migrations("dbrestore", Path("nowhere"), force=True)
"""

MINE = """
    @migopy.task
    def mine(self):
        self.execute(to=1)
        self.execute(2)
        self.rollback(last=1)
        self.show_status(json=False)
"""


class TestCalledFromPython(FabTestCase):
    def test_values_mean_what_their_text_means_on_the_command_line(self) -> None:
        project = self.noting(self.project(more=DEPLOY), "1_a.py", "2_b.py", "3_c.py")
        result = project.fab("deploy")
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py", "undone 3_c.py"], self.notes())
        self.assertIn('"unregistered": [', result.stdout)
        self.assertNotIn("Traceback", result.stderr)
        self.assertRegex(result.stderr.splitlines()[-1], "mongorestore is not on PATH|No dump of the database")

    def test_a_subtask_of_the_team_may_give_them_to_the_methods_too(self) -> None:
        project = self.noting(self.project(body=MINE), "1_a.py", "2_b.py")
        self.assert_code(0, project.fab("migrations:mine"))
        self.assertEqual(["1_a.py", "2_b.py", "undone 2_b.py"], self.notes())
