"""The progress of something that takes long, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Callable

from .streams import clear_drawn_line, draw, is_screen, say, width_of
from .texts import escape

MIN_BAR, MAX_BAR = 8, 24
"""Characters of the bar. Without room for the minimum there is no bar."""

REDRAW_SECONDS = 0.2
"""Seconds between two updates of the line in a terminal."""

NEW_LINE_SECONDS = 30.0
"""Seconds between two lines where there is no terminal."""


class ProgressLine:
    """Shows progress: a line that is redrawn in a terminal, else a new line from time to time.

    ``say`` gets the lines and messages that stay on the screen.
    """

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self._say = say
        self._in_place = is_screen(sys.stderr)
        self._next = time.monotonic() + (0 if self._in_place else NEW_LINE_SECONDS)

    def show(self, text: str, done: int, total: int | None, at_once: bool = False) -> None:
        """Show the text, with a bar if the total is known. Does nothing if it is too early, unless ``at_once``."""
        if time.monotonic() < self._next and not at_once:
            return
        if self._in_place:
            columns = width_of(sys.stderr) - 1
            line = bar(done, total, columns - len(text)) + escape(text)
            draw(line[:columns])
        else:
            self._say(text)
        self._next = time.monotonic() + (REDRAW_SECONDS if self._in_place else NEW_LINE_SECONDS)

    def step(self, text: str) -> None:
        """Show which step begins: in a terminal at once, elsewhere if it is time for a line."""
        self.show(text, 0, None, at_once=self._in_place)

    def say(self, message: str) -> None:
        """Print a message in place of the line."""
        self.clear()  # a team's logger may write where we do not see it
        self._say(message)

    def clear(self) -> None:
        if self._in_place:
            clear_drawn_line()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


def bar(done: int, total: int | None, room: int) -> str:
    """``[#########.............] ``, or an empty string if the total is unknown or ``room`` is too small."""
    length = min(MAX_BAR, room - len("[] "))
    if not total or length < MIN_BAR:
        return ""
    filled = "#" * int(min(1.0, done / total) * length)
    return f"[{filled.ljust(length, '.')}] "
