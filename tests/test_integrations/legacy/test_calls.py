"""migopy.legacy against a real MongoDB: the calls of PyMongo 2 and 3 on whatever PyMongo is installed."""

from __future__ import annotations

import contextlib
import json
import traceback
import uuid
import warnings
from pathlib import Path
from typing import Any, Callable

import bson
import gridfs
import pymongo
from bson.binary import Binary
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from migopy import legacy
from migopy.errors import MigopyException
from tests.legacy import calls, record
from tests.legacy.case import LegacyTestCase

REFUSED, EXPLAINED = {"raises": "OperationFailure"}, {"raises": "NoSuchCall"}
"""Two indexes of the same keys are refused before MongoDB 5.0; ours says what to write."""


class TestSameAsPyMongo3(LegacyTestCase):
    """What `tests/legacy` does leaves and answers what PyMongo 3.13 left and answered with its own methods."""

    maxDiff = 5000

    def test_the_sample_migrations_leave_the_same_database(self) -> None:
        for path in record.migrations():
            record.function(path, "up")(self.db)
        self.assert_same("migrations", record.contents(self.plain))

    def test_there_are_at_least_thirty_sample_migrations_and_each_can_be_undone(self) -> None:
        self.assertGreaterEqual(len(record.migrations()), 30)
        for path in record.migrations():
            record.function(path, "up")(self.db)
        for path in reversed(record.migrations()):
            with self.subTest(path.name):
                record.function(path, "down")(self.db)

    def test_single_calls_return_and_raise_the_same(self) -> None:
        self.assert_same("calls", calls.outcomes(self.db))

    def test_the_record_is_what_pymongo_3_does_where_it_is_installed(self) -> None:
        if record.IS_PYMONGO_3:
            now = json.loads(record.as_text(record.of_pymongo_3(self.client, self.database)))
            self.assertEqual(record.expected(self.plain), now)

    def assert_same(self, part: str, found: dict[str, Any]) -> None:
        expected, found = record.expected(self.plain)[part], json.loads(json.dumps(found))
        self.assertEqual(sorted(expected), sorted(found))
        for name in expected:
            with self.subTest(name):
                if found[name] == EXPLAINED and expected[name] == REFUSED:
                    continue
                self.assertEqual(expected[name], found[name])


class TestRealObjects(LegacyTestCase):
    def test_database_collections_and_cursors_are_real_ones(self) -> None:
        self.assertIsInstance(self.db, pymongo.database.Database)
        self.assertIsInstance(self.db.a, pymongo.collection.Collection)
        self.assertIsInstance(self.db.a.find(), pymongo.cursor.Cursor)
        self.assertIsInstance(self.db.a.aggregate([]), pymongo.command_cursor.CommandCursor)
        self.assertEqual(self.plain, self.db)
        self.assertEqual(self.plain.a, self.db.a)

    def test_options_are_those_of_the_given_database(self) -> None:
        given = self.plain.with_options(
            codec_options=self.plain.codec_options.with_options(tz_aware=True),
            read_preference=pymongo.ReadPreference.SECONDARY_PREFERRED,
            write_concern=WriteConcern(w=1, j=True),
            read_concern=ReadConcern("local"),
        )
        for made in (legacy.database(given), legacy.database(given).a, legacy.database(given).a.b):
            self.assertEqual(given.codec_options, made.codec_options)
            self.assertEqual(given.read_preference, made.read_preference)
            self.assertEqual(given.write_concern, made.write_concern)
            self.assertEqual(given.read_concern, made.read_concern)

    def test_every_way_to_a_collection_leads_to_one_that_understands(self) -> None:
        self.db.create_collection("made")
        ways: list[Any] = [
            self.db.a,
            self.db.a.b,
            self.db["a-b"],
            self.db.a["b.c"],
            self.db.get_collection("a"),
            self.db.a.with_options(write_concern=WriteConcern(w=1)),
            self.db.with_options(write_concern=WriteConcern(w=1)).a,
            self.db.a.database.b,
            self.db.a.find().collection,
            self.db.a.find().clone().sort("x", 1).collection.database.c,
            self.db.create_collection("other"),
            self.db.made,
        ]
        for number, collection in enumerate(ways):
            with self.subTest(number):
                self.assertEqual(number, collection.insert({"_id": number}))
                self.assertEqual({"_id": number}, self.plain[collection.name].find_one({"_id": number}))

    def test_todays_calls_are_unchanged_and_do_not_warn(self) -> None:
        self.assertEqual(1, self.db.a.insert_one({"_id": 1}).inserted_id)
        self.assertEqual([2, 3], self.db.a.insert_many([{"_id": 2}, {"_id": 3}]).inserted_ids)
        self.assertEqual(1, self.db.a.update_one({"_id": 1}, {"$set": {"x": 1}}).modified_count)
        self.assertEqual(1, self.db.a.delete_one({"_id": 3}).deleted_count)
        self.assertEqual([{"_id": 1, "x": 1}, {"_id": 2}], list(self.db.a.find({}, {"_id": 1, "x": 1}).sort("_id", 1)))
        self.assertEqual({"x": 1}, self.db.a.find_one({"_id": 1}, projection={"_id": 0}))
        self.assertEqual({"_id": 1, "x": 1}, next(self.db.a.aggregate([{"$match": {"x": 1}}])))
        self.assertEqual("x_1", self.db.a.create_index("x"))
        self.assertEqual(2, self.db.a.count_documents({}))
        self.assertEqual(["a"], self.db.list_collection_names())
        self.assertEqual([], self.shown)

    def test_collections_named_like_an_old_call_are_still_collections(self) -> None:
        for collection in (self.db.stats.count, self.db.stats.group, self.db.error, self.db.logout, self.db.eval):
            collection.insert_one({"_id": 1})
        self.assertEqual(
            ["error", "eval", "logout", "stats.count", "stats.group"], sorted(self.plain.list_collection_names())
        )
        self.assertEqual([], self.shown)

    def test_gridfs_takes_it_for_a_database(self) -> None:
        gridfs.GridFS(self.db).put(b"bytes", _id=1)
        self.assertEqual(b"bytes", gridfs.GridFS(self.plain).get(1).read())

    def test_sessions_pass_through(self) -> None:
        with self.client.start_session() as session:
            self.db.a.insert_one({"_id": 1}, session=session)
            self.assertEqual(1, self.db.a.count({}, session=session))
            self.assertEqual(1, self.db.a.find({}, session=session).count())
            self.assertEqual({"_id": 1}, self.db.a.find_one({}, fields={"_id": 1}, session=session))
            self.assertEqual(["a"], self.db.collection_names(session=session))

    def test_an_empty_cursor_or_a_collection_can_be_asked_for_its_truth(self) -> None:
        self.assertTrue(self.db.a)
        self.assertTrue(self.db)


class TestWrites(LegacyTestCase):
    """What PyMongo 2 had and PyMongo 3 had not, and what the comparison does not see."""

    def test_insert_adds_the_id_to_the_given_documents(self) -> None:
        one: dict[str, Any] = {}
        many: list[dict[str, Any]] = [{}, {}]
        self.assertEqual(self.db.a.insert(one), one["_id"])
        self.assertEqual(self.db.a.insert(many), [document["_id"] for document in many])
        self.assertIsInstance(one["_id"], ObjectId)

    def test_insert_takes_raw_documents(self) -> None:
        raw = RawBSONDocument(bson.encode({"_id": 5, "x": 1}))
        self.assertEqual(5, self.db.a.insert(raw))
        self.assertEqual([{"_id": 5, "x": 1}], self.documents())

    def test_keys_are_checked_for_many_documents_as_for_one(self) -> None:
        for wrong in ({"a.b": 1}, {"x": [[{"$y": 1}]]}):
            with self.assertRaisesRegex(Exception, "must not"):
                self.db.a.insert([{"_id": 1}, wrong])
        self.assertEqual([], self.documents())

    def test_safe_is_the_write_concern_of_pymongo_2(self) -> None:
        self.db.a.insert({"_id": 1}, safe=True)
        self.assertIsNone(self.db.a.update({"_id": 1}, {"$set": {"x": 1}}, safe=False))
        self.assertIsNone(self.db.a.remove({"_id": 2}, safe=False))
        self.assertEqual(1, self.db.a.update({"_id": 1}, {"$set": {"x": 2}}, safe=False, w=1)["n"])
        unacknowledged = self.db.a.with_options(write_concern=WriteConcern(w=0))
        self.assertEqual(1, unacknowledged.update({"_id": 1}, {"$set": {"x": 3}}, safe=True)["n"])
        self.assertIsNone(unacknowledged.update({"_id": 1}, {"$set": {"x": 3}}))
        with self.assertRaises(TypeError):
            self.db.a.insert({"_id": 3}, safe="yes")

    def test_unacknowledged_writes_do_not_raise(self) -> None:
        self.db.a.insert({"_id": 1})
        self.assertEqual(1, self.db.a.insert({"_id": 1}, w=0))
        self.assertEqual([1, 2], self.db.a.insert([{"_id": 1}, {"_id": 2}], safe=False, continue_on_error=True))
        self.db.a.insert({"_id": 3})
        self.assertEqual([{"_id": 1}, {"_id": 2}, {"_id": 3}], self.documents())

    def test_arguments_by_position_work_where_pymongo_2_and_3_agree(self) -> None:
        self.db.a.insert([{"_id": 1}, {"_id": 2}], True, True, True, False)
        self.db.a.insert({"_id": 3}, True, True)
        self.db.a.update({}, {"$set": {"x": 1}}, False, False, True, True)
        self.db.a.update({}, {"$set": {"y": 1}}, False, False, True, True, True)
        self.db.a.save({"_id": 4}, True, True)
        self.db.a.remove({"_id": 4}, True)
        self.assertEqual([{"_id": number, "x": 1, "y": 1} for number in (1, 2, 3)], self.documents())

    def test_arguments_by_position_are_refused_where_pymongo_2_and_3_differ(self) -> None:
        self.db.a.insert([{"_id": 1}, {"_id": 2}])
        with self.assertRaisesRegex(MigopyException, "update: .* safe, .* multi: write its name, as in multi=True"):
            self.db.a.update({}, {"$set": {"x": 1}}, False, False, True)
        with self.assertRaisesRegex(MigopyException, "remove: .* safe, .* multi: write its name, as in multi=False"):
            self.db.a.remove({}, False)
        self.assertEqual([{"_id": 1}, {"_id": 2}], self.documents())

    def test_duplicates_raise_what_pymongo_2_raised_and_the_last_one_counts(self) -> None:
        self.db.a.insert([{"_id": 1}, {"_id": 3}])
        with self.assertRaises(pymongo.errors.DuplicateKeyError) as caught:
            self.db.a.insert([{"_id": 1}, {"_id": 2}, {"_id": 3}, {"_id": 4}], continue_on_error=True)
        self.assertIn("_id: 3", str(caught.exception))
        self.assertEqual(11000, caught.exception.code)
        self.assertEqual([1, 2, 3, 4], [document["_id"] for document in self.documents()])

    def test_a_write_concern_that_fails_raises(self) -> None:
        with self.assertRaises(pymongo.errors.OperationFailure):
            self.db.a.insert({"_id": 1}, w=30, wtimeout=1)
        with self.assertRaises(pymongo.errors.OperationFailure):
            self.db.a.with_options(write_concern=WriteConcern(w=30, wtimeout=1)).find_and_modify(
                {"_id": 1}, {"$set": {"x": 1}}, upsert=True
            )

    def test_uuids_are_stored_as_pymongo_2_did(self) -> None:
        value = uuid.UUID("12345678-1234-5678-1234-567812345678")
        self.db.a.insert({"_id": 1, "value": value})
        self.db.a.update({"_id": 1}, {"$set": {"other": value}})
        self.assertEqual(1, self.db.a.count({"value": value}))
        self.assertEqual(1, self.db.a.remove({"value": value, "other": value})["n"])
        self.db.a.initialize_ordered_bulk_op().find({"_id": 2}).upsert().update({"$set": {"value": value}})
        self.db.a.save({"_id": 2, "value": value})
        raw = self.plain.command("find", "a")["cursor"]["firstBatch"][0]["value"]
        self.assertIn(raw, (value, Binary(value.bytes, 3)))

    def test_uuids_are_found_as_pymongo_2_did(self) -> None:
        value = uuid.UUID("12345678-1234-5678-1234-567812345678")
        self.db.a.insert([{"_id": value}, {"_id": 2, "values": [value]}])
        self.assertEqual({"_id": value}, self.db.a.find_one(value))
        self.assertEqual(2, self.db.a.find_one({"values": {"$in": [value]}})["_id"])
        self.assertEqual([2], [document["_id"] for document in self.db.a.find(spec={"values": value}, fields=["_id"])])

    def test_find_and_modify_decodes_as_the_collection_does(self) -> None:
        self.db.a.insert({"_id": 1})
        options = self.db.codec_options.with_options(document_class=SON)
        found = self.db.a.with_options(codec_options=options).find_and_modify({"_id": 1}, {"$set": {"x": 1}}, new=True)
        self.assertEqual((SON, 1), (type(found), found["x"]))

    def test_bulk_operations_say_what_they_did_and_run_once(self) -> None:
        bulk = self.db.a.initialize_ordered_bulk_op()
        bulk.insert({"_id": 1})
        bulk.find({"_id": 2}).upsert().replace_one({"x": 1})
        bulk.find({"_id": 1}).update_one({"$set": {"x": 1}})
        bulk.find({"x": 1}).update({"$inc": {"x": 1}})
        bulk.find({"_id": 2}).remove_one()
        result = bulk.execute()
        self.assertEqual(
            {
                "nInserted": 1,
                "nMatched": 3,
                "nModified": 3,
                "nRemoved": 1,
                "nUpserted": 1,
                "upserted": [{"index": 1, "_id": 2}],
                "writeErrors": [],
                "writeConcernErrors": [],
            },
            result,
        )
        with self.assertRaisesRegex(pymongo.errors.InvalidOperation, "once"):
            bulk.execute()
        self.assertEqual([{"_id": 1, "x": 2}], self.documents())

    def test_bulk_operations_take_a_write_concern(self) -> None:
        bulk = self.db.a.initialize_unordered_bulk_op()
        bulk.insert({"_id": 1})
        self.assertIsNone(bulk.execute({"w": 0}))
        self.db.a.insert({"_id": 2})
        self.assertEqual([{"_id": 1}, {"_id": 2}], self.documents())


class TestReads(LegacyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.plain.a.insert_many([{"_id": number, "x": number % 3, "y": "text"} for number in range(9)])

    def test_find_takes_the_keywords_of_pymongo_2(self) -> None:
        find = self.db.a.find
        self.assertEqual(
            [{"_id": 8, "x": 2}, {"_id": 5, "x": 2}],
            list(find(spec={"x": 2}, fields=["x"], limit=2, sort=[("_id", -1)], timeout=False, snapshot=False)),
        )
        self.assertEqual([{"y": "text"}], list(find({"_id": 1}, fields={"_id": 0, "x": 0})))
        self.assertEqual([{"_id": 1}], list(find({"_id": 1}, fields=[])))
        self.assertEqual([{"_id": 1}], list(find({"_id": 1}, fields={})))
        self.assertEqual({"_id": 1, "x": 1, "y": "text"}, find({"_id": 1}, fields=None)[0])
        self.assertEqual(9, len(list(find(snapshot=True, slave_okay=True, network_timeout=5, manipulate=True))))
        self.assertEqual(9, len(list(find(partial=True, tag_sets=[{}], secondary_acceptable_latency_ms=15))))
        self.assertIsInstance(find({"_id": 1}, as_class=SON)[0], SON)
        self.assertEqual(8, find(modifiers={"$orderby": {"_id": -1}, "$comment": "why", "$maxTimeMS": 1000})[0]["_id"])
        preferred = find(read_preference=pymongo.ReadPreference.SECONDARY_PREFERRED).collection.read_preference
        self.assertEqual(pymongo.ReadPreference.SECONDARY_PREFERRED, preferred)

    def test_find_one_takes_the_keywords_of_pymongo_2(self) -> None:
        self.assertEqual({"_id": 1, "x": 1}, self.db.a.find_one(1, fields=["x"]))
        self.assertEqual({"_id": 1, "x": 1}, self.db.a.find_one(spec_or_id=1, fields=["x"]))
        self.assertEqual({"_id": 2}, self.db.a.find_one({"x": 2}, fields=["_id"], sort=[("_id", 1)]))

    def test_tailable_cursors(self) -> None:
        capped = self.db.create_collection("capped", capped=True, size=4096)
        capped.insert({"_id": 1})
        cursor = capped.find(tailable=True, await_data=False)
        self.assertEqual({"_id": 1}, next(cursor))
        self.assertTrue(cursor.alive)

    def test_a_wrong_keyword_of_find_is_a_type_error(self) -> None:
        for keywords in ({"nonsense": 1}, {"fields": ["x"], "nonsense": 1}, {"filter": {}, "fields": 5}):
            with self.subTest(keywords), self.assertRaises(TypeError):
                self.db.a.find(**keywords)

    def test_aggregate_answers_like_pymongo_2_and_like_today(self) -> None:
        self.assertEqual(
            [{"_id": 8}], self.db.a.aggregate([{"$match": {"_id": 8}}, {"$project": {"_id": 1}}])["result"]
        )
        self.assertEqual(3, len(self.db.a.aggregate({"$match": {"x": 1}})["result"]))
        self.assertEqual(1.0, self.db.a.aggregate([])["ok"])
        self.assertEqual(9, len(list(self.db.a.aggregate([]))))

    def test_parallel_scan_returns_cursors_with_all_documents(self) -> None:
        found = [document for cursor in self.db.a.parallel_scan(4) for document in cursor]
        self.assertEqual(9, len(found))

    def test_map_reduce_into_another_database(self) -> None:
        other = self.database + "_other"
        self.addCleanup(self.client.drop_database, other)
        out = SON([("replace", "counts"), ("db", other)])
        counts = self.db.a.map_reduce(calls.MAP, calls.REDUCE, out)
        self.assertEqual((other, 1), (counts.database.name, counts.count()))

    def test_last_status_tells_of_the_last_write(self) -> None:
        self.db.a.update({"_id": 1}, {"$set": {"x": 7}})
        status = self.db.last_status()
        self.assertEqual((1, True, None), (status["n"], status["updatedExisting"], status["err"]))
        self.assertIsNone(self.db.error())
        self.assertIsNone(self.db.previous_error())
        self.db.a.insert({"_id": 1}, w=0)
        with self.assertRaisesRegex(MigopyException, "getLastError: MongoDB 5.1 dropped it"):
            self.db.error()

    def test_command_takes_the_options_of_pymongo_2(self) -> None:
        reply = self.db.command("count", "a", query={"x": 1}, as_class=SON, slave_okay=True, tag_sets=[{}])
        self.assertEqual((SON, 3), (type(reply), reply["n"]))


class TestIndexes(LegacyTestCase):
    def test_ensure_index_returns_the_name_once(self) -> None:
        self.assertEqual("x_1", self.db.a.ensure_index("x", cache_for=10))
        self.assertIsNone(self.db.a.ensure_index("x", ttl=10))
        self.db.a.drop_index("x_1")
        self.assertEqual("x_1", self.db.a.ensure_index("x"))

    def test_create_index_takes_the_keywords_of_pymongo_2(self) -> None:
        self.assertEqual("x_1", self.db.a.create_index("x", 300))
        self.assertEqual("y_-1", self.db.a.create_index([("y", -1)], cache_for=10, unique=True, drop_dups=True))
        self.assertEqual("z_1", self.db.a.create_index("z", ttl=10, sparse=True))
        self.assertTrue(self.plain.a.index_information()["y_-1"]["unique"])

    def test_drop_dups_with_duplicates_says_what_to_do(self) -> None:
        self.db.a.insert([{"_id": 1, "x": 1}, {"_id": 2, "x": 1}])
        for call in (self.db.a.ensure_index, self.db.a.create_index):
            with self.assertRaisesRegex(MigopyException, "MongoDB 3.0 dropped it, remove the duplicates"):
                call("x", unique=True, drop_dups=True)
            with self.assertRaises(pymongo.errors.DuplicateKeyError):
                call("x", unique=True)

    def test_reindex_works_where_mongodb_allows_it(self) -> None:
        self.db.a.insert({"_id": 1})
        if "setName" in self.client.admin.command("isMaster"):
            with self.assertRaisesRegex(MigopyException, "drop_index and create_index"):
                self.db.a.reindex()
        else:
            self.assertEqual(1, self.db.a.reindex()["nIndexes"])


class TestRefusals(LegacyTestCase):
    """What cannot be translated says what to write instead."""

    def test_what_mongodb_dropped(self) -> None:
        self.assert_refused(
            lambda: self.db.a.group(["x"], {}, {"n": 0}, "function () {}"),
            "group: MongoDB 4.2 dropped it, write aggregate with $group.",
        )
        self.assert_refused(
            lambda: self.db.eval("1"),
            "eval: MongoDB 4.2 dropped it, write the same steps in Python, or aggregate with $function.",
        )
        self.assert_refused(
            lambda: self.db.command("copydb", fromdb="x", todb="y"),
            "copydb: MongoDB 4.2 dropped it, write mongodump and mongorestore.",
        )
        self.assert_refused(
            lambda: self.db.command(SON([("$eval", "1")])),
            "eval: MongoDB 4.2 dropped it, write the same steps in Python, or aggregate with $function.",
        )
        self.assert_refused(lambda: self.db.a.find(max_scan=5), "max_scan: MongoDB 4.2 dropped it, write max_time_ms.")
        self.assert_refused(
            lambda: self.db.system_js.add(1, 2),
            "eval: MongoDB 4.2 dropped it, write the same steps in Python, or aggregate with $function.",
        )

    def test_what_pymongo_dropped(self) -> None:
        self.assert_refused(
            lambda: self.db.authenticate("user", "password"),
            "authenticate: PyMongo 4 removed it, write MONGO_USER and MONGO_USER_PASSWORD in the fabfile.",
        )
        self.assert_refused(
            lambda: self.db.drop_database("x"),
            "drop_database: PyMongo 4 removed it, write db.client.drop_database(name).",
        )
        self.assert_refused(
            lambda: self.db.set_profiling_level(2),
            "set_profiling_level: PyMongo 4 removed it, write db.command('profile', level).",
        )

    def test_what_never_was(self) -> None:
        self.assert_refused(
            lambda: self.db.a.insrt({}),
            "PyMongo has no method 'insrt'. Did you mean insert or insert_one or insert_many?",
        )
        self.assert_refused(lambda: self.db.zzzzzz(), "PyMongo has no method 'zzzzzz'.")

    def test_an_error_shows_the_line_of_the_migration(self) -> None:
        for call in ("insert({'_id': 1}, nonsense=1)", "insert()", "update(1, {})", "insrt()", "find(nonsense=1)"):
            with self.subTest(call):
                up = record.function(Path("1_a.py"), "up", source=f"def up(db):\n    db.a.{call}\n")
                try:
                    up(self.db)
                except Exception as error:
                    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
                    self.assertIn("1_a.py", frames)


class TestWarnings(LegacyTestCase):
    """`legacy.warnings_shown`: one line for each place of a migration that could be modernised."""

    def run_migration(self, body: str) -> None:
        record.function(Path.cwd() / "mongomigrations" / "1_a.py", "up", source=f"def up(db):\n    {body}\n")(self.db)

    def test_a_line_names_the_place_and_todays_call(self) -> None:
        self.run_migration("db.a.insert({'_id': 1})")
        self.assertEqual(["mongomigrations/1_a.py:2: insert: write insert_one or insert_many today"], self.shown)

    def test_a_loop_warns_once_and_two_lines_twice(self) -> None:
        self.run_migration(
            "\n    ".join(
                [
                    'for number in range(5): db.a.save({"_id": number})',
                    'db.a.save({"_id": 9})',
                    "db.a.find().count()",
                ]
            )
        )
        self.assertEqual([2, 3, 4], [int(line.split(":")[1]) for line in self.shown])

    def test_every_translated_call_warns(self) -> None:
        translated: list[Callable[[], Any]] = [
            lambda: self.db.a.insert({"_id": 1}),
            lambda: self.db.a.save({"_id": 1}),
            lambda: self.db.a.update({"_id": 1}, {"x": 1}),
            lambda: self.db.a.find_and_modify({"_id": 1}, {"x": 1}),
            lambda: self.db.a.ensure_index("x"),
            lambda: self.db.a.create_index("y", cache_for=1),
            lambda: self.db.a.count(),
            lambda: self.db.a.find().count(),
            lambda: self.db.a.find(fields=["x"]),
            lambda: self.db.a.find_one(spec_or_id=1),
            lambda: self.db.a.map_reduce(calls.MAP, calls.REDUCE, "out"),
            lambda: self.db.a.inline_map_reduce(calls.MAP, calls.REDUCE),
            lambda: self.db.a.aggregate([])["result"],
            lambda: self.db.a.aggregate({"$match": {}}),
            lambda: self.db.a.parallel_scan(1),
            lambda: self.db.a.initialize_ordered_bulk_op(),
            lambda: self.db.a.initialize_unordered_bulk_op(),
            lambda: self.db.a.remove(),
            lambda: bool(self.db.a),
            lambda: self.db.collection_names(),
            lambda: self.db.last_status(),
            lambda: self.db.error(),
            lambda: self.db.previous_error(),
            lambda: self.db.reset_error_history(),
            lambda: self.db.add_user("joe", "secret"),
            lambda: self.db.remove_user("joe"),
            lambda: self.db.system_js.list(),
            lambda: self.db.command("ping", as_class=dict),
        ]
        for number, call in enumerate(translated):
            before = len(self.shown)
            call()
            with self.subTest(number):
                self.assertEqual(1, len(self.shown) - before)
                self.assertIn(f"{Path(__file__).name}:{call.__code__.co_firstlineno}: ", self.shown[-1])

    def test_warnings_of_others_go_their_way(self) -> None:
        with warnings.catch_warnings(record=True) as others:
            warnings.simplefilter("always")
            with legacy.warnings_shown(self.shown.append):
                warnings.warn("not ours", UserWarning, stacklevel=1)
        self.assertEqual([], self.shown)
        self.assertEqual(["not ours"], [str(other.message) for other in others])

    def test_afterwards_everything_is_as_before(self) -> None:
        before = (warnings.showwarning, list(warnings.filters))
        with contextlib.suppress(KeyError), legacy.warnings_shown(self.shown.append):
            raise KeyError
        self.assertEqual(before, (warnings.showwarning, list(warnings.filters)))
