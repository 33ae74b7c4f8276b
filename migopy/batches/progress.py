"""How far a walk is, in words, and the line that shows it while it goes on."""

from __future__ import annotations

import os
import shutil
import sys
import time
from typing import Callable, NamedTuple

BAR = 24
"""Characters of the bar."""

BETWEEN_LOOKS, BETWEEN_LINES = 0.2, 30.0
"""Seconds between two looks of the line on a terminal, and between two lines where there is none."""


class Progress(NamedTuple):
    """``done`` documents of about ``total``, if that is known, in ``seconds``."""

    migration: str
    collection: str
    done: int
    total: int | None
    seconds: float

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

    def bar(self) -> str:
        share = min(1.0, self.done / self.total) if self.total else 0.0
        return ("#" * int(share * BAR)).ljust(BAR, ".")


def _rounded(rate: float) -> int:
    """Two digits say enough: 9,800."""
    unit: int = 10 ** max(0, len(str(int(rate))) - 2)
    return max(1, round(rate / unit) * unit)


def _about(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 60:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Line:
    """Shows progress on stderr: on a terminal one line that stays in place, else a line now and then.

    ``say`` shows a message to stay.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._in_place = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._next = time.monotonic() + (0 if self._in_place else BETWEEN_LINES)
        self._width = 0

    def show(self, progress: Progress, why: str = "") -> None:
        """Show how far it is, if it is time; ``why`` says why it does not go on just now."""
        if time.monotonic() < self._next and not why:
            return
        text = f"{progress}{why and f'; {why}'}"
        if self._in_place:
            bar = f"[{progress.bar()}] " if progress.total else ""
            self._replace(f"{bar}{text}")
            self._next = time.monotonic() + BETWEEN_LOOKS
        else:
            self._say(text)
            self._next = time.monotonic() + BETWEEN_LINES

    def say(self, message: str) -> None:
        self.clear()
        self._say(message)

    def clear(self) -> None:
        """Leave the place to others."""
        if self._width:
            self._replace("")

    def _replace(self, text: str) -> None:
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text.ljust(self._width)}\r{text}", end="", file=sys.stderr, flush=True)
        self._width = len(text)


class NoLine(Line):
    """Shows nothing: nobody looks on."""

    def __init__(self) -> None:
        super().__init__(lambda message: None)

    def show(self, progress: Progress, why: str = "") -> None:
        pass
