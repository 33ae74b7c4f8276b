"""What down() has not brought back: every fault that is seeded is found, and what is right raises no alarm."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Callable, Iterator, Sequence

from bson import Binary, Code, Decimal128, Int64, ObjectId, Regex
from bson.son import SON
from pymongo import IndexModel, MongoClient

from migopy.errors import MigopyException
from migopy.rehearsal.scratch.comparing import Change, Snapshot, compare
from migopy.rehearsal.scratch.digest import Digester
from migopy.rehearsal.scratch.guard import BeforeWriteError, Guard, Place, addresses
from tests.server import Mongod, Server, shared_replica_set
from tests.support import MongoTestCase

Step = Callable[[Any], object]

FIRST, LATER = {"_id": 1}, {"_id": {"$gt": 1}}
LONG_AGO = datetime(2020, 1, 1, 12, 30)
OLD = ObjectId.from_datetime(LONG_AGO)

FAULTS: dict[str, tuple[Step, Step]] = {
    "nothing is taken back": (
        lambda db: db.users.update_many({}, {"$set": {"n": 1}}),
        lambda db: None,
    ),
    "one document is forgotten": (
        lambda db: db.users.update_many({}, {"$set": {"n": 1}}),
        lambda db: db.users.update_many(LATER, {"$unset": {"n": 1}}),
    ),
    "null where there was no field": (
        lambda db: db.users.update_many({}, {"$set": {"n": 1}}),
        lambda db: db.users.update_many({}, {"$set": {"n": None}}),
    ),
    "no field where there was null": (
        lambda db: db.users.update_many({}, {"$set": {"nothing": 1}}),
        lambda db: db.users.update_many({}, {"$unset": {"nothing": 1}}),
    ),
    "a text where there was a number": (
        lambda db: db.users.update_one(FIRST, {"$set": {"age": "41"}}),
        lambda db: db.users.update_one(FIRST, {"$set": {"age": "40"}}),
    ),
    "a number where there was a boolean": (
        lambda db: db.users.update_many({}, {"$unset": {"active": 1}}),
        lambda db: db.users.update_many({}, {"$set": {"active": 1}}),
    ),
    "a large number is rounded": (
        lambda db: db.users.update_one(FIRST, [{"$set": {"large": {"$toDouble": "$large"}}}]),
        lambda db: db.users.update_one(FIRST, [{"$set": {"large": {"$toLong": "$large"}}}]),
    ),
    "a price loses its cents": (
        lambda db: db.users.update_one(FIRST, [{"$set": {"price": {"$toInt": "$price"}}}]),
        lambda db: db.users.update_one(FIRST, [{"$set": {"price": {"$toDecimal": "$price"}}}]),
    ),
    "capitals are lost": (
        lambda db: db.users.update_many({}, [{"$set": {"name": {"$toLower": "$name"}}}]),
        lambda db: None,
    ),
    "a time becomes a day": (
        lambda db: db.users.update_one(FIRST, {"$set": {"born": "2020-01-01"}}),
        lambda db: db.users.update_one(FIRST, {"$set": {"born": datetime(2020, 1, 1)}}),
    ),
    "an old time becomes that of now": (
        lambda db: db.users.update_one(FIRST, {"$unset": {"born": 1}}),
        lambda db: db.users.update_one(FIRST, {"$currentDate": {"born": True}}),
    ),
    "a reference becomes a fresh one": (
        lambda db: db.users.update_one(FIRST, {"$unset": {"friend": 1}}),
        lambda db: db.users.update_one(FIRST, {"$set": {"friend": ObjectId()}}),
    ),
    "a document comes back with another _id": (
        lambda db: db.users.delete_one(FIRST),
        lambda db: db.users.insert_one({**user(1), "_id": ObjectId()}),
    ),
    "an array in another order": (
        lambda db: db.users.update_one(FIRST, {"$set": {"tags": "b,a,b"}}),
        lambda db: db.users.update_one(FIRST, {"$set": {"tags": ["a", "b", "b"]}}),
    ),
    "an array without what is twice in it": (
        lambda db: db.users.update_one(FIRST, {"$set": {"tags": "b,a"}}),
        lambda db: db.users.update_one(FIRST, {"$set": {"tags": ["b", "a"]}}),
    ),
    "a field deep inside": (
        lambda db: db.users.update_one(FIRST, {"$set": {"lines.1.vat.rate": 20}}),
        lambda db: db.users.update_one(FIRST, {"$unset": {"lines.1.vat.rate": 1}}),
    ),
    "an embedded document that is empty instead of not there": (
        lambda db: db.users.update_one(FIRST, {"$set": {"more.x": 1}}),
        lambda db: db.users.update_one(FIRST, {"$unset": {"more.x": 1}}),
    ),
    "two have swapped their values": (
        lambda db: None,
        lambda db: [db.users.update_one({"_id": n}, {"$set": {"age": 43 - n}}) for n in (1, 2)],
    ),
    "another subtype, other flags": (
        lambda db: None,
        lambda db: db.users.update_one(FIRST, {"$set": {"hash": Binary(b"\1", 0), "like": Regex("^a")}}),
    ),
    "a document too many is removed": (
        lambda db: db.users.insert_one({"_id": 99}),
        lambda db: db.users.delete_many({"_id": {"$gte": 20}}),
    ),
    "a collection is gone": (
        lambda db: db.users.rename("people"),
        lambda db: db.people.drop(),
    ),
    "a collection is left": (
        lambda db: db.made.insert_one({}),
        lambda db: None,
    ),
    "an index is left": (
        lambda db: db.users.create_index("age"),
        lambda db: None,
    ),
    "an index is gone": (
        lambda db: db.users.drop_index("name_1"),
        lambda db: None,
    ),
    "an index is not unique any more": (
        lambda db: db.users.drop_index("name_1"),
        lambda db: db.users.create_index("name"),
    ),
    "the fields of an index in another order": (
        lambda db: db.users.drop_index("two"),
        lambda db: db.users.create_index([("b", -1), ("a", 1)], name="two"),
    ),
    "documents expire sooner": (
        lambda db: db.command("collMod", "users", index={"name": "born_1", "expireAfterSeconds": 5}),
        lambda db: db.command("collMod", "users", index={"name": "born_1", "expireAfterSeconds": 2**30}),
    ),
    "the validator is not as strict": (
        lambda db: db.command("collMod", "strict", validator={}),
        lambda db: db.command("collMod", "strict", validator={"n": {"$type": "int"}}, validationAction="warn"),
    ),
    "a collection is not capped any more": (
        lambda db: db.log.drop(),
        lambda db: db.log.insert_one({"_id": 1}),
    ),
    "a view shows something else": (
        lambda db: db.adults.drop(),
        lambda db: db.create_collection("adults", viewOn="users", pipeline=[{"$match": {"age": {"$gt": 18}}}]),
    ),
    "a stored function is gone": (
        lambda db: db["system.js"].delete_one({"_id": "twice"}),
        lambda db: None,
    ),
    "a measurement is gone": (
        lambda db: db.weather.drop(),
        lambda db: db.command("create", "weather", timeseries={"timeField": "at"}),
    ),
}

RIGHT: dict[str, tuple[Step, Step]] = {
    "a field is set and unset": (
        lambda db: db.users.update_many({}, {"$set": {"n": 1}}),
        lambda db: db.users.update_many({}, {"$unset": {"n": 1}}),
    ),
    "a field is renamed there and back": (
        lambda db: db.users.update_many({}, {"$rename": {"age": "years"}}),
        lambda db: db.users.update_many({}, {"$rename": {"years": "age"}}),
    ),
    "a field deep inside is moved there and back": (
        lambda db: db.users.update_many({}, {"$rename": {"home.zip": "home.code"}}),
        lambda db: db.users.update_many({}, {"$rename": {"home.code": "home.zip"}}),
    ),
    "numbers of another type": (
        lambda db: db.users.update_many({}, [{"$set": {"age": {"$toDouble": "$age"}}}]),
        lambda db: db.users.update_many({}, [{"$set": {"age": {"$toLong": "$age"}}}]),
    ),
    "a price as a decimal and back": (
        lambda db: db.users.update_many({}, [{"$set": {"half": {"$toDecimal": "$half"}}}]),
        lambda db: db.users.update_many({}, [{"$set": {"half": {"$toDouble": "$half"}}}]),
    ),
    "documents with fresh ids are inserted and deleted": (
        lambda db: db.users.insert_many([{"name": f"new {n}"} for n in range(3)]),
        lambda db: db.users.delete_many({"name": {"$regex": "^new"}}),
    ),
    "the time of now": (
        lambda db: db.users.update_many({}, {"$currentDate": {"at": True, "changed": {"$type": "timestamp"}}}),
        lambda db: db.users.update_many({}, {"$unset": {"at": 1, "changed": 1}}),
    ),
    "fresh ids in embedded documents": (
        lambda db: [db.users.update_one(one, {"$set": {"lines.$[].id": ObjectId()}}) for one in db.users.find()],
        lambda db: db.users.update_many({}, {"$unset": {"lines.$[].id": 1}}),
    ),
    "a name is split and joined": (
        lambda db: db.users.update_many({}, [{"$set": {"parts": {"$split": ["$name", " "]}}}]),
        lambda db: db.users.update_many(
            {}, [{"$set": {"name": {"$concat": [part(0), " ", part(1)]}}}, {"$project": {"parts": 0}}]
        ),
    ),
    "a text becomes an array and a text": (
        lambda db: db.users.update_many({}, [{"$set": {"name": ["$name"]}}]),
        lambda db: db.users.update_many({}, [{"$set": {"name": {"$arrayElemAt": ["$name", 0]}}}]),
    ),
    "documents are moved to another collection and back": (
        lambda db: [list(db.users.aggregate([{"$match": LATER}, {"$out": "rest"}])), db.users.delete_many(LATER)],
        lambda db: [list(db.rest.aggregate([{"$merge": "users"}])), db.rest.drop()],
    ),
    "documents are written again with their fields the other way round": (
        lambda db: [db.users.replace_one({"_id": one["_id"]}, reverse(one)) for one in db.users.find(LATER)],
        lambda db: None,
    ),
    "a collection is renamed there and back": (
        lambda db: db.users.rename("people"),
        lambda db: db.people.rename("users"),
    ),
    "a collection is made with documents and indexes, and dropped": (
        lambda db: [db.made.insert_many([{"n": n} for n in range(3)]), db.made.create_index("n", unique=True)],
        lambda db: db.made.drop(),
    ),
    "a collection is left empty": (
        lambda db: db.made.insert_one({"_id": 1}),
        lambda db: db.made.delete_one({"_id": 1}),
    ),
    "an index comes and goes": (
        lambda db: db.users.create_index([("age", 1), ("name", -1)]),
        lambda db: db.users.drop_index("age_1_name_-1"),
    ),
    "an index goes and comes, with numbers of another type": (
        lambda db: db.users.drop_index("two"),
        lambda db: db.command(
            "createIndexes", "users", indexes=[{"name": "two", "key": SON([("a", 1.0), ("b", Int64(-1))])}]
        ),
    ),
    "an index is hidden and shown": (
        lambda db: db.command("collMod", "users", index={"name": "two", "hidden": True}),
        lambda db: db.command("collMod", "users", index={"name": "two", "hidden": False}),
    ),
    "a validator where there was none": (
        lambda db: db.command("collMod", "users", validator={"name": {"$type": "string"}}),
        lambda db: db.command("collMod", "users", validator={}),
    ),
    "a validator goes and comes": (
        lambda db: db.command("collMod", "strict", validator={}, validationLevel="off"),
        lambda db: db.command("collMod", "strict", validator={"n": {"$type": "int"}}, validationLevel="strict"),
    ),
    "a view comes and goes": (
        lambda db: db.create_collection("minors", viewOn="users", pipeline=[{"$match": {"age": {"$lt": 18}}}]),
        lambda db: db.minors.drop(),
    ),
    "a view goes and comes": (
        lambda db: db.adults.drop(),
        lambda db: db.create_collection("adults", viewOn="users", pipeline=[]),
    ),
    "nothing at all": (
        lambda db: None,
        lambda db: None,
    ),
}


def part(number: int) -> Any:
    return {"$arrayElemAt": ["$parts", number]}


def reverse(document: Any) -> SON[str, Any]:
    return SON(reversed(list(document.items())))


def user(number: int) -> dict[str, Any]:
    return {
        "_id": number,
        "name": f"Ann B{number}",
        "age": 41 if number == 1 else 40 + number,
        "large": Int64(2**53 + 1),
        "price": Decimal128("1.99"),
        "half": 0.5,
        "active": True,
        "nothing": None,
        "born": LONG_AGO,
        "friend": OLD,
        "tags": ["b", "a", "b"],
        "home": {"zip": "1", "city": "Bern"},
        "lines": [{"n": 1}, {"n": 2, "vat": {"rate": 8.1, "of": 1}}],
        "hash": Binary(b"\1", 5),
        "like": Regex("^a", "i"),
    }


def made(name: str, **options: Any) -> Step:
    return lambda db: db.command("create", name, **options)


def filled(name: str, document: Any) -> Step:
    return lambda db: db[name].insert_one(document)


USERS_INDEXES = [
    IndexModel("name", unique=True),
    IndexModel([("a", 1), ("b", -1)], name="two"),
    IndexModel("born", expireAfterSeconds=1_000_000_000),
]

CONTENTS: dict[str, list[Step]] = {
    "users": [
        lambda db: db.users.insert_many([user(number) for number in range(1, 31)]),
        lambda db: db.users.create_indexes(USERS_INDEXES),
    ],
    "strict": [made("strict", validator={"n": {"$type": "int"}})],
    "log": [made("log", capped=True, size=4096), filled("log", {"_id": 1})],
    "adults": [made("adults", viewOn="users", pipeline=[])],
    "system.js": [filled("system.js", {"_id": "twice", "value": Code("function(x) { return 2 * x; }")})],
    "weather": [made("weather", timeseries={"timeField": "at"}), filled("weather", {"at": LONG_AGO, "t": 1})],
}
"""How each collection is made of the database in which everything is tried."""


def real(changes: Sequence[Change]) -> list[str]:
    return [change.name for change in changes if change.is_real]


class CompareTestCase(MongoTestCase):
    """What the test does to `self.guarded` the `guard` sees, and what it does to `self.db` nobody."""

    def setUp(self) -> None:
        super().setUp()
        self.make_all()
        self.guard = Guard(Place(addresses(self.client.nodes), self.database), forbidden="another")
        client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri, event_listeners=[self.guard])
        self.addCleanup(client.close)
        self.guarded = client[self.database]

    def make_all(self) -> None:
        self.make([name for name in CONTENTS if name != "weather" or self.has("timeseries")])

    def make(self, names: Sequence[str]) -> None:
        """Make these collections as they were, or drop them if there were none."""
        for name in names:
            self.db["system.js"].delete_many({}) if name == "system.js" else self.db.drop_collection(name)
            for step in CONTENTS.get(name, ()):
                step(self.db)


class TestVerdicts(CompareTestCase):
    def differences(self, up: Step, down: Step) -> Iterator[list[str]]:
        """The collections that down() has not brought back; then those in which the second up() differs."""
        digester = Digester(time.time())
        before = Snapshot(self.db, digester)
        with self.guard.watch(before.read_documents):
            up(self.guarded)
        after = Snapshot(self.db, digester, known=[before])
        with self.guard.watch(after.read_documents):
            down(self.guarded)
        back = Snapshot(self.db, digester, known=[before, after])
        yield real(compare(before, back))
        with self.guard.watch(back.read_documents):
            up(self.guarded)
        again = Snapshot(self.db, digester, known=[before, after, back])
        yield real(compare(after, again))

    def test_faults_of_down_are_found(self) -> None:
        for name, (up, down) in FAULTS.items():
            with self.subTest(name):
                if name == "a measurement is gone":
                    self.need("timeseries")
                not_restored = next(self.differences(up, down))
                self.assertTrue(not_restored)
                self.make(not_restored)

    def test_what_is_right_raises_no_alarm(self) -> None:
        for name, (up, down) in RIGHT.items():
            with self.subTest(name):
                if "hidden" in name:
                    self.need("hidden")
                self.assertEqual([[], []], list(self.differences(up, down)))
                down(self.db)

    def test_there_are_enough_of_both(self) -> None:
        self.assertGreaterEqual(min(len(FAULTS), len(RIGHT)), 20)


class TestReading(CompareTestCase):
    """Documents are read when it is time, so that whoever changes one collection pays for one."""

    def setUp(self) -> None:
        super().setUp()
        self.digester = Digester(time.time())
        self.look = Snapshot(self.db, self.digester)

    def read(self) -> set[str]:
        """The collections that the look has read, of those of which the server can say whether they have changed."""
        return {name for name in ("users", "strict", "log") if not self.look.states[name].documents.unread}

    def changed(self) -> list[tuple[str, dict[str, int]]]:
        after = Snapshot(self.db, self.digester, known=[self.look])
        return [(change.name, dict(change.counts)) for change in compare(self.look, after)]

    def test_what_is_written_to_is_read_before(self) -> None:
        with self.guard.watch(self.look.read_documents):
            self.guarded.users.count_documents({})
            self.assertEqual(set(), self.read())
            self.guarded.users.update_one({}, {"$set": {"n": 1}})
        self.assertEqual({"users"}, self.read())
        self.assertEqual([("users", {"changed": 1})], self.changed())

    def test_all_is_read_before_what_may_write_anywhere(self) -> None:
        for write in (
            lambda: self.guarded.users.rename("people"),
            lambda: self.guarded.strict.aggregate([{"$out": "users"}]),
            lambda: self.guarded.client.drop_database(self.database),
        ):
            self.make_all()
            self.look = Snapshot(self.db, self.digester)
            with self.guard.watch(self.look.read_documents):
                write()
            self.assertEqual({"users", "strict", "log"}, self.read())
            self.assertIn("users", [name for name, _ in self.changed()])

    def test_what_nobody_has_seen_is_no_answer(self) -> None:
        self.db.users.update_one({}, {"$set": {"n": 1}})
        with self.assertRaisesRegex(
            MigopyException, "^users was changed in the copy by something other than the migration"
        ):
            self.changed()

    def test_what_could_not_be_read_is_not_written_to(self) -> None:
        def fail(name: str | None) -> None:
            raise ValueError(name)

        with self.guard.watch(fail), self.assertRaises(BeforeWriteError):
            self.guarded.users.drop()
        self.assertEqual("users", str(self.guard.before_write_error))
        self.assertEqual(30, self.db.users.count_documents({}))


class TestTransaction(CompareTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_all_is_read_before_one_begins(self) -> None:
        look = Snapshot(self.db, Digester(time.time()))
        watching = self.guard.watch(look.read_documents)
        with watching, self.guarded.client.start_session() as session, session.start_transaction():
            self.guarded.users.find_one(session=session)
        self.assertEqual([], [name for name, state in look.states.items() if state.documents.unread])
