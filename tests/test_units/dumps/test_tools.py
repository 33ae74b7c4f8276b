from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any, Iterator
from unittest.mock import patch

from migopy.dumps import tools
from migopy.dumps.dump import Dump, DumpedCollection
from migopy.errors import DumpFailed, LockLost
from tests.server import runs, wait_for

ROOT = Path("/srv/mongodumps/2014")


def dump(database: str = "notes", options: dict[str, Any] | None = None, is_compressed: bool = False) -> Dump:
    collection = DumpedCollection("a", "a", ROOT / database / "a.bson", options or {}, [])
    return Dump(ROOT, database, [collection], is_compressed)


class TestCommandLines(unittest.TestCase):
    def test_mongodump(self) -> None:
        self.assertEqual(
            ["mongodump", "--config=/dev/stdin", "--db=notes", "--out=/srv/mongodumps/2014"],
            tools.dump_command("notes", ROOT),
        )

    def test_mongorestore_stops_at_its_first_error_and_leaves_alone_what_it_is_told(self) -> None:
        self.assertEqual(
            [
                *("mongorestore", "--config=/dev/stdin", "--drop", "--stopOnError", "--nsInclude=notes.*"),
                *("--nsExclude=notes.m_log", f"--dir={ROOT}"),
            ],
            tools.restore_command(dump(), "notes", without=["m_log"]),
        )

    def test_a_star_in_a_name_is_no_pattern(self) -> None:
        command = tools.restore_command(dump("a*b"), "a*b", without=["m*"])
        self.assertIn(r"--nsInclude=a\*b.*", command)
        self.assertIn(r"--nsExclude=a\*b.m\*", command)

    def test_what_a_dump_asks_for(self) -> None:
        renamed = tools.restore_command(dump("theirs"), "ours", without=[])
        self.assertEqual(["--nsFrom=theirs.*", "--nsTo=ours.*"], renamed[5:7])
        self.assertIn("--gzip", tools.restore_command(dump(is_compressed=True), "notes", without=[]))
        validated = tools.restore_command(dump(options={"validator": {}}), "notes", without=[])
        self.assertIn("--bypassDocumentValidation", validated)


class TestRun(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="migopy-tools-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def sh(self, script: str, config: str = "", **arguments: Any) -> None:
        tools.run(["sh", "-c", f"cd {shlex.quote(str(self.folder))}; {script}"], config, **arguments)

    def pid(self, name: str = "pid") -> int:
        """The process that has written its number into that file."""
        path = self.folder / name
        return int(wait_for(f"file {name}", lambda: path.read_text() if path.exists() else ""))

    def test_the_tool_reads_its_configuration_from_a_pipe(self) -> None:
        self.sh("cat /dev/stdin >read", config='password: "zażółć"\n')
        self.assertEqual('password: "zażółć"\n', (self.folder / "read").read_text())

    def test_a_tool_that_does_not_read_it_is_no_error(self) -> None:
        self.sh("exit 0", config="x" * 1_000_000)

    def test_an_exit_code_or_a_signal_is_a_failure(self) -> None:
        for script, code in (("exit 3", 3), ("kill -9 $$", 137)):
            with self.assertRaisesRegex(DumpFailed, f"^sh failed with exit code {code}, see its output above"):
                self.sh(script)

    def test_it_is_killed_with_all_that_it_has_started_when_we_are(self) -> None:
        script = f"from migopy.dumps import tools; tools.run(['sh', '-c', {self.waiting()!r}], '')"
        for number in (signal.SIGKILL, signal.SIGTERM):
            with subprocess.Popen([sys.executable, "-W", "ignore", "-c", script]) as ours:
                pids = [self.pid(name) for name in ("pid", "child")]
                ours.send_signal(number)
            for pid in pids:
                wait_for("end of the tool", lambda pid=pid: not runs(pid), timeout=10)  # type: ignore[misc]
            for name in ("pid", "child"):
                (self.folder / name).unlink()

    def test_it_is_killed_when_its_leash_is(self) -> None:
        def kill_leash() -> float:
            self.pid()
            with contextlib.suppress(ProcessLookupError):  # asked once more when it is dead
                os.kill(self.pid("leash"), signal.SIGKILL)
            return 60.0

        with self.assertRaisesRegex(DumpFailed, "exit code 137"):
            self.sh(f"echo $PPID >leash; {self.waiting()}", seconds_left=kill_leash)
        if sys.platform.startswith("linux"):  # elsewhere there is nobody left who could
            wait_for("end of the tool", lambda: not runs(self.pid()), timeout=10)
        # What the tool has started lives on, and would keep the output of the tests open.
        os.kill(self.pid("child"), signal.SIGKILL)

    def waiting(self) -> str:
        return f"cd {shlex.quote(str(self.folder))}; sleep 60 & echo $! >child; echo $$ >pid; wait"

    def test_it_is_killed_when_the_lock_is_lost(self) -> None:
        def seconds_left() -> float:
            self.pid()
            raise LockLost("lost")

        with self.assertRaises(LockLost):
            self.sh(self.waiting(), seconds_left=seconds_left)
        self.assertFalse(runs(self.pid()))

    @patch.object(tools, "POLL_SECONDS", 0.1)
    def test_it_is_killed_when_nobody_says_that_the_lock_is_still_ours(self) -> None:
        """As when this process is stopped, or hangs, and the lease runs out meanwhile."""
        with self.assertRaisesRegex(DumpFailed, "exit code 137"):
            self.sh(self.waiting(), seconds_left=lambda: 0.0 if (self.folder / "pid").exists() else 60.0)
        self.assertFalse(runs(self.pid()))

    def test_a_tool_that_cannot_be_executed(self) -> None:
        broken = self.folder / "tool"
        broken.write_text("#!/nowhere/sh\n")
        broken.chmod(0o755)
        with self.stderr() as said, self.assertRaisesRegex(DumpFailed, "exit code 126"):
            tools.run([str(broken)], "")
        self.assertIn(str(broken), said.read_text())

    @contextlib.contextmanager
    def stderr(self) -> Iterator[Path]:
        """A file with what programs write to it meanwhile."""
        said = self.folder / "said"
        ours = os.dup(2)
        try:
            with said.open("wb") as file:
                os.dup2(file.fileno(), 2)
            yield said
        finally:
            os.dup2(ours, 2)
            os.close(ours)


class TestRequire(unittest.TestCase):
    def test_a_tool_that_is_not_on_path_is_named(self) -> None:
        tools._require_installed("sh")
        with patch.dict(os.environ, {"PATH": "/nowhere"}), self.assertRaisesRegex(
            DumpFailed, "^mongodump is not on PATH"
        ):
            tools._require_installed("mongodump")
