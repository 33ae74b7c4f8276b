from __future__ import annotations

import unittest
from datetime import datetime, timezone

from migopy.store.lock import Holder

NAMES = ["1_a.py", "2_b.py", "3_c.py"]


def run(subtask: str, migrations: list[str]) -> Holder:
    return Holder("me@here", 1, subtask, datetime(2014, 1, 14, tzinfo=timezone.utc), migrations)


class TestTheMigrationOfARun(unittest.TestCase):
    def test_an_execute_is_in_the_first_one_that_is_not_registered(self) -> None:
        for registered, expected in ((["0_z.py"], "1_a.py"), (NAMES[:1], "2_b.py"), (NAMES[:2], "3_c.py")):
            self.assertEqual(expected, run("execute", NAMES).migration(registered))

    def test_a_rollback_is_in_the_first_one_that_is_still_registered(self) -> None:
        newest_first = NAMES[::-1]
        for registered, expected in ((NAMES, "3_c.py"), (NAMES[:2], "2_b.py"), (NAMES[:1], "1_a.py")):
            self.assertEqual(expected, run("rollback", newest_first).migration(registered))

    def test_a_run_that_has_not_begun_or_has_done_all_is_in_none(self) -> None:
        self.assertIsNone(run("execute", []).migration(NAMES[:1]))
        self.assertIsNone(run("execute", NAMES).migration(NAMES))
        self.assertIsNone(run("rollback", NAMES).migration([]))

    def test_it_is_described_with_the_migration_it_is_in(self) -> None:
        self.assertIn(
            "me@here (process 1, execute of 2_b.py, since 2014-01-", run("execute", NAMES).description(NAMES[:1])
        )
        self.assertIn("me@here (process 1, execute, since 2014-01-", run("execute", NAMES).description(NAMES))
