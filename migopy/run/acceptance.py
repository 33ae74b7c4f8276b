"""Takes a changed or a renamed file as the one that was executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..errors import MigrationNotFound, WrongState, already_done

if TYPE_CHECKING:
    from ..files.fingerprint import Fingerprint
    from ..files.migration import Migration
    from ..store import Record
    from .inventory import Inventory
    from .workspace import Workspace


class Acceptance(NamedTuple):
    """The file ``name`` with its fingerprint, and the registration that becomes its own."""

    name: str
    fingerprint: Fingerprint
    record: Record

    def __str__(self) -> str:
        return self.name if self.record.name == self.name else f"{self.name}, which was {self.record.name}"

    def carry_out(self, workspace: Workspace) -> None:
        workspace.history.accept(self.record, self.name, self.fingerprint)
        was = None if self.record.name == self.name else self.record.name
        with already_done(f"{self.name} is accepted"):
            workspace.history.log("accepted", self.name, was=was)


def find_acceptance(workspace: Workspace, inventory: Inventory, short_name: str, was: str | None) -> Acceptance | None:
    """What accepting this file means; None if it is the executed one already.

    ``was`` is the name under which the file was executed, if it has another one now. Raises ``MigrationNotFound`` if
    there is no such file, and ``WrongState`` if it is not known what it was.
    """
    name = inventory.name(short_name)
    file = next((migration for migration in inventory.files if migration.name == name), None)
    if file is None:
        raise MigrationNotFound(
            f"There is no file {name} in {inventory.directory}. Nothing was done. If it was renamed, write its new"
            f" name: {inventory.command}:accept,NEW",
            migration=name,
        )
    record = inventory.records.get(name)
    if record and was is not None:
        raise WrongState(
            f"{name} is registered under this name, so it was not renamed. Nothing was done. If it was changed, leave"
            f" was= out: {inventory.command}:accept,{name}",
            migration=name,
        )
    if record is None:
        record = inventory.records[_old_name(workspace, inventory, file, was)]
    fingerprint = file.fingerprint()
    is_executed_one = record.name == name and record.fits(fingerprint)
    return None if is_executed_one else Acceptance(name, fingerprint, record)


def _old_name(workspace: Workspace, inventory: Inventory, file: Migration, was: str | None) -> str:
    """The registered name without a file that the file had: ``was``, or the one with its code."""
    if was is not None:
        name = inventory.registered_name(was)
        if name not in inventory.missing:
            raise WrongState(f"{name} is still in {inventory.directory}. Nothing was done.", migration=name)
    else:
        same_code = [old for old, new in workspace.contents(inventory).renamed.items() if new == file.name]
        if len(same_code) != 1:
            known = " or ".join(same_code) or "no registered migration without a file"
            raise WrongState(
                f"{file.name} is not registered, and {known} has its code. Nothing was done. If it was renamed, write"
                f" what it was: {inventory.command}:accept,{file.name},was=OLD",
                migration=file.name,
            )
        (name,) = same_code
    if workspace.status_from_log().unfinished_kind(name):
        raise WrongState(
            f"The rollback of {name} has not ended well. Nothing was done. Give the file that name again, and end it"
            f" with {inventory.command}:rollback,{name} or {inventory.command}:forget,{name}",
            migration=name,
        )
    return name
