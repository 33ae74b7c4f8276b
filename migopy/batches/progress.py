"""The progress of a walk, as a line on the terminal."""

from __future__ import annotations

from ..store.checkpoints import Progress
from ..terminal import progress


class Line(progress.ProgressLine):
    """Shows how far a walk is."""

    _waits = False

    def follow(self, walk: Progress, waiting_for: str = "") -> None:
        """Show the progress, if it is time for that; at once when the walk begins to wait for something."""
        begins_to_wait = bool(waiting_for) and not self._waits
        self._waits = bool(waiting_for)
        self.show(
            walk.while_waiting(waiting_for) if waiting_for else str(walk), walk.done, walk.total, at_once=begins_to_wait
        )


class NoLine(Line):
    """Shows nothing."""

    def __init__(self) -> None:
        super().__init__(lambda message: None)

    def follow(self, walk: Progress, waiting_for: str = "") -> None:
        pass
