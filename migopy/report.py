"""What the reading subtasks tell: rows for programs (``json=yes``), and the same rows as tables for people."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from .console import duration, local_time, table

if TYPE_CHECKING:
    from .history import Event
    from .status import Status

Row = Mapping[str, Any]


def as_json(document: Row) -> str:
    """One JSON document; times in ISO 8601, UTC."""
    return json.dumps(document, indent=2, ensure_ascii=False, default=_utc)


def _utc(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def status_rows(status: Status) -> dict[str, Any]:
    """The unregistered names, the problems and the lock: what show_status, plan and check have in common."""
    holder = status.holder
    return {
        "unregistered": [migration.name for migration in status.inventory.unregistered],
        "problems": [problem._asdict() for problem in status.problems],
        "lock": {
            "held": holder.held,
            "by": holder.by,
            "pid": holder.pid,
            "subtask": holder.subtask,
            "migration": status.running,
            "since": holder.since,
        }
        if holder
        else None,
    }


def history_rows(status: Status) -> list[dict[str, Any]]:
    """A row for each migration there is or was, in order; registered names without a file among the others."""
    kinds = status.kinds()
    return [_history_row(status, name, kinds.get(name, [])) for name in status.inventory.names]


def _history_row(status: Status, name: str, problems: Sequence[str]) -> dict[str, Any]:
    record = status.inventory.records.get(name)
    return {
        "name": name,
        "state": record.state if record else "unregistered",
        "problems": list(problems),
        "at": record.at if record else None,
        "seconds": record.seconds if record else None,
        "by": record.by if record else None,
        "dump": record.dump if record else None,
        "dump_documents": record.dump_documents if record else None,
        "dump_bytes": record.dump_bytes if record else None,
    }


def history_table(rows: Sequence[Row]) -> str:
    return table(
        ["NAME", "STATE", "WHEN", "TOOK", "BY"],
        [[row["name"], ", ".join([row["state"], *row["problems"]]), *_when_took_by(row)] for row in rows],
    )


def dump_line(row: Row) -> str:
    """Which dump was taken before a migration, and what is in it."""
    facts = f" ({row['dump_documents']:,} documents, {row['dump_bytes']:,} bytes)" if row["dump_bytes"] else ""
    return f"Dumped before it: {row['dump']}{facts}"


def event_rows(events: Sequence[Event]) -> list[dict[str, Any]]:
    keys = ("at", "event", "seconds", "by", "error", "executed_at")
    return [{key: getattr(event, key) for key in keys} for event in events]


def event_table(rows: Sequence[Row]) -> str:
    return table(
        ["EVENT", "WHEN", "TOOK", "BY", "ERROR"],
        [[row["event"], *_when_took_by(row), row["error"] or ""] for row in rows],
    )


def _when_took_by(row: Row) -> list[str]:
    when = local_time(row["at"]) if row["at"] else ""
    return [when, "" if row["seconds"] is None else duration(row["seconds"]), row["by"] or ""]


def plan_table(steps: Sequence[Row]) -> str:
    words = {True: "yes", False: "no", None: "?"}
    return table(
        ["NAME", "TRANSACTION", "DOWN", "DUMP"],
        [[step["name"], *(words[step[key]] for key in ("transaction", "down", "dump"))] for step in steps],
    )
