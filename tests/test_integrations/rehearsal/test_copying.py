"""A true copy: documents, options, indexes and views as they are, where other ways to copy lose something."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from operator import itemgetter
from typing import Any, Mapping, Sequence

import gridfs
from bson import BSON, Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, encode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from bson.timestamp import Timestamp
from pymongo import MongoClient, WriteConcern, monitoring
from pymongo.collation import Collation

from migopy.rehearsal.scratch import raw
from migopy.rehearsal.scratch.copying import Copier, DocumentCounts, originals
from tests.server import Mongod, Server, shared_replica_set
from tests.support import FailingReplicaSetTestCase, MongoTestCase, three_members


class CopyTestCase(MongoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.copy = self.client[f"{self.database}_copy"]
        self.addCleanup(self.client.drop_database, self.copy.name)

    def copied(self, limit: int | None = None, whole: Sequence[str] = ()) -> dict[str, DocumentCounts]:
        return Copier(self.db, self.copy, limit, whole).run(originals(self.db))

    def described(self, db: Any) -> dict[str, tuple[object, ...]]:
        """Kind, options and indexes of each collection, byte for byte."""
        described: dict[str, tuple[object, ...]] = {}
        for info in raw.list_collections(db):
            is_view = info.get("type") == "view"
            indexes = (
                []
                if is_view
                else [_without_ns(index) for index in raw.run_list_command(db, "listIndexes", info["name"])]
            )
            described[info["name"]] = (info.get("type"), info["options"].raw, indexes)
        return described

    def documents(self, db: Any, name: str) -> list[bytes]:
        return sorted(raw.read_documents(db[name]))

    def assert_same(self) -> None:
        self.assertEqual(self.described(self.db), self.described(self.copy))
        for name in self.described(self.db):
            self.assertEqual(self.documents(self.db, name), self.documents(self.copy, name), name)


def _without_ns(index: Mapping[str, Any]) -> bytes:
    return encode({key: value for key, value in index.items() if key != "ns"})


def with_two(name: str, key: int) -> RawBSONDocument:
    """A document that has a field twice, which Python's dict cannot."""
    fields = encode({"_id": key, name: 1})[4:-1] + encode({name: 2})[4:-1]
    return RawBSONDocument((len(fields) + 5).to_bytes(4, "little") + fields + b"\0")


EVERY_TYPE = {
    "double": 1.5,
    "string": "ä\0b",
    "document": SON([("b", 1), ("a", 2)]),
    "array": [1, [2, {"c": 3}]],
    "binary": Binary(b"\0\xff", 128),
    "id": ObjectId(),
    "boolean": True,
    "date": datetime(1904, 2, 29, 12),
    "null": None,
    "regex": Regex("^a", "i"),
    "code": Code("function() {}"),
    "scope": Code("function() {}", {"x": 1}),
    "int": 1,
    "timestamp": Timestamp(1, 2),
    "long": Int64(1),
    "decimal": Decimal128("1.10"),
    "least": MinKey(),
    "most": MaxKey(),
}


class TestTrueCopy(CopyTestCase):
    def test_documents_come_byte_for_byte(self) -> None:
        self.db.types.insert_one({"_id": 1, **EVERY_TYPE})
        self.db.types.insert_one(with_two("twice", key=2))
        year_10000 = BSON.encode({"_id": 3, "at": Int64(253402300800000)}).replace(b"\x12at", b"\x09at")
        self.db.types.insert_one(RawBSONDocument(bytes(year_10000)))
        self.db.keys.insert_many([{"_id": key} for key in (1, 1.5, "1", None, SON([("b", 1), ("a", 1)]), ObjectId())])
        self.copied()
        self.assert_same()
        self.assertIn(with_two("twice", key=2).raw, self.documents(self.copy, "types"))

    def test_options_and_indexes_are_kept(self) -> None:
        self.db.create_collection("capped", capped=True, size=8192, max=5)
        self.db.create_collection("german", collation=Collation("de", strength=2))
        self.db.create_collection(
            "strict", validator={"n": {"$type": "int"}}, validationLevel="moderate", validationAction="warn"
        )
        if self.has("clusteredIndex"):
            self.db.command("create", "clustered", clusteredIndex={"key": {"_id": 1}, "unique": True, "name": "by id"})
        indexed = self.db.indexed
        indexed.create_index([("a", 1), ("b", -1)], unique=True, sparse=True, name="two")
        indexed.create_index("c", partialFilterExpression={"c": {"$gt": 5.0}}, collation=Collation("fr"))
        indexed.create_index([("text", "text"), ("title", "text")], weights={"title": 3}, default_language="german")
        indexed.create_index([("place", "2dsphere")])
        indexed.create_index([("at", "hashed")])
        indexed.create_index([("$**", 1)], wildcardProjection={"secret": 0})
        indexed.create_index("expires", expireAfterSeconds=3600)
        if self.has("hidden"):
            indexed.create_index("hidden", hidden=True)
        for name in ("german", "strict", "clustered", "indexed"):
            self.db[name].insert_many([{"a": n, "b": n, "n": n} for n in range(3)])
        self.db.german.create_index("a")
        self.copied()
        self.assert_same()

    def test_documents_that_the_validator_refuses_today_come_along(self) -> None:
        self.db.people.insert_many([{"age": "old"}, {"age": 7}])
        self.db.command("collMod", "people", validator={"age": {"$type": "number"}})
        self.copied()
        self.assert_same()

    def test_the_order_of_a_capped_collection_is_kept(self) -> None:
        self.db.create_collection("log", capped=True, size=4096, max=10)
        self.db.log.insert_many([{"_id": 100 - n} for n in range(20)])
        self.copied()
        self.assertEqual([document["_id"] for document in self.copy.log.find()], list(range(90, 80, -1)))

    def test_views_on_collections_and_on_views(self) -> None:
        self.db.notes.insert_many([{"n": n, "kind": "a"} for n in range(3)])
        self.db.create_collection(
            "a_view", viewOn="z_view", pipeline=[{"$match": {"n": {"$gt": 1}}}], collation=Collation("de")
        )
        self.db.create_collection("z_view", viewOn="notes", pipeline=[], collation=Collation("de"))
        self.copied()
        self.assert_same()
        self.assertEqual(1, len(list(self.copy.a_view.find())))

    def test_a_time_series(self) -> None:
        self.need("timeseries")
        options = {"timeField": "at", "metaField": "sensor", "granularity": "minutes"}
        self.db.command("create", "weather", timeseries=options)
        start = datetime(2024, 1, 1)
        self.db.weather.insert_many(
            [{"at": start + timedelta(minutes=n), "sensor": {"id": n % 3}, "t": n / 2} for n in range(500)]
        )
        self.db.weather.create_index([("sensor.id", 1), ("at", 1)])
        self.copied()
        # MongoDB keeps no order of the fields of a measurement.
        self.assertEqual(*(sorted(db.weather.find(), key=itemgetter("at")) for db in (self.db, self.copy)))
        self.assertEqual(*(db.weather.options() for db in (self.db, self.copy)))
        self.assertEqual(*(set(db.weather.index_information()) for db in (self.db, self.copy)))

    def test_stored_functions_and_files_of_gridfs(self) -> None:
        self.db["system.js"].insert_one({"_id": "twice", "value": Code("function(x) { return 2 * x; }")})
        stored = gridfs.GridFS(self.db).put(b"x" * 600_000, filename="a.bin")
        self.copied()
        self.assert_same()
        self.assertEqual(b"x" * 600_000, gridfs.GridFS(self.copy).get(stored).read())

    def test_what_expires_within_the_hour_is_left_out(self) -> None:
        """The monitor of MongoDB deletes what has expired: in the copy it must find nothing."""
        now = datetime.now(timezone.utc)
        self.db.sessions.create_index("at", expireAfterSeconds=7200)
        self.db.sessions.insert_many(
            [
                {"_id": "soon", "at": now - timedelta(minutes=61)},
                {"_id": "one of them", "at": [now, now - timedelta(minutes=61)]},
                {"_id": "later", "at": now - timedelta(minutes=59)},
                {"_id": "no time", "at": "yesterday"},
                {"_id": "never"},
            ]
        )
        self.db.tokens.create_index("at", expireAfterSeconds=60, partialFilterExpression={"is_used": True})
        self.db.tokens.insert_many([{"_id": used, "at": now, "is_used": used} for used in (True, False)])
        copier = Copier(self.db, self.copy)
        copier.run(originals(self.db))
        self.assertEqual({"sessions": 2, "tokens": 1}, copier.left_out)
        self.assertEqual(self.described(self.db), self.described(self.copy))
        self.assertEqual({"later", "no time", "never"}, set(self.copy.sessions.distinct("_id")))
        self.assertEqual([False], self.copy.tokens.distinct("_id"))

    def test_what_expires_is_left_out_of_a_sample_too(self) -> None:
        now = datetime.now(timezone.utc)
        self.db.sessions.create_index("at", expireAfterSeconds=7200)
        self.db.sessions.insert_many(
            [{"_id": n, "at": now - timedelta(minutes=90 if n % 2 else 0)} for n in range(2000)]
        )
        self.copied(limit=100)
        self.assertGreaterEqual(self.copy.sessions.count_documents({}), 50)
        self.assertEqual(0, self.copy.sessions.count_documents({"at": {"$lt": now}}))

    def test_time_series_and_clustered_collections_expire_too(self) -> None:
        self.need("timeseries")
        now = datetime.now(timezone.utc)
        times = [now - timedelta(minutes=61), now - timedelta(minutes=59)]
        self.db.command("create", "weather", timeseries={"timeField": "at"}, expireAfterSeconds=7200)
        self.db.weather.insert_many([{"at": at, "n": n} for n, at in enumerate(times)])
        names = ["weather"]
        if self.has("clusteredIndex"):
            key = {"key": {"_id": 1}, "unique": True}
            self.db.command("create", "clustered", clusteredIndex=key, expireAfterSeconds=7200)
            self.db.clustered.insert_many([{"_id": at, "n": n} for n, at in enumerate(times)])
            names.append("clustered")
        self.copied()
        for name in names:
            self.assertEqual(7200, self.copy.get_collection(name).options()["expireAfterSeconds"])
            self.assertEqual([1], self.copy[name].distinct("n"))

    def test_collections_without_documents_and_names_of_all_sorts(self) -> None:
        for name in ("empty", "with space", "ä.ö", "a" * 80):
            self.db.create_collection(name)
        self.db["with space"].insert_one({})
        self.copied()
        self.assert_same()

    def test_what_is_not_asked_for_stays(self) -> None:
        for name in ("kept", "left"):
            self.db[name].insert_one({})
        self.db.command("profile", 2)
        self.db.kept.find_one()
        self.db.command("profile", 0)
        Copier(self.db, self.copy).run(originals(self.db, without=["left"]))
        self.assertEqual(["kept"], self.copy.list_collection_names())

    def test_more_documents_than_one_reply_holds(self) -> None:
        self.db.many.insert_many([{"_id": n} for n in range(raw.MAX_DOCUMENTS + 10)])
        self.db.large.insert_many([{"text": "x" * 1_000_000, "n": n} for n in range(20)])
        seen: list[int] = []
        copier = Copier(self.db, self.copy)
        copied = copier.run(originals(self.db), seen.append)
        self.assertEqual(DocumentCounts(raw.MAX_DOCUMENTS + 10, raw.MAX_DOCUMENTS + 10), copied["many"])
        self.assertEqual(raw.MAX_DOCUMENTS + 30, copier.documents)
        self.assertEqual(seen, sorted(seen))
        self.assertEqual(self.documents(self.db, "large"), self.documents(self.copy, "large"))

    def test_a_copy_of_a_client_with_other_ideas(self) -> None:
        """The options of the team's client are about its own reading: nothing of the copy depends on them."""
        options: CodecOptions[Any] = CodecOptions(document_class=SON, tz_aware=True)
        self.db.types.insert_one({"_id": 1, **EVERY_TYPE})
        Copier(self.db.with_options(options), self.copy.with_options(options)).run(
            originals(self.db.with_options(options))
        )
        self.assert_same()

    def test_what_goes_wrong_while_copying_is_raised(self) -> None:
        self.db.notes.insert_many([{"n": 1}, {"n": 1}])
        what = originals(self.db)
        self.copy.create_collection("notes")
        with self.assertRaisesRegex(Exception, "already exists"):
            Copier(self.db, self.copy).run(what)


class TestReplicaSet(CopyTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_images_of_documents_before_they_change(self) -> None:
        self.need("changeStreamPreAndPostImages")
        self.db.command("create", "watched", changeStreamPreAndPostImages={"enabled": True})
        self.db.watched.insert_one({"n": 1})
        self.copied()
        self.assert_same()


class TestSample(CopyTestCase):
    """The newest, some at random, one of every shape; small collections whole."""

    def test_what_breaks_migrations_is_in_it(self) -> None:
        self.db.people.insert_many([{"name": f"n{n}", "zip": str(n), "tags": ["a"]} for n in range(20_000)])
        odd: list[dict[str, Any]] = [
            {"name": "number", "zip": 12345, "tags": ["a"]},
            {"name": "lacks one"},
            {"name": None, "zip": "1", "tags": ["a"]},
            {"name": "inner", "zip": "1", "tags": [1]},
            {"name": "address", "zip": "1", "tags": ["a"], "address": {"zip": 1}},
            {"name": "address too", "zip": "1", "tags": ["a"], "address": {"zip": "1"}},
        ]
        ids = self.db.people.insert_many(odd).inserted_ids
        self.db.people.insert_many([{"name": f"n{n}", "zip": str(n), "tags": ["a"]} for n in range(20_000)])
        newest = [document["_id"] for document in self.db.people.find().sort("_id", -1).limit(50)]
        copied = self.copied(limit=100)["people"]
        self.assertEqual(40_006, copied.original)
        self.assertLessEqual(100 * 0.9, copied.copy)
        self.assertLessEqual(copied.copy, 100 + 7)
        there = set(self.copy.people.distinct("_id"))
        self.assertEqual(set(), {*ids, *newest} - there)
        self.assertEqual(self.described(self.db), self.described(self.copy))

    def test_small_collections_and_those_that_are_asked_for_are_whole(self) -> None:
        for name, number in (("small", 100), ("history", 300), ("large", 300)):
            self.db[name].insert_many([{"n": n} for n in range(number)])
        copied = self.copied(limit=100, whole=["history"])
        self.assertEqual((DocumentCounts(100, 100), DocumentCounts(300, 300)), (copied["small"], copied["history"]))
        self.assertLess(copied["large"].copy, 110)

    def test_more_shapes_than_documents_that_are_wanted(self) -> None:
        """Of names that are data each document has a shape of its own."""
        self.db.counts.insert_many([{f"day {n}": 1} for n in range(3_000)])
        self.assertLessEqual(self.copied(limit=50)["counts"].copy, 100)

    def test_a_capped_collection_gives_the_newest(self) -> None:
        self.db.create_collection("log", capped=True, size=1_000_000)
        self.db.log.insert_many([{"_id": -n} for n in range(500)])
        self.copied(limit=10)
        self.assertEqual([-n for n in range(490, 500)], [document["_id"] for document in self.copy.log.find()])

    def test_a_time_series_gives_the_newest(self) -> None:
        self.need("timeseries")
        self.db.command("create", "weather", timeseries={"timeField": "at"})
        self.db.weather.insert_many([{"at": datetime(2024, 1, 1) + timedelta(hours=n), "n": n} for n in range(500)])
        self.copied(limit=10)
        self.assertEqual(set(range(490, 500)), {document["n"] for document in self.copy.weather.find()})


class TestSecondary(CopyTestCase):
    def find_server(self) -> Server | Mongod:
        return Server(three_members().uri)

    def test_documents_are_read_from_a_secondary(self) -> None:
        self.db.get_collection("notes", write_concern=WriteConcern(3)).insert_many([{"_id": n} for n in range(5)])
        asked: set[Any] = set()

        class Finds(monitoring.CommandListener):
            def started(self, event: monitoring.CommandStartedEvent) -> None:
                if event.command_name == "find":
                    asked.add(event.connection_id)

            def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

            def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

        client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri, event_listeners=[Finds()])
        with client:
            source = client[self.database]
            Copier(source, self.copy).run(originals(source))
            self.assertEqual(1, len(asked))
            self.assertNotIn(client.primary, asked)
        self.assertEqual(5, self.copy.notes.count_documents({}))


class TestStoppedMember(CopyTestCase, FailingReplicaSetTestCase):
    def test_indexes_of_the_copy_wait_for_no_other_member(self) -> None:
        self.db.notes.insert_many([{"n": n} for n in range(5)])
        self.db.notes.create_index("n")
        next(member for member in self.replica_set.members if member is not self.replica_set.primary()).kill()
        client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri, socketTimeoutMS=20_000)
        with client:
            source = client[self.database]
            Copier(source, client[self.copy.name]).run(originals(source))
        self.assertIn("n_1", self.copy.notes.index_information())


class TestKilledServer(CopyTestCase):
    def find_server(self) -> Server | Mongod:
        self.mongod = Mongod()
        self.addCleanup(self.mongod.close)
        self.mongod.start()
        return self.mongod

    def test_documents_are_counted_because_the_number_that_mongodb_keeps_is_wrong(self) -> None:
        documents = [{"_id": n} for n in range(300)]
        self.db.get_collection("notes", write_concern=WriteConcern(1, j=True)).insert_many(documents)
        self.mongod.kill()
        self.mongod.start()
        self.assertEqual(0, self.db.notes.estimated_document_count())
        self.assertEqual(300, originals(self.db)[0].documents)
        self.assertLess(self.copied(limit=100)["notes"].copy, 110)
