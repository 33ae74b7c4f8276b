"""Several workers that go through one collection, in parts."""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from typing import Any, Sequence
from unittest import mock

import bson
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from migopy.batches import batches as batches_room
from migopy.batches.batches import Batches
from migopy.batches.control import Control
from migopy.batches.trail import Trail
from migopy.errors import BatchFailed, DocumentsRejected, WrongState
from migopy.mongo.client import make_client
from migopy.mongo.inserts import Inserts
from migopy.store.checkpoints import Checkpoints
from migopy.store.kept import KeptStore
from migopy.store.names import Names
from migopy.store.rejected import RejectedStore
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import Project, Result, RunTestCase
from tests.test_integrations.batches.test_batches import COLLECTIONS, InBothTestCase, InSet, TestWalk
from tests.test_integrations.batches.test_killed import BrokenReplicaSetTestCase, KilledTestCase

COUNT, SIZE = 3_000, 20

HEAD = """\
import migopy.batches.batches
from unittest import mock

def once(user):
    {slowly}return {{'$inc': {{'n': 1}}}}

with mock.patch.object(migopy.batches.batches, 'MIN_DOCUMENTS_OF_PARTS', 1):
    """

OPERATORS = HEAD.format(slowly="") + f"batches.update(db.users, {{}}, {{'$inc': {{'n': 1}}}}, size={SIZE})"
FUNCTION = HEAD.format(slowly="") + f"batches.update(db.users, {{}}, once, size={SIZE})"
SLOWLY = (
    HEAD.format(slowly="if user['_id'] % 20 == 0:\n        __import__('time').sleep(0.05)\n    ")
    + f"batches.update(db.users, {{}}, once, size={SIZE})"
)

WAYS = {"operators": OPERATORS, "function": FUNCTION}


mixed: Any = TestWalk.mixed
del TestWalk  # or its tests would run here too


class WorkersTestCase(InBothTestCase):
    """Batches with checkpoints and without a run."""

    mixed = mixed

    IN_FULL = RunTestCase.IN_FULL

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.object(batches_room, "MIN_DOCUMENTS_OF_PARTS", 1)
        patch.start()
        self.addCleanup(patch.stop)
        self.batches = self.next_run(4, resumes=False)

    def next_run(
        self,
        workers: int,
        *,
        resumes: bool = True,
        checksum: str = "1",
        db: Any = None,
        direction: str = "up",
        **stores: Any,
    ) -> Batches:
        checkpoints = Checkpoints(self.db if db is None else db, Names("migrations"), address="server", by="ann@web1")
        return Batches(Trail(checkpoints, "1_counts.py", direction, checksum, resumes), workers=workers, **stores)

    @staticmethod
    def add_one(user: Any) -> Any:
        return {"$inc": {"n": 1}}

    def stop_at(
        self, users: Collection[Any], id: int, workers: int, keep: Sequence[str] | None = None, **stores: Any
    ) -> None:
        """Let a run fail at one document."""

        def change(user: Any) -> Any:
            if user["_id"] == id:
                raise ZeroDivisionError
            return {"$inc": {"n": 1}}

        change.__qualname__ = "change"
        with self.assertRaises(BatchFailed):
            self.next_run(workers, resumes=False, **stores).update(users, {"n": 0}, change, size=20, keep=keep)

    def notes(self) -> list[Any]:
        """The checkpoints of walks, without those of their parts."""
        return list(self.db.migrations_batches.find({"_id.walk": None}))

    def part_notes(self) -> list[Any]:
        return list(self.db.migrations_batches.find({"_id.walk": {"$ne": None}}))


class TestParts(WorkersTestCase):
    def test_a_walk_is_cut_once_into_parts_of_any_type(self) -> None:
        for name, options in COLLECTIONS.items():
            if name == "clustered" and not self.has("clusteredIndex"):
                continue
            with self.subTest(name):
                self.db.migrations_batches.drop()
                users = self.mixed(options)
                count = users.count_documents({})
                changed = self.next_run(4, resumes=False).update(users, {}, {"$inc": {"n": 1}}, size=7)
                self.assertEqual((count, {1: count}), (changed, self.counts()))
                self.assertEqual(count, self.batches.update(users, {"n": 1}, self.add_one, size=7))
                self.assertEqual({2: count}, self.counts())
                note = self.notes()[0]
                cuts = note["parts"]["cuts"]
                self.assertEqual((7, 4), (len(cuts), len(note["parts"]["sessions"])))
                self.assertGreater(len({type(cut) for cut in cuts}), 3)
                parts = [part for part in self.part_notes() if part["_id"]["walk"] == note["_id"]]
                self.assertEqual((8, count), (len(parts), sum(part["done"] for part in parts)))
                self.assertTrue(all(part["finished"] for part in parts))
                self.assertLess(max(part["done"] for part in parts), count / 2)

    def test_small_collections_the_default_and_the_loop_are_one_part(self) -> None:
        users = self.fill(300)
        with mock.patch.object(batches_room, "MIN_DOCUMENTS_OF_PARTS", 301):
            self.next_run(4, resumes=False).update(users, {}, {"$inc": {"n": 1}})
        self.next_run(1).update(users, {}, {"$inc": {"n": 1}})
        self.next_run(4).update(users, {}, {"$inc": {"n": 1}}, workers=1)
        for found in self.next_run(4)(users, {"a": None}):
            self.assertTrue(found)
        self.next_run(4).delete(users, {"_id": 299})
        self.assertFalse([note for note in self.notes() if "parts" in note] + self.part_notes())

    def test_they_share_a_pace_in_small_batches(self) -> None:
        users = self.fill(600)
        lock = mock.Mock(request=None, pace=None)
        before: dict[Any, int] = {}
        sizes: list[int] = []
        move = Trail.move

        def note_size(trail: Trail, checkpoint: Any, session: Any) -> None:
            key = str(checkpoint.id)
            sizes.append(checkpoint.done - before.get(key, 0))
            before[key] = checkpoint.done
            move(trail, checkpoint, session)

        began = time.monotonic()
        with mock.patch.object(Trail, "move", note_size):
            run = self.next_run(3, resumes=False, control=Control(lock, self.fail, pace=300))
            run.update(users, {}, {"$inc": {"n": 1}})
        self.assertGreater(time.monotonic() - began, 1.1)  # it may make up for half a second that it has missed
        self.assertLessEqual(max(sizes[:-1]), 20)  # the last one is the whole walk, which ends

    def test_a_function_is_called_in_the_thread_of_the_migration(self) -> None:
        users = self.fill(2_000)
        threads = set()
        inside: list[int] = []

        def change(user: Any) -> Any:
            threads.add(threading.current_thread())
            self.assertEqual([], inside)
            inside.append(user["_id"])
            inside.clear()
            return {"$inc": {"n": 1}}

        self.assertEqual(2_000, self.batches.update(users, {}, change, size=50))
        self.assertEqual({threading.current_thread()}, threads)
        self.assertEqual({1: 2_000}, self.counts())
        self.assertEqual([], [thread for thread in threading.enumerate() if thread.name == "migopy worker"])

    def test_what_a_function_raises_ends_all_and_is_told_as_ever(self) -> None:
        users = self.fill(2_000)
        calls: list[int] = []

        def change(user: Any) -> Any:
            calls.append(user["_id"])
            if user["_id"] == 1_234:
                raise TimeoutError("no answer")
            return {"$inc": {"n": 1}}

        with self.assertRaisesRegex(BatchFailed, "^users, _id 1234: TimeoutError: no answer$"):
            self.batches.update(users, {}, change, size=50)
        self.assertLess(len(calls), 2_000)
        for error in (KeyboardInterrupt, SystemExit):
            with self.assertRaises(error):
                self.next_run(3).update(users, {}, mock.Mock(side_effect=error()), size=50)

    def test_what_the_server_refuses_is_told_as_ever(self) -> None:
        users = self.fill(2_000)
        users.update_one({"_id": 1_234}, {"$set": {"n": "text"}})
        with self.assertRaisesRegex(BatchFailed, r"^users, _id 1234: .*\$add"):
            self.batches.update(users, {}, [{"$set": {"n": {"$add": ["$n", 1]}}}], size=50)
        with self.assertRaisesRegex(BatchFailed, "^MongoDB refuses the filter"):
            self.next_run(4, resumes=False).update(users, {"a": {"$foo": 1}}, {"$inc": {"n": 1}})
        with self.assertRaisesRegex(BatchFailed, "workers has to be a whole number, at least 1, not 0"):
            self.batches.update(users, {}, {"$inc": {"n": 1}}, workers=0)

    def test_a_walk_of_one_part_is_resumed_as_one(self) -> None:
        self.stop_at(self.fill(500), 333, workers=1)
        self.next_run(4).update(self.db.users, {"n": 0}, self.add_one, size=20)
        self.assertEqual(({1: 500}, []), (self.counts(), self.part_notes()))

    def test_an_older_version_cannot_continue_it(self) -> None:
        users = self.fill(500)
        self.stop_at(users, 333, workers=3)
        before = self.counts()
        (note,) = self.notes()
        asked = bson.decode(note["asked"])[""]
        with self.assertRaisesRegex(OperationFailure, "this walk has several workers"):
            users.find_one(asked)
        self.assertGreater(note["done"], 0)  # an older version takes a walk for a new one that has done nothing
        self.assertEqual(before, self.counts())

    def test_a_changed_file_without_workers_is_told_what_continues_it(self) -> None:
        users = self.fill(500)
        self.stop_at(users, 333, workers=3)
        before = self.counts()
        for call in (
            lambda run: run.delete(users, {"n": 0}),
            lambda run: list(run(users, {"n": 0})),
        ):
            with self.assertRaisesRegex(
                BatchFailed, r"^[\d,]+ of 500 documents of users are done, by an update with sev"
            ):
                call(self.next_run(1, checksum="2"))
        with self.assertRaisesRegex(WrongState, "with another filter than the file has now"):
            self.next_run(3, checksum="3").update(users, {"n": {"$lt": 1}}, self.add_one)
        self.assertEqual(before, self.counts())
        self.next_run(1, checksum="2").update(users, {"n": 0}, self.add_one)
        self.assertEqual({1: 500}, self.counts())

    def test_what_the_function_inserts_ahead_of_any_part_ends_it(self) -> None:
        client: MongoClient[Any] = make_client(self.server.uri, event_listeners=[Inserts()])
        self.addCleanup(client.close)
        self.fill(2_000)
        users = client[self.database].users

        def change(user: Any) -> Any:
            if user["_id"] == 100:
                users.insert_one({"_id": 1_998.5, "n": 0})
            return {"$inc": {"n": 1}}

        with self.assertRaisesRegex(BatchFailed, "inserts documents into users that batches would come to"):
            self.next_run(2, resumes=False, db=users.database).update(users, {}, change, size=20)


class TestKept(WorkersTestCase):
    def store(self) -> KeptStore:
        return KeptStore(self.db, Names("migrations"), address="server", by="ann@web1")

    def raw(self) -> bytes:
        found: Any = self.db.users.find_raw_batches({}, sort=[("_id", 1)])
        return b"".join(found)

    def test_several_workers_keep_and_all_is_put_back(self) -> None:
        users = self.fill(1_000, text="one two")
        before = self.raw()
        updates: list[Any] = [{"$inc": {"n": 1}}, [{"$set": {"n": {"$add": ["$n", 1]}}}], self.add_one]
        for update in updates:
            for keep in (["n"], True):
                with self.subTest(update=update, keep=keep):
                    run = self.next_run(4, resumes=False, kept=self.store())
                    self.assertEqual(1_000, run.update(users, {}, update, size=20, keep=keep))
                    self.assertEqual(({1: 1_000}, 8), (self.counts(), len(self.part_notes())))
                    (kept,) = self.store().amounts()
                    self.assertEqual(1_000, kept.documents)
                    numbers = [part.batch for part in self.store().parts(kept.walk)]
                    self.assertEqual(sorted({*numbers}), numbers)
                    undo = self.next_run(4, direction="down", kept=self.store())
                    self.assertEqual(1_000, undo.restore())
                    self.assertEqual(before, self.raw())
                    self.db.migrations_kept.drop()
                    self.db.migrations_batches.drop()

    def test_what_a_run_kept_and_the_next_one_are_put_back_together(self) -> None:
        users = self.fill(1_000)
        before = self.raw()
        self.stop_at(users, 700, workers=3, keep=["n"], kept=self.store())
        self.assertIn(1, self.counts())
        self.next_run(2, kept=self.store()).update(users, {"n": 0}, self.add_one, size=20, keep=["n"])
        self.assertEqual({1: 1_000}, self.counts())
        self.assertEqual(1_000, self.next_run(1, direction="down", kept=self.store()).restore())
        self.assertEqual(before, self.raw())

    def test_a_walk_in_parts_keeps_from_where_the_changed_file_asks_for_it(self) -> None:
        users = self.fill(1_000)
        self.stop_at(users, 700, workers=3)
        left = self.counts()[0]
        self.next_run(2, kept=self.store(), checksum="2").update(users, {"n": 0}, self.add_one, size=20, keep=["n"])
        self.assertEqual(({1: 1_000}, [left]), (self.counts(), [kept.documents for kept in self.store().amounts()]))


class TestKeptInSet(InSet, TestKept):
    pass


PIPELINE = [{"$set": {"n": {"$add": ["$n", {"$toInt": "$text"}]}}}]


class TestRejected(WorkersTestCase):
    @staticmethod
    def number(user: Any) -> Any:
        return {"$inc": {"n": int(user["text"])}}

    def store(self) -> RejectedStore:
        return RejectedStore(self.db, Names("migrations"), address="server", by="ann@web1")

    def fill_with(self, bad: Sequence[int], count: int = 1_000) -> None:
        self.client.drop_database(self.database)
        self.db.users.insert_many([{"_id": n, "n": 0, "text": "x" if n in bad else "1"} for n in range(count)])

    def rejected(self) -> list[Any]:
        return sorted(found.id for found in self.store().find("1_counts.py"))

    def refused(self, update: Any, workers: int = 3, errors: int | None = 20, **options: Any) -> str:
        """What an update of all users says in the end that has set some aside."""
        run = self.next_run(workers, rejected=self.store(), **options)
        with self.assertRaises(DocumentsRejected) as caught:
            run.update(self.db.users, {}, update, size=20, errors=errors)
        return str(caught.exception)

    def test_each_is_set_aside_in_its_part_and_tried_again(self) -> None:
        bad = [3, 4, 400, 701, 999]
        for update in (self.number, PIPELINE):
            with self.subTest(update=update):
                self.fill_with(bad)
                self.assertEqual("5 documents of users were set aside", self.refused(update, resumes=False))
                self.assertEqual(({0: 5, 1: 995}, bad), (self.counts(), self.rejected()))
                parts = self.part_notes()
                self.assertEqual((8, 5), (len(parts), sum(part.get("rejected") or 0 for part in parts)))
                progress = Checkpoints(self.db, Names("migrations"), address="", by="").find({})[0].progress
                self.assertEqual("1,000 of 1,000 documents of users (5 set aside)", progress.documents)
                self.db.users.update_many({"_id": {"$in": [4, 701]}}, {"$set": {"text": "7"}})
                self.assertEqual("3 documents of users were set aside", self.refused(update, workers=2))
                self.assertEqual(({0: 3, 1: 995, 7: 2}, [3, 400, 999]), (self.counts(), self.rejected()))
                self.db.users.update_many({}, {"$set": {"text": "2"}})
                self.next_run(4, rejected=self.store()).update(self.db.users, {}, update, size=20)
                self.assertEqual(({2: 3, 1: 995, 7: 2}, []), (self.counts(), self.rejected()))
                self.assertTrue(self.notes()[0]["finished"])

    def test_the_limit_is_one_for_all_workers(self) -> None:
        bad = [n for n in range(1_000) if n % 10 == 5]
        for update in (self.number, PIPELINE):
            with self.subTest(update=update):
                self.fill_with(bad)
                said = self.refused(update, workers=4, errors=6, resumes=False)
                found = self.rejected()
                self.assertEqual(f"{len(found)} documents of users were set aside, more than errors=6 allows", said)
                # Beside the batch that is too much, each of the other workers has one under way.
                self.assertLess(len(found), 6 + 4 * 3)
                self.assertLess(self.counts()[1], 500)
                self.refused(update, errors=100)
                self.assertEqual((bad, {0: 100, 1: 900}), (self.rejected(), self.counts()))

    def test_a_walk_in_parts_goes_on_where_the_changed_file_allows_errors(self) -> None:
        self.fill_with([3, 701])
        with self.assertRaisesRegex(BatchFailed, "^users, _id (3|701): ValueError"):
            self.next_run(3, resumes=False).update(self.db.users, {}, self.number, size=20)
        self.assertEqual("2 documents of users were set aside", self.refused(self.number, checksum="2"))
        self.assertEqual(({0: 2, 1: 998}, [3, 701]), (self.counts(), self.rejected()))

    def test_what_a_run_has_noted_that_died_before_its_checkpoint_is_tried_again(self) -> None:
        self.fill_with([3, 701])
        with mock.patch.object(Trail, "move", side_effect=OSError), self.assertRaises(OSError):
            self.next_run(3, resumes=False, rejected=self.store()).update(self.db.users, {}, self.number, errors=5)
        self.db.users.update_many({"n": 0}, {"$set": {"text": "1"}})
        self.next_run(3, rejected=self.store()).update(self.db.users, {}, self.number, errors=5)
        self.assertEqual([], self.rejected())

    def test_those_that_are_left_out_are_counted_as_such(self) -> None:
        self.fill_with([3, 4, 701])
        self.refused(self.number, resumes=False)
        checkpoints = Checkpoints(self.db, Names("migrations"), address="", by="")
        self.assertEqual(3, checkpoints.leave_out("1_counts.py"))
        self.store().drop("1_counts.py")
        for _ in range(2):
            run = self.next_run(3, rejected=self.store())
            run.update(self.db.users, {}, self.number, size=20, errors=5)
            self.assertEqual([(1_000, 997, 3)], [(one.documents, one.changed, one.left_out) for one in run.walked])
        self.assertEqual({0: 3, 1: 997}, self.counts())


class TestRejectedInSet(InSet, TestRejected):
    pass


class TestPartsInSet(InSet, TestParts):
    """On a replica set each document is changed once, whatever happens."""

    def test_stopped_anywhere_and_resumed_by_another_number_of_workers(self) -> None:
        for _ in range(30 if self.IN_FULL else 3):
            seed = secrets.randbelow(10**9)
            chance = random.Random(seed)
            with self.subTest(seed=seed):
                self.db.users.drop()
                self.db.migrations_batches.drop()
                users = self.fill(1_000)
                self.stop_at(users, chance.randrange(1_000), chance.randint(2, 5))
                self.next_run(chance.randint(1, 5)).update(users, {"n": 0}, self.add_one, size=20)
                self.assertEqual({1: 1_000}, self.counts())


class WorkersKilledTestCase(KilledTestCase):
    def team_with(self, up: str, **attributes: Any) -> Project:
        return super().team_with(up, **{"BATCH_WORKERS": 3, **attributes})


class TestKill(WorkersKilledTestCase):
    """kill -9 on a standalone server: a batch of each worker may be done twice."""

    WORKERS = 3

    def test_kill(self) -> None:
        for turn in range(30 if self.IN_FULL else 2):
            way = list(WAYS)[turn % 2]
            seed = secrets.randbelow(10**9)
            with self.subTest(way, seed=seed):
                chance = random.Random(seed)
                self.fill()
                process = self.start(self.team_with(WAYS[way]), chance.randrange(0, COUNT // 8, SIZE))
                self.kill_after(chance.uniform(0, 0.2), process)
                left = self.n()
                self.go_on(self.team_with(WAYS[way], BATCH_WORKERS=chance.randint(1, 4)))
                print(f"{self.id()}, {way}: seed {seed}, the kill left {left}, in the end {self.n()}")
                self.assert_end()

    def go_on(self, project: Project) -> Result:
        result = super().go_on(project)
        self.assertEqual(0, self.db.migrations_batches.count_documents({}))
        return result

    def assert_end(self) -> None:
        found = self.n()
        self.assertLessEqual(found.get(2, 0), self.WORKERS * SIZE)
        self.assertEqual(COUNT, found.get(1, 0) + found.get(2, 0))


class TestKillInSet(TestKill):
    """On a replica set each document is changed once, whatever happens."""

    def find_server(self) -> Server | Mongod:
        return Server(shared_replica_set().uri)

    def assert_end(self) -> None:
        self.assert_once()


class TestOperated(WorkersKilledTestCase):
    def find_server(self) -> Server | Mongod:
        return Server(shared_replica_set().uri)

    def stands_still(self) -> bool:
        done = self.n()
        time.sleep(1)
        return done == self.n()

    def test_ctrl_c_ends_all_workers_and_execute_continues(self) -> None:
        self.fill()
        process = self.start(self.team_with(SLOWLY, LOCK_LEASE=60), 60)
        os.killpg(process.pid, signal.SIGINT)
        result = self.end_of(process)
        self.assertNotEqual(0, result.code)
        self.assertRegex(result.stderr, r"1_counts.py: [\d,]+ of 3,000 documents of users are done\n")
        self.assertEqual((["stopped"], None), (self.logged(), self.lock()))
        self.assertLess(self.n()[1], COUNT)
        again = self.team_with(SLOWLY, BATCH_WORKERS=2).fab("migrations:execute")
        self.assert_code(0, again)
        self.assertRegex(again.stderr, "of 3,000 documents of users are done, continuing from there\n")
        self.assert_once()

    def test_it_is_paused_slowed_and_stopped_from_another_terminal(self) -> None:
        self.fill()
        self.team = self.team_with(SLOWLY, LOCK_LEASE=2)
        process = self.start(self.team, 20)
        self.fab("migrations:pause,because=backup")
        wait_for("a run that waits", self.stands_still)
        done = self.n()[1]
        status = self.fab("migrations").stderr
        self.assertRegex(status, rf"1_counts\.py: {done:,} of 3,000 documents; paused by \S+@\S+ \(backup\)\n")
        self.fab("migrations:pace,documents=200")
        self.fab("migrations:resume")
        wait_for("a run that moves", lambda: self.n()[1] > done)
        began, before = time.monotonic(), self.n()[1]
        time.sleep(3)
        rate = (self.n()[1] - before) / (time.monotonic() - began)
        self.assertLess(rate, 300)
        self.fab("migrations:stop")
        result = self.end_of(process)
        self.assert_code(1, result)
        self.assertRegex(result.stderr, r"1_counts\.py was stopped by ")
        self.assertLess(self.n()[1], COUNT)
        self.fab("migrations:execute")
        self.assert_once()

    def test_stopped_past_the_lease_it_finds_another_run_at_work(self) -> None:
        self.fill()
        process = self.start(self.team_with(SLOWLY, LOCK_LEASE=1), 60)
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            self.wait_for_dead_lock()
            self.go_on(self.team_with(SLOWLY, LOCK_LEASE=1, BATCH_WORKERS=2))
        finally:
            os.killpg(process.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(process))
        self.assert_once()


class TestReplicaSet(BrokenReplicaSetTestCase):
    def test_the_primary_is_killed(self) -> None:
        for way in [SLOWLY, OPERATORS] if self.IN_FULL else [SLOWLY]:
            self.execute_through(way, self.replica_set.kill_primary, 60, BATCH_WORKERS=4)
