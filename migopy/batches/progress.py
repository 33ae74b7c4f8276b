"""How far a walk is, in words."""

from __future__ import annotations

from ..store.checkpoints import Progress
from ..terminal import progress


class Line(progress.ProgressLine):
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
