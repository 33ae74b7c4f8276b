"""How far a walk is, in words."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from .. import progress


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


class Line(progress.Line):
    """Shows how far a walk is."""

    _waits = False

    def follow(self, walk: Progress, why: str = "") -> None:
        """Show how far it is, if it is time; ``why`` says at once why it does not go on just now."""
        begins_to_wait = bool(why) and not self._waits
        self._waits = bool(why)
        self.show(f"{walk}; {why}" if why else str(walk), walk.done, walk.total, at_once=begins_to_wait)


class NoLine(Line):
    """Nobody looks on."""

    def __init__(self) -> None:
        super().__init__(lambda message: None)

    def follow(self, walk: Progress, why: str = "") -> None:
        pass
