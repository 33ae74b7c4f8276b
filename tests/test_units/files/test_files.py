from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import unittest
import warnings
from pathlib import Path

from migopy.errors import BadMigration, ConfigurationError, MigopyException, MigrationFailed
from migopy.files import directory as loader
from migopy.files.faults import innermost_line
from migopy.files.importing import on_sys_path
from migopy.files.migration import LoadedMigration, Migration
from migopy.manager import MigrationsManager

PATTERN = MigrationsManager.MIGRATIONS_FILE_PATTERN


class FolderTestCase(unittest.TestCase):
    """A test with a folder of migrations of its own, `self.folder`."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="migopy-loader-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name).resolve() / "mongomigrations"
        self.folder.mkdir()
        self.addCleanup(self.forget_modules, set(sys.modules))

    @staticmethod
    def forget_modules(known: set[str]) -> None:
        for name in set(sys.modules) - known:
            del sys.modules[name]

    def write(self, name: str, text: str = "") -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def names(self, pattern: str = PATTERN) -> list[str]:
        return [migration.name for migration in loader.find(self.folder, pattern)]

    def migration(self, name: str, text: str) -> Migration:
        return Migration(1, name, self.write(name, text).parent)

    def assert_snapshot_unchanged(self, before: list[str]) -> None:
        self.assertEqual(before, self.snapshot())

    def snapshot(self) -> list[str]:
        return sorted(str(path) for path in self.folder.parent.rglob("*"))


class TestFind(FolderTestCase):
    def test_files_come_in_the_order_of_their_numbers(self) -> None:
        for name in ("20140101120000_x.py", "010_a.py", "3_a.py", "0002_a.py"):
            self.write(name)
        self.assertEqual(["0002_a.py", "3_a.py", "010_a.py", "20140101120000_x.py"], self.names())

    def test_equal_numbers_come_in_the_order_of_their_names(self) -> None:
        for name in ("1_b.py", "01_c.py", "1_a.py"):
            self.write(name)
        self.assertEqual(["01_c.py", "1_a.py", "1_b.py"], self.names())

    def test_helpers_hidden_files_directories_and_other_endings_are_passed_over(self) -> None:
        for name in (
            "_helpers.py",
            "__init__.py",
            ".#2_ok.py",
            ".3_ok.py",
            "4_ok.pyc",
            "5_ok.txt",
            "README",
            "6_ok.py~",
        ):
            self.write(name)
        (self.folder / "2_dir.py").mkdir()
        (self.folder / ".#7_lock.py").symlink_to("nobody@nowhere.1")
        self.write("1_ok.py")
        self.assertEqual(["1_ok.py"], self.names())

    def test_a_name_that_does_not_fit_has_no_number_and_stands_last(self) -> None:
        for name in ("Bad.py", "1_ok.py", "2-dash.py", "0_Upper.py"):
            self.write(name)
        found = loader.find(self.folder, PATTERN)
        self.assertEqual(
            [(1, "1_ok.py"), (None, "0_Upper.py"), (None, "2-dash.py"), (None, "Bad.py")],
            [(migration.number, migration.name) for migration in found],
        )

    def test_the_whole_name_has_to_match_the_pattern(self) -> None:
        number_of = loader.number_parser(PATTERN)
        for name in ("2_a.py_b.py", "2_a.pyx", "x2_a.py", "2_a.py\n", "2_.py"):
            self.assertIsNone(number_of(name), name)
        self.assertEqual(2, number_of("2_a.py"))

    def test_a_pattern_of_the_team_gives_the_numbers(self) -> None:
        for name in ("m10-b.py", "m9-a.py"):
            self.write(name)
        self.assertEqual(["m9-a.py", "m10-b.py"], self.names(r"m(?P<migr_nr>\d+)-[a-z]+\.py"))

    def test_a_pattern_that_is_none_or_lacks_the_group_is_refused(self) -> None:
        for pattern in (r"([0-9]+)_x\.py", r"(?P<migr_nr>[0-9]+"):
            with self.assertRaisesRegex(ConfigurationError, "MIGRATIONS_FILE_PATTERN .* group"):
                loader.find(self.folder, pattern)

    def test_a_group_that_matches_no_number_is_refused(self) -> None:
        self.write("x_a.py")
        for pattern in (r"(?P<migr_nr>[a-z0-9]+)_a\.py", r"(?P<migr_nr>[0-9]+)?x_a\.py"):
            with self.assertRaisesRegex(ConfigurationError, "does not match a number in 'x_a.py'"):
                loader.find(self.folder, pattern)

    def test_a_missing_directory_is_named(self) -> None:
        missing = self.folder / "nowhere"
        with self.assertRaises(ConfigurationError) as caught:
            loader.find(missing, PATTERN)
        self.assertEqual(
            f"The migrations directory {missing} does not exist. Create it, or set MIGRATIONS_DIRECTORY.",
            str(caught.exception),
        )

    def test_a_file_in_place_of_the_directory_cannot_be_read(self) -> None:
        file = self.write("file")
        with self.assertRaisesRegex(ConfigurationError, f"{file} cannot be read: Not a directory"):
            loader.find(file, PATTERN)

    def test_finding_imports_and_writes_nothing(self) -> None:
        self.write("1_broken.py", "def up(db:\n")
        before = self.snapshot()
        self.assertEqual(["1_broken.py"], self.names())
        self.assert_snapshot_unchanged(before)


class TestChecksum(FolderTestCase):
    def test_the_checksum_is_sha_256_with_newlines_as_lf(self) -> None:
        expected = hashlib.sha256(b"def up(db):\n    pass\n").hexdigest()
        for newline in (b"\n", b"\r\n", b"\r"):
            path = self.folder / "1_a.py"
            path.write_bytes(b"def up(db):\n    pass\n".replace(b"\n", newline))
            self.assertEqual(expected, Migration(1, "1_a.py", path.parent).fingerprint().checksum)

    def test_another_content_has_another_checksum(self) -> None:
        one, two = (self.migration("1_a.py", f"a = {number}").fingerprint().checksum for number in (1, 2))
        self.assertNotEqual(one, two)


class TestLoad(FolderTestCase):
    def load(self, text: str, function: str = "up", name: str = "1_a.py") -> LoadedMigration:
        return self.migration(name, text).load(function)

    def error(self, text: str) -> str:
        with self.assertRaises(BadMigration) as caught:
            self.load(text)
        return str(caught.exception)

    def test_the_function_of_the_file_is_found(self) -> None:
        loaded = self.load("def up(db):\n    return db + 1\n\ndef down(db):\n    return db - 1\n", "down")
        self.assertEqual(("1_a.py", 4), (loaded.name, loaded.call(5)))

    def test_a_parameter_named_session_asks_for_a_transaction(self) -> None:
        self.assertTrue(self.load("def up(db, session): pass").in_transaction)
        self.assertTrue(self.load("def up(db, session=None): pass").in_transaction)
        self.assertFalse(self.load("def up(db): pass").in_transaction)
        self.assertFalse(self.load("def up(db, other=None): pass").in_transaction)

    def test_an_annotation_may_name_what_only_a_type_checker_imports_since_3_14(self) -> None:
        functions = "def up(db: Database, session: Session): pass\n\ndef verify(db: Database, session): pass\n"
        text = f"import typing\nif typing.TYPE_CHECKING:\n    from pymongo.database import Database\n{functions}"
        if sys.version_info >= (3, 14):
            loaded = self.load(text)
            self.assertTrue(loaded.in_transaction)
            self.assertIsNotNone(loaded.verify)
        else:
            with self.assertRaisesRegex(MigrationFailed, r"1_a.py cannot be imported \(line 4\): NameError: "):
                self.load(text)

    def test_a_missing_function_is_named(self) -> None:
        for text in ("def Up(db): pass", "up = 1"):
            self.assertIn("1_a.py has no function up(db)", self.error(text))

    def test_a_syntax_error_is_told_with_its_line(self) -> None:
        message = self.error("\n\ndef up(db)\n    pass\n")
        self.assertIn("1_a.py cannot be imported (line 3): SyntaxError: ", message)
        self.assertEqual(1, message.count("line 3"), message)
        self.assertIn("No migration was run.", message)

    def test_python_2_syntax_is_called_by_its_name(self) -> None:
        lines = (
            "print 'x'",
            "print db.name",
            "exec code",
            "raise ValueError, 'x'",
            "a = 1 <> 2",
            "a = `1`",
            "mode = 0755",
            "big = 10L",
            "text = ur'x'",
            "try:\n    pass\nexcept KeyError, error:\n    pass",
            "def f(a, (b, c)):\n    pass",
            "if 1:\n        a = 1\n\tb = 2",
        )
        for text in lines:
            with self.subTest(text):
                error = self.error(f"{text}\n")
                self.assertRegex(error, r"cannot be imported \(line \d, Python 2 syntax\): ")
                self.assertRegex(error, r"[^?]\. No migration was run\.$")

    def test_where_python_only_says_invalid_syntax_the_line_is_shown(self) -> None:
        self.assertIn(
            "(line 2, Python 2 syntax): SyntaxError: invalid syntax in: text = `5`. No migration was run.",
            self.error("def up(db):\n    text = `5`\n"),
        )

    def test_python_2_that_python_3_takes_for_something_else_is_refused_too(self) -> None:
        handlers = (
            "except KeyError, error:\n        print(error)",
            "except KeyError, e:\n        pass",
            "except (KeyError, ValueError), e:\n        raise RuntimeError(e)",
            "except pymongo.errors.PyMongoError, error:\n        error = str(error)",
        )
        for handler in handlers:
            with self.subTest(handler):
                self.assertIn(
                    "1_a.py cannot be imported (line 5, Python 2 syntax): SyntaxError: ",
                    self.error(f"import pymongo\ndef up(db):\n    try:\n        pass\n    {handler}\n"),
                )
        for line in ("print >>sys.stderr, 'text'", "print >> sys.stderr"):
            self.assertIn(
                "1_a.py cannot be imported (line 3, Python 2 syntax): SyntaxError: ",
                self.error(f"import sys\ndef up(db):\n    {line}\n"),
            )
        helper = self.write("_helpers.py", "import sys\nprint >>sys.stderr, 'text'\n")
        self.assertIn(f"({helper}, line 2, Python 2 syntax)", self.error("from . import _helpers\n"))

    def test_two_types_of_exceptions_need_no_parentheses_since_3_14(self) -> None:
        begin = (
            "from pymongo.errors import PyMongoError\nOther = ValueError\nclass Mine(Exception): pass\n"
            "def up(db, More=OSError):\n"
        )
        pairs = ("KeyError, ValueError", "KeyError, PyMongoError", "KeyError, Mine", "OSError, Other", "Mine, More")
        texts = [
            *(
                f"{begin}    try:\n        pass\n    except {pair}:\n        raise PyMongoError('x')\n"
                for pair in pairs
            ),
            "from os import *\ndef up(db):\n    try:\n        pass\n    except KeyError, error: pass\n",
        ]
        for text in texts:
            with self.subTest(text):
                if sys.version_info >= (3, 14):
                    self.load(text)
                else:
                    self.assertIn("SyntaxError: ", self.error(text))

    def test_what_python_has_taken_away_is_named_with_its_line_or_works(self) -> None:
        named = {
            "import imp": r"\w+: .*\bimp\b.*",
            "import asyncio\n@asyncio.coroutine\ndef f(): yield": r"\w+: .*\bcoroutine\b.*",
            "import datetime\nNOW = datetime.datetime.utcnow()": r"DeprecationWarning: .*\butcnow\b.*",
            "import re\nWORD = re.compile('\\d')": r"SyntaxError: .*\binvalid escape sequence\b.*",
            "def f():\n    try: pass\n    finally: return 1": r"SyntaxError: 'return' in a 'finally' block",
        }
        for text, reason in named.items():
            for action in ("error", "ignore"):
                with self.subTest(text, action=action), warnings.catch_warnings():
                    warnings.simplefilter(action)
                    try:
                        self.load(f"{text}\ndef up(db): pass\n")
                    except MigopyException as error:
                        self.assertRegex(
                            str(error), rf"^1_a\.py cannot be imported \(line \d\): {reason}\. No migration"
                        )

    def test_an_ordinary_syntax_error_is_not_called_python_2(self) -> None:
        for text in ("print('x'", "a = = 1", "def up(db)\n    pass", "x = {'a': 1, 'b' 2}", "db.print x"):
            with self.subTest(text):
                self.assertNotIn("Python 2", self.error(f"{text}\n"))

    def test_a_file_that_is_no_text_is_called_that(self) -> None:
        cases = {
            "def up(db): pass  # naïve\n".encode("utf-16"): "it is UTF-16 or a binary file; save it as UTF-8",
            "def up(db): pass\n".encode("utf-16-le"): "it is UTF-16 or a binary file; save it as UTF-8",
            "def up(db):\n    x = 'naïve'\n".encode("latin-1"): r"line 2 is not UTF-8 \(byte 0xef\); save it as UTF-8, "
            "or name its encoding in the first line, such as # coding: latin-1",
            b"# naive\n# -*- coding: latin1 -*-\ndef up(db)\n": r"\(line 3\): SyntaxError",
            b"# coding: klingon\ndef up(db): pass\n": "Python does not know the encoding klingon, which its first",
            b"#!/usr/bin/python\n# vim: set fileencoding=hex :\n": "Python does not know the encoding hex",
            b"# coding: ascii\nx = '\xc3\xaf'\n": r"line 2 is not ascii \(byte 0xc3\); save it as UTF-8\.",
        }
        for content, expected in cases.items():
            with self.subTest(content):
                (self.folder / "2_b.py").write_bytes(content)
                with self.assertRaises(BadMigration) as caught:
                    Migration(2, "2_b.py", self.folder).load("up")
                self.assertRegex(str(caught.exception), rf"^2_b.py cannot be imported(: | ).*{expected}")
                self.assertNotIn("Python 2", str(caught.exception))

    def test_a_missing_import_is_told_with_its_line(self) -> None:
        self.assertIn(
            "1_a.py cannot be imported (line 2): ModuleNotFoundError: No module named 'nowhere'. No migration",
            self.error("import os\nimport nowhere\n"),
        )

    def test_an_import_of_a_file_beside_it_says_what_to_write(self) -> None:
        self.write("_helpers.py", "x = 1\n")
        self.assertIn(
            "named '_helpers'; it stands beside 1_a.py, so write from . import _helpers. No migration was run.",
            self.error("import _helpers\n"),
        )

    def test_a_syntax_error_in_a_helper_names_the_helper(self) -> None:
        helper = self.write("_helpers.py", "x = = 1\n")
        self.assertIn(
            f"1_a.py cannot be imported ({helper}, line 1): SyntaxError", self.error("from . import _helpers")
        )

    def test_an_error_of_the_init_file_names_that_file_and_its_line(self) -> None:
        init = self.write("__init__.py", "x = 1\ny = x / 0\n")
        with self.assertRaises(MigrationFailed) as caught:
            self.load("def up(db): pass\n")
        self.assertEqual(
            f"1_a.py cannot be imported ({init}, line 2): ZeroDivisionError: division by zero. No migration was run.",
            str(caught.exception),
        )

    def test_a_syntax_error_that_the_file_raises_itself_has_its_line(self) -> None:
        self.assertIn(
            "1_a.py cannot be imported (line 2): SyntaxError: no", self.error("x = 1\nraise SyntaxError('no')")
        )

    def test_what_the_module_itself_raises_is_kept_as_the_cause(self) -> None:
        with self.assertRaises(MigrationFailed) as caught:
            self.load("x = 1\ny = x / 0\n")
        self.assertIn("(line 2): ZeroDivisionError: division by zero", str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, ZeroDivisionError)

    def test_a_file_that_failed_is_imported_anew_when_it_is_repaired(self) -> None:
        self.error("import nowhere")
        self.assertEqual(7, self.load("def up(db): return 7").call(None))

    def test_helpers_are_imported_from_the_same_directory(self) -> None:
        self.write("_helpers.py", "answer = 42\n")
        text = "from . import _helpers\nfrom ._helpers import answer\n\ndef up(db): return _helpers.answer, answer\n"
        self.assertEqual((42, 42), self.load(text).call(None))

    def test_the_init_file_of_the_directory_is_run_once(self) -> None:
        self.write("__init__.py", "import os\nos.environ['MIGOPY_TEST_INIT'] += 'x'\nname = 'ours'\n")
        self.addCleanup(os.environ.pop, "MIGOPY_TEST_INIT")
        os.environ["MIGOPY_TEST_INIT"] = ""
        text = "from . import name\n\ndef up(db): return name\n"
        self.assertEqual(["ours", "ours"], [self.load(text, name=name).call(None) for name in ("1_a.py", "2_b.py")])
        self.assertEqual("x", os.environ["MIGOPY_TEST_INIT"])

    def test_nothing_is_written_to_the_directory(self) -> None:
        self.write("_helpers.py", "")
        path = self.write("1_a.py", "from . import _helpers\n\ndef up(db): pass\n")
        before = self.snapshot()
        kept = sys.dont_write_bytecode
        self.addCleanup(setattr, sys, "dont_write_bytecode", kept)
        sys.dont_write_bytecode = False
        Migration(1, "1_a.py", path.parent).load("up")
        self.assert_snapshot_unchanged(before)
        self.assertFalse(sys.dont_write_bytecode)

    def test_a_directory_called_like_a_module_does_not_get_into_its_way(self) -> None:
        self.folder = self.folder.parent / "json"
        self.write("__init__.py")
        text = "import json\n\ndef up(db): return json.loads('[1]')\n"
        self.assertEqual([1], self.load(text).call(None))
        self.assertTrue(hasattr(sys.modules["json"], "loads"))

    def test_a_migration_called_like_a_module_does_not_get_into_its_way(self) -> None:
        loaded = self.load("import token\n\ndef up(db): return token.NAME\n", name="token.py")
        self.assertEqual(1, loaded.call(None))

    def test_two_directories_with_a_file_of_the_same_name_do_not_mix(self) -> None:
        first = self.load("def up(db): return 'first'")
        self.folder = self.folder.parent / "others"
        second = self.load("def up(db): return 'second'")
        self.assertEqual(["first", "second"], [first.call(None), second.call(None)])


class TestImportable(FolderTestCase):
    def test_the_folder_is_on_the_path_meanwhile_and_then_no_more(self) -> None:
        before = list(sys.path)
        with self.assertRaises(KeyError), on_sys_path(self.folder):
            self.assertEqual([str(self.folder), *before], sys.path)
            raise KeyError
        self.assertEqual(before, sys.path)

    def test_a_path_that_somebody_cleared_meanwhile_is_no_error(self) -> None:
        before = list(sys.path)
        self.addCleanup(sys.path.__setitem__, slice(None), before)
        with on_sys_path(self.folder):
            sys.path.remove(str(self.folder))
        self.assertEqual(before, sys.path)


class TestErrors(FolderTestCase):
    def test_the_line_is_the_innermost_one_in_the_file(self) -> None:
        text = "def inner():\n    return {}['x']\n\ndef up(db):\n    return sorted([1], key=lambda _: inner())\n"
        loaded = self.migration("1_a.py", text).load("up")
        try:  # assertRaises would take the traceback away
            loaded.call(None)
        except KeyError as error:
            self.assertEqual(2, innermost_line(loaded.migration.path, error))
            self.assertIsNone(innermost_line(Path("elsewhere.py"), error))
        else:
            self.fail("It did not raise.")
