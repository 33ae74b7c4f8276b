"""What a person should know about the migrations: problems, and the way on from each."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Mapping, NamedTuple, Sequence

from ..terminal.wording import local_time

if TYPE_CHECKING:
    from ..store.checkpoints import Progress
    from ..store.documents import ForeignDocument
    from ..store.history import Event, Record, State
    from ..store.lock import Holder
    from .inventory import Inventory

Unfinished = Literal["failed", "interrupted", "rollback failed"]
ProblemKind = Literal[
    Unfinished,
    "half restored",
    "badly named",
    "unreadable",
    "changed",
    "missing",
    "out of order",
    "same number",
    "not ours",
]

UNFINISHED: tuple[Unfinished, ...] = ("failed", "interrupted", "rollback failed")

DRIFT: tuple[ProblemKind, ...] = ("changed", "missing", "out of order")
"""What ``STRICT`` refuses."""

SENTENCES: dict[ProblemKind, str] = {
    "failed": "; mend it, then {command}:execute tries it again",
    "rollback failed": "; mend it and {command}:rollback,{name}, or {command}:forget,{name} if it is taken back",
    "badly named": "it does not match MIGRATIONS_FILE_PATTERN; rename it, with _ at its start if it is no migration",
    "unreadable": "; mend it, rename it or remove it",
    "changed": "the file is not the one that was executed; bring that back, or {command}:forget,{name} and"
    " {command}:ignore,{name} take the new one as executed",
    "missing": "it is registered, and there is no such file; bring it back, or {command}:forget,{name}",
    "out of order": "it is numbered below a registered one; give it a number above those, or {command}:ignore,{name}",
    "same number": "another file has its number, they run in order of name; give the unregistered one another number",
}
"""What is wrong and the way on, behind the name and the kind; where it is not always the same, the way on only."""

RENAMED = (
    "it is registered, and there is no such file; renamed to {new}? Then {command}:ignore,{new} and"
    " {command}:forget,{name}"
)


class Contents(NamedTuple):
    """What only a look at the files themselves tells, by the names of migrations.

    ``renamed`` gives for a registered name without a file the unregistered file of the same content, ``unreadable`` why
    something with the name of a migration cannot be read as one.
    """

    changed: Sequence[str] = ()
    renamed: Mapping[str, str] = {}
    unreadable: Mapping[str, str] = {}


class Problem(NamedTuple):
    """Something that a person should know: ``kind`` in a word or two, ``text`` as a sentence with the way on.

    ``name`` is the migration that it is about, or the collection that a document stands in which is not ours; None
    where it is about the database as a whole.
    """

    kind: ProblemKind
    name: str | None
    text: str

    @property
    def is_unfinished(self) -> bool:
        return self.kind in (*UNFINISHED, "half restored")


@dataclass(frozen=True)
class Status:
    """The state of one directory and one database.

    ``last_events`` are the last of the log for each migration. ``holder`` has the lock, or died with it. ``changed``
    are the names whose files are no longer what was executed; to know them their content has to be read. ``foreign``
    are the documents met in our collections that are not ours. ``renamed`` and ``unreadable``: see ``Contents``.
    ``database`` and ``server`` say where all that is. ``progresses`` say how far those migrations are that go through
    collections and are under way, or have not ended well.
    """

    inventory: Inventory
    last_events: Mapping[str, Event] = field(default_factory=dict)
    holder: Holder | None = None
    changed: Sequence[str] = ()
    foreign: Sequence[ForeignDocument] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    server: str = ""
    progresses: Mapping[str, Progress] = field(default_factory=dict)

    def count(self, state: State) -> int:
        return sum(record.state == state for record in self.inventory.records.values())

    @property
    def last_executed(self) -> Record | None:
        """The migration executed last; of those of 1.0, whose time may not be known, none."""
        executed = (record for record in self.inventory.records.values() if record.state == "executed" and record.at)
        return max(executed, key=lambda record: (record.at, record.name), default=None)

    @property
    def running(self) -> str | None:
        """The migration that the holder of the lock is, or was, in the middle of."""
        return self.holder.migration(self.inventory.records) if self.holder else None

    @property
    def under_way(self) -> list[str]:
        """What runs now, and what has not ended well; in order."""
        suspects = {self.running, *self.last_events}
        names = [name for name in self.inventory.names if name in suspects]
        return [name for name in names if name == self.running or self.unfinished(name)]

    def unfinished(self, name: str) -> Unfinished | None:
        """How the migration ended without an end; None if it has been brought to one since."""
        if self.holder and name == self.running:
            return None if self.holder.held else "interrupted"
        event = self.last_events.get(name)
        record = self.inventory.records.get(name)
        kind = next((kind for kind in UNFINISHED if event and event.event == kind), None)
        if event is None or kind is None:
            return None
        if record and (kind == "failed" or record.at is None or record.at >= event.at):
            return None  # a commit whose reply was lost may be logged as failed and be registered all the same
        return kind

    def interrupted(self, name: str) -> str:
        """The sentence for a migration that a run died in, with both ways on."""
        again, done = ("rollback", "forget") if name in self.inventory.records else ("execute", "ignore")
        command, progress = self.inventory.command, self.progresses.get(name)
        far = f" {progress.far} are done, in whole batches." if progress else ""
        runs = "goes on from there" if progress else "runs it again"
        return (
            f"{name} was interrupted: it may be half applied, or still be running behind a broken network.{far} Look at"
            f" the data; then {command}:{again},{name} {runs}, or {command}:{done},{name} takes it as done."
        )

    def failure(self, name: str) -> str:
        """What the log says of a migration that failed, or failed to be rolled back; empty if neither is so."""
        kind = self.unfinished(name)
        if kind is None or kind == "interrupted":
            return ""
        event, progress = self.last_events[name], self.progresses.get(name)
        by = f" by {event.by}" if event.by else ""
        far = f"; {progress.far} are done" if progress else ""
        return f"{name}: {kind} on {local_time(event.at)}{by} ({event.error or 'nobody knows why'}){far}"

    @property
    def problems(self) -> list[Problem]:
        """All there are, those first that stop an ``execute``."""
        found = self.inventory
        return [
            *self._restore_problem(),
            *self._unfinished_problems(),
            *self._each("badly named", found.badly_named),
            *[
                Problem("unreadable", name, f"{name}: unreadable, {why}{self._sentence('unreadable', name)}")
                for name, why in self.unreadable.items()
            ],
            *self._each("changed", self.changed),
            *self._each("missing", found.missing),
            *self._each("out of order", found.out_of_order),
            *self._each("same number", found.same_number),
            *map(_not_ours, self.foreign),
        ]

    def unfinished_of(self, names: Sequence[str]) -> list[Problem]:
        """The problems of those migrations that have not ended well."""
        return [problem for problem in self._unfinished_problems() if problem.name in names]

    def _restore_problem(self) -> list[Problem]:
        """None while the restore is at work."""
        text = self.inventory.restore_problem
        at_work = self.holder and self.holder.held and self.holder.subtask == "dbrestore"
        return [Problem("half restored", None, text)] if text and not at_work else []

    def _each(self, kind: ProblemKind, names: Sequence[str]) -> list[Problem]:
        return [Problem(kind, name, f"{name}: {kind}, {self._sentence(kind, name)}") for name in names]

    def _sentence(self, kind: ProblemKind, name: str) -> str:
        new = self.renamed.get(name) if kind == "missing" else None
        sentence = RENAMED if new else SENTENCES[kind]
        return sentence.format(command=self.inventory.command, name=name, new=new)

    def _unfinished_problems(self) -> list[Problem]:
        """In the order of the files; one that was given up and deleted is no problem any more."""
        problems = []
        suspects = {self.running, *self.last_events}
        files = [migration.name for migration in self.inventory.files]
        for name in dict.fromkeys(name for name in (*files, *self.inventory.records) if name in suspects):
            kind = self.unfinished(name)
            if kind:
                failure = self.failure(name)
                text = f"{failure}{self._sentence(kind, name)}" if failure else self.interrupted(name)
                problems.append(Problem(kind, name, text))
        return problems

    def kinds(self) -> dict[str, list[ProblemKind]]:
        """The kinds of problems of each name that has any."""
        kinds: dict[str, list[ProblemKind]] = defaultdict(list)
        for problem in self.problems:
            if problem.name:
                kinds[problem.name].append(problem.kind)
        return kinds


def _not_ours(found: ForeignDocument) -> Problem:
    text = f"{found.collection}: not ours, the document with _id {found.id}: {found.why}; {found.next_step}"
    return Problem("not ours", found.collection, text)
