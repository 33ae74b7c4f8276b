from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest.mock import patch

from migopy import dump
from migopy.errors import DumpFailed

AWKWARD = """a b; echo $HOME `id` "c" 'd' \\ * & | > <"""


def words(command: str) -> list[str]:
    """What a real shell makes of a command line: its arguments."""
    tool, _, rest = command.partition(" ")
    script = f"""for word in {shlex.quote(tool)} {rest}; do printf '%s\\0' "$word"; done"""
    output = subprocess.run(["/bin/sh", "-c", script], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
    return output.split("\0")[:-1]


class TestCommandLines(unittest.TestCase):
    def test_mongodump_of_ordinary_names(self) -> None:
        self.assertEqual(
            "mongodump --config=/tmp/c.yaml --db=notes --out=/srv/mongodumps/2014",
            dump.dump_command("/tmp/c.yaml", "notes", Path("/srv/mongodumps/2014")),
        )

    def test_every_argument_of_mongodump_is_quoted(self) -> None:
        command = dump.dump_command(f"/tmp/{AWKWARD}", AWKWARD, Path(f"/srv/{AWKWARD}"))
        self.assertEqual(
            ["mongodump", f"--config=/tmp/{AWKWARD}", f"--db={AWKWARD}", f"--out=/srv/{AWKWARD}"], words(command)
        )

    def test_every_argument_of_mongorestore_is_quoted(self) -> None:
        command = dump.restore_command(f"/tmp/{AWKWARD}", AWKWARD, Path(f"/srv/{AWKWARD}"), without=["m_lock", "m_log"])
        expected = ["mongorestore", f"--config=/tmp/{AWKWARD}", "--drop", f"--nsInclude={AWKWARD}.*"]
        expected += [f"--nsExclude={AWKWARD}.m_lock", f"--nsExclude={AWKWARD}.m_log", f"--dir=/srv/{AWKWARD}"]
        self.assertEqual(expected, words(command))


class TestConfigFile(unittest.TestCase):
    def test_only_its_owner_can_read_it_and_it_is_gone_afterwards(self) -> None:
        kept = os.umask(0)
        self.addCleanup(os.umask, kept)
        with dump.config_file("mongodb://u:secret@h/?authSource=admin") as path:
            self.assertEqual(0o600, stat.S_IMODE(os.stat(path).st_mode))
            self.assertEqual("uri: mongodb://u:secret@h/?authSource=admin\n", Path(path).read_text())
        self.assertFalse(os.path.exists(path))

    def test_it_is_gone_whatever_ends_the_block(self) -> None:
        for error in (ValueError, SystemExit, KeyboardInterrupt):
            with self.assertRaises(error), dump.config_file("mongodb://h/") as path:
                raise error
            self.assertFalse(os.path.exists(path))


class TestFolders(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="migopy-dump-")
        self.addCleanup(temporary.cleanup)
        self.parent = Path(temporary.name) / "nested" / "mongodumps"

    def filled(self) -> Path:
        """A new folder with a dump of the database notes in it."""
        with dump.new_folder(self.parent) as folder:
            (folder / "notes").mkdir()
        return folder

    def test_folders_are_made_with_date_and_time_for_their_owner_only(self) -> None:
        folder = self.filled()
        self.assertRegex(folder.name, r"^\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d$")
        self.assertEqual([0o700, 0o700], [stat.S_IMODE(path.stat().st_mode) for path in (folder, self.parent)])

    def test_folders_of_one_second_are_numbered(self) -> None:
        with patch("time.strftime", return_value="2014_01_14_12_30_59"):
            folders = [self.filled().name for _ in range(3)]
        self.assertEqual(["2014_01_14_12_30_59", "2014_01_14_12_30_59_2", "2014_01_14_12_30_59_3"], folders)

    def test_one_that_stays_empty_or_is_half_full_is_gone_afterwards(self) -> None:
        with dump.new_folder(self.parent):
            pass
        for error in (DumpFailed, KeyboardInterrupt):
            with self.assertRaises(error), dump.new_folder(self.parent) as folder:
                (folder / "half").mkdir()
                raise error
        self.assertEqual([], list(self.parent.iterdir()))

    def test_a_dump_is_found_by_its_name_and_by_its_path(self) -> None:
        folder = self.filled()
        self.assertEqual(folder, dump.find_folder(folder.name, self.parent, "notes"))
        self.assertEqual(folder, dump.find_folder(str(folder), self.parent, "notes"))

    def test_a_folder_without_a_dump_of_the_database_is_refused(self) -> None:
        for name in (self.filled().name, "nowhere"):
            with self.assertRaisesRegex(DumpFailed, "No dump of the database others"):
                dump.find_folder(name, self.parent, "others")


class TestRequire(unittest.TestCase):
    def test_a_tool_that_is_not_on_path_is_named(self) -> None:
        dump.require("sh")
        with patch.dict(os.environ, {"PATH": "/nowhere"}), self.assertRaisesRegex(
            DumpFailed, "^mongodump is not on PATH"
        ):
            dump.require("mongodump")
