"""Dumps before a run, restoring one, and what Ctrl-C and SIGTERM leave behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.server import wait_for
from tests.support import Project, Result, RunTestCase, tools_on_path, until_file

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DumpTestCase(RunTestCase):
    def with_tools(self, project: Project, **variables: str) -> dict[str, str]:
        """The environment in which fab finds the tools; its temporary files are in the folder `tmp`."""
        (project.path / "tmp").mkdir(exist_ok=True)
        path = tools_on_path(project.path / "bin", project.path / "calls", **variables)
        return {"PATH": path, "TMPDIR": str(project.path / "tmp")}

    @staticmethod
    def calls(project: Project) -> list[Any]:
        file = project.path / "calls"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def wait_for_call(self, project: Project, number: int = 1) -> Any:
        return wait_for("call of the tool", lambda: len(self.calls(project)) >= number and self.calls(project)[-1])

    @staticmethod
    def left_over(project: Project) -> list[str]:
        """The temporary files that are still there."""
        return [path.name for path in (project.path / "tmp").iterdir()]

    @staticmethod
    def dumps(project: Project) -> list[Path]:
        folder = project.path / "mongodumps"
        return sorted(folder.iterdir()) if folder.exists() else []


class TestDump(DumpTestCase):
    def test_before_execute_and_rollback_and_noted(self) -> None:
        project = self.project(DO_MONGO_DUMP=True)
        env = self.with_tools(project)
        self.db.old.insert_one({"old": True})
        names = self.counting_ones(project, 2)
        self.assert_code(0, project.fab("migrations:execute", env=env))
        dump = self.dumps(project)
        self.assertEqual(1, len(dump))
        noted = [document["dump"] for document in self.db.migrations.find()]
        self.assertEqual([str(dump[0])] * 2, noted)
        self.assertTrue((dump[0] / self.database / "old.bson").exists())
        self.assertFalse((dump[0] / self.database / "ran.bson").exists(), "dumped after the first one")
        self.assertEqual(0o700, stat.S_IMODE(dump[0].stat().st_mode))
        self.assert_code(0, project.fab("migrations:execute", env=env))
        self.assertEqual(1, len(self.dumps(project)), "dumped with nothing to do")
        self.assert_code(0, project.fab(f"migrations:rollback,{names[1]}", env=env))
        self.assertEqual(2, len(self.dumps(project)))
        self.assertEqual([], self.left_over(project))

    def test_that_fails_stops_the_run(self) -> None:
        project = self.project(DO_MONGO_DUMP=True)
        self.counting_ones(project, 1)
        self.db.old.insert_one({"old": True})
        for subtask in ("execute", "rollback,1"):
            result = project.fab(f"migrations:{subtask}", env=self.with_tools(project, STANDIN_FAIL="1"))
            self.assert_code(1, result)
            self.assertIsNone(self.lock())
            self.assertEqual([], self.left_over(project))
            if subtask == "execute":
                self.assertEqual(([], []), (self.ran(), self.registered()))
                self.db.migrations.insert_one({"name": "1_counts.py"})
        self.assertEqual(["1_counts.py"], self.registered())

    def test_without_the_tool_nothing_runs(self) -> None:
        project = self.project(DO_MONGO_DUMP=True)
        self.counting_ones(project, 1)
        result = project.fab("migrations:execute", env={"PATH": str(project.path)})
        self.assert_code(1, result)
        self.assertIn("mongodump is not on PATH", result.stderr)
        self.assertEqual(([], []), (self.ran(), self.registered()))
        self.assertIsNone(self.lock())

    def test_longer_than_the_lease_keeps_the_lock(self) -> None:
        project = self.project(DO_MONGO_DUMP=True, LOCK_LEASE=2)
        names = self.counting_ones(project, 1)
        first = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="4"))
        self.wait_for_call(project)
        second = self.project(LOCK_LEASE=2)
        self.counting_ones(second, 1)
        self.assert_code(0, second.fab("migrations:execute"))
        self.assert_code(0, self.end_of(first))
        self.assertEqual(names, self.ran())


class TestRestore(DumpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.restoring = self.project(LOCK_WAIT=1)
        self.env = self.with_tools(self.restoring)
        self.names = self.counting_ones(self.restoring, 2)
        self.db.notes.insert_many([{"n": 1}, {"n": 2}])
        self.assert_code(0, self.restoring.fab("migrations:execute,1", env=self.env))
        self.log("failed")
        self.assert_code(0, self.restoring.fab("migrations:dbdump", env=self.env))
        self.dump = self.dumps(self.restoring)[0].name
        self.assert_code(0, self.restoring.fab("migrations:execute", env=self.env))
        self.db.notes.delete_one({"n": 1})
        self.db.notes.insert_one({"n": 3})
        self.db.new.insert_one({"new": True})
        self.log("forgotten")

    def log(self, event: str) -> None:
        self.db.migrations_log.insert_one({"event": event, "name": "0_gone.py", "at": datetime.now(timezone.utc)})

    def restore(self, *options: str, **arguments: Any) -> Result:
        return self.restoring.fab(",".join(["migrations:dbrestore", self.dump, *options]), env=self.env, **arguments)

    def untouched(self) -> bool:
        return self.db.notes.distinct("n") == [2, 3] and self.registered() == self.names

    def test_replaces_what_is_in_the_dump_and_keeps_lock_and_log(self) -> None:
        result = self.restore("force=yes")
        self.assert_code(0, result)
        self.assertEqual([1, 2], self.db.notes.distinct("n"))
        self.assertEqual([self.names[0]], self.registered())
        self.assertEqual([self.names[0]], self.ran())
        self.assertEqual(1, self.db.new.count_documents({}))
        self.assertEqual(["failed", "forgotten", "restored"], sorted(self.logged()))
        self.assertIsNone(self.lock())
        self.assertIn("--drop", self.calls(self.restoring)[-1]["argv"])
        self.assertEqual([], self.left_over(self.restoring))
        self.assert_code(0, self.restoring.fab("migrations:execute", env=self.env))
        self.assertEqual(self.names, self.ran())

    def test_asks_first(self) -> None:
        result = self.restore(input="yes\n")
        self.assert_code(1, result)
        self.assertIn("force=yes", result.stderr)
        self.assertTrue(self.untouched())
        task = f"migrations:dbrestore,{self.dump}"
        result = self.restoring.fab_in_terminal(task, env=self.env, input="no\n")
        self.assert_code(1, result)
        self.assertIn("Replace the collections", result.output)
        self.assertTrue(self.untouched())
        self.assert_code(0, self.restoring.fab_in_terminal(task, env=self.env, input="yes\n"))
        self.assertEqual([1, 2], self.db.notes.distinct("n"))

    def test_takes_the_lock(self) -> None:
        other = self.project()
        self.counting(other, "3_holds.py", until_file(other.path / "go"))
        for name in self.names:
            self.counting(other, name)
        process = other.fab_start("migrations:execute")
        self.wait_until_in("3_holds.py")
        self.assert_code(3, self.restore("force=yes"))
        self.assertTrue(self.untouched())
        other.write("go", "")
        self.assert_code(0, self.end_of(process))

    def test_ended_by_a_signal_it_restores_nothing_later(self) -> None:
        self.env = self.with_tools(self.restoring, STANDIN_SLEEP="4")
        before = len(self.calls(self.restoring))
        process = self.restoring.fab_start(f"migrations:dbrestore,{self.dump},force=yes", env=self.env)
        self.wait_for_call(self.restoring, before + 1)
        os.kill(process.pid, signal.SIGTERM)
        self.assertNotEqual(0, process.wait(60))
        self.assertIsNone(self.lock())
        untouched = self.untouched()
        process.communicate()  # until mongorestore has ended too
        self.assertEqual(untouched, self.untouched(), "the lock was free, and mongorestore went on")
        self.assertEqual([], self.left_over(self.restoring))


class TestSignals(DumpTestCase):
    def end(self, process: subprocess.Popen[str], number: signal.Signals) -> Result:
        """Ctrl-C goes to all in the terminal, the other signals to fab alone."""
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        result = self.end_of(process)
        self.assertNotEqual(0, result.code)
        return result

    def test_in_up(self) -> None:
        for number in ENDS:
            project = self.project()
            self.counting(project, "1_waits.py", until_file(project.path / "go"))
            self.counting(project, "2_last.py")
            process = project.fab_start("migrations:execute")
            self.wait_until_in("1_waits.py")
            result = self.end(process, number)
            self.assert_code(1, result)
            self.assertIn("1_waits.py failed", result.stderr)
            self.assertIn("it is not registered", result.stderr)
            self.assertIsNone(self.lock())
            self.assertEqual((["failed"], []), (self.logged(), self.registered()))
            self.assertIn("1_waits.py: failed", project.fab("migrations").stderr)
            self.assertEqual(["1_waits.py"], self.ran())
            self.client.drop_database(self.database)

    def test_in_down(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py", down="db.back.insert_one({})\n" + until_file(project.path / "go"))
        self.assert_code(0, project.fab("migrations:execute"))
        process = project.fab_start("migrations:rollback,1")
        wait_for("down()", lambda: self.db.back.count_documents({}))
        result = self.end(process, signal.SIGTERM)
        self.assertIn("it stays registered", result.stderr)
        self.assertIsNone(self.lock())
        self.assertEqual((["rollback failed"], ["1_ok.py"]), (self.logged(), self.registered()))

    def test_during_the_dump(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            project = self.project(DO_MONGO_DUMP=True)
            self.counting_ones(project, 1)
            process = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="2"))
            call = self.wait_for_call(project)
            self.assertEqual("0o600", call["config_mode"])
            self.end(process, number)
            self.assertIsNone(self.lock())
            self.assertEqual([], self.left_over(project))
            self.assertEqual(([], []), (self.ran(), self.registered()))

    def test_while_waiting(self) -> None:
        holder = self.project()
        self.counting(holder, "1_holds.py", until_file(holder.path / "go"))
        first = holder.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        for number in ENDS:
            second = holder.fab_start("migrations:execute")
            assert second.stderr is not None
            self.assertIn("Waiting for", second.stderr.readline())
            self.end(second, number)
            self.assertEqual(first.pid, self.lock()["pid"])
        holder.write("go", "")
        self.assert_code(0, self.end_of(first))
        self.assertEqual((["1_holds.py"], ["1_holds.py"]), (self.ran(), self.registered()))
        self.assertIsNone(self.lock())
