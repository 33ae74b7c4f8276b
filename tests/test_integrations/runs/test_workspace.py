from __future__ import annotations

import textwrap
from typing import Any

from tests.support import Project, RunTestCase

TEAM = """
import time
import migopy


class Team(Migrations):
    @migopy.task
    def both(self):
        self.execute(to="1")
        self.execute()

    @migopy.task
    def redo(self):
        self.rollback(last="1")
        self.execute()

    @migopy.task
    def again(self):
        print(self.unregistered())
        self.collection.delete_one({"name": "1_counts.py"})
        (MIGRATIONS / "2_new.py").write_text("def up(db): db.ran.insert_one({'name': '2_new.py'})")
        print(self.unregistered())
        self.execute()

    @migopy.task
    def nested(self):
        self.before_each = lambda name: self.execute()
        self.execute()


from pathlib import Path
MIGRATIONS = Path(__file__).parent / "mongomigrations"
migrations = Team.create_task()
"""


class TestSession(RunTestCase):
    """Each subtask looks at the world as it is then, also when a team's own subtask calls several."""

    def team_with(self, **attributes: Any) -> Project:
        project = self.project(**attributes)
        fabfile = project.path / "fabfile.py"
        fabfile.write_text(fabfile.read_text() + textwrap.dedent(TEAM))
        return project

    def test_each_of_two_subtasks_in_one_renews_its_lock(self) -> None:
        project = self.team_with(LOCK_LEASE=2)
        longer_than_the_lease = "import time\ntime.sleep(3)"
        self.counting(project, "1_counts.py")
        self.counting(project, "2_counts.py", longer_than_the_lease)
        result = project.fab("migrations:both")
        self.assert_code(0, result)
        self.assertEqual(["1_counts.py", "2_counts.py"], self.registered())
        self.assertIsNone(self.lock())

    def test_rollback_and_execute_in_one_subtask(self) -> None:
        project = self.team_with()
        self.counting(project, "1_counts.py")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assert_code(0, project.fab("migrations:redo"))
        self.assertEqual(["1_counts.py", "1_counts.py"], self.ran())
        self.assertEqual(["1_counts.py"], self.registered())

    def test_what_the_team_changes_between_two_subtasks_is_seen_by_the_second(self) -> None:
        project = self.team_with()
        self.counting(project, "1_counts.py")
        self.assert_code(0, project.fab("migrations:execute"))
        result = project.fab("migrations:again")
        self.assert_code(0, result)
        self.assertIn("[]\n['1_counts.py', '2_new.py']\n", result.stdout)
        self.assertEqual(["1_counts.py", "1_counts.py", "2_new.py"], self.ran())

    def test_a_run_within_a_run_is_refused_and_the_lock_of_the_outer_one_stays_its_own(self) -> None:
        project = self.team_with()
        self.counting(project, "1_counts.py")
        result = project.fab("migrations:nested", timeout=20)
        self.assert_code(3, result)
        self.assertIn(
            "execute cannot run inside execute, which holds the lock: call one after the other.", result.stderr
        )
        self.assertEqual([], self.registered())
        self.assertIsNone(self.lock())

    def test_so_is_one_of_another_manager_of_the_same_process(self) -> None:
        project = self.team_with()
        self.counting(project, "1_counts.py", "import fabfile\nfabfile.migrations('forget', '0')")
        self.db.migrations.insert_one({"name": "0_old.py"})
        result = project.fab("migrations:execute", timeout=20)
        self.assertNotEqual(0, result.code)
        self.assertIn("forget cannot run inside execute, which holds the lock", result.stderr)
        self.assertEqual(["0_old.py"], self.registered())
