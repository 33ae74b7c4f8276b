"""What is waited for, for how long, and what is said meanwhile and in the end."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any
from unittest.mock import patch

from pymongo import WriteConcern
from pymongo.server_api import ServerApi

from migopy.mongo import concerns, failures, transaction
from migopy.store import documents, history, lock
from tests.cases import InProcessTestCase
from tests.server import Mongod, ReplicaSet, Server, shared_replica_set, wait_for
from tests.support import RunTestCase, until_file

IN_TRANSACTION = "db, session"


class WithArbiter(ReplicaSet):
    """A primary, a secondary and an arbiter: without the secondary there is a primary and no majority of the data."""

    def __init__(self) -> None:
        super().__init__(members=3)

    def start(self) -> None:
        for member in self.members:
            member.launch()
        for member in self.members:
            member.wait_until_ready()
        roles: list[dict[str, Any]] = [{"priority": 2}, {"priority": 1}, {"arbiterOnly": True}]
        members = [
            {"_id": place, "host": f"{member.host}:{member.port}", **role}
            for place, (member, role) in enumerate(zip(self.members, roles))
        ]
        settings = {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 500}
        with self.members[0].client() as client:
            client.admin.command("replSetInitiate", {"_id": self.name, "members": members, "settings": settings})
        wait_for("primary", lambda: self.primary() is self.members[0])
        wait_for("secondary", lambda: self._state(self.members[1]).get("secondary"))
        with self.members[0].client() as client:  # the first write of a majority takes its time
            client.get_database("first", write_concern=WriteConcern("majority")).first.insert_one({})


class TestWithoutMajority(InProcessTestCase):
    def find_server(self) -> Server | Mongod:
        self.replica_set = WithArbiter()
        self.addCleanup(self.replica_set.close)
        self.replica_set.start()
        return Server(self.replica_set.uri)

    def setUp(self) -> None:
        super().setUp()
        for module in (documents, history, lock, concerns, failures, transaction):
            self.entered(patch.object(module, "MAJORITY_TIMEOUT_MS", 1000))
        self.patient = {"MONGO_CLIENT_OPTIONS": {"serverSelectionTimeoutMS": 1000}}

    def make_whole(self) -> None:
        for member in self.replica_set.members:
            if member.process is None:
                member.start()
        primary, secondary, _ = self.replica_set.members
        wait_for("primary", lambda: self.replica_set.primary() is primary)
        wait_for("secondary", lambda: self.replica_set._state(secondary).get("secondary"))

    def test_each_wait_has_an_end_and_a_sentence(self) -> None:
        primary, secondary, arbiter = self.replica_set.members
        self.addCleanup(self.make_whole)  # else dropping the database would wait for ever
        assert secondary.process is not None
        self.counting(self.team, "1_a.py")
        ended = self.run_task("execute")
        self.assertEqual(0, ended.code, ended)

        # It goes away while a transaction is under way.
        self.counting(
            self.team, "2_b.py", f"import os, signal\nos.kill({secondary.process.pid}, signal.SIGKILL)", IN_TRANSACTION
        )
        ended = self.run_task("execute")
        secondary.kill()  # it is gone, and now we know it too
        self.assertEqual(1, ended.code, ended)
        self.assertIn("2_b.py failed (", ended.stderr)
        self.assertIn("it is not known whether its transaction was committed, check fab migrations.", ended.stderr)

        # Written, and not confirmed.
        self.counting(self.team, "3_c.py")
        ended = self.run_task("execute", "3")
        self.assertRegex(
            ended.stderr,
            r"has written it, but a majority of the replica set did not confirm it within 1 s .*rs\.status",
        )
        self.assertEqual((1, ["1_a.py", "2_b.py"]), (ended.code, self.ran()))

        # What a majority has may not be known since then, and what is read may be old; nobody waits for long.
        primary.restart()
        wait_for("primary", lambda: self.replica_set.primary() is primary)
        for subtask in ("show_status", "check", "plan", "history"):
            began = time.monotonic()
            ended = self.run_task(subtask)
            self.assertLess(time.monotonic() - began, 15)
            if ended.code not in (0, 4):
                self.assertRegex(
                    ended.stderr, r"did not answer within 1 s with data that a majority of the replica set has"
                )
        ended = self.run_task("unlock", force="yes")
        self.assertRegex(
            ended.stderr,
            r"a majority of the replica set did not confirm it within 1 s"
            r"|did not answer within 1 s with data that a majority|Nobody holds the lock",
        )

        # Nor is there a primary.
        arbiter.kill()
        wait_for("secondary", lambda: self.replica_set._state(primary).get("secondary"))
        for subtask in ("show_status", "execute"):
            ended = self.run_task(subtask, of=self.manager(**self.patient))
            self.assertRegex(ended.stderr, r"^The replica set at \S+ has no primary \([^\n]*\)[^\n]*\n$")
            self.assertEqual(1, ended.code)
        uri = f"mongodb://{primary.host}:{primary.port}/?directConnection=true"
        ended = self.run_task("forget", "1", of=self.manager(MONGO_URI=uri, **self.patient))
        self.assertRegex(ended.stderr, r"is not the primary of its replica set|a majority of the replica set has")

        # It comes back, and all is as it was.
        self.make_whole()
        ended = self.run_task("execute")
        self.assertEqual(0, ended.code, ended)
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py"], self.ran())
        self.assertEqual(0, self.run_task("check").code)


class TransactionsTestCase(InProcessTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def lifetime(self, seconds: int) -> None:
        self.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)


class TestTransactions(TransactionsTestCase):
    def test_longer_than_the_server_allows_says_so_at_each_attempt(self) -> None:
        self.addCleanup(self.lifetime, 60)
        self.lifetime(1)
        self.counting(
            self.team,
            "1_slow.py",
            "import time\ntime.sleep(2.5)\ndb.ran.insert_one({'name': '1_slow.py'}, session=session)",
            IN_TRANSACTION,
        )
        with patch.object(transaction, "RETRY_LIMIT_SECONDS", 3):
            ended = self.run_task("execute")
        self.assertEqual((1, [], [], ["failed"]), (ended.code, self.ran(), self.registered(), self.logged()))
        self.assertRegex(ended.stderr, r"1_slow.py starts again from the beginning, after [2-9]\.\d s: \w+: .*\n")
        self.assertIn(
            "MongoDB ends a transaction after transactionLifetimeLimitSeconds, by default 60: do less in one",
            ended.stderr,
        )

    def test_a_client_of_its_own_that_waits_for_the_transaction_is_suspected(self) -> None:
        self.addCleanup(self.lifetime, 60)
        self.lifetime(1)
        self.db.accounts.insert_one({"_id": 1})
        self.make_for_transactions("migrations", "migrations_log")
        up = (
            "import pymongo\ndb.accounts.update_one({'_id': 1}, {'$set': {'paid': 1}}, session=session)\n"
            f"with pymongo.MongoClient({self.server.uri!r}) as client:\n"
            "    client[db.name].accounts.update_one({'_id': 1}, {'$inc': {'balance': 10}})"
        )
        self.team.migration("1_pays.py", up, arguments=IN_TRANSACTION)
        with patch.object(transaction, "RETRY_LIMIT_SECONDS", 0):
            ended = self.run_task("execute")
        self.assertEqual((1, []), (ended.code, self.registered()))
        self.assertIn("that long another client in the file waits for a document that the transaction", ended.stderr)

    def test_another_one_is_waited_for_and_that_is_said_once(self) -> None:
        self.db.migrations.insert_one({"_id": "0_old.py", "name": "0_old.py"})
        self.make_for_transactions("migrations_log", "migrations_lock")  # nor while one is open
        self.counting(self.team, "1_waits.py", arguments=IN_TRANSACTION)
        with self.client.start_session() as session, session.start_transaction():
            self.db.migrations.insert_one({"_id": "1_waits.py", "name": "1_waits.py"}, session=session)
            threading.Timer(1.5, session.abort_transaction).start()
            ended = self.run_task("execute")
        self.assertEqual((0, ["1_waits.py"]), (ended.code, self.ran()), ended)
        self.assertEqual(1, ended.stderr.count("Waiting for another transaction, perhaps one that a dead run left"))

    def test_a_refusal_to_register_is_not_blamed_on_the_migration(self) -> None:
        self.db.create_collection("migrations", validator={"ticket": {"$exists": True}})
        self.counting(self.team, "1_a.py", arguments=IN_TRANSACTION)
        ended = self.run_task("execute")
        self.assertRegex(
            ended.stderr,
            r"(?m)^Nothing of 1_a.py was applied, because its registration is part of the same transaction: MongoDB"
            r" at \S+ refuses the command: Document",
        )
        self.assertNotIn("parameter session", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        self.assertEqual((1, [], None), (ended.code, self.ran(), self.lock()))

    def test_with_the_stable_api_and_nothing_else(self) -> None:
        self.need("Stable API")
        strictly = self.manager(MONGO_CLIENT_OPTIONS={"server_api": ServerApi("1", strict=True)})
        self.counting(self.team, "1_a.py", arguments=IN_TRANSACTION, down="db.ran.delete_one({}, session=session)")
        self.counting(self.team, "2_b.py")
        for subtask in ("execute", "check", "history", "plan", "show_status", "rollback,1", "ignore", "forget,1"):
            ended = self.run_task(*subtask.split(","), of=strictly)
            self.assertEqual(0, ended.code, f"{subtask}: {ended}")
        self.assertEqual((["2_b.py"], ["2_b.py"]), (self.ran(), self.registered()))


class TestOfADeadRun(TransactionsTestCase):
    def test_its_transaction_is_ended_and_waited_for_by_nobody(self) -> None:
        project = self.project(LOCK_LEASE=1)
        self.db.create_collection("ran")
        self.db.create_collection("migrations")
        self.counting(project, "1_dies.py", "import os, signal\nos.killpg(0, signal.SIGKILL)", IN_TRANSACTION)
        self.assertEqual(-signal.SIGKILL, project.fab("migrations:execute").code)
        self.wait_for_dead_lock()
        self.counting(self.team, "1_dies.py", arguments=IN_TRANSACTION)
        began = time.monotonic()
        ended = self.run_task("execute")
        self.assertEqual((0, ["1_dies.py"]), (ended.code, self.ran()), ended)
        self.assertLess(time.monotonic() - began, 30, "60 seconds is MongoDB's own limit")
        self.assertNotIn("Waiting for another transaction", ended.stderr)


class TestThoseWhoWaited(RunTestCase):
    def test_they_do_not_try_again_what_has_just_failed(self) -> None:
        project = self.project(LOCK_WAIT=60)
        self.counting(project, "1_fails.py", until_file(project.path / "go") + "raise ValueError('no')")
        first = project.fab_start("migrations:execute")
        self.wait_until_in("1_fails.py")
        waiting = [project.fab_start("migrations:execute") for _ in range(2)]
        for process in waiting:
            self.assertIn("Waiting for", process.stderr.readline())  # type: ignore[union-attr]
        project.write("go", "")
        self.assert_code(1, self.end_of(first))
        for process in waiting:
            result = self.end_of(process)
            self.assert_code(1, result)
            self.assertRegex(
                result.stderr,
                r"Nothing was done: 1_fails.py: failed .*, in the run that this one waited for. To retry it, type",
            )
        self.assertEqual((["1_fails.py"], ["failed"]), (self.ran(), self.logged()))
        self.counting(project, "1_fails.py")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual(["1_fails.py"] * 2, self.ran())
