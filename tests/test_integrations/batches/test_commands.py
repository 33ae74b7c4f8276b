"""What batches sends to the server: one read and one write for the documents that a function changes."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from migopy.batches import commands, pace
from migopy.errors import BatchFailed
from tests.server import Proxy
from tests.test_integrations.batches.test_batches import InBothTestCase, InSet


class Sent(CommandListener):
    """The commands that change users."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    def started(self, event: Any) -> None:
        if event.command_name == "update" and event.command["update"] == "users":
            self.commands.append(event.command)

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


class ListeningTestCase(InBothTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sent = Sent()
        client: MongoClient[Any] = MongoClient(self.server.uri, event_listeners=[self.sent])
        self.addCleanup(client.close)
        self.users = client[self.database].users

    def lengths(self) -> list[int]:
        """How many documents each command has changed by their ``_id``s."""
        return [len(command["updates"]) for command in self.sent.commands]

    def add_one_to_each(self) -> int:
        return self.batches.update(self.users, {}, lambda user: {"$inc": {"n": 1}})


class TestUpdatesInServer(ListeningTestCase):
    def test_all_batches_but_the_small_first_ones_are_ranges(self) -> None:
        """A list of `_id`s takes the server longer than a range, the more the longer the list is."""
        self.fill(6000)
        self.assertEqual(6000, self.batches.update(self.users, {"n": 0}, {"$inc": {"n": 1}}))
        within = [tuple(command["updates"][0]["q"]["$and"][1]["_id"]) for command in self.sent.commands]
        self.assertEqual([100, 200, 400, 300], [len(ids) for ids in self.listed()])
        self.assertEqual([("$gt", "$lte")] * 3, within[4:])
        self.assertEqual({1: 6000}, self.counts())

    def listed(self) -> list[Any]:
        """The lists of `_id`s in the filters of the commands."""
        conditions = [command["updates"][0]["q"]["$and"][1]["_id"] for command in self.sent.commands]
        return [condition["$in"] for condition in conditions if "$in" in condition]


class TestUpdatesByFunction(ListeningTestCase):
    def test_the_updates_of_a_batch_are_one_command(self) -> None:
        self.fill(300)
        with patch.object(pace, "FIRST_BATCH", 300):
            self.assertEqual(300, self.add_one_to_each())
        self.assertEqual([300], self.lengths())
        self.assertEqual({1: 300}, self.counts())

    def test_more_statements_than_one_command_may_have_are_sent_in_several(self) -> None:
        self.fill(25)
        with patch.object(commands, "MAX_STATEMENTS", 10):
            self.assertEqual(25, self.add_one_to_each())
        self.assertEqual([10, 10, 5], self.lengths())
        self.assertEqual({1: 25}, self.counts())

    def test_updates_that_are_too_large_for_one_command_are_sent_in_several(self) -> None:
        self.fill(12)
        self.assertEqual(12, self.batches.update(self.users, {}, lambda user: {"$set": {"pad": "x" * 5_000_000}}))
        self.assertLessEqual(max(self.lengths()), 3)
        self.assertEqual(12, self.db.users.count_documents({"pad": {"$type": "string"}}))

    def test_the_document_that_is_refused_in_a_later_command_is_named(self) -> None:
        self.fill(25)
        self.db.users.update_one({"_id": 17}, {"$set": {"n": "text"}})
        with patch.object(commands, "MAX_STATEMENTS", 10):
            self.assert_refused(r"users, _id 17: Cannot apply \$inc", self.add_one_to_each)

    def test_documents_that_do_not_fit_into_one_reply_are_all_changed(self) -> None:
        # The reply to the second read has room for the small document only, which was read before.
        sizes = [10, 10, 15_900_000, 15_900_000, 10, 10]
        self.db.users.insert_many([{"_id": n, "n": 0, "pad": "x" * size} for n, size in enumerate(sizes)])
        self.assertEqual(6, self.batches.update(self.users, {}, lambda user: {"$inc": {"n": 1}}, size=2))
        self.assertEqual({1: 6}, self.counts())
        self.assertEqual(list(range(6)), [user["_id"] for users in self.batches(self.users, size=2) for user in users])
        stages: list[Any] = [{"$currentOp": {"idleCursors": True}}, {"$match": {"type": "idleCursor"}}]
        idle = [each["ns"] for each in self.db.client.admin.aggregate(stages)]
        self.assertNotIn(self.users.full_name, idle)

    def test_a_loop_gets_the_fields_that_it_asks_for(self) -> None:
        self.db.users.insert_one({"_id": 1, "a": 2, "b": 3})
        for projection, expected in (
            (["a"], {"_id": 1, "a": 2}),
            ({"a": 0}, {"_id": 1, "b": 3}),
            ([], {"_id": 1, "a": 2, "b": 3}),
            ({}, {"_id": 1, "a": 2, "b": 3}),
        ):
            self.assertEqual([[expected]], [list(users) for users in self.batches(self.users, {}, projection)])
        wrong: Any
        for wrong in ("a", 7, [1]):
            with self.assertRaisesRegex(BatchFailed, "projection .* has to be a dict or a list of names, not"):
                self.batches(self.users, {}, wrong)


class TestUpdatesByFunctionInSet(InSet, TestUpdatesByFunction):
    pass


class TestReading(InBothTestCase):
    def test_a_read_is_retried_when_the_connection_was_cut(self) -> None:
        self.fill(3)
        with Proxy(self.server.host, self.server.port) as proxy:
            client: MongoClient[Any] = MongoClient(f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true")
            with client:
                users = client[self.database].users
                for _ in range(2):
                    reply = commands.find_raw(users, {"filter": {}, "limit": 1}, {"n": 1}, None)
                    self.assertEqual([{"_id": 0, "n": 0}], reply.documents(users.codec_options))
                    proxy.cut()
                    proxy.resume()


class TestSizes(ListeningTestCase):
    changed_at_once = 12_800

    def test_without_transactions_the_server_changes_as_many_at_once_as_is_quick(self) -> None:
        self.db.users.insert_many([{"n": 0} for _ in range(30_000)])
        with patch.object(pace, "SLOW_BATCH_SECONDS", 60):
            self.batches.update(self.users, {}, {"$inc": {"n": 1}})
        changed = [self.db.users.count_documents(dict(each["updates"][0]["q"])) for each in self.sent.commands]
        self.assertEqual(self.changed_at_once, max(changed))
        self.assertEqual({1: 30_000}, self.counts())


class TestSizesInSet(InSet, TestSizes):
    changed_at_once = 10_000
