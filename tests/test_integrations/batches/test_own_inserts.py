"""Batches through a collection into which the migration itself inserts."""

from __future__ import annotations

from datetime import datetime

from bson import ObjectId

from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set

COUNT = 30

LOOP = "for users in batches(db.users, {filter}, size=10):\n    {body}"
FUNCTION = """
    def copy(user):
        db.users.insert_one(copy_of(user))
        return {{"$set": {{"n": 1}}}}

    batches.update(db.users, {filter}, copy, size=10)
"""
COPY = """
from pymongo import InsertOne, MongoClient


def copy_of(user):
    return {{"_id": "%sx" % user["_id"], "n": 7}}
"""

WAYS = {
    "insert_many": (LOOP, "db.users.insert_many(map(copy_of, users))"),
    "upsert": (LOOP, "[db.users.replace_one({'_id': copy_of(u)['_id']}, copy_of(u), upsert=True) for u in users]"),
    "find_and_modify": (
        LOOP,
        "[db.users.find_one_and_replace({'_id': copy_of(u)['_id']}, copy_of(u), upsert=True) for u in users]",
    ),
    "write": (LOOP, "users.write(db.users, [InsertOne(copy_of(user)) for user in users])"),
    "function": (FUNCTION, ""),
}


class TestOwnInserts(InProcessTestCase):
    """Strings come before ObjectIds: behind each user there is room for any number of copies."""

    def walk(self, form: str, body: str, filter: str = "{}") -> None:
        """Write a migration that copies users."""
        path = self.team.migration("1_copies.py", form.format(filter=filter, body=body), arguments="db, batches")
        path.write_text(path.read_text() + COPY.format())

    def fill(self) -> None:
        self.begin_anew()
        self.db.users.insert_many([{"_id": f"{n:02}", "n": 0} for n in range(COUNT)])
        # A new ObjectId may be below another one of the same second, so the last one is older than all copies.
        self.db.users.insert_one({"_id": ObjectId.from_datetime(datetime(2026, 1, 1)), "n": 0})

    def copies(self) -> int:
        return self.db.users.count_documents({"n": 7})

    def test_what_it_would_come_to_is_refused_at_once(self) -> None:
        for way in WAYS:
            with self.subTest(way):
                self.fill()
                self.walk(*WAYS[way])
                result = self.run_task("execute")
                self.assertEqual(1, result.code, result.output)
                self.assertRegex(
                    result.stderr,
                    "BatchFailed: The migration inserts documents into users that batches would come to"
                    r" \(the first has _id '\d\dx'\): give batches a filter that leaves them out",
                )
                self.assert_left(way)

    def assert_left(self, way: str) -> None:
        self.assertEqual(10, self.copies())

    def test_with_a_filter_that_leaves_them_out_it_ends(self) -> None:
        for way in WAYS:
            with self.subTest(way):
                self.fill()
                self.walk(*WAYS[way], "{'n': 0}")
                self.assertEqual(0, self.run_task("execute").code)
                self.assertEqual(COUNT + 1, self.copies())

    def test_documents_to_which_the_server_gives_an_id(self) -> None:
        self.fill()
        self.walk(LOOP, "db.command('insert', 'users', documents=[{'n': 7} for user in users])")
        result = self.run_task("execute")
        self.assertEqual((0, COUNT + 1), (result.code, self.copies()), result.output)
        self.assertNotIn("KeyError", result.output)

    def test_what_an_application_inserts_ends_nothing(self) -> None:
        self.fill()
        body = "with MongoClient(db.client.address[0], db.client.address[1]) as client:\n"
        body += "        client[db.name].users.insert_many([u for u in map(copy_of, users) if 'xx' not in u['_id']])"
        self.walk(LOOP, body)
        result = self.run_task("execute")
        self.assertEqual(0, result.code, result.output)


class TestOwnInsertsInSet(TestOwnInserts):
    """On a replica set."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def assert_left(self, way: str) -> None:
        self.assertEqual(0 if way == "write" else 10, self.copies())

    def test_after_the_first_batch_was_refused_the_fixed_file_starts_over(self) -> None:
        """Nothing is done, so nothing is done twice with another filter."""
        self.fill()
        self.walk(*WAYS["write"])
        self.assertEqual(1, self.run_task("execute").code)
        self.walk(*WAYS["write"], "{'n': 0}")
        result = self.run_task("execute")
        self.assertEqual(0, result.code, result.output)
        self.assertEqual(COUNT + 1, self.copies())
