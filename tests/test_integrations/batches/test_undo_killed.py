"""kill -9 while values are kept, and while they are put back: in the end every bit is as it was."""

from __future__ import annotations

import random
import secrets
import threading
import time
from typing import Any, Callable

from pymongo import MongoClient

from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import FailingReplicaSetTestCase, Project, RunTestCase
from tests.test_integrations.batches.test_workers import HEAD

COUNT, SIZE = 2_000, 100

WAYS = {
    "operators": f"batches.update(db.users, {{}}, {{'$inc': {{'n': 1}}}}, size={SIZE}, keep=['n'])",
    "pipeline": f"batches.update(db.users, {{}}, [{{'$set': {{'n': {{'$add': ['$n', 1]}}}}}}], size={SIZE}, keep=True)",
    "function": (
        f"batches.update(db.users, {{}}, lambda user: {{'$set': {{'n': user['n'] + 1}}}}, size={SIZE}, keep=['n'])"
    ),
}


class UndoKilledTestCase(RunTestCase):
    def fill(self) -> bytes:
        """The documents as they are at the beginning."""
        self.client.drop_database(self.database)
        self.db.users.insert_many([{"_id": n, "n": 0, "text": f"text {n}"} for n in range(COUNT)])
        return self.raw()

    def raw(self) -> bytes:
        found: Any = self.db.users.find_raw_batches({}, sort=[("_id", 1)])
        return b"".join(found)

    def n(self) -> dict[int, int]:
        """How many users were changed how often."""
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def team_with(self, up: str, **attributes: Any) -> Project:
        project = self.project(**{"LOCK_LEASE": 1, **attributes})
        project.migration("1_counts.py", up, None, arguments="db, batches")
        return project

    def killed(self, project: Project, chance: random.Random, *words: str, most: int = COUNT) -> None:
        """Start a fab and kill it somewhere in the middle, when at most so many documents are done."""
        done = chance.randrange(0, most, SIZE)
        process = project.fab_start(*words)
        wait_for(
            f"{done} done",
            lambda: process.poll() is not None or self.db.migrations_batches.find_one({"done": {"$gte": done}}),
        )
        self.kill_after(chance.uniform(0, 0.05), process)

    def execute(self, project: Project) -> None:
        """Do as the messages say, until it is registered."""
        result = project.fab("migrations:execute", timeout=120)
        if result.code:
            self.assertIn("1_counts.py was interrupted", result.stderr)
            self.assert_code(0, project.fab("migrations:execute,1", timeout=120))
        self.assertEqual(["1_counts.py"], self.registered())

    def roll_back(self, project: Project) -> None:
        if self.registered():
            self.assert_code(0, project.fab("migrations:rollback,1", timeout=120))
        self.assertEqual([], self.registered())
        self.assertEqual(0, self.db.migrations_kept.count_documents({"_id.part": {"$exists": True}}))


class TestKill(UndoKilledTestCase):
    """On a standalone server, where the batch under way may be done twice, and is put back all the same."""

    def assert_changed(self) -> None:
        self.assertEqual(COUNT, self.n().get(1, 0) + self.n().get(2, 0))

    def kill_both_ways(self, way: str, workers: int = 1) -> None:
        for _ in range(30 if self.IN_FULL else 1):
            seed = secrets.randbelow(10**9)
            with self.subTest(way, seed=seed):
                chance = random.Random(seed)
                before = self.fill()
                head = HEAD.format(slowly="") if workers > 1 else ""
                project = self.team_with(head + WAYS[way], BATCH_WORKERS=workers)
                # Several workers have a checkpoint for each part.
                self.killed(project, chance, "migrations:execute", most=COUNT if workers == 1 else COUNT // 8)
                self.execute(project)
                self.assert_changed()
                forth = self.n()
                self.killed(project, chance, "migrations:rollback,1")
                print(f"{self.id()}, {way}: seed {seed}, forth {forth}, the second kill left {self.n()}")
                self.roll_back(project)
                self.assertTrue(before == self.raw(), self.n())

    def test_operators(self) -> None:
        self.kill_both_ways("operators")

    def test_a_pipeline_with_whole_documents(self) -> None:
        self.kill_both_ways("pipeline")

    def test_a_function(self) -> None:
        self.kill_both_ways("function")

    def test_several_workers(self) -> None:
        for way in WAYS if self.IN_FULL else [random.choice([*WAYS])]:
            self.kill_both_ways(way, workers=3)

    def test_deletes(self) -> None:
        for _ in range(30 if self.IN_FULL else 1):
            seed = secrets.randbelow(10**9)
            with self.subTest(seed=seed):
                chance = random.Random(seed)
                before = self.fill()
                project = self.team_with(f"batches.delete(db.users, {{}}, size={SIZE}, keep=True)")
                self.killed(project, chance, "migrations:execute")
                self.execute(project)
                self.assertEqual({}, self.n())
                self.killed(project, chance, "migrations:rollback,1")
                print(f"{self.id()}: seed {seed}, the second kill left {self.n()}")
                self.roll_back(project)
                self.assertTrue(before == self.raw(), self.n())


class TestKillInSet(TestKill):
    """On a replica set each document is changed once."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def assert_changed(self) -> None:
        self.assertEqual({1: COUNT}, self.n())


class TestBesideAnApplication(UndoKilledTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_nothing_that_an_application_writes_is_lost(self) -> None:
        """It adds to one field of documents at random, and changes the kept field of a few."""
        self.fill()
        project = self.team_with(WAYS["operators"])
        added: list[int] = [0] * COUNT
        replaced: set[int] = set()
        stop = threading.Event()

        def write() -> None:
            client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri)
            with client:
                users = client[self.database].users
                while not stop.is_set():
                    id = random.randrange(COUNT)
                    users.update_one({"_id": id}, {"$inc": {"sold": 1}})
                    added[id] += 1
                    if id % 40 == 0:
                        users.update_one({"_id": id}, {"$set": {"n": 100}})
                        replaced.add(id)
                    time.sleep(0.001)

        application = threading.Thread(target=write)
        application.start()
        try:
            self.execute(project)
            self.assert_code(0, project.fab("migrations:rollback,1", timeout=120))
        finally:
            stop.set()
            application.join()
        for user in self.db.users.find():
            self.assertEqual(added[user["_id"]], user.get("sold", 0))
            # 101 was changed after the application, and not put back because it was changed again.
            self.assertIn(user["n"], (0, 100, 101) if user["_id"] in replaced else (0,))


class TestPrimary(UndoKilledTestCase, FailingReplicaSetTestCase):
    def through(self, break_it: Callable[[], Any]) -> None:
        before = self.fill()
        project = self.team_with(WAYS["operators"], LOCK_LEASE=30)
        self.break_in_the_middle(break_it, project, "migrations:execute")
        self.execute(project)
        self.assertEqual({1: COUNT}, self.n())
        self.break_in_the_middle(break_it, project, "migrations:rollback,1")
        self.roll_back(project)
        self.assertTrue(before == self.raw())

    def break_in_the_middle(self, break_it: Callable[[], Any], project: Project, *words: str) -> None:
        process = project.fab_start(*words)
        wait_for(
            "500 done",
            lambda: process.poll() is not None or self.db.migrations_batches.find_one({"done": {"$gte": 500}}),
        )
        break_it()
        print(f"{self.id()}, {words}: exit code {self.end_of(process).code}")
        self.make_whole()

    def test_the_primary_is_killed(self) -> None:
        self.through(self.replica_set.kill_primary)
