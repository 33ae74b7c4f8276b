"""Files joined with what the database knows of them. Every subtask starts from here, so they cannot disagree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Mapping, Sequence

if TYPE_CHECKING:
    from .history import Event, Record
    from .loader import Migration
    from .lock import Holder

UNFINISHED = ("failed", "interrupted", "rollback failed")


@dataclass(frozen=True)
class Status:
    """The state of one directory and one database; nothing in it reads a file's content."""

    files: Sequence[Migration]
    records: Mapping[str, Record]
    last_events: Mapping[str, Event] = field(default_factory=dict)
    holder: Holder | None = None

    @property
    def unregistered(self) -> list[Migration]:
        return [migration for migration in self.files if migration.name not in self.records]

    @property
    def missing(self) -> list[str]:
        """Registered names without a file."""
        present = {migration.name for migration in self.files}
        return sorted(name for name in self.records if name not in present)

    @property
    def badly_named(self) -> list[Migration]:
        return [migration for migration in self.unregistered if migration.number is None]

    @property
    def out_of_order(self) -> list[Migration]:
        """Unregistered files numbered below a registered one."""
        numbers = [m.number for m in self.files if m.name in self.records and m.number is not None]
        highest = max(numbers, default=-1)
        return [m for m in self.unregistered if m.number is not None and m.number < highest]

    @property
    def same_number(self) -> list[list[Migration]]:
        groups: dict[int, list[Migration]] = defaultdict(list)
        for migration in self.files:
            if migration.number is not None:
                groups[migration.number].append(migration)
        return [group for group in groups.values() if len(group) > 1]

    def unfinished(self, name: str) -> Event | None:
        """What went wrong with a migration last, unless it has been executed or rolled back since."""
        event = self.last_events.get(name)
        if event is None or event.event not in UNFINISHED:
            return None
        record = self.records.get(name)
        if record and (record.at is None or record.at >= event.at):
            return None
        return event

    @property
    def all_unfinished(self) -> dict[str, Event]:
        """What needs a person, in the order of time; a file that was given up and deleted does not."""
        present = {migration.name for migration in self.files}
        names = [name for name in self.last_events if name in present or name in self.records]
        found = {name: event for name in names for event in [self.unfinished(name)] if event}
        return dict(sorted(found.items(), key=lambda item: item[1].at))

    @property
    def died_in(self) -> str | None:
        """The migration in which a run has died that no later run has found yet."""
        holder = self.holder
        if holder is None or holder.held or holder.migration is None:
            return None
        return holder.migration if holder.left_half_done(self.records) else None

    def oddities(self) -> dict[str, list[str]]:
        """What is no error and still worth a look, in a few words each."""
        facts = {
            "Registered, but without a file": self.missing,
            "Numbered below registered ones": [migration.name for migration in self.out_of_order],
            "Of the same number": [migration.name for group in self.same_number for migration in group],
        }
        return {fact: names for fact, names in facts.items() if names}
