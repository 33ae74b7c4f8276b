"""What the reading subtasks say of many databases: those in one state together."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ..errors import CheckFailed, MigopyException
from ..terminal import ColorsLogger, show
from ..terminal.wording import plural, some
from .choice import Target, in_words
from .managers import Managers
from .workers import Done, Subtask

MAX_GROUPS = 20
"""How many groups of databases people are shown."""


VOLATILE = {
    *("at", "since", "until", "seconds", "by", "pid", "database", "server", "text", "doing", "progress", "obstacles"),
    *("dump", "dump_documents", "dump_bytes", "events"),
}
"""The keys of documents that differ between databases in the same state."""


class Group(NamedTuple):
    """Databases in one state, and what the subtask says of the first."""

    targets: list[Target]
    first: Done

    @property
    def title(self) -> str:
        return in_words(self.targets)

    @property
    def title_of_times(self) -> str:
        """The title of what is shown of the first only."""
        return f"{self.title}, times of {self.first.target.name}" if len(self.targets) > 1 else self.title


def find_groups(results: Sequence[Done]) -> list[Group]:
    """The databases by state, most of them first."""
    groups: dict[Any, Group] = {}
    for result in results:
        error = (result.error or "").replace(result.target.name, "")  # it may say where the user lacks a right
        state = (result.code, json.dumps(_lasting(result.document)) if result.document else error)
        groups.setdefault(state, Group([], result)).targets.append(result.target)
    return sorted(groups.values(), key=lambda group: -len(group.targets))


def _lasting(value: Any) -> Any:
    """The document without what differs between databases in the same state."""
    if isinstance(value, Mapping):
        return {key: _lasting(part) for key, part in value.items() if key not in VOLATILE}
    return [_lasting(part) for part in value] if isinstance(value, list) else value


def show_groups(managers: Managers, results: Sequence[Done], subtask: Subtask, logger: ColorsLogger) -> None:
    """Show each group: in a few lines, or as the subtask shows its first database.

    Raises what the subtask has raised, once for all.
    """
    groups = find_groups(results)
    servers = {result.document["server"] for result in results if "server" in result.document}
    if len(results) > 1 and servers:
        logger.white(f"{plural(len(results), 'database')} at {some(sorted(servers))}")
    for group in groups[:MAX_GROUPS]:
        if not group.first.document:
            logger.red(f"{group.title}: {group.first.error}")
        elif subtask.name == "show_status":
            _show_status(group, logger)
        else:
            logger.white_bold(f"{group.title_of_times if subtask.name == 'history' else group.title}:")
            _show_first(managers, group, subtask, logger)
    if len(groups) > MAX_GROUPS:
        logger.white(f"There are {len(groups) - MAX_GROUPS:,} more such groups; json=yes shows all.")
    raise_worst([result for result in results if result.code], len(results))


def _show_first(managers: Managers, group: Group, subtask: Subtask, logger: ColorsLogger) -> None:
    """Show what the subtask says of the first database now."""
    try:
        with contextlib.closing(managers.manager(group.first.target)) as manager:
            subtask.call(manager)
    except MigopyException as error:
        logger.red(managers.class_for(group.first.target).logger.qualified(error))


def _show_status(group: Group, logger: ColorsLogger) -> None:
    status = group.first.document
    unregistered = [name for name in status["unregistered"] if name != status["running"]]
    counts = ", ".join(
        f"{number} {what}"
        for what, number in (
            ("executed", status["executed"]),
            ("ignored", status["ignored"]),
            ("running", 1 if status["running"] else 0),
            ("unregistered", len(unregistered)),
        )
        if number or what == "executed"
    )
    last = f"; last {status['last']['name']}" if status["last"] else ""
    logger.white_bold(f"{group.title}: {counts}{last}")
    for name in unregistered:
        logger.red(f"  {name}")
    for problem in status["problems"]:
        logger.white(f"  {group.targets[0].name}: {problem['text']}")
    if status["lock"] and status["lock"]["held"]:
        logger.white(f"  {group.targets[0].name}: {lock_text(status['lock'])}")


def lock_text(lock: Mapping[str, Any]) -> str:
    """``locked by ann@web1 (process 12), execute of 1_a.py``, from the document of ``show_status``."""
    process = f" (process {lock['pid']}{', which has ended' if lock['gone'] else ''})" if lock["pid"] else ""
    state = "locked" if lock["held"] else "the lock was left behind"
    run = f"{lock['subtask']} of {lock['migration']}" if lock["migration"] else lock["subtask"]
    return ", ".join(filter(None, [f"{state} by {lock['by']}{process}", run, lock["doing"]]))


def show_documents(results: Sequence[Done]) -> None:
    """Show one JSON document with what a subtask says of each database. Raises what it has raised, once for all."""
    rows = [{"name": result.target.name, "error": result.error, **result.document} for result in results]
    show(json.dumps({"databases": rows}, indent=2))
    raise_worst([result for result in results if result.code], len(results))


def raise_worst(failed: Sequence[Done], total: int) -> None:
    """Raises ``CheckFailed`` where that is all that happened, otherwise ``MigopyException``."""
    if failed:
        text = f"Something is wrong in {len(failed):,} of {plural(total, 'database')}: {some(_names(failed))}."
        is_found = worst(result.code for result in failed) == CheckFailed.exit_code
        raise CheckFailed(text) if is_found else MigopyException(text)


def worst(codes: Iterable[int | None]) -> int:
    """The exit code of those that failed, or 1 if they differ."""
    different = {code for code in codes if code}
    return different.pop() if len(different) == 1 else 1


def _names(results: Sequence[Done]) -> list[str]:
    return [result.target.name for result in results]
