"""A write in up(db, session) without session=session, and transactions that fail in the same way again and again."""

from __future__ import annotations

import textwrap
import threading
import time
from typing import Any

from pymongo import MongoClient

from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set
from tests.support import Result, RunTestCase

FORGETFUL = {
    "db.notes.insert_one({})": "insert into notes is not part of the transaction: pass session=session to it",
    "db.notes.insert_many([{}, {}])": "insert into notes is not part",
    "db.notes.update_one({}, {'$set': {'a': 2}})": "update of notes is not part",
    "db.notes.update_many({}, [{'$set': {'a': 2}}])": "update of notes is not part",
    "db.notes.replace_one({}, {'a': 2})": "update of notes is not part",
    "db.notes.delete_many({})": "delete from notes is not part",
    "db.notes.find_one_and_update({}, {'$set': {'a': 2}})": "findAndModify of notes is not part",
    "db.notes.bulk_write([pymongo.DeleteOne({})])": "delete from notes is not part",
    "db.notes.with_options(write_concern=pymongo.WriteConcern(w=0)).insert_one({})": "insert into notes is not part",
    "db.client[db.name + '_other'].notes.insert_one({})": "insert into notes is not part",
    "db.notes.create_index('a')": "createIndexes of notes is not part of the transaction: MongoDB cannot do that in",
    "db.create_collection('more')": "create of more is not part of the transaction: pass session=session",
    "db.notes.drop()": "drop of notes is not part of the transaction: MongoDB cannot do that in one, so move it",
    "db.notes.rename('more')": r"renameCollection of notes is not part",
    "db.client.drop_database(db.name)": r"dropDatabase of test_\w+ is not part",
    "list(db.notes.aggregate([{'$out': 'more'}]))": "aggregate of notes, which writes its result, is not part",
    "list(db.notes.aggregate([{'$merge': 'more'}]))": "aggregate of notes, which writes its result, is not part",
    "db.notes.insert({'a': 2})": "insert into notes is not part",
    "db.notes.save({'a': 2})": "insert into notes is not part",
    "db.notes.find_and_modify({}, {'$set': {'a': 2}})": "findAndModify of notes is not part",
    "db.migrations.delete_many({})": "delete from migrations is not part",
}
"""Writes without a session, and what is said of them."""

READING = """
assert db.notes.find_one()["a"] == 1
assert db.notes.count_documents({}) == 1
assert list(db.notes.aggregate([{"$match": {}}]))
assert db.notes.distinct("a") == [1]
assert "notes" in db.list_collection_names()
assert db.notes.index_information()
db.command("ping")
db.notes.update_one({}, {"$set": {"a": 2}}, session=session)
"""


class TestForgottenSessions(InProcessTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.client.drop_database, f"{self.database}_other")
        self.make_for_transactions("migrations", "migrations_log")

    def begin_with_a_note(self) -> None:
        self.begin_anew()
        self.db.notes.insert_one({"_id": 1, "a": 1})
        self.make_for_transactions("migrations", "migrations_log", "ran")

    def execute(self, body: str, down: str = "pass", more: str = "", *words: str, **attributes: Any) -> Result:
        up = "import pymongo\ndb.ran.insert_one({}, session=session)\n" + textwrap.dedent(body)
        path = self.team.migration("1_pay.py", up, down, "db, session")
        path.write_text(path.read_text() + more)
        return self.run_task(*(words or ("execute",)), of=self.manager(**attributes))

    def assert_nothing_happened(self) -> None:
        self.assertEqual([{"_id": 1, "a": 1}], list(self.db.notes.find()))
        self.assertEqual((0, 0), (self.db.ran.count_documents({}), self.db.more.count_documents({})))
        self.assertEqual(0, self.client[f"{self.database}_other"].notes.count_documents({}))
        self.assertEqual(([], None), (self.registered(), self.lock()))

    def test_every_write_is_stopped_before_it_is_sent(self) -> None:
        for write, told in FORGETFUL.items():
            with self.subTest(write):
                self.begin_with_a_note()
                ended = self.execute(write)
                self.assertEqual(1, ended.code, ended.stderr)
                self.assertRegex(ended.stderr.splitlines()[-1], rf"^1_pay.py failed \(line 4\): {told}")
                self.assertIn(". Nothing of the migration has happened: it is not registered. Fix", ended.stderr)
                self.assert_nothing_happened()
                self.assertEqual(["failed"], self.logged())
                self.assertRegex(self.db.migrations_log.find_one()["error"], told)  # type: ignore[index]

    def test_after_a_write_of_the_transaction_too(self) -> None:
        """There MongoDB would wait for the transaction, and the transaction for MongoDB, for a minute."""
        self.begin_with_a_note()
        started = time.monotonic()
        write = (
            "db.notes.update_one({}, {'$set': {'a': 3}}, session=session)\ndb.notes.update_one({}, {'$inc': {'a': 1}})"
        )
        ended = self.execute(write)
        self.assertIn("1_pay.py failed (line 5): update of notes is not part of the transaction", ended.stderr)
        self.assertLess(time.monotonic() - started, 10)
        self.assert_nothing_happened()

    def test_an_error_that_the_code_catches_counts(self) -> None:
        catching = """
            try:
                db.notes.insert_one({})
            except BaseException:
                pass
        """
        in_thread = """
            import threading
            threading.excepthook = lambda error: None
            thread = threading.Thread(target=lambda: db.notes.insert_one({}))
            thread.start()
            thread.join()
        """
        for body in (catching, in_thread):
            self.addCleanup(setattr, threading, "excepthook", threading.excepthook)
            self.begin_with_a_note()
            ended = self.execute(body)
            self.assertRegex(ended.stderr, r"1_pay.py failed \(line \d+\): insert into notes is not part")
            self.assert_nothing_happened()

    def test_in_down_and_in_verify(self) -> None:
        self.begin_with_a_note()
        verify = "\n\ndef verify(db, session):\n    db.notes.insert_one({})\n"
        ended = self.execute("pass", "pass", verify)
        self.assertRegex(ended.stderr, r"1_pay.py failed \(line \d+, verify\(\)\): insert into notes is not part")
        self.assert_nothing_happened()
        self.assertEqual(0, self.execute("pass", "db.notes.insert_one({})").code)
        ended = self.run_task("rollback", "1")
        self.assertRegex(ended.stderr, r"1_pay.py failed \(line \d+\): insert into notes .*: it stays registered\.")
        self.assertEqual((1, ["1_pay.py"]), (self.db.notes.count_documents({}), self.registered()))

    def test_reads_and_our_own_writes_pass(self) -> None:
        self.begin_with_a_note()
        # The lock is renewed every third of its lease.
        renewed = "import time\nuntil = time.monotonic() + 1.5\nwhile time.monotonic() < until:\n    time.sleep(0.1)\n"
        ended = self.execute(READING + renewed, LOCK_LEASE=2)
        self.assertEqual((0, ["1_pay.py"], 2), (ended.code, self.registered(), self.db.notes.find_one()["a"]))  # type: ignore[index]

    def test_other_migrations_write_as_they_like(self) -> None:
        self.begin_with_a_note()
        self.team.migration("2_plain.py", "db.plain.insert_one({})")
        self.assertEqual(0, self.execute("db.notes.delete_many({}, session=session)").code)
        self.assertEqual((0, 1), (self.db.notes.count_documents({}), self.db.plain.count_documents({})))

    def test_a_client_of_the_team_that_takes_no_listener_has_no_guard(self) -> None:
        def only_the_address(uri: str) -> Any:
            return MongoClient(uri)

        def with_listeners_of_its_own(uri: str, **options: Any) -> Any:
            return MongoClient(uri, event_listeners=[], **options)

        for make in (only_the_address, with_listeners_of_its_own):
            self.begin_with_a_note()
            ended = self.execute("db.plain.insert_one({})", MongoClient=staticmethod(make))
            self.assertEqual((0, 1), (ended.code, self.db.plain.count_documents({})), ended.stderr)

    def test_a_rehearsal_says_it(self) -> None:
        self.begin_with_a_note()
        self.addCleanup(self.client.drop_database, f"{self.database}_rehearsal")
        ended = self.execute("db.notes.insert_one({})", "pass", "", "rehearse")
        self.assertEqual(1, ended.code)
        self.assertIn("1_pay.py failed (line 4): insert into notes is not part of the transaction", ended.stderr)

    def test_a_verify_that_would_see_the_time_before_is_refused(self) -> None:
        self.begin_with_a_note()
        verify = "\n\ndef verify(db):\n    assert db.ran.count_documents({})\n"
        refusal = "verify(db) of 1_pay.py cannot see what up(db, session) has done"
        for subtask, code in (("execute", 1), ("plan", 4), ("check", 4)):
            ended = self.execute("pass", "pass", verify, subtask)
            self.assertEqual(code, ended.code, ended.stderr)
            self.assertIn(refusal, ended.stderr + ended.stdout)
            self.assertIn("write verify(db, session)", ended.stderr + ended.stdout)
        self.assert_nothing_happened()
        self.assertEqual([], self.logged())


class TestTheSameAgain(RunTestCase):
    """Transient errors that do not pass."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def setUp(self) -> None:
        super().setUp()
        self.team = self.project(LOCK_LEASE=30)
        self.make_for_transactions("migrations", "migrations_log", "notes")

    def write(self, body: str) -> None:
        noting = f"with open({str(self.team.path / 'attempts')!r}, 'a') as file:\n    file.write('x')\n"
        self.team.migration("1_pay.py", noting + textwrap.dedent(body), arguments="db, session")

    def attempts(self) -> int:
        return len((self.team.path / "attempts").read_text())

    def test_a_duplicate_that_the_code_catches(self) -> None:
        self.db.notes.insert_one({"_id": 1})
        self.write(
            """
            import pymongo
            try:
                db.notes.insert_one({"_id": 1}, session=session)
            except pymongo.errors.DuplicateKeyError:
                pass
            db.notes.insert_one({"_id": 2}, session=session)
            """
        )
        result = self.team.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertEqual(2, self.attempts())
        last = result.stderr.splitlines()[-1]
        self.assertRegex(
            last,
            r"^1_pay.py failed \(line 10, OperationFailure: .*\): it is not registered\. Nothing of it stays: .* It"
            r" failed twice",
        )
        self.assertIn("it does so at each error, also at one that the code catches", last)
        self.assertEqual(([], 1), (self.registered(), self.db.notes.count_documents({})))

    def test_an_answer_that_is_too_large(self) -> None:
        """MongoDB 6.0 ends the connection for it, which looks as if the network had failed."""
        self.db.large.insert_many([{"text": "x" * 1_000_000} for _ in range(40)])
        self.write("list(db.large.aggregate([{'$group': {'_id': 1, 'all': {'$push': '$text'}}}], session=session))")
        result = self.team.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertLessEqual(self.attempts(), 2)
        self.assertRegex(result.stderr, r"1_pay.py failed \(line 4, \w+: ")
        if self.attempts() == 2:
            self.assertIn("It failed twice in the same way, so it was not tried again.", result.stderr)
        self.assertEqual([], self.registered())

    def test_an_election_in_between_is_another_matter(self) -> None:
        self.write(
            f"""
            import pymongo
            if os.path.getsize(file.name) < 4:
                with pymongo.MongoClient({self.server.uri!r}) as other:
                    try:
                        other.admin.command("replSetStepDown", 1, force=True)
                    except pymongo.errors.AutoReconnect:
                        pass
                    other.admin.command("ping")
            db.notes.insert_one({{"_id": 1}}, session=session)
            """.replace("import pymongo", "import os, pymongo")
        )
        result = self.team.fab("migrations:execute", timeout=120)
        self.assert_code(0, result)
        self.assertEqual((4, 1, ["1_pay.py"]), (self.attempts(), self.db.notes.count_documents({}), self.registered()))

    def test_other_writers_are_waited_for_longer_each_time(self) -> None:
        self.db.notes.insert_one({"_id": 1, "by": "nobody"})
        with self.changing_all_the_time(seconds=4):
            self.write(
                """
                import time
                db.notes.find_one({}, session=session)
                time.sleep(0.2)
                db.notes.update_one({}, {"$set": {"by": "us"}}, session=session)
                """
            )
            result = self.team.fab("migrations:execute")
        self.assert_code(0, result)
        self.assertIn("1_pay.py starts again from the beginning", result.stderr)
        # After 0, 0.7, 1.9 and 4.1 seconds: without longer pauses it would be six or more.
        self.assertLessEqual(self.attempts(), 5)
        self.assertGreaterEqual(self.attempts(), 3)
        self.assertEqual(["1_pay.py"], self.registered())

    def changing_all_the_time(self, seconds: float) -> Any:
        return Writer(self, seconds)


class Writer:
    """Changes the documents of `notes` for some seconds, as an application would."""

    def __init__(self, test_case: TestTheSameAgain, seconds: float) -> None:
        self._db = test_case.db
        self._until = time.monotonic() + seconds
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        while time.monotonic() < self._until:
            self._db.notes.update_many({}, {"$inc": {"changes": 1}})
            time.sleep(0.02)
