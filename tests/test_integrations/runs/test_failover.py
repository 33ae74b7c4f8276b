"""A replica set of three members whose primary goes away during a run of 50 migrations."""

from __future__ import annotations

import os
import signal
import time
from typing import Callable

from tests.server import wait_for
from tests.support import FailingReplicaSetTestCase, until_file


class TestFailover(FailingReplicaSetTestCase):
    def kill_primary(self) -> None:
        self.replica_set.kill_primary()

    def run_through(self, break_it: Callable[[], None]) -> None:
        """50 migrations; in the middle the primary goes away, and what fails is repaired as the messages say."""
        # Before MongoDB 5.0 that is not the default: what only the primary has when it dies would be lost.
        majority = {"w": "majority"}
        project = self.project(LOCK_LEASE=30, LOCK_WAIT=120, MONGO_CLIENT_OPTIONS=majority)
        names = self.counting_ones(project, 50, "__import__('time').sleep(0.02)")
        process = project.fab_start("migrations:execute")
        self.wait_until_in(names[10])
        break_it()
        result = self.end_of(process)
        codes = [result.code]
        reported: set[str] = set()
        for _ in range(5):
            if result.code == 0:
                break
            named = [name for name in names if f"{name} failed" in result.stderr]
            named += [name for name in names if f"{name} was interrupted" in result.stderr]
            named += [name for name in names if f"{name} was executed, but it could not" in result.stderr]
            reported |= set(named)
            for name in named:
                if f"migrations:ignore,{name}" in result.stderr and name not in self.registered():
                    way = "ignore" if name in self.ran() else "execute"
                    self.assert_code(0, project.fab(f"migrations:{way},{name}", timeout=120))
            result = project.fab("migrations:execute", timeout=120)
            codes.append(result.code)
        print(f"{self.id()}: exit codes {codes}, reported {sorted(reported)}")
        self.assert_code(0, result)
        self.assertEqual(names, self.registered())
        ran = self.ran()
        self.assertEqual(set(names), set(ran))
        self.assertEqual(set(), {name for name in names if ran.count(name) > 1} - reported, "twice unreported")
        self.assert_code(0, project.fab("migrations:check"))

    def test_the_primary_steps_down(self) -> None:
        for _ in range(5 if self.IN_FULL else 1):
            self.run_through(self.step_down)
            self.make_whole()
            self.client.drop_database(self.database)

    def test_the_primary_is_killed(self) -> None:
        for _ in range(5 if self.IN_FULL else 1):
            self.run_through(self.kill_primary)
            self.make_whole()
            self.client.drop_database(self.database)

    def test_the_primary_steps_down_between_two_migrations(self) -> None:
        project = self.project(LOCK_LEASE=60)
        text = (project.path / "fabfile.py").read_text()
        hook = (
            "import os, time\n\n\ndef after_each(self, name):\n    self.db.after.insert_one({})\n"
            f"    while not os.path.exists({str(project.path / 'go')!r}):\n        time.sleep(0.02)\n\n\n"
        )
        project.write("fabfile.py", f"{text}\n\n{hook}Migrations.after_each = after_each\n")
        names = self.counting_ones(project, 3)
        process = project.fab_start("migrations:execute")
        self.wait_until_in(names[0])
        while not self.db.after.count_documents({}):
            time.sleep(0.02)
        self.step_down()
        project.write("go", "")
        self.assert_code(0, self.end_of(process))
        self.assertEqual((names, names), (self.ran(), self.registered()))

    def test_the_primary_is_killed_while_another_run_waits(self) -> None:
        project = self.project(LOCK_LEASE=60, LOCK_WAIT=120)
        self.counting(project, "1_holds.py", until_file(project.path / "go"))
        first = project.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        second = project.fab_start("migrations:execute")
        assert second.stderr is not None
        self.assertIn("Waiting for", second.stderr.readline())
        self.kill_primary()
        self.replica_set.primary()
        self.assertEqual(first.pid, self.lock()["pid"])
        project.write("go", "")
        self.assert_code(0, self.end_of(first))
        self.assert_code(0, self.end_of(second))
        self.assertEqual((["1_holds.py"], ["1_holds.py"]), (self.ran(), self.registered()))

    def test_the_primary_steps_down_inside_a_transaction(self) -> None:
        project = self.project(LOCK_LEASE=60)
        entered = project.path / "entered"
        waiting = f"open({str(entered)!r}, 'a').close()\n" + until_file(project.path / "go")
        self.counting(project, "1_once.py", waiting, "db, session")
        process = project.fab_start("migrations:execute")
        wait_for("migration", entered.exists)
        self.step_down()
        project.write("go", "")
        self.assert_code(0, self.end_of(process))
        self.assertEqual((["1_once.py"], ["1_once.py"]), (self.ran(), self.registered()))

    def test_without_a_majority_nothing_counts_as_registered(self) -> None:
        """Both secondaries stand still, and the URI asks for one member only."""
        uri = f"{self.replica_set.uri}&w=1"
        project = self.project(MONGO_URI=uri, LOCK_LEASE=60, MONGO_CLIENT_OPTIONS={"serverSelectionTimeoutMS": 2000})
        self.counting(project, "1_waits.py", until_file(project.path / "go"))
        process = project.fab_start("migrations:execute")
        self.wait_until_in("1_waits.py")
        primary = self.replica_set.primary()
        others = [member for member in self.replica_set.members if member is not primary]
        pids = [member.process.pid for member in others if member.process is not None]
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            project.write("go", "")
            time.sleep(1)
            self.assertIsNone(process.poll(), "registered without a majority")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        result = self.end_of(process)
        if result.code:
            self.assertIn("1_waits.py was executed, but it could not be registered", result.stderr)
        else:
            self.make_whole()
            self.assertEqual(["1_waits.py"], self.registered())
        self.assertEqual(["1_waits.py"], self.ran())
