from __future__ import annotations

import unittest

from migopy.errors import UnknownSubtask
from migopy.terminal.options import closest_word, is_yes, positive_number, require_exactly_one, require_not_empty


class TestOptions(unittest.TestCase):
    def test_yes_or_left_out(self) -> None:
        self.assertEqual([True, False], [is_yes("json", "yes"), is_yes("json", None)])
        self.assertEqual([True, False], [is_yes("json", True), is_yes("json", False)])
        self.assertTrue(is_yes("pending", "ok", "ok"))
        self.assertTrue(all(is_yes("json", value) for value in ("y", "YES", " Y ")))
        for value in ("no", "", "true"):
            with self.assertRaisesRegex(UnknownSubtask, f"^json can only be yes, not '{value}'"):
                is_yes("json", value)

    def test_a_number_from_1_on(self) -> None:
        self.assertEqual(
            [1, 12, 3], [positive_number("last", "1"), positive_number("last", "012"), positive_number("last", 3)]
        )
        for value in ("0", "-1", "x", "", "1.5", "²"):
            with self.assertRaisesRegex(UnknownSubtask, "^last has to be a whole number, at least 1, not "):
                positive_number("last", value)

    def test_one_of_several_options_and_no_other(self) -> None:
        written = ["m:x,NAME", "m:x,last=N"]
        for given in (("1", None), (None, "2")):
            require_exactly_one("Which?", written, *given)
        for wrong in ((None, None), ("", None), ("1", "1"), ("", ""), ("", "2")):
            with self.assertRaisesRegex(UnknownSubtask, r"^Nothing .* Which\? Write m:x,NAME or m:x,last=N\.$"):
                require_exactly_one("Which?", written, *wrong)
        with self.assertRaisesRegex(UnknownSubtask, "^Nothing was done. '1' and '2' are given: a comma begins another"):
            require_exactly_one("Which?", written, "1", "2")

    def test_an_empty_text_is_refused_and_nothing_at_all_is_not(self) -> None:
        require_not_empty("to", None, "to=NAME")
        require_not_empty("to", "1", "to=NAME")
        with self.assertRaisesRegex(UnknownSubtask, r"^Nothing was done: to is empty\. Write to=NAME\.$"):
            require_not_empty("to", "", "to=NAME")

    def test_the_closest_word_or_none(self) -> None:
        self.assertEqual("execute", closest_word("exceute", ["ignore", "execute"]))
        self.assertIsNone(closest_word("nope", ["ignore", "execute", "help"]))
