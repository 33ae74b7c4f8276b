"""When the next batch of a run may begin: what other terminals ask of the run is done between two batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Callable, Protocol

from ..errors import BatchFailed, MigopyException
from ..terminal import signals
from ..terminal.texts import one_line, summary
from .speed_limit import SpeedLimit

if TYPE_CHECKING:
    from ..store.requests import PaceRequest, Request

    Show = Callable[[str], None]

POLL_SECONDS = 0.2
"""Between two looks at whether a reason to wait is gone."""

THROTTLE_SECONDS = 1.0
"""Between two calls of ``throttle()``."""

TELL_SECONDS = 5.0
"""Between two writes that tell other terminals what a run waits for."""


class RequestedLock(Protocol):
    """The lock of a run, with what other terminals ask of it. ``confirm`` reads that again, every few seconds."""

    request: Request | None
    pace: PaceRequest | None

    def confirm(self) -> None: ...

    def tell(self, doing: str) -> None: ...


class Control:
    """Decides when the next batch may begin: as other terminals ask, as ``throttle`` says, and at a pace.

    ``say`` shows a line that stays. ``throttle`` returns why the run has to wait, or None. ``pace`` is in documents a
    second, None for no limit; it counts until another terminal sets one.
    """

    def __init__(
        self, lock: RequestedLock, say: Show, throttle: Callable[[], object] = lambda: None, pace: int | None = None
    ) -> None:
        self._lock = lock
        self._say = say
        self._throttle = throttle
        self._throttle_asked_at = float("-inf")
        self._throttle_reason = ""
        self._first_pace = pace
        self._speed_limit = SpeedLimit()
        self._set_pace()

    def wait(self, show: Show, documents: int = 0, is_over: Callable[[], bool] = lambda: False) -> float:
        """Wait until the next batch may begin; how many of the seconds were for the pace.

        ``documents`` is the size of the batch before it. ``show`` gets the reason to wait. The lock is renewed
        meanwhile. Nobody waits once ``is_over`` returns True. Raises ``KeyboardInterrupt`` when somebody has asked the
        run to stop.
        """
        self._speed_limit.add(documents)
        told, tell_at, paced, was_paused = "", 0.0, 0.0, False
        while not is_over():
            self._heed_stop()
            self._set_pace()
            was_paused = was_paused or self._is_paused
            reason, seconds = self._reason(), POLL_SECONDS
            if reason:
                show(reason)
                if reason != told or time.monotonic() >= tell_at:
                    self._lock.tell(reason)
                    told, tell_at = reason, time.monotonic() + TELL_SECONDS
            else:
                seconds = min(POLL_SECONDS, self._speed_limit.seconds_left())
                paced += seconds
            if not seconds:
                break
            time.sleep(seconds)
            self._lock.confirm()
        if told:
            self._lock.tell("")
        if was_paused and self._lock.request and not self._is_paused:
            self._say(f"resumed by {self._lock.request.author}")
        return paced

    def heed(self, show: Show, is_over: Callable[[], bool]) -> bool:
        """Wait if somebody has asked the run to pause, and return whether. Raises as ``wait()`` does."""
        self._heed_stop()
        if not self._is_paused:
            return False
        self.wait(show, 0, is_over)
        return True

    def _heed_stop(self) -> None:
        request = self._lock.request
        if request and request.what == "stop":
            signals.stop(request.author)

    def limit_size(self, size: int, workers: int) -> int:
        """How many documents of so many the next batch of a worker may have at the pace of the run."""
        return self._speed_limit.limit_size(size, workers)

    @property
    def _is_paused(self) -> bool:
        return bool(self._lock.request and self._lock.request.what == "pause")

    def _reason(self) -> str:
        """Why the run has to wait; empty if it has not."""
        if self._lock.request and self._is_paused:
            return self._lock.request.doing
        if time.monotonic() >= self._throttle_asked_at + THROTTLE_SECONDS:
            self._throttle_reason = self._ask_throttle()
            self._throttle_asked_at = time.monotonic()
        return self._throttle_reason

    def _ask_throttle(self) -> str:
        """What the team's hook says. Raises ``BatchFailed``."""
        try:
            reason = self._throttle()
        except MigopyException:
            raise
        except Exception as error:
            raise BatchFailed(f"throttle() failed ({summary(error)})") from error
        if not isinstance(reason, (str, type(None))):
            raise BatchFailed(f"throttle() has to return why the run waits, as a string, or None, not {reason!r}.")
        return one_line(reason or "")

    def _set_pace(self) -> None:
        asked = self._lock.pace
        self._speed_limit.set_pace(asked.documents if asked else self._first_pace)


class NoControl(Control):
    """Nobody asks anything of a run in a test or in a rehearsal."""

    def __init__(self) -> None:
        """It has no lock."""

    def wait(self, show: Show, documents: int = 0, is_over: Callable[[], bool] = lambda: False) -> float:
        return 0.0

    def heed(self, show: Show, is_over: Callable[[], bool]) -> bool:
        return False

    def limit_size(self, size: int, workers: int) -> int:
        return size
