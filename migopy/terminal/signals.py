"""Ctrl-C, SIGTERM and a lost terminal: when they take effect, and in which process.

While a task runs each of them raises ``KeyboardInterrupt``, as Ctrl-C does. From taking the lock until it is given back
(``held_back()``) that happens only where the team's code runs, or something is waited for (``let_through()``): never
between what the server has done and the line that notes it. A process forked by the team's code has none of this, and
ends where that code does.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Iterator, Mapping, NoReturn

from .streams import occupy_closed_streams

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last is what a process gets whose terminal or ssh connection is gone."""

PATIENCE = 1.0
"""Seconds after a first signal from which on another one is not held back: it may be a dead server that keeps us."""

TAKING = frozenset({"__enter__", "__exit__", "acquire", "release"})
"""The functions in which a lock has been taken and no line knows it yet, or is to be given back and nobody else would
do it: an exception raised there leaves it taken. PyMongo's pool would then be waited for without end.
"""

A_MOMENT = 0.001
"""Seconds after which a signal is looked at again that has come in one of them."""


class _Process:
    """What this process does with a signal now. Signals belong to the process, so there is one of these."""

    def __init__(self) -> None:
        self.before: Mapping[signal.Signals, Any] = {}
        """What stood for each of the signals before the task; empty while none is running."""
        self.holds_back = False
        self.is_ending = False
        self.first: float | None = None
        self.pending: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.first = self.first or now
        is_patient = now - self.first < PATIENCE
        if is_patient and self.holds_back:
            self.pending = number
        elif is_patient and frame is not None and frame.f_code.co_name in TAKING:
            _thread.start_new_thread(_send_again, (number,))  # one of threading's would take locks itself
        else:
            self.take_effect(number, frame)

    def take_effect(self, number: int, frame: FrameType | None = None) -> None:
        """Do what the signal did before the task; only that SIGTERM and SIGHUP raise too, as Ctrl-C does.

        What is then written about the end is held back from the next signal, until code of the team runs again.
        """
        self.pending = None
        handler = self.before.get(signal.Signals(number), signal.SIG_DFL)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
            return
        self.holds_back = self.is_ending = True
        raise KeyboardInterrupt(signal.Signals(number).name)


def _send_again(number: int) -> None:
    time.sleep(A_MOMENT)
    signal.pthread_kill(threading.main_thread().ident or 0, number)


_process = _Process()


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """For the time of a task: what it holds is let go, whatever of these signals ends it."""
    global _process
    if threading.current_thread() is not threading.main_thread() or _process.before:
        yield  # only the main thread may set signal handlers; and a task within a task has them
        return
    _follow_forks()
    _process = _Process()
    standing = {number: signal.getsignal(number) for number in ENDING}
    _process.before = {number: handler for number, handler in standing.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in _process.before:
            signal.signal(number, _process.receive)
        yield
    finally:
        _restore()


def _restore() -> None:
    before, _process.before = _process.before, {}
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """A signal that comes meanwhile takes effect at the end, unless something else has failed by then."""
    with _holding_back(True):
        yield
    raise_pending()


@contextlib.contextmanager
def let_through() -> Iterator[None]:
    """Around code of the team and around waiting: signals take effect at once, one held back before does now."""
    with contained(), _holding_back(False):
        raise_pending()
        yield


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Around code of the team: a process that was forked inside ends here, and a stream closed inside stays nothing.

    The process is not the one that took the lock: the history, the log, the messages and the rest of the run are not
    its own.
    """
    process = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    finally:
        occupy_closed_streams()
    if os.getpid() != process:
        _end_fork(None)


@contextlib.contextmanager
def _holding_back(holds: bool) -> Iterator[None]:
    kept = _process.holds_back
    _process.holds_back = holds
    try:
        yield
    finally:
        _process.holds_back = kept or _process.is_ending


def raise_pending() -> None:
    """Let a signal that was held back take effect."""
    if _process.pending is not None:
        _process.take_effect(_process.pending)


def _end_fork(error: BaseException | None) -> NoReturn:
    """As Python ends, without what the parent does at its exit."""
    code = error.code if isinstance(error, SystemExit) else error
    if isinstance(code, BaseException):
        sys.excepthook(type(code), code, code.__traceback__)
    elif isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


# Forks. A child with our handlers would not end on SIGTERM while it runs nothing of Python's, which is how
# multiprocessing.Pool.terminate() ends its workers. A signal that comes within fork() waits until they are gone.

_masks = threading.local()


@functools.lru_cache(maxsize=None)
def _follow_forks() -> None:
    """Once in the life of a process: ``os.register_at_fork`` knows no way back."""
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


def _before_fork() -> None:
    _masks.kept = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING if _process.before else ())


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.kept)


def _in_child() -> None:
    global _process
    _restore()
    _process = _Process()
    _after_fork()
