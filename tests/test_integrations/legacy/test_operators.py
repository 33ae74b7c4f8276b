"""What MongoDB 2.4 and 2.6 understood and later ones do not: written as today's, or refused with a sentence."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

import gridfs
import pymongo
from bson.code import Code
from bson.son import SON

from migopy import legacy
from migopy.errors import MigopyException
from tests.legacy import calls
from tests.legacy.case import LegacyTestCase


class TestQueries(LegacyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.plain.a.insert_many([{"_id": number, "x": number % 3, "at": [number, number]} for number in range(9)])
        self.plain.a.create_index([("at", "2d")])
        self.plain.points.insert_one({"_id": 1, "at": {"type": "Point", "coordinates": [1, 1]}})
        self.plain.points.create_index([("at", "2dsphere")])

    def ids(self, found: Any) -> list[Any]:
        return sorted(document["_id"] for document in found)

    def test_isolation_is_left_out(self) -> None:
        for operator in ("$atomic", "$isolated"):
            self.assertEqual(3, self.db.a.update({"x": 1, operator: 1}, {"$inc": {"n": 1}}, multi=True)["n"])
            self.assert_shown(f"{operator}: write the query without it today")
            self.assertEqual([1, 4, 7], self.ids(self.db.a.find({operator: True, "x": 1})))
            self.assertEqual(3, self.db.a.count({operator: True, "x": 1}))
            self.assertEqual(3, self.db.a.find({operator: True, "x": 1}).count())
            self.assertEqual([1], self.db.a.distinct("x", {operator: True, "x": 1}))
            self.assertEqual(1, self.db.a.find_and_modify({operator: 1, "_id": 1}, {"$inc": {"n": 1}})["_id"])
        bulk = self.db.a.initialize_ordered_bulk_op()
        bulk.find({"$atomic": 1, "_id": 2}).update({"$pushAll": {"l": [1, 2]}})
        self.assertEqual(1, bulk.execute()["nModified"])
        self.assertEqual(1, self.db.a.remove({"$atomic": 1, "_id": 3})["n"])
        self.assertEqual([1, 2], self.plain.a.find_one({"_id": 2})["l"])

    def test_code_without_a_scope_of_its_own(self) -> None:
        where = Code("this._id == 1", {})
        self.assertEqual([1], self.ids(self.db.a.find({"$where": where})))
        self.assertEqual([1], self.ids(self.db.a.find({"$or": [{"$where": where}]})))
        self.assertEqual([1], self.ids(self.db.a.find().where(where)))
        self.assertEqual(1, self.db.a.count({"$where": where}))
        text = "Code with a scope: MongoDB 4.4 dropped it in $where, write the values into the code."
        self.assert_refused(lambda: self.db.a.find({"$where": Code("this._id == n", {"n": 1})}), text)
        self.assert_refused(lambda: self.db.a.find().where(Code("this._id == n", {"n": 1})), text)

    def test_distances_beside_the_point_in_any_order(self) -> None:
        for near in ("$near", "$nearSphere"):
            for order in ((near, "$maxDistance"), ("$maxDistance", near)):
                legacy_pair = {near: [1, 1], "$maxDistance": 0.1 if near == "$nearSphere" else 1.5}
                self.assertIn(1, self.ids(self.db.a.find({"at": {name: legacy_pair[name] for name in order}})))
                geometry = {near: {"$geometry": {"type": "Point", "coordinates": [1, 1]}}, "$maxDistance": 500}
                found = self.db.points.find({"at": {name: geometry[name] for name in order}})
                self.assertEqual([1], self.ids(found))
        self.assertEqual(
            [0, 1], self.ids(self.db.a.find({"at": {"$within": {"$box": [[0, 0], [1, 1]]}, "$uniqueDocs": True}}))
        )

    def test_the_modifiers_of_a_query(self) -> None:
        found = self.db.a.find({"$query": {"x": 1, "$atomic": 1}, "$orderby": {"_id": -1}, "$snapshot": True})
        self.assertEqual([7, 4, 1], [document["_id"] for document in found])
        self.assertEqual(3, len(list(self.db.a.find({"x": 1}, modifiers={"$snapshot": True}))))
        for refused in (
            lambda: self.db.a.find({"$query": {}, "$maxScan": 5}),
            lambda: self.db.a.find(modifiers={"$maxScan": 5}),
            lambda: self.db.a.find().max_scan(5),
        ):
            self.assert_refused(refused, "max_scan: MongoDB 4.2 dropped it, write max_time_ms.")

    def test_a_query_that_needs_no_change_is_the_very_same(self) -> None:
        for query in ({"x": 1}, {"x": {"$gt": 0}, "a.b": re.compile("x")}, {"x": {"$not": {"$gt": 5}}}, SON(x=1), None):
            self.assertEqual(query, legacy.operators.query(query))
        self.assertEqual([0, 3, 6], self.ids(self.db.a.find({"x": {"$not": {"$gt": 0}}, "$nor": [{"x": 1}]})))

    def test_fields_that_others_show_already(self) -> None:
        self.plain.b.insert_one({"_id": 1, "a": {"b": 1, "c": 2}, "ab": 3, "d": 4})
        everything = {"_id": 1, "a": {"b": 1, "c": 2}, "ab": 3}
        for fields in (["a", "a.b", "ab"], ["a.b", "ab", "a"], {"a": 1, "a.b": 1, "ab": True}):
            self.assertEqual(everything, self.db.b.find_one({}, fields))
            self.assertEqual(everything, self.db.b.find_one({}, fields=fields))
            self.assertEqual(everything, next(self.db.b.find({}, fields=fields)))

    def test_a_field_that_would_be_replaced_by_what_was_a_yes_is_refused(self) -> None:
        for value in ("1", "", None):
            with self.assertRaisesRegex(MigopyException, "^find: since MongoDB 4.4 .* write {'x': 1} or "):
                self.db.a.find({}, {"x": value})
            with self.assertRaisesRegex(MigopyException, "^find: since MongoDB 4.4 "):
                self.db.a.find_one({}, fields={"x": value})
        if self.has("expressions in find"):
            self.assertEqual({"_id": 1, "y": 1}, self.db.a.find_one({"_id": 1}, {"y": "$x"}))


class TestUpdates(LegacyTestCase):
    def test_push_all_is_push_with_each(self) -> None:
        self.db.a.insert({"_id": 1, "l": [1]})
        self.db.a.update({"_id": 1}, {"$pushAll": {"l": [2, 3], "m": [4]}, "$push": {"n": 5}, "$set": {"x": 1}})
        self.assert_shown("$pushAll: write $push with $each today")
        self.assertEqual([{"_id": 1, "l": [1, 2, 3], "m": [4], "n": [5], "x": 1}], self.documents())
        self.assertEqual([4, 6], self.db.a.find_and_modify({}, {"$pushAll": {"m": [6]}}, new=True)["m"])
        self.assert_refused(
            lambda: self.db.a.update({}, {"$pushAll": {"l": [2]}, "$push": {"l": 3}}),
            "$pushAll: l is in $push too, write one $push with $each.",
        )

    def test_a_write_concern_in_a_document(self) -> None:
        self.db.a.insert({"_id": 1})
        self.assertEqual(1, self.db.a.update({"_id": 1}, {"$set": {"x": 1}}, writeConcern={"w": 1})["n"])

    def test_what_getlasterror_said_of_a_write(self) -> None:
        self.db.a.insert({"_id": 1})
        for reply in (self.db.a.update({"_id": 1}, {"$set": {"x": 1}}), self.db.a.remove({"_id": 1})):
            self.assertIsNone(reply["err"])
            self.assertIsNone(reply.get("err"))
            self.assertIsInstance(reply["connectionId"], int)
            self.assertEqual((1, 1.0), (reply["n"], reply["ok"]))
            with self.assertRaises(KeyError):
                reply["nonsense"]
        self.assertFalse(self.db.a.update({"_id": 1}, {"$set": {"x": 1}})["updatedExisting"])


class TestAggregate(LegacyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.plain.a.insert_many([{"_id": number} for number in range(250)])

    def test_the_result_stays(self) -> None:
        reply = self.db.a.aggregate([{"$sort": {"_id": 1}}])
        for _ in range(2):
            self.assertEqual(250, len(reply["result"]))
            self.assertEqual(249, reply.get("result")[-1]["_id"])
            self.assertEqual(250, len(list(reply)))
        self.assertTrue("result" in reply and "ok" in reply and "cursor" not in reply and {"_id": 5} in reply)
        self.assertEqual((1.0, None, 7), (reply["ok"], reply.get("errmsg"), reply.get("errmsg", 7)))
        self.assertEqual({"result", "ok"}, set(dict(reply)))
        with self.assertRaises(KeyError):
            reply["cursor"]

    def test_a_cursor_is_one_as_today(self) -> None:
        cursor = self.db.a.aggregate([{"$sort": {"_id": 1}}], cursor={"batchSize": 10})
        self.assertEqual({"_id": 0}, next(cursor))
        self.assertEqual(249, len(list(cursor)))
        self.assertEqual([], self.shown)

    def test_as_a_command(self) -> None:
        reply = self.db.command("aggregate", "a", pipeline=[{"$match": {"_id": 5}}])
        self.assertEqual({"result": [{"_id": 5}], "ok": 1.0}, reply)
        self.assertIn("cursor", self.db.command("aggregate", "a", pipeline=[], cursor={}))


class TestMapReduce(LegacyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.plain.a.insert_many([{"_id": number, "kind": "xy"[number % 2]} for number in range(5)])
        self.counts = [{"_id": "x", "value": 3.0}, {"_id": "y", "value": 2.0}]

    def found(self, *args: Any, **kwargs: Any) -> Any:
        return sorted(self.db.a.inline_map_reduce(*args, **kwargs), key=lambda found: str(found["_id"]))

    def test_scopes_of_the_code(self) -> None:
        self.assertEqual(self.counts, self.found(Code(str(calls.MAP), {}), Code(str(calls.REDUCE), {})))
        mapping = Code("function () { emit(this.kind, many); }", {"many": 10})
        self.assertEqual([30.0, 20.0], [each["value"] for each in self.found(mapping, calls.REDUCE)])
        self.assertEqual([3.0, 2.0], [each["value"] for each in self.found(mapping, calls.REDUCE, scope={"many": 1})])

    def test_options_of_then(self) -> None:
        out = SON([("merge", "counts"), ("nonAtomic", False), ("sharded", False)])
        self.db.a.map_reduce(calls.MAP, calls.REDUCE, out, keeptemp=False, query={"$atomic": 1, "kind": "x"})
        self.assertEqual(self.counts[:1], self.documents("counts"))
        self.assert_refused(
            lambda: self.db.a.map_reduce(calls.MAP, calls.REDUCE, "counts", keeptemp=True),
            "keeptemp: MongoDB 4.4 dropped it, write the name of a collection in out.",
        )

    def test_counts_are_refused(self) -> None:
        reply = self.db.a.map_reduce(calls.MAP, calls.REDUCE, "counts", full_response=True)
        self.assertEqual("counts", reply["result"])
        if "counts" not in reply:
            self.assert_refused(
                lambda: reply["counts"],
                "counts: MongoDB 4.4 dropped it from the reply of map_reduce, write count_documents.",
            )
        with self.assertRaises(KeyError):
            reply["nonsense"]


class TestIndexes(LegacyTestCase):
    def test_an_index_that_is_there_is_named_by_the_first_call(self) -> None:
        self.plain.a.create_index("x")
        self.plain.a.create_index("y")
        wanted = [self.db.a.ensure_index("x"), "_id_"]
        for name in self.plain.a.index_information():
            if name not in wanted:
                self.db.a.drop_index(name)
        self.assertEqual(["_id_", "x_1"], sorted(self.plain.a.index_information()))
        self.assertIsNone(self.db.a.ensure_index("x"))
        self.assertIsNone(self.db.client[self.database].a.ensure_index("x"))
        self.assertEqual("x_1", legacy.database(self.plain).a.ensure_index("x"))

    def test_the_name_is_given_again_when_the_time_is_over_or_the_index_gone(self) -> None:
        self.assertEqual("x_1", self.db.a.ensure_index("x", cache_for=0))
        self.assertEqual("x_1", self.db.a.ensure_index("x"))
        self.db.a.drop()
        self.assertEqual("x_1", self.db.a.ensure_index("x"))
        self.assertIn("x_1", self.plain.a.index_information())

    def test_the_index_of_the_id_is_always_there(self) -> None:
        for options in ({}, {"unique": True}, {"background": True}):
            self.db.a.ensure_index("_id", cache_for=0, **options)
        self.assertEqual(["_id_"], sorted(self.plain.a.index_information() or ["_id_"]))

    def test_options_that_are_none_of_an_index(self) -> None:
        self.assertEqual("x_1", self.db.a.ensure_index("x", unique=True, safe=True, w=1, drop_dups=True, v=0))
        self.assertEqual("y_1", self.db.a.create_index("y", safe=True))
        self.assertTrue(self.plain.a.index_information()["x_1"]["unique"])

    def test_an_index_that_is_there_under_another_name(self) -> None:
        self.plain.a.create_index([("x", 1), ("y", -1)], name="mine", sparse=True)
        self.assertEqual("x_1_y_-1", self.db.a.ensure_index([("x", 1), ("y", -1)], sparse=True, background=True))
        self.assert_shown("the index x_1_y_-1 (it exists as mine): write one create_index for both today")
        self.assertEqual(["_id_", "mine"], sorted(self.plain.a.index_information()))
        self.plain.a.create_index("seen", name="unseen")
        self.assert_refused(
            lambda: self.db.a.ensure_index("seen", expireAfterSeconds=60),
            "ensure_index: the index unseen has the same keys and other options, write drop_index('unseen') before it.",
        )

    def test_a_haystack_is_refused(self) -> None:
        self.assert_refused(
            lambda: self.db.a.ensure_index([("at", "geoHaystack"), ("x", 1)], bucket_size=1),
            "geoHaystack: MongoDB 5.0 dropped it, write a 2d index, and $geoWithin in the query.",
        )


class TestCollections(LegacyTestCase):
    def test_options_of_a_new_collection(self) -> None:
        self.db.create_collection("a", size=4096, max=5, autoIndexId=True, flags=1)
        self.assert_shown(
            "create_collection(autoIndexId, flags, max, size=...): write create_collection without it today"
        )
        self.db.create_collection("b", capped=True, size=4096, max=5)
        self.assertEqual([{}, True], [self.plain.a.options(), self.plain.b.options()["capped"]])
        self.assert_refused(
            lambda: self.db.create_collection("c", autoIndexId=False),
            "autoIndexId: MongoDB 4.0 dropped it, write nothing, every collection has an index on _id.",
        )

    def test_what_is_migopys_own_is_not_among_the_names(self) -> None:
        db: Any = legacy.database(self.plain, own=("migrations_log", "migrations_lock"))
        for name in ("a", "migrations", "migrations_lock", "migrations_log"):
            self.plain[name].insert_one({})
        self.assertEqual(["a", "migrations"], sorted(db.collection_names()))
        self.assertEqual(["a", "migrations"], sorted(db.client[self.database].collection_names()))
        self.assertEqual(4, len(db.list_collection_names()))

    def test_the_collections_that_mongodb_itself_had(self) -> None:
        self.plain.a.insert_one({})
        sentences = {
            "indexes": "system.indexes: MongoDB 3.0 dropped it, write index_information() of each collection.",
            "namespaces": "system.namespaces: MongoDB 3.0 dropped it, write list_collection_names().",
            "users": "system.users: MongoDB 2.6 dropped it, write add_user, or command('usersInfo', 1).",
        }
        for name, sentence in sentences.items():
            for collection in (
                self.db.system[name],
                self.db[f"system.{name}"],
                self.db.get_collection(f"system.{name}"),
            ):
                for call in (
                    lambda: collection.find(),  # noqa: B023
                    lambda: collection.find_one({"ns": "x"}),  # noqa: B023
                    lambda: collection.count(),  # noqa: B023
                    lambda: collection.find({}, fields=["x"]),  # noqa: B023
                    lambda: collection.insert({"_id": 1}),  # noqa: B023
                    lambda: collection.insert({"ns": "x.a", "key": {"b.c": 1}, "name": "b.c_1"}),  # noqa: B023
                    lambda: collection.save({"_id": 1}),  # noqa: B023
                    lambda: collection.update({}, {"x": 1}),  # noqa: B023
                    lambda: collection.remove({}),  # noqa: B023
                    lambda: collection.insert_one({}),  # noqa: B023
                    lambda: collection.distinct("name"),  # noqa: B023
                    lambda: collection.ensure_index("x"),  # noqa: B023
                    lambda: collection.map_reduce("", "", "x"),  # noqa: B023
                    lambda: collection.initialize_ordered_bulk_op().execute(),  # noqa: B023
                ):
                    self.assert_refused(call, sentence)
        self.assertEqual([], list(self.db.system.profile.find()))
        self.assertEqual(["a"], self.plain.list_collection_names())

    def test_text_as_a_command(self) -> None:
        self.assert_refused(
            lambda: self.db.command("text", "a", search="x"), "text: MongoDB 3.0 dropped it, write find with $text."
        )

    def test_the_methods_of_then_have_their_names(self) -> None:
        self.assertEqual("insert", self.db.a.insert.__name__)
        self.assertIn("_id", self.db.a.insert.__doc__)

        @functools.wraps(self.db.a.insert)
        def insert(*args: Any) -> Any:
            return self.db.a.insert(*args)

        self.assertEqual(("insert", 1), (insert.__name__, insert({"_id": 1})))
        with self.assertRaises(AttributeError):
            self.db.a.notes.__name__  # noqa: B018


class TestFiles(LegacyTestCase):
    def test_a_file_is_found_by_its_md5(self) -> None:
        content = b"content" * 100_000
        expected = hashlib.md5(content).hexdigest()
        files = gridfs.GridFS(self.db)
        for _ in range(2):
            if not files.exists(md5=expected):
                files.put(content, filename="once")
        self.assertEqual(1, self.plain.fs.files.count_documents({"md5": expected}))
        if not hasattr(pymongo.collection.Collection, "count"):  # PyMongo 3 writes it itself
            self.assert_shown(
                "the file in GridFS gets an md5, as from PyMongo 2 (not with LEGACY_PYMONGO = False): write"
                " metadata={'md5': ...}, and look for metadata.md5 today"
            )

    def test_other_collections_of_files_are_left_alone(self) -> None:
        with self.client.start_session() as session:
            self.db.my.files.insert_one({"_id": 1, "length": 5}, session=session)
        self.assertEqual([{"_id": 1, "length": 5}], self.documents("my.files"))
        gridfs.GridFSBucket(self.db, "pictures").upload_from_stream("empty", b"")
        self.assertEqual(hashlib.md5().hexdigest(), self.plain.pictures.files.find_one()["md5"])

    def test_the_given_database_is_pymongos_own(self) -> None:
        gridfs.GridFS(self.plain).put(b"content", _id=1)
        self.assertEqual(pymongo.version_tuple[0] == 3, "md5" in self.plain.fs.files.find_one())
