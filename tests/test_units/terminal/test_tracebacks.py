from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions, TypeRegistry
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from migopy.terminal.tracebacks import team_traceback

NOWHERE = "mongodb://localhost:1/?serverSelectionTimeoutMS=20&connect=false"


class TestTeamTraceback(unittest.TestCase):
    def told(self, body: str, whole: bool = False, **names: Any) -> str:
        """What is told of the error that this body of a function raises."""
        folder = tempfile.TemporaryDirectory(prefix="migopy-trace-")
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "1_a.py"
        self.path.write_text("def up(db):\n" + "".join(f"    {line}\n" for line in body.split("\n")))
        exec(compile(self.path.read_text(), str(self.path), "exec"), names)
        client: MongoClient[dict[str, Any]] = MongoClient(NOWHERE)
        with client:
            try:
                names["up"](client.test)
            except Exception as error:
                error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
                return team_traceback(error, whole=whole)
        self.fail("It did not raise.")

    def test_it_ends_at_the_line_of_the_team_that_called_pymongo(self) -> None:
        told = self.told("db.notes.find_one()")
        self.assertEqual(1, told.count("File "), told)
        self.assertIn(f'File "{self.path}", line 2, in up', told)
        self.assertRegex(told.splitlines()[-1], "^pymongo.errors.ServerSelectionTimeoutError: ")

    def test_it_ends_there_too_if_python_itself_called_pymongo(self) -> None:
        body = "import contextlib\nwith contextlib.ExitStack() as stack:\n    stack.callback(db.notes.find_one)"
        told = self.told(body)
        self.assertEqual(1, told.count("File "), told)

    def test_the_whole_has_the_frames_of_pymongo_too(self) -> None:
        self.assertIn("pymongo", self.told("db.notes.find_one()", whole=True).partition("pymongo.errors")[0])

    def test_code_of_the_team_that_pymongo_calls_is_shown(self) -> None:
        body = "bson.encode({'a': db}, codec_options=CodecOptions(type_registry=TypeRegistry((), lambda value: 1 / 0)))"
        told = self.told(body, bson=bson, CodecOptions=CodecOptions, TypeRegistry=TypeRegistry)
        self.assertIn("in <lambda>", told)

    def test_other_packages_and_pythons_own_frames_are_shown(self) -> None:
        self.assertIn("decoder.py", self.told("import json\njson.loads('{')"))

    def test_the_servers_whole_reply_is_left_out(self) -> None:
        body = "raise OperationFailure('no such thing, full error: {0}', 1)"
        self.assertTrue(self.told(body, OperationFailure=OperationFailure).endswith("OperationFailure: no such thing"))

    def test_an_error_of_pymongo_that_the_team_explains_is_shown_and_what_was_below_it_is_not(self) -> None:
        told = self.told(
            "try:\n    db.notes.find_one()\nexcept Exception as error:\n    raise ValueError('x') from error"
        )
        self.assertIn("The above exception was the direct cause", told)
        self.assertEqual(2, told.count("File "), told)

    def test_what_was_raised_and_caught_below_the_team_is_not_shown(self) -> None:
        told = self.told("bson.BSON(b'1').decode()", bson=bson)
        self.assertEqual((1, 1), (told.count("Traceback"), told.count("File ")), told)

    def test_an_error_that_is_its_own_cause_has_a_traceback(self) -> None:
        told = self.told("error = ValueError('x')\nerror.__cause__ = error\nraise error")
        self.assertTrue(told.endswith("ValueError: x"), told)

    def test_a_function_that_has_no_frames_has_its_type_and_text(self) -> None:
        try:
            {}.update(1)  # type: ignore[call-overload]
        except TypeError as error:
            error.__traceback__ = None
            self.assertIn("TypeError: ", team_traceback(error))
