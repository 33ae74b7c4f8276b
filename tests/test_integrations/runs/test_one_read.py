"""Registrations, log and lock come in one read; where the server or a document does not allow that, each by itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.errors import EncryptionError

from migopy.store import one_read
from tests.cases import InProcessTestCase

NOW = datetime(2026, 1, 31, 12)


def refuse_union(aggregate: Any) -> Any:
    """PyMongo's method as it is where libmongocrypt has to look for encrypted fields in every collection it names."""

    def refusing(collection: Any, pipeline: Any, **options: Any) -> Any:
        if any("$unionWith" in stage for stage in pipeline):
            raise EncryptionError(ValueError("stage not supported with automatic encryption"))
        return aggregate(collection, pipeline, **options)

    return refusing


class TestOneRead(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("1_a.py", "2_b.py", "3_c.py"):
            self.counting(self.team, name)
        self.assertEqual(0, self.run_task("execute", "1_a.py").code)
        # Whatever the order in which they were inserted, the last in time counts.
        for error, minutes in (("the last", 2), ("the first", 1)):
            event = {"event": "failed", "name": "2_b.py", "by": "ann@web1", "error": error}
            self.db.migrations_log.insert_one({**event, "at": NOW + timedelta(minutes=minutes)})
        run = {"by": "ann@web1", "subtask": "execute", "migrations": ["3_c.py"], "since": NOW}
        until = datetime.now() + timedelta(days=1)
        self.db.migrations_lock.insert_one({"_id": "lock", "token": "x", "expires_at": until, **run})

    def shown(self) -> list[str]:
        return [self.run_task(subtask).output for subtask in ("show_status", "history", "plan", "check")]

    def assert_all_is_shown(self, shown: list[str]) -> None:
        self.assertIn("1 executed, 1 running, 1 unregistered; last 1_a.py", shown[0])
        self.assertIn("3_c.py: running since 2026-01-31 12:00:00 UTC, by ann@web1", shown[0])
        for text in shown:
            self.assertIn("2_b.py: failed on 2026-01-31 12:02:00 UTC by ann@web1 (the last)", text)
            self.assertNotIn("the first", text)

    def test_a_server_that_does_not_know_the_stage_is_asked_for_each(self) -> None:
        at_once = self.shown()
        self.assert_all_is_shown(at_once)
        with patch.object(one_read, "_mark", lambda part: {"$fromTheFuture": part}):
            self.assertEqual(at_once, self.shown())
            self.db.migrations_lock.delete_many({})
            self.assertEqual(0, self.run_task("execute").code)
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py"], self.registered())

    def test_a_client_that_encrypts_fields_and_refuses_the_stage_is_asked_for_each(self) -> None:
        at_once = self.shown()
        with patch.object(Collection, "aggregate", autospec=True, side_effect=refuse_union(Collection.aggregate)):
            self.assertEqual(at_once, self.shown())

    def test_a_document_that_python_cannot_hold_does_not_hide_the_others(self) -> None:
        raw = bson.encode({"_id": "odd", "name": "odd", "at": datetime(2030, 1, 1)})
        of_2030, of_10000 = ((seconds * 1000).to_bytes(8, "little") for seconds in (1_893_456_000, 253_402_300_800))
        self.db.migrations_log.insert_one(RawBSONDocument(raw.replace(of_2030, of_10000)))
        self.assert_all_is_shown(self.shown())
