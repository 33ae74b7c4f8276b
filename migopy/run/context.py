"""What a run is told: which way it goes, and what it works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Literal, Mapping, NamedTuple, Protocol, Sequence

from ..files.migration import LoadedMigration
from ..store.history import EventKind, History, Record

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..batches.batches import Batches


class Direction(NamedTuple):
    """What differs between executing and rolling back, in words: of people, of the log, of the way on."""

    subtask: Literal["execute", "rollback"]
    function: Literal["up", "down"]
    doing: str
    done: str
    failure: EventKind
    after_failure: str
    after_success: str
    not_written: str
    repair: Literal["ignore", "forget"]

    @property
    def executes(self) -> bool:
        return self.subtask == "execute"


EXECUTE = Direction(
    subtask="execute",
    function="up",
    doing="Executing",
    done="Executed",
    failure="failed",
    after_failure="it is not registered",
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
    after_failure="it stays registered",
    after_success="the migration is rolled back",
    not_written="down() of {name} has run, but it could not be unregistered",
    repair="forget",
)


class Hooks(NamedTuple):
    """The team's: called with the name around every migration, and with the error too when one of them, or the
    migration, fails.
    """

    before_each: Callable[[str], None]
    after_each: Callable[[str], None]
    on_failure: Callable[[str, BaseException], None]


class RunLock(Protocol):
    """What a run needs of its lock."""

    was_dropped: bool

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str], session: bytes | None) -> None: ...

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def give_back(self, error: BaseException | None = None) -> None: ...

    def now(self) -> datetime: ...


@dataclass(frozen=True)
class RunContext:
    """What a run works with.

    ``records`` are the registrations when it begins, ``dump`` says which dump was taken before. ``batches`` makes those
    of a migration, ``forget`` drops the checkpoints of one that has ended. ``say`` shows what can go into no exception
    of ours: a Ctrl-C or ``sys.exit()`` in a migration ends ``fab`` as it would without migopy.
    """

    lock: RunLock
    history: History
    db: Database[dict[str, Any]]
    records: Mapping[str, Record]
    hooks: Hooks
    batches: Callable[[LoadedMigration], Batches]
    forget: Callable[[str], None]
    say: Callable[[str], None]
    task: str = ""
    dump: Mapping[str, Any] = field(default_factory=dict)
