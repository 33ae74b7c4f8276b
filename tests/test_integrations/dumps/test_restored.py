"""A restored database is the dumped one: every kind of collection, index and validator."""

from __future__ import annotations

import datetime
from typing import Any

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from tests.cases import DumpTestCase
from tests.server import Mongod, Server, shared_replica_set
from tests.support import SINCE

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

NOON = datetime.datetime(2014, 1, 14, 12, 0, 0)

EVERY_TYPE = {
    "_id": "every type",
    "array": [1, [2]],
    "binary": Binary(b"\x00\xff", 5),
    "bool": True,
    "code": Code("return 1"),
    "date": NOON,
    "dbref": DBRef("plain", 1),
    "decimal": Decimal128("1.10"),
    "document": {"b": 1, "a": 2},
    "double": -0.0,
    "int": 1,
    "long": Int64(1),
    "max": MaxKey(),
    "min": MinKey(),
    "null": None,
    "object id": ObjectId(),
    "regex": Regex("^a", "i"),
    "string": "zażółć\x00",
    "timestamp": Timestamp(1, 2),
}

INDEXES: list[dict[str, Any]] = [
    {"key": {"unique": 1}, "name": "unique", "unique": True, "sparse": True},
    {"key": {"a": 1, "b": -1}, "name": "compound"},
    {"key": {"text": "text"}, "name": "text", "default_language": "none"},
    {"key": {"place": "2dsphere"}, "name": "2dsphere"},
    {"key": {"hashed": "hashed"}, "name": "hashed"},
    {"key": {"at": 1}, "name": "ttl", "expireAfterSeconds": 1_000_000_000},
    {"key": {"n": 1}, "name": "partial", "partialFilterExpression": {"n": {"$gt": 5}}},
    {"key": {"any.$**": 1}, "name": "wildcard"},
    {"key": {"name": 1}, "name": "collation", "collation": {"locale": "pl", "strength": 2}},
]

KINDS: list[dict[str, Any]] = [
    {"create": "plain"},
    {"create": "with indexes"},
    {"create": "empty"},
    {"create": "capped", "capped": True, "size": 65536, "max": 100},
    {"create": "collation", "collation": {"locale": "sv"}},
    {"create": "moderate", "validator": {"n": {"$gt": 0}}, "validationLevel": "moderate"},
    {"create": "strict", "validator": {"$jsonSchema": {"required": ["n"]}}},
    {"create": "changed on update", "changeStreamPreAndPostImages": {"enabled": True}},
    {"create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": True}},
    {"create": "series", "timeseries": {"timeField": "at", "metaField": "of", "granularity": "hours"}},
    {"create": "żółw + 100%/a.b"},
    {"create": "long." + "x" * 100 + "ż" * 40},
    {"create": "two\nlines"},
    {"create": "view", "viewOn": "plain", "pipeline": [{"$match": {"n": 1}}]},
    {"create": "view\n2", "viewOn": "two\nlines", "pipeline": []},
]


class TestRestored(DumpTestCase):
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        kinds = [kind for kind in KINDS if all(self.has(option) for option in kind if option in SINCE)]
        longest = 64 if self.version < (4, 4) else 235
        self.kinds = [kind for kind in kinds if len(kind["create"].encode()) <= longest]

    def fill(self) -> None:
        for kind in self.kinds:
            self.db.command(kind)
            if "viewOn" not in kind and kind["create"] != "empty":
                documents = [{"_id": n, "n": n, "at": NOON, "of": n % 2, "name": f"n{n}"} for n in range(20)]
                raw = self.db[kind["create"]]
                raw.insert_many(documents, bypass_document_validation="timeseries" not in kind)
        self.db.plain.insert_one(EVERY_TYPE)
        self.db.command("createIndexes", "with indexes", indexes=INDEXES)
        self.db["with indexes"].insert_one({"text": "a b", "place": {"type": "Point", "coordinates": [1, 2]}})
        self.db["system.js"].insert_one({"_id": "f", "value": Code("function () { return 1; }")})
        self.db["fs.files"].insert_one({"_id": 1, "length": 3})
        self.db["fs.chunks"].insert_one({"files_id": 1, "n": 0, "data": Binary(b"abc")})

    def contents(self) -> dict[str, Any]:
        """All that there is but the history: options, indexes and the documents byte by byte."""
        contents = {}
        for collection in self.db.list_collections():
            name, options = collection["name"], collection["options"]
            if name.startswith(("migrations", "system.buckets.", "system.views")):
                continue
            indexes = (
                [] if "viewOn" in options else sorted(self.db[name].list_indexes(), key=lambda index: index["name"])
            )
            documents = self.db[name].with_options(codec_options=RAW).find().sort("_id", 1)
            contents[name] = (
                collection["type"],
                options,
                [dict(index) for index in indexes],
                [d.raw for d in documents],
            )
        return contents

    def destroy(self) -> None:
        """What a failed migration may have done."""
        for kind in self.kinds:
            if "viewOn" in kind:
                self.db.drop_collection(kind["create"])
            elif "timeseries" not in kind and "capped" not in kind:
                self.db[kind["create"]].delete_many({"n": {"$gt": 3}})
        self.db.plain.update_many({}, {"$set": {"n": "broken"}})
        self.db["with indexes"].drop_indexes()
        self.db.drop_collection("series")
        self.db["system.js"].update_one({"_id": "f"}, {"$set": {"value": 1}})
        self.db["fs.chunks"].drop()

    def test_every_kind_of_collection_index_and_validator(self) -> None:
        self.fill()
        project = self.dumping(DO_MONGO_DUMP=True)
        before = self.contents()
        self.assertEqual({kind["create"] for kind in self.kinds}, set(before) & {kind["create"] for kind in self.kinds})
        for step in (self.destroy, lambda: None):  # again in place of what is whole
            self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
            step()
            dump = self.dumps(project)[0].name
            self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{dump},force=yes"))
            after = self.contents()
            for name in {*before, *after}:
                with self.subTest(name):
                    self.assertEqual(before.get(name), after.get(name))

    def test_a_compressed_dump(self) -> None:
        self.fill()
        project = self.dumping()
        before = self.contents()
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        self.compress(self.dumps(project)[0] / self.database)
        self.destroy()
        self.assert_code(
            0, self.fab_with_tools(project, f"migrations:dbrestore,{self.dumps(project)[0].name},force=yes")
        )
        self.assertEqual(before, self.contents())

    def test_newlines_in_names_in_a_dump_of_another_database(self) -> None:
        self.fill()
        project = self.dumping()
        before = self.contents()
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        dump = self.dumps(project)[0]
        (dump / self.database).rename(dump / f"{self.database}_theirs")
        self.destroy()
        options = f"{dump.name},from={self.database}_theirs,force=yes"
        self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{options}"))
        self.assertEqual(before, self.contents())
        self.assertNotIn(f"{self.database}_theirs", self.client.list_database_names())

    def test_what_mongorestore_passes_over_is_not_restored(self) -> None:
        for name in ("a", "b", "z"):
            self.db[name].insert_one({"n": 1})
        self.db.command("create", "y_view", viewOn="z", pipeline=[])
        project = self.dumping()
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        self.db.z.update_many({}, {"$set": {"n": "broken"}})
        self.db.command("collMod", "y_view", viewOn="a", pipeline=[])
        dump = self.dumps(project)[0].name
        result = self.fab_with_tools(project, f"migrations:dbrestore,{dump},force=yes", STANDIN_FAIL="quietly")
        self.assert_code(1, result)
        sentence = "did not restore everything in the dump: y_view is missing; z was passed over and is as it was"
        self.assertIn(f"{sentence} before.", result.stderr)

    @staticmethod
    def compress(folder: Any) -> None:
        import gzip

        for path in list(folder.iterdir()):
            with gzip.open(f"{path}.gz", "wb") as compressed:
                compressed.write(path.read_bytes())
            path.unlink()


class TestEncryptedFields(DumpTestCase):
    """Queryable Encryption: MongoDB takes its documents from drivers that encrypt, or from who bypasses the check."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_documents_with_encrypted_fields(self) -> None:
        self.need("encryptedFields")
        field = {"path": "tax", "bsonType": "string", "keyId": Binary(b"k" * 16, 4)}
        self.db.command("create", "people", encryptedFields={**state_collections("people"), "fields": [field]})
        person = {"_id": 1, "tax": Binary(b"\x0e" + b"x" * 40, 6)}
        self.db.people.insert_one(person, bypass_document_validation=True)
        project = self.dumping(DO_MONGO_DUMP=True)
        self.assert_code(0, self.fab_with_tools(project, "migrations:execute"))
        self.db.people.delete_many({})
        result = self.fab_with_tools(project, f"migrations:dbrestore,{self.dumps(project)[0].name},force=yes")
        self.assert_code(0, result)
        self.assertEqual([person], list(self.db.people.find()))
        self.assertIn("encryptedFields", self.db.get_collection("people").options())
        self.assert_code(0, self.fab_with_tools(project, "migrations:rehearse"))


def state_collections(name: str) -> dict[str, str]:
    """The names of the collections that MongoDB keeps beside one with encrypted fields."""
    return {f"{kind}Collection": f"enxcol_.{name}.{kind}" for kind in ("esc", "ecc", "ecoc")}
