"""The client, its properties and the options of PyMongo 2, on whatever PyMongo is installed."""

from __future__ import annotations

import contextlib
import inspect
import uuid
import warnings
from typing import Any

import pymongo
from bson.binary import Binary
from bson.son import SON

from migopy import legacy
from migopy.errors import MigopyException
from migopy.legacy.calls import Translated, TranslatedProperty
from migopy.mongo.internals import event_listeners_of
from tests.legacy import names
from tests.legacy.case import LegacyTestCase

IS_PYMONGO_3 = pymongo.version_tuple[0] == 3
VALUE = uuid.UUID("12345678-1234-5678-1234-567812345678")


class TestNames(LegacyTestCase):
    """No public name of PyMongo 2.4 to 3.13 is silently a collection or a database of that name."""

    def setUp(self) -> None:
        super().setUp()
        self.objects: dict[str, Any] = {
            "database": self.db,
            "collection": self.db.a,
            "cursor": self.db.a.find(),
            "client": self.db.client,
        }

    def test_every_name_of_pymongo_3_is_in_the_list_where_it_is_installed(self) -> None:
        if IS_PYMONGO_3:
            for what, found in self.objects.items():
                known = " ".join(part[what] for part in (names.TODAY, names.ANSWERED, names.REFUSED)).split()
                plain = next(base for base in type(found).__mro__ if base.__module__.startswith("pymongo."))
                self.assertEqual(set(), {name for name in dir(plain) if name[0] != "_"}.difference(known), what)

    def test_a_name_of_today_is_pymongos_own(self) -> None:
        for what, found in self.objects.items():
            for name in names.TODAY[what].split():
                with self.subTest(f"{what}.{name}"):
                    self.assertIsNotNone(inspect.getattr_static(type(found), name))

    def test_an_answered_name_is_one_that_we_translate(self) -> None:
        for what, found in self.objects.items():
            for name in names.ANSWERED[what].split():
                with self.subTest(f"{what}.{name}"):
                    ours = inspect.getattr_static(type(found), name, None)
                    translated = isinstance(ours, (Translated, TranslatedProperty))
                    self.assertTrue(translated or name in vars(type(found)))

    def test_a_refused_name_says_what_to_write(self) -> None:
        for what, found in self.objects.items():
            for name in names.REFUSED[what].split():
                with self.subTest(f"{what}.{name}"), self.assertRaisesRegex(MigopyException, f"^{name}: .*, write "):
                    getattr(found, name)(1)

    def test_no_other_public_name_hides_a_collection(self) -> None:
        for what, found in self.objects.items():
            plain = next(base for base in type(found).__mro__ if base.__module__.startswith("pymongo."))
            listed = " ".join(part[what] for part in (names.TODAY, names.ANSWERED, names.REFUSED)).split()
            listed.append("bulk_write")  # a client has it since PyMongo 4.9
            ours = {name for name in [*dir(type(found)), *vars(found)] if name[0] != "_"}
            self.assertEqual(set(), ours.difference(dir(plain), listed), what)

    def test_nothing_is_unknown(self) -> None:
        self.assertEqual("", "".join(names.UNKNOWN.values()))


class TestClient(LegacyTestCase):
    """`db.connection` of PyMongo 2 and `db.client` of today."""

    def setUp(self) -> None:
        super().setUp()
        self.other = self.database + "_other"
        self.addCleanup(self.client.drop_database, self.other)

    def test_an_archive_in_another_database_is_written_there(self) -> None:
        self.plain.notes.insert_many([{"_id": 1}, {"_id": 2}])
        for number, client in enumerate((self.db.connection, self.db.client, self.db.notes.database.connection)):
            for note in self.db.notes.find():
                client[self.other][f"notes{number}"].old.insert(note)
            self.assertEqual([{"_id": 1}, {"_id": 2}], list(self.client[self.other][f"notes{number}.old"].find()))
        self.assertEqual(["notes"], self.plain.list_collection_names())

    def test_it_warns_and_names_the_collection_of_that_name(self) -> None:
        self.db.connection  # noqa: B018
        self.assert_shown("connection: write client, or ['connection'] for the collection of that name, today")

    def test_every_way_to_a_database_leads_to_one_that_understands(self) -> None:
        client = self.db.client
        ways = [
            client[self.other],
            getattr(client, self.other),
            client.get_database(self.other),
            client[self.other].client[self.other],
            client[self.other].a.database,
            client[self.other].with_options(write_concern=pymongo.WriteConcern(w=1)),
            legacy.database(client[self.other]),
            legacy.database(legacy.database(self.client[self.other])),
        ]
        for number, db in enumerate(ways):
            with self.subTest(number):
                self.assertEqual(number, db.a.insert({"_id": number}))
        self.assertEqual(len(ways), self.client[self.other].a.count_documents({}))

    def test_it_is_the_same_client(self) -> None:
        self.assertIsInstance(self.db.client, pymongo.MongoClient)
        self.assertEqual(self.client, self.db.client)
        self.assertEqual(self.db.client, self.client)
        self.assertEqual(self.client.address, self.db.client.address)
        self.assertEqual(self.client.server_info()["version"], self.db.client.server_info()["version"])
        self.assertIn("ok", self.db.client.admin.command("ping"))

    def test_sessions_of_either_client_work_with_either_database(self) -> None:
        for client in (self.client, self.db.client):
            with client.start_session() as session:
                for db in (self.plain, self.db, pymongo.database.Database(self.client, self.database)):
                    db.a.insert_one({}, session=session)
                    self.db.a.find_one({}, session=session)
                    self.assertIn(self.database, self.db.client.list_database_names(session=session))
        self.assertEqual(6, self.plain.a.count_documents({}))

    def test_pymongos_own_classes_take_it(self) -> None:
        pymongo.database.Database(self.db.client, self.other).a.insert_one({"_id": 1})
        pymongo.collection.Collection(self.db, "a").insert_one({"_id": 1})
        self.assertEqual([{"_id": 1}], list(self.client[self.other].a.find()))
        self.assertEqual([{"_id": 1}], self.documents())

    def test_closing_it_leaves_it_open(self) -> None:
        self.db.connection.disconnect()
        self.db.connection.close()
        with self.db.client:
            pass
        self.assertEqual(1, self.db.a.insert({"_id": 1}))

    def test_nobody_warns_of_it_when_it_is_gone(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            legacy.database(self.plain).client.__del__()

    def test_databases(self) -> None:
        self.plain.a.insert_one({})
        self.assertIn(self.database, self.db.connection.database_names())
        self.db.connection.drop_database(self.db)
        self.assertNotIn(self.database, self.client.list_database_names())
        self.assert_refused(
            lambda: self.db.connection.copy_database("a", "b"),
            "copy_database: MongoDB 4.2 dropped it, write mongodump and mongorestore.",
        )

    def test_requests_do_nothing(self) -> None:
        client = self.db.connection
        self.assertFalse(client.in_request())
        with client.start_request():
            self.assertTrue(client.in_request())
        client.start_request().end()
        client.start_request()
        client.end_request()
        client.end_request()
        self.assertFalse(client.in_request())
        self.assertFalse(client.auto_start_request or client.use_greenlets)

    def test_what_it_knows_of_the_server(self) -> None:
        client = self.db.connection
        self.assertTrue(client.alive())
        self.assertEqual(self.client.address, (client.host, client.port))
        self.assertEqual((self.client.nodes, self.client.nodes), (client.hosts, client.seeds))
        self.assertEqual(16 * 1024 * 1024, client.max_bson_size)
        self.assertEqual(
            "max_bson_size: write admin.command('isMaster')['maxBsonObjectSize'], or ['max_bson_size'] for the database"
            " of that name, today",
            self.shown[-1].partition(": ")[2],
        )
        self.assertEqual(48_000_000, client.max_message_size)
        self.assertEqual((0, 100_000), (client.min_wire_version, client.max_write_batch_size))
        self.assertGreater(client.max_wire_version, 6)
        self.assertEqual((100, 0, None), (client.max_pool_size, client.min_pool_size, client.max_idle_time_ms))
        self.assertEqual((15, 30), (client.local_threshold_ms, client.server_selection_timeout))
        self.assertEqual((True, True, False), (client.retry_reads, client.retry_writes, client.tz_aware))
        # What an earlier test has registered for the whole process is every client's.
        self.assertEqual(event_listeners_of(self.client), list(client.event_listeners))
        client.refresh()

    def test_the_server_can_be_locked(self) -> None:
        client = self.db.connection
        self.addCleanup(self.unlock)
        client.fsync(lock=True)
        self.assertTrue(client.is_locked)
        client.unlock()
        self.assertFalse(client.is_locked)

    def unlock(self) -> None:
        with contextlib.suppress(pymongo.errors.OperationFailure):
            self.client.admin.command("fsyncUnlock")

    def test_collections_that_are_called_connection(self) -> None:
        self.assert_refused(
            lambda: self.db.connection.insert_one({}),
            "insert_one: db.client and db.connection are the client, write db['client'] or db['connection'] for a"
            " collection of that name.",
        )
        self.db["connection"].insert({"_id": 1})
        self.assertEqual([{"_id": 1}], self.documents("connection"))
        self.assert_refused(lambda: self.db.client.zzzzzz(), "PyMongo has no method 'zzzzzz'.")

    def test_a_client_of_the_teams_own_keeps_its_methods(self) -> None:
        class Own(pymongo.MongoClient):  # type: ignore[type-arg]
            def own(self) -> str:
                return "own"

        with Own(self.server.uri) as client:
            self.assertEqual("own", legacy.database(client[self.database]).client.own())


class TestOptions(LegacyTestCase):
    """What PyMongo 2 let be set holds for the object, and for what is taken from it afterwards."""

    def test_write_concern(self) -> None:
        for found in (self.db.a, self.db, self.db.client):
            with self.subTest(type(found).__name__):
                found.write_concern = {"w": 0}
                self.assertFalse(found.write_concern.acknowledged)
                self.assertFalse(found.safe)
                found.safe = True
                self.assertTrue(found.safe)
                found.safe = False
                self.assertEqual({"w": 0}, found.get_lasterror_options())
                found.set_lasterror_options(w=1, wtimeout=5000)
                self.assertEqual({"w": 1, "wtimeout": 5000}, found.write_concern.document)
                found.safe = False
                self.assertTrue(found.safe)  # as in PyMongo 2, where w=1 was stronger
                found.unset_lasterror_options("wtimeout")
                self.assertEqual({"w": 1}, found.write_concern.document)
                found.unset_lasterror_options()
                self.assertEqual({}, found.write_concern.document)

    def test_a_write_concern_is_that_of_the_writes(self) -> None:
        self.plain.a.insert_one({"_id": 1})
        self.db.write_concern = {"w": 0}
        notes = self.db.a
        self.assertIsNone(notes.update({"_id": 1}, {"$set": {"x": 1}}))
        notes.write_concern = {"w": 1}
        self.assertEqual(1, notes.update({"_id": 1}, {"$set": {"x": 2}})["n"])
        self.assertEqual([{"_id": 1, "x": 2}], self.documents())

    def test_read_preference(self) -> None:
        secondary = pymongo.ReadPreference.SECONDARY
        for found in (self.db.a, self.db, self.db.client):
            with self.subTest(type(found).__name__):
                self.assertFalse(found.slave_okay)
                found.slave_okay = True
                self.assertEqual(pymongo.ReadPreference.SECONDARY_PREFERRED, found.read_preference)
                found.read_preference = secondary
                self.assertTrue(found.slave_okay)
                found.tag_sets = [{"dc": "ny"}]
                self.assertEqual([{"dc": "ny"}], found.tag_sets)
                self.assertEqual(secondary.mode, found.read_preference.mode)
                found.slave_okay = False
                self.assertEqual(pymongo.ReadPreference.PRIMARY, found.read_preference)
                with self.assertRaises(pymongo.errors.ConfigurationError):
                    found.tag_sets = [{"dc": "ny"}]
                found.tag_sets = [{}]
                found.secondary_acceptable_latency_ms = 100
                self.assertEqual(15, found.secondary_acceptable_latency_ms)

    def test_uuid_subtype(self) -> None:
        for number, found in enumerate((self.db.a, self.db, self.db.client)):
            with self.subTest(type(found).__name__):
                self.assertEqual(3, found.uuid_subtype)
                found.uuid_subtype = 4
                self.assertEqual(4, found.uuid_subtype)
                collection = found if number == 0 else found.b if number == 1 else found[self.database].c
                collection.insert({"_id": VALUE})
                stored = self.plain.command("find", collection.name)["cursor"]["firstBatch"][0]["_id"]
                self.assertIn(stored, (Binary(VALUE.bytes, 4), VALUE))
                self.assertEqual(VALUE, collection.find_one()["_id"])

    def test_document_class(self) -> None:
        client = self.db.connection
        self.assertIs(dict, client.document_class)
        self.plain.a.insert_one({"_id": 1})
        for change in (lambda: setattr(client, "document_class", SON), lambda: client.set_document_class(SON)):
            change()
            self.assertIs(SON, client.get_document_class())
            self.assertIsInstance(client[self.database].a.find_one(), SON)
            self.assertIsInstance(client.get_database(self.database).a.find_one(), SON)
            client.document_class = dict

    def test_the_client_that_was_given_is_left_as_it_is(self) -> None:
        self.db.client.write_concern = {"w": 0}
        self.db.client.document_class = SON
        self.db.write_concern = {"w": 0}
        self.assertTrue(self.client.write_concern.acknowledged and self.plain.write_concern.acknowledged)
        self.assertIs(dict, self.client.codec_options.document_class)

    def test_setting_warns_and_what_cannot_be_set_says_so(self) -> None:
        self.db.a.write_concern = {"w": 1}
        self.assert_shown("write_concern = ...: write with_options(write_concern=...) today")
        self.db.a.safe = True
        self.assert_shown("safe = ...: write write_concern.acknowledged today")
        with self.assertRaises(AttributeError):
            self.db.connection = None
        with self.assertRaises(TypeError):
            self.db.a.safe = "yes"
