"""How far something is that takes long."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Callable

from .streams import is_terminal, say
from .texts import escaped

CLEAR_LINE = "\r\033[K"

SHORTEST, LONGEST = 8, 24
"""Characters of the bar; it is left out where there is no room for it."""

BETWEEN_LOOKS, BETWEEN_LINES = 0.2, 30.0
"""Seconds between two looks of the line on a terminal, and between two lines where there is none."""


class Line:
    """Shows people on stderr how far something is: in a terminal one line that stays in place, else one now and then.

    What stays, such a line included, is given to ``tell``.
    """

    def __init__(self, tell: Callable[[str], None] = say) -> None:
        self._tell = tell
        self._in_place = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (0 if self._in_place else BETWEEN_LINES)
        self._stands = False

    def show(self, text: str, done: int, total: int | None, at_once: bool = False) -> None:
        """Show the text, with a bar where the total is known, if it is time for the next one or ``at_once``."""
        if time.monotonic() < self._next and not at_once:
            return
        if self._in_place:
            columns = shutil.get_terminal_size().columns - 1
            line = bar(done, total, columns - len(text)) + escaped(text)
            say(CLEAR_LINE + line[:columns], end="")
            self._stands = True
        else:
            self._tell(text)
        self._next = time.monotonic() + (BETWEEN_LOOKS if self._in_place else BETWEEN_LINES)

    def tell(self, message: str) -> None:
        """A message that stays."""
        self.clear()
        self._tell(message)

    def clear(self) -> None:
        """Leave the place to others."""
        if self._stands:
            say(CLEAR_LINE, end="")
            self._stands = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def bar(done: int, total: int | None, room: int) -> str:
    """``[#########.............] ``; empty where the total is not known, or there is no room for it."""
    length = min(LONGEST, room - len("[] "))
    if not total or length < SHORTEST:
        return ""
    filled = "#" * int(min(1.0, done / total) * length)
    return f"[{filled.ljust(length, '.')}] "
