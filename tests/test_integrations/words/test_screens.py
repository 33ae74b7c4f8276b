"""What stands on the screen of somebody whose migration failed, whose lock is held, or who asks for help."""

from __future__ import annotations

import json
import os
import re
import signal

from tests.cases import DumpTestCase, FabTestCase
from tests.support import RunTestCase, until_file

TWICE = "db.users.insert_one({'_id': 7})\ndb.users.insert_one({'_id': 7})"


class TestAFailure(FabTestCase):
    def test_the_sentence_stands_last_and_the_traceback_ends_at_the_line_of_the_team(self) -> None:
        project = self.project()
        path = project.migration("1_a.py", TWICE)
        lines = project.fab("migrations:execute").stderr.splitlines()
        self.assertRegex(lines[-1], r"^1_a\.py failed \(line 3, DuplicateKeyError: .*\): it is not registered\.$")
        self.assertEqual(2, lines.count(lines[-1]))
        frames = [line for line in lines if line.startswith("  File ")]
        self.assertEqual([f'  File "{path}", line 3, in up'], frames)

    def test_debug_shows_the_frames_of_pymongo_too(self) -> None:
        project = self.project()
        project.migration("1_a.py", TWICE)
        result = project.fab("--show=debug", "migrations:execute")
        self.assertRegex(result.stderr, r'File ".*[/\\]pymongo[/\\]\w+.*", line')
        self.assertRegex(result.stderr.splitlines()[-1], r"^1_a\.py failed \(line 3, ")

    def test_history_tells_when_how_long_and_by_whom_and_breaks_the_error_into_lines(self) -> None:
        project = self.project()
        words = " ".join(f"word{number}" for number in range(40))
        project.migration("1_a.py", f"raise ValueError({words!r})")
        project.fab("migrations:execute")
        result = project.fab_in_terminal("--hide=status", "migrations:history,1", env={"COLUMNS": "80"})
        table, events = result.stdout.replace("\033[31m", "").replace("\033[0m", "").split("\n\n", 1)
        self.assertRegex(table, r"1_a\.py +failed +[\d-]{10} [\d:]{8} \S+  <?\d+ m?s +\S+@\S+$")
        events = events.partition("\n1_a.py: failed")[0]
        self.assertRegex(events, r"^EVENT +WHEN +TOOK +BY +WHY\nfailed ")
        self.assertLessEqual(max(map(len, events.splitlines())), 80)
        self.assertIn(f"ValueError: {words}", " ".join(events.split()))


class TestTheLock(RunTestCase):
    def test_who_has_it_until_when_and_whether_that_process_is_no_more(self) -> None:
        project = self.project(LOCK_LEASE=60)
        self.counting(project, "1_a.py", until_file(project.path / "go"))
        process = project.fab_start("migrations:execute")
        self.wait_until_in("1_a.py")
        at_work = project.fab("migrations").stderr
        self.assertRegex(
            at_work, r"(?m)^Locked by \S+@\S+ \(process \d+, execute of 1_a\.py, since .+\) until [^;]+\.$"
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = project.fab("migrations").stderr
        self.assertRegex(
            killed, rf"(?m)^Locked by .* until .*; process {process.pid} no longer runs on this machine\.$"
        )
        shown = project.fab("--hide=status", "migrations:json=yes").stdout
        self.assertTrue(json.loads(shown)["lock"]["gone"])


class TestTheDump(DumpTestCase):
    def test_history_shows_the_one_that_was_taken_before_a_migration(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        self.assert_code(0, project.fab("migrations:execute", env=self.with_tools(project)))
        (folder,) = (project.path / "mongodumps").iterdir()
        shown = project.fab("migrations:history,1").stdout
        self.assertRegex(shown, rf"\nDumped before it: {re.escape(str(folder))} \(\d+ documents?, [\d,]+ bytes\)\n")
        self.assertEqual(1, shown.count(str(folder)))


class TestHelp(FabTestCase):
    def test_it_is_aligned_and_fits_the_terminal(self) -> None:
        lines = self.project().fab_in_terminal("--hide=status", "migrations:help", env={"COLUMNS": "80"}).stdout
        self.assertLessEqual(max(map(len, lines.splitlines())), 80)
        first = [line.index(" - ") for line in lines.splitlines() if line.startswith("fab migrations:")]
        self.assertEqual(1, len(set(first)))
        following = {len(line) - len(line.lstrip()) for line in lines.splitlines() if line.startswith(" ")}
        self.assertEqual({first[0] + 3}, following)
