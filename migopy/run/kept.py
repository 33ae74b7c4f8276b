"""What the subtask ``kept`` shows and deletes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Sequence

from ..errors import MigrationNotFound
from ..terminal.options import positive_number, require_not_empty
from ..terminal.streams import show
from ..terminal.tables import table
from ..terminal.wording import byte_size, local_time, plural
from . import report

if TYPE_CHECKING:
    from ..store.kept import Kept
    from .workspace import Workspace


def find(workspace: Workspace, drop: str | None, older: str | None) -> list[Kept]:
    """What is kept: of one migration (``drop``), for more than so many days (``older``), or all.

    Raises ``MigrationNotFound`` if nothing is kept of the migration.
    """
    require_not_empty("drop", drop, "drop=NAME")
    found = workspace.kept.amounts()
    if drop is not None:
        name = _name(workspace, drop, [kept.walk.migration for kept in found])
        found = [kept for kept in found if kept.walk.migration == name]
    if older is not None:
        until = datetime.now(timezone.utc) - timedelta(days=positive_number("older", older))
        found = [kept for kept in found if kept.walk.at and kept.walk.at < until]
    return found


def _name(workspace: Workspace, drop: str, names: Sequence[str]) -> str:
    """The full name of the migration. Its file and its registration may be gone."""
    if drop in names:
        return drop
    inventory = workspace.inventory()
    name = inventory.name(drop)
    kept_name = inventory.records[name].to_restore[0] if name in inventory.records else name
    if kept_name not in names:
        raise MigrationNotFound(f"Nothing is kept of {name}. Nothing was done.", migration=name)
    return kept_name


def print_all(found: Sequence[Kept], *, as_json: bool) -> None:
    """Print what is kept on stdout: a table for people, nothing if nothing is kept, or JSON for programs."""
    if as_json:
        show(report.as_json({"kept": rows(found)}))
    elif found:
        show(as_text(found))


def rows(found: Sequence[Kept]) -> list[dict[str, Any]]:
    """A row for each walk, for programs."""
    return [
        {
            "name": kept.walk.migration,
            "collection": kept.walk.name,
            "fields": None if kept.walk.fields is None else list(kept.walk.fields),
            "documents": kept.documents,
            "bytes": kept.bytes,
            "since": kept.walk.at,
            "by": kept.walk.by,
        }
        for kept in found
    ]


def as_text(found: Sequence[Kept]) -> str:
    """The same rows as a table."""
    return table(
        ["NAME", "COLLECTION", "DOCUMENTS", "SIZE", "SINCE", "BY"],
        [
            [
                row["name"],
                row["collection"],
                f"{row['documents']:,}",
                byte_size(row["bytes"]),
                local_time(row["since"]) if row["since"] else "",
                row["by"] or "",
            ]
            for row in rows(found)
        ],
    )


def question(found: Sequence[Kept]) -> str:
    """What is to be deleted, as a question."""
    names = ", ".join(dict.fromkeys(kept.walk.migration for kept in found))
    documents = plural(sum(kept.documents for kept in found), "document")
    return f"Delete what is kept of {documents} by {names}? A rollback can no longer put it back."
