"""What the subtask history shows: rows for all migrations, or for some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Sequence

from ..errors import UnknownSubtask
from . import report

if TYPE_CHECKING:
    from .status import Problem
    from .workspace import Workspace


class HistoryView(NamedTuple):
    """The rows, the problems of these migrations, and the events of the one that was asked for, if one was."""

    rows: Sequence[report.Row]
    problems: Sequence[Problem]
    events: Sequence[report.Row] | None

    @property
    def document(self) -> dict[str, Any]:
        """For programs."""
        document = {"migrations": self.rows, "problems": [problem._asdict() for problem in self.problems]}
        return document if self.events is None else {**document, "events": self.events}


def find_history(workspace: Workspace, name: str | None, newest: int | None) -> HistoryView:
    """The history of all migrations, of one, or of so many that were executed last.

    Raises ``UnknownSubtask`` if both are given, and ``MigrationNotFound`` if nothing is known of the one.
    """
    if name is not None and newest is not None:
        raise UnknownSubtask(
            f"{name!r} and last={newest} are given: a comma begins another option. Write one NAME, or last=N."
        )
    status = workspace.status(with_contents=True)
    rows, events = report.history_rows(status), None
    if name is not None:
        name = status.inventory.name(name, also=status.last_events)
        rows = [row for row in rows if row["name"] == name]
        events = report.event_rows(workspace.history.events_of_file(name), status.inventory.records.get(name))
    elif newest is not None:
        rows = report.newest_executed(rows, newest)
    return HistoryView(rows, [problem for problem in status.problems if name in (None, problem.name)], events)
