"""A lease: a document with an ``expires_at`` by the server's clock, which its holder moves on while it lives.

The lock of the runs is one, the mark of a scratch database is another.
"""

from __future__ import annotations

import functools
import os
import threading
from datetime import datetime
from typing import Any, Callable

from pymongo.errors import PyMongoError

from ..errors import LockLost, ServerFailed
from ..terminal.wording import local_time
from .threads import end, start_later
from .transaction_guard import call_unwatched

IS_HELD = {"$gt": ["$expires_at", "$$NOW"]}
"""An expression that is true while the lease of a document has not run out."""


def expires_in(seconds: float) -> dict[str, Any]:
    """For an update with a pipeline: a lease that runs out so many seconds from now (MongoDB 4.2 or later)."""
    return {"expires_at": {"$add": ["$$NOW", int(seconds * 1000)]}}


class Renewal:
    """A thread that calls ``renew`` every so many seconds.

    It ends with ``end()``, or when ``renew`` returns False or raises ``LockLost``: then the lease is no longer ours.
    """

    def __init__(self, renew: Callable[[], bool], *, every: float, name: str) -> None:
        self._renew = renew
        self._every = every
        self._name = name
        self._ended = threading.Event()

    def start(self) -> None:
        # Beside a migration in a transaction, which the renewal is no part of.
        start_later(self._every, functools.partial(call_unwatched, self._run), self._ended, self._name)

    def end(self) -> None:
        end(self._ended)

    def _run(self) -> None:
        while not self._ended.is_set():
            pause = self._every
            try:
                if not self._renew():
                    return
            except LockLost:
                return
            except (PyMongoError, ServerFailed):
                pause = self._every / 10  # the server may be back in a moment, and the lease still runs
            self._ended.wait(pause)


def is_running(pid: int) -> bool:
    """Whether there is a process with that number on this machine."""
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def describe_holder(by: str, pid: int | None, since: datetime | None, doing: str = "") -> str:
    """``ann@web1 (process 12, execute of 1_first.py, since 2026-01-31 12:00:00 UTC)``."""
    facts = ["" if pid is None else f"process {pid}", doing, f"since {local_time(since)}" if since else ""]
    return f"{by} ({', '.join(filter(None, facts))})"
