from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson

from migopy.dumps import dump
from migopy.errors import DumpFailed


class DumpTestCase(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="migopy-dump-")
        self.addCleanup(temporary.cleanup)
        self.parent = Path(temporary.name) / "nested" / "mongodumps"

    def made(self) -> Path:
        """A new dump of a collection in the database notes."""
        folder = dump.make(self.parent, fill)
        assert folder is not None
        return folder

    def left(self) -> list[str]:
        return sorted(path.name for path in self.parent.iterdir())


def write(root: Path, name: str = "a", database: str = "notes", documents: int = 1, **metadata: Any) -> Path:
    """Write one collection as mongodump does; the folder of its files."""
    folder = root / database
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.metadata.json").write_text(json.dumps({"indexes": [], "collectionName": name, **metadata}))
    (folder / f"{name}.bson").write_bytes(b"".join(bson.encode({"_id": number}) for number in range(documents)))
    return folder


def fill(folder: Path) -> None:
    write(folder)


class TestMaking(DumpTestCase):
    def test_it_is_named_after_date_and_time_and_for_its_owner_only(self) -> None:
        folder = self.made()
        self.assertRegex(folder.name, r"^\d{4}_\d\d_\d\d_\d\d_\d\d_\d\d$")
        self.assertEqual([0o700, 0o700], [stat.S_IMODE(path.stat().st_mode) for path in (folder, self.parent)])

    def test_those_of_one_second_are_numbered(self) -> None:
        with patch("time.strftime", return_value="2014_01_14_12_30_59"):
            folders = [self.made().name for _ in range(3)]
        self.assertEqual(["2014_01_14_12_30_59", "2014_01_14_12_30_59_2", "2014_01_14_12_30_59_3"], folders)

    def test_while_it_is_filled_its_name_says_so(self) -> None:
        names = []

        def fill(folder: Path) -> None:
            names.append(folder.name)
            write(folder)

        folder = dump.make(self.parent, fill)
        assert folder is not None
        self.assertEqual([f"{folder.name}.unfinished"], names)
        self.assertEqual([folder.name], self.left())

    def test_one_that_stays_empty_or_fails_leaves_nothing(self) -> None:
        self.assertIsNone(dump.make(self.parent, lambda folder: None))
        for error in (DumpFailed, KeyboardInterrupt):

            def fail(folder: Path, error: type[BaseException] = error) -> None:
                write(folder)
                raise error

            with self.assertRaises(error):
                dump.make(self.parent, fail)
        self.assertEqual([], self.left())

    def test_one_that_died_is_cleared_by_the_next_and_one_that_goes_on_is_not(self) -> None:
        script = (
            "import sys, time; from pathlib import Path; from migopy.dumps import dump\n"
            "def fill(folder):\n"
            "    (folder / 'half').mkdir(); print(folder.name, flush=True); time.sleep(60)\n"
            "dump.make(Path(sys.argv[1]), fill)\n"
        )
        command = [sys.executable, "-W", "ignore", "-c", script, str(self.parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            unfinished = process.stdout.readline().strip()
            first = self.made()
            self.assertEqual(sorted([first.name, unfinished]), self.left())
            process.send_signal(signal.SIGKILL)
        second = self.made()
        self.assertEqual(sorted([first.name, second.name]), self.left())

    def test_where_none_can_be_made_a_sentence_says_why(self) -> None:
        self.parent.parent.mkdir()
        self.parent.write_text("a file")
        with self.assertRaisesRegex(DumpFailed, f"in MONGO_DUMP_DIRECTORY, {self.parent}: File exists"):
            self.made()
        with self.assertRaisesRegex(DumpFailed, "Not a directory"):
            dump.make(self.parent / "below", fill)

    def test_one_that_cannot_get_its_name_is_none(self) -> None:
        """As on a disk that has become read-only, or whose network is gone."""

        def fill_and_take_the_name(folder: Path) -> None:
            write(folder)
            write(folder.with_name(folder.name[: -len(".unfinished")]))

        with self.assertRaisesRegex(DumpFailed, f"in MONGO_DUMP_DIRECTORY, {self.parent}: Directory not empty"):
            dump.make(self.parent, fill_and_take_the_name)
        self.assertEqual([], [name for name in self.left() if name.endswith(".unfinished")])

    def test_a_file_system_that_cannot_be_told_to_write_a_folder_down(self) -> None:
        fsync = os.fsync

        def of_files_only(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(descriptor)

        with patch("os.fsync", of_files_only):
            self.assertEqual([self.made().name], self.left())


class TestFinding(DumpTestCase):
    def find(self, name: str, database: str = "notes") -> dump.Dump:
        return dump.find(name, self.parent, database)

    def test_by_its_name_and_by_its_path(self) -> None:
        folder = self.made()
        self.assertEqual([folder] * 3, [self.find(name).root for name in (folder.name, str(folder), f"{folder}/")])

    def test_where_there_is_none_a_sentence_says_what_there_is(self) -> None:
        folder = self.made()
        with self.assertRaisesRegex(DumpFailed, f"no dump of the database others in {folder}.* of notes: .*from=NAME"):
            self.find(folder.name, "others")
        with self.assertRaisesRegex(
            DumpFailed, rf"^There is no dump of the .* in /\S*nowhere\. .* has {folder.name}\.$"
        ):
            self.find("nowhere")

    def test_only_a_folder_of_a_dump_is_offered(self) -> None:
        self.made()
        (self.parent / "others").mkdir()
        with self.assertRaisesRegex(DumpFailed, r"^There is no dump of the database notes in \S*nested\.$"):
            self.find(str(self.parent.parent))

    def test_one_that_cannot_be_looked_at(self) -> None:
        with self.assertRaisesRegex(DumpFailed, "^The dump x* cannot be read: File name too long. Nothing"):
            self.find("x" * 1000)

    def test_one_that_was_not_finished_is_refused_by_either_name(self) -> None:
        write(self.parent / "2014.unfinished")
        for name in ("2014", "2014.unfinished", str(self.parent / "2014")):
            with self.assertRaisesRegex(DumpFailed, "was not finished"):
                self.find(name)


class TestReading(DumpTestCase):
    def read(self) -> dump.Dump:
        return dump.read(self.parent, "notes")

    @staticmethod
    def compress(folder: Path) -> None:
        for path in list(folder.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()

    def counted(self) -> dict[str, int]:
        return {part.stored_in: sum(1 for _ in part.documents()) for part in self.read().collections}

    def test_collections_views_and_time_series(self) -> None:
        write(self.parent, documents=3)
        write(self.parent, "b+c%2Fd", documents=0, collectionName="b c/d")
        write(self.parent, "view", options={"viewOn": "a", "pipeline": []})
        folder = write(self.parent, "series", options={"timeseries": {"timeField": "t"}})
        (folder / "view.bson").unlink()
        (folder / "series.bson").rename(folder / "system.buckets.series.bson")
        self.assertEqual({"a": 3, "b c/d": 0, "view": 0, "system.buckets.series": 1}, self.counted())
        self.assertEqual({"a", "b c/d", "view", "series"}, {part.name for part in self.read().collections})

    def test_a_compressed_one(self) -> None:
        self.compress(write(self.parent, documents=3))
        self.assertEqual({"a": 3}, self.counted())
        self.assertTrue(self.read().is_compressed)

    def test_one_without_metadata_as_the_oldest_mongodumps_made_it(self) -> None:
        folder = write(self.parent, documents=2)
        (folder / "a.metadata.json").unlink()
        (folder / "system.indexes.bson").write_bytes(b"")
        self.assertEqual({"a": 2}, self.counted())

    def test_what_says_that_documents_expire_or_are_validated(self) -> None:
        write(self.parent, "plain")
        self.assertFalse(self.read().needs_bypass)
        write(self.parent, "sessions", indexes=[{"key": {"at": 1}, "expireAfterSeconds": 60}])
        for option in ("validator", "encryptedFields"):
            write(self.parent, "strict", options={option: {"n": 1}})
            self.assertTrue(self.read().needs_bypass)
        self.assertEqual(["sessions"], [part.name for part in self.read().collections if part.expires])

    def test_half_a_dump_is_refused_with_the_file_that_tells(self) -> None:
        def remove(path: Path) -> None:
            path.unlink()

        def empty(path: Path) -> None:
            path.write_bytes(b"")

        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:-3])

        def compress(path: Path) -> None:
            path.rename(f"{path}.gz")

        for damage, name in ((remove, "a.bson"), (empty, "a.metadata.json"), (cut, "a.bson"), (compress, "a.bson")):
            folder = write(self.parent, documents=2)
            damage(folder / name)
            with self.assertRaisesRegex(
                DumpFailed, f"The dump is incomplete or damaged: {folder}.*Nothing was restored"
            ):
                self.counted()
            for path in folder.iterdir():
                path.unlink()
        with self.assertRaisesRegex(DumpFailed, "is empty"):
            self.counted()

    def test_what_cannot_be_read_is_refused_with_the_file_too(self) -> None:
        def cut(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:-9])

        def garble(path: Path) -> None:
            path.write_bytes(path.read_bytes()[:10] + b"garbled" * 20)

        def replace(path: Path) -> None:
            path.write_bytes(b"not compressed")

        def make_folder(path: Path) -> None:
            path.unlink()
            path.mkdir()

        def describe_nothing(path: Path) -> None:
            path.with_name("a.metadata.json.gz").write_bytes(gzip.compress(b"[1]"))

        for damage in (cut, garble, replace, make_folder, describe_nothing):
            folder = write(self.parent, documents=2)
            self.compress(folder)
            damage(folder / "a.bson.gz")
            with self.subTest(damage.__name__), self.assertRaisesRegex(
                DumpFailed, rf"incomplete or damaged: {folder}/a\.\S*\.gz cannot be read.*Nothing was restored"
            ):
                self.counted()
            shutil.rmtree(folder)


class TestFacts(DumpTestCase):
    def test_how_many_documents_and_bytes_there_are(self) -> None:
        folder = self.made()
        size = sum(path.stat().st_size for path in (folder / "notes").iterdir())
        self.assertEqual(
            {"dump": str(folder), "dump_documents": 1, "dump_bytes": size}, dump.facts(str(folder), "notes")
        )

    def test_of_what_a_dbdump_of_the_team_made_only_its_word(self) -> None:
        self.assertEqual({}, dump.facts(None, "notes"))
        self.assertEqual({"dump": "/backups/1.tar"}, dump.facts("/backups/1.tar", "notes"))
