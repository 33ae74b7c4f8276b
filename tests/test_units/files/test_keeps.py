"""What a file shows of what it keeps, before it runs."""

from __future__ import annotations

import unittest

from migopy.files.keeps import find_batch_calls


def calls(*lines: str) -> tuple[int, int, str]:
    text = "def up(db, batches):\n" + "".join(f"    {line}\n" for line in lines)
    found = find_batch_calls(text.encode())
    return found.keeping, found.others, found.problem


class TestBatchCalls(unittest.TestCase):
    def test_what_keeps_and_what_does_not(self) -> None:
        update = "batches.update(db.users, {}, once%s)"
        self.assertEqual((1, 0, ""), calls(update % ", keep=['tags']"))
        self.assertEqual((1, 1, ""), calls(update % ", keep=True", update % ""))
        self.assertEqual((0, 2, ""), calls(update % ", keep=None", update % ", keep=False"))
        self.assertEqual((1, 1, ""), calls(update % ", keep=FIELDS", "for users in batches(db.users): pass"))
        self.assertEqual((1, 0, ""), calls(update % ", keep=True", "seen.update(users)"))

    def test_a_constant_that_cannot_be_kept(self) -> None:
        for keep, why in (
            ("'tags'", "line 2: keep has to be True or a list of the names of top-level fields, such as ['tags'], not"),
            ("['a.b']", "'a.b' is a path: write 'a' to keep the whole field"),
            ("['_id']", "_id never changes: leave it out"),
            ("[]", "not []"),
        ):
            self.assertIn(why, calls(f"batches.update(db.users, {{}}, once, keep={keep})")[2])
