"""Documents that are not ours, in our collections: generated ones, against every subtask."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
from datetime import datetime, timedelta, timezone
from typing import Any, Callable
from unittest.mock import patch

import bson
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from fabric.state import env

import migopy
from migopy.store import lock
from tests.support import Result, RunTestCase

# What no Python object becomes: they are put into the encoded document in the place of these.
YEAR_10000, NOT_UTF_8 = datetime(2001, 2, 3, 4, 5, 6), "!no UTF-8!"
RAW = {
    struct.pack("<q", 981173106000): struct.pack("<q", 2**62),
    NOT_UTF_8.encode(): b"!\xff\xfe\x80\xc3(\xed\xa0\x80!"[: len(NOT_UTF_8)],
}

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)

TEXTS = [
    "",
    "text",
    "1_a.py",
    "2_b.py",
    "9_gone.py",
    "\x1b[2J\x1b]0;owned\x07",
    "two\nlines",
    "\x00",
    "x" * 70_000,
    "$gt",
]
NUMBERS = [0, -1, 12, Int64(2**62), 1e308, float("nan"), float("inf"), Decimal128("1.5"), True]
OTHERS: list[Any] = [
    *(None, [], ["2_b.py"], [["2_b.py"]], [None, 1], {}, {"$ref": 5}, {"x": {"y": 1}}, ObjectId(), Binary(b"\xff", 4)),
    *(
        MinKey(),
        MaxKey(),
        Timestamp(1, 1),
        Regex("((", 0),
        Code("x"),
        Code("x", {"a": 1}),
        b"\xff",
        YEAR_10000,
        NOT_UTF_8,
    ),
    *(datetime.min.replace(tzinfo=timezone.utc), datetime(9999, 12, 31, 23, 59, 59), NOW, NOW + timedelta(days=30_000)),
]
VALUES = [*TEXTS, *NUMBERS, *OTHERS]

IDS = ["1_a.py", "lock", "text", 5, 1.5, {"a": 1}, {}, MinKey(), MaxKey(), Binary(b"x"), NOW, True, None, "\x1b[2J"]

LIKE_OURS: dict[str, dict[str, Any]] = {
    "migrations": {"name": "3_c.py", "state": "executed", "at": NOW, "seconds": 1.5, "by": "ann@web1", "checksum": "x"},
    "migrations_log": {"event": "failed", "name": "2_b.py", "at": NOW, "by": "ann@web1", "error": "E", "seconds": 1.5},
    "migrations_lock": {
        **{"token": "t", "by": "ann@web1", "pid": 12, "subtask": "execute", "migrations": ["2_b.py"], "since": NOW},
        **{"expires_at": NOW, "died": {"by": "ann@web1", "pid": 12, "subtask": "execute", "migrations": ["2_b.py"]}},
    },
}

READING: list[tuple[tuple[str, ...], dict[str, str]]] = [
    *(((), {}), (("plan",), {}), (("check",), {}), (("history",), {}), (("history", "1"), {}), (("history", "2"), {})),
    *(((subtask,), {"json": "yes"}) for subtask in ("show_status", "plan", "check", "history")),
    (("history", "2"), {"json": "yes"}),
    (("history",), {"last": "2"}),
]
WRITING: list[tuple[tuple[str, ...], dict[str, str]]] = [
    *(
        (("execute",), {}),
        (("unlock",), {"force": "yes"}),
        (("execute",), {}),
        (("execute",), {}),
        (("execute", "3"), {}),
    ),
    *((("rollback",), {"last": "1"}), (("forget", "3"), {}), (("ignore", "3"), {}), (("create", "more words"), {})),
    (("rollback", "1"), {}),
]


class Hostile:
    """Documents of one case, made from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def documents(self) -> dict[str, list[bytes]]:
        """Up to three for each of our collections, and of the lock the one that counts."""
        numbers = {name: self._random.randrange(4) for name in LIKE_OURS}
        made = {name: [self._document(name, self._id()) for _ in range(number)] for name, number in numbers.items()}
        made["migrations_lock"].append(self._document("migrations_lock", "lock"))
        return made

    def _id(self) -> Any:
        return self._random.choice(IDS) if self._random.random() < 0.3 else ObjectId()

    def _document(self, collection: str, key: Any) -> bytes:
        """One of ours with some fields lacking or changed, or anything at all."""
        fields = dict(LIKE_OURS[collection])
        for name in list(fields):
            chance = self._random.random()
            if chance < 0.15:
                del fields[name]
            elif chance < 0.5:
                fields[name] = self._random.choice(VALUES)
        if self._random.random() < 0.1:
            fields = {self._random.choice(["name", "event", "x", "died"]): self._random.choice(VALUES)}
        raw = bson.encode({"_id": key, **fields})
        for placeholder, content in RAW.items():
            raw = raw.replace(placeholder, content)
        return raw


class TestStrangers(RunTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.counting_ones(self.team, 0)
        for name in ("1_a.py", "2_b.py", "3_c.py"):
            self.counting(self.team, name)
        self.entered(patch.dict(env, real_fabfile=str(self.team.path / "fabfile.py")))
        self.entered(patch.object(lock, "UNLOCK_PAUSE_SECONDS", 0))  # it waits for a run, and there is none

    def entered(self, context: Any) -> None:
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def task(self) -> Callable[..., Any]:
        class Migrations(migopy.MigrationsManager):
            MONGO_URI = self.server.uri
            MONGO_DATABASE = self.database
            LOCK_LEASE = 1
            LOCK_WAIT = 0

        return Migrations.create_task()

    def ended(self, task: Callable[..., Any], options: tuple[str, ...], named: dict[str, str]) -> Result:
        """Run one subtask in this process; whatever it raises but an exit is a traceback that a person would see."""
        code = 0
        with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
            try:
                task(*options, **named)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
        return Result(code, stdout.getvalue(), stderr.getvalue())

    def fill(self, made: dict[str, list[bytes]]) -> None:
        """Begin anew: 1_a.py was executed, and then somebody wrote these documents."""
        self.client.drop_database(self.database)
        for created in (self.team.path / "mongomigrations").glob("*_more_words.py"):
            created.unlink()
        self.db.migrations.insert_one({"_id": "1_a.py", "name": "1_a.py", "state": "executed", "at": NOW})
        for name, raws in made.items():
            collection = self.db.get_collection(name, codec_options=CodecOptions(document_class=RawBSONDocument))
            for raw in raws:
                with contextlib.suppress(migopy_duplicates()):
                    collection.insert_one(RawBSONDocument(raw))

    def assert_decent(self, ended: Result, named: dict[str, str]) -> None:
        self.assertIn(ended.code, (0, 1, 3, 4))
        self.assertNotIn("Traceback", ended.stderr)
        text = (ended.stdout + ended.stderr).replace("\n", "")
        self.assertTrue(text.isprintable(), [character for character in text if not character.isprintable()])
        if ended.code:
            self.assertTrue(ended.stderr.strip(), "It failed without a word.")
        if "json" in named and ended.stdout:
            json.loads(ended.stdout)

    def test_no_generated_document_makes_a_traceback_or_a_second_execution(self) -> None:
        task = self.task()
        for seed in range(740 if self.IN_FULL else 25):
            made = Hostile(seed).documents()
            self.fill(made)
            registered = {document.get("name") for document in self.texts_of("name")}
            for options, named in [*READING, *WRITING]:
                with self.subTest(f"case {seed}: {options} {named}"):
                    ended = self.ended(task, options, named)
                    self.assert_decent(ended, named)
                    if "unlock" in options:
                        self.assertEqual(0, ended.code, ended)
                        self.assertIsNone(self.db.migrations_lock.find_one({"_id": "lock"}, {"_id": 1}))
            ran = self.ran()
            with self.subTest(f"case {seed}"):
                self.assertNotIn("1_a.py", ran)
                self.assertLessEqual(ran.count("2_b.py"), 0 if "2_b.py" in registered else 1)
                self.assertLessEqual(ran.count("3_c.py"), 0 if "3_c.py" in registered else 1)

    def texts_of(self, field: str) -> list[dict[str, Any]]:
        """The registrations of that moment, as far as their name is a text."""
        found = self.db.migrations.find({field: {"$type": "string", "$in": ["1_a.py", "2_b.py", "3_c.py"]}}, {field: 1})
        return [document for document in found if isinstance(document.get(field), str)]


def migopy_duplicates() -> type[Exception]:
    from pymongo.errors import DuplicateKeyError

    return DuplicateKeyError
