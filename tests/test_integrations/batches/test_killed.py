"""What dies, stops or loses its server in the middle of batches, and what it leaves, counted document by document."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import time
from typing import Any, Callable

from tests.server import Mongod, Proxy, Server, shared_replica_set, wait_for
from tests.support import FailingReplicaSetTestCase, Project, Result, RunTestCase

COUNT, SIZE = 3_000, 100

WAYS = {
    "operators": f"batches.update(db.users, {{}}, {{'$inc': {{'n': 1}}}}, size={SIZE})",
    "function": f"batches.update(db.users, {{}}, lambda user: {{'$set': {{'n': user['n'] + 1}}}}, size={SIZE})",
    "loop": (
        "from pymongo import UpdateOne\n"
        f"for users in batches(db.users, size={SIZE}):\n"
        "    users.write(db.users, [UpdateOne({'_id': user['_id']}, {'$inc': {'n': 1}}) for user in users])"
    ),
}

SLOWLY = (
    f"for users in batches(db.users, size={SIZE}):\n"
    "    __import__('time').sleep(0.05)\n"
    "    users.write(db.users, [__import__('pymongo').UpdateOne({'_id': user['_id']}, {'$inc': {'n': 1}})"
    " for user in users])"
)


class KilledTestCase(RunTestCase):
    def fill(self) -> None:
        self.client.drop_database(self.database)
        self.db.users.insert_many([{"_id": n, "n": 0} for n in range(COUNT)])

    def team_with(self, up: str, **attributes: Any) -> Project:
        project = self.project(**{"LOCK_LEASE": 1, **attributes})
        project.migration("1_counts.py", up, arguments="db, batches")
        return project

    def start(self, project: Project, done: int, *words: str) -> subprocess.Popen[str]:
        """Start a fab and return when so many documents are done, or all."""
        process = project.fab_start(*(words or ["migrations:execute"]))
        wait_for(
            f"{done} done",
            lambda: process.poll() is not None or self.db.migrations_batches.find_one({"done": {"$gte": done}}),
        )
        return process

    def n(self) -> dict[int, int]:
        """How many users were changed how often."""
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def go_on(self, project: Project) -> Result:
        """Do as the messages say, until it is registered."""
        result = project.fab("migrations:execute", timeout=120)
        if result.code:
            self.assertIn("1_counts.py was interrupted", result.stderr)
            self.assertIn(f" of {COUNT:,} documents of users are done, in whole batches.", result.stderr)
            result = project.fab("migrations:execute,1", timeout=120)
        self.assert_code(0, result)
        self.assertEqual(["1_counts.py"], self.registered())
        if "Executing migration" in result.stderr:  # killed between registering and deleting what is noted, that stays
            self.assertEqual(0, self.db.migrations_batches.count_documents({}))
        return result

    def assert_once(self) -> None:
        self.assertEqual({1: COUNT}, self.n())


class TestKill(KilledTestCase):
    """kill -9 on a standalone server: the batch under way may be done twice."""

    def kill_at_random(self, way: str) -> None:
        for _ in range(30 if self.IN_FULL else 1):
            seed = secrets.randbelow(10**9)
            with self.subTest(way, seed=seed):
                chance = random.Random(seed)
                self.fill()
                project = self.team_with(WAYS[way])
                process = self.start(project, chance.randrange(0, COUNT, SIZE))
                self.kill_after(chance.uniform(0, 0.05), process)
                left = self.n()
                self.go_on(project)
                print(f"{self.id()}, {way}: seed {seed}, the kill left {left}, in the end {self.n()}")
                self.assert_end()

    def assert_end(self) -> None:
        found = self.n()
        self.assertLessEqual(found.get(2, 0), SIZE)
        self.assertEqual(COUNT, found.get(1, 0) + found.get(2, 0))

    def test_operators(self) -> None:
        self.kill_at_random("operators")

    def test_a_function(self) -> None:
        self.kill_at_random("function")

    def test_a_loop(self) -> None:
        self.kill_at_random("loop")


class TestKillInSet(TestKill):
    """On a replica set each document is changed once, whatever happens."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def assert_end(self) -> None:
        self.assert_once()


class TestSignals(KilledTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_ctrl_c_and_sigterm_end_it_between_two_batches_and_execute_goes_on(self) -> None:
        for sent in (signal.SIGINT, signal.SIGTERM):
            self.fill()
            project = self.team_with(SLOWLY, LOCK_LEASE=60)
            process = self.start(project, 500)
            os.killpg(process.pid, sent)
            result = self.end_of(process)
            self.assertNotEqual(0, result.code)
            self.assertRegex(result.stderr, r"1_counts.py: [\d,]+ of 3,000 documents of users are done\n")
            self.assertEqual((["stopped"], None), (self.logged(), self.lock()))
            self.assertLess(self.n()[1], COUNT)
            again = project.fab("migrations:execute")
            self.assert_code(0, again)
            self.assertRegex(again.stderr, "of 3,000 documents of users are done, continuing from there\n")
            self.assert_once()

    def test_stopped_past_the_lease_it_finds_another_run_at_work(self) -> None:
        self.fill()
        project = self.team_with(SLOWLY, LOCK_LEASE=1)
        process = self.start(project, 500)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            self.wait_for_dead_lock()
            self.go_on(project)
        finally:
            os.killpg(process.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(process))
        self.assert_once()

    def test_stopped_inside_a_transaction_it_holds_up_nobody(self) -> None:
        self.fill()
        up = (
            "def once(user):\n    if user['_id'] == 550 and not os.path.exists('go'):\n"
            "        open('go', 'w').close()\n        os.kill(os.getpid(), signal.SIGSTOP)\n"
            "    return {'$inc': {'n': 1}}\n\n"
            "import os, signal\n"
            f"batches.update(db.users, {{}}, {{'$inc': {{'m': 1}}}}, size={COUNT})\n"
            f"batches.update(db.users, {{}}, once, size={SIZE})"
        )
        project = self.team_with(up, LOCK_LEASE=1)
        process = project.fab_start("migrations:execute")
        wait_for("go", (project.path / "go").exists)
        self.wait_for_dead_lock()
        started = time.monotonic()
        self.go_on(project)
        self.assertLess(time.monotonic() - started, 30, "waited for the transaction of a stopped process")
        os.killpg(process.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(process))
        self.assert_once()

    def test_a_network_that_stalls_past_the_lease(self) -> None:
        self.fill()
        with Proxy(self.server.host, self.server.port) as proxy:
            uri = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true"
            process = self.start(self.team_with(SLOWLY, LOCK_LEASE=1, MONGO_URI=uri), 500)
            proxy.stop_forwarding()
            self.wait_for_dead_lock()
            self.go_on(self.team_with(SLOWLY, LOCK_LEASE=1))
            proxy.resume()
            self.assert_code(3, self.end_of(process))
        self.assert_once()


class BrokenReplicaSetTestCase(KilledTestCase, FailingReplicaSetTestCase):
    def execute_through(self, way: str, break_it: Callable[[], Any], done: int, **attributes: Any) -> None:
        """Execute while the replica set is broken, when so many documents are done: each is changed once."""
        self.fill()
        project = self.team_with(way, LOCK_LEASE=30, **attributes)
        process = self.start(project, done)
        break_it()
        result = self.end_of(process)
        print(f"{self.id()}: exit code {result.code}")
        if result.code:
            self.go_on(project)
        self.make_whole()
        self.assert_once()
        self.assertEqual(["1_counts.py"], self.registered())


class TestReplicaSet(BrokenReplicaSetTestCase):
    def through(self, break_it: Callable[[], Any]) -> None:
        for _ in range(5 if self.IN_FULL else 1):
            for way in (*WAYS.values(), SLOWLY) if self.IN_FULL else (SLOWLY,):
                self.execute_through(way, break_it, 500)

    def test_the_primary_steps_down(self) -> None:
        self.through(self.step_down)

    def test_the_primary_is_killed(self) -> None:
        self.through(self.replica_set.kill_primary)

    def stands_still(self) -> bool:
        done = self.n()
        time.sleep(1.5)
        return done == self.n()

    def test_a_member_that_is_behind_is_waited_for(self) -> None:
        self.fill()
        self.let_time_for_heartbeats(30_000)
        self.addCleanup(self.let_time_for_heartbeats, 1500)
        project = self.team_with(SLOWLY.replace("0.05", "0.2"), LOCK_LEASE=30, BATCH_MAX_LAG=1)
        process = self.start(project, 500)
        primary = self.replica_set.primary()
        member = next(m for m in self.replica_set.members if m is not primary)
        assert member.process is not None
        member.process.send_signal(signal.SIGSTOP)
        try:
            wait_for("a run that waits", self.stands_still)
            self.assertLess(self.n().get(1, 0), COUNT)
            status = project.fab("--hide=status", "migrations", "migrations:,json=yes")
            self.assertRegex(
                status.stderr,
                rf"(?m)^1_counts.py: [\d,]+ of {COUNT:,} documents; waiting for \S+:{member.port},"
                r" which is \d+ s behind$",
            )
            lock = json.loads(status.stdout)["lock"]
            self.assertIn(f":{member.port}, which is ", lock["doing"])
            self.assertIsNone(lock["progress"]["seconds_left"])
        finally:
            member.process.send_signal(signal.SIGCONT)
        result = self.end_of(process)
        self.assertRegex(result.stderr, rf"1_counts.py: .*; waiting for \S+:{member.port}, which is \d+ s behind")
        self.assert_code(0, result)
        self.assert_once()
