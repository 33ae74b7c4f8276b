"""require(db) in a file: an obstacle with its words, before anything runs."""

from __future__ import annotations

import json

from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set
from tests.support import Result

NOT_YET = "1_a.py cannot run yet: 2 notes have no author. No migration was run."

REQUIRE = """
def require(db):
    missing = db.notes.count_documents({"author": None})
    assert not missing, f"{missing} notes have no author."
"""


class TestRequirements(InProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.db.notes.insert_many([{"_id": 1}, {"_id": 2}])
        self.addCleanup(self.client.drop_database, f"{self.database}_rehearsal")

    def requiring(self, require: str, name: str = "1_a.py", arguments: str = "db") -> None:
        self.team.trace(name, arguments=arguments)
        path = self.team.path / "mongomigrations" / name
        path.write_text(f"{path.read_text()}\n\n{require}")

    def try_to_execute(self, sentence: str) -> Result:
        """Execute, which stops before the first migration."""
        result = self.run_task("execute")
        self.assert_code(1, result)
        self.assertIn(sentence, result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(([], []), (self.traces(), self.registered()))
        return result

    def test_what_it_raises_stops_the_run_before_the_first_up(self) -> None:
        self.team.trace("0_before.py")
        self.requiring(REQUIRE)
        self.try_to_execute(NOT_YET)
        self.assertEqual([], self.logged())
        self.db.notes.update_many({}, {"$set": {"author": "Ann"}})
        self.assert_code(0, self.run_task("execute"))
        self.assertEqual(["0_before.py", "1_a.py"], self.registered())
        self.db.notes.update_many({}, {"$unset": {"author": 1}})
        self.assert_code(0, self.run_task("rollback", "1"))

    def test_plan_check_and_rehearse_say_it(self) -> None:
        self.requiring(REQUIRE)
        for subtask in ("plan", "check"):
            result = self.run_task(subtask, json="yes")
            self.assert_code(4, result)
            self.assertEqual([NOT_YET.replace("was run", "would run")], json.loads(result.stdout)["obstacles"])
        result = self.run_task("rehearse")
        self.assert_code(4, result)
        self.assertIn(f"execute would stop: {NOT_YET} Nothing was copied.", result.stderr)
        self.assertEqual(["notes"], self.db.list_collection_names())

    def test_errors_that_are_not_meant_for_a_reader_have_their_type_and_line(self) -> None:
        for body, why in {
            "db.notes.find_one()['name']": "KeyError: 'name'",
            "assert db.notes.find_one() is None": "AssertionError (line 10)",
            "raise SystemExit(0)": "SystemExit: 0",
            "raise RuntimeError('stop the application first')": "stop the application first",
            "return (n for n in [1])": "require() returned an object of type generator, and nothing in it has run",
        }.items():
            with self.subTest(body):
                self.requiring(f"def require(db):\n    {body}\n")
                self.try_to_execute(f"1_a.py cannot run yet: {why}")

    def test_one_that_returns_false_stops_the_run_too(self) -> None:
        self.requiring("def require(db):\n    return db.notes.count_documents({'author': None}) == 0\n")
        self.try_to_execute("1_a.py cannot run yet: require() returned False. No migration was run.")

    def test_it_may_only_read(self) -> None:
        for arguments in ("db", "db, session"):
            with self.subTest(arguments):
                session = ", session=session" if "session" in arguments else ""
                write = f"    try:\n        db.notes.drop({session[2:]})\n    except BaseException:\n        pass\n"
                self.requiring(f"def require({arguments}):\n{write}")
                self.try_to_execute("1_a.py cannot run yet: require() may only read the database, and it writes")
                self.assert_code(4, self.run_task("plan"))
                self.assertEqual(2, self.db.notes.count_documents({}))

    def test_another_function_of_that_name_is_not_called(self) -> None:
        self.requiring("def require(module, name=None):\n    1 / 0\n")
        self.assert_code(0, self.run_task("execute"))


class TestRequirementsOfTransactions(TestRequirements):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def requiring(self, require: str, name: str = "1_a.py", arguments: str = "db, session") -> None:
        self.make_for_transactions("ran")
        both = require.replace("def require(db):", "def require(db, session):")
        super().requiring(both, name, arguments)
