"""fab migrations:rehearse: what it shows, with which exit code, and what it leaves in both databases."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.cases import TRY_EACH, FabTestCase, TeamTestCase
from tests.server import Mongod, Server, shared_replica_set

COLUMNS = (
    "name seconds whole_seconds down again changes not_restored different_again only_values_differ allowed irreversible"
    " down_from_kept commands preflight other_databases error"
)
VERIFIED = "assert session.in_transaction and db.notes.count_documents({'n': 1}, session=session) == 20"


class RehearsalTestCase(FabTestCase, TeamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.scratch = self.client[f"{self.database}_rehearsal"]
        self.addCleanup(self.client.drop_database, self.scratch.name)
        self.db.notes.insert_many([{"_id": n, "tags": "a b"} for n in range(20)])
        self.team = self.project(MONGO_URI=self.server.uri)

    def everything(self) -> tuple[Any, list[str]]:
        """The server's own hash of each collection of the real database, and the databases beside it and the copy."""
        known = (self.scratch.name, "local", "config", "admin")
        databases = [name for name in self.client.list_database_names() if name not in known]
        return self.db.command("dbHash")["collections"], sorted(databases)

    def rehearse(self, *options: str, code: int = 0) -> Any:
        """The report for programs; the real database is as it was, and the copy is gone."""
        before = self.everything()
        report = self.json(",".join(["rehearse", *options]), code=code)
        self.assertEqual(before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())
        return report


class TestRehearsal(RehearsalTestCase):
    def test_up_down_and_up_again(self) -> None:
        self.team.migration(
            "1_a.py",
            "db.notes.update_many({'_id': {'$lt': 3}}, {'$set': {'n': 1}})",
            "db.notes.update_many({}, {'$unset': {'n': 1}})",
        )
        self.team.migration("2_b.py", "db.made.insert_one({'_id': 1})", down=None)
        report = self.rehearse()
        first, second = report["rehearsed"]
        self.assertEqual((True, {}), (report["ok"], report["sampled"]))
        self.assertEqual(("1_a.py", "restores", "the same"), (first["name"], first["down"], first["again"]))
        self.assertEqual([("notes", 3)], [(change["collection"], change["changed"]) for change in first["changes"]])
        self.assertEqual(("no down()", None), (second["down"], second["error"]))
        self.assertEqual(COLUMNS, " ".join(first))
        (change,) = first["changes"]
        self.assertEqual({"notes": {"update": 1}}, first["commands"])
        self.assertEqual([{"path": "n", "before": "(none)", "after": "1"}], change["examples"][0]["fields"])
        self.assertEqual(2, len(change["examples"]))
        shown = self.fab("migrations:rehearse")
        self.assertRegex(shown.stdout, r"1_a\.py +\S+ ms +restores +the same +notes")
        self.assertIn("The rehearsal went well. The real database is as it was", shown.stderr)
        self.assertEqual(["notes"], self.db.list_collection_names())

    def test_a_terminal_shows_what_it_does(self) -> None:
        self.team.migration(
            "1_a.py", "db.notes.update_one({}, {'$set': {'n': 1}})", "db.notes.update_one({}, {'$unset': {'n': 1}})"
        )
        shown = self.team.fab_in_terminal("migrations:rehearse").stdout
        steps = re.findall(r"\r\033\[K1_a\.py: ([^\r]+)", shown)
        self.assertEqual(["up()", "comparing notes", "down()", "up() again"], steps)
        self.assertNotIn("up() again", self.fab("migrations:rehearse").output)

    def test_a_collection_that_is_not_there_is_named(self) -> None:
        self.team.migration("1_a.py", "batches.update(db.ntoes, {}, {'$set': {'n': 1}})", arguments="db, batches")
        told = "1_a.py: there is no collection ntoes, so nothing in it was changed\n"
        self.assertEqual(1, self.fab("migrations:rehearse").stderr.count(told))
        in_terminal = self.team.fab_in_terminal("migrations:rehearse", env={"COLUMNS": "120"}).stdout
        self.assertIn(f"\r\033[K1_a.py: up()\r\033[K{told}", in_terminal)

    def test_a_name_that_is_only_searched_and_not_there_is_shown(self) -> None:
        self.team.migration(
            "1_a.py", "db.ntoes.update_many({}, {'$set': {'n': 1}})\ndb.old.drop()\ndb.new.insert_one({})", None
        )
        shown = self.fab("migrations:rehearse").stdout
        self.assertRegex(
            shown, r"(?m)^  sent to new: .*\n  sent to ntoes, which does not exist: 1 update\n  sent to old: "
        )

    def test_a_program_gets_a_document_whatever_is_printed_and_where_nothing_is_to_do(self) -> None:
        (self.team.path / "mongomigrations").mkdir()
        nothing = {"subtask": "rehearse", "ok": True, "error": None, "sampled": {}, "rehearsed": []}
        self.assertEqual(nothing, self.rehearse())
        self.team.migration("1_a.py", "print('in up')\nimport os\nos.system('echo from a program')")
        self.assertEqual(["1_a.py"], [one["name"] for one in self.rehearse()["rehearsed"]])

    def test_a_program_gets_one_also_where_it_ends_before_the_first_migration(self) -> None:
        self.team.migration("1_a.py", "pass")
        self.scratch.ours.insert_one({})
        with_mistakes = {
            "": f"{self.scratch.name} at {self.server.host}:{self.server.port} exists and was not made by a rehearsal",
            ",documents=none": "documents has to be a whole number, at least 1, not 'none'.",
            ",2": "No migration '2' in mongomigrations",
        }
        for options, sentence in with_mistakes.items():
            shown = self.json(f"rehearse{options}", code=1)
            self.assertEqual((False, []), (shown["ok"], shown["rehearsed"]))
            self.assertIn(sentence, shown["error"])
        self.client.drop_database(self.scratch.name)
        self.team.migration("1_a.py", "1 / 0")
        shown = json.loads(self.team.fab("--hide=status", "migrations:rehearse,json=yes").stdout)
        self.assertEqual((False, shown["rehearsed"][0]["error"]), (shown["ok"], shown["error"]))
        self.assertIn("ZeroDivisionError", shown["error"])

    def test_a_collection_that_is_renamed_is_named_without_its_database(self) -> None:
        self.team.migration("1_a.py", "db.notes.rename('x')", "db.x.rename('notes')")
        (one,) = self.rehearse()["rehearsed"]
        self.assertEqual({"notes": {"renameCollection": 1}}, one["commands"])
        self.assertNotIn(f"{self.scratch.name}.", self.fab("migrations:rehearse").stdout)

    def test_what_down_does_not_restore(self) -> None:
        self.team.migration("1_a.py", "db.notes.delete_one({'_id': 7})", "pass")
        report = self.rehearse(code=4)
        self.assertFalse(report["ok"])
        self.assertIn("does not restore everything", report["error"])
        (one,) = report["rehearsed"]
        self.assertEqual("does not restore", one["down"])
        self.assertEqual([1], [change["removed"] for change in one["not_restored"]])
        shown = self.fab("migrations:rehearse", code=4)
        self.assertIn("down() does not restore (before up() -> after down()):", shown.stdout)
        self.assertIn("does not restore everything: 1_a.py. ", shown.stderr)
        self.assertIn(" The real database is as it was.", shown.stderr)

    def test_an_up_that_does_something_else_the_second_time(self) -> None:
        self.team.migration(
            "1_a.py",
            "import os; db.notes.update_one({'_id': 1}, {'$set': {'r': os.urandom(4)}})",
            "db.notes.update_one({'_id': 1}, {'$unset': {'r': 1}})",
        )
        (one,) = self.rehearse(code=4)["rehearsed"]
        self.assertEqual(("restores", "differs"), (one["down"], one["again"]))

    def test_a_failure_ends_it(self) -> None:
        self.team.migration("1_a.py", "db.notes.delete_many({}); raise KeyError('tag')")
        self.team.migration("2_b.py")
        before = self.everything()
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        self.assertIn("1_a.py failed (line 2, KeyError: 'tag')", result.stderr)
        self.assertEqual(before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_what_would_leave_the_copy_is_stopped_before_it_is_sent(self) -> None:
        for number, body in enumerate(
            (
                f"db.client['{self.database}'].notes.delete_many({{}})",
                "db.client['another'].notes.insert_one({})",
                f"import pymongo; pymongo.MongoClient('{self.server.uri}')['{self.database}'].notes.drop()",
                f"list(db.notes.aggregate([{{'$out': {{'db': '{self.database}', 'coll': 'out'}}}}]))",
            ),
            start=1,
        ):
            with self.subTest(body):
                self.team.migration(f"{number}_a.py", body)
                before = self.everything()
                result = self.team.fab(f"migrations:rehearse,{number}")
                self.assert_code(1, result)
                self.assertIn(f"{number}_a.py (line 2) was stopped:", result.stderr)
                self.assertEqual(before, self.everything())
                self.assertNotIn("another", self.client.list_database_names())

    def test_one_or_up_to_one_and_names_that_are_not_there(self) -> None:
        for name in ("1_a.py", "2_b.py", "3_c.py"):
            self.team.migration(name)
        self.assertEqual(["2_b.py"], [one["name"] for one in self.rehearse("2")["rehearsed"]])
        self.assertEqual(["1_a.py", "2_b.py"], [one["name"] for one in self.rehearse("to=2")["rehearsed"]])

    def test_words_that_are_wrong(self) -> None:
        team = self.project(more=TRY_EACH, MONGO_URI=self.server.uri)
        team.migration("1_a.py")
        wrong: dict[str, tuple[object, ...]] = {
            "No migration '9' in mongomigrations; .*": ("rehearse", "9"),
            "Nothing was done. '1' and to='1' are given: .*": ("rehearse", "1", {"to": "1"}),
            "documents has to be a whole number, at least 1, not '0'.": ("rehearse", {"documents": "0"}),
            "documents has to be a whole number, at least 1, not 'some'.": ("rehearse", {"documents": "some"}),
            "keep can only be yes, not 'perhaps'.": ("rehearse", {"keep": "perhaps"}),
        }
        before = self.everything()
        for sentence, attempt in zip(wrong, self.attempts(team, *wrong.values())):
            self.assert_one_sentence(sentence, attempt)
        self.assertEqual(before, self.everything())

    def test_a_sample_or_all(self) -> None:
        self.team.migration("1_a.py", "db.notes.update_many({}, {'$set': {'n': 1}})", down=None)
        report = self.rehearse("documents=5")
        sample = report["sampled"]["notes"]
        self.assertEqual(20, sample["documents"])
        self.assertIn(sample["copied"], range(3, 10), "the three newest, two at random, and one of every shape")
        self.assertIsNotNone(report["rehearsed"][0]["whole_seconds"])
        self.assertEqual({}, self.rehearse("documents=all")["sampled"])

    def test_the_copy_is_kept_if_that_is_asked_for_and_replaced_by_the_next(self) -> None:
        self.team.migration("1_a.py", "db.notes.update_many({}, {'$set': {'n': 1}})", down=None)
        self.fab("migrations:rehearse,keep=yes")
        self.assertEqual(20, self.scratch.notes.count_documents({"n": 1}))
        self.assertEqual(0, self.db.notes.count_documents({"n": 1}))
        self.fab("migrations:rehearse")
        self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_a_database_that_is_no_copy_is_never_touched(self) -> None:
        self.team.migration("1_a.py")
        self.scratch.precious.insert_one({"_id": 1})
        self.fab("migrations:rehearse", code=1)
        self.assertEqual(1, self.scratch.precious.count_documents({}))
        self.team = self.project(REHEARSAL_DATABASE=self.database, MONGO_URI=self.server.uri)
        self.team.migration("1_a.py")
        self.fab("migrations:rehearse", code=1)
        self.assertEqual(20, self.db.notes.count_documents({}))

    def test_before_rehearsal_masks_the_copy_only(self) -> None:
        masks = "    def before_rehearsal(self, db):\n        db.notes.update_many({}, {'$set': {'tags': 'masked'}})"
        self.team = self.project(masks, MONGO_URI=self.server.uri)
        self.team.migration("1_a.py", "assert db.notes.find_one()['tags'] == 'masked'")
        self.rehearse()

    def test_batches(self) -> None:
        self.team.migration(
            "1_a.py",
            "batches.update(db.notes, {}, {'$set': {'n': 1}})",
            "batches.update(db.notes, {}, {'$unset': {'n': 1}})",
            "db, batches",
        )
        (one,) = self.rehearse()["rehearsed"]
        self.assertEqual(("restores", "the same", 20), (one["down"], one["again"], one["changes"][0]["changed"]))


class TestVerify(RehearsalTestCase):
    def verified(self, body: str) -> None:
        path = self.team.migration("1_a.py", "db.notes.update_many({'_id': {'$gt': 0}}, {'$set': {'n': 1}})", None)
        path.write_text(f"{path.read_text()}\n\ndef verify(db):\n    {body}\n")

    def test_a_verify_that_fails_fails_the_migration_here_and_there(self) -> None:
        self.verified("assert db.notes.count_documents({'n': 1}) == 20, 'one is left'")
        rehearsed = self.team.fab("migrations:rehearse")
        self.assert_code(1, rehearsed)
        self.assertIn("verify(), AssertionError: one is left", rehearsed.stderr)
        executed = self.team.fab("migrations:execute")
        self.assert_code(1, executed)
        self.assertIn("verify(), AssertionError: one is left): it is not registered.", executed.stderr)
        self.assertEqual(0, self.db.migrations.count_documents({}))

    def test_one_that_is_content(self) -> None:
        self.verified("assert db.notes.count_documents({'n': 1}) == 19")
        self.rehearse()
        self.assertTrue(self.json("plan")["plan"][0]["verify"])
        self.fab("migrations:execute")
        self.assertEqual(["1_a.py"], [record["name"] for record in self.db.migrations.find()])


class TestRehearsalOnReplicaSet(RehearsalTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_a_migration_in_a_transaction(self) -> None:
        path = self.team.migration(
            "1_a.py",
            "db.notes.update_many({}, {'$set': {'n': 1}}, session=session)",
            "db.notes.update_many({}, {'$unset': {'n': 1}}, session=session)",
            "db, session",
        )
        path.write_text(f"{path.read_text()}\n\ndef verify(db, session):\n    {VERIFIED}\n")
        (one,) = self.rehearse()["rehearsed"]
        self.assertEqual(("restores", "the same"), (one["down"], one["again"]))
