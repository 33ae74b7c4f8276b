"""A test run that is killed, and one whose tox is, leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Mapping
from unittest import TestCase

from tests.server import runs, wait_for

TOP = Path(__file__).parents[3]

# A test with one of each; it says what it has, and waits to be killed.
A_TEST = """
import json
import signal

from tests.reaper import reaper
from tests.server import Mongod
from tests.sshd import Sshd
from tests.support import RunTestCase, until_file


class WaitsTest(RunTestCase):
    def runTest(self):
        mongod, sshd, project = Mongod(), Sshd(), self.project()
        mongod.start()
        sshd.start()
        self.counting(project, "1_waits.py", until_file(project.path / "go"))
        fab = project.fab_start("migrations:execute")
        self.wait_until_in("1_waits.py")
        shared = self.client.admin.command("serverStatus")["pid"]
        started = {"mongod": mongod.process.pid, "shared": shared, "sshd": sshd.process.pid}
        print(json.dumps({**started, "fab": fab.pid, "folder": str(reaper().folder)}), flush=True)
        signal.pause()


WaitsTest().debug()
"""

# What stands between tox and its command is nothing.
A_TOX = "import subprocess, sys; subprocess.run(sys.argv[1:])"


class TestReaper(TestCase):
    def started(self, *command: str, **environment: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        """Start a test run, and return when it has a test under way."""
        own = {name: value for name, value in os.environ.items() if name not in ("MIGOPY_MONGO_URI", "TOX_ENV_NAME")}
        process = subprocess.Popen(
            [*command, sys.executable, "-c", A_TEST],
            cwd=TOP,
            env={**own, "PYTHONPATH": str(TOP), **environment},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    def assert_killing_leaves_nothing(self, process: subprocess.Popen[str], left: Mapping[str, Any]) -> None:
        folder = Path(left["folder"])
        pids = [pid for pid in left.values() if isinstance(pid, int)]
        self.assertEqual((4, True), (len([pid for pid in pids if runs(pid)]), folder.is_dir()))
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for("end of what it had started", lambda: not any(map(runs, pids)))
        wait_for("end of its folder", lambda: not folder.exists())

    def test_a_killed_test_run_leaves_no_process_and_no_folder(self) -> None:
        self.assert_killing_leaves_nothing(*self.started())

    def test_nor_does_one_whose_tox_was_killed(self) -> None:
        self.assert_killing_leaves_nothing(*self.started(sys.executable, "-c", A_TOX, TOX_ENV_NAME="py"))
