"""How far a walk is, in words, and the line that shows it while it goes on."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import datetime
from typing import Callable, NamedTuple

from ..console import is_terminal, say
from ..texts import escaped

SHORTEST, LONGEST = 8, 24
"""Characters of the bar; it is left out where there is no room for it."""

BETWEEN_LOOKS, BETWEEN_LINES = 0.2, 30.0
"""Seconds between two looks of the line on a terminal, and between two lines where there is none."""


class Progress(NamedTuple):
    """``done`` documents of about ``total``, if that is known, in ``seconds``; as it was ``at`` that time."""

    migration: str
    collection: str
    done: int
    total: int | None
    seconds: float
    at: datetime | None = None

    @property
    def documents(self) -> str:
        """``412,000 of 1,000,000 documents``"""
        of_all = f" of {max(self.total, self.done):,}" if self.total is not None else ""
        return f"{self.done:,}{of_all} documents"

    @property
    def far(self) -> str:
        """``412,000 of 1,000,000 documents of users``; the collection comes with the name of its database."""
        return f"{self.documents} of {self.collection.partition('.')[2]}"

    @property
    def rate(self) -> float | None:
        """Documents a second; None before there is one to speak of."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        """``012_tags.py: 412,000 of 1,000,000 documents, 9,800 a second, 1 min left``"""
        speed = f", {_rounded(self.rate):,} a second" if self.rate else ""
        left = f", {_about(self.seconds_left)} left" if self.seconds_left is not None else ""
        return f"{self.migration}: {self.documents}{speed}{left}"

    def bar(self, room: int) -> str:
        """``[#########.............] ``; empty where the total is not known, or there is no room for it."""
        length = min(LONGEST, room - len("[] "))
        if not self.total or length < SHORTEST:
            return ""
        filled = "#" * int(min(1.0, self.done / self.total) * length)
        return f"[{filled.ljust(length, '.')}] "


def _rounded(rate: float) -> int:
    """Two digits say enough: 9,800."""
    unit: int = 10 ** max(0, len(str(int(rate))) - 2)
    return max(1, round(rate / unit) * unit)


def _about(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Line:
    """Shows progress to people: in a terminal one line that stays in place, else a line now and then.

    ``tell`` is given the messages that stay.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._in_place = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (0 if self._in_place else BETWEEN_LINES)
        self._why = ""
        self._width = 0

    def show(self, progress: Progress, why: str = "") -> None:
        """Show how far it is, if it is time; ``why`` says at once why it does not go on just now."""
        begins_to_wait = bool(why) and not self._why
        self._why = why
        if time.monotonic() < self._next and not begins_to_wait:
            return
        text = f"{progress}; {why}" if why else str(progress)
        if self._in_place:
            columns = shutil.get_terminal_size().columns - 1
            self._replace((progress.bar(columns - len(text)) + escaped(text))[:columns])
        else:
            self._tell(text)
        self._next = time.monotonic() + (BETWEEN_LOOKS if self._in_place else BETWEEN_LINES)

    def tell(self, message: str) -> None:
        """A message that stays."""
        self.clear()
        self._tell(message)

    def clear(self) -> None:
        """Leave the place to others."""
        if self._width:
            self._replace("")
            say("\r", end="")

    def _replace(self, text: str) -> None:
        say(f"\r{text.ljust(self._width)}", end="")
        self._width = len(text)


class NoLine(Line):
    """Nobody looks on."""

    def __init__(self) -> None:
        super().__init__(lambda message: None)

    def show(self, progress: Progress, why: str = "") -> None:
        pass
