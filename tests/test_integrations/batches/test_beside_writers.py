"""Batches beside an application that writes to the same documents, and batches that are too much at once."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any, Iterator
from unittest.mock import patch

from pymongo import InsertOne, ReplaceOne
from pymongo.errors import OperationFailure

from migopy.batches import writes
from migopy.errors import BatchFailed
from tests.test_integrations.batches.test_batches import InBothTestCase, InSet


class TestLoops(InBothTestCase):
    def sell_one(self, id: int) -> None:
        """What the application does meanwhile, by a client of its own."""
        with self.another_client() as application:
            application[self.database].users.update_one({"_id": id}, {"$inc": {"stock": -1}})

    def test_a_document_that_changes_between_reading_and_writing_is_given_to_the_loop_again(self) -> None:
        """A ReplaceOne once undid the sale: 5 in stock instead of 4."""
        users = self.fill(20, stock=5)
        seen: list[int] = []
        for documents in self.batches(users, size=8):
            seen += [document["_id"] for document in documents]
            if seen.count(11) == 1 and 11 in [document["_id"] for document in documents]:
                self.sell_one(11)
            documents.write(
                users, [ReplaceOne({"_id": document["_id"]}, {**document, "n": 1}) for document in documents]
            )
        self.assertEqual({1: 20}, self.counts())
        self.assertEqual({5: 19, 4: 1}, self.counts("stock"))
        self.assertEqual(2, seen.count(11))
        self.assertEqual(1, seen.count(19))

    def test_an_archive_holds_what_was_there_in_the_end(self) -> None:
        users = self.fill(10, stock=5)
        self.make_for_transactions("archive")
        sold = False
        for documents in self.batches(users, {"stock": {"$gt": 0}}, {"stock": 1}, size=4):
            if not sold:
                self.sell_one(2)
                sold = True
            documents.write(self.db.archive, [InsertOne(document) for document in documents])
        self.assertEqual(10, self.db.archive.count_documents({}))
        archived = self.db.archive.find_one({"_id": 2})
        self.assertEqual({"_id": 2, "stock": 4}, archived)

    def test_one_that_no_longer_matches_the_filter_is_left_out(self) -> None:
        users = self.fill(10, stock=1)
        sold = False
        for documents in self.batches(users, {"stock": {"$gt": 0}}, size=4):
            if not sold:
                self.sell_one(2)
                sold = True
            documents.write(users, [ReplaceOne({"_id": one["_id"]}, {**one, "n": 1}) for one in documents])
        self.assertEqual({1: 9, 0: 1}, self.counts())
        self.assertEqual({"_id": 2, "n": 0, "stock": 0}, users.find_one({"_id": 2}))

    def test_a_loop_that_writes_nothing_reads_nothing_again(self) -> None:
        users = self.fill(10, stock=5)
        seen = []
        for documents in self.batches(users, size=4):
            seen += [document["_id"] for document in documents]
            self.sell_one(documents[0]["_id"])
        self.assertEqual(list(range(10)), seen)


class TestLoopsInSet(InSet, TestLoops):
    pass


class TestTooMuchAtOnce(InSet, InBothTestCase):
    @contextlib.contextmanager
    def application(self, changes: int, among: int) -> Iterator[None]:
        """It changes so many documents a second, one after the other."""
        ended = threading.Event()

        def change() -> None:
            with self.another_client() as client:
                number = 0
                while not ended.wait(1 / changes):
                    client[self.database].users.update_one({"_id": number % among}, {"$inc": {"seen": 1}})
                    number += 7

        thread = threading.Thread(target=change)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def test_a_slow_function_beside_an_application_comes_to_its_end(self) -> None:
        """2 ms for a document beside 20 changes a second: once nothing was done after 130 s, and 49,000 calls."""
        users = self.fill(1_000, seen=0)
        calls = 0

        def slowly(user: Any) -> Any:
            nonlocal calls
            calls += 1
            time.sleep(0.002)
            return {"$inc": {"n": 1}}

        with self.application(changes=20, among=1_000):
            self.assertEqual(1_000, self.batches.update(users, {}, slowly))
        self.assertEqual({1: 1_000}, self.counts())
        self.assertLess(calls, 4_000)

    def test_a_function_that_takes_long_for_each_document_gets_small_batches(self) -> None:
        users = self.fill(40)
        sizes: list[float] = []

        def very_slowly(user: Any) -> Any:
            sizes.append(time.monotonic())
            time.sleep(0.15)
            return {"$inc": {"n": 1}}

        self.assertEqual(40, self.batches.update(users, {}, very_slowly))
        self.assertEqual({1: 40}, self.counts())

    def test_a_function_slower_than_a_transaction_may_be_is_called_outside_of_it(self) -> None:
        users = self.fill(5, seen=0)
        asked: list[int] = []

        def slower(user: Any) -> Any:
            asked.append(user["_id"])
            if asked.count(2) == 1 and user["_id"] == 2:
                # The application does not have to wait for us.
                with self.another_client() as application:
                    application[self.database].users.update_one({"_id": 2}, {"$inc": {"seen": 1}})
            return {"$set": {"n": 1, "was_seen": user["seen"]}}

        with patch.object(writes, "SLOW_CALL_SECONDS", -1), patch.object(writes, "SLOW_BATCH_SECONDS", -1):
            self.assertEqual(5, self.batches.update(users, {}, slower))
        self.assertEqual([0, 1, 2, 2, 3, 4], asked)
        self.assertEqual({1: 5}, self.counts())
        self.assertEqual({0: 4, 1: 1}, self.counts("was_seen"))

    def test_a_document_that_somebody_holds_is_waited_for(self) -> None:
        users = self.fill(50)
        with self.client.start_session() as session, session.start_transaction():
            users.update_one({"_id": 30}, {"$set": {"held": True}}, session=session)
            threading.Timer(1.5, session.commit_transaction).start()
            self.assertEqual(50, self.batches.update(users, {}, {"$inc": {"n": 1}}, size=50))
        self.assertEqual({1: 50}, self.counts())


class TestWhatIsRefused(InBothTestCase):
    def test_an_update_that_is_wrong_as_such_blames_no_document(self) -> None:
        users = self.fill(5, tags=[1, 2])
        for update in ({"$set": {"a": 1}, "$inc": {"a.b": 1}}, {"$set": {"a": 1, "a.b": 2}}, {"$frobnicate": {"a": 1}}):
            with self.assertRaises(BatchFailed) as caught:
                self.batches.update(users, {}, update)
            self.assertRegex(str(caught.exception), "^MongoDB refuses the update of users: ")
        self.assertEqual({0: 5}, self.counts())

    def test_array_filters_are_those_of_update_many(self) -> None:
        users = self.fill(5, tags=[1, 2, 3])
        changed = self.batches.update(users, {}, {"$set": {"tags.$[one]": 0}}, array_filters=[{"one": {"$gt": 1}}])
        self.assertEqual((5, [1, 0, 0]), (changed, (users.find_one({"_id": 3}) or {})["tags"]))

    def test_array_filters_with_a_function_or_a_pipeline_are_refused(self) -> None:
        updates: list[Any] = [[{"$set": {"a": 1}}], lambda user: None]
        for update in updates:
            with self.assertRaisesRegex(BatchFailed, "array_filters are for update operators"):
                self.batches.update(self.db.users, {}, update, array_filters=[{"a": 1}])


class TestWhatIsRefusedInSet(InSet, TestWhatIsRefused):
    def test_a_capped_collection_is_named_before_anything_runs(self) -> None:
        users = self.db.create_collection("users", capped=True, size=100_000)
        users.insert_one({"_id": 1, "n": 0})
        self.assert_refused(
            "users is a capped collection: MongoDB does not write to it in a transaction",
            lambda: self.batches.update(users, {}, {"$inc": {"n": 1}}),
        )
        with self.assertRaises(OperationFailure), self.client.start_session() as session, session.start_transaction():
            users.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
