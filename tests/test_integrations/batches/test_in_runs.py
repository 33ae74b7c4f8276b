"""up(db, batches) and down(db, batches): what is gone on with, when, and what people are told of it."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
import time
from typing import Any

from pymongo.monitoring import CommandListener

from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import RunTestCase

SIZE = 20
"""Documents of a batch in these tests."""

COUNT = 200


class BatchesTestCase(RunTestCase):
    """A migration that counts in ``n`` how often it has changed each of the documents of ``users``."""

    def setUp(self) -> None:
        super().setUp()
        self.db.users.insert_many([{"_id": n, "n": 0} for n in range(COUNT)])

    def in_batches(self, up: str, down: str = "pass", more: str = "", name: str = "1_counts.py") -> None:
        """Write a migration; ``more`` stands below its functions."""
        path = self.team.migration(name, up, down, "db, batches")
        path.write_text(f"{path.read_text()}\n\n{more}")

    def by_function(self, body: str = "", filter: str = "{}") -> None:
        """Write one whose function of a user does something more; it waits in the middle until there is a file go."""
        self.in_batches(
            f"batches.update(db.users, {filter}, once, size={SIZE})",
            f"batches.update(db.users, {filter}, back, size={SIZE})",
            "def once(user):\n"
            + textwrap.indent(body or "pass", "    ")
            + "\n    return {'$inc': {'n': 1}}\n\n\ndef back(user):\n    return {'$inc': {'n': -1}}\n",
        )

    def n(self) -> dict[int, int]:
        """How many users were changed how often."""
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def start_until(self, done: int, *words: str) -> subprocess.Popen[str]:
        """Start a fab and return when that many documents are done."""
        process = self.team.fab_start(*words)
        wait_for(f"{done} done", lambda: self.checkpoint(done={"$gte": done}))
        return process

    def checkpoint(self, **wanted: Any) -> Any:
        return self.db.migrations_batches.find_one(wanted)


FAILS = 'if user["_id"] == 77:\n    raise ValueError("no such thing")'
WAITS = 'if user["_id"] == 110:\n    import os, time\n    while not os.path.exists("go"):\n        time.sleep(0.02)'


class Notes(CommandListener):
    """What the server is asked to wait for when it notes how far a walk is."""

    def __init__(self) -> None:
        self.concerns: list[Any] = []

    def started(self, event: Any) -> None:
        if event.command_name == "update" and event.command["update"] == "migrations_batches":
            self.concerns.append(event.command.get("writeConcern"))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


class TestNotes(InProcessTestCase):
    def test_a_server_alone_waits_for_its_disk_in_the_end(self) -> None:
        self.db.users.insert_many([{"_id": n} for n in range(100)])
        up = "batches.update(db.users, {}, {'$inc': {'n': 1}}, size=30)"
        self.team.migration("1_counts.py", up, arguments="db, batches")
        notes = Notes()
        ended = self.run_task("execute", of=self.manager(MONGO_CLIENT_OPTIONS={"event_listeners": [notes]}))
        self.assertEqual(0, ended.code, ended)
        self.assertEqual([{"w": 1}] * (len(notes.concerns) - 1), notes.concerns[:-1])
        self.assertGreater(len(notes.concerns), 3)
        self.assertEqual(("majority", True), (notes.concerns[-1]["w"], notes.concerns[-1]["j"]))


class TestGoingOn(BatchesTestCase):
    """On a standalone server, where what fails in a function leaves nothing of its batch either."""

    def test_it_is_registered_and_leaves_no_checkpoint(self) -> None:
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({1: COUNT}, self.n())
        self.assertEqual((["1_counts.py"], None), (self.registered(), self.checkpoint()))
        self.fab("migrations:rollback,1")
        self.assertEqual(({0: COUNT}, None), (self.n(), self.checkpoint()))
        self.fab("migrations:execute", "migrations:check")
        self.assertEqual({1: COUNT}, self.n())

    def test_what_the_walks_did_is_said_and_kept(self) -> None:
        up = (
            "batches.update(db.users, {'n': 0}, {'$set': {'a': 1}})\nbatches.update(db.users, {}, {'$set': {'b': 1}})\n"
        )
        self.in_batches(up + "batches.update(db.usres, {}, {'$set': {'b': 1}})")
        result = json.loads(self.fab("--hide=status", "migrations:execute,json=yes").stdout)
        walks = [
            {"collection": f"{self.database}.users", "documents": 2 * COUNT, "changed": 2 * COUNT},
            {"collection": f"{self.database}.usres", "documents": 0, "changed": 0},
        ]
        self.assertEqual([walks], [row["walks"] for row in result["migrations"]])
        self.assertEqual(walks, next(self.db.migrations.find())["walks"])
        shown = self.fab("migrations:history,1").stdout
        self.assertIn("\nIn batches: users: 400 documents changed; usres: 0 documents changed\n", shown)
        self.fab("migrations:forget,1")
        told = self.fab("migrations:execute").stderr
        self.assertIn("\n1_counts.py: users: 0 of 400 documents changed\n", told)
        self.assertIn("\n1_counts.py: there is no collection usres, so nothing in it was changed\n", told)

    def test_what_is_deleted_is_said_and_kept_and_so_is_a_filter_that_finds_nothing(self) -> None:
        self.in_batches(
            "batches.update(db.users, {'_id': {'$lt': 10}}, {'$set': {'a': 1}})\n"
            "batches.update(db.users, {'m': 0}, {'$set': {'a': 1}})\n"
            "batches.delete(db.users, {'_id': {'$lt': 3}})\nbatches.delete(db.usres, {})"
        )
        told = self.fab("migrations:execute").stderr
        done = "users: 10 documents changed, 3 documents deleted"
        self.assertIn(f"\n1_counts.py: {done}; 1 of 3 walks found no document\n", told)
        self.assertIn("\n1_counts.py: there is no collection usres, so nothing in it was changed\n", told)
        self.assertIn(f"\nIn batches: {done}; usres: 0 documents deleted\n", self.fab("migrations:history,1").stdout)
        walks = next(self.db.migrations.find())["walks"]
        self.assertEqual([(13, 10, 3), (0, 0, 0)], [(w["documents"], w["changed"], w["deleted"]) for w in walks])

    def test_a_failure_names_the_document_and_the_next_execute_goes_on(self) -> None:
        self.by_function(FAILS)
        result = self.fab("migrations:execute", code=1)
        self.assertIn("users, _id 77: ValueError: no such thing): it is not registered", result.stderr)
        self.assertRegex(result.stderr, r'(?s)Traceback.*raise ValueError\("no such thing"\)')
        self.assertIn("60 of 200 documents of users are done", result.stderr)
        self.assertEqual({1: 60, 0: 140}, self.n())
        self.assertIn("no such thing); 60 of 200 documents of users are done", self.fab("migrations").stderr)
        self.by_function()
        again = self.fab("migrations:execute")
        self.assertIn(
            "1_counts.py: 60 of 200 documents of users are done, continuing from there with the changed file",
            again.stderr,
        )
        self.assertEqual(({1: COUNT}, ["1_counts.py"], None), (self.n(), self.registered(), self.checkpoint()))

    def test_the_last_document_of_a_batch_may_be_deleted_meanwhile(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.db.users.delete_many({"_id": {"$in": [58, 59, 60]}})
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({1: COUNT - 3}, self.n())

    def test_a_rollback_goes_on_too(self) -> None:
        self.by_function()
        self.fab("migrations:execute")
        self.in_batches(
            "pass",
            f"batches.update(db.users, {{}}, back, size={SIZE})",
            "def back(user):\n    1 / (user['_id'] - 77)\n    return {'$inc': {'n': -1}}\n",
        )
        result = self.fab("migrations:rollback,1", code=1)
        self.assertIn("users, _id 77: ZeroDivisionError", result.stderr)
        self.assertEqual({0: 60, 1: 140}, self.n())
        self.by_function()
        self.assertIn("60 of 200 documents of users are done, continuing", self.fab("migrations:rollback,1").stderr)
        self.assertEqual(({0: COUNT}, [], None), (self.n(), self.registered(), self.checkpoint()))

    def test_finished_walks_are_not_done_again_and_the_result_is_that_of_all(self) -> None:
        up = f"""
            changed = batches.update(db.users, {{}}, {{"$inc": {{"n": 1}}}}, size={SIZE})
            again = batches.update(db.users, {{}}, {{"$inc": {{"n": 1}}}}, size={SIZE})
            for users in batches(db.users, {{"_id": {{"$lt": 50}}}}, size={SIZE}):
                if FAILS and users[0]["_id"] == 40:
                    raise ValueError
                users.write(db.archive, [__import__("pymongo").InsertOne(user) for user in users])
            db.result.insert_one({{"changed": changed, "again": again}})
        """
        self.make_for_transactions("archive")
        self.in_batches(up, more="FAILS = True")
        self.fab("migrations:execute", code=1)
        self.assertEqual({2: COUNT}, self.n())
        self.assertEqual(40, self.db.archive.count_documents({}))
        self.in_batches(up, more="FAILS = False")
        self.fab("migrations:execute")
        self.assertEqual(({2: COUNT}, 50), (self.n(), self.db.archive.count_documents({})))
        self.assertEqual({"changed": COUNT, "again": COUNT}, self.db.result.find_one({}, {"_id": 0}))

    def test_with_another_filter_in_a_changed_file_nothing_starts_over_unasked(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.by_function(filter="{'n': {'$gte': 0}}")
        self.assertIn(
            "1_counts.py: 60 of 200 documents of users are done, with another filter than the file has now, so this"
            " walk has not been continued. The walk began with {}. The file has now {'n': {'$gte': 0}}. Put the old"
            " filter back, or continue with it: fab migrations:execute,1_counts.py,resume=yes. To start over, and"
            " change those documents again: fab migrations:forget,1_counts.py (it deletes the progress only), then"
            " execute.",
            self.fab("migrations:execute", code=1).stderr,
        )
        # What failed before is what people have to know.
        self.assertIn("failed on", self.fab("migrations").stderr)
        self.assertIn("ValueError: no such thing", self.fab("migrations").stderr)
        self.assertIsNone(self.db.migrations_lock.find_one())
        self.assertEqual({1: 60, 0: 140}, self.n())
        self.fab("migrations:execute,1_counts.py,resume=yes")
        self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))

    def test_forget_starts_over_with_the_other_filter(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.by_function(filter="{'n': {'$gte': 0}}")
        self.fab("migrations:forget,1_counts.py", "migrations:execute")
        self.assertEqual({2: 60, 1: 140}, self.n())

    def test_a_filter_with_the_time_stays_what_it_was_while_the_file_is_the_same(self) -> None:
        """A user who joins the filter in between is not walked, one who leaves it is."""
        self.db.users.update_many({}, {"$set": {"seen": 0.0}})
        up = "batches.update(db.users, {'seen': {'$lt': __import__('time').time()}}, once, size=20)"
        self.in_batches(
            up,
            more="def once(user):\n    assert user['_id'] != 77 or db_is_back()\n    return {'$inc': {'n': 1}}\n"
            "\n\ndef db_is_back():\n    return __import__('os').path.exists('back')\n",
        )
        self.fab("migrations:execute", code=1)
        self.assertEqual({1: 60, 0: 140}, self.n())
        (self.team.path / "back").touch()
        self.assertIn("60 of 200 documents of users are done, continuing", self.fab("migrations:execute").stderr)
        self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))

    def test_a_mended_file_with_the_time_in_its_filter_pays_nobody_twice(self) -> None:
        """Once 2,000 accounts were paid twice, with exit code 0."""
        filter = "{'n': {'$lt': __import__('time').time()}}"
        self.by_function(FAILS, filter)
        self.fab("migrations:execute", code=1)
        self.by_function("", filter)
        self.assertIn("with another filter than the file has now", self.fab("migrations:execute", code=1).stderr)
        self.assertEqual({1: 60, 0: 140}, self.n())
        self.fab("migrations:execute,1,resume=yes")
        self.assertEqual({1: COUNT}, self.n())

    def test_a_finished_walk_is_finished_whatever_its_update_is_in_the_next_run(self) -> None:
        now = "__import__('time').time()"
        up = f"""
            batches.update(db.users, {{"_id": {{"$in": list({{n for n in range({COUNT})}})}}}},
                           {{"$set": {{"at": {now}}}, "$inc": {{"n": 1}}}}, size={SIZE})
            assert __import__("os").path.exists("service_is_up")
        """
        self.in_batches(up)
        self.fab("migrations:execute", code=1)
        (self.team.path / "service_is_up").touch()
        self.fab("migrations:execute")
        self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))

    def test_a_checkpoint_of_an_older_migopy_is_continued(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        fields = {field: "" for field in ("call", "asked", "end", "uuid")}
        self.db.migrations_batches.update_many({}, {"$unset": fields})
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({1: COUNT}, self.n())

    def test_documents_that_a_loop_inserts_into_its_own_collection_are_not_walked(self) -> None:
        self.in_batches(
            f"""
            for users in batches(db.users, size={SIZE}):
                users.write(db.users, [InsertOne({{"_id": 1000 + u["_id"], "n": 7}}) for u in users])
            """,
            more="from pymongo import InsertOne",
        )
        self.fab("migrations:execute")
        self.assertEqual({0: COUNT, 7: COUNT}, self.n())

    def test_the_end_is_that_of_the_ids_that_the_filter_names(self) -> None:
        """Or what is inserted behind the numbers would be walked, for ever, as long as it stands before other types."""
        self.db.users.insert_one({"_id": "a", "n": 0})
        self.in_batches(
            f"""
            for users in batches(db.users, {{"_id": {{"$type": "int"}}}}, size={SIZE}):
                users.write(db.users, [InsertOne({{"_id": 1000 + u["_id"], "n": 7}}) for u in users])
            """,
            more="from pymongo import InsertOne",
        )
        self.fab("migrations:execute")
        self.assertEqual({0: COUNT + 1, 7: COUNT}, self.n())

    def test_the_end_stays_where_it_was_when_it_continues(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.db.users.insert_many([{"_id": n, "n": 0} for n in (150.5, 300, "a")])
        self.db.users.delete_one({"_id": 199})
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({1: COUNT, 0: 2}, self.n())

    def test_a_collection_that_is_replaced_meanwhile_ends_the_walk(self) -> None:
        for replace in ("db.users.rename('old_users')", "db.users.drop()", "db.fresh.rename('users', dropTarget=True)"):
            with self.subTest(replace):
                self.begin_anew()
                self.db.fresh.insert_many([{"_id": n, "n": 0} for n in range(100, 300)])
                self.in_batches(
                    f"for users in batches(db.users, size={SIZE}):\n"
                    "    users.write(db.users, [__import__('pymongo').UpdateOne({'_id': u['_id']}, {'$inc': {'n': 1}})"
                    " for u in users])\n"
                    f"    if users[0]['_id'] == 60:\n        {replace}"
                )
                result = self.fab("migrations:execute", code=1)
                self.assertIn("users was dropped, renamed or replaced while batches went through it", result.stderr)
                self.assertEqual([], self.registered())
                again = self.fab("migrations:execute", code=1)
                self.assertIn("users was dropped, renamed or replaced", again.stderr)
                self.assertEqual(0, self.db.fresh.count_documents({"n": 1}))

    def begin_anew(self) -> None:
        for name in self.db.list_collection_names():
            self.db.drop_collection(name)
        self.db.users.insert_many([{"_id": n, "n": 0} for n in range(COUNT)])

    def test_a_call_that_was_taken_out_makes_nobody_believe_that_the_other_is_done(self) -> None:
        first, second = (f"batches.update(db.users, {{}}, {{'$inc': {{'n': {by}}}}})" for by in (1, 10))
        self.in_batches(f"{first}\n1 / 0\n{second}")
        self.fab("migrations:execute", code=1)
        self.in_batches(second)
        result = self.fab("migrations:execute", code=1)
        self.assertIn(
            "an earlier run finished 200 of 200 documents of users with another update than the file has now",
            result.stderr,
        )
        self.assertEqual({1: COUNT}, self.n())

    def test_forget_of_an_unregistered_one_forgets_how_far_it_was(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.assertIn("Forgetting the progress of 1_counts.py", self.fab("migrations:forget,1").stderr)
        self.assertIsNone(self.checkpoint())
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({2: 60, 1: 140}, self.n())
        self.fab("migrations:forget,1")
        self.assertIn("is not registered", self.fab("migrations:forget,1", code=1).stderr)

    def test_a_checkpoint_that_outlived_its_migration_counts_no_more(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        left = self.checkpoint()
        for way in ("execute", "ignore"):
            self.by_function()
            self.fab(f"migrations:{way},1")
            self.assertIsNone(self.checkpoint())
            for back in ("rollback", "forget"):
                self.db.migrations_batches.replace_one({}, left, upsert=True)  # as if it had been killed before that
                self.fab(f"migrations:{back},1")
                self.db.users.update_many({}, {"$set": {"n": 0}})
                self.db.migrations_batches.replace_one({}, left, upsert=True)
                self.fab("migrations:execute")
                self.assertEqual({1: COUNT}, self.n(), (way, back))
            self.fab("migrations:forget,1")
            self.db.users.update_many({}, {"$set": {"n": 0}})

    def test_other_checkpoints_stay_when_one_migration_ends(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.team.migration("2_other.py", "batches.update(db.users, {}, {'$inc': {'m': 1}})", arguments="db, batches")
        self.team.migration("3_other.py")
        self.fab("migrations:execute,2", "migrations:ignore,3")
        self.assertEqual(60, self.checkpoint()["done"])

    def test_documents_that_are_no_checkpoints_are_passed_over_and_named(self) -> None:
        self.by_function(FAILS)
        self.fab("migrations:execute", code=1)
        self.db.migrations_batches.insert_one({"_id": "mine", "migration": "1_counts.py"})
        self.assertIn(
            "migrations_batches: not one of ours: the document with _id 'mine'", self.fab("migrations").stderr
        )
        self.by_function()
        self.fab("migrations:execute")
        self.assertEqual({1: COUNT}, self.n())


class TestGoingOnInSet(TestGoingOn):
    """On a replica set."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()


class TestWhatPeopleSee(BatchesTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_other_terminals_see_how_far_it_is(self) -> None:
        self.by_function(WAITS)
        process = self.start_until(100, "migrations:execute")
        status = self.fab("migrations", "migrations:history")
        self.assertRegex(status.stderr, r"1_counts.py: 100 of 200 documents, [\d,]+ a second, \d+ s left\n")
        self.assertRegex(status.stdout, r"1_counts.py +running, 50 % +\S+")
        shown = json.loads(self.fab("--hide=status", "migrations:,json=yes").stdout)["lock"]["progress"]
        self.assertEqual(("users", 100, 200), (shown["collection"], shown["done"], shown["total"]))
        rows = json.loads(self.fab("--hide=status", "migrations:history,json=yes").stdout)["migrations"]
        self.assertEqual(shown, rows[0]["progress"])
        self.team.write("go", "")
        self.assert_code(0, self.end_of(process))
        rows = json.loads(self.fab("--hide=status", "migrations:history,json=yes").stdout)["migrations"]
        self.assertIsNone(rows[0]["progress"])

    def test_in_a_terminal_one_line_stays_in_place(self) -> None:
        self.by_function("import time\ntime.sleep(0.01)")
        result = self.team.fab_in_terminal("migrations:execute", env={"COLUMNS": "100"})
        self.assert_code(0, result)
        self.assertRegex(
            result.stdout, r"\r\x1b\[K\[#####+\.+\] 1_counts.py: 1\d0 of 200 documents, \d+ a second, 1 s left\r"
        )
        self.assertRegex(result.stdout, r"\r\x1b\[K1_counts.py: users: 200 documents changed\nExecuted 1_counts.py in")
        self.assertLess(max(map(len, re.split(r"[\r\n]", result.stdout))), 100)
        self.assertEqual({1: COUNT}, self.n())

    def test_in_a_pipe_it_says_something_now_and_then(self) -> None:
        fabfile = self.team.path / "fabfile.py"
        fabfile.write_text(
            f"{fabfile.read_text()}\nimport migopy.terminal.progress\nmigopy.terminal.progress.NEW_LINE_SECONDS = 0.5\n"
        )
        self.by_function("import time\ntime.sleep(0.01)")
        started = time.monotonic()
        lines = re.findall("(?m)^1_counts.py: .* documents,.*$", self.fab("migrations:execute").stderr)
        most = (time.monotonic() - started) / 0.5
        self.assertTrue(2 <= len(lines) <= most, lines)
        for line in lines:
            self.assertRegex(line, r"^1_counts.py: \d+0 of 200 documents, \d+ a second, \d+ s left$")

    def test_at_the_other_end_of_a_remote_run_no_line_is_drawn_again(self) -> None:
        """There Fabric's run() makes each redraw a line of its own."""
        self.by_function("import time\ntime.sleep(0.005)")
        for term, redraws in (("vt100", False), ("xterm", True)):
            shown = self.team.fab_in_terminal("migrations:execute", "migrations:rollback,1", env={"TERM": term}).stdout
            self.assertEqual(redraws, "\r\033[K" in shown, term)

    def test_the_plan_says_it(self) -> None:
        self.by_function()
        plan = self.fab("migrations:plan")
        self.assertRegex(plan.stdout, r"1_counts.py +in batches +no +yes +no\n")
        self.assertNotIn("twice", plan.output)
        shown = json.loads(self.fab("--hide=status", "migrations:plan,json=yes").stdout)["plan"]
        self.assertEqual([(True, False)], [(step["batches"], step["transaction"]) for step in shown])

    def test_session_and_batches_together_are_refused_before_anything_runs(self) -> None:
        self.team.migration("1_first.py", "db.ran.insert_one({})")
        self.team.migration("2_both.py", arguments="db, session, batches")
        result = self.fab("migrations:execute", code=1)
        self.assertRegex(result.stderr, r"up\(\) of 2_both.py has the parameters session and batches: remove one")
        self.assertEqual(0, self.db.ran.count_documents({}))
        self.assertRegex(
            self.fab("migrations:plan", code=4).stderr, r"execute would stop: up\(\) of 2_both\.py has the parameters"
        )

    def test_collections_of_another_client_are_refused(self) -> None:
        uri = self.server.uri
        self.in_batches(
            f"batches.update(__import__('pymongo').MongoClient({uri!r}).x.users, {{}}, {{'$inc': {{'n': 1}}}})"
        )
        result = self.team.fab("migrations:execute", env={"PYTHONWARNINGS": "ignore"})
        self.assert_code(1, result)
        self.assertIn("users belongs to another MongoClient than db", result.stderr)

    def test_writes_that_a_break_has_left_out_are_not_taken_as_done(self) -> None:
        leaving = "for users in batches(db.users, size=20):\n    users.write(db.x, [])\n    "
        self.in_batches(leaving + "break")
        self.fab("migrations:execute")
        writing = leaving.replace("[]", "[__import__('pymongo').InsertOne({})]")
        self.in_batches(writing + "break", name="2_breaks.py")
        result = self.fab("migrations:execute", code=1)
        self.assertIn(
            "The loop over users ended early (break or return), so its last batch was not written", result.stderr
        )
        self.assertEqual(["1_counts.py"], self.registered())

    def test_a_loop_that_nobody_goes_through_is_not_taken_as_done(self) -> None:
        self.in_batches("batches(db.users, size=20)")
        result = self.fab("migrations:execute", code=1)
        self.assertIn("BatchFailed: batches(users) alone does nothing: write for documents in batches(", result.stderr)
        self.assertEqual([], self.registered())
        self.in_batches("for users in batches(db.users, size=20):\n    pass")
        self.fab("migrations:execute")
        self.assertEqual(["1_counts.py"], self.registered())

    def test_the_lock_was_freed_it_stops_between_batches(self) -> None:
        self.by_function(WAITS)
        process = self.start_until(100, "migrations:execute")
        self.fab("migrations:unlock,force=yes")
        self.team.write("go", "")
        result = self.end_of(process)
        self.assert_code(3, result)
        self.assertIn("The lock was taken away", result.stderr)
        self.assertEqual(({1: 100, 0: 100}, []), (self.n(), self.registered()))
        self.assertIn(
            "100 of 200 documents of users are done, in whole batches. Check the data; then fab"
            " migrations:execute,1_counts.py continues from there",
            self.fab("migrations:execute", code=1).stderr,
        )
        self.fab("migrations:execute,1")
        self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))


class TestStandalone(BatchesTestCase):
    def test_the_plan_says_what_may_be_done_twice(self) -> None:
        self.by_function()
        plan = self.fab("migrations:plan")
        self.assertRegex(
            plan.stderr,
            "1_counts.py works in batches, .* no transactions: if it is stopped in .* one batch may be done twice",
        )
        team = self.project(BATCH_WORKERS=3)
        team.migration("1_counts.py", "batches.update(db.users, {}, {'$inc': {'n': 1}})", arguments="db, batches")
        self.assertIn("one batch of each of 3 workers may be done twice", team.fab("migrations:plan").stderr)
