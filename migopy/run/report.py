"""The output of the reading subtasks: rows for programs (``json=yes``), and the same rows as tables for people."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from ..store.checkpoints import Walked
from ..store.requests import Request
from ..terminal.messages import BOLD, RED
from ..terminal.tables import table
from ..terminal.wording import duration, join_with_and, local_time, plural, stopper
from .status import UNFINISHED

if TYPE_CHECKING:
    from ..store.history import Event, Record
    from ..store.lock import Holder
    from .status import Problem, Status

Row = Mapping[str, Any]

OF_EVERY_ATTEMPT = ("at", "seconds", "by", "dump")
OF_RECORDS = ("dump_documents", "dump_bytes", "kept_documents", "rejected_documents", "walks")
"""What a row of the history has of a registration or a failure, and what only of a registration."""

MAX_NAMED = 5
"""Problems that one sentence names."""


def as_json(document: Row) -> str:
    """One JSON document, with times in ISO 8601, UTC."""
    return json.dumps(document, indent=2, default=_utc)  # ASCII, because stdout may have any encoding


def _utc(value: datetime) -> str:
    return value.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def status_rows(status: Status) -> dict[str, Any]:
    """The rows that show_status, plan and check have in common."""
    last = status.last_executed
    holder = status.holder
    return {
        "database": status.database,
        "server": status.server,
        "executed": status.count("executed"),
        "ignored": status.count("ignored"),
        "last": {"name": last.name, "at": last.at} if last else None,
        "unregistered": [migration.name for migration in status.inventory.unregistered],
        "running": status.running_now,
        "problems": [problem._asdict() for problem in status.problems],
        "lock": {
            "held": holder.held,
            "by": holder.by,
            "pid": holder.pid,
            "subtask": holder.subtask,
            "migration": status.running,
            "since": holder.since,
            "until": holder.expires_at,
            "gone": holder.is_gone,
            "doing": status.doing or None,
            "request": _request_row(status),
            "pace": holder.pace._asdict() if holder.pace else None,
            "progress": _progress_row(status, status.running),
        }
        if holder
        else None,
    }


def summary_line(status: Status) -> str:
    """``12 executed, 1 ignored, 2 unregistered; last 012_tags.py on 2026-01-31 12:00:00 UTC``."""
    numbers = {
        "executed": status.count("executed"),
        "ignored": status.count("ignored"),
        "running": len(status.inventory.unregistered) - len(status.unregistered),
        "unregistered": len(status.unregistered),
        "missing": len(status.inventory.missing),
    }
    counts = ", ".join(f"{number} {what}" for what, number in numbers.items() if number or what == "executed")
    last = status.last_executed
    when = f" on {local_time(last.at)}" if last and last.at else ""
    return f"{counts}; last {last.name}{when}" if last else counts


def _progress_row(status: Status, name: str | None) -> dict[str, Any] | None:
    """How far a migration in batches is; ``seconds`` are those it took so far."""
    progress = status.progress.get(name or "")
    if progress is None:
        return None
    waits = status.doing and name == status.running
    return {
        "collection": progress.collection.partition(".")[2],  # without the database
        "done": progress.done,
        "total": progress.total,
        "seconds": round(progress.seconds, 3),
        "seconds_left": None if progress.seconds_left is None or waits else round(progress.seconds_left),
        "at": progress.at,
        "rejected": progress.rejected,
    }


def _request_row(status: Status) -> dict[str, Any] | None:
    """What another terminal has asked of the run last."""
    return status.request._asdict() if status.request else None


def history_rows(status: Status) -> list[dict[str, Any]]:
    """A row for each file and each registration, in order, then for the names that only the log knows."""
    kinds = status.kinds_by_name()
    names = status.inventory.names
    only_logged = sorted({*status.last_events} - {*names})
    return [_history_row(status, name, kinds.get(name, [])) for name in (*names, *only_logged)]


def _history_row(status: Status, name: str, problems: Sequence[str]) -> dict[str, Any]:
    record = status.inventory.records.get(name)
    if name == status.running_now and status.holder:
        return _history_row_of_running(status, status.holder, problems)
    is_file = record or name in status.inventory.file_names
    return {
        "name": name,
        "state": record.state if record else "unregistered" if is_file else "no file",
        "problems": list(problems),
        **dict.fromkeys(OF_EVERY_ATTEMPT),
        **_last_attempt(status, name),
        **{key: getattr(record, key, None) for key in OF_RECORDS},
        "progress": _progress_row(status, name),
        "request": None,
    }


def _last_attempt(status: Status, name: str) -> dict[str, Any]:
    """When, how long and by whom: of the registration, of a run that was killed, or of what the log knows."""
    record, event = status.inventory.records.get(name), status.last_events.get(name)
    if status.holder and name == status.running and not record:  # the log does not know it yet
        return {"at": status.holder.since, "by": status.holder.by}
    is_of_interest = status.unfinished_kind(name) or name not in status.inventory.file_names
    known = record or (event if is_of_interest else None)
    return {key: getattr(known, key, None) for key in OF_EVERY_ATTEMPT}


def _history_row_of_running(status: Status, holder: Holder, problems: Sequence[str]) -> dict[str, Any]:
    """The row of the migration that is running: since when, by whom and how far."""
    return {
        **dict.fromkeys((*OF_EVERY_ATTEMPT, *OF_RECORDS)),
        "name": status.running,
        "state": "rolling back" if status.is_rolling_back else "running",
        "problems": list(problems),
        "at": status.running_since,
        "by": holder.by,
        "progress": _progress_row(status, status.running),
        "request": _request_row(status),
    }


def newest_executed(rows: Sequence[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    """The rows of the migrations executed last, in the order of execution."""
    executed = [row for row in rows if row["state"] == "executed" and row["at"]]
    return sorted(executed, key=lambda row: row["at"])[-number:]


def history_table(rows: Sequence[Row]) -> str:
    return table(
        ["NAME", "STATE", "WHEN", "TOOK", "BY"],
        [[row["name"], _state_text(row), *_when_took_by(row)] for row in rows],
        colours=[_colour(row) for row in rows],
    )


def _state_text(row: Row) -> str:
    return ", ".join([*_state(row), *_progress_text(row), *_pause_text(row)])


def _state(row: Row) -> list[str]:
    """``executed, changed``; only the problems of an unregistered migration, which say more in less room."""
    problems_only = row["state"] == "unregistered" and row["problems"]
    kept = ["kept"] if row["kept_documents"] else []
    rejected = [f"{row['rejected_documents']:,} set aside"] if row["rejected_documents"] else []
    return row["problems"] if problems_only else [row["state"], *kept, *rejected, *row["problems"]]


def _colour(row: Row) -> str:
    """Red if it went wrong, bold if it is to be executed, as in the messages."""
    if set(row["problems"]) & set(UNFINISHED):
        return RED
    return BOLD if row["state"] == "unregistered" else ""


def _progress_text(row: Row) -> list[str]:
    """``41 %``, or the number of documents if the total is not known."""
    progress = row["progress"]
    if not progress:
        return []
    done = f"{100 * progress['done'] // progress['total']} %" if progress["total"] else f"{progress['done']:,} done"
    return [done, *([f"{progress['rejected']:,} set aside"] if progress["rejected"] else [])]


def problems_beside(obstacles: Sequence[str], status: Status) -> list[Problem]:
    """The problems that none of the obstacles is about."""
    # One obstacle names all badly named files.
    others = [problem for problem in status.problems if problem.kind != "badly named"]
    return [problem for problem in others if not any(problem.text in obstacle for obstacle in obstacles)]


def _pause_text(row: Row) -> list[str]:
    """``paused by ann@web1 (backup)``, if somebody has asked for that."""
    request = Request(**row["request"]) if row["request"] else None
    return [request.doing] if request and request.what == "pause" else []


def wrong(status: Status, obstacles: Sequence[str], *, may_be_pending: bool) -> str:
    """``Not up to date: 2 unregistered migrations and 1 problem (3_c.py changed)``; empty if nothing is wrong.

    Where migrations ``may_be_pending``, only what ``execute`` does not settle is wrong.
    """
    problems = status.lasting_problems if may_be_pending else status.problems
    found = [f"{plural(len(problems), 'problem')} ({_named(problems)})"] if problems else []
    pending = [] if may_be_pending else _pending(status)
    found = [*pending, *found, *(["execute would stop"] if obstacles else [])]
    state = "Not up to date" if pending else "Something is wrong"
    return f"{state}: {join_with_and(found)}" if found else ""


def _pending(status: Status) -> list[str]:
    unregistered = len(status.unregistered)
    running = _running(status)
    return [
        *([plural(unregistered, "unregistered migration")] if unregistered else []),
        *([running] if running else []),
    ]


def _running(status: Status) -> str:
    """``3_c.py is running``; empty if none is."""
    if not status.running_now:
        return ""
    return f"{status.running_now} is {'being rolled back' if status.is_rolling_back else 'running'}"


def _named(problems: Sequence[Problem]) -> str:
    """``3_c.py changed, 4_d.py missing``"""
    names = [f"{problem.name} {problem.kind}" if problem.name else problem.kind for problem in problems]
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join([*names[:MAX_NAMED], *more])


def nothing_wrong(status: Status, execute: str) -> str:
    """What ``check`` says where nothing is wrong; ``execute`` is the command."""
    if not status.unregistered:
        running = _running(status)
        return f"Nothing is wrong, {running}" if running else "Up to date, nothing is wrong"
    to_execute = f"{plural(len(status.unregistered), 'migration')} to execute"
    return f"{execute} settles this: {to_execute}" if status.problems else f"Nothing is wrong, {to_execute}"


def history_text(rows: Sequence[Row], events: Sequence[Row] | None) -> str:
    """For people: the table, and the events and dumps of the one migration that was asked for."""
    parts = [history_table(rows)]
    if events is not None:
        shown = rows[0]["dump"]
        others = [dump for dump in dumps(events) if dump != shown]
        parts += [dump_line(rows[0])] if shown else []
        parts += [f"In batches: {'; '.join(map(_walk_text, rows[0]['walks']))}"] if rows[0]["walks"] else []
        parts += [kept_line(rows[0])] if rows[0]["kept_documents"] else []
        parts += [event_table(events)] if events else []
        parts += ["Other dumps: " + ", ".join(others)] if others else []
    return "\n\n".join(parts)


def dump_line(row: Row) -> str:
    """Which dump was taken before a migration, and how large it is."""
    facts = f" ({plural(row['dump_documents'], 'document')}, {row['dump_bytes']:,} bytes)" if row["dump_bytes"] else ""
    return f"Dumped before it: {row['dump']}{facts}"


def kept_line(row: Row) -> str:
    """How many documents a migration has kept."""
    return f"Kept for its rollback: {plural(row['kept_documents'], 'document')}"


def _walk_text(walk: Row) -> str:
    return str(Walked.from_value(walk))


def event_rows(events: Sequence[Event], record: Record | None = None) -> list[dict[str, Any]]:
    """The events of one migration in the order of time, with its executions; ``record`` is its registration."""
    keys = ("at", "event", "seconds", "by", "error", "run", "executed_at", "dump", "was", "because")
    rows = [{key: getattr(event, key) for key in keys} for event in _without_repeats(events)]
    empty = dict.fromkeys(keys)
    for event in events:
        if event.executed_at:
            facts = {"seconds": event.executed_seconds, "by": event.executed_by, "at": event.executed_at}
            rows.append({**empty, "event": event.state or "executed", **facts})
    if record and record.at:
        facts = {"seconds": record.seconds, "by": record.by, "at": record.at, "dump": record.dump}
        rows.append({**empty, "event": record.state, **facts})
    return sorted(rows, key=lambda row: row["at"])


def _without_repeats(events: Sequence[Event]) -> list[Event]:
    """The events without what the end of one run has logged again: unlock, and then that run itself."""
    kept: list[Event] = []
    for event in events:
        before = kept[-1] if kept and kept[-1].event in ("unlocked", "interrupted") else None
        is_repeated = event.event == "interrupted" and before and event.run in (before.run, None)
        if not is_repeated:
            kept.append(event)
    return kept


def event_table(rows: Sequence[Row]) -> str:
    return table(
        ["EVENT", "WHEN", "TOOK", "BY", "WHY"],
        [[row["event"], *_when_took_by(row), _why(row)] for row in rows],
        wrapped=True,
        colours=[RED if row["event"] in UNFINISHED else "" for row in rows],
    )


def _why(row: Row) -> str:
    """An error, the run that was interrupted or unlocked, a person's reason, or the old name of an accepted file."""
    if row["event"] in ("stopped", "rollback stopped") and row["error"]:
        return f"by {stopper(row['error'])}"
    return row["error"] or row["run"] or row["because"] or (f"was {row['was']}" if row["was"] else "")


def dumps(rows: Sequence[Row]) -> list[str]:
    """The dumps in these rows, each once."""
    return list(dict.fromkeys(row["dump"] for row in rows if row["dump"]))


def _when_took_by(row: Row) -> list[str]:
    when = local_time(row["at"]) if row["at"] else ""
    return [when, "" if row["seconds"] is None else duration(row["seconds"]), row["by"] or ""]


def plan_table(steps: Sequence[Row]) -> str:
    words = {True: "yes", False: "no", None: "?"}
    return table(
        ["NAME", "TRANSACTION", "VERIFY", "DOWN", "DUMP"],
        [
            [step["name"], _transaction(step, words), words[step["verify"]], _down(step, words), words[step["dump"]]]
            for step in steps
        ],
        colours=[RED if step["error"] else "" for step in steps],
    )


def _down(step: Row, words: Mapping[bool | None, str]) -> str:
    return "from what is kept" if step["down_from_kept"] else words[step["down"]]


def rollback_table(steps: Sequence[tuple[Record, bool, bool]]) -> str:
    """``steps`` are the registrations, each with whether its ``down()`` runs in a transaction or in batches."""
    words = {True: "yes", False: "no"}
    return table(
        ["NAME", "EXECUTED", "BY", "TRANSACTION"],
        [
            [
                record.name,
                local_time(record.at) if record.at else "",
                record.by or "",
                "in batches" if in_batches else words[in_transaction],
            ]
            for record, in_transaction, in_batches in steps
        ],
    )


def _transaction(step: Row, words: Mapping[bool | None, str]) -> str:
    return "in batches" if step["batches"] else words[step["transaction"]]
