"""Which files read UUIDs as PyMongo 2 did: those with a call of it, on all of their ways to read."""

from __future__ import annotations

import unittest
import uuid
from typing import Any

from bson.binary import Binary

from migopy.legacy.detection import uses_old_calls
from tests.cases import InProcessTestCase
from tests.legacy.record import IS_PYMONGO_3

VALUE = uuid.UUID("12345678-1234-5678-1234-567812345678")

READS = {
    "find": "[d['u'] for d in db.tokens.find()][0]",
    "find_one": "db.tokens.find_one()['u']",
    "find_one by UUID": "db.tokens.find_one({'u': value})['u']",
    "a loop over a part": "list(db['tokens'].find({}, {'u': 1}))[0]['u']",
    "an alias": "alias.find_one()['u']",
    "distinct": "db.tokens.distinct('u')[0]",
    "distinct of a cursor": "db.tokens.find().distinct('u')[0]",
    "aggregate": "list(db.tokens.aggregate([{'$match': {'u': value}}]))[0]['u']",
    "command": "db.command('find', 'tokens')['cursor']['firstBatch'][0]['u']",
    "command with a UUID": "db.command('find', 'tokens', filter={'u': value})['cursor']['firstBatch'][0]['u']",
    "get_collection": "db.get_collection('tokens').find_one()['u']",
    "another database": "db.client[db.name].tokens.find_one()['u']",
    "get_database": "db.client.get_database(db.name).tokens.find_one()['u']",
    "find_one_and_update": "db.tokens.find_one_and_update({}, {'$set': {'a': 1}})['u']",
    "nested": "db.tokens.find_one()['list'][0]['u']",
}

OLD = "db.done.insert({'_id': 1})"
TODAY = "db.done.insert_one({'_id': 1})"


class TestFiles(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        stored = Binary(VALUE.bytes, 3)
        self.db.tokens.insert_one({"_id": 1, "u": stored, "list": [{"u": stored}]})

    def read(self, after: str, **attributes: Any) -> dict[str, str]:
        """What a file that makes this call in the end gets for each way to read, as text."""
        self.db.texts.delete_many({})
        self.db.done.drop()
        self.db.migrations.delete_many({})
        reads = "\n".join(f"texts[{name!r}] = str({read})" for name, read in READS.items())
        body = f"import uuid\nvalue = uuid.UUID({str(VALUE)!r})\nalias = db.tokens\ntexts = {{}}\n{reads}\n{after}\n"
        self.team.migration("1_a.py", f"{body}db.texts.insert_one(texts)")
        ended = self.run_task("execute", of=self.manager(**attributes))
        self.assertEqual(0, ended.code, ended)
        (texts,) = self.db.texts.find({}, {"_id": 0})
        return dict(texts)

    def test_a_file_with_a_call_of_2014_reads_them_in_every_way(self) -> None:
        self.assertEqual(dict.fromkeys(READS, str(VALUE)), self.read(OLD))

    def test_what_the_client_says_counts_more(self) -> None:
        options = {"MONGO_CLIENT_OPTIONS": {"uuidRepresentation": "javaLegacy"}}
        self.db.tokens.update_one({}, {"$set": {"u": Binary(VALUE.bytes[7::-1] + VALUE.bytes[:7:-1], 3)}})
        texts = self.read(OLD, **options)
        self.assertEqual([str(VALUE)] * 2, [texts["find"], texts["command"]])

    def test_it_writes_what_it_has_read(self) -> None:
        self.team.migration("1_a.py", "for d in db.tokens.find():\n    d['n'] = 1\n    db.tokens.save(d)")
        self.assertEqual(0, self.run_task("execute").code)
        raw = self.db.command("find", "tokens", filter={"n": 1, "u": Binary(VALUE.bytes, 3)})
        self.assertEqual(1, len(raw["cursor"]["firstBatch"]))

    def test_other_files_read_what_pymongo_itself_reads(self) -> None:
        kind = "UUID" if IS_PYMONGO_3 else "Binary"
        for after, attributes in ((TODAY, {}), (TODAY, {"LEGACY_PYMONGO": False})):
            with_uuids = [name for name, read in READS.items() if "value" in read]
            reads = {name: READS[name] for name in READS if name not in with_uuids}
            self.team.migration(
                "1_a.py",
                "alias = db.tokens\n"
                + "\n".join(f"assert type({read}).__name__ == {kind!r}, {name!r}" for name, read in reads.items())
                + f"\n{after}",
            )
            ended = self.run_task("execute", of=self.manager(**attributes))
            self.assertEqual(0, ended.code, ended)
            self.db.done.drop()
            self.db.migrations.delete_many({})

    def test_rollback_and_verify_too(self) -> None:
        self.team.write(
            "mongomigrations/1_a.py",
            "def up(db):\n    db.done.insert({'_id': 1})\n\n\n"
            f"def verify(db):\n    assert str(db.tokens.find_one()['u']) == {str(VALUE)!r}\n\n\n"
            f"def down(db):\n    assert str(db.tokens.find_one()['u']) == {str(VALUE)!r}\n    db.done.remove(1)\n",
        )
        for subtask in ("execute", "rollback,1"):
            ended = self.run_task(*subtask.split(","))
            self.assertEqual(0, ended.code, ended)


class TestDetection(unittest.TestCase):
    def test_calls_of_2014(self) -> None:
        for line in (
            "db.a.insert({})",
            "db['a'].update({}, {})",
            "db.a.b.remove()",
            "db.client.x.a.save({})",
            "notes = db.a; notes.save({})",
            "db.a.ensure_index('x')",
            "other.map_reduce(1, 2, 'out')",
            "db.a.find().count()",
            "db.a.find({}, fields=['x'])",
            "db.a.find_one(spec={})",
            "mongo.a.insert({})",
        ):
            self.assertTrue(uses_old_calls(f"def up(mongo, x=1):\n    {line}\n".encode()), line)

    def test_what_only_looks_like_them(self) -> None:
        for line in (
            "{}.update({})",
            "[].insert(0, 1); [].remove(1)",
            "'text'.count('t')",
            "for d in db.a.find(): d.update(x=1); d['list'].insert(0, 1)",
            "db.a.find_one().update(x=1)",
            "db.a.count_documents({}); db.a.insert_one({}); db.a.update_many({}, [])",
            "db.a.find({}, projection=['x'])",
            "text = str(db.a.find_one()); text.count('x')",
        ):
            self.assertFalse(uses_old_calls(f"def up(mongo):\n    {line}\n".encode()), line)
