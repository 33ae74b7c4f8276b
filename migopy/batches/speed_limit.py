"""At most so many documents a second, however many threads work on them."""

from __future__ import annotations

import threading
import time

BATCH_SECONDS = 0.2
"""How long the batches of all workers take at the pace that is asked for: small batches keep the load even."""

CREDIT_SECONDS = 0.5
"""How much of what a slow batch has missed may be made up."""


class SpeedLimit:
    """Says when the next batch may begin. ``pace`` is in documents a second, None for no limit."""

    def __init__(self) -> None:
        self.pace: int | None = None
        self._due = time.monotonic()
        self._one_at_a_time = threading.Lock()

    def set_pace(self, pace: int | None) -> None:
        """Change the pace; it counts from now on."""
        with self._one_at_a_time:
            if pace != self.pace:
                self.pace, self._due = pace, time.monotonic()

    def add(self, documents: int) -> None:
        """Count the documents of a batch that has been written."""
        with self._one_at_a_time:
            if self.pace:
                self._due = max(self._due, time.monotonic() - CREDIT_SECONDS) + documents / self.pace

    def seconds_left(self) -> float:
        """For how long the next batch has to wait."""
        with self._one_at_a_time:
            return max(0.0, self._due - time.monotonic()) if self.pace else 0.0

    def limit_size(self, size: int, workers: int) -> int:
        """The size of a batch of one of so many workers, or less."""
        return max(1, min(size, int(self.pace * BATCH_SECONDS / workers))) if self.pace else size
