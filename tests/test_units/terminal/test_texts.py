from __future__ import annotations

import json
import unittest
from typing import Any
from unittest.mock import patch

from bson import BSON

from migopy.terminal import texts
from migopy.terminal.texts import MAX_LENGTH, add_secrets, escape, mask, one_line, summary, wrap


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class NoTextError(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class TestSummary(unittest.TestCase):
    def test_it_is_one_line_without_its_full_stop(self) -> None:
        cases: list[tuple[BaseException, str]] = [
            (ValueError("two\n  lines."), "ValueError: two lines"),
            (KeyError("a"), "KeyError: 'a'"),
            (AssertionError(), "AssertionError"),
            (OSError("no, full error: {'ok': 0}"), "OSError: no"),
        ]
        for error, expected in cases:
            self.assertEqual(expected, summary(error))

    def test_an_error_that_cannot_say_what_it_is_has_a_summary(self) -> None:
        self.assertEqual("MuteError: (str() of it raised RuntimeError)", summary(MuteError()))
        self.assertEqual("NoTextError: (str() of it raised TypeError)", summary(NoTextError()))

    def test_every_summary_can_be_shown_and_stored(self) -> None:
        hostile: list[Any] = ["\udcff", "\x00", "\x1b[2J", "\u202e", "x" * 20_000_000, "\ud800" * 9_000, b"\xff"]
        for text in hostile:
            with self.subTest(repr(text)[:20]):
                line = summary(ValueError(text))
                self.assertTrue(line.isprintable())
                self.assertLessEqual(len(line), MAX_LENGTH + 20)
                BSON.encode({"error": line})
        self.assertTrue(summary(type("a\nb", (Exception,), {})()).isprintable())


class RefusedError(Exception):
    def __init__(self, details: Any) -> None:
        super().__init__("batch op errors occurred, full error: {}")
        self.details = details


class TestRefusals(unittest.TestCase):
    def test_details_that_are_not_mongodbs_change_nothing(self) -> None:
        odd: list[Any] = [None, "text", 5, [], {}, {"writeErrors": 5}, {"writeErrors": [5]}, {"violations": None}]
        for details in odd:
            self.assertEqual("RefusedError: batch op errors occurred", summary(RefusedError(details)))

    def test_a_client_bulk_write_counts_in_another_word(self) -> None:
        details = {"writeErrors": [{"idx": 2, "errmsg": "no"}], "nInserted": 1, "nModified": 1}
        self.assertEqual("RefusedError: no (at index 2, after 2 writes)", summary(RefusedError(details)))

    def test_it_is_a_few_lines_at_most(self) -> None:
        rule = {"operatorName": "$gt", "specifiedAs": {"a": "x" * 9000}, "consideredValue": "y" * 9000}
        info = {"failingDocumentId": "z" * 9000, "details": {"clausesNotSatisfied": [rule] * 99}}
        text = summary(RefusedError({"errmsg": "no" * 9000, "errInfo": info}))
        self.assertLess(len(text), 2500)
        self.assertIn("; and 94 more (_id 'zzz", text)

    def test_secrets_are_masked_before_anything_is_cut(self) -> None:
        none: set[str] = set()
        with patch.object(texts, "_secrets", none):
            add_secrets("correct horse battery")
            found = "x" * 30 + "correct horse battery" + "y" * 200
            info = {"failingDocumentId": 1, "details": {"operatorName": "$gt", "consideredValue": found}}
            cases: list[Any] = [{"errmsg": "no", "errInfo": info}, {"writeErrors": [{"errmsg": "z" * 490 + found * 9}]}]
            for details in cases:
                self.assertNotIn("corr", summary(RefusedError(details)))
                self.assertNotIn("battery", summary(RefusedError(details)))


class TestEscaping(unittest.TestCase):
    def test_what_moves_a_cursor_is_written_as_python_writes_it(self) -> None:
        self.assertEqual(r"a\x1b[2Jb\nc\x9bd\u202e\udcff", escape("a\x1b[2Jb\nc\x9bd\u202e\udcff"))

    def test_ordinary_text_stays_as_it_is(self) -> None:
        self.assertEqual("zażółć 数字 🎉", escape("zażółć 数字 🎉"))
        self.assertEqual("a\nb\\x1b", escape("a\nb\x1b", keep="\n"))

    def test_white_space_becomes_one_space(self) -> None:
        self.assertEqual("a b c", one_line(" a\n\tb\r\n c "))


class TestWrapping(unittest.TestCase):
    def test_lines_break_between_words_but_not_in_a_command(self) -> None:
        text = "1_a.py: fix it, then fab migrations:execute runs it again\n\nshort"
        wrapped = "1_a.py: fix it, then\n  fab migrations:execute runs it\n  again\n\nshort"
        self.assertEqual(wrapped, wrap(text, 34))

    def test_what_fits_or_is_one_word_stays_as_it_is(self) -> None:
        self.assertEqual("  two  words", wrap("  two  words", 12))
        self.assertEqual("mongodb://a-host.example.com\n  b", wrap("mongodb://a-host.example.com b", 12))


class TestSecrets(unittest.TestCase):
    def setUp(self) -> None:
        none: set[str] = set()
        secrets = patch.object(texts, "_secrets", none)
        secrets.start()
        self.addCleanup(secrets.stop)

    def test_a_hidden_value_is_masked_however_it_is_quoted(self) -> None:
        secret = 'p"ss/wörd\\+1'
        add_secrets(secret)
        for spelled in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], "p%22ss%2Fw%C3%B6rd%5C%2B1"):
            self.assertEqual("<***>", mask(f"<{spelled}>"))

    def test_of_a_percent_encoded_one_the_plain_one_is_masked_too(self) -> None:
        add_secrets("p%40ssword")
        self.assertEqual("*** ***", mask("p@ssword p%40ssword"))

    def test_a_short_one_is_masked_as_a_word_only(self) -> None:
        add_secrets("a", "blog")
        self.assertEqual("*** migration of weblog: ***", mask("blog migration of weblog: a"))

    def test_no_secret_is_no_secret(self) -> None:
        add_secrets(None, "")
        self.assertEqual("text", mask("text"))

    def test_a_number_may_be_one(self) -> None:
        add_secrets(12345678)
        self.assertEqual("***", mask("12345678"))

    def test_the_password_of_any_connection_string_is_masked(self) -> None:
        for uri in ("mongodb://ann:{}@a:1,b:2/x", "mongodb+srv://ann:{}@host", "postgres://:{}@host"):
            for password in ("secret", "s@cret", "s:cr/et", "s%40"):
                self.assertEqual(f"at {uri.format('***')}.", mask(f"at {uri.format(password)}."))
        for harmless in ("mongodb://host:27017/ of ann@web1", "http://host/path", "a:b@c"):
            self.assertEqual(harmless, mask(harmless))

    def test_it_is_masked_before_the_text_is_cut(self) -> None:
        add_secrets("correct horse")
        self.assertNotIn("corr", one_line("x" * (2 * MAX_LENGTH - 4) + "correct horse"))
