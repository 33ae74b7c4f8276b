"""What a run is given: its direction, its lock, and everything else that it works with."""

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
    """The differences between executing and rolling back, mostly words for messages and for the log."""

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
    """Methods of the team. ``on_failure`` is called when a migration or one of the other two fails."""

    before_each: Callable[[str], None]
    after_each: Callable[[str], None]
    on_failure: Callable[[str, BaseException], None]


class RunLock(Protocol):
    """The methods of a lock that a run uses."""

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

    ``records`` are the registrations at its beginning, ``dump`` the facts about the dump taken before. ``batches``
    makes the batches of a migration, ``forget`` deletes the checkpoints of one that has ended. ``say`` shows a message
    where no exception of ours can carry it: Ctrl-C or ``sys.exit()`` in a migration ends ``fab`` as without migopy.
    """

    lock: RunLock
    history: History
    db: Database[dict[str, Any]]
    records: Mapping[str, Record]
    hooks: Hooks
    batches: Callable[[LoadedMigration], Batches]
    forget: Callable[[str], None]
    say: Callable[[str], None]
    task: str = "fab migrations"
    dump: Mapping[str, Any] = field(default_factory=dict)
