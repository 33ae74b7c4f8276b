"""A second up() that writes other values, what the report shows of them, and a down() that takes nothing back."""

from __future__ import annotations

import struct
from typing import Any

from tests.server import Mongod, Server, shared_replica_set
from tests.support import RunTestCase
from tests.test_integrations.rehearsal.test_rehearsal import RehearsalTestCase

TAKEN_BACK = "db.notes.update_many({}, {'$unset': {'value': 1}})"

VALUES = {
    "a text": "str(uuid.uuid4())",
    "a time": "time.time()",
    "a day ahead": "datetime.datetime.now() + datetime.timedelta(days=30)",
    "inside": "[{'token': uuid.uuid4().hex, 'n': 1}]",
}


class SecondUpTestCase(RehearsalTestCase):
    def value(self, expression: str, allow: str = "") -> None:
        """A migration that gives each document a value of its own."""
        write = f"db.notes.update_one({{'_id': note['_id']}}, {{'$set': {{'value': {expression}}}}})"
        path = self.team.migration("1_a.py", f"for note in db.notes.find():\n    {write}", TAKEN_BACK)
        path.write_text(f"import datetime\nimport time\nimport uuid\n\n{allow}\n\n{path.read_text()}")

    def rehearsed(self, code: int = 0) -> Any:
        return self.rehearse(code=code)["rehearsed"][0]


class TestValues(SecondUpTestCase):
    def test_other_values_are_told_with_their_field_and_from_real_differences(self) -> None:
        for name, expression in VALUES.items():
            with self.subTest(name):
                self.value(expression)
                one = self.rehearsed(code=4)
                self.assertEqual(("restores", "differs", True), (one["down"], one["again"], one["only_values_differ"]))
                (field,) = one["different_again"][0]["examples"][0]["fields"]
                self.assertRegex(field["path"], "^value")
                self.assertNotEqual(field["before"], field["after"])
        shown = self.fab("migrations:rehearse", code=4)
        self.assertIn("the second up() differs from the first only in values:", shown.stdout)
        self.assertIn('write ALLOW = {"other values": "random ids"} into the file', shown.stderr)

    def test_what_is_meant_is_allowed_by_the_file(self) -> None:
        self.value("str(uuid.uuid4())", 'ALLOW = {"other values": "each note has a token"}')
        one = self.rehearsed()
        self.assertEqual(("allowed", "each note has a token"), (one["again"], one["allowed"]))
        shown = self.fab("migrations:rehearse")
        self.assertIn("only in values, which ALLOW permits (each note has a token):", shown.stdout)
        self.assertIn("The rehearsal went well", shown.stderr)

    def test_documents_with_random_ids(self) -> None:
        path = self.team.migration(
            "1_a.py",
            "db.made.insert_many([{'_id': uuid.uuid4().hex, 'n': n} for n in range(5)])",
            "db.made.drop()",
        )
        path.write_text(f'import uuid\n\nALLOW = {{"other values": "keys"}}\n\n{path.read_text()}')
        self.assertEqual("allowed", self.rehearsed()["again"])

    def test_more_than_values_is_never_allowed(self) -> None:
        allow = 'ALLOW = {"other values": "tokens"}\nRUNS = []\n'
        for another in ("'a' if RUNS else 1", "None if RUNS else 1", "{'b': 1} if RUNS else {'c': 1}"):
            with self.subTest(another):
                self.value(another, allow)
                path = self.team.path / "mongomigrations/1_a.py"
                path.write_text(path.read_text().replace("def down(db):\n", "def down(db):\n    RUNS.append(1)\n"))
                one = self.rehearsed(code=4)
                self.assertEqual(("differs", False), (one["again"], one["only_values_differ"]))
        body = "db.notes.create_index('a' if RUNS else 'b')"
        path = self.team.migration("1_a.py", body, "RUNS.append(1); db.notes.drop_indexes()")
        path.write_text(f"{allow}\n\n{path.read_text()}")
        self.assertEqual("differs", self.rehearsed(code=4)["again"])

    def test_what_allow_cannot_hold_is_named_when_the_file_is_loaded(self) -> None:
        for allow, sentence in (
            ('{"other value": "ids"}', "ALLOW of 1_a.py has the unknown key 'other value': write 'other values' or"),
            ('{"other values": ""}', "ALLOW of 1_a.py gives no reason for 'other values': write one as text"),
            ('{"other values": True}', "ALLOW of 1_a.py gives no reason for 'other values': write one as text"),
        ):
            with self.subTest(allow):
                self.value("1", f"ALLOW = {allow}")
                for subtask in ("rehearse", "execute"):
                    self.assertIn(sentence, self.fab(f"migrations:{subtask}", code=1).stderr)
        self.value("1", 'ALLOW = ["GET"]')
        self.fab("migrations:execute")


class TestReport(SecondUpTestCase):
    def changed(self, up: str) -> Any:
        """The fields of the first example."""
        self.team.migration("1_a.py", up, down=None)
        return self.rehearsed()["changes"][0]["examples"][0]["fields"]

    def test_nan_that_stays_is_no_change(self) -> None:
        self.db.notes.insert_one({"_id": -1, "value": float("nan"), "list": [float("nan")], "n": 1})
        fields = self.changed("db.notes.update_one({'_id': -1}, {'$set': {'n': 2}})")
        self.assertEqual([{"path": "n", "before": "1", "after": "2"}], fields)
        self.db.command("create", "strict", validator={"n": {"$ne": float("nan")}})
        self.team.migration("1_a.py", "db.command('collMod', 'strict', validationLevel='moderate')", down=None)
        (change,) = self.rehearsed()["changes"]
        self.assertEqual(["option validationLevel"], [definition["what"] for definition in change["definitions"]])

    def test_the_sign_of_zero_and_the_zeros_of_decimals_are_no_order_of_fields(self) -> None:
        self.db.notes.insert_one({"_id": -1, "zero": 0.0})
        self.team.migration("1_a.py", "db.notes.update_one({'_id': -1}, {'$set': {'zero': -0.0}})", down=None)
        self.assertEqual(["the sign of zero"], self.rehearsed()["changes"][0]["differ_only_in"])

    def test_all_that_differs_is_named(self) -> None:
        quiet_nan, other_nan = (struct.unpack("<d", bits + b"\0\0\0\0\0\xf8\x7f")[0] for bits in (b"\0", b"\1"))
        self.db.notes.insert_one({"_id": -1, "nan": quiet_nan, "zero": 0.0, "list": [{"a": 1, "b": 2}]})
        self.team.migration(
            "1_a.py",
            f"import struct\nnan = struct.unpack('<d', {struct.pack('<d', other_nan)!r})[0]\n"
            "db.notes.replace_one({'_id': -1}, {'nan': nan, 'zero': -0.0, 'list': [{'b': 2, 'a': 1}]})",
            down=None,
        )
        self.assertEqual(
            ["the bits of NaN", "the order of fields", "the sign of zero"],
            self.rehearsed()["changes"][0]["differ_only_in"],
        )

    def test_of_two_long_values_the_part_that_differs_is_shown(self) -> None:
        self.db.notes.insert_one({"_id": -1, "hash": b"x" * 500})
        up = "db.notes.update_one({'_id': -1}, {'$set': {'hash': b'x' * 300 + b'y' * 200}})"
        (field,) = self.changed(up)
        self.assertRegex(field["before"], "^…x{58}…$")
        self.assertRegex(field["after"], "^…x+y+…$")

    def test_examples_of_added_documents_are_different_ones_with_their_fields(self) -> None:
        self.team.migration("1_a.py", "db.made.insert_many([{'a': n % 2, 'b': 'x'} for n in range(10)])", down=None)
        examples = self.rehearsed()["changes"][0]["examples"]
        self.assertEqual({"0", "1"}, {example["fields"][0]["after"] for example in examples})
        self.assertEqual({"path": "b", "before": "(none)", "after": "'x'"}, examples[0]["fields"][1])
        shown = self.fab("migrations:rehearse").stdout
        self.assertIn("      b: (none) -> 'x'\n", shown)

    def test_of_a_document_with_many_fields_the_first_are_shown(self) -> None:
        self.team.migration("1_a.py", "db.made.insert_one({f'f{n}': n for n in range(50)})", down=None)
        shown = self.fab("migrations:rehearse").stdout
        self.assertIn("f7: (none) -> 7\n      (fields that are not shown: 42)\n", shown)
        self.assertNotIn("f8:", shown)


class TestIrreversible(SecondUpTestCase, RunTestCase):
    def test_a_rehearsal_says_why_and_goes_on_with_the_files_after_it(self) -> None:
        up = "db.notes.update_many({}, {'$unset': {'tags': 1}})"
        self.team.migration("1_a.py", up, "raise NotImplementedError('the tags are gone.')")
        self.team.migration("2_b.py", "pass", "raise NotImplementedError")
        self.team.migration("3_c.py", "db.made.insert_one({'_id': 1})", "db.made.drop()")
        report = self.rehearse()
        self.assertEqual(
            ["cannot be taken back", "cannot be taken back", "restores"], [one["down"] for one in report["rehearsed"]]
        )
        self.assertEqual(
            ["the tags are gone.", "down() raises NotImplementedError", None],
            [one["irreversible"] for one in report["rehearsed"]],
        )
        shown = self.fab("migrations:rehearse")
        self.assertRegex(shown.stdout, r"1_a\.py +\S+ ms +cannot be taken back +notes")
        self.assertIn("  cannot be taken back: the tags are gone.\n", shown.stdout)

    def test_a_down_that_raises_it_after_it_has_changed_something_has_failed(self) -> None:
        self.team.migration("1_a.py", "pass", "db.notes.drop()\nraise NotImplementedError('half')")
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        sentence = "1_a.py cannot be taken back (line 7): half. down() had already written: the rehearsal"
        self.assertIn(sentence, result.stderr)

    def test_an_error_of_a_library_is_no_such_word(self) -> None:
        self.team.migration("1_a.py", "pass", "import asyncio\nasyncio.AbstractEventLoop().run_forever()")
        result = self.team.fab("migrations:rehearse")
        self.assert_code(1, result)
        self.assertIn("1_a.py failed (line 7, NotImplementedError", result.stderr)

    def test_a_rollback_says_it_before_anything_runs(self) -> None:
        self.team = self.project("    def before_each(self, name):\n        self.db.begun.insert_one({'name': name})\n")
        self.team.migration("1_a.py", "pass", "'''Nothing.'''\nraise NotImplementedError('the tags are gone.')")
        self.team.migration("2_b.py", "pass", "raise NotImplementedError")
        self.team.migration("3_c.py", "pass", "db.notes.drop()")
        self.team.migration("4_d.py", "pass", "raise NotImplementedError('no way back')", "db, batches")
        self.fab("migrations:execute")
        self.assertEqual(4, self.db.begun.count_documents({}))
        for options, sentence in {
            "1": "1_a.py cannot be taken back: the tags are gone. Nothing was rolled back.",
            "2": "2_b.py cannot be taken back: down() raises NotImplementedError. Nothing was rolled back.",
            "4": "4_d.py cannot be taken back: no way back. Nothing was rolled back.",
            "to=1": "4_d.py cannot be taken back: no way back. Nothing was rolled back.",
        }.items():
            with self.subTest(options):
                self.assertIn(sentence, self.fab(f"migrations:rollback,{options}", code=1).stderr)
        self.assertEqual(4, self.db.begun.count_documents({}))
        self.assertEqual([], self.logged())
        self.assertEqual(20, self.db.notes.count_documents({}))
        self.assertEqual(4, len(self.registered()))
        self.fab("migrations:check")

    def test_a_down_that_says_it_later_has_failed_only_if_it_has_written(self) -> None:
        refuse = "if db.notes.find_one():\n    raise NotImplementedError('the tags are gone.')"
        self.team.migration("1_a.py", "pass", refuse)
        self.team.migration("2_b.py", "pass", f"for _ in batches(db.notes): pass\n{refuse}", "db, batches")
        self.team.migration("3_c.py", "pass", f"db.notes.drop()\n{refuse.replace('if', 'if not')}")
        self.fab("migrations:execute")
        sentence = (
            "1_a.py cannot be taken back (line 7): the tags are gone. Nothing was changed: it stays registered."
            " fab migrations:forget,1_a.py deletes its record and leaves its changes."
        )
        self.assertIn(sentence, self.fab("migrations:rollback,1", code=1).stderr)
        self.assertEqual([], self.logged())
        self.fab("migrations:check")
        for name, line in (("2_b.py", 8), ("3_c.py", 8)):
            result = self.team.fab(f"migrations:rollback,{name}")
            self.assert_code(1, result)
            sentence = f"{name} cannot be taken back (line {line}): the tags are gone. down() had already written: it"
            self.assertIn(f"{sentence} stays registered.", result.stderr)
            self.assertEqual(["rollback failed"], self.logged(name=name))
        self.assertEqual(3, len(self.registered()))


class TestIrreversibleInTransaction(SecondUpTestCase, RunTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_what_its_transaction_has_written_is_gone(self) -> None:
        down = "db.notes.delete_many({}, session=session)\nraise NotImplementedError('the tags are gone.')"
        self.team.migration("1_a.py", "pass", down, "db, session")
        self.fab("migrations:execute")
        sentence = (
            "1_a.py cannot be taken back (line 7): the tags are gone. Nothing was changed: it stays registered."
            " fab migrations:forget,1_a.py deletes its record and leaves its changes."
        )
        self.assertIn(sentence, self.fab("migrations:rollback,1", code=1).stderr)
        self.assertEqual(20, self.db.notes.count_documents({}))
        self.assertEqual([], self.logged())
        self.fab("migrations:check")
