"""What is registered has run: functions that would only make something that is still to be run, calls that cannot be
made, files that end before they begin, and what a migration may do to the history itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from unittest.mock import patch

import migopy
from migopy.store import lock
from tests.cases import InProcessTestCase

NOW = datetime(2026, 1, 31, 12)

# Kinds of functions of which a call runs nothing, and a word of the sentence. {} is the name of the function.
LAZY = {
    "async def {}(db):\n    db.late.insert_one({{}})\n": "an async function",
    "def {}(db):\n    db.late.insert_one({{}})\n    yield\n": "a generator",
    "async def {}(db):\n    db.late.insert_one({{}})\n    yield\n": "an async generator",
    (
        "class Late:\n    async def __call__(self, db):\n        db.late.insert_one({{}})\n\n\n{} = Late()\n"
    ): "an async function",
    (
        "import functools\n\n\nasync def late(db):\n    db.late.insert_one({{}})\n\n\n{} = functools.partial(late)\n"
    ): "an async function",
}

# What hides it until the function is called, and the name of the type of what it returns.
HIDDEN = {
    "async def late(db):\n    db.late.insert_one({{}})\n\ndef {}(db):\n    return late(db)\n": "coroutine",
    "def late(db):\n    yield db.late.insert_one({{}})\n\ndef {}(db):\n    return late(db)\n": "generator",
    "async def late(db):\n    yield db.late.insert_one({{}})\n\ndef {}(db):\n    return late(db)\n": "async_generator",
    "def {}(db):\n    return map(db.late.insert_one, [{{}}])\n": "map",
    "def {}(db):\n    return filter(db.late.insert_one, [{{}}])\n": "filter",
    (
        "import functools\n\ndef deco(inner):\n    @functools.wraps(inner)\n    def outer(*args):\n"
        "        return inner(*args)\n    return outer\n\n@deco\ndef {}(db):\n    return (i for i in [1])\n"
    ): "generator",
    "class Late:\n    def __await__(self):\n        yield\n\ndef {}(db):\n    return Late()\n": "Late",
}

UNCALLABLE = [
    "def {}():\n    pass\n",
    "def {}(db, client):\n    pass\n",
    "def {}(*, db):\n    pass\n",
    "{} = dict.update\n",
    "import functools\n\n{} = functools.partial(lambda db: None, None)\n",
    "import functools\n\ndef two(db, x):\n    pass\n\n@functools.wraps(lambda db: None)\ndef {}(db, x):\n    pass\n",
    "class {}:\n    pass\n",
]


class TestNothingRuns(InProcessTestCase):
    def write(self, text: str, function: str) -> None:
        """1_a.py is all right, of 2_b.py the function is that one."""
        self.begin_anew()
        self.counting(self.team, "1_a.py")
        other = "" if function == "up" else "def up(db):\n    pass\n\n\n"
        self.team.write("mongomigrations/2_b.py", other + text.format(function))

    def roll_back(self) -> Any:
        """Both count as executed."""
        self.db.migrations.insert_many([{"_id": name, "name": name, "at": NOW} for name in ("1_a.py", "2_b.py")])
        return self.run_task("rollback", last="2")

    def assert_nothing_was_done(self) -> None:
        self.assertEqual((0, [], None), (self.db.late.count_documents({}), self.ran(), self.lock()))

    def test_of_a_function_of_which_a_call_runs_nothing(self) -> None:
        for text, kind in LAZY.items():
            with self.subTest(text):
                self.write(text, "up")
                for ended in (self.run_task("plan"), self.run_task("execute"), self.run_task("execute", "2")):
                    self.assertRegex(ended.stderr, rf"up\(\) of 2_b.py is {kind}.*No migration (was|would) run")
                    self.assertNotEqual(0, ended.code)
                self.assert_nothing_was_done()
                self.assertEqual([], self.registered())
                self.write(text, "down")
                ended = self.roll_back()
                self.assertRegex(ended.stderr, rf"down\(\) of 2_b.py is {kind}.*No migration was run")
                self.assertEqual((1, ["1_a.py", "2_b.py"]), (ended.code, sorted(self.registered())))
                self.assert_nothing_was_done()

    def test_of_hooks(self) -> None:
        async def late(self: object, name: str) -> None:
            raise AssertionError

        def yields(self: object, name: str) -> Any:
            yield

        for hook in ("before_each", "after_each", "on_failure"):
            for function in (late, yields):
                with self.subTest(hook=hook, function=function.__name__):
                    self.begin_anew()
                    self.counting(self.team, "1_a.py")
                    ended = self.run_task("execute", of=self.manager(**{hook: function}))
                    self.assertRegex(ended.stderr, rf"^{hook} is .*No migration was run\.\n$")
                    self.assertEqual((1, []), (ended.code, self.registered()))
                    self.assert_nothing_was_done()

    def test_what_only_the_result_shows_is_a_failure(self) -> None:
        for text, kind in HIDDEN.items():
            with self.subTest(text):
                self.write(text, "up")
                ended = self.run_task("execute")
                self.assertRegex(
                    ended.stderr, rf"2_b.py failed \(.*of type {kind}, and nothing in it has run\): it is not"
                )
                self.assertEqual((1, ["1_a.py"], ["failed"]), (ended.code, self.registered(), self.logged()))
                self.write(text, "down")
                ended = self.roll_back()
                self.assertRegex(ended.stderr, rf"2_b.py failed \(.*of type {kind}, .*\): it stays registered")
                self.assertEqual((1, ["rollback failed"]), (ended.code, self.logged()))
                self.assertEqual(["1_a.py", "2_b.py"], sorted(self.registered()))
                self.assertEqual((0, None), (self.db.late.count_documents({}), self.lock()))

    def test_of_hooks_what_only_the_result_shows(self) -> None:
        async def late() -> None:
            raise AssertionError

        for hook, registered, said in (
            ("before_each", [], "it is not registered"),
            ("after_each", ["1_a.py"], "the migration is registered"),
        ):
            self.begin_anew()
            self.counting(self.team, "1_a.py")
            ended = self.run_task("execute", of=self.manager(**{hook: lambda self, name: late()}))
            self.assertRegex(ended.stderr, rf"1_a.py failed \(NotRun: .*of type coroutine.*\): .*{said}")
            self.assertEqual((1, registered, None), (ended.code, self.registered(), self.lock()))

    def test_of_verify(self) -> None:
        self.begin_anew()
        for text in ("async def verify(db):\n    pass\n", "def verify(db):\n    return (i for i in [1])\n"):
            self.team.write("mongomigrations/1_a.py", f"def up(db):\n    pass\n\n\n{text}")
            ended = self.run_task("execute")
            self.assertRegex(ended.stderr, r"1_a.py failed \(.*verify\(\) returned an object of type")
            self.assertEqual((1, []), (ended.code, self.registered()))

    def test_of_a_function_that_cannot_be_called_so(self) -> None:
        for text in UNCALLABLE:
            with self.subTest(text):
                self.write(text, "up")
                for ended in (self.run_task("plan"), self.run_task("execute"), self.run_task("execute", "2")):
                    self.assertRegex(ended.stderr, r"up\(\) of 2_b.py cannot be called \(.*\): write up\(db\)")
                    self.assertNotEqual(0, ended.code)
                self.assert_nothing_was_done()
                self.assertEqual([], self.registered())
                self.write(text, "down")
                ended = self.roll_back()
                self.assertRegex(ended.stderr, r"down\(\) of 2_b.py cannot be called \(.*\): write down\(db\)")
                self.assertEqual((1, ["1_a.py", "2_b.py"]), (ended.code, sorted(self.registered())))
                self.assert_nothing_was_done()

    def test_of_a_file_that_exits(self) -> None:
        for exiting in ("import sys\nsys.exit(0)", "import sys\nsys.exit()", "raise SystemExit('enough')", "exit()"):
            with self.subTest(exiting):
                self.write(f"{exiting}\n\n\ndef {{}}(db):\n    pass\n", "up")
                for ended in (self.run_task("plan"), self.run_task("execute")):
                    self.assertIn("2_b.py cannot be imported (line ", ended.stderr)
                    self.assertIn("SystemExit", ended.stderr)
                    self.assertNotEqual(0, ended.code)
                self.assert_nothing_was_done()

    def test_stop_task_execution_is_for_other_places(self) -> None:
        self.write("import migopy\n\n\ndef {}(db):\n    raise migopy.StopTaskExecution()\n", "up")
        ended = self.run_task("execute")
        self.assertIn("2_b.py failed (line 5, StopTaskExecution): it is not registered.", ended.stderr)
        self.assertEqual((1, ["1_a.py"], ["failed"]), (ended.code, self.registered(), self.logged()))
        self.write("import migopy\n\n\ndef {}(db):\n    raise migopy.StopTaskExecution()\n", "down")
        ended = self.roll_back()
        self.assertRegex(ended.stderr, r"2_b.py failed \(line \d+, StopTaskExecution\): it stays registered")
        self.assertEqual((1, ["rollback failed"]), (ended.code, self.logged()))

        def stops(self: object, name: str) -> None:
            raise migopy.StopTaskExecution

        for hook, registered in (("before_each", []), ("after_each", ["1_a.py"])):
            self.begin_anew()
            self.counting(self.team, "1_a.py")
            ended = self.run_task("execute", of=self.manager(**{hook: stops}))
            self.assertEqual((1, registered), (ended.code, self.registered()), ended)
            self.assertIn("1_a.py failed (StopTaskExecution)", ended.stderr)


# How a migration drops what was there. The first is of 2014; with the names of today it finds our own collections too.
DROPS = [
    "db.client.drop_database(db)",
    "for name in db.list_collection_names():\n    db[name].drop()",
    "for name in db.collection_names():\n    db[name].drop()",
    "db.migrations.drop()",
    "db.migrations.delete_many({})",
    "db.migrations_lock.drop()",
]


class TestDropped(InProcessTestCase):
    def test_what_drops_the_history_is_registered_and_so_are_those_before_it(self) -> None:
        """Quick or slow: with 0 the server is asked whether the lock is still there, as else after two seconds."""
        for believed in (0, lock.TRUSTED_SECONDS):
            for drop in DROPS[: 1 if believed else None]:
                with self.subTest(drop, believed=believed), patch.object(lock, "TRUSTED_SECONDS", believed):
                    self.begin_anew()
                    self.counting(self.team, "1_a.py")
                    self.assertEqual(0, self.run_task("execute").code)
                    self.counting(self.team, "2_b.py")
                    self.team.migration("3_drops.py", f"{drop}\ndb.ran.insert_one({{'name': '3_drops.py'}})")
                    self.counting(self.team, "4_d.py")
                    ended = self.run_task("execute")
                    self.assertEqual(0, ended.code, ended)
                    names = ["1_a.py", "2_b.py", "3_drops.py", "4_d.py"]
                    self.assertEqual((set(names), None), (set(self.registered()), self.lock()), ended)
                    again = self.run_task("execute")
                    self.assertIn("nothing to execute", again.stderr)
                    self.assertEqual((0, []), (self.run_task("check").code, self.logged()))

    def test_last_of_all_and_in_down(self) -> None:
        for drop in DROPS:
            with self.subTest(drop):
                self.begin_anew()
                self.counting(self.team, "1_a.py")
                self.team.migration("2_drops.py", drop, drop)
                ended = self.run_task("execute")
                self.assertEqual((0, {"1_a.py", "2_drops.py"}), (ended.code, set(self.registered())), ended)
                ended = self.run_task("rollback", last="1")
                self.assertEqual((0, ["1_a.py"], None), (ended.code, self.registered(), self.lock()), ended)

    def test_one_that_drops_and_then_fails(self) -> None:
        for drop in DROPS:
            with self.subTest(drop):
                self.begin_anew()
                self.counting(self.team, "1_a.py")
                self.team.migration("2_drops.py", f"{drop}\nraise ValueError('half way')")
                ended = self.run_task("execute")
                self.assertEqual((1, ["1_a.py"], None), (ended.code, self.registered(), self.lock()), ended)
                self.assertEqual(["failed"], self.logged())

    def test_what_unregisters_some_others_means_it(self) -> None:
        for name in ("1_a.py", "2_b.py"):
            self.counting(self.team, name)
        self.team.migration("3_in_one.py", "db.migrations.delete_many({'name': '1_a.py'})")
        self.assertEqual(0, self.run_task("execute").code)
        self.assertEqual(["2_b.py", "3_in_one.py"], self.registered())

    def test_somebody_else_who_has_taken_the_lock_meanwhile_keeps_it(self) -> None:
        self.counting(
            self.team,
            "1_a.py",
            "db.client.drop_database(db)\n"
            "import datetime\n"
            "db.migrations_lock.insert_one({'_id': 'lock', 'token': 't', 'by': 'ann@web1', 'subtask': 'execute',"
            " 'since': datetime.datetime.now(), 'expires_at': datetime.datetime(2100, 1, 1)})",
        )
        with patch.object(lock, "TRUSTED_SECONDS", 0):
            ended = self.run_task("execute")
        self.assertEqual((3, "t", []), (ended.code, self.lock()["token"], self.registered()))
        self.assertIn("1_a.py was executed, but it could not be registered", ended.stderr)


class TestInTheWay(InProcessTestCase):
    """Documents and indexes of the team's, because of which a migration cannot be registered."""

    def assert_executed_and_reported(self, index: str = "") -> None:
        """It runs once, and from then on a person decides."""
        self.counting(self.team, "1_a.py")
        ended = self.run_task("execute")
        self.assertEqual((1, ["1_a.py"], None), (ended.code, self.ran(), self.lock()), ended)
        self.assertIn("1_a.py was executed, but it could not be registered", ended.stderr)
        self.assertIn(index, ended.stderr)
        self.assertNotIn("ran twice", ended.stderr)
        self.assertEqual(["interrupted"], self.logged())
        again = self.run_task("execute")
        self.assertEqual((1, ["1_a.py"], ["interrupted"]), (again.code, self.ran(), self.logged()))
        self.assertIn("1_a.py was interrupted", again.stderr)

    def test_a_unique_index_on_another_field(self) -> None:
        self.db.migrations.create_index("state", unique=True, name="of_the_team")
        self.db.migrations.insert_one({"state": "executed"})
        self.assert_executed_and_reported("of_the_team")

    def test_a_collation_that_does_not_tell_letters_apart(self) -> None:
        self.db.create_collection("migrations", collation={"locale": "en", "strength": 1})
        self.db.migrations.insert_one({"_id": "1_Á.py", "name": "1_Á.py"})
        self.assert_executed_and_reported("_id_")

    def test_a_document_of_that_id_that_is_called_otherwise(self) -> None:
        self.db.migrations.insert_one({"_id": "1_a.py", "name": "0_gone.py"})
        self.assert_executed_and_reported("_id_")

    def test_a_document_of_that_id_that_has_no_name(self) -> None:
        self.db.migrations.insert_one({"_id": "1_a.py"})
        self.assert_executed_and_reported("_id_")

    def test_a_validator(self) -> None:
        self.db.create_collection("migrations", validator={"ticket": {"$exists": True}})
        self.assert_executed_and_reported("Document failed validation")
