"""Which way a run goes, in words, and what it needs of its lock."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple, Protocol, Sequence

from ..store.history import EventKind
from ..terminal.wording import duration


class Direction(NamedTuple):
    """The differences between executing and rolling back, mostly words for messages and for the log.

    ``again`` is the subtask that repeats it after a failure; empty where nobody repeats it.
    """

    subtask: Literal["execute", "rollback"]
    function: Literal["up", "down"]
    doing: str
    done: str
    failure: EventKind
    stop: EventKind
    after_failure: str
    again: str
    after_success: str
    not_written: str
    repair: Literal["ignore", "forget"]

    @property
    def executes(self) -> bool:
        return self.subtask == "execute"

    def report(self, what: str, seconds: float) -> str:
        """``Executed 1_first.py in 12 ms``"""
        return f"{self.done} {what} in {duration(seconds)}"


EXECUTE = Direction(
    subtask="execute",
    function="up",
    doing="Executing",
    done="Executed",
    failure="failed",
    stop="stopped",
    after_failure="it is not registered",
    again="execute",
    after_success="the migration is registered",
    not_written="{name} was executed, but it could not be registered",
    repair="ignore",
)


ROLL_BACK = Direction(
    subtask="rollback",
    function="down",
    doing="Rollback",
    done="Rolled back",
    failure="rollback failed",
    stop="rollback stopped",
    after_failure="it stays registered",
    again="rollback,{name}",
    after_success="the migration is rolled back",
    not_written="down() of {name} has run, but it could not be unregistered",
    repair="forget",
)


ROLLBACK_TARGETS = (
    "NAME (that one)",
    "last=N (the N executed last)",
    "to=NAME (all executed after NAME, which stays executed)",
)
"""What the option of ``rollback`` may be, for a message."""


class RunLock(Protocol):
    """The methods of a lock that a run uses."""

    was_dropped: bool

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str], session: bytes | None, in_batches: Sequence[str]) -> None: ...

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def give_back(self, error: BaseException | None = None) -> None: ...

    def now(self) -> datetime: ...
