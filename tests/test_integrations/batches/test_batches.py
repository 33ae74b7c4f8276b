"""Batches outside of a run, as a test or a shell has them: which documents they visit, and what they refuse."""

from __future__ import annotations

import struct
import time
from datetime import datetime
from typing import Any, Callable, Mapping
from unittest import mock
from uuid import uuid4

import bson
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, InsertOne, MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.monitoring import CommandListener

import migopy
from migopy import legacy
from migopy.batches import batches
from migopy.errors import BatchFailed
from tests.server import Mongod, Server, shared_replica_set
from tests.support import MongoTestCase

AS_THEY_ARE: CodecOptions[Any] = CodecOptions(uuid_representation=0)

COLLECTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "collated": {"collation": {"locale": "de", "strength": 2, "numericOrdering": True}},
    "clustered": {"clusteredIndex": {"key": {"_id": 1}, "unique": True}},
}


def of_one_kind(n: int) -> list[Any]:
    """An ``_id`` of every type that has many values."""
    return [
        *(n, Int64(10**12 + n), n + 0.5, Decimal128(f"{n}.25"), f"s{n:03}", f"S{n:03}", f"{n}"),
        *({"a": n}, {"a": f"x{n}"}, {"b": n}, {"a": {"b": n}}, DBRef("c", n), DBRef("c", n, "d")),
        *(Binary(b"%d" % n, 0), Binary(b"%d" % n, 0x80), Binary(uuid4().bytes, 3), Binary(uuid4().bytes, 4)),
        *(ObjectId(), datetime(2000, 1, 1 + n), datetime(1900, 1, 1 + n), Timestamp(n + 1, 1)),
        *(Code(f"f{n}"), Code(f"f{n}", {"x": n})),
    ]


SINGLE = [
    *(None, True, False, MinKey(), MaxKey(), float("nan"), float("inf"), -float("inf"), Decimal128("1E+6000")),
    *("", {}, {"a": None}, Timestamp(0, 0), Binary(b"", 0), datetime(9999, 12, 31)),
]


def symbol(text: bytes) -> RawBSONDocument:
    """A document whose ``_id`` is of a type that PyMongo reads and does not write."""
    element = b"\x0e_id\0" + struct.pack("<i", len(text) + 1) + text + b"\0"
    return RawBSONDocument(struct.pack("<i", len(element) + 5) + element + b"\0")


class InBothTestCase(MongoTestCase):
    """On a standalone server; the subclasses with ``InSet`` on a replica set, where batches are transactions."""

    def setUp(self) -> None:
        super().setUp()
        self.batches = migopy.Batches()

    def fill(self, count: int, **fields: Any) -> Collection[dict[str, Any]]:
        self.db.users.insert_many([{"_id": n, "n": 0, **fields} for n in range(count)])
        return self.db.users

    def another_client(self) -> MongoClient[Any]:
        return MongoClient(self.server.uri)

    def counts(self, field: str = "n") -> dict[Any, int]:
        """How many documents of users have each value."""
        found = self.db.users.aggregate([{"$group": {"_id": f"${field}", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def assert_refused(self, pattern: str, call: Callable[[], Any]) -> None:
        with self.assertRaisesRegex(BatchFailed, pattern) as caught:
            call()
        self.assertNotIn("\n", str(caught.exception))


class InSet(MongoTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()


class TestWalk(InBothTestCase):
    def mixed(self, options: Mapping[str, Any]) -> Collection[dict[str, Any]]:
        """A collection with ids of all types, in no order; a collation does not let in all of them."""
        self.db.drop_collection("users")
        users: Collection[Any] = self.db.create_collection("users", codec_options=AS_THEY_ARE, **options)
        ids = [*SINGLE, *(id for n in range(25) for id in of_one_kind(n))]
        ids = ids[::3] + ids[1::3] + ids[2::3]
        if "collation" in options:
            ids = [id for id in ids if not (isinstance(id, str) and id.startswith("S"))]
        else:
            users.insert_one(symbol(b"sym"))
        users.insert_many([{"_id": id, "n": 0} for id in ids])
        return users

    def test_all_documents_are_visited_whatever_the_types_of_their_ids(self) -> None:
        for name, options in COLLECTIONS.items():
            if name == "clustered" and not self.has("clusteredIndex"):
                continue
            users = self.mixed(options)
            count = users.count_documents({})
            for size in (7, 1_000):
                with self.subTest(name, size=size):
                    users.update_many({}, {"$set": {"n": 0}})
                    self.assertEqual(count, self.batches.update(users, {}, {"$inc": {"n": 1}}, size=size))
                    self.assertEqual(
                        count, self.batches.update(users, {}, [{"$set": {"n": {"$add": ["$n", 1]}}}], size)
                    )
                    self.assertEqual(count, self.batches.update(users, {"n": 2}, lambda one: {"$inc": {"n": 1}}, size))
                    self.assertEqual({3: count}, self.counts())
                    lists = list(self.batches(users, {"n": 3}, size=size))
                    seen = {bson.encode({"": one["_id"]}, codec_options=AS_THEY_ARE) for each in lists for one in each}
                    self.assertEqual(count, len(seen))
                    self.assertEqual(count, sum(map(len, lists)))

    def test_uuids_are_found_again_whatever_the_client_makes_of_them(self) -> None:
        ids = [Binary(uuid4().bytes, subtype) for subtype in (3, 4) for _ in range(20)]
        self.db.users.with_options(codec_options=AS_THEY_ARE).insert_many([{"_id": id, "n": 0} for id in ids])
        for representation in (0, 3, 4):
            codec_options: CodecOptions[Any] = CodecOptions(uuid_representation=representation)
            users = self.db.users.with_options(codec_options=codec_options)
            self.assertEqual(40, self.batches.update(users, {}, lambda one: {"$inc": {"n": 1}}, size=6))
        self.assertEqual({3: 40}, self.counts())

    def test_lists_are_as_long_as_asked_for_and_in_order(self) -> None:
        users = self.fill(25)
        lists = [[user["_id"] for user in each] for each in self.batches(users, size=10)]
        self.assertEqual([list(range(10)), list(range(10, 20)), list(range(20, 25))], lists)
        self.assertEqual([], list(self.batches(self.db.empty)))
        self.assertEqual(0, self.batches.update(self.db.empty, {}, {"$inc": {"n": 1}}))
        only = list(self.batches(users, {"_id": {"$lt": 2}}, {"_id": 1}))
        self.assertEqual([[{"_id": 0}, {"_id": 1}]], only)

    def test_what_comes_and_goes_meanwhile_disturbs_nobody(self) -> None:
        users = self.fill(40)
        seen: list[Any] = []
        for each in self.batches(users, {"n": 0}, size=10):
            seen += [user["_id"] for user in each]
            users.delete_many({"_id": {"$in": [each[-1]["_id"], seen[0], 35]}})
            users.insert_one({"_id": -len(seen), "n": 0})
            users.insert_one({"_id": 100 - len(seen), "n": 0})
        self.assertEqual([n for n in range(40) if n != 35], [id for id in seen if 0 <= id < 40])

    def test_all_is_visited_where_the_update_takes_documents_out_of_the_filter(self) -> None:
        users = self.fill(100)
        self.assertEqual(100, self.batches.update(users, {"n": 0}, {"$inc": {"n": 1}}, size=7))
        self.assertEqual(100, self.batches.update(users, {"n": 1}, lambda one: {"$inc": {"n": 1}}, size=7))
        self.assertEqual({2: 100}, self.counts())

    def test_filters_with_an_id_and_with_or(self) -> None:
        users = self.fill(60)
        wanted = {"_id": {"$gte": 10}, "$or": [{"_id": {"$lt": 20}}, {"_id": 50}]}
        self.assertEqual(11, self.batches.update(users, wanted, {"$inc": {"n": 1}}, size=4))
        self.assertEqual(11, sum(len(each) for each in self.batches(users, wanted, size=4)))
        self.assertEqual({0: 49, 1: 11}, self.counts())

    def test_a_function_may_leave_a_document_and_return_a_pipeline(self) -> None:
        users = self.fill(30)

        def odd_ones(user: dict[str, Any]) -> Any:
            if user.pop("_id") % 2:
                return [{"$set": {"n": {"$add": ["$n", 5]}}}]
            return None

        self.assertEqual(15, self.batches.update(users, {}, odd_ones, size=4))
        self.assertEqual({0: 15, 5: 15}, self.counts())

    def test_collections_that_answer_pymongo_2_are_walked_too(self) -> None:
        self.fill(30)
        self.make_for_transactions("archive")
        users = legacy.database(self.db).users
        self.assertEqual(30, self.batches.update(users, {}, {"$inc": {"n": 1}}, size=7))
        self.assertEqual(30, self.batches.update(users, {}, lambda one: {"$inc": {"n": 1}}, size=7))
        for each in self.batches(users, size=7):
            each.write(legacy.database(self.db).archive, [InsertOne(user) for user in each])
        self.assertEqual({2: 30}, self.counts())
        self.assertEqual(30, self.db.archive.count_documents({}))

    def test_writes_go_to_several_collections_in_their_order(self) -> None:
        users = self.fill(30)
        self.make_for_transactions("archive")
        for each in self.batches(users, {"n": 0}, size=7):
            each.write(self.db.archive, [InsertOne(user) for user in each])
            each.write(self.db.archive, [UpdateOne({"_id": user["_id"]}, {"$set": {"n": 1}}) for user in each])
            each.write(users, (DeleteOne({"_id": user["_id"]}) for user in each))
            each.write(users, [])
            self.assertLess(self.db.archive.count_documents({}), 30, "written when the loop goes on")
        self.assertEqual((0, 30), (users.count_documents({}), self.db.archive.count_documents({"n": 1})))

    def test_large_documents_come_in_small_lists(self) -> None:
        self.db.users.insert_many([{"_id": n, "pad": "x" * (1_500_000 if n < 6 else 10)} for n in range(12)])
        lists = [[user["_id"] for user in each] for each in self.batches(self.db.users)]
        self.assertEqual(list(range(12)), [id for ids in lists for id in ids])
        self.assertLessEqual(max(sum(1 for id in ids if id < 6) for ids in lists), 2)
        self.assertEqual(12, self.batches.update(self.db.users, {}, lambda one: {"$set": {"n": 1}}))
        self.assertEqual(12, self.batches.update(self.db.users, {}, {"$set": {"n": 2}}))

    def test_the_server_is_told_from_where_to_where_and_each_id_only_where_that_is_not_enough(self) -> None:
        ids = [*range(200), *(f"s{n:03}" for n in range(200)), *({"n": n} for n in range(100))]
        self.db.users.insert_many([{"_id": id, "n": 0} for id in ids])
        sent: list[Any] = []

        class Listener(CommandListener):
            def started(self, event: Any) -> None:
                if event.command_name == "update":
                    sent.append(event.command["updates"][0]["q"]["$and"][1]["_id"])

            def succeeded(self, event: Any) -> None: ...

            def failed(self, event: Any) -> None: ...

        client: MongoClient[Any] = MongoClient(self.server.uri, event_listeners=[Listener()])
        with client:
            users = client[self.database].users
            self.assertEqual(500, self.batches.update(users, {"n": 0}, {"$inc": {"n": 1}}, size=10))
        self.assertEqual({1: 500}, self.counts())
        self.assertEqual({"$gt": 99, "$lte": 109}, sent[10])
        told_apart = ["$in" in which for which in sent]
        self.assertEqual([True] * 10 + [False] * 10 + [True] * 10 + [False] * 10 + [True] * 10, told_apart)

    def test_where_few_documents_fit_those_are_counted(self) -> None:
        users = self.fill(100)
        few = [3, 44, 55, 99]
        users.update_many({"_id": {"$in": few}}, {"$set": {"text": "a"}})
        self.assertEqual(4, self.batches.update(users, {"text": "a"}, {"$inc": {"n": 1}}, size=10))
        self.assertEqual({0: 96, 1: 4}, self.counts())
        users.update_one({"_id": 55}, {"$set": {"text": 5}})
        with self.assertRaisesRegex(BatchFailed, r"users, _id 55: .*\$concat only supports strings"):
            self.batches.update(users, {"n": 1}, [{"$set": {"n": 2, "text": {"$concat": ["$text", "b"]}}}], size=10)
        self.assertEqual({0: 96, 1: 2, 2: 2}, self.counts())

    def test_how_many_fit_is_reckoned_where_counting_takes_long(self) -> None:
        users = self.fill(30_000)
        users.update_many({"_id": {"$mod": [2, 0]}}, {"$set": {"old": True}})
        with mock.patch.object(batches, "COUNT_MILLISECONDS", 60_000):
            self.assertEqual(15_000, batches.estimate_matches(users, {"old": True}, 30_000))
        with mock.patch.multiple(batches, COUNT_MILLISECONDS=1, SAMPLE_MILLISECONDS=60_000):
            # None is an answer too: MongoDB gives up where $sample meets the same documents again and again.
            answers = (batches.estimate_matches(users, {"old": True}, 30_000) for _ in range(10))
            self.assertAlmostEqual(15_000, next(filter(None, answers), 0), delta=3_000)
            # Something that takes long for each document: MongoDB counts so few in less than a millisecond.
            long = {"$reduce": {"input": {"$range": [0, 300]}, "initialValue": "$n", "in": {"$add": ["$$value", 1]}}}
            never = {"$expr": {"$eq": [long, 0]}}
            self.assertIsNone(batches.estimate_matches(users, never, 30_000))

    def test_slow_batches_become_smaller(self) -> None:
        users = self.fill(50)
        lengths = []
        for each in self.batches(users, size=20):
            lengths.append(len(each))
            time.sleep(1.05 if len(lengths) < 3 else 0)
        self.assertEqual([20, 10, 5], lengths[:3])
        self.assertEqual(50, sum(lengths))
        self.assertGreater(max(lengths[3:]), 5)


class TestWalkInSet(InSet, TestWalk):
    def test_a_batch_that_fails_leaves_nothing_of_itself(self) -> None:
        users = self.fill(30)
        self.db.archive.insert_one({"_id": 17})
        with self.assertRaisesRegex(BatchFailed, "archive, _id 17: E11000 duplicate key"):
            for each in self.batches(users, size=10):
                each.write(users, [DeleteOne({"_id": user["_id"]}) for user in each])
                each.write(self.db.archive, [InsertOne(user) for user in each])
        self.assertEqual((20, 11), (users.count_documents({}), self.db.archive.count_documents({})))

    def test_nobody_changes_a_document_between_reading_and_writing(self) -> None:
        users = self.fill(20)
        disturbed: list[int] = []

        def double(user: dict[str, Any]) -> Any:
            if user["_id"] == 5 and not disturbed:
                disturbed.append(1)
                with self.another_client() as other:
                    other[self.database].users.update_one({"_id": 3}, {"$set": {"n": 50}})
            return {"$set": {"n": 2 * user["n"] + 1}}

        self.assertEqual(20, self.batches.update(users, {}, double, size=10))
        self.assertEqual({1: 19, 101: 1}, self.counts())


class TestBadInput(InBothTestCase):
    def test_what_makes_no_sense_is_refused_before_anything_is_done(self) -> None:
        users: Any = self.fill(3)
        update = self.batches.update
        every = {"$inc": {"n": 1}}
        for pattern, call in (
            (r"takes a collection, such as db.users, not 'users'", lambda: update("users", {}, every)),  # type: ignore[arg-type]
            (r"filter .* has to be a dict \(\{\} for all documents\), not None", lambda: update(users, None, every)),  # type: ignore[arg-type]
            (r"filter .* not \[1\]", lambda: list(self.batches(users, [1]))),  # type: ignore[arg-type]
            (r"The filter .* cannot be sent to MongoDB", lambda: update(users, {"a": object()}, every)),
            (r"The update .* cannot be sent to MongoDB", lambda: update(users, {}, {"$set": {"a": object()}})),
            (r"update .* has to be update operators .* not \{'n': 1\}", lambda: update(users, {}, {"n": 1})),
            (r"update .* has to be update operators .* not None", lambda: update(users, {}, None)),
            (r"size of a batch has to be a number .* not 0", lambda: update(users, {}, every, size=0)),
            (r"size .* not '5'", lambda: list(self.batches(users, size="5"))),  # type: ignore[arg-type]
            (r"projection .* has to include _id", lambda: list(self.batches(users, {}, {"_id": 0}))),
            (
                r"refuses the filter .* for users: unknown operator: \$foo",
                lambda: update(users, {"a": {"$foo": 1}}, every),
            ),
            (r"refuses the filter .* for users: .*\$foo", lambda: list(self.batches(users, {"a": {"$foo": 1}}))),
            (r"refuses the update of users: .*\$foo", lambda: update(users, {}, {"$foo": {"a": 1}})),
        ):
            with self.subTest(pattern):
                self.assert_refused(pattern, call)
        self.assertEqual({0: 3}, self.counts())

    def test_writes_that_make_no_sense_are_refused_at_once(self) -> None:
        users = self.fill(3)
        with self.another_client() as other:
            for pattern, arguments in (
                (r"write\(\) takes what bulk_write takes, such as InsertOne\(...\), not \{", (users, [{"a": 1}])),
                (r"takes a collection", ("users", [])),
                (r"archive belongs to another MongoClient", (other[self.database].archive, [InsertOne({})])),
            ):
                for each in self.batches(users):
                    self.assert_refused(pattern, lambda: each.write(*arguments))  # noqa: B023
        self.assertEqual({0: 3}, self.counts())

    def test_a_view_is_refused(self) -> None:
        self.db.create_collection("seen", viewOn="users", pipeline=[])
        self.assert_refused("seen is a view", lambda: self.batches.update(self.db.seen, {}, {"$inc": {"n": 1}}))

    def test_a_time_series_is_refused(self) -> None:
        self.need("timeseries")
        self.db.create_collection("series", timeseries={"timeField": "at"})
        self.assert_refused("series is a time series", lambda: list(self.batches(self.db.series)))

    def test_a_walk_inside_of_another_one_is_refused(self) -> None:
        users = self.fill(3)
        for _ in self.batches(users):
            self.assert_refused(
                "is still going through users: finish that before users",
                lambda: self.batches.update(users, {}, {"$inc": {"n": 1}}),
            )
        for _ in self.batches(users, size=1):
            break
        self.assertEqual(3, self.batches.update(users, {}, {"$inc": {"n": 1}}))

    def test_what_a_function_raises_or_returns_names_the_document(self) -> None:
        users = self.fill(50)

        def divides(user: dict[str, Any]) -> Any:
            return {"$set": {"n": 1 / (user["_id"] - 33)}}

        with self.assertRaisesRegex(BatchFailed, "users, _id 33: ZeroDivisionError: ") as caught:
            self.batches.update(users, {}, divides, size=10)
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)
        self.assertEqual(20, self.counts()[0], "the batch of 33 is not half written")
        for rubbish in (5, {}, {"n": 1}, "text", [1], True):
            self.assert_refused(
                "users, _id 0: the function has to return an update",
                lambda: self.batches.update(users, {}, lambda user: rubbish),  # noqa: B023
            )
        unencodable = {"$set": {"n": {1, 2}}}
        self.assert_refused(
            "users, _id 7: .*encode",
            lambda: self.batches.update(users, {}, lambda user: unencodable if user["_id"] == 7 else None),
        )

    def test_a_document_that_becomes_too_large_is_named(self) -> None:
        users = self.fill(40)
        users.update_one({"_id": 23}, {"$set": {"pad": "x" * 9_000_000}})
        self.assert_refused(
            "users, _id 23: ",
            lambda: self.batches.update(users, {}, lambda user: {"$set": {"more": user.get("pad", "")}}, size=10),
        )
        self.assert_refused(
            "users, _id 23: ",
            lambda: self.batches.update(users, {}, [{"$set": {"more": {"$ifNull": ["$pad", ""]}}}], size=10),
        )
        self.assert_refused(
            "users, _id 23: ",
            lambda: self.batches.update(
                users, {"_id": 23}, lambda user: {"$set": {"more": user["pad"] + user["pad"]}}, size=10
            ),
        )

    def test_a_document_that_an_update_fails_on_is_named(self) -> None:
        users = self.fill(40, text="a")
        users.update_one({"_id": 23}, {"$set": {"text": 5}})
        pipeline = [{"$set": {"text": {"$concat": ["$text", "b"]}, "n": 1}}]
        self.assert_refused(
            r"users, _id 23: .*\$concat only supports strings, not int",
            lambda: self.batches.update(users, {}, pipeline, size=10),
        )
        self.assertEqual(17, self.counts()[0])

    def test_a_document_that_cannot_be_read_is_named(self) -> None:
        users = self.fill(10)
        element = b"\x09date\0" + struct.pack("<q", 10**15)
        raw = b"\x10_id\0" + struct.pack("<i", 77) + element
        users.insert_one(RawBSONDocument(struct.pack("<i", len(raw) + 5) + raw + b"\0"))
        self.assert_refused(
            "users, (_id 77|the document after _id 9) cannot be read: .*year", lambda: list(self.batches(users))
        )
        self.assertEqual(11, self.batches.update(users, {}, {"$inc": {"n": 1}}))

    def test_ids_that_pymongo_cannot_write_are_refused(self) -> None:
        users = self.fill(3)
        element = b"\x0c_id\0" + struct.pack("<i", 2) + b"c\0" + bytes(12)
        users.insert_one(RawBSONDocument(struct.pack("<i", len(element) + 5) + element + b"\0"))
        every = {"$inc": {"n": 1}}
        for call in (
            lambda: self.batches.update(users, {}, every),
            lambda: self.batches.update(users, {}, lambda user: every),
            lambda: list(self.batches(users)),
        ):
            self.assert_refused("users has an _id that is a DBPointer", call)
        self.assertEqual(3, self.counts()[0])


class TestBadInputInSet(InSet, TestBadInput):
    def test_what_comes_before_a_bad_document_is_done(self) -> None:
        users = self.fill(40, text="a")
        users.update_one({"_id": 23}, {"$set": {"text": 5}})
        self.assert_refused(
            r"users, _id 0: Cannot create field",
            lambda: self.batches.update(users, {}, {"$set": {"text.b": 1}}),
        )
        users.update_many({}, {"$set": {"count": 1}})
        users.update_one({"_id": 23}, {"$set": {"count": "many"}})
        self.assert_refused("users, _id 23: ", lambda: self.batches.update(users, {}, {"$inc": {"n": 1, "count": 1}}))
        self.assertEqual({0: 17, 1: 23}, self.counts())
