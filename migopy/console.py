"""What people see: messages in colours, and questions."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from datetime import datetime

RED, GREEN, BOLD, PLAIN = "\033[31m", "\033[32m", "\033[1m", "\033[0m"


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


class _Stderr(logging.Handler):
    """Writes to whatever ``sys.stderr`` is at that moment; a ``StreamHandler`` would keep the first one."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class ColorsLogger:
    """Messages for people, one line each, to stderr through the logger named ``migopy``."""

    def __init__(self, name: str = "migopy") -> None:
        self._logger = logging.getLogger(name)
        self._logger.setLevel(logging.INFO)
        # With logging.basicConfig() in the fabfile each line would come twice.
        self._logger.propagate = False
        if not self._logger.handlers:
            self._logger.addHandler(_Stderr())

    def white(self, message: object) -> None:
        self._say(Str(message).white())

    def red(self, message: object) -> None:
        self._say(self._if_colours(Str(message).red(), message))

    def green(self, message: object) -> None:
        self._say(self._if_colours(Str(message).green(), message))

    def white_bold(self, message: object) -> None:
        self._say(self._if_colours(Str(message).white_bold(), message))

    def _if_colours(self, coloured: Str, message: object) -> str:
        return coloured if has_colours() else str(message)

    def _say(self, text: str) -> None:
        self._logger.info("%s", text)


def has_colours() -> bool:
    """Whether stderr is a terminal that wants colours (https://no-color.org, and Fabric's own variable)."""
    refused = os.environ.get("NO_COLOR") or os.environ.get("FABRIC_DISABLE_COLORS")
    return sys.stderr.isatty() and not refused


def ask(question: str) -> bool:
    """Ask on stderr, as everything for people goes there; only ``yes`` is yes."""
    print(f"{question} [yes/no] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def local_time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``2 min 5 s`` or ``1 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be. On a terminal a line that would not fit is cut; in a pipe none is."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns
        padded = [line if len(line) <= room else line[: room - 1] + "…" for line in padded]
    return "\n".join(padded)
