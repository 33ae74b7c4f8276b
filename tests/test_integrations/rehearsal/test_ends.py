"""How a rehearsal ends: killed, interrupted, beside another one; and what it leaves then."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
from typing import Any

from pymongo import MongoClient

from migopy.rehearsal.scratch.database import MARK
from tests.server import Proxy, shared_replica_set, wait_for
from tests.support import Result, RunTestCase, commands_of, until_file
from tests.test_integrations.rehearsal.test_rehearsal import RehearsalTestCase


class TestEnds(RehearsalTestCase, RunTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.before = self.everything()

    def waiting(self) -> subprocess.Popen[str]:
        """A rehearsal that is in up(), and stays there until there is a file `go`."""
        wait = until_file(self.team.path / "go")
        self.team.migration("1_a.py", f"db.notes.delete_many({{}}); db.begun.insert_one({{}})\n{wait}", down=None)
        process = self.team.fab_start("migrations:rehearse")
        wait_for("up()", lambda: self.scratch.begun.count_documents({}))
        return process

    def assert_gone(self, *databases: str) -> None:
        """The real database is as it was, and of the copy nothing is left."""
        self.assertEqual(self.before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_a_killed_one_leaves_its_copy_which_the_next_one_removes(self) -> None:
        process = self.waiting()
        second = self.fab("migrations:rehearse", code=3)
        self.assertRegex(
            second.stderr, rf"@\S+ \(process {process.pid}, since .*\) is rehearsing in {self.scratch.name}"
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.assertEqual(self.before, self.everything())
        self.assertEqual(1, self.scratch.begun.count_documents({}))
        self.team.migration("1_a.py", "assert db.begun.count_documents({}) == 0", down=None)
        third = self.fab("migrations:rehearse")
        self.assertRegex(
            third.stderr, rf"Removed the copy that \S+@\S+ \(process {process.pid}, since .*\) had left behind"
        )
        self.assert_gone()

    def test_signals_in_up(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                process = self.waiting()
                os.killpg(process.pid, number)
                result = self.end_of(process)
                self.assert_code(1, result)
                self.assertNotIn("Traceback", result.output)
                self.assertRegex(result.stderr, r"\nStopped by (Ctrl-C|SIGTERM), and the copy is removed\n")
                self.assert_gone()

    def test_what_the_server_still_does_for_up_makes_no_part_of_the_copy_again(self) -> None:
        ways = {
            "made": "db.made.insert_many([{'_id': n, 'text': 'x' * 300} for n in range(100_000)])",
            "tmp.": "db.numbers.aggregate([{'$set': {'a': {'$range': [0, 3000]}}}, {'$unwind': '$a'},"
            " {'$unset': '_id'}, {'$out': 'made'}])",
        }
        self.db.numbers.insert_many([{"n": n} for n in range(300)])
        self.before = self.everything()
        for begins_with, code in ways.items():
            with self.subTest(code):
                self.team.migration("1_a.py", code, down=None)
                process = self.team.fab_start("migrations:rehearse")
                made = {"name": {"$regex": begins_with}}
                wait_for("up()", functools.partial(self.scratch.list_collection_names, filter=made))
                os.killpg(process.pid, signal.SIGINT)
                self.assert_code(1, self.end_of(process))
                wait_for("the end of it", lambda: not commands_of(self.client, self.scratch.name))
                self.assert_gone()

    def test_signals_while_copying(self) -> None:
        self.db.large.insert_many([{"text": "x" * 1_000_000} for _ in range(30)])
        self.before = self.everything()
        for number, sign in ((signal.SIGINT, MARK), (signal.SIGTERM, "large")):
            with self.subTest(number), Proxy(self.server.host, self.server.port) as proxy:
                self.team = self.project(MONGO_URI=f"mongodb://{proxy.host}:{proxy.port}")
                self.team.migration("1_a.py")
                result = self.ended_while_copying(proxy, number, sign)
                self.assert_code(1, result)
                self.assertIn("Copying 2 collections", result.stderr)
                self.assertNotIn("Copied", result.stderr)
                self.assertNotIn("Traceback", result.output)
                self.assert_gone()

    def ended_while_copying(self, proxy: Proxy, number: signal.Signals, sign: str) -> Result:
        process = self.team.fab_start("migrations:rehearse,documents=all")
        wait_for("copy", lambda: sign in self.scratch.list_collection_names())
        proxy.stop_forwarding()
        os.killpg(process.pid, number)
        proxy.resume()
        return self.end_of(process)

    def test_an_index_that_takes_long_is_not_waited_for(self) -> None:
        member = shared_replica_set()
        client: MongoClient[dict[str, Any]] = MongoClient(member.uri)
        self.addCleanup(client.close)
        for name in (self.database, self.scratch.name):
            self.addCleanup(client.drop_database, name)
        client[self.database].large.insert_many([{"n": n, "text": "x" * 1_000_000} for n in range(30)])
        client[self.database].large.create_index("n")
        copy = client[self.scratch.name]
        waiting = "createIndexes" if self.version >= (4, 4) else "insert"
        with Proxy(member.host, member.port) as proxy, client.start_session() as session:
            self.team = self.project(MONGO_URI=f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true")
            self.team.migration("1_a.py")
            process = self.team.fab_start("migrations:rehearse,documents=all")
            wait_for("copy", lambda: "large" in copy.list_collection_names())
            proxy.stop_forwarding()
            with session.start_transaction():
                copy.large.insert_one({}, session=session)  # no index begins before it ends, on 4.2 no insert either
                proxy.resume()
                wait_for("index", lambda: self.commands(client, waiting))
                os.killpg(process.pid, signal.SIGINT)
                wait_for("the end of it", lambda: self.commands(client, "dropDatabase"))
            self.assert_code(1, self.end_of(process))
            self.assertNotIn(copy.name, client.list_database_names())

    def commands(self, client: MongoClient[Any], name: str) -> list[Any]:
        return [running for running in commands_of(client, self.scratch.name) if name in running["command"]]

    def test_a_server_that_goes_away_is_not_waited_for_after_a_second_ctrl_c(self) -> None:
        with Proxy(self.server.host, self.server.port) as proxy:
            self.team = self.project(MONGO_URI=f"mongodb://{proxy.host}:{proxy.port}")
            process = self.waiting()
            proxy.cut()
            result = self.end_of_pressed_twice(process, timeout=25)
            proxy.resume()
            self.assert_code(1, result)
            self.assertNotIn("Traceback", result.output)
            self.team.migration("1_a.py", "assert db.begun.count_documents({}) == 0", down=None)
            self.assertIn("had left behind", self.fab("migrations:rehearse").stderr)
        self.assert_gone()

    def test_no_right_place_for_it(self) -> None:
        more = "\nimport migopy.rehearsal.copy_job\nmigopy.rehearsal.copy_job.SPACE_FACTOR = 1e12\n"
        self.team = self.project(more=more, MONGO_URI=self.server.uri)
        self.team.migration("1_a.py")
        result = self.fab("migrations:rehearse", code=1)
        self.assertRegex(result.stderr, r"The copy needs about .* of disk, and .* has .* free: copy a smaller sample")
        self.assert_gone()
        self.team = self.project(REHEARSAL_DATABASE="x" * 64, MONGO_URI=self.server.uri)
        self.team.migration("1_a.py")
        self.assertIn("is too long for a database name", self.fab("migrations:rehearse", code=1).stderr)
        self.assert_gone()

    def test_a_database_of_the_same_name_in_other_case(self) -> None:
        name = f"{self.database}_REHEARSAL"
        self.addCleanup(self.client.drop_database, name)
        self.client[name].theirs.insert_one({})
        self.before = self.everything()
        self.team.migration("1_a.py")
        result = self.fab("migrations:rehearse", code=1)
        self.assertRegex(
            result.stderr,
            rf"{self.scratch.name} cannot be made at \S+, because another database has the same name in other upper and"
            rf" lower case \(.*{name}.*\): set REHEARSAL_DATABASE to another name\. Nothing was copied\.",
        )
        self.assert_gone()
        self.assertEqual(1, self.client[name].theirs.count_documents({}))
