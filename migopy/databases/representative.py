"""The database that stands for all in a rehearsal: the one whose documents have the most shapes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

from ..errors import MigopyException, ServerFailed
from ..mongo import server_errors
from ..rehearsal import OtherDatabase, count_shapes
from ..terminal.texts import one_line
from ..terminal.wording import plural
from .managers import Managers

if TYPE_CHECKING:
    from .choice import Target

SECONDS = 20.0
"""How long to look for shapes. The databases with the most collections and documents come first."""


class Representative(NamedTuple):
    """A database, and why it was chosen of those that were looked into."""

    target: Target
    shapes: int
    looked_into: int
    has_looked_into_all: bool

    @property
    def sentence(self) -> str:
        among = "" if self.has_looked_into_all else f" of the {self.looked_into:,} looked into in {SECONDS:.0f} s"
        return (
            f"{self.target.name} stands for all databases: samples of its collections have"
            f" {plural(self.shapes, 'shape')} of documents, the most{among}. databases=NAME takes another."
        )


def find_representative(managers: Managers, targets: Sequence[Target], seconds: float = SECONDS) -> Representative:
    """The database with the most shapes; without documents the first. Raises ``ServerFailed`` if none can be read."""
    by_size = sorted(_sizes(managers, targets).items(), key=lambda item: item[1], reverse=True)
    until = time.monotonic() + seconds
    found: dict[Target, int] = {}
    for target, _ in by_size:
        left = until - time.monotonic()
        if found and left <= 0:
            break
        with server_errors(target.name):
            found[target] = count_shapes(managers.manager(target).db, max(left, 1))
    best = max(found, key=lambda target: found[target])
    return Representative(best, found[best], len(found), len(found) == len(by_size))


def find_waiting(
    managers: Managers, targets: Sequence[Target], name: str | None, to: str | None
) -> dict[Target, OtherDatabase]:
    """The databases in which the migrations that ``rehearse`` is to try are pending, and those that cannot be read."""
    waiting: dict[Target, OtherDatabase] = {}
    for target in targets:
        try:
            workspace = managers.manager(target)._workspace()
            pending = [migration.name for migration in workspace.inventory().to_execute(name, to)]
        except ServerFailed as error:
            waiting[target] = OtherDatabase(target.name, trouble=one_line(error))
        except MigopyException:  # it is registered there, or the subtask will say what is wrong
            continue
        else:
            waiting.update({target: OtherDatabase(target.name, workspace.db, pending)} if pending else {})
    return waiting


def _sizes(managers: Managers, targets: Sequence[Target]) -> dict[Target, tuple[int, int]]:
    """Collections and documents of the databases that can be read."""
    sizes: dict[Target, tuple[int, int]] = {}
    failure: MigopyException = ServerFailed("There is no database.")
    for target in targets:
        try:
            with server_errors(target.name):
                stats: Mapping[str, Any] = managers.manager(target).db.command("dbStats")
            sizes[target] = (stats["collections"], stats["objects"])
        except MigopyException as error:
            failure = error
    if not sizes:
        raise failure
    return sizes
