"""kill -9 while documents are set aside, and while they are tried again: in the end each is there once."""

from __future__ import annotations

import random
import secrets
from typing import Any

from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import Project, RunTestCase
from tests.test_integrations.batches.test_workers import HEAD

COUNT, SIZE = 2_000, 100

BAD = [*range(11, COUNT, 97)]

UPDATES = {
    "function": "lambda user: {'$inc': {'n': int(user['text'])}}",
    "pipeline": "[{'$set': {'n': {'$add': ['$n', {'$toInt': '$text'}]}}}]",
}


class TestKill(RunTestCase):
    """On a standalone server: the batch under way may be done twice."""

    def fill(self) -> None:
        self.client.drop_database(self.database)
        self.db.users.insert_many([{"_id": n, "n": 0, "text": "x" if n in BAD else "1"} for n in range(COUNT)])

    def n(self) -> dict[int, int]:
        """How many users were changed how often."""
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def rejected(self) -> list[Any]:
        return sorted(found["_id"]["id"] for found in self.db.migrations_rejected.find())

    def killed(self, project: Project, chance: random.Random, wanted: dict[str, Any]) -> None:
        """Start a run and kill it at a moment after this is true of its checkpoint."""
        process = project.fab_start("migrations:execute")
        wait_for(f"{wanted}", lambda: process.poll() is not None or self.db.migrations_batches.find_one(wanted))
        self.kill_after(chance.uniform(0, 0.05), process)

    def go_on(self, project: Project, code: int) -> None:
        """Do as the messages say, until all documents were tried."""
        result = project.fab("migrations:execute", timeout=120)
        if "was interrupted" in result.stderr:
            result = project.fab("migrations:execute,1", timeout=120)
        self.assert_code(code, result)

    def kill_both_times(self, way: str, workers: int = 1) -> None:
        for _ in range(30 if self.IN_FULL else 1):
            seed = secrets.randbelow(10**9)
            with self.subTest(way, seed=seed):
                chance = random.Random(seed)
                self.fill()
                project = self.project(LOCK_LEASE=1, BATCH_WORKERS=workers)
                head = HEAD.format(slowly="") if workers > 1 else ""
                update = f"{head}batches.update(db.users, {{}}, {UPDATES[way]}, size={SIZE}, errors=50)"
                project.migration("1_counts.py", update, arguments="db, batches")
                # Several workers have a checkpoint for each part.
                most, most_rejected = (COUNT, len(BAD)) if workers == 1 else (COUNT // 8, 2)
                self.killed(project, chance, {"done": {"$gte": chance.randrange(0, most, SIZE)}})
                self.go_on(project, 1)
                print(f"{self.id()}, {way}: seed {seed}, {self.n()}")
                self.assertEqual(BAD, self.rejected())
                self.assertEqual(([], len(BAD)), (self.registered(), self.n()[0]))
                self.db.users.update_many({}, {"$set": {"text": "1"}})
                self.killed(project, chance, {"rejected": {"$lt": most_rejected + chance.randrange(2)}})
                self.go_on(project, 0)
                self.assertEqual(([], ["1_counts.py"]), (self.rejected(), self.registered()))
                self.assert_changed(workers)

    def assert_changed(self, workers: int) -> None:
        self.assertEqual(COUNT, self.n().get(1, 0) + self.n().get(2, 0))
        self.assertLessEqual(self.n().get(2, 0), workers * SIZE + len(BAD))

    def test_a_function(self) -> None:
        self.kill_both_times("function")

    def test_a_pipeline(self) -> None:
        self.kill_both_times("pipeline")

    def test_several_workers(self) -> None:
        for way in UPDATES if self.IN_FULL else [random.choice([*UPDATES])]:
            self.kill_both_times(way, workers=3)


class TestKillInSet(TestKill):
    """On a replica set each document is changed once."""

    def find_server(self) -> Server | Mongod:
        return Server(shared_replica_set().uri)

    def assert_changed(self, workers: int) -> None:
        self.assertEqual({1: COUNT}, self.n())
