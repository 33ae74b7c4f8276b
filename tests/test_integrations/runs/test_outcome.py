"""What execute, ignore and rollback tell a program, and what a team can do when something fails."""

from __future__ import annotations

import json
import os
import signal
from datetime import datetime, timezone
from typing import Any

from migopy.terminal.wording import duration
from tests.cases import FabTestCase
from tests.server import wait_for
from tests.support import Project, Result

TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"


class TestAccount(FabTestCase):
    def account(self, project: Project, words: str, code: int = 0) -> Any:
        """The document, which is all that stands on stdout."""
        result = project.fab("--hide=status", f"migrations:{words},json=yes")
        self.assert_code(code, result)
        self.stderr = result.stderr
        return json.loads(result.stdout)

    def told(self, account: Any) -> list[tuple[str, str]]:
        return [(row["name"], row["result"]) for row in account["migrations"]]

    def test_what_was_done_when_and_how_long(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py", "3_c.py")
        account = self.account(project, "execute,to=2")
        self.assertEqual(("execute", True, None), (account["subtask"], account["ok"], account["error"]))
        self.assertEqual([("1_a.py", "executed"), ("2_b.py", "executed")], self.told(account))
        for row in account["migrations"]:
            self.assertRegex(row["at"], TIME)
            at = datetime.strptime(row["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
            self.assertLess(abs((datetime.now(timezone.utc) - at).total_seconds()), 60)
            self.assertIsInstance(row["seconds"], float)
            self.assertIsNone(row["error"])
        self.assertIn("Executing migration 1_a.py... (1 of 2)", self.stderr)
        self.assertEqual([("3_c.py", "ignored")], self.told(self.account(project, "ignore")))
        account = self.account(project, "rollback,last=2")
        self.assertEqual([("2_b.py", "rolled back"), ("1_a.py", "rolled back")], self.told(account))
        self.assertEqual([], self.account(project, "execute,to=0", code=1)["migrations"])

    def test_nothing_to_do_and_a_refusal_are_a_document_too(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        refused = self.account(project, "execute,999", code=1)
        self.assertEqual((False, []), (refused["ok"], refused["migrations"]))
        self.assertIn("No migration '999'", refused["error"])
        self.account(project, "execute")
        self.assertEqual((True, []), (lambda d: (d["ok"], d["migrations"]))(self.account(project, "execute")))

    def test_seconds_are_those_of_the_screen_and_of_history(self) -> None:
        hook = "    def before_each(self, name):\n        import time\n        time.sleep(0.5)\n"
        project = self.noting(self.project(hook), "1_a.py")
        (row,) = self.account(project, "execute")["migrations"]
        (record,) = self.db.migrations.find()
        self.assertEqual(record["seconds"], row["seconds"])
        self.assertLess(row["seconds"], 0.5)
        self.assertIn(f"Executed 1_a.py in {duration(row['seconds'])}\n", self.stderr)
        project.migration("2_b.py", "1 / 0")
        (row,) = self.account(project, "execute", code=1)["migrations"]
        (event,) = self.db.migrations_log.find({"event": "failed"})
        self.assertEqual(event["seconds"], row["seconds"])

    def test_what_failed_and_why_and_what_did_not_run(self) -> None:
        project = self.noting(self.project(), "1_a.py", "3_c.py")
        project.migration("2_b.py", "1 / 0")
        account = self.account(project, "execute", code=1)
        self.assertEqual([("1_a.py", "executed"), ("2_b.py", "failed"), ("3_c.py", "not run")], self.told(account))
        self.assertFalse(account["ok"])
        for error in (account["error"], account["migrations"][1]["error"]):
            self.assertIn("2_b.py failed (line 2, ZeroDivisionError: division by zero): it is not registered", error)
        self.assertIsNone(account["migrations"][2]["at"])
        self.assertIn("Traceback", self.stderr)

    def test_what_a_migration_and_what_it_starts_print_goes_to_stderr(self) -> None:
        project = self.project()
        project.migration("1_a.py", "from fabric.api import local\nprint('by python')\nlocal('echo by a shell')")
        account = self.account(project, "execute")
        self.assertTrue(account["ok"])
        for text in ("by python", "by a shell"):
            self.assertIn(f"{text}\n", self.stderr)

    def test_a_failure_after_it_was_registered_is_told_as_executed(self) -> None:
        body = """
    def after_each(self, name):
        raise ValueError("the chat is away")
"""
        account = self.account(self.noting(self.project(body=body), "1_a.py", "2_b.py"), "execute", code=1)
        self.assertEqual([("1_a.py", "executed"), ("2_b.py", "not run")], self.told(account))
        self.assertIn("the chat is away", account["migrations"][0]["error"])
        self.assertEqual(["1_a.py"], self.registered())

    def test_a_run_that_is_ended_by_a_signal_tells_too(self) -> None:
        project = self.project()
        project.trace("1_a.py", "import time\ntime.sleep(60)")
        process = project.fab_start("--hide=status", "migrations:execute,json=yes")
        wait_for("migration", lambda: self.notes())
        os.kill(process.pid, signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=30)
        account = json.loads(stdout)
        self.assertEqual((False, [("1_a.py", "stopped")]), (account["ok"], self.told(account)), stderr)
        self.assertEqual("stopped by SIGTERM", account["error"])


CHAT = """
    def before_each(self, name):
        if name == "9_hook.py":
            raise ValueError("not on fridays")

    def on_failure(self, name, error):
        print("chat: %s %s" % (name, error))
        if name == "2_b.py":
            import sys
            sys.exit(0)
"""


class TestOnFailure(FabTestCase):
    def chat(self, result: Result) -> list[str]:
        return [line for line in result.stdout.splitlines() if line.startswith("chat: ")]

    def test_it_is_told_of_failing_ups_downs_and_hooks_and_not_of_what_went_well(self) -> None:
        project = self.noting(self.project(body=CHAT), "1_a.py", "9_hook.py")
        project.migration("3_c.py", down="raise KeyError('lost')")
        self.assertEqual([], self.chat(project.fab("migrations:execute,to=3")))
        result = project.fab("migrations:execute")
        self.assertEqual((1, ["chat: 9_hook.py not on fridays"]), (result.code, self.chat(result)))
        result = project.fab("migrations:rollback,3")
        self.assertEqual((1, ["chat: 3_c.py 'lost'"]), (result.code, self.chat(result)))

    def test_what_it_raises_is_said_and_changes_nothing(self) -> None:
        project = self.project(body=CHAT)
        project.migration("2_b.py", "1 / 0")
        result = project.fab("migrations:execute")
        self.assertEqual((1, ["chat: 2_b.py division by zero"]), (result.code, self.chat(result)))
        self.assertIn("on_failure() itself failed, which changes nothing: SystemExit: 0.", result.stderr)
        self.assertIn("2_b.py failed (line 2, ZeroDivisionError: division by zero): it is not", result.stderr)
        self.assertEqual(["failed"], [event["event"] for event in self.db.migrations_log.find()])
        self.assertIsNone(self.db.migrations_lock.find_one())
