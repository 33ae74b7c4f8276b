"""How far something is that takes long."""

from __future__ import annotations

import sys
import time

from .console import is_terminal, say

UNITS = ("B", "kB", "MB", "GB", "TB")

CLEAR_LINE = "\r\033[K"


class Progress:
    """Tells on stderr how many of how many are done; in a terminal on one line, which is gone in the end.

    Where there is no terminal it is a line every ``PAUSE`` seconds, so that a log shows that something happens.
    """

    PAUSE = 30.0

    def __init__(self, what: str) -> None:
        self._what = what
        self._on_one_line = is_terminal(sys.stderr)
        self._next = time.monotonic() + (0 if self._on_one_line else self.PAUSE)

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (0.2 if self._on_one_line else self.PAUSE)
        text = f"{self._what}: {done:,} of about {max(done, total):,}"
        if self._on_one_line:
            say(CLEAR_LINE + text, end="")
        else:
            say(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_one_line:
            say(CLEAR_LINE, end="")


def in_bytes(number: float) -> str:
    """``512 B``, ``1.5 kB``, ``360 MB``."""
    power = 0
    while number >= 1000 and power < len(UNITS) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.1f} {UNITS[power]}" if power and number < 10 else f"{number:.0f} {UNITS[power]}"


def counted(number: int, thing: str) -> str:
    """``1 document``, ``2,341 documents``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
