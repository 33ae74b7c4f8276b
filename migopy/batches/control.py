"""When the next batch of a run may begin: what other terminals ask of the run is done between two batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Protocol

from ..terminal import signals

if TYPE_CHECKING:
    from ..store.requests import Request

    Show = Callable[[str], None]

POLL_SECONDS = 0.2
"""Between two looks at whether a reason to wait is gone."""

TELL_SECONDS = 5.0
"""Between two writes that tell other terminals what a run waits for."""


class RequestedLock(Protocol):
    """The lock of a run, with what other terminals ask of it. ``confirm`` reads that again, every few seconds."""

    request: Request | None

    def confirm(self) -> None: ...

    def tell(self, doing: str) -> None: ...


class Control:
    """Pauses and stops a run, as other terminals ask. ``say`` shows a line that stays."""

    def __init__(self, lock: RequestedLock, say: Show) -> None:
        self._lock = lock
        self._say = say

    def wait(self, show: Show) -> None:
        """Wait as long as the run is paused. ``show`` gets the reason; the lock is renewed meanwhile.

        Raises ``KeyboardInterrupt`` when somebody has asked the run to stop.
        """
        pause, tell_at = self._pause(), float("-inf")
        if not pause:
            return
        while pause:
            show(pause.doing)
            if time.monotonic() >= tell_at:
                self._lock.tell(pause.doing)
                tell_at = time.monotonic() + TELL_SECONDS
            time.sleep(POLL_SECONDS)
            self._lock.confirm()
            before, pause = pause, self._pause()
            if pause != before:
                tell_at = float("-inf")
        self._lock.tell("")
        if self._lock.request:
            self._say(f"resumed by {self._lock.request.author}")

    def heed_stop(self) -> None:
        """Raises ``KeyboardInterrupt`` when somebody has asked the run to stop."""
        request = self._lock.request
        if request and request.what == "stop":
            signals.stop(request.author)

    def _pause(self) -> Request | None:
        self.heed_stop()
        request = self._lock.request
        return request if request and request.what == "pause" else None


class NoControl(Control):
    """Nobody asks anything of a run in a test or in a rehearsal."""

    def __init__(self) -> None:
        """It has no lock."""

    def wait(self, show: Show) -> None:
        pass

    def heed_stop(self) -> None:
        pass
