"""`fab migrations:sample`, and the file that it writes, as a test of a migration reads it."""

from __future__ import annotations

import json
import os
import stat
from datetime import datetime
from typing import Any
from unittest.mock import patch

import bson
from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code

from migopy.mongo.concerns import READS_ALL_DATES
from migopy.mongo.extended_json import read_file
from migopy.mongo.raw import INT32, SYMBOL, RawDocuments, document_of, element, split
from migopy.testing.case import make_test
from tests.cases import InProcessTestCase, KitTestCase
from tests.support import Result

TYPES: dict[str, Any] = {
    "double": 1.0,
    "whole": 5,
    "long": Int64(5),
    "large": 2**40,
    "endless": float("inf"),
    "decimal": Decimal128("1.50"),
    "text": "é \u2028 \x00",
    "null": None,
    "yes": True,
    "id": ObjectId("65ba36f0c8d1f2a4b3e07915"),
    "bytes": b"\x00\xff",
    "uuid": Binary(b"0123456789abcdef", 4),
    "old uuid": Binary(b"0123456789abcdef", 3),
    "own": Binary(b"x", 128),
    "regex": Regex("^a", "im"),
    "code": Code("return 1"),
    "scoped": Code("return x", {"x": 1}),
    "timestamp": Timestamp(5, 6),
    "keys": [MinKey(), MaxKey()],
    "reference": DBRef("notes", 7),
    "inner": {"b": [{"z": 1, "a": {}}], "": []},
}

OLD_TYPE = document_of(element(INT32, b"_id", b"\x07\0\0\0") + element(SYMBOL, b"s", b"\x02\0\0\0x\0"))
"""A document with a symbol, which PyMongo reads as a string."""


def mask(manager: Any, db: Any) -> None:
    for person in db.people.find():
        db.users.update_many({"person": person["_id"]}, {"$set": {"name": "masked"}})


def fail(manager: Any, db: Any) -> None:
    raise ValueError("who?")


class TestSample(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.team.path / "users.json"
        self.scratch = f"{self.database}_rehearsal"
        self.addCleanup(self.client.drop_database, self.scratch)

    def sample(self, *options: str, code: int = 0, of: Any = None, **named: str) -> Result:
        """Write a sample; whatever comes of it, the real database is as it was, and nothing else is left behind."""
        before = self.raw()
        result = self.run_task("sample", *options, of=of or self.manager(), **named)
        self.assert_code(code, result)
        self.assertEqual(before, self.raw())
        self.assertNotIn(self.scratch, self.client.list_database_names())
        self.assertEqual([], [path.name for path in self.team.path.iterdir() if path.name.startswith(".")])
        return result

    def raw(self, name: str = "users") -> list[bytes]:
        """The documents, by their ``_id``s."""
        batches: Any = self.db[name].find_raw_batches({}, sort=[("_id", 1)])
        return [each for batch in batches for each in split(batch)]

    def assert_refused(self, sentence: str, result: Result) -> None:
        self.assertRegex(result.stderr, rf"^{sentence}\n$")

    def test_every_type_is_written_and_read_as_it_is(self) -> None:
        dates: list[Any] = [datetime(2026, 1, 31, 12, 0, 0, 7000)]
        if READS_ALL_DATES:
            dates.append(bson.datetime_ms.DatetimeMS(10**15))
        self.db.users.insert_one({"_id": 1, **TYPES, "dates": dates})
        result = self.sample("users", str(self.file))
        self.assertEqual(
            f"Wrote 1 document of users to {self.file}."
            " Nothing in it is masked, because there is no before_rehearsal().\n",
            result.stderr,
        )
        self.assertEqual(0o600, stat.S_IMODE(self.file.stat().st_mode))
        self.assertEqual(1, len(json.loads(self.file.read_text("utf-8"))))
        manager = self.manager(MIGRATIONS_DIRECTORY=self.team.path)
        self.team.write("1_a.py", "def up(db):\n    pass\n")
        with patch.dict(os.environ, MIGOPY_TEST_URI=self.server.uri):
            test = make_test(manager, "1", {"users": self.file}, None, beside=self.team.path)
            self.addCleanup(test.close)
        (read,) = test.db.users.find_raw_batches({})
        self.assertEqual(self.raw(), [read])

    def test_a_large_collection_gives_one_document_of_every_shape(self) -> None:
        self.db.users.insert_many([{"_id": n, "name": "x"} for n in range(1000)])
        self.db.users.update_one({"_id": 3}, {"$set": {"name": None}})
        self.db.users.update_one({"_id": 4}, {"$set": {"age": 5}})
        self.sample("users", str(self.file), documents="10")
        documents = {document["_id"]: document for document in read_file(self.file)}
        self.assertTrue(10 <= len(documents) <= 13, documents)
        self.assertLess({3, 4, 999}, set(documents))
        self.assertEqual(len(documents), len(self.file.read_text().splitlines()) - 2)
        self.sample("users", str(self.file), documents="all", force="yes")
        self.assertEqual(1000, len(read_file(self.file)))

    def test_before_rehearsal_masks_a_copy(self) -> None:
        self.db.people.insert_one({"_id": 7})
        self.db.users.insert_many([{"_id": n, "person": 7, "name": "Ann"} for n in range(3)])
        result = self.sample("users", str(self.file), of=self.manager(before_rehearsal=mask))
        self.assertIn(f"Copying 2 collections with about 4 documents (134 B) to {self.scratch} at ", result.stderr)
        self.assertRegex(result.stderr, rf"\nWrote 3 documents of users to {self.file}\.\n$")
        self.assertEqual(["masked"] * 3, [document["name"] for document in read_file(self.file)])

    def test_a_before_rehearsal_that_fails_leaves_no_file(self) -> None:
        self.db.users.insert_one({"name": "Ann"})
        result = self.sample("users", str(self.file), code=1, of=self.manager(before_rehearsal=fail))
        self.assertRegex(
            result.stderr, r"before_rehearsal\(\) failed \(ValueError: who\?\)\. No migration was run\.\n$"
        )
        self.assertFalse(self.file.exists())

    def test_what_json_cannot_hold_is_left_out_and_named(self) -> None:
        self.db.command("insert", "users", documents=[RawDocuments(OLD_TYPE)])
        self.db.users.insert_one({"_id": 8})
        result = self.sample("users", str(self.file))
        self.assertIn(
            f"Wrote 1 document of users to {self.file}."
            " 1 document is left out, which JSON cannot hold exactly: _id 7. ",
            result.stderr,
        )
        self.assertEqual([{"_id": 8}], read_file(self.file))

    def test_a_file_is_replaced_only_when_told(self) -> None:
        self.db.users.insert_one({"_id": 1})
        self.file.write_text("ours")
        refused = self.sample("users", str(self.file), code=1)
        self.assert_refused(rf"Nothing was done: .* The question is: Replace {self.file}\? Write force=yes .*", refused)
        self.assertEqual("ours", self.file.read_text())
        self.sample("users", str(self.file), force="yes")
        self.assertEqual(([{"_id": 1}], 0o600), (read_file(self.file), stat.S_IMODE(self.file.stat().st_mode)))

    def test_mistakes_are_one_sentence(self) -> None:
        self.db.users.insert_one({"_id": 1})
        self.db.create_collection("shown", viewOn="users", pipeline=[])
        there = str(self.file)
        for sentence, options, named in (
            (rf"{self.database} at .* has no collection 'user'\. Did you mean users\?", ("user", there), {}),
            (r"shown is a view: name the collection that it shows\.", ("shown", there), {}),
            (r"/nowhere/x\.json cannot be written there\. Nothing was read\.", ("users", "/nowhere/x.json"), {}),
            (r"documents has to be a whole number, at least 1, not 'x'\.", ("users", there), {"documents": "x"}),
            (r"fab migrations:sample: missing FILE\. Write fab migrations:sample,COLLECTION,FILE.*", ("users",), {}),
        ):
            self.assert_refused(sentence, self.sample(*options, code=1, **named))
        self.assertFalse(self.file.exists())

    def test_many_databases(self) -> None:
        self.db.users.insert_one({"_id": 1})
        manager = self.manager(MONGO_DATABASE=None, MONGO_DATABASES=["tenant_without", self.database])
        self.sample("users", str(self.file), of=manager, databases=self.database)
        self.assertEqual([{"_id": 1}], read_file(self.file))
        result = self.sample("users", str(self.file), of=manager, force="yes")
        self.assertIn(f"{self.database} stands for all databases: samples of its collections have", result.stderr)


class TestFiles(KitTestCase):
    def test_documents_of_a_file(self) -> None:
        self.team.write("data/notes.json", '[{"_id": {"$numberLong": "1"}, "text": "a b"},\n{"_id": 2, "text": "c"}]')
        self.team.write("checks/lines.json", '{"_id": 5, "text": "d"}\n\n{"_id": 6, "text": "e"}\n')
        body = """
            notes = {self}migration("6", {{"archive": "data/notes.json"}}, others="lines.json")
            assert [type(each["_id"]).__name__ for each in notes.documents("archive")] == ["Int64", "int"]
            assert [each["_id"] for each in notes.documents("others")] == [5, 6]
            for wrong in ("no.json", "../fabfile.py"):
                try:
                    {self}migration("6", archive=wrong)
                except ConfigurationError as error:
                    print(error)
        """
        imports = "from migopy.errors import ConfigurationError\nfrom migopy.testing import MigrationTestCase\n"
        self.team.write("checks/test_pytest.py", f"{imports}\ndef test(migration):{body.format(self='')}")
        case = f"class Test(MigrationTestCase):\n    def test(self):{body.format(self='self.')}"
        self.team.write("checks/test_unittest.py", imports + case)
        for command in (
            "-m unittest checks/test_unittest.py",
            "-m pytest -sq -p no:cacheprovider checks/test_pytest.py",
        ):
            result = self.run_python(*command.split())
            self.assert_code(0, result)
            folder = self.team.path
            self.assertIn(f"There is no file no.json in {folder}/checks or {folder}.\n", result.stdout)
            self.assertIn(f"{folder}/checks/../fabfile.py is not Extended JSON (from line 1 on): ", result.stdout)
        self.assertEqual([], self.left_over())
