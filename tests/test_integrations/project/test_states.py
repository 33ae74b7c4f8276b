"""The picture of the states in the README: each of its arrows is gone along."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

from tests.cases import InProcessTestCase
from tests.documents import section
from tests.support import until_file

STATES = {"unregistered", "running", "executed", "ignored", "failed", "stopped", "interrupted"}
ARROWS = {
    *("execute", "execute,NAME", "ignore", "forget", "rollback: down() returns"),
    *("up() returns", "up() raises", "Ctrl-C, SIGTERM", "killed, unlock"),
}


class TestThePicture(InProcessTestCase):
    def state(self) -> str:
        """That of 1_a.py: what the history says, in the words of the picture."""
        (row,) = json.loads(self.run_task("history", json="yes").stdout)["migrations"]
        (state,) = row["problems"] or [row["state"]]
        return str(state)

    def go(self, *options: str, code: int = 0, to: str) -> None:
        """Along the arrow of a subtask."""
        result = self.run_task(*options)
        self.assertEqual(code, result.code, result.stderr)
        self.assertEqual(to, self.state(), options)

    def running(self) -> subprocess.Popen[str]:
        """A run that is in 1_a.py and goes on until it is ended."""
        self.counting(self.team, "1_a.py", until_file(self.team.path / "never"))
        process = self.team.fab_start("migrations:execute")
        self.wait_until_in("1_a.py")
        self.assertEqual("running", self.state())
        return process

    def end(self, process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
        os.killpg(process.pid, number)
        self.end_of(process)

    def test_it_has_the_states_and_the_arrows_that_are_tried_here(self) -> None:
        (picture,) = re.findall(r"(?s)```text\n(.*?)```", section("Subtasks"))
        words = [word.strip() for word in re.split(r"(?<!\w)-+(?!\w)|[|+^<>]|\bv\b|\s{2,}", picture)]
        self.assertEqual(STATES | ARROWS, set(filter(None, words)))

    def test_what_ends_well(self) -> None:
        self.team.migration("1_a.py")
        self.assertEqual("unregistered", self.state())
        self.go("execute", to="executed")
        self.go("rollback", "1", to="unregistered")
        self.go("execute", to="executed")
        self.go("forget", "1", to="unregistered")
        self.go("ignore", to="ignored")
        self.go("forget", "1", to="unregistered")
        self.go("ignore", to="ignored")
        self.go("rollback", "1", to="unregistered")

    def test_what_fails(self) -> None:
        self.team.migration("1_a.py", "1 / 0")
        self.go("execute", code=1, to="failed")
        self.go("execute", code=1, to="failed")
        self.go("ignore", to="ignored")
        self.go("forget", "1", to="unregistered")
        self.go("execute", code=1, to="failed")
        self.team.migration("1_a.py", "pass", "1 / 0")
        self.go("execute", to="executed")
        self.go("rollback", "1", code=1, to="rollback failed")
        self.assertEqual(["1_a.py"], self.registered())
        self.go("forget", "1", to="unregistered")

    def test_what_is_stopped(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.end(self.running(), number)
            self.assertEqual("stopped", self.state())
            self.db.ran.drop()
        self.team.migration("1_a.py")
        self.go("execute", to="executed")
        self.go("rollback", "1", to="unregistered")
        self.end(self.running(), signal.SIGINT)
        self.go("ignore", to="ignored")

    def test_a_run_that_is_killed(self) -> None:
        process = self.running()
        self.end(process)
        self.wait_for_dead_lock()
        self.team.migration("1_a.py")
        self.go("execute", code=1, to="interrupted")
        self.go("execute", "1", to="executed")

    def test_a_run_whose_lock_is_taken_away(self) -> None:
        process = self.running()
        self.go("unlock", "yes", to="interrupted")
        self.end(process)
        self.go("execute", code=1, to="interrupted")
        self.go("ignore", to="ignored")
