"""Failures are told and logged whatever they are made of, and whatever becomes of the log; secrets and control
characters are in no text of ours."""

from __future__ import annotations

import json
import os
from typing import Any
from unittest.mock import patch

from migopy.store import lock
from tests.cases import InProcessTestCase
from tests.support import Result

ODD = {
    "raise ValueError(os.fsdecode(b'caf\\xff'))": r"ValueError: caf\\udcff",
    "raise ValueError('x' * 20_000_000)": r"ValueError: x{1000}",
    "raise ValueError('two\\nlines\\x00 and a null')": r"ValueError: two lines\\x00 and a null",
    "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})()": r"Mute: \(str\(\) of it raised ZeroDiv",
    "raise type('Wrong', (Exception,), {'__str__': lambda self: None})()": r"Wrong: \(str\(\) of it raised Type",
    "raise ValueError('\\x1b[2J\\x1b]0;owned\\x07')": r"ValueError: \\x1b\[2J\\x1b\]0;owned\\x07",
}

REFUSES_ALL: dict[str, Any] = {"validator": {"ticket": {"$exists": True}}}
"""Options of a collection that takes none of our documents."""


# What MongoDB refuses, and what is told of it, since which version of MongoDB.
REFUSED: dict[str, tuple[str, tuple[int, ...]]] = {
    "db.users.insert_many([{'_id': 5}, {'_id': 6, 'email': 'a@b.c'}, {'_id': 7}])": (
        r"BulkWriteError: E11000 duplicate key error .* index: email_1 dup key: \{ email: \"a@b.c\" \}"
        r" \(at index 1, _id 6, after 1 write\)",
        (4, 2),
    ),
    "db.users.insert_many([{'_id': n, 'email': 'a@b.c'} for n in range(5, 9)], ordered=False)": (
        r"BulkWriteError: E11000 .* \(at index 0, _id 5, after 0 writes, 3 more failed\)",
        (4, 2),
    ),
    "db.users.bulk_write([pymongo.UpdateOne({'_id': 1}, {'$set': {'n': 1}}),"
    " pymongo.UpdateOne({'name': 'bob'}, {'$set': {'email': 'a@b.c'}})])": (
        r"BulkWriteError: E11000 .* \(at index 1, filter \{'name': 'bob'\}, after 1 write\)",
        (4, 2),
    ),
    "db.checked.insert_one({'_id': 5, 'age': 'ten'})": (
        r"WriteError: Document failed validation: age \(a whole number\): \{'bsonType': 'int'\}, found 'ten' \(_id 5\)",
        (5, 1),
    ),
    "db.checked.insert_many([{'_id': 5, 'age': 1}, {'_id': 6}])": (
        r"BulkWriteError: Document failed validation: \{'required': \['age'\]\}, missing \['age'\]"
        r" \(at index 1, _id 6, after 1 write\)",
        (5, 0),
    ),
    "db.checked.update_many({}, {'$set': {'inner': {'size': [5, 'x']}}})": (
        r"WriteError: Document failed validation: inner.size.1: \{'bsonType': 'int'\}, found 'x' \(_id 1\)",
        (5, 0),
    ),
    "db.checked.find_one_and_update({}, {'$set': {'age': 'x' * 5000}})": (
        r"(OperationFailure|WriteError): .*Document failed validation.*found 'x{40,50}…x{40,50}' \(_id 1\)",
        (5, 0),
    ),
    "db.ruled.insert_one({'_id': 5, 'a': -1})": (
        r"WriteError: Document failed validation: \{'a': \{'\$gt': 0\}\}, found -1; \{'b': \{'\$exists': True\}\},"
        r" path does not exist \(_id 5\)",
        (5, 0),
    ),
    "db.many.create_index('n')\n"
    "db.command('collMod', 'many', index={'keyPattern': {'n': 1}, 'prepareUnique': True})\n"
    "db.command('collMod', 'many', index={'keyPattern': {'n': 1}, 'unique': True})": (
        r"OperationFailure: Cannot convert the index to unique\. .* \(the same value in _id 0 and 10; _id 1 and 11; "
        r"_id 2 and 12; _id 3 and 13; _id 4 and 14; and 5 more\)",
        (6, 0),
    ),
}


class TestTheReasonIsTold(InProcessTestCase):
    """What MongoDB has refused and why: on the screen, in the log, in the history and in JSON."""

    def begin_with_rules(self) -> None:
        self.begin_anew()
        whole_number = {"bsonType": "int", **({"description": "a whole number"} if self.version >= (5, 1) else {})}
        inner = {"bsonType": "object", "properties": {"size": {"bsonType": "array", "items": {"bsonType": "int"}}}}
        schema = {"required": ["age"], "properties": {"age": whole_number, "inner": inner}}
        self.db.create_collection("checked", validator={"$jsonSchema": schema})
        self.db.create_collection("ruled", validator={"a": {"$gt": 0}, "b": {"$exists": True}})
        self.db.users.create_index("email", unique=True, sparse=True)
        self.db.users.insert_many([{"_id": 1, "email": "a@b.c"}, {"_id": 2, "name": "bob"}])
        self.db.checked.insert_one({"_id": 1, "age": 1})
        self.db.many.insert_many([{"_id": number, "n": number % 10} for number in range(20)])

    def test_in_every_place(self) -> None:
        for refused, (told, since) in REFUSED.items():
            with self.subTest(refused):
                if self.version < since:
                    continue
                self.begin_with_rules()
                self.team.migration("1_a.py", f"import pymongo\n{refused}")
                ended = self.run_task("execute", json="yes")
                self.assertEqual(1, ended.code)
                document = json.loads(ended.stdout)
                for text in (document["error"], document["migrations"][0]["error"]):
                    self.assertRegex(text, rf"^1_a.py failed \(line \d, {told}\): it is not registered\.")
                    self.assertLess(len(text), 2000)
                self.assertIn(document["error"], ended.stderr.splitlines())
                self.assertRegex(self.db.migrations_log.find_one()["error"], f"^{told}$")  # type: ignore[index]
                self.assertRegex(self.run_task("history", "1").stdout, told)

    def test_secrets_in_it_are_masked(self) -> None:
        self.begin_with_rules()
        self.team.migration(
            "1_a.py", "db.checked.insert_one({'_id': 5, 'age': 'mongodb://ann:s3cret@host/' + 'x' * 300})"
        )
        ended = self.run_task("execute")
        self.assertNotIn("s3c", ended.stderr.splitlines()[-1])
        self.assertNotIn("s3c", self.db.migrations_log.find_one()["error"])  # type: ignore[index]

    def test_in_batches_and_in_a_function_of_documents(self) -> None:
        if self.version < (5, 0):
            self.skipTest("This server does not say which rule was broken.")
        self.begin_with_rules()
        for update in ("{'$set': {'age': 'ten'}}", "lambda document: {'$set': {'age': 'ten'}}"):
            self.team.migration("1_a.py", f"batches.update(db.checked, {{}}, {update})", arguments="db, batches")
            last = self.run_task("execute", "1").stderr.splitlines()[-1]
            self.assertRegex(last, r"checked, _id 1: .*age( \(a whole number\))?: \{'bsonType': 'int'\}, found 'ten'")


LATE = "db.jobs.update_one({'_id': 1}, [{'$set': {'expires': {'$toDate': bson.Int64(253_402_300_800_000)}}}])\n"
"""A date of the year 10000, which datetime cannot hold."""


class TestAnAnswerThatCannotBeRead(InProcessTestCase):
    def execute(self, body: str) -> str:
        self.begin_anew()
        self.db.jobs.insert_one({"_id": 1, "taken": 0})
        self.team.migration("1_a.py", "import bson\n" + LATE + body)
        ended = self.run_task("execute")
        self.assertEqual(1, ended.code)
        self.assertIn("InvalidBSON", ended.stderr)
        return ended.stderr.splitlines()[-1]

    def test_the_write_was_done(self) -> None:
        change = "{'_id': 1}, {'$inc': {'taken': 1}}"
        for write in (f"db.jobs.find_one_and_update({change})", f"db.jobs.find_and_modify({change})"):
            self.assertIn(" The write was done: MongoDB has carried out this findAndModify", self.execute(write))
            found = self.db.jobs.find_one({}, {"taken": True})
            self.assertEqual(1, found["taken"])  # type: ignore[index]

    def test_of_a_read_it_is_not_said(self) -> None:
        change = "{'_id': 1}, {'$inc': {'taken': 1}}"
        caught = f"try:\n    db.jobs.find_one_and_update({change})\nexcept bson.errors.InvalidBSON:\n    pass\n"
        for before in ("", caught):
            self.assertNotIn("The write was done", self.execute(before + "db.jobs.find_one()"))


class TestOddTexts(InProcessTestCase):
    def test_an_error_of_any_text_is_told_and_logged(self) -> None:
        for text, told in ODD.items():
            with self.subTest(text):
                self.begin_anew()
                self.counting(self.team, "1_a.py", f"import os\n{text}")
                ended = self.run_task("execute")
                self.assertEqual((1, None, ["failed"]), (ended.code, self.lock(), self.logged()), ended.stderr[:3000])
                last = ended.stderr.splitlines()[-1]
                self.assertRegex(last, rf"^1_a.py failed \(line 4, {told}.*\): it is not registered\. ")
                self.assertLess(len(last), 5000)
                self.assertNotIn("pymongo", ended.stderr)
                logged = self.db.migrations_log.find_one()
                assert logged
                self.assertRegex(logged["error"], f"^{told}")
                self.assertLess(len(logged["error"]), 5000)
                self.assertTrue(logged["error"].isprintable())
                self.assertRegex(self.run_task("history", "1").stdout, told)
                for subtask in ("show_status", "check"):
                    self.assertRegex(self.run_task(subtask).stderr, r"1_a.py: failed on .* by .* \(.{3,200}\); what")

    def test_of_a_rollback_and_of_hooks(self) -> None:
        def fails(self: object, name: str) -> None:
            raise ValueError(os.fsdecode(b"caf\xff"))

        for hook in ("before_each", "after_each"):
            self.begin_anew()
            self.counting(self.team, "1_a.py")
            ended = self.run_task("execute", of=self.manager(**{hook: fails}))
            self.assertIn(r"1_a.py failed (ValueError: caf\udcff)", ended.stderr)
            self.assertEqual((1, None), (ended.code, self.lock()))
        self.counting(self.team, "1_a.py", down="import os\nraise ValueError(os.fsdecode(b'caf\\xff'))")
        ended = self.run_task("rollback", "1")
        self.assertIn(r"ValueError: caf\udcff): it stays registered", ended.stderr)
        self.assertEqual(["rollback failed"], self.logged())

    def test_the_traceback_of_the_team_is_its_own(self) -> None:
        """What is written in it is not changed: it is for who has written that code."""
        self.counting(self.team, "1_a.py", "text = '\\x1b[2Jcleared'\nraise ValueError(text)")
        ended = self.run_task("execute")
        before, _, rest = ended.stderr.partition("Traceback (most recent call last):\n")
        trace, _, after = rest.rpartition("1_a.py failed (")
        self.assertIn("ValueError: \x1b[2Jcleared\n", trace)
        self.assertNotIn("\x1b", before + after)

    def test_a_user_name_that_is_no_utf_8(self) -> None:
        self.counting(self.team, "1_a.py")
        self.counting(self.team, "2_b.py", "raise ValueError('no')")
        with patch.dict(os.environ, LOGNAME=os.fsdecode(b"caf\xff")):
            self.assertEqual(1, self.run_task("execute").code)
            self.assertEqual((["1_a.py"], ["failed"], None), (self.registered(), self.logged(), self.lock()))
            for document in (self.db.migrations.find_one(), self.db.migrations_log.find_one()):
                assert document
                self.assertTrue(document["by"].startswith(r"caf\udcff@"), document)
            self.assertIn(r"caf\udcff@", self.run_task("history").stdout)


class TestRefusals(InProcessTestCase):
    """By a server that does answer: the lock is given back, and what has been done is said."""

    def test_of_the_log_of_a_failure(self) -> None:
        self.db.create_collection("migrations_log", **REFUSES_ALL)
        self.counting(self.team, "1_a.py", "raise ValueError('no')")
        self.counting(self.team, "2_b.py")
        ended = self.run_task("execute")
        self.assertEqual((1, None), (ended.code, self.lock()))
        self.assertIn("1_a.py failed (line 3, ValueError: no): it is not registered, and the one after", ended.stderr)
        self.assertRegex(
            ended.stderr, r"The log could not be written either: .* refuses the command: Document failed validation"
        )
        self.assertIn("\nValueError: no\n", ended.stderr)
        self.assertNotIn("WriteError", ended.stderr)
        self.assertEqual(["1_a.py"] * 2, [self.ran()[0], (self.run_task("execute"), self.ran()[1])[1]])

    def test_of_the_lock(self) -> None:
        self.db.create_collection("migrations_lock", **REFUSES_ALL)
        self.counting(self.team, "1_a.py")
        ended = self.run_task("execute")
        self.assertRegex(
            ended.stderr, r"^MongoDB at \S+ refuses the command: [^\n]*Document failed validation[^\n]*\n$"
        )
        self.assertEqual((1, []), (ended.code, self.ran()))

    def test_of_the_log_of_what_has_been_done(self) -> None:
        self.counting(self.team, "1_a.py")
        self.counting(self.team, "2_b.py")
        self.assertEqual(0, self.run_task("execute").code)
        self.db.create_collection("migrations_log", **REFUSES_ALL)
        for subtask, said in (
            (("rollback", "2"), "2_b.py: the migration is rolled back, but this could not be recorded: MongoDB"),
            (("forget", "1"), "1_a.py is unregistered, but this could not be recorded: MongoDB"),
        ):
            ended = self.run_task(*subtask)
            self.assertRegex(
                ended.stderr.splitlines()[-1], rf"^{said} at \S+ refuses the command: Document failed validation"
            )
            self.assertEqual((1, None), (ended.code, self.lock()))
        self.assertEqual([], self.registered())

    def test_of_the_log_of_unlock(self) -> None:
        self.db.create_collection("migrations_log", **REFUSES_ALL)
        now = self.client.admin.command("isMaster")["localTime"]
        holder = {"token": "x", "by": "ann@web1", "pid": 1, "subtask": "execute", "since": now, "expires_at": now}
        self.db.migrations_lock.insert_one({"_id": "lock", **holder})
        with patch.object(lock, "UNLOCK_PAUSE_SECONDS", 0):
            ended = self.run_task("unlock", force="yes")
        said = ended.stderr.splitlines()[-1]
        self.assertRegex(said, r"^The lock was taken away from ann@web1 .*, but this could not be recorded: MongoDB")
        self.assertEqual(1, ended.code)

    def test_in_the_middle_of_many_documents(self) -> None:
        self.db.migrations.create_index("state", unique=True, name="of_the_team")
        for name in ("1_a.py", "2_b.py", "3_c.py"):
            self.counting(self.team, name)
        ended = self.run_task("ignore")
        said = ended.stderr.splitlines()[-1]
        self.assertRegex(
            said,
            r"^MongoDB at \S+ refuses the command: E11000 .* index: of_the_team .*\. Documents written before"
            r" that: 1\.$",
        )
        self.assertEqual((1, ["1_a.py"], None), (ended.code, self.registered(), self.lock()))


class TestSecrets(InProcessTestCase):
    SECRETS = ("s3cr3t-word", "s3cr3t%2Fwo%3Ard", "s3cr3t/wo:rd", "other-s3cr3t")

    def assert_no_secret(self, ended: Result) -> None:
        texts = [ended.stdout, ended.stderr, *map(str, self.db.migrations_log.find())]
        for secret in self.SECRETS:
            self.assertFalse([text for text in texts if secret in text], secret)

    def failing(self, text: str, **settings: Any) -> Result:
        self.begin_anew()
        self.counting(self.team, "1_a.py", f"raise ValueError({text!r})")
        return self.run_task("execute", of=self.manager(**settings))

    def test_what_the_settings_hold_is_in_no_failure_and_in_no_log(self) -> None:
        for text, settings in (
            ("cannot log in with s3cr3t-word", {"MONGO_USER_PASSWORD": "s3cr3t-word"}),
            ("cannot log in with 's3cr3t/wo:rd'", {"MONGO_USER_PASS": "s3cr3t/wo:rd"}),
            ("mongodb://ann:s3cr3t%2Fwo%3Ard@db1/blog", {"MONGO_USER_PASSWORD": "s3cr3t/wo:rd"}),
            ("mongodb://ann:other-s3cr3t@db1/blog is not there", {}),
            ("the key is s3cr3t-word", {"MONGO_CLIENT_OPTIONS": {"username": None, "password": "s3cr3t-word"}}),
        ):
            with self.subTest(text):
                ended = self.failing(text, **settings)
                self.assertIn("1_a.py failed (line 3, ValueError: ", ended.stderr)
                self.assertIn("***", ended.stderr)
                self.assertEqual((1, ["failed"]), (ended.code, self.logged()), ended)
                self.assert_no_secret(ended)

    def test_settings_that_pymongo_does_not_take(self) -> None:
        for settings in (
            {"MONGO_URI": "mongodb://ann:s3cr3t/wo:rd@db1/blog"},
            {"MONGO_URI": "mongodb://ann:s3cr3t-word@db1:port/blog"},
            {"MONGO_URI": "mongodb://ann:s3cr3t-word/db1/blog"},
            {"MONGO_URI": "mongodb://db1/blog?authMechanismProperties=a@s3cr3t-word"},
            {"MONGO_URI": "", "MONGO_HOST": "ann:s3cr3t-word@db1"},
            {"MONGO_URI": "", "MONGO_HOST": "db1:s3cr3t-word"},
            {"MONGO_URI": "", "MONGO_PORT": "s3cr3t-word"},
        ):
            with self.subTest(str(settings)):
                ended = self.run_task("show_status", of=self.manager(**settings))
                said = ended.stderr.rstrip().splitlines()[-1]  # PyMongo may warn of an option before
                self.assertRegex(said, r"^(PyMongo refuses|MONGO_PORT has to be|No MongoDB answers)")
                self.assertEqual(1, ended.code)
                self.assert_no_secret(ended)
