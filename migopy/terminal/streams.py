"""The standard streams: writing to them, and what to do when nobody reads."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from typing import Any, Iterator, TextIO

from ..errors import MigopyException
from .texts import masked

STDERR = 2
"""The last of the numbers of the standard streams."""


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


def width_of(stream: TextIO | None) -> int:
    """Columns of the terminal; what is no terminal takes lines of any length."""
    return shutil.get_terminal_size().columns if is_terminal(stream) else sys.maxsize
