"""What people see: messages in colours, tables, and questions. Nothing that a stream does stops a run."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence, TextIO

from ..errors import MigopyException
from .texts import escaped, masked, shortened, told

if TYPE_CHECKING:
    from datetime import datetime

RED, GREEN, BOLD, PLAIN = "\033[31m", "\033[32m", "\033[1m", "\033[0m"

COLOUR = r"(\033\[[0-9;]*m)"
"""The escape sequences that a text may bring along: those of ``Str``, which change nothing but its colour."""

STDERR = 2
"""The last of the numbers of the standard streams."""

LEAST = 12
"""Characters to which a cell is shortened at most; with fewer nobody would know it again."""

LEAST_WRAPPED = 20
"""Characters below which a wrapped column is no column any more: its texts stand below their lines."""


class Str(str):
    """Text that can be coloured: ``Str('done').green()``."""

    def _painted(self, colour: str) -> Str:
        return Str(colour + self + PLAIN)

    def white(self) -> Str:
        """The text as it is: a terminal with a white background has to show it too."""
        return self

    def red(self) -> Str:
        return self._painted(RED)

    def green(self) -> Str:
        return self._painted(GREEN)

    def white_bold(self) -> Str:
        return self._painted(BOLD)


class ColorsLogger:
    """Messages for people, to stderr, whatever the state of Python's logging is.

    Handlers that a team adds to the logger named ``migopy`` get them too, without colours.
    """

    def __init__(self, name: str = "migopy") -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(logging.INFO)
        # With logging.basicConfig() in the fabfile each line would come twice.
        self._logger.propagate = False

    def white(self, message: object) -> None:
        self._say(message, Str.white)

    def red(self, message: object) -> None:
        self._say(message, Str.red)

    def green(self, message: object) -> None:
        self._say(message, Str.green)

    def white_bold(self, message: object) -> None:
        self._say(message, Str.white_bold)

    def _say(self, message: object, paint: Callable[[Str], Str]) -> None:
        text = harmless(told(message))
        say(paint(Str(text)) if has_colours(sys.stderr) else text)
        with contextlib.suppress(Exception):  # a handler of the team's that fails
            self._logger.info("%s", text)


def harmless(text: str) -> str:
    """A message, which may have several lines and colours, without secrets and other control characters."""
    parts = re.split(COLOUR, masked(text))
    return "".join(part if re.match(COLOUR, part) else escaped(part, kept="\n\t") for part in parts)


def say(text: str, end: str = "\n") -> None:
    """Write to people, on stderr. Nothing is raised, whatever became of that."""
    with contextlib.suppress(Exception):
        _write(sys.stderr, text, end)


def show(text: str) -> None:
    """Write a table or a JSON document to stdout. Raises ``MigopyException`` where it cannot be written, to a full disk
    for example; a stdout that nobody reads is none of our business.
    """
    try:
        _write(sys.stdout, masked(text))
    except BrokenPipeError:
        return
    except OSError as error:
        raise MigopyException(f"The output cannot be written: {error.strerror}.") from error


def _write(stream: TextIO | None, text: str, end: str = "\n") -> None:
    """Write a text, to the stream of the moment; what it cannot encode is escaped as Python writes it."""
    if stream is None or getattr(stream, "closed", False):
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    with contextlib.suppress(AttributeError):  # not everything that stands in for a stream has it
        stream.flush()


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """Around writing to what may have no reader, or be closed below Python."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EBADF):
            raise


class _Lasting:
    """A stream that goes on without a reader: what is written to it is lost then, and nothing is raised."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not getattr(self._stream, "closed", False):
            with _gone():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _gone(), contextlib.suppress(AttributeError):
            self._stream.flush()


def outlive_readers() -> None:
    """From now on a reader that goes away (``| head -1``) stops neither us, nor a migration that prints, nor Fabric.

    It stays so until the end of the process: Fabric's own "Done." and Python's last flush come after us.
    """
    occupy_closed_streams()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Lasting) and not is_terminal(stream):
            setattr(sys, name, _Lasting(stream))


def occupy_closed_streams() -> None:
    """Leave no number of a standard stream free that somebody has closed below Python.

    The next connection would get that number, and our messages would be written into it.
    """
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
            os.set_inheritable(number, True)
        os.close(number)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal; one that is closed, or is no real one, is none."""
    try:
        return bool(stream and stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def has_colours(stream: TextIO | None) -> bool:
    """Whether it is a terminal that wants colours (https://no-color.org, and Fabric's own variable)."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("FABRIC_DISABLE_COLORS")
    return is_terminal(stream) and not refused


def ask(question: str) -> bool:
    """Ask on stderr, as everything for people goes there; only ``yes`` is yes."""
    say(f"{harmless(question)} [yes/no]", end=" ")
    return sys.stdin.readline().strip().lower() == "yes"


def local_time(moment: datetime) -> str:
    """``2026-01-31 12:00:00 CET``, in the zone of this machine."""
    try:
        return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    except (OverflowError, ValueError, OSError):  # the first or the last day of the calendar, in another zone
        return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def duration(seconds: float) -> str:
    """``12 ms``, ``2.4 s``, ``2 min 5 s`` or ``1 h 12 min``."""
    if seconds < 0.001:
        return "<1 ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def width_of(stream: TextIO | None) -> int:
    """Columns of the terminal; what is no terminal takes lines of any length."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else sys.maxsize


def explained(terms: Sequence[tuple[str, str]]) -> str:
    """``term - explanation`` for each. In a terminal the explanations stand below each other and fit into it; elsewhere
    each is one line, as in 1.0.
    """
    if not is_terminal(sys.stderr):
        return "\n".join(f"{term} - {text}" for term, text in terms)
    column = max((len(term) for term, _ in terms), default=0)
    lines = [[f"{term.ljust(column)} -", text] for term, text in terms]
    return "\n".join(_line(line, [column + 2, len(line[1])], width_of(sys.stderr), gap=" ") for line in lines)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    gives_way: Sequence[str] = ("NAME", "BY"),
    wrapped: bool = False,
    colours: Sequence[str] = (),
) -> str:
    """Columns as wide as they need to be, one line for each row.

    In a terminal that is too narrow the columns that ``gives_way`` names are shortened in the middle, one after the
    other, and with ``wrapped`` the last column is broken into lines; no other is cut. In a pipe all stand whole.
    ``colours`` are those of the rows, for a terminal that wants any.
    """
    lines = [[escaped(cell) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    room = width_of(sys.stdout)
    if not wrapped:
        for name in gives_way:
            if name in head:
                column = head.index(name)
                too_wide = sum(widths) + 2 * (len(widths) - 1) - room
                widths[column] = min(widths[column], max(LEAST, widths[column] - too_wide))
    texts = [_line(line, widths, room if wrapped else sys.maxsize) for line in lines]
    if has_colours(sys.stdout):
        painted = zip(texts[1:], [*colours, *[""] * len(rows)])
        texts[1:] = [f"{colour}{text}{PLAIN}" if colour else text for text, colour in painted]
    return "\n".join(texts)


def _line(cells: Sequence[str], widths: Sequence[int], room: int, gap: str = "  ") -> str:
    """One row, its last cell broken into lines where it needs more than the room, in columns, that there is."""
    padded = [shortened(cell, width).ljust(width) for cell, width in zip(cells, widths)]
    line = gap.join(padded).rstrip()
    if len(line) <= room:
        return line
    before = gap.join([*padded[:-1], ""])
    if room - len(before) >= LEAST_WRAPPED:
        return textwrap.fill(cells[-1], room, initial_indent=before, subsequent_indent=" " * len(before))
    below = textwrap.fill(cells[-1], max(room, LEAST_WRAPPED), initial_indent="    ", subsequent_indent="    ")
    return f"{before.rstrip()}\n{below}"
