"""What stands on the screen of somebody whose migration failed, whose lock is held, or who asks for help."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import Any

from tests.cases import DumpTestCase, FabTestCase
from tests.support import Project, RunTestCase, until_file

TWICE = "db.users.insert_one({'_id': 7})\ndb.users.insert_one({'_id': 7})"


class TestAFailure(FabTestCase):
    def test_the_sentence_stands_last_and_the_traceback_ends_at_the_line_of_the_team(self) -> None:
        project = self.project()
        path = project.migration("1_a.py", TWICE)
        lines = project.fab("migrations:execute").stderr.splitlines()
        self.assertRegex(
            lines[-1], r"^1_a\.py failed \(line 3, DuplicateKeyError: .*\): it is not registered\. What it"
        )
        self.assertEqual((1, 1), (lines.count(lines[-1]), lines.count("1_a.py failed:")))
        frames = [line for line in lines if line.startswith("  File ")]
        self.assertEqual([f'  File "{path}", line 3, in up'], frames)

    def test_of_an_index_that_cannot_be_built_the_reason_is_said(self) -> None:
        self.db.users.insert_many([{"email": "a" * 150} for _ in range(2)])
        project = self.project()
        project.migration("1_a.py", "db.users.create_index('email', unique=True)")
        result = project.fab("migrations:execute")
        reason = f"E11000 duplicate key error collection: {self.database}.users index: email_1 dup key: "
        last = result.stderr.splitlines()[-1]
        self.assertIn(f"1_a.py failed (line 2, DuplicateKeyError: {reason[:60]}", last)
        self.assertNotIn("a" * 150, last)
        self.assertNotIn("Index build failed", last)

    def test_debug_shows_the_frames_of_pymongo_too(self) -> None:
        project = self.project()
        project.migration("1_a.py", TWICE)
        result = project.fab("--show=debug", "migrations:execute")
        self.assertRegex(result.stderr, r'File ".*[/\\]pymongo[/\\]\w+.*", line')
        self.assertRegex(result.stderr.splitlines()[-1], r"^1_a\.py failed \(line 3, ")

    def test_a_long_error_stands_once(self) -> None:
        """In the traceback or, if it is not there, in the sentence; then in the history of the migration."""
        words = " ".join(f"word{number}" for number in range(40))
        project = self.project()
        project.migration("1_a.py", "raise ValueError(' '.join(f'word{number}' for number in range(40)))")
        for subtask in (":execute", ":history,1"):
            self.assertEqual(1, project.fab(f"migrations{subtask}").output.count(words), subtask)
        for subtask in ("", ":check", ":plan", ":history"):
            shown = project.fab(f"migrations{subtask}").output
            self.assertNotIn(words, shown)
            self.assertRegex(shown, r"1_a\.py: failed on .* by .* \(ValueError: word0 word1 .*….* word39\); what it ")
        self.assertIn(words, project.fab("migrations:history,1,json=yes").stdout)

    def test_a_terminal_breaks_it_between_words_and_never_in_a_command(self) -> None:
        project = self.project()
        project.migration("1_a.py", "raise ValueError(20 * 'some words ')")
        for subtask in (":execute", "", ":check", ":plan"):
            piped = project.fab(f"migrations{subtask}").stderr
            self.assertGreater(max(map(len, piped.splitlines())), 200)
            for columns in (60, 67, 74, 80):
                terminal = {"COLUMNS": str(columns), "NO_COLOR": "1"}
                shown = project.fab_in_terminal(f"migrations{subtask}", env=terminal).stdout
                sentence = shown[shown.rindex("1_a.py") :].splitlines()
                self.assertLessEqual(max(map(len, sentence)), columns)
                self.assertNotRegex(shown, r"fab\n")
                self.assertIn("fab migrations:execute", shown)
        remote = project.fab_in_terminal("migrations", env={"TERM": "vt100", "NO_COLOR": "1"}).stdout
        self.assertIn("; fix it, then fab migrations:execute runs it again\n", remote)
        self.assertGreater(max(map(len, remote.splitlines())), 200)

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
        self.assertRegex(at_work, r"(?m)^1_a\.py: running since .+, by \S+@\S+ \(process \d+\)$")
        self.assertIn("\n0 executed, 1 running\n", at_work)
        for words in ("Unregistered", "nothing to execute"):
            self.assertNotIn(words, at_work)
        for subtask, code in (("check", 4), ("check,pending=ok", 0), ("plan", 0)):
            result = project.fab(f"migrations:{subtask}")
            self.assertEqual((code, 1), (result.code, result.stderr.count("1_a.py: running since")), result.stderr)
        self.assertIn("Not up to date: 1_a.py is running.", project.fab("migrations:check").stderr)
        self.assertIn("Nothing is wrong, 1_a.py is running\n", project.fab("migrations:check,pending=ok").stderr)
        self.assertRegex(project.fab("migrations:history").stdout, r"\n1_a\.py +running +[\d-]{10} ")
        refused = project.fab("migrations:rollback,1").stderr
        self.assertRegex(
            refused, r"^1_a\.py is not registered\. Nothing was done\. It is running, fab migrations shows "
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = project.fab("migrations").stderr
        self.assertRegex(
            killed,
            r"(?m)^1_a\.py was interrupted: it may be half applied, .*\n"
            rf"Locked by .*: process {process.pid} no longer runs on this machine, so the lock is free at .*,"
            r" or at once with fab migrations:unlock\.$",
        )
        gate = project.fab("migrations:check,pending=ok")
        self.assertRegex(gate.stderr, r"^execute would stop: 1_a\.py was interrupted: ")
        self.assert_code(4, gate)
        refused = project.fab("migrations:rollback,1").stderr
        self.assertRegex(refused, r"^1_a\.py is not registered\. Nothing was done\. It was interrupted\. To take back ")
        since = self.db.migrations_lock.find_one()["since"]  # type: ignore[index]
        (row,) = json.loads(project.fab("--hide=status", "migrations:history,json=yes").stdout)["migrations"]
        self.assertEqual((f"{since:%Y-%m-%dT%H:%M:%SZ}", None), (row["at"], row["seconds"]))
        shown = project.fab("--hide=status", "migrations:json=yes").stdout
        self.assertTrue(json.loads(shown)["lock"]["gone"])
        self.assertIsNone(json.loads(shown)["running"])

    def test_since_when_it_is_that_migration(self) -> None:
        project = self.project(LOCK_LEASE=60)
        wait = "import time\ntime.sleep(1.1)"
        project.migration("1_a.py", wait, wait)
        self.counting(project, "2_b.py", until_file(project.path / "go"))
        project.migration("3_c.py")
        process = project.fab_start("migrations:execute")
        self.wait_until_in("2_b.py")
        (first,) = self.db.migrations.find({"name": {"$exists": True}})
        self.assertEqual(first["at"].strftime("%Y-%m-%dT%H:%M:%SZ"), self.row(project, "2")["at"])
        self.assertLess(self.lock()["since"], first["at"])
        project.write("go", "")
        self.assert_code(0, self.end_of(process))
        (project.path / "go").unlink()
        project.migration("2_b.py", down=f"db.ran.insert_one({{'name': 'down'}})\n{until_file(project.path / 'go')}")
        project.migration("3_c.py", down=wait)
        process = project.fab_start("migrations:rollback,last=2")
        self.wait_until_in("down")
        row, (event,) = self.row(project, "2"), self.db.migrations_log.find({"event": "rolled back"})
        self.assertEqual(("rolling back", event["at"].strftime("%Y-%m-%dT%H:%M:%SZ")), (row["state"], row["at"]))
        self.assertIn(", 2_b.py is being rolled back and", project.fab("migrations:check").stderr)
        project.write("go", "")
        self.assert_code(0, self.end_of(process))

    def row(self, project: Project, name: str) -> Any:
        shown = project.fab("--hide=status", f"migrations:history,{name},json=yes").stdout
        return json.loads(shown)["migrations"][0]

    def test_who_waits_is_told_how_far_the_run_is_and_whether_it_is_at_work(self) -> None:
        project = self.project(LOCK_LEASE=60, LOCK_WAIT=0)
        self.db.users.insert_many([{"_id": n} for n in range(300)])
        body = "for users in batches(db.users, size=100):\n    if users[0]['_id']:\n"
        waits = "db.ran.insert_one({'name': 'x'})\n" + until_file(project.path / "go")
        body += "".join(f"        {line}\n" for line in waits.splitlines())
        project.migration("1_a.py", body, arguments="db, batches")
        process = project.fab_start("migrations:execute")
        self.wait_until_in("x")
        result = project.fab("migrations:execute")
        self.assert_code(3, result)
        self.assertRegex(
            result.stderr,
            r"^The lock is held by \S+@.*: 100 of 300 documents of users are done\. Nothing was done:"
            rf" process {process.pid} still runs on this machine, so wait until it",
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        result = project.fab("migrations:execute")
        gone = r"rocess \d+ no longer runs on this machine, so the lock is free at .* UTC"
        self.assertRegex(result.stderr, rf"{gone}, or at once with fab migrations:unlock\.\n$")
        patient = self.project(LOCK_LEASE=60, LOCK_WAIT=60)
        patient.migration("1_a.py")
        waiting = patient.fab_start("migrations:execute")
        assert waiting.stderr is not None
        self.assertRegex(
            waiting.stderr.readline(), r"^Waiting for \S+@.*: 100 of 300 documents of users are done\.\.\.$"
        )
        self.assertRegex(waiting.stderr.readline(), rf"^P{gone}, or at once with fab migrations:unlock\.\n$")
        asked = project.fab("migrations:unlock")
        self.assertRegex(asked.stderr, rf"^The lock is held by .*: p{gone}\.\n")
        self.assertRegex(asked.stderr, r"Nothing was done: there is no terminal to ask on\. The question is: Free it\?")


class TestTheDump(DumpTestCase):
    def test_history_shows_the_one_that_was_taken_before_a_migration(self) -> None:
        project = self.dumping(DO_MONGO_DUMP=True)
        self.assert_code(0, project.fab("migrations:execute", env=self.with_tools(project)))
        (folder,) = (project.path / "mongodumps").iterdir()
        shown = project.fab("migrations:history,1").stdout
        self.assertRegex(shown, rf"\nDumped before it: {re.escape(str(folder))} \(\d+ documents?, [\d,]+ bytes\)\n")
        self.assertEqual(1, shown.count(str(folder)))


class TestHelp(FabTestCase):
    def in_terminal(self, word: str) -> list[str]:
        shown = self.project().fab_in_terminal(f"migrations:{word}", env={"COLUMNS": "80"})
        self.assertLessEqual(max(map(len, shown.stdout.splitlines())), 80)
        return shown.stdout.splitlines()

    def test_the_list_fits_a_screen_with_the_prompt_below(self) -> None:
        lines = self.in_terminal("help")
        self.assertLessEqual(len(lines), 23)
        first = [line.index(" - ") for line in lines if line.startswith("fab migrations:")]
        self.assertEqual(1, len(set(first)))

    def test_long_texts_wrap_between_words(self) -> None:
        lines = self.in_terminal("help,topics")
        first = next(line.index(" - ") for line in lines if line.startswith("fab migrations:"))
        following = {len(line) - len(line.lstrip()) for line in lines if line.startswith(" ")}
        self.assertEqual({first + 3}, following)
        text = " ".join(self.in_terminal("help,rehearse"))
        self.assertIn("a sample of each collection (documents=N or documents=all); keep=yes keeps it.", text)
