"""Ctrl-C, SIGTERM and SIGHUP: when they take effect, and in which process.

While a task runs, each of them raises ``KeyboardInterrupt``. While the lock is held (``hold_back()``), this happens
only inside ``let_through()``: in the team's code, or while migopy waits. So no signal comes between a write to the
server and the code that notes it. A process that the team's code forks has none of these handlers.
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

from .streams import reserve_standard_descriptors

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end a task. A lost terminal or ssh connection sends SIGHUP."""

HOLD_BACK_SECONDS = 1.0
"""Seconds after the first signal. A later signal is not held back, because the task may wait for a dead server."""

LOCKING_FUNCTIONS = frozenset({"__enter__", "__exit__", "acquire", "release"})
"""Functions in which an exception may leave a thread lock taken, such as the lock of PyMongo's pool, for ever."""

RESEND_SECONDS = 0.001
"""Seconds until a signal is sent again that arrived in a locking function."""


class _Process:
    """What this process does with a signal now."""

    def __init__(self) -> None:
        self.previous_handlers: Mapping[signal.Signals, Any] = {}
        """The handlers from before the task. Empty while no task runs."""
        self.holds_back = False
        self.is_ending = False
        self.first_at: float | None = None
        self.pending: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        self.first_at = self.first_at or now
        may_wait = now - self.first_at < HOLD_BACK_SECONDS
        if may_wait and self.holds_back:
            self.pending = number
        elif may_wait and frame is not None and frame.f_code.co_name in LOCKING_FUNCTIONS:
            _thread.start_new_thread(_send_again, (number,))  # threading.Thread would take locks itself
        else:
            self.take_effect(number, frame)

    def take_effect(self, number: int, frame: FrameType | None = None) -> None:
        """Call the team's own handler, if there is one, else raise ``KeyboardInterrupt``."""
        self.pending = None
        handler = self.previous_handlers.get(signal.Signals(number), signal.SIG_DFL)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(number, frame)
            return
        self.holds_back = self.is_ending = True  # the next signal must not stop what is logged about this one
        raise KeyboardInterrupt(signal.Signals(number).name)


def _send_again(number: int) -> None:
    time.sleep(RESEND_SECONDS)
    signal.pthread_kill(threading.main_thread().ident or 0, number)


_process = _Process()


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Handle the ending signals while a task runs, so that the task releases what it holds."""
    global _process
    if threading.current_thread() is not threading.main_thread() or _process.previous_handlers:
        yield  # only the main thread may set signal handlers, and a task inside a task has them already
        return
    _register_fork_hooks()
    _process = _Process()
    handlers = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    ours = [number for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)]
    _process.previous_handlers = {number: handlers[number] for number in ours}
    try:
        for number in _process.previous_handlers:
            signal.signal(number, _process.receive)
        yield
    finally:
        _restore_handlers()


def _restore_handlers() -> None:
    handlers, _process.previous_handlers = _process.previous_handlers, {}
    for number, handler in handlers.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def hold_back() -> Iterator[None]:
    """Let a signal take effect at the end of the block, unless the block raises an exception."""
    with _set_holding(True):
        yield
    raise_pending()


@contextlib.contextmanager
def let_through() -> Iterator[None]:
    """Let signals take effect at once. For code of the team, and for waiting."""
    with contain_forks(), _set_holding(False):
        raise_pending()
        yield


@contextlib.contextmanager
def contain_forks() -> Iterator[None]:
    """End a process that the block forked, and replace standard streams that the block closed."""
    process = os.getpid()  # only this process holds the lock and may write the history, the log and messages
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _end_fork(error)
        raise
    finally:
        reserve_standard_descriptors()
    if os.getpid() != process:
        _end_fork(None)


@contextlib.contextmanager
def _set_holding(holds: bool) -> Iterator[None]:
    before = _process.holds_back
    _process.holds_back = holds
    try:
        yield
    finally:
        _process.holds_back = before or _process.is_ending


def raise_pending() -> None:
    """Let a signal that was held back take effect."""
    if _process.pending is not None:
        _process.take_effect(_process.pending)


def stop(by: str) -> NoReturn:
    """End the run as Ctrl-C does; ``by`` says who has asked for it."""
    _process.holds_back = _process.is_ending = True
    raise KeyboardInterrupt(by)


def _end_fork(error: BaseException | None) -> NoReturn:
    """End the process as Python does, but without the exit handlers of the parent."""
    code = error.code if isinstance(error, SystemExit) else error
    if isinstance(code, BaseException):
        sys.excepthook(type(code), code, code.__traceback__)
    elif isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


# A forked child must not keep our handlers. Python runs them only between two steps of Python code, so a child inside C
# code would not end on SIGTERM, which is how multiprocessing.Pool.terminate() ends its workers. Signals are blocked
# during fork(), until the child has removed the handlers.

_masks = threading.local()


@functools.lru_cache(maxsize=None)
def _register_fork_hooks() -> None:
    # Cached, because a process can never unregister them.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)


def _before_fork() -> None:
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS if _process.previous_handlers else ())


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _after_fork_in_child() -> None:
    global _process
    _restore_handlers()
    _process = _Process()
    _after_fork()
