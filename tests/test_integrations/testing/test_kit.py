"""`migopy.testing`, as the project of a team uses it: with unittest, and with pytest."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator

from pymongo import MongoClient

from migopy.testing.server import MEMORY, has_memory
from tests.cases import KitTestCase
from tests.documents import PAGES, README, blocks
from tests.server import wait_for
from tests.support import clean_environment

COUNTS_TWICE = """
def up(db, batches):
    for notes in batches(db.archive):
        for note in notes:
            db.archive.update_one({"_id": note["_id"]}, {"$inc": {"seen": 1}})


def down(db):
    db.archive.update_many({}, {"$unset": {"seen": 1}})
"""


class TestUnittest(KitTestCase):
    def test_up_down_and_all_that_is_asserted(self) -> None:
        self.run_it(
            """
notes = self.migration("006_words", archive=[{"_id": n, "text": "a b"} for n in range(9)])
notes.up()
self.assertEqual([["a", "b"]] * 9, [note["words"] for note in notes.documents("archive")])
notes.down()
notes.assert_restored()
notes.assert_repeatable()
notes.assert_resumes()
"""
        )

    def test_a_failure_shows_the_lines_of_the_file(self) -> None:
        shown = self.run_it('self.migration("6", archive=[{"_id": 7, "text": None}]).up()', code=1)
        self.assertIn("BatchFailed: archive, _id 7: AttributeError: 'NoneType' object has no attribute 'split'", shown)
        self.assertIn('006_words.py", line 7, in words\n', shown)
        self.assertNotIn("/migopy/", shown)

    def test_a_mistake_of_the_test_shows_no_line_of_ours(self) -> None:
        for mistake, shown in (
            ("self.migration('77')", "MigrationNotFound: No migration '77' in "),
            ("self.migration('6', after='77')", "MigrationNotFound: No migration '77' in "),
            ("self.migration('6').down()", "WrongState: 006_words.py is not registered. "),
        ):
            with self.subTest(mistake):
                found = self.run_it(mistake, code=1)
                self.assertIn(shown, found)
                self.assertNotIn("/migopy/", found)

    def test_what_down_does_not_restore(self) -> None:
        shown = self.run_it(
            """
notes = self.migration("6", archive=[{"_id": 1, "text": "a", "words": None}])
notes.up()
notes.down()
notes.assert_restored()
""",
            code=1,
        )
        self.assertIn(
            "AssertionError: down() of 006_words.py does not restore everything:\n"
            "  archive: 1 of 1 document changed\n    changed: _id 1\n      words: None -> (none)\n",
            shown,
        )
        self.assertRegex(shown, r"notes\.assert_restored\(\)\n( +[~^]+\n)?AssertionError: ")

    def test_what_is_done_twice_when_it_is_stopped(self) -> None:
        self.team.write("mongomigrations/006_words.py", COUNTS_TWICE)
        shown = self.run_it(
            'self.migration("6", archive=[{"_id": n} for n in range(9)]).assert_resumes()',
            code=1,
        )
        self.assertIn("006_words.py, stopped at its batch 1 and executed again, differs:\n", shown)
        self.assertIn("seen: 1 -> 2\n", shown)

    def test_what_a_preflight_warns_of(self) -> None:
        path = self.team.write(
            "mongomigrations/7_a.py",
            """
            def up(db):
                db.users.update_many({}, {"$unset": {"phone": 1}})
                db.users.create_index("email")
            """,
        )
        test = """
users = self.migration("7", users=[{"_id": n, "phone": n, "email": "a@b.c"} for n in range(2)])
users.up()
users.assert_clean()
self.assertEqual([0, 1], [user["phone"] for user in users.documents("users")])
users.up()
"""
        shown = self.run_it(test, code=1)
        self.assertIn(
            "AssertionError: 7_a.py will have trouble with data like these:\n"
            "  users: removes phone from 2 documents, and nothing brings that back [lost values]\n"
            'If that is known, write ALLOW = {"lost values": "nobody needs the old tags"} into the file.\n',
            shown,
        )
        allowed = f"{path.read_text()}\n\nALLOW = {{'lost values': 'nobody calls'}}\n"
        path.write_text(allowed)
        self.run_it(test)
        path.write_text(allowed.replace('"email"', '"email", unique=True'))
        shown = self.run_it('self.migration("7", users=[{"email": 1}, {"email": 1}]).assert_clean()', code=1)
        self.assertIn("DuplicateKeyError", shown)
        self.assertIn('7_a.py", line 4, in up\n', shown)

    def test_another_second_up(self) -> None:
        text = "import uuid\n\n\ndef up(db):\n    db.a.insert_one({'_id': 1, 'key': str(uuid.uuid4())})\n"
        path = self.team.write("mongomigrations/7_a.py", f"{text}\n\ndef down(db):\n    db.a.delete_many({{}})\n")
        shown = self.run_it('self.migration("7").assert_repeatable()', code=1)
        self.assertIn("the second up() of 7_a.py differs from the first:\n  a: 1 of 1 document changed\n", shown)
        path.write_text(f"{path.read_text()}\n\nALLOW = {{'other values': 'keys'}}\n")
        self.run_it('self.migration("7").assert_repeatable()')

    def test_earlier_migrations_sessions_legacy_calls_and_verify(self) -> None:
        self.team.migration("1_a.py", "db.notes.insert_one({'_id': 1}, session=session)", arguments="db, session")
        self.team.write(
            "mongomigrations/2_b.py",
            """
            def up(db):
                db.notes.update({"_id": 1}, {"$set": {"seen": True}})


            def verify(db):
                assert db.notes.find_one({"_id": 1})["seen"], "nobody saw it"
            """,
        )
        self.run_it(
            """
notes = self.migration("2", {"others": [{"_id": 5}]}, after="1")
notes.up()
notes.verify()
self.assertEqual([{"_id": 1, "seen": True}], notes.documents("notes"))
notes.db.notes.update_one({"_id": 1}, {"$set": {"seen": False}})
with self.assertRaisesRegex(AssertionError, "nobody saw it"):
    notes.verify()
"""
        )

    def test_a_verify_that_fails_shows_its_own_line(self) -> None:
        text = "def up(db):\n    pass\n\n\ndef verify(db):\n    assert db.name == 1\n"
        self.team.write("mongomigrations/7_a.py", text)
        shown = self.run_it("self.migration('7').up()", code=1)
        self.assertIn('7_a.py", line 6, in verify\n    assert db.name == 1\n', shown)
        self.assertNotIn("/migopy/", shown)

    def test_a_verify_in_the_transaction_is_called_again_outside_of_it(self) -> None:
        self.team.write(
            "mongomigrations/7_a.py",
            """
            def up(db, session):
                db.notes.insert_one({"_id": 1}, session=session)


            def verify(db, session):
                assert db.notes.find_one({"_id": 1}, session=session), "it is not there"
            """,
        )
        self.run_it("notes = self.migration('7')\nnotes.up()\nnotes.verify()")
        drop = "notes.db.notes.drop()\nnotes.verify()"
        shown = self.run_it(f"notes = self.migration('7')\nnotes.up()\n{drop}", code=1)
        self.assertIn("AssertionError: it is not there\n", shown)

    def test_a_verify_that_returns_false_fails_the_test(self) -> None:
        self.team.write(
            "mongomigrations/7_a.py",
            "def up(db):\n    pass\n\n\ndef verify(db):\n    return not db.people.find_one()\n",
        )
        asks = "notes = self.migration('7')\nnotes.up()\nnotes.db.people.insert_one({})\nnotes.verify()"
        self.assertIn("AssertionError: verify() of 7_a.py returned False.\n", self.run_it(asks, code=1))

    def test_mistakes_are_one_sentence(self) -> None:
        shown = self.run_it('self.migration("9")', code=1)
        self.assertIn("MigrationNotFound: No migration '9'", shown)
        shown = self.run_it('self.migration("6", archive={"_id": 1})', code=1)
        self.assertIn("ConfigurationError: A collection is a list of documents, also if it has only one: write", shown)
        fabfile = self.team.path / "fabfile.py"
        fabfile.write_text(f"{fabfile.read_text()}\n\nclass Other(migopy.MigrationsManager):\n    pass\n")
        shown = self.run_it('self.migration("6")', code=1)
        self.assertRegex(
            shown, r"ConfigurationError: .*fabfile.py has to have one class .* not Migrations, Other: set "
        )
        self.run_it("from fabfile import Migrations\nself.manager = Migrations\nself.migration('6')")
        fabfile.unlink()
        self.assertIn("There is no fabfile in ", self.run_it('self.migration("6")', code=1))

    def test_without_pytest_and_without_a_server(self) -> None:
        result = self.run_python("-c", "import sys; sys.modules['pytest'] = None; import migopy.testing")
        self.assert_code(0, result)
        hidden = "import importlib.util; importlib.util.find_spec = lambda name: None; from migopy import testing\n"
        result = self.run_python("-c", f"{hidden}testing.server_uri()", MIGOPY_TEST_URI="", PATH="")
        self.assertRegex(result.stderr, r"ConfigurationError: These tests need a MongoDB: set MIGOPY_TEST_URI .*\n$")


class TestPytest(KitTestCase):
    def test_the_fixture(self) -> None:
        self.team.write(
            "test_it.py",
            """
            def test_words(migration):
                notes = migration("6", archive=[{"_id": 1, "text": "a b"}])
                notes.up()
                assert notes.documents("archive") == [{"_id": 1, "text": "a b", "words": ["a", "b"]}]
                notes.down()
                notes.assert_restored()


            def test_null(migration):
                migration("6", archive=[{"_id": 1, "text": None}]).up()
            """,
        )
        result = self.run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
        self.assert_code(1, result)
        self.assertRegex(result.stdout, r"1 failed, 1 passed")
        self.assertIn("BatchFailed: archive, _id 1: AttributeError", result.stdout)
        self.assertIn("mongomigrations/006_words.py:7: AttributeError\n", result.stdout)
        self.assertNotIn("migopy/testing/", result.stdout)
        self.assertEqual([], self.left_over())

    def test_a_project_that_does_not_use_it_pays_nothing(self) -> None:
        self.team.write("test_it.py", "import sys\n\ndef test():\n    assert 'migopy' not in sys.modules\n")
        result = self.run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py")
        self.assert_code(0, result)


class TestServer(KitTestCase):
    """Its own server: started once, and gone with the process of the tests, however that ends."""

    def test_it_is_started_once_and_nothing_is_left_behind(self) -> None:
        self.write_test(
            "from migopy.testing import server_uri\nprint(server_uri(), self.migration('6') and server_uri())"
        )
        uri, process = self.start("import time\ntime.sleep(60)")
        self.assertEqual(has_memory(), any(MEMORY.glob(f"migopy-testing-{process.pid}-*")))
        self.assert_takes_a_large_document_and_waits_for_no_journal(uri)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for("end of the server", functools.partial(self.is_gone, uri))
        result = self.run_python("-m", "unittest", "test_it", MIGOPY_TEST_URI="")
        self.assert_code(0, result)
        first, second = result.stdout.split()
        self.assertEqual(first, second)
        self.assertFalse(self.answers(first))

    def test_the_readme_has_a_command_that_prints_the_uri_of_one(self) -> None:
        (code,) = re.findall(r'`python -i -c "(.*)"`', README)
        result = self.run_python("-c", code, MIGOPY_TEST_URI="")
        self.assertRegex(result.stdout, r"^mongodb://127\.0\.0\.1:\d+/\?replicaSet=\w+\n$")

    def assert_takes_a_large_document_and_waits_for_no_journal(self, uri: str) -> None:
        client: MongoClient[dict[str, object]] = MongoClient(uri)
        with client:
            client.test.large.insert_one({"bytes": bytes(16 * 1024 * 1024 - 1000)})
            configuration = client.admin.command("replSetGetConfig")["config"]
        self.assertFalse(configuration["writeConcernMajorityJournalDefault"])

    def test_killed_at_random_pytest_leaves_nothing(self) -> None:
        text = "@pytest.mark.parametrize('n', range(40))\ndef test(migration, n):\n    migration('6').assert_clean()\n"
        self.team.write("test_it.py", f"import pytest\n\n\n{text}")
        folder = self.team.path / "tmp"
        folder.mkdir()
        for _ in range(20 if self.IN_FULL else 1):
            for uri in ("", self.server.uri):
                process = subprocess.Popen(
                    [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
                    cwd=self.team.path,
                    env={**clean_environment(), "MIGOPY_TEST_URI": uri, "TMPDIR": str(folder)},
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
                time.sleep(random.uniform(0, 4))
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                name = f"migopy-testing-{process.pid}-"
                wait_for("end of processes and folders", functools.partial(self.is_unused, folder, name))
        self.run_it("self.migration('6')")  # drops the databases of the killed ones

    @staticmethod
    def is_unused(folder: Path, name: str) -> bool:
        """Whether the folder is empty, none in memory has a name that begins so, and no process names either."""
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                lines.append(path.read_text(errors="replace"))
        is_named = any(str(folder) in line or name in line for line in lines)
        return not any(folder.iterdir()) and not any(MEMORY.glob(f"{name}*")) and not is_named

    def start(self, then: str) -> tuple[str, subprocess.Popen[str]]:
        script = f"from migopy.testing import server_uri\nprint(server_uri(), flush=True)\n{then}\n"
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout
        uri = process.stdout.readline().strip()
        process.stdout.close()
        self.assertTrue(self.answers(uri))
        return uri, process

    def is_gone(self, uri: str) -> bool:
        return not self.answers(uri)

    @staticmethod
    def answers(uri: str) -> bool:
        client: MongoClient[dict[str, object]] = MongoClient(uri, serverSelectionTimeoutMS=300)
        with client:
            try:
                return bool(client.admin.command("ping")["ok"])
            except Exception:
                return False

    def test_one_that_does_not_start_says_why(self) -> None:
        mongod = self.team.write("bin/mongod", "#!/bin/sh\necho no such library; exit 127\n")
        mongod.chmod(0o755)
        result = self.run_python(
            "-c", "from migopy import testing; testing.server_uri()", MIGOPY_TEST_URI="", PATH=str(mongod.parent)
        )
        self.assertRegex(
            result.stderr, r"ConfigurationError: The mongod for the tests does not start\. .* log: no such library\n$"
        )


class TestPage(KitTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.team = self.project()
        self.blocks = blocks(PAGES["testing"])
        for block in self.blocks:
            if block.path:
                self.team.write(block.path, block.text)

    def sessions(self, program: str) -> Iterator[tuple[str, str]]:
        """What is typed to start a program, and what the page says is printed."""
        for block in self.blocks:
            for command, shown in block.commands if block.language == "console" else ():
                if command.startswith(program):
                    yield command, shown.strip()

    def test_the_page_shows_what_is_printed(self) -> None:
        for command, shown in self.sessions("python"):
            result = self.run_python(*command.split()[1:])
            printed = re.sub(r"in \d\.\d+s", "in 0.052s", result.stderr)
            printed = re.sub(r"\n[ ~^]+\n", "\n", printed).replace(str(self.team.path), "/srv/blog")
            printed = re.sub(r'  File "[^"]*/migopy/testing/.*\n.*\n', "", printed)
            # Before Python 3.11 the name of a test has no method behind the class.
            printed = printed.replace("(test_words.TestWords)", "(test_words.TestWords.test_words_that_were_null)")
            self.assertEqual(shown, printed.strip(), command)

    def test_a_sample_and_a_test_with_it(self) -> None:
        self.db.archive.insert_many([{"_id": n, "text": "a b"} for n in range(500)])
        self.db.archive.update_one({"_id": 50}, {"$set": {"words": []}})
        ((command, shown),) = self.sessions("fab")
        result = self.fab(*command.split()[1:])
        written = re.sub(r"Wrote \d+", "Wrote 98", result.stderr)
        self.assertEqual(shown, f"{written}\nDone.")
        self.assert_code(0, self.run_python("-m", "unittest", "test_archive"))
