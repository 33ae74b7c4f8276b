from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import select
import sys
import unittest
from typing import Callable, Iterator
from unittest.mock import patch

from migopy import ColorsLogger, Str
from migopy.console import has_colours

VARIABLES = ("NO_COLOR", "FABRIC_DISABLE_COLORS")


@contextlib.contextmanager
def terminal(**variables: str) -> Iterator[Callable[[], str]]:
    """Make stderr a terminal; what is yielded reads what was written to it."""
    ours, theirs = pty.openpty()
    others = {name: value for name, value in os.environ.items() if name not in VARIABLES}

    def written() -> str:
        output = b""
        while select.select([ours], [], [], 0.05)[0]:
            output += os.read(ours, 4096)
        return output.decode().replace("\r\n", "\n")

    environment = patch.dict(os.environ, {**others, **variables}, clear=True)
    with open(ours, "rb"), open(theirs, "w") as writer, contextlib.redirect_stderr(writer), environment:
        yield written


class TestStr(unittest.TestCase):
    def test_colours_are_put_around_the_text(self) -> None:
        self.assertEqual("\033[31mx\033[0m", Str("x").red())
        self.assertEqual("\033[32mx\033[0m", Str("x").green())
        self.assertEqual("\033[1mx\033[0m", Str("x").white_bold())
        self.assertEqual("x", Str("x").white())

    def test_it_is_a_string_and_stays_one(self) -> None:
        self.assertIsInstance(Str("x").red(), Str)
        self.assertEqual("xy", Str("x") + "y")


class TestColorsLogger(unittest.TestCase):
    def test_in_a_terminal_messages_have_colours(self) -> None:
        with terminal() as written:
            self.assertTrue(has_colours())
            logger = ColorsLogger()
            logger.red("r")
            logger.green("g")
            logger.white_bold("b")
            logger.white("w")
            self.assertEqual("\033[31mr\033[0m\n\033[32mg\033[0m\n\033[1mb\033[0m\nw\n", written())

    def test_elsewhere_they_have_none(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            for name in ("red", "green", "white_bold", "white"):
                getattr(ColorsLogger(), name)(name)
        self.assertEqual("red\ngreen\nwhite_bold\nwhite\n", stderr.getvalue())

    def test_no_color_and_fabrics_variable_are_obeyed_in_a_terminal(self) -> None:
        for variable in VARIABLES:
            with terminal(**{variable: "1"}) as written:
                ColorsLogger().red("r")
                self.assertEqual("r\n", written())

    def test_an_empty_no_color_refuses_nothing(self) -> None:
        with terminal(NO_COLOR=""):
            self.assertTrue(has_colours())

    def test_messages_go_through_the_logger_named_migopy_once(self) -> None:
        seen: list[str] = []

        class Collect(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                seen.append(record.getMessage())

        ours, root = Collect(), Collect()
        logging.getLogger("migopy").addHandler(ours)
        self.addCleanup(logging.getLogger("migopy").removeHandler, ours)
        logging.getLogger().addHandler(root)
        self.addCleanup(logging.getLogger().removeHandler, root)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            ColorsLogger()
            ColorsLogger().green("100% done, %s")
        self.assertEqual(["100% done, %s"], seen)
        self.assertEqual("100% done, %s\n", stderr.getvalue())

    def test_it_writes_to_the_stderr_of_the_moment(self) -> None:
        logger = ColorsLogger()
        with contextlib.redirect_stderr(io.StringIO()) as first:
            logger.white("one")
        with contextlib.redirect_stderr(io.StringIO()) as second:
            logger.white("two")
        self.assertEqual(["one\n", "two\n"], [first.getvalue(), second.getvalue()])
        self.assertIsNot(sys.stderr, second)

    def test_anything_can_be_said(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            ColorsLogger().red(ValueError("zażółć"))
        self.assertEqual("zażółć\n", stderr.getvalue())
