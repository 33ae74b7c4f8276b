"""How many documents a batch has: as many as are asked for, fewer where they are large or the server is slow."""

from __future__ import annotations

SLOW = 1.0
"""Seconds that a batch may take. A transaction may take 60 on the server, and one that waits blocks others."""

ROOM_HERE = 4 * 1024 * 1024
"""Bytes of documents that are read at once; decoded and encoded again they take some times that."""

ROOM_THERE = 16 * 1024 * 1024
"""Bytes of documents that the server changes at once: one transaction."""


class Pace:
    """``size`` is the number of documents of the next batch."""

    def __init__(self, size: int, bytes_each: float, room: int) -> None:
        self._asked = size
        self._room = room
        self._fits = size
        self.weighed(bytes_each)
        self.size = self._most

    @property
    def _most(self) -> int:
        return min(self._asked, self._fits)

    def weighed(self, bytes_each: float) -> None:
        """How large the documents are, as far as is known."""
        self._fits = max(1, int(self._room / bytes_each)) if bytes_each else self._asked

    def fits(self, size: int) -> bool:
        """Whether so many bytes may be held at once."""
        return size <= self._room

    def took(self, count: int, seconds: float) -> None:
        """Half of it when a batch of so many was slow, twice of it when it was quick, until the size asked for."""
        if seconds > SLOW:
            self.halve(count)
        elif seconds < SLOW / 4:
            self.size = min(self._most, self.size * 2)

    def halve(self, count: int) -> None:
        self.size = max(1, count // 2)
