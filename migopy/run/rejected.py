"""What the subtask ``rejected`` shows and drops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

from ..errors import MigrationNotFound, WrongState
from ..terminal.options import require_not_empty
from ..terminal.streams import show
from ..terminal.tables import table
from ..terminal.wording import local_time, plural
from . import report

if TYPE_CHECKING:
    from ..store.rejected import Rejected
    from ..terminal import ColorsLogger
    from .workspace import Workspace


def find(workspace: Workspace, name: str | None) -> list[Rejected]:
    """The documents that are set aside: by one migration, or all.

    Raises ``MigrationNotFound`` if the one has set nothing aside.
    """
    require_not_empty("NAME", name, f"{workspace.settings.command('rejected')},NAME")
    found = workspace.rejected.find()
    if name is None:
        return found
    if name not in [rejected.migration for rejected in found]:
        name = workspace.inventory().name(name)
    of_one = [rejected for rejected in found if rejected.migration == name]
    if not of_one:
        raise MigrationNotFound(f"{name} has set nothing aside. Nothing was done.", migration=name)
    return of_one


def show_all(workspace: Workspace, found: Sequence[Rejected], logger: ColorsLogger, *, as_json: bool) -> None:
    """Print them on stdout: JSON for programs, or for people a table, and what can be done about them."""
    if as_json:
        return show(report.as_json({"rejected": rows(found)}))
    if not found:
        return logger.green("Nothing is set aside")
    show(as_text(found))
    for sentence in next_steps(workspace, found):
        logger.white(sentence)


def rows(found: Sequence[Rejected]) -> list[dict[str, Any]]:
    """A row for each document, for programs."""
    from ..mongo.extended_json import as_value  # the other subtasks do not pay for it

    return [
        {
            "name": rejected.migration,
            "direction": rejected.direction,
            "collection": rejected.collection,
            "id": as_value(rejected.id),
            "error": rejected.error,
            "at": rejected.at,
            "by": rejected.by,
        }
        for rejected in found
    ]


def as_text(found: Sequence[Rejected]) -> str:
    """A row for each document, for people."""
    return table(
        ["NAME", "COLLECTION", "_ID", "SINCE", "BY", "WHY"],
        [
            [
                rejected.migration,
                rejected.collection,
                rejected.id_text,
                local_time(rejected.at) if rejected.at else "",
                rejected.by or "",
                rejected.error,
            ]
            for rejected in found
        ],
        wrapped=True,
    )


def next_steps(workspace: Workspace, found: Sequence[Rejected]) -> list[str]:
    """What a person can do about them, a sentence for each migration."""
    command, registered = workspace.settings.command, workspace.history.records()
    sentences = []
    for rejected in {(each.migration, each.direction): each for each in found}.values():
        name = rejected.migration
        drop = command(f"rejected,drop={name}")
        if (rejected.direction == "up") == (name in registered):
            sentences.append(f"{name} does not try them again; {drop} deletes the list.")
        else:
            sentences.append(
                f"Fix these documents or {name}, then {command(_again(rejected))} tries them again. After {drop} it"
                " leaves them as they are."
            )
    return sentences


def question(found: Sequence[Rejected]) -> str:
    """What is to be dropped, as a question."""
    return (
        f"Leave {plural(len(found), 'document')} that {found[0].migration} has set aside as they are? It will not try"
        " them again, and can be complete without them."
    )


def drop(workspace: Workspace, found: Sequence[Rejected]) -> str:
    """Leave out what a migration has set aside, under the lock; a sentence about what was done.

    Raises ``WrongState`` if that is no longer what was ``found``.
    """
    name = found[0].migration
    if workspace.rejected.find(name) != found:
        raise WrongState(f"{name} has set others aside in the meantime. Nothing was done.", migration=name)
    left_out = workspace.checkpoints.leave_out(name)
    if left_out:
        workspace.history.log("documents left out", name, because=plural(left_out, "document"))
    workspace.rejected.drop(name)
    again = workspace.settings.command(_again(found[0]))
    return f"{name} leaves them as they are; {again} can complete it." if left_out else "Deleted the list."


def _again(rejected: Rejected) -> str:
    return "execute" if rejected.direction == "up" else f"rollback,{rejected.migration}"
