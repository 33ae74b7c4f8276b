"""One run at a time: many at once, a stopped one that wakes up, a broken network, and unlock."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import time
from typing import Any

from migopy.store.lock import TRUSTED_SECONDS, UNLOCK_LEASE_SECONDS
from tests.server import Mongod, Proxy, Server, wait_for
from tests.support import Project, Result, RunTestCase, three_members, until_file

NOTHING = "All migrations registered, nothing to execute"


class LockTestCase(RunTestCase):
    def holding(self, project: Project, name: str = "1_holds.py") -> subprocess.Popen[str]:
        """Start execute, and return when it is in a migration that waits for a file named `go`."""
        self.counting(project, name, until_file(project.path / "go"))
        process = project.fab_start("migrations:execute")
        self.wait_until_in(name)
        return process

    @staticmethod
    def let_go(project: Project) -> None:
        project.write("go", "")

    def many_at_once(self) -> None:
        for repetition in range(20 if self.IN_FULL else 1):
            project = self.project(LOCK_WAIT=300)
            names = self.counting_ones(project, 3)
            runs = [project.fab_start("migrations:execute") for _ in range(20)]
            results = [self.end_of(run, 300) for run in runs]
            self.assertEqual([0] * 20, [result.code for result in results], results)
            self.assertEqual((names, names), (self.ran(), self.registered()), repetition)
            self.assertIsNone(self.lock())
            self.assertEqual([], self.logged())
            self.client.drop_database(self.database)

    def stopped_in_up(self) -> None:
        project = self.project(LOCK_LEASE=2)
        names = self.counting_ones(project, 2)
        self.counting(project, "3_holds.py", until_file(project.path / "go"))
        self.counting(project, "4_last.py")
        first = project.fab_start("migrations:execute")
        self.wait_until_in("3_holds.py")
        os.killpg(first.pid, signal.SIGSTOP)
        second = project.fab("migrations:execute")
        self.assert_code(1, second)
        self.assertIn("3_holds.py was interrupted", second.stderr)
        self.assertEqual(["interrupted"], self.logged(name="3_holds.py"))
        self.let_go(project)
        os.killpg(first.pid, signal.SIGCONT)
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("3_holds.py was executed, but it could not be registered", result.stderr)
        self.assertIn("fab migrations:ignore,3_holds.py", result.stderr)
        self.assertEqual(names, self.registered())
        self.assertEqual([*names, "3_holds.py"], self.ran())
        self.assert_code(0, project.fab("migrations:ignore,3_holds.py", "migrations:execute", "migrations:check"))
        self.assertEqual([*names, "3_holds.py", "4_last.py"], self.ran())


class TestLock(LockTestCase):
    """On a standalone server."""

    def test_many_at_once_execute_each_migration_once(self) -> None:
        self.many_at_once()

    def test_stopped_in_up_past_the_lease_it_registers_nothing_and_ends_with_3(self) -> None:
        self.stopped_in_up()

    def test_another_run_waits_says_for_whom_and_finds_nothing_to_do(self) -> None:
        project = self.project()
        first = self.holding(project)
        second = project.fab_start("migrations:execute")
        assert second.stderr is not None
        waiting = second.stderr.readline()
        self.assertRegex(waiting, rf"Waiting for \S+@\S+ \(process {first.pid}, execute of 1_holds.py, since 2")
        self.let_go(project)
        self.assert_code(0, self.end_of(first))
        result = self.end_of(second)
        self.assert_code(0, result)
        self.assertIn(NOTHING, result.stderr)
        self.assertEqual(["1_holds.py"], self.ran())

    def test_waiting_in_vain_ends_with_3_and_names_the_holder(self) -> None:
        project = self.project()
        first = self.holding(project)
        project.write("fabfile.py", (project.path / "fabfile.py").read_text() + "\nMigrations.LOCK_WAIT = 1\n")
        for subtask in ("execute", "ignore,to=1"):
            result = project.fab(f"migrations:{subtask}")
            self.assert_code(3, result)
            self.assertRegex(
                result.stderr, rf"The lock is held by \S+@\S+ \(process {first.pid}, execute of 1_holds.py"
            )
            self.assertIn("Nothing was done after waiting 1 s", result.stderr)
            self.assertIn(f"process {first.pid} still runs on this machine, so wait until it has ended.", result.stderr)
        self.assertEqual([], self.registered())
        self.let_go(project)
        self.assert_code(0, self.end_of(first))
        self.assertEqual(["1_holds.py"], self.registered())

    def test_rollback_and_forget_wait_too(self) -> None:
        project = self.project(LOCK_WAIT=0)
        self.counting(project, "1_first.py")
        self.assert_code(0, project.fab("migrations:execute"))
        first = self.holding(project, "2_holds.py")
        for subtask in ("rollback,1", "forget,1"):
            self.assert_code(3, project.fab(f"migrations:{subtask}"))
        self.assertEqual(["1_first.py"], self.registered())
        self.let_go(project)
        self.assert_code(0, self.end_of(first))

    def test_a_migration_longer_than_the_lease_keeps_the_lock(self) -> None:
        project = self.project(LOCK_LEASE=2)
        first = self.holding(project)
        second = project.fab_start("migrations:execute")
        since = self.lock()["expires_at"]
        self.wait_for_lock(expires_at={"$gt": since}, **{"$expr": {"$gt": [{"$subtract": ["$$NOW", "$since"]}, 5000]}})
        self.assertEqual(["1_holds.py"], self.ran())
        self.let_go(project)
        self.assert_code(0, self.end_of(first))
        self.assert_code(0, self.end_of(second))
        self.assertEqual(["1_holds.py"], self.ran())

    def test_with_nothing_to_do_no_lock_is_taken_and_reading_writes_nothing(self) -> None:
        project = self.project()
        names = self.counting_ones(project, 1)
        reading = [f"migrations{subtask}" for subtask in ("", ":plan", ":history", ":unlock", ":help")]
        self.assert_code(0, project.fab(*reading))
        self.assert_code(4, project.fab("migrations:check"))
        self.assertEqual([], self.db.list_collection_names())
        self.db.migrations.insert_one({"name": names[0]})
        self.assert_code(0, project.fab("migrations:execute", "migrations:ignore"))
        self.assertEqual(["migrations"], self.db.list_collection_names())

    # A run that is stopped, and wakes up

    def test_stopped_past_the_lease_it_does_not_free_the_lock_of_another(self) -> None:
        project = self.project(LOCK_LEASE=2)
        first = self.holding(project)
        os.killpg(first.pid, signal.SIGSTOP)
        self.wait_for_dead_lock()
        other = self.project(LOCK_LEASE=2)
        self.counting(other, "1_holds.py", until_file(other.path / "go"))
        second = other.fab_start("migrations:execute,1_holds.py")
        self.wait_until_in("1_holds.py", 2)
        token = self.lock()["token"]
        self.let_go(project)
        os.killpg(first.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(first))
        self.assertEqual(token, self.lock()["token"])
        self.assertEqual([], self.registered())
        self.let_go(other)
        self.assert_code(0, self.end_of(second))
        self.assertEqual(["1_holds.py"], self.registered())
        self.assertIsNone(self.lock())

    def test_stopped_between_two_migrations_it_starts_no_further_one(self) -> None:
        project = self.project(LOCK_LEASE=2)
        text = (project.path / "fabfile.py").read_text()
        waiting = (
            f"    import time\n    while not os.path.exists({str(project.path / 'go')!r}):\n        time.sleep(0.02)"
        )
        project.write(
            "fabfile.py",
            f"{text}\n\nimport os\n\n\ndef after_each(self, name):\n    self.db.after.insert_one({{}})\n{waiting}\n\n\n"
            "Migrations.after_each = after_each\n",
        )
        names = self.counting_ones(project, 2)
        first = project.fab_start("migrations:execute")
        self.wait_until_in(names[0])
        while not self.db.after.count_documents({}):
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGSTOP)
        self.wait_for_dead_lock()
        self.let_go(project)
        second = project.fab("migrations:execute")
        self.assert_code(1, second)  # nobody has written down whether the next one had begun
        self.assertIn("2_counts.py was interrupted", second.stderr)
        self.assert_code(0, project.fab("migrations:execute,2"))
        os.killpg(first.pid, signal.SIGCONT)
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("lock was", result.stderr)
        self.assertEqual((names, names), (self.ran(), self.registered()))

    # Unlock

    def test_unlock_of_a_free_lock(self) -> None:
        project = self.project()
        self.counting_ones(project, 1)
        result = project.fab("migrations:unlock,force=yes")
        self.assert_code(0, result)
        self.assertIn("Nobody holds the lock.", result.stderr)
        self.assertEqual([], self.logged())

    def test_unlock_without_a_terminal_needs_force(self) -> None:
        project = self.project()
        first = self.holding(project)
        result = project.fab("migrations:unlock", input="yes\n")
        self.assert_code(1, result)
        self.assertRegex(result.stderr, rf"The lock is held by \S+@\S+ \(process {first.pid}, execute of 1_holds.py")
        self.assertIn("force=yes", result.stderr)
        self.assertEqual(first.pid, self.lock()["pid"])
        self.assertEqual([], self.logged())

    def test_unlock_asks_in_a_terminal(self) -> None:
        project = self.project()
        first = self.holding(project)
        for answer in ("no\n", "\n"):
            result = project.fab_in_terminal("migrations:unlock", input=answer)
            self.assert_code(1, result)
            self.assertIn("Nothing was done.", result.output)
            self.assertEqual(first.pid, self.lock()["pid"])
        result = project.fab_in_terminal("migrations:unlock", input="yes\n")
        self.assert_code(0, result)
        self.assertRegex(result.output, r"The lock is held by \S+@\S+ \(process")
        self.assertIn("Free it?", result.output)
        self.assertIn("The lock is free.", result.output)
        self.assertIn("unlocked", self.logged())

    def test_a_run_that_was_unlocked_registers_nothing_more(self) -> None:
        project = self.project()
        first = self.holding(project)
        self.counting(project, "2_later.py")
        self.assert_code(0, project.fab("migrations:unlock,force=yes"))
        self.assertIsNone(self.lock())
        time.sleep(2)  # two renewals
        self.let_go(project)
        self.assert_code(3, self.end_of(first))
        self.assertEqual([], self.registered())
        self.assertEqual(["1_holds.py"], self.ran())

    def test_what_was_in_the_middle_when_it_was_unlocked_counts_as_interrupted(self) -> None:
        project = self.project()
        first = self.holding(project)
        self.assert_code(0, project.fab("migrations:unlock,force=yes"))
        self.assertIn("interrupted", self.logged(name="1_holds.py"))
        self.assertIn("1_holds.py was interrupted", project.fab("migrations").stderr)
        second = project.fab_start("migrations:execute")
        with contextlib.suppress(subprocess.TimeoutExpired):  # it runs for ever if it executes the migration
            second.wait(10)
        self.assertEqual(["1_holds.py"], self.ran(), "executed twice unnoticed")
        result = self.end_of(second)
        self.assert_code(1, result)
        self.assertIn("1_holds.py was interrupted", result.stderr)
        self.let_go(project)
        self.assert_code(3, self.end_of(first))
        shown = project.fab("--hide=status", "migrations:history,1").stdout.partition("\nEVENT")[2]
        self.assertEqual(["unlocked"], [line.split()[0] for line in shown.splitlines()[1:]], shown)

    def test_a_dead_run_that_was_unlocked_counts_as_interrupted(self) -> None:
        project = self.project(LOCK_LEASE=60)
        first = self.holding(project)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        self.assert_code(0, project.fab("migrations:unlock,force=yes"))
        self.let_go(project)
        result = project.fab("migrations:execute")
        self.assertEqual(["1_holds.py"], self.ran(), "executed twice unnoticed")
        self.assert_code(1, result)
        self.assertIn("1_holds.py was interrupted", result.stderr)

    def test_a_run_whose_lock_was_freed_registers_nothing_whatever_its_lease(self) -> None:
        for lease in (2, 60):  # of 60 s nothing is renewed before up() ends
            project = self.project(LOCK_LEASE=lease)
            first = self.holding(project)
            self.assert_code(0, project.fab("migrations:unlock,force=yes"))
            self.let_go(project)
            result = self.end_of(first)
            self.assert_code(3, result)
            self.assertIn("was executed, but it could not be registered. The lock was taken away", result.stderr)
            self.assertEqual([], self.registered())
            self.assertIn("1_holds.py was interrupted", project.fab("migrations").stderr)
            self.client.drop_database(self.database)

    def test_when_unlock_has_ended_the_run_registers_no_more_however_short_its_migrations_are(self) -> None:
        project = self.project(LOCK_LEASE=60)
        names = self.counting_ones(project, 300, "import time; time.sleep(0.02)")
        first = project.fab_start("migrations:execute")
        self.wait_until_in(names[2])
        unlock = project.fab_start("migrations:unlock,force=yes")
        # Nobody else gets it yet: it is no longer held for the 60 s of the run, and not free.
        left = {"$subtract": ["$expires_at", "$$NOW"]}
        self.wait_for_lock(**{"$expr": {"$and": [{"$gt": [left, 0]}, {"$lte": [left, UNLOCK_LEASE_SECONDS * 1000]}]}})
        self.assert_code(0, self.end_of(unlock))
        registered = self.registered()
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("The lock was taken away", result.stderr)
        self.assertEqual(registered, self.registered())
        self.assertLess(len(registered), len(names))
        running = names[len(registered)]
        self.assertLessEqual(set(self.ran()) - set(registered), {running})
        self.assertEqual([running], self.db.migrations_log.distinct("name", {"event": "interrupted"}))

    def test_two_owners_that_both_execute_say_so_and_leave_no_lock(self) -> None:
        project = self.project(LOCK_LEASE=60)
        first = self.holding(project)
        self.assert_code(0, project.fab("migrations:unlock,force=yes"))
        second = project.fab_start("migrations:execute,1")
        self.wait_until_in("1_holds.py", times=2)
        self.db.migrations.insert_one({"_id": "1_holds.py", "name": "1_holds.py"})  # by the first, a moment too late
        self.let_go(project)
        self.assert_code(3, self.end_of(first))
        result = self.end_of(second)
        self.assert_code(3, result)
        self.assertIn("1_holds.py ran twice: another run registered it", result.stderr)
        self.assertIsNone(self.lock())
        self.assertIn("failed", self.logged(name="1_holds.py"))

    def test_that_both_have_executed_is_said_also_where_the_log_refuses_it(self) -> None:
        project = self.project()
        first = self.holding(project)
        self.db.migrations.insert_one({"_id": "1_holds.py", "name": "1_holds.py"})
        self.db.create_collection("migrations_log", validator={"ticket": {"$exists": True}})
        self.let_go(project)
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("1_holds.py ran twice: another run registered it", result.stderr)
        self.assertIn("The log could not be written either: ", result.stderr)
        self.assertIsNone(self.lock())

    def test_a_lock_that_is_taken_at_the_last_moment_is_noticed_before_registering(self) -> None:
        project = self.project(LOCK_LEASE=60)
        first = self.holding(project)
        self.db.migrations_lock.update_one({}, {"$set": {"token": "somebody else"}})
        time.sleep(TRUSTED_SECONDS)  # no sooner is the server asked again; unlock waits longer
        self.let_go(project)
        self.assert_code(3, self.end_of(first))
        self.assertEqual((["1_holds.py"], []), (self.ran(), self.registered()))

    def test_unlock_answered_late_notes_the_migration_that_runs_then(self) -> None:
        project = self.project()
        self.counting(project, "1_holds.py", until_file(project.path / "go_1"))
        self.counting(project, "2_holds.py", until_file(project.path / "go"))
        first = project.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        with Terminal(project, "migrations:unlock") as unlock:
            unlock.read_until("Free it?")
            project.write("go_1", "")
            self.wait_until_in("2_holds.py")
            unlock.type("yes\n")
            unlock.read_until("The lock is free.")
        self.assertEqual([], self.logged(name="1_holds.py", event="interrupted"))
        self.assertEqual(["interrupted"], self.logged(name="2_holds.py", event="interrupted"))
        os.killpg(first.pid, signal.SIGKILL)
        self.let_go(project)
        result = project.fab("migrations:execute")
        self.assertEqual(["1_holds.py", "2_holds.py"], self.ran(), "executed twice unnoticed")
        self.assert_code(1, result)


class TestLockOnReplicaSet(LockTestCase):
    """On a replica set of three members."""

    def test_many_at_once_execute_each_migration_once(self) -> None:
        self.many_at_once()

    def test_stopped_in_up_past_the_lease_it_registers_nothing_and_ends_with_3(self) -> None:
        self.stopped_in_up()

    def find_server(self) -> Server | Mongod:
        return Server(three_members().uri)


class TestLockBehindABrokenNetwork(RunTestCase):
    """The renewal cannot reach the server: the deadline stands, whatever the network says."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = Proxy(self.server.host, self.server.port)
        self.proxy.resume()
        self.addCleanup(self.proxy.__exit__)

    def behind_proxy(self, **attributes: Any) -> Project:
        return self.project(MONGO_URI=f"mongodb://{self.proxy.host}:{self.proxy.port}/", LOCK_LEASE=2, **attributes)

    def lost_in_up(self, project: Project) -> Result:
        first = project.fab_start("migrations:execute")
        wait_for("up() that waits", (project.path / "waits").exists)  # with the answer to its insert
        self.proxy.stop_forwarding()
        self.wait_for_dead_lock()
        other = self.project(LOCK_LEASE=2)
        self.counting(other, "1_holds.py")
        second = other.fab("migrations:execute")
        self.assert_code(1, second)
        self.assertIn("1_holds.py was interrupted", second.stderr)
        project.write("go", "")
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("1_holds.py was executed, but it could not be registered", result.stderr)
        self.proxy.resume()
        self.assertEqual(["1_holds.py"], self.ran())
        self.assertEqual([], self.registered())
        return result

    def test_a_network_that_stands_still(self) -> None:
        project = self.behind_proxy()
        waits = f"open({str(project.path / 'waits')!r}, 'w').close()\n"
        self.counting(project, "1_holds.py", waits + until_file(project.path / "go"))
        self.counting(project, "2_last.py")
        self.lost_in_up(project)

    def test_a_short_break_is_no_loss(self) -> None:
        project = self.project(MONGO_URI=f"mongodb://{self.proxy.host}:{self.proxy.port}/", LOCK_LEASE=30)
        # A read is tried again, unlike a write to a standalone: the break is noticed before anything is written.
        self.counting(project, "1_holds.py", f"{until_file(project.path / 'go')}\ndb.ran.find_one()")
        first = project.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        self.proxy.cut()
        self.proxy.resume()
        project.write("go", "")
        self.assert_code(0, self.end_of(first))
        self.assertEqual(["1_holds.py"], self.registered())

    def test_unlocked_while_the_network_was_gone_it_registers_nothing_when_that_is_back(self) -> None:
        uri = f"mongodb://{self.proxy.host}:{self.proxy.port}/"
        project = self.project(MONGO_URI=uri, LOCK_LEASE=60, MONGO_CLIENT_OPTIONS={"serverSelectionTimeoutMS": 500})
        waits = f"open({str(project.path / 'waits')!r}, 'w').close()\n"
        self.counting(project, "1_holds.py", waits + until_file(project.path / "go"))
        first = project.fab_start("migrations:execute")
        wait_for("up() that waits", (project.path / "waits").exists)
        self.proxy.cut()
        project.write("go", "")
        self.assert_code(0, self.project().fab("migrations:unlock,force=yes"))
        self.proxy.resume()
        result = self.end_of(first)
        self.assert_code(3, result)
        self.assertIn("1_holds.py was executed, but it could not be registered. The lock was taken away", result.stderr)
        self.assertEqual(([], None), (self.registered(), self.lock()))

    def test_the_server_goes_away_while_waiting(self) -> None:
        project = self.behind_proxy(MONGO_CLIENT_OPTIONS={"serverSelectionTimeoutMS": 1000})
        other = self.project()
        self.counting(project, "1_holds.py")
        self.counting(other, "1_holds.py", until_file(other.path / "go"))
        first = other.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        second = project.fab_start("migrations:execute")
        assert second.stderr is not None
        self.assertIn("Waiting for", second.stderr.readline())
        self.proxy.cut()
        result = self.end_of(second)
        self.assert_code(1, result)
        self.assertIn("No MongoDB answers", result.stderr)
        other.write("go", "")
        self.assert_code(0, self.end_of(first))
        self.assertEqual(["1_holds.py"], self.ran())


class Terminal:
    """A fab in a terminal that a person types into while it runs."""

    def __init__(self, project: Project, *args: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = project.fab_start(*args, env={"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.output = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def read_until(self, text: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.output:
            ready = select.select([self._ours], [], [], max(0, deadline - time.monotonic()))[0]
            if not ready:
                raise AssertionError(f"No {text!r} in the terminal:\n{self.output}")
            with contextlib.suppress(OSError):
                data = os.read(self._ours, 65536)
                self.output += data.decode()
                continue
            raise AssertionError(f"It ended without {text!r}:\n{self.output}")
