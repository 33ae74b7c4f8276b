"""How many documents the next batch has: as many as asked for, or fewer."""

from __future__ import annotations

from typing import NamedTuple

# A transaction may take 60 s on the server, and other writers of its documents wait for it.
SLOW_BATCH_SECONDS = 1.0


class Limits(NamedTuple):
    """The most that a batch has, unless the migration gives a size: documents and bytes.

    ``documents_alone`` is for a server without transactions, which never holds up the writers of a whole batch.
    """

    documents: int
    documents_alone: int
    bytes: int


# Decoded, the documents take several times as much memory.
IN_PYTHON = Limits(1_000, 1_000, 4 * 1024 * 1024)

IN_SERVER = Limits(10_000, 50_000, 16 * 1024 * 1024)

FIRST_BATCH = 100
"""Documents of the first batch; the next ones have twice as many, as long as they are quick."""


class Pace:
    """``size`` is the number of documents of the next batch.

    It shrinks where documents are large or batches are slow. ``max_bytes`` is the limit for one batch.
    """

    def __init__(self, size: int, average_bytes: float, max_bytes: int) -> None:
        self._wanted_size = size
        self._max_bytes = max_bytes
        self.set_average_bytes(average_bytes)
        # How long a batch takes is not known yet, and other writers wait for the documents of a transaction.
        self.size = max(1, min(self._max_size, FIRST_BATCH))

    @property
    def _max_size(self) -> int:
        return min(self._wanted_size, self._max_documents)

    def set_average_bytes(self, average_bytes: float) -> None:
        """Note how large the documents are; 0 if that is not known."""
        self._max_documents = max(1, int(self._max_bytes / average_bytes)) if average_bytes else self._wanted_size

    def fits(self, size: int) -> bool:
        """Whether a batch may have so many bytes."""
        return size <= self._max_bytes

    def adjust(self, count: int, seconds: float) -> None:
        """Halve the size after a slow batch of ``count`` documents, double it after a quick one."""
        if seconds > SLOW_BATCH_SECONDS:
            self.halve(count)
        elif seconds < SLOW_BATCH_SECONDS / 4:
            self.size = min(self._max_size, self.size * 2)

    def halve(self, count: int) -> None:
        self.size = max(1, count // 2)
