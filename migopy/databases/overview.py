"""What the reading subtasks say of many databases: those in one state together."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Mapping, NamedTuple, Sequence

from ..errors import CheckFailed, MigopyException
from ..fab.dispatch import call
from ..terminal import ColorsLogger, show
from ..terminal.wording import plural
from .choice import Target, some
from .managers import Managers
from .workers import Done, Subtask

MAX_GROUPS = 20
"""How many groups of databases people are shown."""


class Group(NamedTuple):
    """Databases in one state, and what ``show_status`` says of the first."""

    targets: list[Target]
    status: Done

    @property
    def title(self) -> str:
        names = some([target.name for target in self.targets])
        return f"{len(self.targets):,} databases ({names})" if len(self.targets) > 1 else names


def find_groups(statuses: Sequence[Done]) -> list[Group]:
    """The databases by state, most of them first."""
    groups: dict[Any, Group] = {}
    for status in statuses:
        groups.setdefault(_state(status), Group([], status)).targets.append(status.target)
    return sorted(groups.values(), key=lambda group: -len(group.targets))


def _state(status: Done) -> Any:
    """What makes two databases be in one state: all that people are shown but times."""
    document = status.document
    if not document:
        return status.error
    problems = tuple((problem["kind"], problem["name"]) for problem in document["problems"])
    last, lock = document["last"], document["lock"]
    return (
        *(document["executed"], document["ignored"], last and last["name"], tuple(document["unregistered"])),
        *(problems, bool(lock and lock["held"])),
    )


def show_groups(managers: Managers, statuses: Sequence[Done], subtask: Subtask) -> None:
    """Show each group: in a few lines, or as the subtask shows its first database.

    Raises what the subtasks have raised, once for all.
    """
    groups = find_groups(statuses)
    servers = {status.document["server"] for status in statuses if status.document}
    if len(statuses) > 1:
        managers.logger.white(f"{plural(len(statuses), 'database')} at {some(sorted(servers))}")
    failed: list[Done] = []
    for group in groups[:MAX_GROUPS]:
        first = group.status.target
        with contextlib.closing(managers.manager(first)) as manager:
            try:
                if subtask.name == "show_status":
                    _show_status(group, manager.logger)
                else:
                    manager.logger.white_bold(f"{group.title}:")
                    call(manager, subtask.name, subtask.options, subtask.named)
            except MigopyException as error:
                manager.logger.red(f"{first.name}: {error}")
                failed += [Done(target, error.exit_code) for target in group.targets]
    if len(groups) > MAX_GROUPS:
        managers.logger.white(f"There are {len(groups) - MAX_GROUPS:,} more such groups; json=yes shows all.")
    raise_worst(failed, len(statuses))


def _show_status(group: Group, logger: ColorsLogger) -> None:
    """Raises the error of a database that cannot be read."""
    status = group.status.document
    if not status:
        raise MigopyException(group.status.error or "It cannot be read.")
    counts = ", ".join(
        f"{number} {what}"
        for what, number in (
            ("executed", status["executed"]),
            ("ignored", status["ignored"]),
            ("unregistered", len(status["unregistered"])),
        )
        if number or what == "executed"
    )
    last = f"; last {status['last']['name']}" if status["last"] else ""
    logger.white_bold(f"{group.title}: {counts}{last}")
    for name in status["unregistered"]:
        logger.red(f"  {name}")
    for problem in status["problems"]:
        logger.white(f"  {group.targets[0].name}: {problem['text']}")
    if status["lock"] and status["lock"]["held"]:
        logger.white(f"  {group.targets[0].name}: locked by {status['lock']['by']}")


def show_documents(results: Sequence[Done]) -> None:
    """Show one JSON document with what a subtask says of each database. Raises what it has raised, once for all."""
    rows = [{"name": result.target.name, "error": result.error, **result.document} for result in results]
    show(json.dumps({"databases": rows}, indent=2))
    raise_worst([result for result in results if result.code], len(results))


def raise_worst(failed: Sequence[Done], total: int) -> None:
    """Raises ``CheckFailed`` where that is all that happened, otherwise ``MigopyException``."""
    if not failed:
        return
    text = f"Something is wrong in {len(failed):,} of {plural(total, 'database')}: {some(_names(failed))}."
    is_found = all(result.code == CheckFailed.exit_code for result in failed)
    raise CheckFailed(text) if is_found else MigopyException(text)


def _names(results: Sequence[Done]) -> list[str]:
    return [result.target.name for result in results]


def most_filled(managers: Managers, targets: Sequence[Target]) -> Target:
    """The database with the most collections, and among these with the most documents."""

    def size(target: Target) -> tuple[int, int]:
        stats: Mapping[str, Any] = managers.manager(target).db.command("dbStats")
        return stats["collections"], stats["objects"]

    return max(targets, key=size)
