"""Writing to the standard streams, also when they are closed or nobody reads them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from typing import Any, Iterator, TextIO

from ..errors import MigopyException
from .texts import mask

DEFAULT_COLUMNS = 80

WITHOUT_REDRAWING = ("dumb", "vt100")
"""Values of ``TERM``. Fabric's ``run()`` gives a vt100 to the machine at the other end, and prints each redraw there as
a line of its own."""

CLEAR_LINE = "\r\033[K"

_has_drawn_line = False
"""Whether the last line on stderr is one that the next message replaces."""

STDERR = 2
"""The highest file descriptor of the standard streams."""


def say(text: str, end: str = "\n") -> None:
    """Write a message to stderr, in place of a drawn line. Never raises an exception."""
    clear_drawn_line()
    with contextlib.suppress(Exception):
        _write(sys.stderr, text, end)


def draw(line: str) -> None:
    """Write a line to the terminal that the next one replaces, and so does the next message."""
    global _has_drawn_line
    with contextlib.suppress(Exception):
        _write(sys.stderr, CLEAR_LINE + line, end="")
    _has_drawn_line = True


def clear_drawn_line() -> None:
    global _has_drawn_line
    if _has_drawn_line:
        _has_drawn_line = False
        with contextlib.suppress(Exception):
            _write(sys.stderr, CLEAR_LINE, end="")


def show(text: str) -> None:
    """Write a table, a help text or a JSON document to stdout. Raises ``MigopyException`` if the disk is full."""
    clear_drawn_line()
    try:
        _write(sys.stdout, mask(text))
    except BrokenPipeError:
        return  # as in fab ... | head -1
    except OSError as error:
        raise MigopyException(f"Cannot write the output: {error.strerror}.") from error


def _write(stream: TextIO | None, text: str, end: str = "\n") -> None:
    """Write the text. Characters that the stream cannot encode are escaped."""
    if stream is None or getattr(stream, "closed", False):
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)
    with contextlib.suppress(AttributeError):  # a stream that a team puts in place may only have write()
        stream.flush()


@contextlib.contextmanager
def _ignore_missing_reader() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EBADF):
            raise


class _PipeSafeStream:
    """A stream that drops its output, and raises nothing, once its reader is gone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if not getattr(self._stream, "closed", False):
            with _ignore_missing_reader():
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with _ignore_missing_reader(), contextlib.suppress(AttributeError):
            self._stream.flush()


def ignore_missing_readers() -> None:
    """Make sure that a reader that goes away (``| head -1``) stops neither migopy nor the migrations.

    Stays in force until the process ends, because Fabric prints its own "Done." after the task.
    """
    reserve_standard_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _PipeSafeStream) and not is_terminal(stream):
            setattr(sys, name, _PipeSafeStream(stream))


def reserve_standard_descriptors() -> None:
    """Open /dev/null in the place of each standard stream whose file descriptor was closed."""
    # The next connection would get the free descriptor, and our messages would be written into it.
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
            os.set_inheritable(number, True)
        os.close(number)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal. False for a closed stream."""
    try:
        return bool(stream and stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False


def is_screen(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal that a person sees on this machine."""
    return is_terminal(stream) and os.environ.get("TERM") not in WITHOUT_REDRAWING


def has_colours(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal and no environment variable forbids colours (https://no-color.org)."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("FABRIC_DISABLE_COLORS")
    return is_terminal(stream) and not refused


def width_of(stream: TextIO | None) -> int:
    """The columns of the terminal. Without a terminal, lines may have any length."""
    # Before Python 3.11 a terminal that does not know its size has 0 columns.
    return shutil.get_terminal_size().columns or DEFAULT_COLUMNS if is_terminal(stream) else sys.maxsize
