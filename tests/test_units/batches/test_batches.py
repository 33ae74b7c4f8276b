from __future__ import annotations

import unittest
from typing import Any

from bson import Code, Int64, MinKey, ObjectId

from migopy.batches.arguments import is_update
from migopy.batches.ids import filter_within
from migopy.batches.pace import Pace
from migopy.store.checkpoints import Progress
from migopy.terminal.progress import bar


def progress(done: int, total: int | None, seconds: float) -> Progress:
    return Progress("012_tags.py", "blog.notes", done, total, seconds)


class TestProgress(unittest.TestCase):
    def test_it_says_how_far_how_fast_and_how_long_still(self) -> None:
        for shown, expected in (
            (progress(412_000, 1_000_000, 42), "412,000 of 1,000,000 documents, 9,800 a second, 1 min left"),
            (progress(0, 1_000_000, 0), "0 of 1,000,000 documents"),
            (progress(412_000, None, 42), "412,000 documents, 9,800 a second"),
            (progress(3, 10, 6), "3 of 10 documents, 1 a second, 14 s left"),
            (progress(50, 1_000_000, 1), "50 of 1,000,000 documents, 50 a second, 5 h 33 min left"),
            (progress(1_200, 1_000, 1), "1,200 of 1,200 documents, 1,200 a second, 0 s left"),
        ):
            self.assertEqual(f"012_tags.py: {expected}", str(shown))

    def test_the_bar_takes_the_room_that_there_is(self) -> None:
        half = progress(50, 100, 1)
        self.assertEqual("[############............] ", bar(half.done, half.total, 100))
        self.assertEqual("[#####.....] ", bar(half.done, half.total, 13))
        self.assertEqual("", bar(half.done, half.total, 5))
        self.assertEqual("", bar(50, None, 100))


class TestPace(unittest.TestCase):
    def test_batches_begin_small_and_become_as_large_as_asked_for_if_they_are_quick(self) -> None:
        for average_bytes in (200, 0):
            pace = Pace(1_000, average_bytes, max_bytes=1_000_000)
            sizes = []
            for _ in range(5):
                sizes.append(pace.size)
                pace.adjust(pace.size, 0.01)
            self.assertEqual([100, 200, 400, 800, 1_000], sizes)
        self.assertEqual(20, Pace(20, average_bytes=200, max_bytes=1_000_000).size)

    def test_large_documents_make_small_batches(self) -> None:
        self.assertEqual(4, Pace(1_000, average_bytes=250_000, max_bytes=1_000_000).size)
        self.assertEqual(1, Pace(1_000, average_bytes=9_000_000, max_bytes=1_000_000).size)

    def test_slow_batches_shrink_and_quick_ones_grow_again(self) -> None:
        pace = Pace(1_000, average_bytes=200, max_bytes=1_000_000)
        pace.size = 1_000
        sizes = []
        for seconds in (2, 2, 0.5, 0.1, 0.1, 0.1):
            pace.adjust(pace.size, seconds)
            sizes.append(pace.size)
        self.assertEqual([500, 250, 250, 500, 1_000, 1_000], sizes)

    def test_no_batch_is_empty(self) -> None:
        pace = Pace(1, average_bytes=200, max_bytes=1_000_000)
        pace.adjust(1, 5)
        self.assertEqual(1, pace.size)


class TestArguments(unittest.TestCase):
    def test_an_update_is_operators_or_a_pipeline(self) -> None:
        for value in ({"$set": {"a": 1}}, [{"$set": {"a": 1}}, {"$unset": "b"}]):
            self.assertTrue(is_update(value), value)
        nonsense: list[Any] = [{}, [], {"a": 1}, ["$set"], "$set", 5, True]
        for value in nonsense:
            self.assertFalse(is_update(value), value)

    def test_a_range_helps_where_all_between_are_of_one_type(self) -> None:
        id = ObjectId()
        for ids, ranged in (
            ([1, 5], True),
            (["a", "b"], True),
            ([id, id], True),
            ([1, Int64(5)], False),
            ([1.0, float("nan")], False),
            ([Code("a"), Code("a", {})], False),
            ([False, True], False),
            ([MinKey(), 1], False),
        ):
            self.assertEqual(ranged, "$gte" in filter_within({}, ids)["$and"][1]["_id"], ids)
