"""The gate between two batches: there the progress is shown, and the next batch waits until it may begin."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Callable, Iterator

from pymongo.errors import AutoReconnect

if TYPE_CHECKING:
    from ..store.checkpoints import Progress
    from .control import Control
    from .lag import Lag, ReplicaSet

LAG_POLL_SECONDS = 1.0
"""Between two looks at how far the slowest member is behind."""

TELL_SECONDS = 5.0
"""Between two writes that tell other terminals what a walk waits for."""


class WalkEnded(BaseException):
    """The walk has ended, because another worker failed or because of a signal: nothing more is written."""


class Gate:
    """Where the workers of a walk wait between two batches, one at a time, so that a pause holds up all of them.

    ``confirm`` raises if the lock is lost, ``show`` shows the progress, ``tell`` tells other terminals what the walk
    waits for. ``max_lag`` is in seconds. ``control`` says when the next batch may begin.
    """

    def __init__(
        self,
        confirm: Callable[[], None],
        show: Callable[[Progress, str], None],
        tell: Callable[[str], None],
        max_lag: float,
        control: Control,
        replica_set: ReplicaSet | None,
    ) -> None:
        self._confirm = confirm
        self._show = show
        self._tell = tell
        self._max_lag = max_lag
        self._control = control
        self._replica_set = replica_set
        self._lag_checked_at = float("-inf")
        self._has_lag = False
        self._one_at_a_time = threading.RLock()
        self._one_batch_at_a_time = threading.Lock()
        self._closed = threading.Event()

    def close(self) -> None:
        """Let no further batch begin."""
        self._closed.set()

    def require_open(self) -> None:
        """Raises ``WalkEnded`` once the gate is closed."""
        if self._closed.is_set():
            raise WalkEnded

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Around a batch. While a member of the replica set is falling behind, the workers take turns."""
        with self._one_batch_at_a_time if self._has_lag else contextlib.nullcontext():
            self.require_open()
            yield

    def show(self, progress: Progress, why: str) -> None:
        with self._one_at_a_time:
            self._show(progress, why)

    def limit_size(self, size: int, workers: int) -> int:
        """How many documents of so many the next batch of a worker may have at the pace of the run."""
        return self._control.limit_size(size, workers)

    def wait(self, progress: Progress, documents: int) -> float:
        """Wait until the next batch may begin; how many of the seconds were for the pace.

        ``documents`` is the size of the batch before it.
        """
        with self._one_at_a_time:
            self.require_open()
            show = functools.partial(self._show, progress)
            show("")
            self._wait_for_members(show)
            return self._control.wait(show, documents, self._closed.is_set)

    def _wait_for_members(self, show: Callable[[str], None]) -> None:
        has_waited, tell_at = False, 0.0
        while self._replica_set and time.monotonic() >= self._lag_checked_at + LAG_POLL_SECONDS:
            self.require_open()
            lag = self._largest_lag(self._replica_set)
            self._lag_checked_at = time.monotonic()
            self._has_lag = lag is not None and lag.seconds > self._max_lag / 2
            if lag is None or lag.seconds <= self._max_lag:
                if has_waited:
                    self._tell("")
                return
            waiting_for = f"waiting for {lag.host}, which is {lag.seconds:.0f} s behind"
            show(waiting_for)
            if time.monotonic() >= tell_at:
                self._tell(waiting_for)
                has_waited, tell_at = True, time.monotonic() + TELL_SECONDS
            self._confirm()
            if self._control.heed(show, self._closed.is_set):
                tell_at = 0.0
            time.sleep(LAG_POLL_SECONDS)

    @staticmethod
    def _largest_lag(replica_set: ReplicaSet) -> Lag | None:
        try:
            return replica_set.largest_lag()
        except AutoReconnect:  # an election: the next batch waits for it
            return None
