from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import select
import sys
import tempfile
import time
import unittest
from datetime import datetime, timezone
from typing import Any, Callable, Iterator
from unittest.mock import patch

from migopy import ColorsLogger, MigopyException, Str
from migopy.terminal.messages import RED
from migopy.terminal.streams import has_colours, ignore_missing_readers, say, show
from migopy.terminal.tables import table
from migopy.terminal.wording import duration, local_time

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


class Collect(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record.getMessage())


@contextlib.contextmanager
def handlers() -> Iterator[tuple[Collect, Collect]]:
    """Handlers of the team's, at the logger named migopy and at the root."""
    loggers = logging.getLogger("migopy"), logging.getLogger()
    ours, root = Collect(), Collect()
    for logger, handler in zip(loggers, (ours, root)):
        logger.addHandler(handler)
    try:
        yield ours, root
    finally:
        for logger, handler in zip(loggers, (ours, root)):
            logger.removeHandler(handler)


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
            self.assertTrue(has_colours(sys.stderr))
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
            self.assertTrue(has_colours(sys.stderr))

    def test_handlers_of_the_team_get_the_messages_too_and_stderr_has_them_once(self) -> None:
        with terminal() as written, handlers() as (ours, root):
            ColorsLogger()
            ColorsLogger().green("100% done, %s")
            self.assertEqual((["100% done, %s"], []), (ours.seen, root.seen))
            self.assertEqual("\033[32m100% done, %s\033[0m\n", written())

    def test_messages_do_not_depend_on_the_state_of_logging(self) -> None:
        logger = ColorsLogger()
        logging.getLogger("migopy").disabled = True
        self.addCleanup(setattr, logging.getLogger("migopy"), "disabled", False)
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            logger.red("seen")
        self.assertEqual("seen\n", stderr.getvalue())

    def test_a_handler_of_the_team_that_fails_stops_nothing(self) -> None:
        with handlers() as (ours, _), contextlib.redirect_stderr(io.StringIO()) as stderr:
            ours.emit = None  # type: ignore[assignment, method-assign]
            ColorsLogger().red("seen")
        self.assertEqual("seen\n", stderr.getvalue())

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

    def test_what_moves_a_cursor_is_escaped_and_lines_and_colours_stay(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            ColorsLogger().white("a\n\tb" + Str("c").red() + "\033[2J\rd\x9b")
        self.assertEqual("a\n\tb\033[31mc\033[0m\\x1b[2J\\rd\\x9b\n", stderr.getvalue())

    def test_secrets_are_masked(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            ColorsLogger().white("at mongodb://ann:tiger@host")
        self.assertEqual("at mongodb://ann:***@host\n", stderr.getvalue())


class Bare:
    """What a team may put in the place of a stream: it has nothing but write()."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def without_reader(test_case: unittest.TestCase) -> Any:
    """A pipe whose reader went away."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    test_case.addCleanup(stream.close)
    test_case.addCleanup(os.dup2, os.open(os.devnull, os.O_WRONLY), writer)  # for what is left to be flushed
    return stream


class TestStreams(unittest.TestCase):
    def test_messages_and_tables_go_on_without_a_stream(self) -> None:
        for name, stream in (("none", None), ("closed", closed()), ("without reader", without_reader(self))):
            with self.subTest(name), patch("sys.stderr", stream), patch("sys.stdout", stream):
                ignore_missing_readers()
                ColorsLogger().red("message")
                show("table")
                print("what a migration prints, and Fabric")
                if sys.stdout:
                    sys.stdout.flush()
                self.assertFalse(has_colours(sys.stderr))

    def test_without_a_reader_ours_go_on_also_where_the_stream_was_not_replaced(self) -> None:
        for stream in (closed(), without_reader(self)):
            with patch("sys.stderr", stream), patch("sys.stdout", stream):
                ColorsLogger().red("message")
                show("table")

    def test_a_stream_that_can_only_write_will_do(self) -> None:
        bare = Bare()
        with patch("sys.stderr", bare), patch("sys.stdout", bare):
            ignore_missing_readers()
            ColorsLogger().red("message")
            show("table")
            sys.stdout.flush()
        self.assertEqual("message\ntable\n", bare.text)

    def test_what_a_stream_cannot_encode_is_escaped(self) -> None:
        for encoding, expected in (("ascii", "za\\u017c\\xf3\\udcff"), ("latin-1", "za\\u017c\xf3\\udcff")):
            stream = io.TextIOWrapper(io.BytesIO(), encoding)
            with patch("sys.stderr", stream), patch("sys.stdout", stream):
                say("zażó\udcff")
                show("zażó\udcff")
            self.assertEqual(f"{expected}\n" * 2, stream.buffer.getvalue().decode(encoding))

    def test_a_full_disk_is_said_of_tables_and_stops_no_message(self) -> None:
        with open("/dev/full", "w", buffering=1) as full, patch("sys.stdout", full), patch("sys.stderr", full):
            ColorsLogger().red("message")
            with self.assertRaisesRegex(MigopyException, "Cannot write the output: No space left on device"):
                show("table")
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())

    def test_a_stream_that_lasts_is_otherwise_the_one_it_was(self) -> None:
        with tempfile.TemporaryFile("w+", encoding="utf-8") as stream, patch("sys.stdout", stream):
            ignore_missing_readers()
            ignore_missing_readers()
            self.assertEqual((stream.fileno(), "utf-8"), (sys.stdout.fileno(), sys.stdout.encoding))
            self.assertEqual(2, print("x") or sys.stdout.tell())

    def test_a_terminal_stays_what_it_is(self) -> None:
        with terminal():
            stream = sys.stderr
            ignore_missing_readers()
            self.assertIs(stream, sys.stderr)

    def test_errors_other_than_a_missing_reader_are_not_hidden_from_a_migration(self) -> None:
        with open("/dev/full", "w", buffering=1) as full, patch("sys.stdout", full):
            ignore_missing_readers()
            with self.assertRaises(OSError):
                print("x")
            os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


class TestTimes(unittest.TestCase):
    def test_durations(self) -> None:
        cases = {
            0: "<1 ms",
            0.0004: "<1 ms",
            0.001: "1 ms",
            0.0124: "12 ms",
            0.9994: "999 ms",
            0.9996: "1.0 s",
            59.94: "59.9 s",
            59.96: "1 min 0 s",
            125: "2 min 5 s",
            4320: "1 h 12 min",
        }
        self.assertEqual(list(cases.values()), [duration(seconds) for seconds in cases])

    def test_times_name_their_zone(self) -> None:
        noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
        self.addCleanup(time.tzset)
        for zone, expected in (
            ("Europe/Warsaw", "13:00:00 CET"),
            ("UTC", "12:00:00 UTC"),
            ("America/Sao_Paulo", "09:00:00 -03"),
        ):
            with patch.dict(os.environ, TZ=zone):
                time.tzset()
                self.assertEqual(f"2026-01-31 {expected}", local_time(noon))

    def test_the_ends_of_the_calendar_are_told(self) -> None:
        self.addCleanup(time.tzset)
        for zone in ("Etc/GMT+12", "Etc/GMT-14"):
            with patch.dict(os.environ, TZ=zone):
                time.tzset()
                for moment in (datetime.max, datetime.min):
                    self.assertRegex(local_time(moment.replace(tzinfo=timezone.utc)), r"^\d+-\d\d-\d\d ")


LONG = "001_" + "a_very_long_name_" * 5 + "of_tags.py"


class TestTable(unittest.TestCase):
    HEAD = ("NAME", "STATE", "WHEN", "TOOK", "BY")
    ROWS = (
        (LONG, "executed", "2026-01-31 12:00:00 CET", "12 ms", "ann@web1"),
        ("2_b.py", "unregistered, failed", "", "", ""),
    )

    def lines(self, columns: int, **options: Any) -> list[str]:
        """The table as a terminal of that width shows it."""
        rows = options.pop("rows", self.ROWS)
        head = options.pop("head", self.HEAD)
        with terminal(COLUMNS=str(columns), **options.pop("environment", {})), patch("sys.stdout", sys.stderr):
            return table(head, rows, **options).split("\n")

    def test_a_pipe_gets_all_in_one_line(self) -> None:
        text = table(self.HEAD, self.ROWS, colours=[RED, RED], wrapped=True)
        self.assertEqual(3, len(text.splitlines()))
        self.assertIn(LONG, text)
        self.assertNotIn("\033", text)

    def test_in_a_terminal_the_name_is_shortened_in_the_middle_and_nothing_else(self) -> None:
        for columns in (90, 120):
            head, first, second = self.lines(columns)
            self.assertEqual(columns, len(first))
            self.assertRegex(first, r"^001_\w+….*tags\.py  executed .* 2026-01-31 12:00:00 CET  12 ms  ann@web1$")
            self.assertRegex(second, r"^2_b\.py +unregistered, failed$")
            self.assertEqual(head.index("STATE"), first.index("executed"))

    def test_in_a_narrow_one_by_gives_way_next_and_state_when_and_took_never(self) -> None:
        rows = [(*self.ROWS[0][:4], "a.very.long.user.name@a.very.long.host.name"), self.ROWS[1]]
        _, first, second = self.lines(80, rows=rows)
        self.assertRegex(first, r"^001_\w+…gs\.py  executed .*  2026-01-31 12:00:00 CET  12 ms  a\.very…\.name$")
        self.assertIn("unregistered, failed", second)

    def test_rows_have_the_colours_they_are_given(self) -> None:
        head, first, second = self.lines(200, colours=["", RED])
        self.assertFalse(head.startswith("\033"))
        self.assertFalse(first.startswith("\033"))
        self.assertTrue(second.startswith(RED) and second.endswith("\033[0m"))
        self.assertNotIn("\033", "".join(self.lines(200, colours=["", RED], environment={"NO_COLOR": "1"})))

    def test_the_last_column_is_wrapped_and_nothing_of_it_lost(self) -> None:
        error = "ValueError: " + "word " * 40 + "x" * 90
        head = ("EVENT", "WHEN", "ERROR")
        lines = self.lines(80, head=head, rows=[("failed", "2026-01-31", error)], wrapped=True)
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual(error.split(), "".join(f" {line[20:]}" for line in lines[1:]).replace("x x", "xx").split())
        self.assertEqual({lines[0].index("ERROR")}, {len(line) - len(line.lstrip()) for line in lines[2:]})

    def test_where_no_room_is_left_for_it_it_stands_below(self) -> None:
        head = ("EVENT", "WHEN", "ERROR")
        lines = self.lines(30, head=head, rows=[("failed", "2026-01-31", "word " * 20)], wrapped=True)
        self.assertEqual("failed  2026-01-31", lines[1])
        self.assertTrue(lines[2].startswith("    word"))

    def test_control_characters_of_a_document_do_not_reach_the_terminal(self) -> None:
        self.assertIn(r"a\x1b[2J\nb", table(["NAME"], [["a\x1b[2J\nb"]]))
