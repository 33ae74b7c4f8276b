"""What a migration file is recognized by."""

from __future__ import annotations

import unittest
import warnings

from migopy.files.fingerprint import Fingerprint

CODE = """
import os


class Words:
    NAMES = [u"a", "b", f"c{os.sep!r:>4}", None, -1.5, b"x", 31]


def up(db, *, limit=10):
    for note in db.notes.find({"tags": {"$exists": True}, "n": 0x1F})[:10]:
        db.notes.update_one({"_id": note["_id"]}, {"$set": {"words": [word for word in note["text"].split() if word]}})
    try:
        value = lambda x: (yield)
    except (KeyError, ValueError) as error:
        raise error from None
"""

SAME_CODE = """#!/usr/bin/python
'''What it does.'''
import os  # of the system

class Words:
    "Words."
    NAMES = ['a', "b", (f'c{os.sep!r:>4}'), None, -1.5, b'x', 31, ]

def up(db, *, limit = 10):
    '''
    All of it.
    '''
    for note in db.notes.find(
        {'tags': {'$exists': True}, 'n': 31})[:10]:

        db.notes.update_one(
            {'_id': note['_id']},
            {'$set': {'words': [word for word in note['text'].split()
                                if word]}},
        )
    try: value = lambda x: (yield)
    except (KeyError, ValueError) as error: raise error from None
"""

CHANGES = {
    "limit=10": "limit=11",
    "[:10]": "[10]",
    "0x1F": "0x1E",
    "None,": "0,",
    '"b"': 'b"b"',
    "!r": "!s",
    '"$set"': '"$inc"',
    "import os\n": "import os as so\n",
    "*, ": "",
    "from None": "",
}


def code_checksum(text: str) -> str | None:
    return Fingerprint(text.encode()).code_checksum


class TestCodeChecksum(unittest.TestCase):
    def test_comments_docstrings_and_layout_are_no_change(self) -> None:
        for same in (SAME_CODE, CODE.replace("\n", "\r\n"), "\ufeff" + CODE):
            self.assertEqual(code_checksum(CODE), code_checksum(same))

    def test_every_python_computes_the_same(self) -> None:
        self.assertEqual("7bcc4219e3b19ebb18b53b955056a3fa611e079f013201a32cb78a7145b3c981", code_checksum(CODE))

    def test_each_change_of_the_code_is_a_change(self) -> None:
        for old, new in CHANGES.items():
            with self.subTest(new):
                self.assertNotIn(code_checksum(CODE.replace(old, new)), (code_checksum(CODE), None))
        self.assertNotEqual(code_checksum("x = 1\ny = 2"), code_checksum("y = 2\nx = 1"))

    def test_code_that_this_python_cannot_read_has_none(self) -> None:
        for text in ("print 'x'", "x = \0", "x = 1" + " + 1" * 20_000):
            self.assertIsNone(code_checksum(text))

    def test_nobody_is_warned_of_code_that_is_compared(self) -> None:
        with warnings.catch_warnings(record=True) as shown:
            self.assertIsNotNone(code_checksum("x = '\\d'\ndef f():\n  try: pass\n  finally: return 1\n"))
        self.assertEqual([], shown)
