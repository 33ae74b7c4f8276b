"""What batches keep and put back: to the last bit, in runs, outside of them, and beside other writers."""

from __future__ import annotations

import json
import struct
import uuid
from typing import Any, Callable, Sequence
from unittest import mock

import bson.codec_options
from bson import Decimal128, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import WriteConcern

import migopy
from migopy.batches.trail import NoTrail, Trail
from migopy.errors import BatchFailed
from migopy.mongo.raw import document_of, element, elements, split, subdocument
from migopy.store import kept as kept_documents
from tests.cases import DumpTestCase, InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set
from tests.support import MongoTestCase, RunTestCase, WithUsersTestCase

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

COUNT = 250


def int32(value: int) -> bytes:
    return struct.pack("<i", value)


def string(text: str) -> bytes:
    return int32(len(text) + 1) + text.encode() + b"\0"


def strange_fields(name: bytes) -> list[bytes]:
    """The field ``tags`` with values that a decoded document would lose, and without any."""
    nested = element(16, b"b", int32(1)) + element(16, b"a", int32(2))
    return [
        element(1, name, struct.pack("<Q", 0x7FF8000000000001)),
        element(1, name, struct.pack("<d", -0.0)),
        element(9, name, struct.pack("<q", 10**15)),
        element(6, name, b""),
        element(10, name, b""),
        b"",
        element(14, name, string("symbol")),
        element(12, name, string("collection") + b"x" * 12),
        *(element(5, name, int32(16) + subtype + uuid.uuid4().bytes) for subtype in (b"\3", b"\4")),
        element(19, name, Decimal128("1.500E+600").bid),
        element(255, name, b""),
        element(127, name, b""),
        element(11, name, b"a.*\0i\0"),
        element(15, name, int32(4 + 4 + 2 + 5) + string("c") + b"\5\0\0\0\0"),
        subdocument(name, nested),
        element(4, name, document_of(element(16, b"0", int32(1)))),
    ]


TWINS = element(16, b"tags", int32(1)) + element(16, b"tags", int32(2))
NESTED_TWINS = subdocument(b"tags", element(16, b"b", int32(1)) + element(16, b"b", int32(2)))


class UndoTestCase(MongoTestCase):
    """On a standalone server; the subclasses with ``InSet`` on a replica set."""

    def setUp(self) -> None:
        super().setUp()
        self.batches = migopy.Batches()

    def raw(self, name: str = "users") -> bytes:
        found: Any = self.db[name].find_raw_batches({}, sort=[("_id", 1)], hint=[("_id", 1)])
        return b"".join(found)

    def fields(self, *names: str) -> list[list[bytes]]:
        """The fields of these names in each document, as bytes."""
        return [
            [each.raw for name in ("_id", *names) for each in elements(document) if each.name == name.encode()]
            for document in split(self.raw())
        ]

    def fill_strangely(self, *more: bytes) -> None:
        self.db.drop_collection("users")
        for place, field in enumerate([*strange_fields(b"tags"), *more]):
            first = element(16, b"_id", int32(place)) + element(2, b"first", string("f"))
            document = RawBSONDocument(document_of(first + field + element(10, b"author", b"")))
            self.db.command("insert", "users", documents=[document])
        self.db.users.insert_one({"_id": "t"})
        self.db.users.update_one({"_id": "t"}, {"$set": {"tags": Timestamp(0, 0)}})

    def fill(self, count: int = COUNT) -> None:
        self.db.users.insert_many([{"_id": n, "tags": f"t{n}", "n": n} for n in range(count)])

    def kept(self) -> int:
        """How many documents hold what is kept."""
        return self.db.migrations_kept.count_documents({"_id.part": {"$exists": True}})


class InSet(MongoTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()


class TestLastBit(UndoTestCase):
    LARGE = 16 * 1024 * 1024 - 100

    UPDATES: Sequence[tuple[str, Any]] = (
        ("pipeline", [{"$set": {"tags": {"$literal": {"new": [1]}}}}]),
        ("operators", {"$set": {"tags": 5, "author": 7}}),
        ("rename", {"$rename": {"tags": "labels"}}),
        ("unset", {"$unset": {"tags": 1}}),
        ("array", {"$set": {"tags": [1, 2]}}),
        ("function", lambda user: {"$set": {"tags": "changed"}}),
    )

    def test_fields_and_whole_documents_come_back(self) -> None:
        for name, update in self.UPDATES:
            # MongoDB 6.0 crashes on a pipeline that changes a document with a field that stands there twice.
            if name == "function" and not hasattr(bson.codec_options, "DatetimeConversion"):
                continue  # an older PyMongo cannot give it such dates
            twins = () if isinstance(update, list) else (TWINS, NESTED_TWINS)
            for keep in (["tags"], ["tags", "author"], True):
                with self.subTest(name, keep=keep):
                    self.fill_strangely(*twins)
                    before, fields = self.raw(), self.fields("tags", *(keep[1:] if isinstance(keep, list) else ()))
                    users = self.db.users.with_options(codec_options=RAW)
                    changed = self.batches.update(users, {}, update, size=7, keep=keep)
                    self.assertNotEqual(before, self.raw())
                    self.assertEqual(changed, self.batches.restore())
                    self.assertEqual(fields, self.fields("tags", *(keep[1:] if isinstance(keep, list) else ())))
                    if keep is True:
                        self.assertEqual(before, self.raw())
                    self.assertEqual(0, self.kept())

    def test_ids_of_any_type(self) -> None:
        for place, field in enumerate(strange_fields(b"_id")):
            if field[:1] in (b"\x04", b"\x06", b"\x0b", b"\x0c", b""):
                continue  # MongoDB takes no such _id, or PyMongo cannot write a DBPointer
            if field[:1] == b"\x09" and not hasattr(bson.codec_options, "DatetimeConversion"):
                continue
            rest = element(2, b"tags", string(f"t{place}"))
            self.db.command("insert", "users", documents=[RawBSONDocument(document_of(field + rest))])
        before = self.raw()
        self.batches.update(self.db.users, {}, [{"$set": {"tags": 1}}], size=3, keep=["tags"])
        self.assertEqual(0, self.db.users.count_documents({"tags": {"$ne": 1}}))
        self.batches.restore()
        self.assertEqual(before, self.raw())

    def test_more_than_a_document_holds(self) -> None:
        text = "x" * self.LARGE
        self.db.users.insert_many([{"_id": n, "text": text, "n": 0} for n in range(3)])
        before = self.raw()
        self.batches.update(self.db.users, {}, {"$set": {"n": 1}}, keep=True)
        self.batches.restore()
        self.assertTrue(before == self.raw())

    def test_what_is_kept_first_comes_back_last(self) -> None:
        self.fill()
        before = self.raw()
        self.batches.update(self.db.users, {}, {"$set": {"tags": 1}}, keep=["tags"])
        self.batches.update(self.db.users, {"n": {"$lt": 99}}, {"$set": {"tags": 2}}, keep=["tags"])
        self.assertEqual(COUNT + 99, self.batches.restore())
        self.assertEqual(before, self.raw())

    def test_fields_with_dots_and_dollars_in_their_names(self) -> None:
        self.need("fields that begin with $")
        document = {"_id": 1, "a.b": 1, "tags": {"$x": 1, "c.d": 2}, "$q": 5, "n": 1}
        for keep in (["tags"], True):
            for update in ({"$set": {"tags": 7}}, [{"$set": {"tags": 7}}], {"$set": {"tags.$x": 7}}, "delete"):
                with self.subTest(keep=keep, update=update):
                    self.db.users.drop()
                    self.db.command("insert", "users", documents=[document])
                    before = self.raw()
                    if update == "delete":
                        self.batches.delete(self.db.users, {}, keep=True)
                    else:
                        self.batches.update(self.db.users, {}, update, keep=keep)
                    self.assertNotEqual(before, self.raw())
                    self.batches.restore()
                    self.assertEqual(before, self.raw())

    def test_few_documents_of_many(self) -> None:
        self.fill()
        before = self.raw()
        few: dict[str, Any] = {"n": {"$mod": [40, 3]}}
        updates: list[Any] = [{"$set": {"tags": 1}}, [{"$set": {"tags": 1}}], lambda user: {"$set": {"tags": 1}}]
        for update in updates:
            for filter in (few, {"$or": [few, {"n": {"$gte": 150}}]}):
                with self.subTest(update=update, filter=filter):
                    changed = self.batches.update(self.db.users, filter, update, size=30, keep=["tags"])
                    self.assertEqual(changed, self.db.users.count_documents({"tags": 1}))
                    self.assertEqual(changed, self.batches.restore())
                    self.assertEqual(before, self.raw())

    def test_small_batches_are_put_back_together(self) -> None:
        self.fill()
        before = self.raw()
        self.batches.update(self.db.users, {}, lambda user: {"$set": {"tags": 1}}, size=10, keep=["tags"])
        with mock.patch.object(NoTrail, "move") as move:
            self.assertEqual(COUNT, self.batches.restore())
        self.assertLess(move.call_count, COUNT // 10 // 2)
        self.assertEqual(before, self.raw())

    def test_somebody_else_stands_between_what_was_changed(self) -> None:
        self.db.users.insert_many([{"_id": 2 * n, "tags": f"t{n}"} for n in range(COUNT)])
        before = self.raw()
        self.batches.update(self.db.users, {}, lambda user: {"$set": {"tags": 1}}, size=30, keep=["tags"])
        others = [{"_id": 2 * n + 1, "tags": "others"} for n in (3, 4, 100)]
        self.db.users.insert_many(others)
        self.db.users.delete_one({"_id": 202})
        self.assertEqual(COUNT - 1, self.batches.restore())
        self.assertEqual(3, self.db.users.delete_many({"tags": "others"}).deleted_count)
        left = [document for document in split(before) if b"\x10_id\0" + int32(202) not in document]
        self.assertEqual(b"".join(left), self.raw())

    def test_arrays_that_an_operator_changes_within(self) -> None:
        ways: list[tuple[Any, Any]] = [
            ({"$set": {"tags.$[tag].n": 5}}, [{"tag.n": 1}]),
            ({"$inc": {"tags.$[].n": 5}}, None),
            ({"$push": {"tags": {"$each": [3], "$position": 0}}}, None),
            ({"$pull": {"tags": {"n": 1}}}, None),
            ({"$pop": {"tags": 1}}, None),
        ]
        self.db.users.insert_many([{"_id": n, "tags": [{"n": n % 3}, {"n": 1, "m": n}]} for n in range(COUNT)])
        before = self.raw()
        for update, array_filters in ways:
            with self.subTest(update):
                self.batches.update(self.db.users, {}, update, size=70, array_filters=array_filters, keep=["tags"])
                self.assertNotEqual(before, self.raw())
                self.batches.restore()
                self.assertEqual(before, self.raw())

    def test_a_field_is_renamed_onto_another(self) -> None:
        self.db.users.insert_many([{"_id": n, "old": n, "tags": -n, "n": 1} for n in range(COUNT)])
        before = self.fields("old", "tags", "n")
        self.batches.update(self.db.users, {}, {"$rename": {"old": "tags"}}, keep=["old", "tags"])
        self.assertNotEqual(before, self.fields("old", "tags", "n"))
        self.batches.restore()
        self.assertEqual(before, self.fields("old", "tags", "n"))

    def test_all_kinds_of_walks_over_the_same_documents(self) -> None:
        """On the page: what was kept last comes back first."""
        self.fill()
        before, batches = self.raw(), self.batches
        batches.update(self.db.users, {}, {"$inc": {"n": 1}}, size=30, keep=["n"])
        batches.update(self.db.users, {}, lambda user: {"$inc": {"n": 1}}, size=70, keep=True)
        batches.update(self.db.users, {}, [{"$set": {"n": ["$n"]}}], keep=["n"])
        batches.delete(self.db.users, {"_id": {"$mod": [2, 1]}}, keep=True)
        self.assertEqual(3 * COUNT + COUNT // 2, batches.restore())
        self.assertEqual(before, self.raw())
        self.assertEqual(0, batches.restore(), "a second time there is nothing left")
        self.assertEqual(before, self.raw())

    def test_another_database_and_names_with_dots(self) -> None:
        other = self.client[f"{self.database}_other"]
        self.addCleanup(self.client.drop_database, other.name)
        for collection in (other["a.b"], self.db["ünï.system"], self.db["migrations"]):
            with self.subTest(collection.name):
                collection.insert_many([{"_id": n, "n": n} for n in range(9)])
                before = list(collection.find())
                batches = migopy.Batches()
                batches.update(collection, {}, {"$inc": {"n": 1}}, keep=["n"])
                batches.restore()
                self.assertEqual(before, list(collection.find()))

    def test_documents_that_a_function_leaves_are_not_kept(self) -> None:
        self.fill()
        before = self.raw()
        update: Callable[[Any], Any] = lambda user: {"$inc": {"n": 1}} if user["n"] % 2 else None  # noqa: E731
        self.batches.update(self.db.users, {}, update, size=20, keep=["n"])
        kept = self.db.migrations_kept.find({"_id.part": "", "_id.stream": "before"})
        self.assertEqual(COUNT // 2, sum(part["_id"]["documents"] for part in kept))
        self.batches.restore()
        self.assertEqual(before, self.raw())


class TestLastBitInSet(InSet, TestLastBit):
    LARGE = 6 * 1024 * 1024
    """A larger transaction does not fit into the small cache of the server."""


class TestChangedSince(UndoTestCase):
    def update(self) -> None:
        self.fill()
        self.batches.update(self.db.users, {}, lambda user: {"$set": {"tags": [user["tags"]]}}, size=50, keep=["tags"])

    def test_what_somebody_has_changed_is_left(self) -> None:
        self.update()
        self.db.users.update_many({"_id": {"$in": [7, 12, 90]}}, {"$set": {"tags": "new"}})
        self.db.users.update_many({"_id": 8}, {"$set": {"n": "another field"}})
        self.db.users.delete_many({"_id": {"$in": [200, 201]}})
        self.assertEqual(COUNT - 5, self.batches.restore())
        changed = self.db.users.find({"_id": {"$in": [7, 12, 90]}})
        self.assertEqual(["new"] * 3, [user["tags"] for user in changed])
        self.assertEqual(
            COUNT - 5,
            self.db.users.count_documents({"$expr": {"$eq": [{"$type": "$tags"}, "string"]}, "tags": {"$ne": "new"}}),
        )
        self.assertGreater(self.kept(), 0, "what these were")
        self.assertEqual(3, self.batches.restore(overwrite=True))
        self.assertEqual(["t7", "t12", "t90"], [self.db.users.find_one(n)["tags"] for n in (7, 12, 90)])  # type: ignore[index]

    def test_a_unique_index_through_which_up_found_its_way(self) -> None:
        """On the way back, as on the way there, each document needs the place of its neighbor."""
        self.db.users.create_index("n", unique=True)
        self.fill()
        before = self.raw()
        updates: list[Any] = [
            {"$inc": {"n": -1}},
            [{"$set": {"n": {"$add": ["$n", -1]}}}],
            lambda user: {"$inc": {"n": -1}},
        ]
        for update in updates:
            for keep in (["n"], True):
                with self.subTest(update=update, keep=keep):
                    self.batches.update(self.db.users, {}, update, keep=keep)
                    self.assertNotEqual(before, self.raw())
                    self.assertEqual(COUNT, self.batches.restore())
                    self.assertEqual(before, self.raw())

    def test_the_collection_has_another_name(self) -> None:
        self.update()
        self.db.users.rename("people")
        with self.assertRaisesRegex(BatchFailed, "users was dropped or renamed, so nothing .* give it back its name"):
            self.batches.restore()
        self.db.people.rename("users")
        self.assertEqual(COUNT, self.batches.restore())

    def test_a_validator_in_the_way(self) -> None:
        self.update()
        self.db.command("collMod", "users", validator={"tags": {"$type": "array"}})
        with self.assertRaisesRegex(BatchFailed, r"users, _id 249 cannot be put back \(Document failed validation"):
            self.batches.restore()
        self.db.command("collMod", "users", validator={})
        self.batches.restore()
        self.assertEqual(COUNT, self.db.users.count_documents({"tags.0": None}))

    def test_a_unique_index_in_the_way_is_named_with_both_documents(self) -> None:
        self.fill()
        self.batches.update(self.db.users, {}, [{"$set": {"tags": "$n"}}], size=50, keep=["tags"])
        self.db.users.create_index("tags", unique=True)
        self.db.users.insert_one({"_id": 1000, "tags": "t77"})
        with self.assertRaisesRegex(
            BatchFailed, r"users, _id 77 cannot be put back, because _id 1000 has the same"
        ) as e:
            self.batches.restore()
        self.assertNotIn("\n", str(e.exception))
        self.db.users.delete_one({"_id": 1000})
        self.batches.restore()
        self.assertEqual(
            [f"t{n}" for n in range(COUNT)], [user["tags"] for user in self.db.users.find().sort("_id", 1)]
        )


class TestChangedSinceInSet(InSet, TestChangedSince):
    pass


class TestDeleted(UndoTestCase):
    def test_documents_come_back_to_the_last_bit(self) -> None:
        self.fill_strangely(TWINS, NESTED_TWINS)
        before = self.raw()
        self.assertEqual(self.batches.delete(self.db.users, {}, size=4, keep=True), self.batches.restore())
        self.assertEqual((before, 0), (self.raw(), self.kept()))

    def test_what_is_there_again_is_left(self) -> None:
        self.fill()
        before = self.db.users.find_one({"_id": 7})
        self.assertEqual(COUNT // 2, self.batches.delete(self.db.users, {"n": {"$mod": [2, 1]}}, size=30, keep=True))
        self.db.users.insert_many([{"_id": 5, "tags": "new"}, before])  # type: ignore[list-item]
        self.assertEqual(COUNT // 2 - 2, self.batches.restore())
        self.assertEqual([{"_id": 5, "tags": "new"}, before], list(self.db.users.find({"_id": {"$in": [5, 7]}})))
        self.assertEqual(COUNT, self.db.users.count_documents({}))
        self.assertEqual(1, self.batches.restore(overwrite=True))
        self.assertEqual({"_id": 5, "tags": "t5", "n": 5}, self.db.users.find_one(5))

    def test_a_unique_index_in_the_way(self) -> None:
        self.fill()
        self.db.users.create_index("tags", unique=True)
        self.batches.delete(self.db.users, {"n": {"$lt": 20}}, keep=True)
        self.db.users.insert_one({"_id": "x", "tags": "t7"})
        with self.assertRaisesRegex(BatchFailed, "users, _id 7 cannot be put back, because _id 'x' has the same value"):
            self.batches.restore()
        self.db.users.delete_one({"_id": "x"})
        self.batches.restore()
        self.assertEqual(COUNT, self.db.users.count_documents({}))

    def test_they_make_a_collection_anew_that_was_dropped(self) -> None:
        self.need("collections made in a transaction")
        self.fill()
        before = self.raw()
        self.batches.delete(self.db.users, {}, keep=True)
        self.db.users.drop()
        self.assertEqual(COUNT, self.batches.restore())
        self.assertEqual(before, self.raw())

    def test_fields_alone_cannot_be_kept(self) -> None:
        with self.assertRaisesRegex(BatchFailed, r"delete keeps whole documents: write keep=True, not \['a'\]"):
            self.batches.delete(self.db.users, {}, keep=["a"])  # type: ignore[arg-type]


class TestDeletedInSet(InSet, TestDeleted):
    pass


class TestRefused(UndoTestCase):
    def test_what_cannot_be_kept_is_refused_before_anything_is_written(self) -> None:
        self.fill(5)
        before = self.raw()
        for keep, why in (
            ("tags", "not 'tags'"),
            ([], r"not \[\]"),
            (["a.b"], "'a.b' is a path: write 'a' to keep the whole field"),
            (["_id"], "_id never changes"),
            ([""], "is not the name of a field"),
            (["$x"], "is not the name of a field"),
            ([1], "is not the name of a field"),
            (1, "not 1"),
        ):
            with self.assertRaisesRegex(BatchFailed, why):
                self.batches.update(self.db.users, {}, {"$set": {"n": 7}}, keep=keep)  # type: ignore[arg-type]
        with self.assertRaisesRegex(BatchFailed, r"write\(\) keeps nothing"):
            for users in self.batches(self.db.users):
                users.write(self.db.users, [], keep=True)
        self.assertEqual(before, self.raw())
        self.assertNotIn("migrations_kept", self.db.list_collection_names())

    def test_nothing_is_kept(self) -> None:
        with self.assertRaisesRegex(BatchFailed, r"Nothing is kept by this object: .* needs keep="):
            self.batches.restore()


UP = "batches.update(db.users, {'tags': {'$type': 'string'}}, [{'$set': {'tags': ['$tags']}}], size=40, keep=['tags'])"


class TestInRuns(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.db.users.insert_many([{"_id": n, "tags": f"t{n}"} for n in range(COUNT)])
        self.before = self.tags()

    def tags(self) -> list[Any]:
        return [user["tags"] for user in self.db.users.find().sort("_id", 1)]

    def migration(self, up: str = UP, down: str | None = None) -> None:
        self.team.migration("1_tags.py", up, down, arguments="db, batches")

    def run_well(self, *options: str, **named: Any) -> str:
        result = self.run_task(*options, **named)
        self.assertEqual(0, result.code, result.output)
        return result.output

    def test_without_a_down_it_is_rolled_back_from_what_is_kept(self) -> None:
        self.migration()
        self.assertRegex(self.run_well("plan"), r"1_tags.py +in batches +no +from what is kept +no")
        self.assertTrue(json.loads(self.run_well("plan", json="yes"))["plan"][0]["down_from_kept"])
        self.run_well("execute")
        self.assertEqual([[tag] for tag in self.before], self.tags())
        self.assertRegex(self.run_well("kept"), rf"1_tags.py +users +{COUNT} +\S+ kB +20")
        self.assertEqual(COUNT, json.loads(self.run_well("kept", json="yes"))["kept"][0]["documents"])
        self.assertIn("executed, kept", self.run_well("history"))
        self.assertIn(f"Kept for its rollback: {COUNT} documents", self.run_well("history", "1"))
        self.run_well("rollback", "1")
        self.assertEqual((self.before, []), (self.tags(), self.registered()))
        self.assertIn("Nothing is kept", self.run_well("kept"))
        self.run_well("execute")
        self.run_well("rollback", "1")
        self.assertEqual(self.before, self.tags())

    def test_down_restores_and_may_do_more(self) -> None:
        self.migration(down="batches.restore()\ndb.users.update_one({'_id': 0}, {'$set': {'more': 1}})")
        self.run_well("execute")
        self.db.users.update_one({"_id": 7}, {"$set": {"tags": "new"}})
        output = self.run_well("rollback", "1")
        self.assertIn("1 document of users was changed since and is left as it is: _id 7", output)
        self.assertEqual(["new" if n == 7 else tag for n, tag in enumerate(self.before)], self.tags())
        # What it was is still there, for a file that asks for it.
        self.migration(down="batches.restore(overwrite=True)")
        self.run_well("ignore", "1")
        self.run_well("rollback", "1")
        self.assertEqual(self.before, self.tags())

    def test_updates_and_deletes_come_back_in_one_rollback(self) -> None:
        before = list(self.db.users.find().sort("_id", 1))
        self.migration(UP + "\nbatches.delete(db.users, {'_id': {'$lt': 99}}, size=20, keep=True)")
        self.run_well("execute")
        self.assertEqual(COUNT - 99, self.db.users.count_documents({}))
        self.db.users.insert_one({"_id": 3, "tags": "again"})
        output = self.run_well("rollback", "1")
        self.assertIn("1 document of users is there again and is left as it is: _id 3", output)
        self.db.users.replace_one({"_id": 3}, before[3])
        self.assertEqual(before, list(self.db.users.find().sort("_id", 1)))

    def test_half_kept_is_refused_before_anything_runs(self) -> None:
        self.migration(UP + "\nbatches.update(db.notes, {}, {'$set': {'n': 1}})")
        self.db.notes.insert_one({})
        self.assertRegex(self.run_well("plan"), r"1_tags.py +in batches +no +no +no")
        self.run_well("execute")
        result = self.run_task("rollback", "1")
        self.assertEqual(1, result.code)
        self.assertIn(
            "1_tags.py has no down(), and up() has kept only a part of what it replaced: users, but not notes. Write a"
            " down(db, batches) that calls batches.restore() and takes back the rest. Nothing was rolled back.",
            result.stderr,
        )
        self.assertEqual([[tag] for tag in self.before], self.tags())

    def test_nothing_kept_and_no_down(self) -> None:
        self.migration(UP.replace(", keep=['tags']", ""))
        self.run_well("execute")
        result = self.run_task("rollback", "1")
        self.assertEqual((1, True), (result.code, "1_tags.py has no function down(db): add one." in result.stderr))

    def test_dropped(self) -> None:
        self.migration()
        self.run_well("execute")
        refused = self.run_task("kept", drop="1")
        self.assertEqual((1, True), (refused.code, "force=yes" in refused.stderr))
        self.assertIn("Nothing is kept for more than 30 days", self.run_well("kept", older="30", force="yes"))
        self.assertIn("Deleted what was kept", self.run_well("kept", drop="1", force="yes"))
        self.assertEqual(0, self.db.migrations_kept.count_documents({}))
        result = self.run_task("rollback", "1")
        self.assertIn(
            "1_tags.py has no function down(db) and nothing of what it replaced is kept any more", result.stderr
        )
        self.assertEqual(["1_tags.py"], self.registered())
        result = self.run_task("kept", drop="1")
        self.assertIn("Nothing is kept of 1_tags.py", result.stderr)

    def test_what_is_old_is_dropped_with_its_days(self) -> None:
        self.migration()
        self.run_well("execute")
        earlier = [{"$set": {"at": {"$subtract": ["$at", 40 * 86_400_000]}}}]
        # Before MongoDB 5.0 what is read by majority may not have it yet.
        kept = self.db.migrations_kept.with_options(write_concern=WriteConcern("majority"))
        kept.update_one({"_id.walk": "1_tags.py"}, earlier)
        self.run_well("kept", older="30", force="yes")
        self.assertEqual(0, self.db.migrations_kept.count_documents({}))

    def test_forget_leaves_it_and_another_execution_begins_anew(self) -> None:
        self.migration()
        self.run_well("execute")
        self.run_well("forget", "1")
        between = self.tags()
        self.migration(UP.replace("{'tags': {'$type': 'string'}}", "{}"))
        self.run_well("execute")
        self.run_well("rollback", "1")
        self.assertEqual(between, self.tags())
        self.assertIn("1_tags.py", self.run_well("kept"))

    def test_a_later_execution_that_keeps_nothing_restores_nothing_older(self) -> None:
        self.migration()
        self.run_well("execute")
        self.run_well("forget", "1")
        self.migration("batches.update(db.users, {}, {'$set': {'tags': 1}})")
        self.run_well("execute")
        self.assertEqual(1, self.run_task("rollback", "1").code)
        self.assertEqual([1] * COUNT, self.tags())

    def test_a_keep_that_the_file_shows_to_be_wrong_is_refused_when_it_is_loaded(self) -> None:
        self.team.trace("0_first.py")
        self.migration(UP.replace("['tags']", "['tags.a']"))
        result = self.run_task("execute")
        self.assertIn("1_tags.py, line 2: keep has to be True or a list", result.stderr)
        self.assertIn("'tags.a' is a path: write 'tags' to keep the whole field. No migration was run.", result.stderr)
        self.assertEqual([], self.registered())

    def test_keep_in_down_and_restore_in_up_are_refused(self) -> None:
        self.migration("batches.restore()", UP)
        self.assertIn("restore() is for down()", self.run_task("execute").stderr)
        self.migration("pass", UP)
        self.run_well("execute")
        self.assertIn("keep is for up(): nothing takes back what down() does", self.run_task("rollback", "1").stderr)

    def test_a_failed_run_resumes_and_keeps_in_one(self) -> None:
        fails = (
            "def once(user):\n    if user['_id'] == 77:\n        raise ValueError\n    return {'$set': {'tags': 1}}\n"
        )
        update = "batches.update(db.users, {}, once, size=20, keep=['tags'])"
        self.migration(fails + update)
        self.assertEqual(1, self.run_task("execute").code)
        self.migration(fails.replace("77", "-1") + update)
        self.run_well("execute")
        self.assertEqual([1] * COUNT, self.tags())
        self.run_well("rollback", "1")
        self.assertEqual(self.before, self.tags())

    def test_a_rehearsal_restores_from_what_is_kept_and_leaves_out_what_is_there(self) -> None:
        self.migration()
        self.run_well("execute")
        self.team.migration("2_more.py", UP.replace("{'tags': {'$type': 'string'}}", "{}"), None, "db, batches")
        rehearsed = self.run_well("rehearse", documents="all")
        self.assertRegex(rehearsed, r"2_more.py .* restores +the same +users")
        self.assertIn("down: from what is kept", rehearsed)
        self.assertEqual([[tag] for tag in self.before], self.tags())
        self.assertEqual({"1_tags.py"}, {row["name"] for row in json.loads(self.run_well("kept", json="yes"))["kept"]})

    def test_a_batch_that_was_written_without_its_checkpoint(self) -> None:
        """As if the run had died there: what is kept first wins, and nothing is counted or kept twice."""
        self.migration("batches.update(db.users, {}, {'$push': {'tags': 'x'}}, size=40, keep=['tags'])")
        self.db.users.update_many({}, [{"$set": {"tags": ["$tags"]}}])
        before = self.tags()
        move, dies = Trail.move, iter([False, False, True])

        def move_or_die(trail: Trail, *arguments: Any) -> None:
            if next(dies, False):
                raise RuntimeError
            move(trail, *arguments)

        with mock.patch.object(Trail, "move", move_or_die):
            self.assertEqual(1, self.run_task("execute").code)
            self.run_well("execute")
            self.assertIn({len(tags) for tags in self.tags()}, ({2}, {2, 3}))
            self.db.users.update_many({"_id": {"$in": [3, 200]}}, {"$set": {"tags": "since"}})
            self.db.users.delete_one({"_id": 220})
            dies = iter([False, False, True])
            self.assertEqual(1, self.run_task("rollback", "1").code)
            output = self.run_well("rollback", "1")
        self.assertIn("2 documents of users were changed since and are left as they are: _id 3, 200", output)
        self.assertRegex(output, r"\d+ documents of users are put back")
        self.assertIn("1 document of users was deleted since", output)
        expected = {**dict(enumerate(before)), 3: "since", 200: "since"}
        del expected[220]
        self.assertEqual(expected, {user["_id"]: user["tags"] for user in self.db.users.find()})
        self.assertRegex(self.run_well("kept"), "1_tags.py +users +3 ")

    def test_a_renamed_file_that_was_accepted_is_rolled_back_from_what_is_kept(self) -> None:
        self.migration()
        files = self.team.path / "mongomigrations"
        for subtask in ("execute", "ignore"):
            with self.subTest(subtask):
                self.run_well("execute")
                if subtask == "ignore":
                    self.run_well("forget", "1")
                    self.run_well("ignore", "1")
                for old, new in (("1_tags", "2_labels"), ("2_labels", "3_words")):
                    (files / f"{old}.py").rename(files / f"{new}.py")
                    self.run_well("accept", new)
                refused = self.run_task("kept", drop="3")
                self.assertIn("Delete what is kept of 250 documents by 1_tags.py?", refused.stderr)
                self.run_well("rollback", "3")
                self.assertEqual((self.before, []), (self.tags(), self.registered()))
                (files / "3_words.py").rename(files / "1_tags.py")

    def test_what_a_failed_run_has_done_is_taken_back(self) -> None:
        """With the commands that rollback names."""
        self.migration(
            "def once(user):\n    if user['_id'] == 77:\n        raise ValueError\n    return {'$set': {'tags': 1}}\n"
            "batches.update(db.users, {}, once, size=20, keep=['tags'])"
        )
        self.assertEqual(1, self.run_task("execute").code)
        self.assertEqual(1, self.tags()[0])
        self.assertIn("fab migrations:ignore,1_tags.py", self.run_task("rollback", "1").stderr)
        self.run_well("ignore", "1")
        self.run_well("rollback", "1")
        self.assertEqual((self.before, []), (self.tags(), self.registered()))

    def test_a_down_that_fails_after_it_has_restored(self) -> None:
        self.migration(down="batches.restore()\n1 / 0")
        self.run_well("execute")
        self.assertEqual(1, self.run_task("rollback", "1").code)
        self.assertEqual((self.before, ["1_tags.py"]), (self.tags(), self.registered()))
        self.migration(down="batches.restore()")
        self.run_well("rollback", "1")
        self.assertEqual((self.before, []), (self.tags(), self.registered()))

    def test_restore_in_the_down_of_another_migration(self) -> None:
        self.migration()
        self.run_well("execute")
        self.team.migration("2_more.py", "pass", "batches.restore()", "db, batches")
        self.run_well("execute")
        result = self.run_task("rollback", "2")
        self.assertEqual(1, result.code)
        self.assertIn("Nothing is kept of 2_more.py", result.stderr)
        self.assertEqual([[tag] for tag in self.before], self.tags())

    def test_collections_that_answer_pymongo_2(self) -> None:
        self.migration("db.users.update({'_id': 0}, {'$set': {'x': 1}})\n" + UP)
        self.run_well("execute")
        self.run_well("rollback", "1")
        self.assertEqual(self.before, self.tags())

    def test_streams_of_several_chunks(self) -> None:
        self.addCleanup(setattr, kept_documents, "CHUNK_BYTES", kept_documents.CHUNK_BYTES)
        kept_documents.CHUNK_BYTES = 100
        self.migration()
        self.run_well("execute")
        self.run_well("rollback", "1")
        self.assertEqual(self.before, self.tags())


class TestInRunsInSet(InSet, TestInRuns):
    pass


class TestDumps(DumpTestCase):
    def test_a_restore_brings_back_what_the_dump_has_kept(self) -> None:
        project = self.dumping()
        self.db.users.insert_many([{"_id": n, "tags": f"t{n}"} for n in range(COUNT)])
        project.migration("1_a.py", UP, None, "db, batches")
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        self.assert_code(0, project.fab("migrations:execute"))
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        before, after = (folder.name for folder in self.dumps(project))
        self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{before},force=yes"))
        self.assertEqual(0, self.db.migrations_kept.count_documents({}), "it is of an execution that is undone")
        self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{after},force=yes"))
        self.assert_code(0, project.fab("migrations:rollback,1"))
        self.assertEqual(COUNT, self.db.users.count_documents({"tags": {"$type": "string"}, "tags.0": None}))


class TestRights(WithUsersTestCase, RunTestCase):
    def test_without_the_rights_a_sentence_before_the_first_batch(self) -> None:
        self.db.users.insert_many([{"_id": n, "tags": f"t{n}"} for n in range(9)])
        for action in ("find", "insert", "remove"):
            with self.subTest(action):
                self.refuse(action)

    def refuse(self, missing: str) -> None:
        name = f"without_{missing}"
        others = ["users", "migrations", "migrations_log", "migrations_lock", "migrations_batches"]
        everything = ["find", "insert", "update", "remove", "collStats", "listIndexes"]
        actions = {**dict.fromkeys(others, everything)}
        actions["migrations_kept"] = [action for action in ("find", "insert", "remove") if action != missing]
        privileges = [
            {"resource": {"db": self.database, "collection": collection}, "actions": allowed}
            for collection, allowed in actions.items()
        ]
        self.db.command("createRole", name, privileges=privileges, roles=[])
        self.db.command("createUser", name, pwd="secret", roles=[name])
        project = self.project(
            MONGO_URI=f"mongodb://{name}:secret@{self.server.host}:{self.server.port}/{self.database}"
        )
        project.migration("1_tags.py", UP, None, "db, batches")
        result = project.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertIn(f"the right to {missing} in {self.database}.migrations_kept", result.stderr)
        self.assertEqual(9, self.db.users.count_documents({"tags": {"$type": "string"}}))
        self.assertEqual(0, self.db.users.count_documents({"tags.0": {"$exists": True}}))
