"""Documents that cannot be changed are set aside: ``batches.update(..., errors=N)``."""

from __future__ import annotations

import json
import struct
from typing import Any, Mapping, cast

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

import migopy
from migopy.errors import BatchFailed, DocumentsRejected
from migopy.mongo.raw import document_of, element
from tests.cases import DumpTestCase, InProcessTestCase
from tests.support import Result, RunTestCase, WithUsersTestCase
from tests.test_integrations.batches.test_batches import AS_THEY_ARE, SINGLE, InBothTestCase, InSet, of_one_kind

PIPELINE = [{"$set": {"n": {"$add": ["$n", {"$toInt": "$text"}]}}}]


YEAR_33658 = element(9, b"at", struct.pack("<q", 10**15))


def with_field(id: int, field: bytes) -> RawBSONDocument:
    """A user with a field that Python cannot read."""
    return RawBSONDocument(
        document_of(element(16, b"_id", struct.pack("<i", id)) + element(16, b"n", bytes(4)) + field)
    )


def number(user: dict[str, Any]) -> dict[str, Any]:
    return {"$inc": {"n": int(user["text"])}}


UPDATES: dict[str, Any] = {"function": number, "pipeline": PIPELINE}


class RejectedTestCase(InBothTestCase):
    def fill_with(self, bad: Mapping[int, str], count: int = 300) -> None:
        self.db.users.drop()
        self.db.users.insert_many([{"_id": n, "n": 0, "text": bad.get(n, "1")} for n in range(count)])

    def rejected(self) -> dict[Any, str]:
        """The ids of the documents that are set aside, with the reasons."""
        return {found["_id"]["id"]: found["error"] for found in self.db.migrations_rejected.find()}

    def refused(self, update: Any, filter: Mapping[str, Any] = {}, **options: Any) -> str:
        """What is said in the end of an update of users that has set some aside."""
        with self.assertRaises(DocumentsRejected) as caught:
            migopy.Batches().update(self.db.users, filter, update, **options)
        return str(caught.exception)

    def assert_update_fails(self, pattern: str, update: Any, errors: Any = 5) -> None:
        self.assert_refused(pattern, lambda: self.batches.update(self.db.users, {}, update, errors=errors))


class TestSetAside(RejectedTestCase):
    def test_all_others_are_changed_once_and_each_of_these_has_its_reason(self) -> None:
        bad = {3: "x", 4: "y", 150: "z", 299: ""}
        for name, update in UPDATES.items():
            for size in (1, 7, 1_000):
                with self.subTest(name, size=size):
                    self.fill_with(bad)
                    said = self.refused(update, size=size, errors=4)
                    self.assertEqual("4 documents of users were set aside", said)
                    self.assertEqual({0: 4, 1: 296}, self.counts())
                    self.assertEqual(sorted(bad), sorted(self.rejected()))
                    self.assertIn("'x'", self.rejected()[3])

    def test_what_a_validator_or_a_unique_index_refuses(self) -> None:
        self.fill_with({})
        self.db.users.update_many({}, [{"$set": {"key": "$_id"}}])
        self.db.users.create_index("key", unique=True)
        self.db.command("collMod", "users", validator={"key": {"$lt": 1_000}})
        grown: dict[str, Any] = {"$cond": [{"$in": ["$_id", [10, 11, 250]]}, 5_000, {"$mod": ["$_id", 299]}]}
        updates: dict[str, Any] = {
            "function": lambda user: [{"$set": {"n": 1, "key": grown}}],
            "pipeline": [{"$set": {"n": 1, "key": grown}}],
        }
        for name, update in updates.items():
            with self.subTest(name):
                self.db.users.update_many({}, {"$set": {"n": 0}})
                self.refused(update, size=40, errors=10)
                self.assertEqual({0: 4, 1: 296}, self.counts())
                reasons = self.rejected()
                self.assertEqual([10, 11, 250, 299], sorted(reasons))
                self.assertRegex(reasons[10], "failed validation")
                self.assertRegex(reasons[299], "duplicate key")

    def test_what_is_too_large_or_cannot_be_sent(self) -> None:
        self.fill_with({}, 20)

        def grow(user: dict[str, Any]) -> Any:
            wrong = {4: "x" * 17_000_000, 6: object(), 8: 2**70}
            return {"$set": {"n": 1, "new": wrong.get(user["_id"])}}

        self.refused(grow, errors=5)
        self.assertEqual(({0: 3, 1: 17}, [4, 6, 8]), (self.counts(), sorted(self.rejected())))
        self.assertIn("17 MB", self.rejected()[4])
        self.db.users.update_one({"_id": 2}, {"$set": {"pad": "x" * 12_000_000}})
        pipeline = [{"$set": {"n": 2, "twice": {"$concat": [{"$ifNull": ["$pad", ""]}, "$pad"]}}}]
        self.refused(pipeline, errors=5)
        self.assertEqual(({1: 1, 2: 19}, [2]), (self.counts(), sorted(self.rejected())))

    def test_what_cannot_be_read(self) -> None:
        self.fill_with({3: "x"}, 20)
        self.db.users.delete_many({"_id": {"$in": [7, 8]}})
        self.db.users.insert_one(with_field(7, YEAR_33658))
        self.db.users.insert_one(with_field(8, element(2, b"name", b"\2\0\0\0\xff\0")))
        self.assertEqual("3 documents of users were set aside", self.refused(number, size=7, errors=5))
        reasons = self.rejected()
        self.assertEqual(([3, 7, 8], {0: 3, 1: 17}), (sorted(reasons), self.counts()))
        self.assertRegex(reasons[7], "^it cannot be read: .*year")
        self.assertRegex(reasons[8], "^it cannot be read: .*utf-8")
        self.assert_update_fails("users, (_id 7|the document after _id 6) cannot be read", number, errors=None)

    def test_one_more_than_allowed_ends_it_and_nothing_is_lost(self) -> None:
        for name, update in UPDATES.items():
            with self.subTest(name):
                self.fill_with({n: "x" for n in range(50, 300)})
                said = self.refused(update, size=20, errors=3)
                self.assertRegex(said, r"^\d+ documents of users were set aside, more than errors=3 allows$")
                rejected = sorted(self.rejected())
                self.assertEqual([*range(50, 50 + len(rejected))], rejected)
                self.assertEqual({0: 250, 1: 50}, self.counts())
                if name == "function":
                    self.assertEqual(4, len(rejected))

    def test_an_update_that_is_wrong_for_all_sets_nothing_aside(self) -> None:
        self.fill_with({})
        for update in ({"$wrong": {"n": 1}}, [{"$set": {"n": {"$wrong": 1}}}]):
            self.assert_update_fails("MongoDB refuses the update of users", update)
        self.assertEqual({}, self.rejected())

    def test_array_filters_and_the_filter_hold_for_each_document(self) -> None:
        self.fill_with({})
        self.db.users.update_many({"_id": {"$lt": 100}}, {"$set": {"list": [{"a": 1}, {"a": 2}]}})
        self.db.users.update_one({"_id": 7}, {"$set": {"list": [{"a": 1, "n": "text"}]}})
        options: dict[str, Any] = {"array_filters": [{"one.a": 1}], "size": 30, "errors": 2}
        wanted = {"list": {"$exists": True}}
        update = {"$inc": {"list.$[one].n": 1}, "$set": {"n": 1}}
        said = self.refused(update, wanted, **options)
        self.assertEqual("1 document of users was set aside", said)
        self.assertEqual(({0: 201, 1: 99}, [7]), (self.counts(), [*self.rejected()]))
        self.assertEqual([{"a": 1, "n": 1}, {"a": 2}], cast(Any, self.db.users.find_one({"_id": 8}))["list"])

    def test_ids_of_all_types(self) -> None:
        options: CodecOptions[Any] = AS_THEY_ARE
        ids = [*SINGLE, *(id for n in range(2) for id in of_one_kind(n))]
        users = self.db.get_collection("users", codec_options=options)
        users.insert_many([{"_id": id, "n": 0} for id in ids])
        self.refused([{"$set": {"n": {"$toInt": "x"}}}], errors=1_000)
        self.assertEqual(len(ids), self.db.migrations_rejected.count_documents({}))

    def test_what_errors_may_be(self) -> None:
        self.fill_with({}, 1)
        for wrong in (0, -1, True, "5", 1.5):
            self.assert_update_fails("errors has to be the number of documents", number, errors=wrong)
        self.assert_refused("errors is for batches.update", lambda: self.batches.delete(self.db.users, {}, errors=1))
        self.assert_refused("errors is for batches.update", lambda: self.batches(self.db.users, errors=1))

    def test_without_bad_documents_nothing_is_different(self) -> None:
        for update in UPDATES.values():
            self.fill_with({})
            self.assertEqual(300, migopy.Batches().update(self.db.users, {}, update, errors=1))
            self.assertEqual(({1: 300}, {}), (self.counts(), self.rejected()))

    def test_an_error_that_is_not_about_a_document_ends_it(self) -> None:
        self.fill_with({})

        def fail(user: Any) -> Any:
            raise BatchFailed("Stop.")

        self.assert_update_fails("^Stop.$", fail)
        self.assertEqual({}, self.rejected())


class TestSetAsideInSet(InSet, TestSetAside):
    pass


NUMBER = """
def up(db, batches):
    batches.update(db.users, {"n": 0}, number, size=40, errors=%s)
    db.after.insert_one({})


def number(user):
    return {"$inc": {"n": int(user["text"])}}
"""


class TestInRuns(InProcessTestCase):
    def run_it(self, *options: str, code: int = 0, **named: str) -> Result:
        result = self.run_task(*options, of=None, **named)
        self.assertEqual(code, result.code, result.output)
        return result

    def start(self, bad: Mapping[int, str], errors: Any = 5) -> None:
        """The first run of the migration, which sets these aside."""
        self.db.users.insert_many([{"_id": n, "n": 0, "text": bad.get(n, "1")} for n in range(300)])
        self.team.write("mongomigrations/1_number.py", NUMBER % errors)
        self.begun = self.run_it("execute", code=1)

    def n(self) -> dict[int, int]:
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def rejected(self) -> list[Any]:
        return sorted(found["_id"]["id"] for found in self.db.migrations_rejected.find())

    def json(self, subtask: str, code: int = 0) -> Any:
        return json.loads(self.run_it(subtask, code=code, json="yes").stdout)

    def test_it_is_not_registered_and_all_subtasks_say_so(self) -> None:
        self.start({3: "x", 250: "y"})
        ended = self.begun.stderr
        self.assertIn("1_number.py: 300 of 300 documents of users (2 set aside) are done\n", ended)
        self.assertIn("ValueError: invalid literal for int() with base 10: 'x'", ended)
        self.assertRegex(
            ended,
            r"1_number.py is not complete \(line 3\), 2 documents of users were set aside: it is not registered\."
            r" fab migrations:rejected,1_number.py shows them\. Fix them or the file, then fab migrations:execute tries"
            r" them again\.\n",
        )
        self.assertEqual(({0: 2, 1: 298}, [], 0), (self.n(), self.registered(), self.db.after.count_documents({})))
        status = self.run_it().stderr
        self.assertRegex(
            status, r"1_number.py: failed on .*\(2 set aside\) are done; fix it, then fab migrations:execute"
        )
        checked = self.run_it("check", code=4).stderr
        self.assertRegex(
            checked, r"fix it, then fab migrations:execute tries again what fab migrations:rejected,1_number.py shows\n"
        )
        self.assertIn("1 problem (1_number.py failed)", checked)
        self.assertRegex(self.run_it("history").stdout, r"1_number.py +failed, 100 %, 2 set aside ")
        self.assertEqual(2, self.json("history")["migrations"][0]["progress"]["rejected"])

    def test_the_list_shows_each_with_its_reason_and_the_next_step(self) -> None:
        self.assertEqual("Nothing is set aside\n", self.run_it("rejected").stderr)
        self.start({3: "x", 250: "y"})
        shown = self.run_it("rejected", "1")
        self.assertRegex(shown.stdout, r"NAME +COLLECTION +_ID +SINCE +BY +WHY\n")
        self.assertRegex(shown.stdout, r"\n1_number.py +users +250 +\d.* ValueError: invalid literal .*'y'\n")
        self.assertEqual(
            "Fix these documents or 1_number.py, then fab migrations:execute tries them again. After"
            " fab migrations:rejected,drop=1_number.py it leaves them as they are.\n",
            shown.stderr,
        )
        rows = self.json("rejected")["rejected"]
        self.assertEqual(
            [("1_number.py", "up", "users", 3)],
            [tuple(rows[0][key] for key in ("name", "direction", "collection", "id"))],
        )
        self.assertEqual({"error", "at", "by"}, {*rows[0]} - {"name", "direction", "collection", "id"})
        self.assertIn("No migration '7'", self.run_it("rejected", "7", code=1).stderr)

    def test_execute_tries_these_again_and_only_these(self) -> None:
        self.start({3: "x", 250: "y"})
        self.db.users.update_many({"n": 1}, {"$set": {"n": 0}})  # they would be changed again
        self.db.users.update_one({"_id": 3}, {"$set": {"text": "2"}})
        again = self.run_it("execute", code=1).stderr
        self.assertIn("1_number.py: trying 2 documents again, set aside before", again)
        self.assertIn("1 document of users was set aside", again)
        self.assertEqual(({0: 299, 2: 1}, [250]), (self.n(), self.rejected()))
        self.team.write("mongomigrations/1_number.py", (NUMBER % 5).replace('int(user["text"])', "7"))
        self.run_it("execute")
        self.assertEqual(({0: 298, 2: 1, 7: 1}, []), (self.n(), self.rejected()))
        self.assertEqual((["1_number.py"], 1), (self.registered(), self.db.after.count_documents({})))

    def test_one_that_cannot_be_read_is_tried_again_too(self) -> None:
        self.db.users.insert_one(with_field(1_000, YEAR_33658))
        self.start({3: "x"})
        self.assertIn("2 documents of users were set aside", self.begun.stderr)
        self.db.users.update_one({"_id": 3}, {"$set": {"text": "1"}})
        self.assertIn("1 document of users was set aside", self.run_it("execute", code=1).stderr)
        self.assertEqual(({0: 1, 1: 300}, [1_000]), (self.n(), self.rejected()))
        self.db.users.update_one({"_id": 1_000}, {"$set": {"text": "1"}, "$unset": {"at": 1}})
        self.run_it("execute")
        self.assertEqual(({1: 301}, [], ["1_number.py"]), (self.n(), self.rejected(), self.registered()))

    def test_without_errors_in_the_file_they_are_tried_again_too(self) -> None:
        self.start({3: "x", 250: "y"})
        self.team.write("mongomigrations/1_number.py", NUMBER % None)
        self.assertIn("2 documents of users were set aside", self.run_it("execute", code=1).stderr)
        self.db.users.update_many({"n": 0}, {"$set": {"text": "1"}})
        self.run_it("execute")
        self.assertEqual(({1: 300}, [], ["1_number.py"]), (self.n(), self.rejected(), self.registered()))

    def test_one_that_was_deleted_or_no_longer_matches_is_done(self) -> None:
        self.start({3: "x", 250: "y"})
        self.db.users.delete_one({"_id": 3})
        self.db.users.update_one({"_id": 250}, {"$set": {"n": 9}})
        self.run_it("execute")
        self.assertEqual(({1: 298, 9: 1}, [], ["1_number.py"]), (self.n(), self.rejected(), self.registered()))

    def test_more_than_allowed_end_it_and_execute_continues(self) -> None:
        self.start({n: "x" for n in range(100, 110)}, errors=3)
        ended = self.begun.stderr
        self.assertIn(
            "1_number.py is not complete (line 3), 4 documents of users were set aside, more than errors=3", ended
        )
        self.assertEqual(([100, 101, 102, 103], {0: 200, 1: 100}), (self.rejected(), self.n()))
        self.db.users.update_many({}, {"$set": {"text": "1"}})
        self.run_it("execute")
        self.assertEqual(({1: 300}, [], ["1_number.py"]), (self.n(), self.rejected(), self.registered()))

    def test_ignore_takes_the_rest_as_done_and_the_history_says_so(self) -> None:
        self.start({3: "x", 250: "y"})
        self.assertIn("2 documents that it has set aside stay as they are", self.run_it("ignore", "1").stderr)
        history = self.run_it("history")
        self.assertRegex(history.stdout, r"1_number.py +ignored, 2 set aside ")
        self.assertEqual(2, self.json("history")["migrations"][0]["rejected_documents"])
        shown = self.run_it("rejected").stderr
        self.assertIn("1_number.py does not try them again; fab migrations:rejected,drop=1_number.py deletes", shown)
        self.assertEqual("Deleted the list.\n", self.run_it("rejected", drop="1", force="yes").stderr)
        self.assertEqual([], self.rejected())

    def test_dropped_ones_are_left_as_they_are_and_the_history_says_so(self) -> None:
        self.start({3: "x", 250: "y"})
        self.assertIn("Leave 2 documents that 1_number.py", self.run_it("rejected", code=1, drop="1").stderr)
        self.assertEqual([3, 250], self.rejected())
        self.assertEqual(
            "1_number.py leaves them as they are; fab migrations:execute can complete it.\n",
            self.run_it("rejected", drop="1", force="yes").stderr,
        )
        self.assertRegex(self.run_it().stderr, "1_number.py: failed on .*300 of 300 documents of users are done")
        self.run_it("execute")
        self.assertEqual(({0: 2, 1: 298}, [], ["1_number.py"]), (self.n(), self.rejected(), self.registered()))
        self.assertEqual(1, self.db.after.count_documents({}))
        shown = self.run_it("history", "1").stdout
        self.assertIn("In batches: users: 298 of 300 documents changed, 2 left out", shown)
        self.assertRegex(shown, r"documents left out .* 2 documents\n")

    def test_one_that_catches_the_error_is_not_registered_either(self) -> None:
        self.start({3: "x"})
        caught = (NUMBER % 5).replace("    batches", "    try:\n        batches", 1)
        caught = caught.replace("errors=5)", "errors=5)\n    except Exception:\n        pass")
        self.team.write("mongomigrations/1_number.py", caught)
        self.assertIn("1 document of users was set aside", self.run_it("execute", code=1).stderr)
        self.assertEqual([], self.registered())

    def test_a_list_that_somebody_has_deleted_ends_it(self) -> None:
        self.start({3: "x"})
        self.db.migrations_rejected.drop()
        ended = self.run_it("execute", code=1).stderr
        self.assertIn("1 document of users was set aside, and only 0 of them are in migrations_rejected", ended)
        self.assertEqual([], self.registered())

    def test_forget_and_execute_begin_a_new_list(self) -> None:
        self.start({3: "x"})
        self.run_it("forget", "1")
        self.assertEqual([3], self.rejected())
        self.db.users.update_many({}, {"$set": {"n": 0, "text": "1"}})
        self.db.users.update_one({"_id": 5}, {"$set": {"text": "y"}})
        self.run_it("execute", code=1)
        self.assertEqual([5], self.rejected())


class TestInRunsInSet(InSet, TestInRuns):
    pass


class TestCopies(InProcessTestCase):
    def test_a_rehearsal_sets_aside_in_its_copy_and_fails(self) -> None:
        self.db.users.insert_many([{"_id": n, "n": 0, "text": "x" if n == 7 else "1"} for n in range(20)])
        self.team.write("mongomigrations/1_number.py", NUMBER % 5)
        self.run_task("execute")
        self.assertEqual(1, self.db.migrations_rejected.count_documents({}))
        rehearsed = self.run_task("rehearse", documents="all")
        self.assertNotEqual(0, rehearsed.code)
        self.assertIn("1 document of users was set aside", rehearsed.output)
        self.assertEqual(1, self.db.migrations_rejected.count_documents({}))


class TestDumps(DumpTestCase):
    def test_a_restore_brings_back_what_the_dump_has(self) -> None:
        project = self.dumping()
        self.db.users.insert_many([{"_id": n, "n": 0, "text": "x" if n == 7 else "1"} for n in range(20)])
        project.write("mongomigrations/1_number.py", NUMBER % 5)
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        self.assert_code(1, project.fab("migrations:execute"))
        self.assert_code(0, self.fab_with_tools(project, "migrations:dbdump"))
        before, after = (folder.name for folder in self.dumps(project))
        self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{before},force=yes"))
        self.assertEqual(0, self.db.migrations_rejected.count_documents({}))
        self.assert_code(0, self.fab_with_tools(project, f"migrations:dbrestore,{after},force=yes"))
        self.assertEqual(1, self.db.migrations_rejected.count_documents({}))
        self.db.users.update_one({"_id": 7}, {"$set": {"text": "1"}})
        self.assert_code(0, project.fab("migrations:execute,1_number"))
        self.assertEqual(20, self.db.users.count_documents({"n": 1}))


class TestRights(WithUsersTestCase, RunTestCase):
    def test_without_the_rights_a_sentence_before_the_first_batch(self) -> None:
        self.db.users.insert_many([{"_id": n, "n": 0, "text": "1"} for n in range(9)])
        for missing, said in (("find", "find"), ("insert", "insert"), ("update", "update"), ("remove", "remove")):
            with self.subTest(missing):
                result = self.run_without(missing)
                self.assert_code(1, result)
                self.assertRegex(result.stderr, rf"the right to .*{said}.* in {self.database}\.migrations_rejected")
                self.assertEqual(9, self.db.users.count_documents({"n": 0}))
        self.assert_code(0, self.run_without("nothing"))

    def run_without(self, missing: str) -> Result:
        name = f"without_{missing}"
        everything = ["find", "insert", "update", "remove", "collStats", "listIndexes"]
        others = ["users", "after", "migrations", "migrations_log", "migrations_lock", "migrations_batches"]
        actions = {**dict.fromkeys(others, everything)}
        ours = ("find", "insert", "update", "remove")
        actions["migrations_rejected"] = [action for action in ours if action != missing]
        privileges = [
            {"resource": {"db": self.database, "collection": collection}, "actions": allowed}
            for collection, allowed in actions.items()
        ]
        self.db.command("createRole", name, privileges=privileges, roles=[])
        self.db.command("createUser", name, pwd="secret", roles=[name])
        uri = f"mongodb://{name}:secret@{self.server.host}:{self.server.port}/{self.database}"
        project = self.project(MONGO_URI=uri)
        project.write("mongomigrations/1_number.py", NUMBER % 5)
        return project.fab("migrations:execute")
