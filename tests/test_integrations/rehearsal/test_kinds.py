"""Rehearsals of all kinds of migrations, and of a database that is not as it should be."""

from __future__ import annotations

import json
import shutil
import signal
from datetime import datetime, timedelta, timezone

from tests.server import wait_for
from tests.support import TOP, RunTestCase, until_file
from tests.test_integrations.rehearsal.test_rehearsal import RehearsalTestCase

MASKS = """
    def before_rehearsal(self, db):
        {}
"""


class TestKinds(RehearsalTestCase, RunTestCase):
    def legacy_files(self, folder: str) -> None:
        source, target = TOP / "tests" / "legacy" / folder, self.team.path / "mongomigrations"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))

    def test_files_of_2014(self) -> None:
        self.legacy_files("mongomigrations")
        before = self.everything()
        result = self.team.fab("--hide=status", "migrations:rehearse,to=13,json=yes")
        self.assert_code(1, result)
        self.assertIn("1_notes.py:2: insert: write insert_one or insert_many today", result.stderr)
        self.assertIn(
            "13_bulk_unordered.py failed (line 15, AssertionError): this was the second up(), after", result.stderr
        )
        found = {one["name"]: (one["down"], one["again"]) for one in json.loads(result.stdout)["rehearsed"]}
        self.assertEqual(13, len(found))
        self.assertEqual(("restores", "the same"), found["1_notes.py"])
        self.assertEqual(("does not restore", "failed"), found["13_bulk_unordered.py"])
        self.assertEqual(before, self.everything())

    def test_a_database_beside_it_by_a_call_of_2014(self) -> None:
        self.legacy_files("pymongo2")
        self.db.notes.delete_many({})
        result = self.team.fab("migrations:rehearse,1")
        self.assert_code(1, result)
        self.assertRegex(
            result.stderr, r"01_archive_old_notes\.py \(line \d+\) was stopped: \w+ would touch \w+_archive, which"
        )
        self.assertEqual([self.database], self.everything()[1])

    def test_an_error_is_the_teams_and_complete(self) -> None:
        self.team.write("mongomigrations/_helpers.py", "def split(note):\n    return note['tag'].split()\n")
        path = self.team.migration("1_a.py", "for note in db.notes.find():\n    split(note)", down=None)
        path.write_text(f"from ._helpers import split\n\n\n{path.read_text()}")
        self.team.migration("2_b.py")
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        sentence = "1_a.py failed (line 6, KeyError: 'tag'): the rehearsal ends here, and the one after it did not run."
        self.assertIn(sentence, result.stderr)
        in_file, in_helper, error = (
            result.stderr.index(text) for text in ('1_a.py", line 6, in up', '_helpers.py", line 2, in', "\nKeyError:")
        )
        self.assertTrue(in_file < in_helper < error)
        self.assertNotIn("migopy/", result.stderr)

    def test_an_index_that_expires_is_as_in_the_original(self) -> None:
        now = datetime.now(timezone.utc)
        self.db.sessions.create_index("at", expireAfterSeconds=7200)
        self.db.sessions.insert_many([{"_id": n, "at": now - timedelta(minutes=n)} for n in (0, 10, 90)])
        self.db.tokens.create_index("at", expireAfterSeconds=60)
        self.db.tokens.insert_many([{"_id": n, "at": now} for n in range(3)])
        change = "db.command('collMod', 'sessions', index={{'name': 'at_1', 'expireAfterSeconds': {}}})"
        self.team.migration("1_a.py", "db.sessions.create_index('at', expireAfterSeconds=7200)")
        self.team.migration("2_b.py", change.format(86400), change.format(7200))
        found = self.rehearse()["rehearsed"]
        self.assertEqual([("restores", "the same")] * 2, [(one["down"], one["again"]) for one in found])
        self.assertEqual([], found[0]["changes"])
        (definition,) = found[1]["changes"][0]["definitions"]
        self.assertRegex(definition["text"], "'expireAfterSeconds': 7200} -> .*'expireAfterSeconds': 86400}")
        shown = self.fab("migrations:rehearse")
        self.assertIn(
            "Documents that expire within an hour are not copied: 1 of sessions, all 3 of tokens\n", shown.stderr
        )

    def test_nothing_to_rehearse(self) -> None:
        self.team.migration("1_a.py")
        self.fab("migrations:execute")
        before = self.everything()
        result = self.fab("migrations:rehearse")
        self.assertIn("All migrations registered, nothing to execute", result.output)
        self.assertEqual(before, self.everything())
        self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_before_rehearsal_that_fails_or_would_do_nothing(self) -> None:
        for body, said in (
            ("raise ValueError('who?')", r"before_rehearsal\(\) failed \(ValueError: who\?\)\. No migration was run\."),
            ("import sys; sys.exit(0)", r"before_rehearsal\(\) failed \(SystemExit: 0\)\. No migration was run\."),
            ("yield", r"before_rehearsal is a generator .* No migration was run\."),
            (
                "return (db for _ in [1])",
                r"before_rehearsal\(\) returned an object of type generator, and nothing in it has run",
            ),
        ):
            with self.subTest(body):
                team = self.project(MASKS.format(body), MONGO_URI=self.server.uri)
                team.migration("1_a.py", "db.notes.drop()")
                before = self.everything()
                result = team.fab("migrations:rehearse")
                self.assert_code(1, result)
                self.assertRegex(result.stderr, said)
                self.assertNotIn("Rehearsing", result.stderr)
                self.assertEqual(before, self.everything())
                self.assertNotIn(self.scratch.name, self.client.list_database_names())

    def test_what_failed_or_was_interrupted_for_real(self) -> None:
        self.team.migration("1_a.py", "db.notes.delete_one({'_id': 1}); 1 / 0", down=None)
        self.team.fab("migrations:execute")
        self.team.migration("1_a.py", "assert db.notes.count_documents({}) == 19", down=None)
        result = self.fab("migrations:rehearse")
        self.assertRegex(
            result.stderr, r"1_a\.py: failed on .* \(ZeroDivisionError: .*\); .* The copy contains what it left"
        )
        self.team.migration("1_a.py", f"db.begun.insert_one({{}})\n{until_file(self.team.path / 'go')}", down=None)
        process = self.team.fab_start("migrations:execute")
        wait_for("up()", lambda: self.db.begun.count_documents({}))
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.wait_for_dead_lock()
        self.team.migration("1_a.py", "assert db.begun.count_documents({}) == 1", down=None)
        lock = self.lock()
        result = self.fab("migrations:rehearse")
        self.assertIn("1_a.py was interrupted: it may be half applied", result.stderr)
        self.assertEqual(lock, self.lock())
