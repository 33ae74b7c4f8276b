"""What the preflight says of grave migrations and of right ones, on real data that the copy has only in part."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any, Mapping, NamedTuple

from pymongo import MongoClient, WriteConcern
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from migopy.rehearsal.preflight import Preflight, Questions, Rehearsed, Scale
from migopy.rehearsal.preflight.findings import NOTES
from migopy.rehearsal.preflight.preflight import MAX_COMMANDS
from migopy.rehearsal.scratch.guard import Guard, Place, addresses
from migopy.rehearsal.scratch.recorder import Sent
from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import FailingReplicaSetTestCase, WithUsersTestCase

DOCUMENTS = 300
"""Of each collection; the copy has about 20, and a command that changes more than 100 changes many."""

LONG_AGO = "datetime.datetime(2020, 1, 1)"


class Case(NamedTuple):
    """A migration, and the kinds that are grave in it, each with words of what is said about it."""

    up: str
    grave: Mapping[str, str] = MappingProxyType({})
    down: str | None = None
    arguments: str = "db"


UNDO = "db.users.update_many({}, {'$unset': {'new': 1}})"
DROP_INDEXES = "db.users.drop_indexes()"
NO_VALIDATOR = "db.command('collMod', 'users', validator={})"
IRREVERSIBLE = "raise NotImplementedError('nobody needs them')"
INDEX = "db.users.create_index"
FACTS = ("is_grave", "allowed", "collection", "documents")

GRAVE = {
    "all at once": Case(
        "db.users.update_many({}, {'$set': {'new': 1}})",
        {"many documents": "update of about 300 documents at once: use batches"},
        UNDO,
    ),
    "all at once with a pipeline": Case(
        "db.users.update_many({}, [{'$set': {'new': '$email'}}])", {"many documents": "300 documents"}, UNDO
    ),
    "all at once in a bulk": Case(
        "import pymongo\ndb.users.bulk_write([pymongo.UpdateMany({'n': {'$gte': 0}}, {'$set': {'new': 1}})])",
        {"many documents": "update of 300 documents"},
        UNDO,
    ),
    "one by one": Case(
        "for user in db.users.find():\n    db.users.update_one({'_id': user['_id']}, {'$set': {'new': user['n']}})",
        {"many documents": "updates one by one, as there are"},
        UNDO,
    ),
    "a scan": Case(
        "db.users.update_many({'n': 7}, {'$set': {'new': 1}})",
        {"COLLSCAN": "no index fits the filter {'n': 7} of the update: MongoDB reads all 300 documents"},
        UNDO,
    ),
    "a scan by find and modify": Case(
        "db.users.find_one_and_update({'n': 7}, {'$set': {'new': 1}})", {"COLLSCAN": "{'n': 7}"}, UNDO
    ),
    "a scan for each": Case(
        "for user in db.users.find():\n    db.users.update_one({'n': user['n']}, {'$set': {'new': 1}})",
        {"COLLSCAN": "times", "many documents": "one by one"},
        UNDO,
    ),
    "a unique index": Case(
        f"{INDEX}('email', unique=True)",
        {"duplicates": "unique index email_1: 1 value stands in more than one document: 'same@b.c' (2 documents"},
        DROP_INDEXES,
    ),
    "a unique index after a look at something else": Case(
        f"list(db.users.find({{'n': 7}}, {{'n': 1}}))\nlist(db.small.find())\n{INDEX}('email', unique=True)",
        {"duplicates": "'same@b.c'"},
        DROP_INDEXES,
    ),
    "a unique index with a collation": Case(
        f"{INDEX}('email', unique=True, collation={{'locale': 'en', 'strength': 2}})", {"duplicates": "(3 documents"}
    ),
    "a unique index of two fields": Case(
        f"{INDEX}([('email', 1), ('city', 1)], unique=True)", {"duplicates": "['same@b.c', None]"}
    ),
    "a unique index of an array": Case(f"{INDEX}('tags', unique=True)", {"duplicates": "'common' (2 documents"}),
    "a partial unique index": Case(
        f"{INDEX}('email', unique=True, partialFilterExpression={{'n': {{'$lt': 5}}}})", {"duplicates": "same@b.c"}
    ),
    "a validator": Case(
        "db.command('collMod', 'users', validator={'n': {'$type': 'int', '$lt': 299}})",
        {"refused documents": "the validator refuses 1 document, such as _id 299"},
        NO_VALIDATOR,
    ),
    "a schema": Case(
        "db.command('collMod', 'users', validator={'$jsonSchema': {'required': ['city']}})",
        {"refused documents": "refuses 300 documents, such as _id 0"},
        NO_VALIDATOR,
    ),
    "an index that expires documents": Case(
        "db.sessions.create_index('at', expireAfterSeconds=3600)",
        {"expiring documents": "TTL index at_1: 40 documents expire at once"},
        "db.sessions.drop_indexes()",
    ),
    "an index that now expires documents": Case(
        "db.sessions.create_index('at', expireAfterSeconds=10**9)\n"
        "db.command('collMod', 'sessions', index={'keyPattern': {'at': 1}, 'expireAfterSeconds': 3600})",
        {"expiring documents": "TTL index at_1: 40 documents expire at once"},
        "db.sessions.drop_indexes()",
    ),
    "a field is removed": Case(
        "db.users.update_many({'n': {'$lt': 40}}, {'$unset': {'email': 1}})",
        {"lost values": "removes email from 40 documents, and nothing brings that back", "COLLSCAN": "'n'"},
    ),
    "a field is removed in batches": Case(
        "batches.update(db.users, {}, {'$unset': {'email': 1}})",
        {"lost values": "removes email from 300 documents"},
        arguments="db, batches",
    ),
    "a field is renamed onto another": Case(
        "db.small.update_many({}, {'$rename': {'old': 'new'}})", {"lost values": "removes new from 3 documents"}
    ),
    "documents are deleted": Case("db.small.delete_many({'old': {'$gte': 1}})", {"lost values": "deletes 2 documents"}),
    "a collection is dropped": Case("db.users.drop()", {"lost values": "drop removes users with about 300 documents"}),
    "a collection becomes too small": Case(
        "db.command('convertToCapped', 'users', size=10_000)",
        {"lost values": "convertToCapped removes the oldest, about "},
    ),
    "a collection is renamed and dropped": Case(
        "db.small.rename('other')\ndb.other.drop()", {"lost values": "drop removes other with about 3 documents"}
    ),
    "documents of a renamed collection are deleted": Case(
        "db.small.rename('other')\ndb.other.delete_many({'old': 1})", {"lost values": "deletes 1 document"}
    ),
    "a collection is replaced": Case(
        "db.small.aggregate([{'$match': {'old': 1}}, {'$out': 'users'}])", {"lost values": "$out removes users"}
    ),
    "documents are replaced": Case(
        "for each in db.small.find():\n    db.small.replace_one({'_id': each['_id']}, {'old': each['old']})",
        {"lost values": "removes new, one, text, twice from 3 documents"},
    ),
    "documents are replaced by a pipeline": Case(
        "db.small.update_many({}, [{'$replaceWith': {'_id': '$_id', 'old': '$old'}}])",
        {"lost values": "removes new, one, text, twice from 3 documents"},
    ),
    "documents are replaced by a merge": Case(
        "db.small.aggregate([{'$project': {'old': 1}}, {'$merge': {'into': 'small', 'whenMatched': 'replace'}}])",
        {"lost values": "$merge removes new, one, text, twice from about 3 documents"},
    ),
    "documents are replaced by those of a pipeline": Case(
        "db.small.aggregate([{'$project': {'old': 1}}, {'$out': 'small'}])",
        {"lost values": "$out removes new, one, text, twice from about 3 documents"},
    ),
    "a field is removed and something else is set": Case(
        "db.small.update_many({}, {'$unset': {'text': 1}, '$set': {'version': 2}})",
        {"lost values": "removes text from 3 documents"},
    ),
    "a field is removed one by one and something else is set": Case(
        "for each in db.small.find():\n"
        "    db.small.update_one({'_id': each['_id']}, {'$unset': {'old': 1}, '$set': {'version': 2}})",
        {"lost values": "removes old from 3 documents"},
    ),
    "a field is emptied": Case(
        "db.small.update_many({}, {'$set': {'text': None}})", {"lost values": "removes text from 3 documents"}
    ),
    "a field is removed by a pipeline": Case(
        "db.small.update_many({}, [{'$set': {'text': '$$REMOVE'}}])", {"lost values": "removes text from 3 documents"}
    ),
    "one by one until there are none": Case(
        "while db.users.find_one_and_update({'new': None}, {'$set': {'new': 1}}):\n    pass",
        {"many documents": "about 300 updates one by one", "COLLSCAN": "{'new': None}"},
        UNDO,
    ),
    "a loop over values": Case(
        f"{INDEX}('n')\nfor n in db.users.distinct('n'):\n"
        "    db.users.update_many({'n': n}, {'$set': {'new': 1}})",
        {"many documents": "documents by updates in a loop, as there are"},
        f"{UNDO}\n{DROP_INDEXES}",
    ),
    "a find without an index in a loop": Case(
        "for each in db.sessions.find():\n    db.users.find_one({'n': each['_id']})",
        {"COLLSCAN": "of the find: MongoDB reads all 300 documents (COLLSCAN), about 80 times"},
    ),
}

RIGHT = {
    "a field is added to a few": Case("db.small.update_many({}, {'$set': {'more': 1}})"),
    "a field is added in batches": Case(
        "batches.update(db.users, {'n': {'$gte': 0}}, {'$set': {'new': 1}})", down=UNDO, arguments="db, batches"
    ),
    "a function in batches": Case(
        "batches.update(db.users, {}, lambda user: {'$set': {'new': user['n']}})", down=UNDO, arguments="db, batches"
    ),
    "a loop in batches": Case(
        "import pymongo\nfor users in batches(db.users):\n"
        "    users.write(db.users, [pymongo.UpdateOne({'_id': u['_id']}, {'$set': {'new': 1}}) for u in users])",
        down=UNDO,
        arguments="db, batches",
    ),
    "a field is renamed": Case("db.small.update_many({}, {'$rename': {'old': 'newer'}})"),
    "a field is renamed in batches": Case(
        "batches.update(db.users, {}, {'$rename': {'email': 'mail'}})", arguments="db, batches"
    ),
    "a field is split": Case(
        "for each in db.small.find():\n"
        "    db.small.update_one({'_id': each['_id']}, {'$set': {'a': each['text'][0]}, '$unset': {'text': 1}})"
    ),
    "a field is split by a pipeline": Case(
        "db.small.update_many({}, [{'$set': {'a': {'$split': ['$text', ' ']}}}, {'$unset': 'text'}])"
    ),
    "a field is removed and restored": Case(
        "db.small.update_many({}, {'$unset': {'one': 1}})", down="db.small.update_many({}, {'$set': {'one': 1}})"
    ),
    "duplicates are deleted first": Case(
        f"{INDEX}([('email', -1)])\ndb.users.delete_many({{'email': 'same@b.c'}})\n{INDEX}('email', unique=True)",
        down=IRREVERSIBLE,
    ),
    "duplicates are deleted first, one by one": Case(
        "for each in db.users.aggregate([{'$group': {'_id': '$email', 'ids': {'$push': '$_id'}}}]):\n"
        f"    db.users.delete_many({{'_id': {{'$in': each['ids'][1:]}}}})\n{INDEX}('email', unique=True)",
        down=IRREVERSIBLE,
    ),
    "duplicates are changed first": Case(
        "db.users.create_index('email')\ndb.users.update_many({'email': 'same@b.c'}, [{'$set': {'email': "
        f"{{'$toString': '$_id'}}}}}}])\ndb.users.drop_index('email_1')\n{INDEX}('email', unique=True)",
        down=IRREVERSIBLE,
    ),
    "a unique index that fits": Case(f"{INDEX}('n', unique=True)", down=DROP_INDEXES),
    "a sparse unique index": Case(f"{INDEX}('missing', unique=True, sparse=True)", down=DROP_INDEXES),
    "a value twice in one document": Case("db.small.create_index('twice', unique=True)"),
    "a scan of a small collection": Case("db.small.update_many({'old': 1}, {'$set': {'more': 1}})"),
    "an index is made first": Case(f"{INDEX}('n')\ndb.users.update_many({{'n': 7}}, {{'$set': {{'new': 1}}}})"),
    "a validator that fits": Case(
        "db.command('collMod', 'users', validator={'n': {'$type': 'int'}})", down=NO_VALIDATOR
    ),
    "a validator that warns": Case(
        "db.command('collMod', 'users', validator={'n': {'$lt': 5}}, validationAction='warn')", down=NO_VALIDATOR
    ),
    "a validator after a cleaning": Case(
        "batches.update(db.users, {'city': None}, {'$set': {'city': 'Rome'}})\n"
        "db.command('collMod', 'users', validator={'city': {'$type': 'string'}})",
        down="db.command('collMod', 'users', validator={})\ndb.users.update_many({}, {'$unset': {'city': 1}})",
        arguments="db, batches",
    ),
    "an empty collection is dropped": Case("db.empty.drop()"),
    "a new collection": Case(
        "db.made.insert_many([{'a': 1}, {'a': 1}])\ndb.made.delete_one({})\ndb.made.create_index('a', unique=True)\n"
        "db.made.update_many({}, {'$unset': {'a': 1}})"
    ),
    "a report": Case("db.users.aggregate([{'$group': {'_id': '$city'}}, {'$out': 'report'}])", down="db.report.drop()"),
    "an archive": Case(
        "import pymongo\nfor found in batches(db.small, {}):\n"
        "    found.write(db.archive, [pymongo.InsertOne(each) for each in found])\n"
        "    found.write(db.small, [pymongo.DeleteOne({'_id': each['_id']}) for each in found])",
        arguments="db, batches",
    ),
    "an index for a time": Case("db.sessions.create_index('later', expireAfterSeconds=3600)"),
    "a counter": Case("db.counters.update_one({'_id': 'users'}, {'$inc': {'n': 1}}, upsert=True)"),
    "duplicates are deleted first, where there are any": Case(
        "group = {'$group': {'_id': '$email', 'ids': {'$push': '$_id'}}}\n"
        "for each in db.users.aggregate([group, {'$match': {'ids.1': {'$exists': True}}}]):\n"
        "    db.users.delete_many({'_id': {'$in': each['ids'][1:]}})\n"
        f"{INDEX}('email', unique=True)",
        down=IRREVERSIBLE,
    ),
    "duplicates are deleted first in batches": Case(
        "import pymongo\nseen = set()\nfor users in batches(db.users, projection=['email']):\n"
        "    again = [each['_id'] for each in users if each['email'] in seen or seen.add(each['email'])]\n"
        "    users.write(db.users, [pymongo.DeleteOne({'_id': one}) for one in again])\n"
        f"{INDEX}('email', unique=True)",
        down=IRREVERSIBLE,
        arguments="db, batches",
    ),
    "a validator after a cleaning of what there is": Case(
        "for each in db.users.find({'n': 7, 'city': None}):\n"
        "    db.users.update_one({'_id': each['_id']}, {'$set': {'city': 'Rome'}})\n"
        "db.command('collMod', 'users', validator={'$or': [{'n': {'$ne': 7}}, {'city': 'Rome'}]})",
        down=NO_VALIDATOR + "\ndb.users.update_many({}, {'$unset': {'city': 1}})",
    ),
    "a field is copied, then removed": Case(
        "batches.update(db.users, {}, [{'$set': {'mail': '$email'}}])\n"
        "batches.update(db.users, {}, {'$unset': {'email': 1}})",
        arguments="db, batches",
    ),
    "a collection is built beside another and replaces it": Case(
        "db.fresh.insert_many([{**each, 'more': 1} for each in db.small.find()])\n"
        "db.fresh.rename('small', dropTarget=True)"
    ),
    "a collection is dropped and filled again": Case(
        "found = list(db.small.find())\ndb.small.drop()\ndb.small.insert_many([{**each, 'more': 1} for each in found])"
    ),
    "documents are deleted and inserted again": Case(
        "found = list(db.small.find())\ndb.small.delete_many({})\ndb.small.insert_many(found)"
    ),
    "a collection is renamed": Case(f"db.users.rename('people')\n{INDEX.replace('users', 'people')}('n', unique=True)"),
    "values are kept": Case(
        "batches.update(db.users, {}, {'$unset': {'email': 1}}, keep=True)", arguments="db, batches"
    ),
    "calls of PyMongo 2": Case(
        "db.small.update({'old': 1}, {'$set': {'more': 1}}, multi=True)\ndb.small.ensure_index('old')"
    ),
    "a loop over few": Case(
        "for user in db.users.find({'n': {'$gte': 290}}):\n"
        "    db.users.update_one({'_id': user['_id']}, {'$set': {'new': 1}})",
    ),
    "a loop over a small collection": Case(
        "for each in db.small.find():\n    for n in range(15):\n"
        "        db.users.update_one({'_id': each['_id'] * 15 + n}, {'$set': {'new': 1}}, upsert=True)",
    ),
    "a loop over constants": Case("for n in range(50):\n    db.users.update_one({'_id': n}, {'$set': {'new': 1}})"),
    "a loop over a small collection in batches": Case(
        "import pymongo\nfor found in batches(db.small):\n"
        "    ids = [15 * each['_id'] + n for each in found for n in range(15)]\n"
        "    found.write(db.users, [pymongo.UpdateOne({'_id': one}, {'$inc': {'k': 1}}) for one in ids])",
        arguments="db, batches",
    ),
    "a search of a small collection again and again": Case(
        "for each in range(15):\n    db.small.update_one({'old': each}, {'$set': {'more': 1}})"
    ),
    "a field of nulls is removed": Case("db.small.update_many({}, {'$unset': {'nothing': 1}})"),
    "one document is named": Case("db.small.update_one({'_id': 'no'}, {'$unset': {'text': 1}, '$set': {'v': 2}})"),
    "subdocuments become documents": Case(
        "for each in db.small.find():\n    db.texts.insert_one({'of': each['_id'], 'text': each['text']})\n"
        "    db.small.update_one({'_id': each['_id']}, {'$unset': {'text': 1}})"
    ),
    "subdocuments become documents by a pipeline": Case(
        "db.small.aggregate([{'$project': {'text': 1}}, {'$out': 'texts'}])\n"
        "db.small.update_many({}, {'$unset': {'text': 1}})"
    ),
    "documents become subdocuments": Case(
        "import pymongo\nfor found in batches(db.small):\n"
        "    found.write(db.users, [pymongo.UpdateOne({'_id': e['_id']}, {'$set': {'small': e}}) for e in found])\n"
        "db.small.drop()",
        arguments="db, batches",
    ),
    "documents become subdocuments by a pipeline": Case(
        "db.small.aggregate([{'$project': {'text': 1}}, {'$merge': {'into': 'users', 'whenNotMatched': 'discard'}}])\n"
        "db.small.drop()"
    ),
    "a field gets another name by a pipeline": Case(
        "db.small.update_many({}, [{'$project': {'old': 1, 'new': 1, 'one': 1, 'twice': 1, 'words': '$text'}}])"
    ),
    "a find with an index in a loop": Case(
        "for each in db.sessions.find():\n    db.users.find_one({'_id': each['_id'], 'n': 1})"
    ),
    "a collection becomes capped": Case("db.command('convertToCapped', 'users', size=10_000_000)"),
    "all indexes are made anew": Case("db.users.drop_indexes()\ndb.users.create_index('n')"),
    "files": Case("import gridfs\ngridfs.GridFS(db).put(b'x' * 1000, _id=1)"),
}


class PreflightTestCase(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.client.drop_database, f"{self.database}_rehearsal")
        users = [{"_id": n, "n": n, "email": f"{n}@b.c", "tags": [f"t{n}", f"u{n}"]} for n in range(DOCUMENTS)]
        # Two that are neither the newest nor likely in a sample, so that the copy can make the index.
        for number in (1, 3):
            users[number].update(email="same@b.c", tags=["common", "common"])
        users[5]["email"] = "SAME@b.c"
        self.db.users.insert_many(users)
        now = datetime.now(timezone.utc)
        self.db.sessions.insert_many(
            [{"_id": n, "at": now - timedelta(days=1 if n < 40 else -1), "later": now} for n in range(80)]
        )
        small = [
            {"_id": n, "old": n, "new": n, "one": 1, "text": "a b", "twice": [n, n], "nothing": None} for n in range(3)
        ]
        self.db.small.insert_many(small)
        self.db.create_collection("empty")

    def rehearse(self, *options: str, code: int = 0, **settings: Any) -> list[Any]:
        """What is said of each migration; the real database is as it was."""
        before = self.db.command("dbHash")["collections"]
        manager = self.manager(PREFLIGHT_DOCUMENTS=100, **settings)
        named = dict(option.split("=") for option in options)
        result = self.run_task("rehearse", of=manager, json="yes", **{"documents": "20", **named})
        if code == 4 and "DuplicateKeyError" in result.stderr:
            code = 1  # by chance, the copy has a value twice
        self.assert_code(code, result)
        self.assertEqual(before, self.db.command("dbHash")["collections"])
        return [each["preflight"] for each in json.loads(result.stdout)["rehearsed"]]

    def grave(self, *options: str, code: int = 4, **settings: Any) -> dict[str, str]:
        """What is grave in the first migration, by its kind."""
        found = self.rehearse(*options, code=code, **settings)[0]
        kinds = {each["kind"] for each in found if each["is_grave"]}
        return {kind: "; ".join(each["text"] for each in found if each["kind"] == kind) for kind in kinds}

    def assert_grave(self, case: Case) -> None:
        self.write(case)
        found = self.grave()
        self.assertEqual(sorted(case.grave), sorted(found), found)
        for kind, words in case.grave.items():
            self.assertIn(words, found[kind])

    def write(self, case: Case, name: str = "1_a.py") -> None:
        self.team.migration(name, case.up, case.down, case.arguments)


class TestPreflight(PreflightTestCase):
    def test_grave_cases(self) -> None:
        for name, case in GRAVE.items():
            with self.subTest(name):
                self.assert_grave(case)

    def test_right_ones(self) -> None:
        for name, case in RIGHT.items():
            with self.subTest(name):
                self.write(case)
                self.assertEqual({}, self.grave(code=0))

    def test_what_the_file_allows_is_shown_and_not_grave(self) -> None:
        self.write(GRAVE["a scan"])
        path = self.team.path / "mongomigrations/1_a.py"
        path.write_text(f'ALLOW = {{"COLLSCAN": "at night"}}\n\n{path.read_text()}')
        (found,) = (each for each in self.rehearse()[0] if each["kind"] == "COLLSCAN")
        self.assertEqual((False, "at night", "users", 300), tuple(found[key] for key in FACTS))
        shown = self.run_task("rehearse", of=self.manager(PREFLIGHT_DOCUMENTS=100), documents="20")
        self.assert_code(0, shown)
        self.assertRegex(shown.stdout, r"NAME .* PREFLIGHT\n1_a.py .* allowed\n")
        self.assertRegex(
            shown.stdout, r"  on the real data:\n    users: no index fits .* \[COLLSCAN, allowed: at night\]"
        )

    def test_what_is_grave_stands_in_the_table_and_says_what_to_write(self) -> None:
        self.write(GRAVE["a scan"])
        shown = self.run_task("rehearse", of=self.manager(PREFLIGHT_DOCUMENTS=100), documents="20")
        self.assert_code(4, shown)
        self.assertRegex(shown.stdout, r"1_a.py .* COLLSCAN\n")
        sentence = "The real data will have trouble with 1_a.py (COLLSCAN): if that is known, write ALLOW"
        self.assertIn(sentence, shown.stderr)

    def test_a_team_that_masks_the_copy_is_shown_no_real_values(self) -> None:
        def before_rehearsal(manager: Any, db: Any) -> None:
            db.users.update_many({}, [{"$set": {"email": {"$toString": "$_id"}}}])

        self.write(GRAVE["a unique index"])
        found = self.grave(before_rehearsal=before_rehearsal)["duplicates"]
        self.assertIn("more than one document: a value that is not shown (2 documents, such as _id 1 and 3)", found)
        shown = self.run_task("rehearse", of=self.manager(before_rehearsal=before_rehearsal))
        self.assertIn("a value that is not shown (2 documents", shown.stdout)
        self.assertNotIn("same@b.c", shown.output)

    def test_a_misspelt_word_is_named(self) -> None:
        self.write(GRAVE["a scan"])
        path = self.team.path / "mongomigrations/1_a.py"
        path.write_text(f'ALLOW = {{"COLSCAN": "at night"}}\n\n{path.read_text()}')
        result = self.run_task("rehearse")
        self.assert_code(1, result)
        self.assertIn("ALLOW of 1_a.py has the unknown key 'COLSCAN': write 'COLLSCAN' or remove it.", result.stderr)

    def test_a_migration_before_may_have_cleaned_the_data(self) -> None:
        self.write(Case(f"{INDEX}([('email', -1)])\ndb.users.delete_many({{'email': 'same@b.c'}})", down=IRREVERSIBLE))
        self.write(Case(f"{INDEX}('email', name='u', unique=True)", down="db.users.drop_index('u')"), "2_b.py")
        self.assertEqual([], [each for found in self.rehearse() for each in found if each["is_grave"]])

    def test_a_migration_before_may_have_copied_what_is_lost(self) -> None:
        self.write(Case("db.archive.insert_many(list(db.small.find()))"))
        self.write(Case("db.small.delete_many({'old': 2})\ndb.small.drop()"), "2_b.py")
        _, found = self.rehearse()
        known = ". The run has written to archive before: whether all of it is there is not known"
        self.assertEqual(
            [f"deletes 1 document{known}", f"drop removes small with 2 documents{known}"],
            [each["text"] for each in found if each["kind"] == "not known"],
        )
        self.write(Case("list(db.small.find())\ndb.archive.insert_one({})"))
        self.assertTrue(any(each["kind"] == "lost values" for each in self.rehearse(code=4)[1]))

    def test_without_a_preflight_nothing_is_asked(self) -> None:
        self.write(GRAVE["a scan"])
        self.assertEqual([None], self.rehearse("preflight=no"))
        result = self.run_task("rehearse", preflight="never")
        self.assert_code(1, result)
        self.assertIn("preflight has to be a whole number, at least 1, not 'never'.", result.stderr)

    def test_the_table_says_that_not_all_was_asked(self) -> None:
        loop = (
            f"for n in range({MAX_COMMANDS} + 1):\n    db.small.update_one({{'_id': 1}}, {{'$set': {{f'f{{n}}': 1}}}})"
        )
        self.write(Case(loop))
        shown = self.run_task("rehearse")
        self.assert_code(0, shown)
        self.assertRegex(shown.stdout, r"1_a.py .* not all asked\n")
        self.assertIn("    small: no question about 1 command: a migration may have 500 different ones\n", shown.stdout)

    def test_a_walk_whose_updates_differ_in_form_is_told_once(self) -> None:
        self.db.users.insert_many({"_id": f"user {n}", "n": 0} for n in range(5))
        update = "lambda user: {'$set': {'city': 1} if user['n'] % 2 else {'city': 'Rome', 'more': 1}}"
        self.write(Case(f"batches.update(db.users, {{'city': None}}, {update})", arguments="db, batches"))
        (found,) = self.rehearse()
        self.assertEqual(["update of 305 documents in batches"], [each["text"] for each in found])

    def test_notes(self) -> None:
        self.db.users.create_index("city")
        sparse = f"\n{INDEX}('city', name='again', sparse=True)" if self.has("two indexes of one key") else ""
        self.write(Case(f"{INDEX}([('city', 1), ('n', 1)]){sparse}", down=None))
        (found,) = self.rehearse()
        self.assertEqual(
            ["index city_1_n_1 makes city_1 superfluous: it begins with the same fields"],
            [each["text"] for each in found if each["kind"] == "superfluous index"],
        )

    def test_one_index_too_many(self) -> None:
        for number in range(63):
            self.db.small.create_index(f"f{number}")
        self.write(Case("db.small.drop_index('f0_1')\ndb.small.create_index('g')\n", down=None))
        self.assertEqual({}, self.grave(code=0))
        self.write(Case("db.small.create_index('g')\n", down=None))
        self.assertEqual(
            {"too many indexes": "index g_1 is one more than the 64 that a collection may have"}, self.grave(code=1)
        )

    def test_an_index_that_is_dropped_fits_no_longer(self) -> None:
        self.db.users.create_index("n")
        for drop in ("db.users.drop_index('n_1')", DROP_INDEXES):
            case = Case(f"{drop}\ndb.users.update_many({{'n': 7}}, {{'$set': {{'new': 1}}}})")
            self.assert_grave(case._replace(grave={"COLLSCAN": "no index fits the filter {'n': 7} of the update"}))
            self.write(case._replace(up=case.up.replace("db.users.update", f"{INDEX}([('n', -1)])\ndb.users.update")))
            self.assertEqual({}, self.grave(code=0))

    def test_a_view_is_searched_in_a_loop(self) -> None:
        self.db.create_collection("seen", viewOn="users", pipeline=[{"$match": {"n": {"$gte": 0}}}])
        search = "for each in db.sessions.find():\n    db.seen.find_one({'n': each['_id']})"
        self.assert_grave(Case(search, {"COLLSCAN": "of the find: MongoDB reads all 300 documents"}))
        self.db.users.create_index("n")
        self.write(Case(search))
        self.assertEqual({}, self.grave(code=0))

    def test_an_index_that_will_be_unique(self) -> None:
        self.need("prepareUnique")
        self.db.users.create_index("email")
        index = "{'keyPattern': {'email': 1}, 'prepareUnique': True}"
        self.write(Case(f"db.command('collMod', 'users', index={index})", down=None))
        self.assertIn("unique index email_1: 1 value stands in more than", self.grave()["duplicates"])

    def test_a_new_index_has_so_many_documents_and_bytes(self) -> None:
        self.db.users.insert_many({"_id": n, "email": f"{n:08}@b.c", "n": n} for n in range(DOCUMENTS, 2000))
        self.write(Case(f"{INDEX}('email')\n{INDEX}('tags', sparse=True)\n{INDEX}([('n', 'hashed')])", down=None))
        found = {each["text"]: each for each in self.rehearse()[0] if each["kind"] == "new index"}
        sizes = {each["documents"]: each["index_bytes"] for each in found.values()}
        plain, sparse, hashed = found
        self.assertRegex(plain, "^index email_1 of about 2,000 documents, at most about [45]. kB$")
        self.assertRegex(sparse, "^index tags_1 of 300 documents, at most about .* kB$")
        self.assertEqual("index n_hashed of about 2,000 documents", hashed)
        self.assertEqual({300: True, 2000: False}, {number: bool(size) for number, size in sizes.items()})
        shown = self.run_task("rehearse", of=self.manager()).stdout
        self.assertIn(f"    users: {hashed}\n", shown)
        self.assertNotIn("index tags_1 of", shown)  # so few are only for programs

    def test_what_is_known_of_a_migration_that_fails_and_of_those_before(self) -> None:
        self.write(GRAVE["a scan"])
        self.write(Case(f"db.small.delete_one({{'_id': 1}})\n{INDEX}('email', unique=True)\n"), "2_b.py")
        self.write(GRAVE["a scan"], "3_c.py")
        first, second = self.rehearse("documents=all", code=1)
        self.assertEqual(["COLLSCAN"], [each["kind"] for each in first if each["is_grave"]])
        self.assertEqual(["duplicates"], [each["kind"] for each in second if each["is_grave"]])
        shown = self.run_task("rehearse", of=self.manager(), documents="all")
        self.assertRegex(shown.stdout, r"2_b.py +failed .* duplicates\n")
        self.assertRegex(shown.stdout, r"sent to users: 1 createIndexes\n  on the real data:\n    users: unique")


class TestQuestions(PreflightTestCase):
    def test_what_could_not_be_asked_is_named(self) -> None:
        questions = Questions(self.db, seconds=0)
        sent = Sent("update", "users", {"filter": {"n": 1}, "update": {"$set": {"n": 2}}, "multi": True})
        preflight = Preflight(questions, Scale(limit=100, has_oplog=False, factors={}))
        (found,) = preflight.findings(Rehearsed([sent], [], takes_back=True, allowances={}))
        self.assertEqual(("not asked", "users", False), (found.kind, found.collection, found.is_grave))
        self.assertEqual("no answer about the documents of update: no time was left of 0 s", found.text)

    def test_values_that_a_pipeline_cannot_convert(self) -> None:
        number = {"$toInt": {"$arrayElemAt": [{"$split": ["$email", "@"]}, 0]}}
        body = {"filter": {}, "update": [{"$set": {"number": number}}], "multi": True}
        update = Sent("update", "users", body, walk={"n": {"$lt": 4}})
        preflight = Preflight(Questions(self.db), Scale(limit=1000, has_oplog=False, factors={"users": 15}))
        refused, changed = preflight.findings(Rehearsed([update], [], takes_back=True, allowances={}))[::-1]
        self.assertEqual(("refused documents", "changed documents"), (refused.kind, changed.kind))
        self.assertRegex(
            refused.text, "^the update cannot convert a value and fails: Failed to parse number 'same' in \\$convert"
        )
        again = preflight.findings(Rehearsed([update], [], takes_back=True, allowances={}))
        self.assertIn("fails, as the documents are before the run:", again[-1].text)
        right = Sent("update", "users", body, walk={"n": 2})
        self.assertEqual(1, len(preflight.findings(Rehearsed([right], [], takes_back=True, allowances={}))))

    def test_all_commands_are_noted_and_the_first_are_asked_about(self) -> None:
        many = [Sent("create", f"c{number}", {}) for number in range(MAX_COMMANDS)]
        delete = Sent("delete", "users", {"filter": {"email": "same@b.c"}, "update": None, "multi": True})
        index = Sent("createIndexes", "users", {"key": {"email": 1}, "name": "email_1", "unique": True})
        preflight = Preflight(Questions(self.db), Scale(limit=100, has_oplog=False, factors={"users": 15}))
        (found,) = preflight.findings(Rehearsed([*many, delete], [], takes_back=False, allowances={}))
        self.assertEqual(("not asked", "users", False), (found.kind, found.collection, found.is_grave))
        self.assertEqual("no question about 1 command: a migration may have 500 different ones", found.text)
        later = preflight.findings(Rehearsed([index], [], takes_back=True, allowances={}))
        self.assertEqual(["new index"], [each.kind for each in later])

    def test_the_time_of_a_command_has_nothing_of_the_reading_before_it(self) -> None:
        with Guard(Place(addresses(self.client.nodes), self.database), forbidden="another") as guard:
            client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri)
            with client, guard.watch(lambda collection: time.sleep(2)):
                client[self.database].small.update_one({"_id": 1}, {"$set": {"more": 1}})
            (sent,) = guard.recorder.sent
        self.assertEqual(("update", 1), (sent.name, sent.documents))
        self.assertLess(sent.seconds, 2)


class TestTime(PreflightTestCase):
    def find_server(self) -> Mongod:
        mongod = Mongod(arguments=["--setParameter", "enableTestCommands=1"])
        mongod.start()
        self.addCleanup(mongod.close)
        return mongod

    def duplicates(self) -> list[str]:
        index = Sent("createIndexes", "users", {"key": {"city": 1}, "name": "city_1", "unique": True})
        preflight = Preflight(Questions(self.db), Scale(limit=100, has_oplog=False, factors={"users": 15}))
        self.client.admin.command("configureFailPoint", "maxTimeAlwaysTimeOut", mode={"times": 1})
        found = preflight.findings(Rehearsed([index], [], takes_back=True, allowances={}))
        return [f"{each.kind}: {each.text}" for each in found if each.kind in ("duplicates", "not asked")]

    def test_duplicates_among_some_of_the_values(self) -> None:
        self.db.users.update_many({}, [{"$set": {"city": {"$toInt": {"$divide": ["$_id", 2]}}}}])
        (found,) = self.duplicates()
        self.assertRegex(
            found,
            r"^duplicates: unique index city_1: \d values stand in more than one document in the twentieth of the"
            r" values that could be looked at in time: \d+ \(2 documents",
        )
        self.db.users.update_many({}, [{"$set": {"city": "$_id"}}])
        (found,) = self.duplicates()
        self.assertRegex(found, r"^not asked: no answer about the index of createIndexes: it took longer than 5.0 s$")


class TestRights(WithUsersTestCase, PreflightTestCase):
    def user(self, *actions: str) -> str:
        """The URI of a user who may do that in the database of the test, and nothing else."""
        name = f"may_{'_'.join(actions)}"
        resource = {"db": self.database, "collection": ""}
        self.db.command("createRole", name, privileges=[{"resource": resource, "actions": actions}], roles=[])
        self.db.command("createUser", name, pwd="secret", roles=[name])
        self.addCleanup(self.db.command, "dropUser", name)
        self.addCleanup(self.db.command, "dropRole", name)
        return f"mongodb://{name}:secret@{self.server.host}:{self.server.port}/{self.database}"

    def test_the_rights_of_a_copy_are_enough(self) -> None:
        self.write(
            Case(
                f"{INDEX}('email', unique=True)\ndb.users.update_many({{'n': 7}}, {{'$set': {{'new': 1}}}})\n"
                "db.command('collMod', 'users', validator={'city': 'Rome'})"
            )
        )
        uri = self.user("find", "collStats", "listCollections", "listIndexes")
        there = {"REHEARSAL_URI": self.server.uri, "REHEARSAL_DATABASE": f"{self.database}_rehearsal"}
        (found,) = self.rehearse("documents=20", code=4, MONGO_URI=uri, **there)
        self.assertEqual({"COLLSCAN", "duplicates", "refused documents"}, {each["kind"] for each in found} - set(NOTES))
        self.assertNotIn("not asked", [each["kind"] for each in found])

    def test_what_the_user_may_not_ask_is_named_and_the_rest_is_asked(self) -> None:
        commands = [
            Sent("createIndexes", "users", {"key": {"email": 1}, "name": "email_1", "unique": True}),
            Sent("collMod", "users", {"validator": {"city": "Rome"}}),
            Sent("update", "users", {"filter": {}, "update": {"$unset": {"email": 1}}, "multi": True}),
        ]
        client: MongoClient[dict[str, Any]] = MongoClient(self.user("find"))
        with client:
            questions = Questions(client[self.database])
            preflight = Preflight(questions, Scale(limit=100, has_oplog=False, factors={"users": 15}))
            found = preflight.findings(Rehearsed(commands, [], takes_back=False, allowances={}))
        self.assertEqual(
            ["duplicates", "many documents", "lost values"], [each.kind for each in found if each.is_grave]
        )
        self.assertEqual(
            [
                "no answer about the index of createIndexes: the user may not",
                "no answer about the validator of collMod: the user may not",
            ],
            [each.text for each in found if each.kind == "not asked"],
        )


class TestSecondaries(FailingReplicaSetTestCase):
    def test_what_looks_at_documents_is_asked_from_a_secondary(self) -> None:
        users = self.db.users.with_options(write_concern=WriteConcern(3))
        users.insert_many([{"_id": n, "n": n % 50} for n in range(200)])
        commands = [
            Sent("update", "users", {"filter": {"n": 1}, "update": [{"$unset": "n"}], "multi": True}),
            Sent("createIndexes", "users", {"key": {"n": 1}, "name": "n_1", "unique": True}),
            Sent("collMod", "users", {"validator": {"m": 1}}),
            Sent("drop", "users", {}),
        ]
        asked = Asked()
        client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri, event_listeners=[asked])
        with client:
            wait_for("secondaries", lambda: len(client.secondaries) == 2)
            preflight = Preflight(Questions(client[self.database]), Scale(limit=100, has_oplog=True, factors={}))
            found = preflight.findings(Rehearsed(commands, [], takes_back=False, allowances={}))
        self.assertEqual([], [each.text for each in found if each.kind == "not asked"])
        primary, secondary = (asked.by_member(is_primary, self.client.primary) for is_primary in (True, False))
        self.assertEqual(set(), primary - {"listCollections", "listIndexes"})
        self.assertEqual({"aggregate", "count", "explain", "find"}, secondary)


class Asked(CommandListener):
    """The commands that were sent, with the member that got each."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.commands.append((event.command_name, event.connection_id))

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...

    def by_member(self, is_primary: bool, primary: Any) -> set[str]:
        return {name for name, member in self.commands if (member == primary) == is_primary} - {"endSessions"}


class TestPreflightOnReplicaSet(PreflightTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_grave_cases(self) -> None:
        for name in ("all at once", "a field is removed in batches", "a unique index"):
            with self.subTest(name):
                self.assert_grave(GRAVE[name])

    def test_in_a_transaction(self) -> None:
        up = "db.users.update_many({}, {'$set': {'new': 1}}, session=session)"
        down = UNDO.replace("}})", "}}, session=session)")
        self.write(Case(up, down=down, arguments="db, session"))
        (found,) = self.rehearse("documents=150", code=4)
        (one,) = found
        self.assertEqual(("many documents", 300), (one["kind"], one["documents"]))
        self.assertIn("by what the copy took, about", one["text"])
        self.assertGreater(one["oplog_bytes"], 300 * 200)
