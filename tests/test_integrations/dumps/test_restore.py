"""dbrestore: what it replaces and keeps, and that it asks first."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timezone
from typing import Any

from tests.cases import DumpTestCase
from tests.support import Result, until_file


class TestRestore(DumpTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.restoring = self.project(LOCK_WAIT=1)
        self.env = self.with_tools(self.restoring)
        self.names = self.counting_ones(self.restoring, 2)
        self.db.notes.insert_many([{"n": 1}, {"n": 2}])
        self.assert_code(0, self.restoring.fab("migrations:execute,1", env=self.env))
        self.log("failed")
        self.assert_code(0, self.restoring.fab("migrations:dbdump", env=self.env))
        self.dump = self.dumps(self.restoring)[0].name
        self.assert_code(0, self.restoring.fab("migrations:execute", env=self.env))
        self.db.notes.delete_one({"n": 1})
        self.db.notes.insert_one({"n": 3})
        self.db.new.insert_one({"new": True})
        self.log("forgotten")

    def log(self, event: str) -> None:
        self.db.migrations_log.insert_one({"event": event, "name": "0_gone.py", "at": datetime.now(timezone.utc)})

    def restore(self, *options: str, **arguments: Any) -> Result:
        return self.restoring.fab(",".join(["migrations:dbrestore", self.dump, *options]), env=self.env, **arguments)

    def untouched(self) -> bool:
        return self.db.notes.distinct("n") == [2, 3] and self.registered() == self.names

    def test_replaces_what_is_in_the_dump_and_keeps_lock_and_log(self) -> None:
        result = self.restore("force=yes")
        self.assert_code(0, result)
        self.assertEqual([1, 2], self.db.notes.distinct("n"))
        self.assertEqual([self.names[0]], self.registered())
        self.assertEqual([self.names[0]], self.ran())
        self.assertEqual(1, self.db.new.count_documents({}))
        self.assertEqual(["failed", "forgotten", "restore begun", "restored"], sorted(self.logged()))
        self.assertIsNone(self.lock())
        self.assertIn("--drop", self.calls(self.restoring)[-1]["argv"])
        self.assertEqual([], self.left_over(self.restoring))
        self.assert_code(0, self.restoring.fab("migrations:execute", env=self.env))
        self.assertEqual(self.names, self.ran())

    def test_asks_first(self) -> None:
        result = self.restore(input="yes\n")
        self.assert_code(1, result)
        self.assertIn("force=yes", result.stderr)
        self.assertTrue(self.untouched())
        task = f"migrations:dbrestore,{self.dump}"
        result = self.restoring.fab_in_terminal(task, env=self.env, input="no\n")
        self.assert_code(1, result)
        self.assertIn("Replace the collections", result.output)
        self.assertTrue(self.untouched())
        self.assert_code(0, self.restoring.fab_in_terminal(task, env=self.env, input="yes\n"))
        self.assertEqual([1, 2], self.db.notes.distinct("n"))

    def test_without_a_name_the_dumps_are_listed_the_newest_first(self) -> None:
        folder = self.restoring.path / "mongodumps"
        for name in (".trash", "2020_01_01_00_00_00"):
            (folder / name).mkdir()
        result = self.restoring.fab("migrations:dbrestore", env=self.env)
        self.assert_code(1, result)
        self.assertEqual(
            f"Nothing was done. Which dump? Write fab migrations:dbrestore,DUMP. {folder} has {self.dump},"
            " 2020_01_01_00_00_00.\n",
            result.stderr,
        )

    def test_takes_the_lock(self) -> None:
        other = self.project()
        self.counting(other, "3_holds.py", until_file(other.path / "go"))
        for name in self.names:
            self.counting(other, name)
        process = other.fab_start("migrations:execute")
        self.wait_until_in("3_holds.py")
        self.assert_code(3, self.restore("force=yes"))
        self.assertTrue(self.untouched())
        other.write("go", "")
        self.assert_code(0, self.end_of(process))

    def test_ended_by_a_signal_it_restores_nothing_later(self) -> None:
        self.env = self.with_tools(self.restoring, STANDIN_SLEEP="4")
        before = len(self.calls(self.restoring))
        process = self.restoring.fab_start(f"migrations:dbrestore,{self.dump},force=yes", env=self.env)
        self.wait_for_call(self.restoring, before + 1)
        os.kill(process.pid, signal.SIGTERM)
        self.assertNotEqual(0, process.wait(60))
        self.assertIsNone(self.lock())
        untouched = self.untouched()
        process.communicate()  # until mongorestore has ended too
        self.assertEqual(untouched, self.untouched(), "the lock was free, and mongorestore went on")
        self.assertEqual([], self.left_over(self.restoring))
