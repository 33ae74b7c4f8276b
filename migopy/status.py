"""Files joined with what the database knows of them. Every subtask starts from here, so they cannot disagree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Mapping, NamedTuple, Sequence

from .console import local_time

if TYPE_CHECKING:
    from .history import Event, Record
    from .loader import Migration
    from .lock import Holder

UNFINISHED = ("failed", "interrupted", "rollback failed")

DRIFT = {
    "changed": "bring back the content that was executed, or forget and ignore the migration to accept the new one",
    "missing": "bring back the file, or forget the migration",
    "out of order": "give the file a number above the registered ones, or ignore it",
}
"""What ``STRICT`` refuses, and the way on."""


class Problem(NamedTuple):
    """Something about a migration that a person should know: ``kind`` in a word or two, ``text`` as a sentence."""

    kind: str
    name: str
    text: str

    @property
    def is_unfinished(self) -> bool:
        return self.kind in UNFINISHED


@dataclass(frozen=True)
class Status:
    """The state of one directory and one database.

    ``changed`` are the names whose files are no longer what was executed; to know them their content has to be read.
    ``command`` is how the task is called, ``fab migrations``.
    """

    files: Sequence[Migration]
    records: Mapping[str, Record]
    command: str
    last_events: Mapping[str, Event] = field(default_factory=dict)
    holder: Holder | None = None
    changed: Sequence[str] = ()

    @cached_property
    def unregistered(self) -> list[Migration]:
        return [migration for migration in self.files if migration.name not in self.records]

    @property
    def missing(self) -> list[str]:
        """Registered names without a file."""
        present = {migration.name for migration in self.files}
        return sorted(name for name in self.records if name not in present)

    @property
    def badly_named(self) -> list[str]:
        return [migration.name for migration in self.unregistered if migration.number is None]

    @property
    def out_of_order(self) -> list[str]:
        """Unregistered files numbered below a registered one."""
        numbers = [m.number for m in self.files if m.name in self.records and m.number is not None]
        highest = max(numbers, default=-1)
        return [m.name for m in self.unregistered if m.number is not None and m.number < highest]

    @property
    def same_number(self) -> list[str]:
        """Files that share their number with another one."""
        groups: dict[int | None, list[str]] = defaultdict(list)
        for migration in self.files:
            groups[migration.number].append(migration.name)
        return [name for number, names in groups.items() if number is not None and len(names) > 1 for name in names]

    @cached_property
    def running(self) -> str | None:
        """The migration that the holder of the lock is, or was, in the middle of."""
        return self.holder.migration(self.records) if self.holder else None

    def unfinished(self, name: str) -> str | None:
        """``failed``, ``interrupted`` or ``rollback failed``, unless the migration has been brought to an end since."""
        if self.holder and name == self.running:
            return None if self.holder.held else "interrupted"
        event = self.last_events.get(name)
        record = self.records.get(name)
        if event is None or event.event not in UNFINISHED:
            return None
        if record and (event.event == "failed" or record.at is None or record.at >= event.at):
            return None  # a commit whose reply was lost may be logged as failed and be registered all the same
        return event.event

    def interrupted(self, name: str) -> str:
        """The sentence for a migration that a run died in, with both ways on."""
        again, done = ("rollback", "forget") if name in self.records else ("execute", "ignore")
        return (
            f"{name} was interrupted: it may be half applied, or still be running behind a broken network. Look at"
            f" the data; then {self.command}:{again},{name} runs it again, or {self.command}:{done},{name} takes it as"
            " done."
        )

    def failure(self, name: str) -> str:
        """What the log says of a migration that failed, or failed to be rolled back; empty if neither is so."""
        kind = self.unfinished(name)
        if kind is None or kind == "interrupted":
            return ""
        event = self.last_events[name]
        return f"{name}: {kind} on {local_time(event.at)} by {event.by} ({event.error})"

    @property
    def problems(self) -> list[Problem]:
        """All there are, those first that stop an ``execute``."""
        return [
            *self._unfinished_problems(),
            *self._each("badly named", self.badly_named, "it does not match MIGRATIONS_FILE_PATTERN"),
            *self._each("changed", self.changed, "the file is not the one that was executed"),
            *self._each("missing", self.missing, "it is registered, and there is no such file"),
            *self._each("out of order", self.out_of_order, "it is numbered below a registered one"),
            *self._each("same number", self.same_number, "another file has its number; they run in order of name"),
        ]

    def _unfinished_problems(self) -> list[Problem]:
        """In the order of the files; one that was given up and deleted is no problem any more."""
        problems = []
        suspects = {self.running, *self.last_events}
        names = [name for name in (*(migration.name for migration in self.files), *self.records) if name in suspects]
        for name in dict.fromkeys(names):
            kind = self.unfinished(name)
            if kind == "interrupted":
                problems.append(Problem(kind, name, self.interrupted(name)))
            elif kind:
                problems.append(Problem(kind, name, self.failure(name)))
        return problems

    @staticmethod
    def _each(kind: str, names: Sequence[str], fact: str) -> list[Problem]:
        return [Problem(kind, name, f"{name}: {kind}, {fact}") for name in names]

    def kinds(self) -> dict[str, list[str]]:
        """The kinds of problems of each name that has any."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for problem in self.problems:
            kinds[problem.name].append(problem.kind)
        return kinds
