"""Threads that are started only if what they watch takes long: most runs have ended by then."""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Callable, NamedTuple


class _Start(NamedTuple):
    at: float
    run: Callable[[], object]
    ended: threading.Event
    name: str


class _Starter:
    """One thread for the process. It waits for nothing but the time, so that no thread is started late."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._starts: list[_Start] = []
        self._wakes_at = math.inf
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="migopy starter", daemon=True).start()

    def add(self, start: _Start) -> None:
        with self._changed:
            self._starts = [*self._waiting(), start]
            if start.at < self._wakes_at:
                self._changed.notify()

    def forget_ended(self) -> None:
        """Keep nothing alive that they would have used, such as a client."""
        with self._changed:
            self._starts = self._waiting()

    def _waiting(self) -> list[_Start]:
        return [start for start in self._starts if not start.ended.is_set()]

    def _run(self) -> None:
        while True:
            self._start_due()

    def _start_due(self) -> None:
        for start in self._wait_for_due():
            threading.Thread(target=start.run, name=start.name, daemon=True).start()

    def _wait_for_due(self) -> list[_Start]:
        with self._changed:
            now, self._starts = time.monotonic(), self._waiting()
            due = [start for start in self._starts if start.at <= now]
            if not due:
                self._wakes_at = min((start.at for start in self._starts), default=math.inf)
                self._changed.wait(None if self._wakes_at == math.inf else self._wakes_at - now)
            self._starts = [start for start in self._starts if start not in due]
            return due


_starter: _Starter | None = None


def start_later(seconds: float, run: Callable[[], object], ended: threading.Event, name: str) -> None:
    """Start a daemon thread in so many seconds, unless ``end(ended)`` is called before."""
    global _starter
    if _starter is None or _starter.process != os.getpid():  # a forked process has none of our threads
        _starter = _Starter()
    _starter.add(_Start(time.monotonic() + seconds, run, ended, name))


def end(ended: threading.Event) -> None:
    """Tell a thread to end, or the starter that it need not start."""
    ended.set()
    if _starter is not None and _starter.process == os.getpid():
        _starter.forget_ended()
