"""What a rehearsal finds out about each migration, and what that means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Sequence

from ..errors import CheckFailed, MigopyException
from ..files.migration import OTHER_VALUES
from ..terminal.options import positive_number
from .scratch.comparing import Change

EXAMPLE_OF_ALLOW = f'ALLOW = {{"{OTHER_VALUES}": "random ids"}}'

DEFAULT_DOCUMENTS = 1000
"""Documents of each collection that are copied unless the option ``documents`` says otherwise."""


@dataclass
class RehearsedMigration:
    """What happened to one migration.

    ``seconds`` is the time of the first ``up()``, ``whole_seconds`` an estimate for all documents (None without a
    sample). ``not_restored`` is what ``down()`` has not restored (None without a ``down()``), ``different_again``
    where the second ``up()`` differs from the first. ``error`` is what ended the rehearsal. ``allowed`` is why the file
    permits other values in the second ``up()``; ``irreversible`` has the words of a ``down()`` that takes nothing back;
    ``down_from_kept`` says that there is no
    ``down()``, and what ``up()`` has kept was put back.
    """

    name: str
    seconds: float | None = None
    whole_seconds: float | None = None
    commands: Mapping[tuple[str, str], int] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    not_restored: Sequence[Change] | None = None
    different_again: Sequence[Change] | None = None
    only_values_differ: bool = False
    allowed: str | None = None
    irreversible: str | None = None
    down_from_kept: bool = False
    error: MigopyException | None = None

    @property
    def down_verdict(self) -> str:
        """What ``down()`` did, empty if it was not reached.

        ``restores``, ``does not restore``, ``cannot be taken back``, ``failed`` or ``no down()``.
        """
        if self.irreversible is not None:
            return "cannot be taken back"
        if self.not_restored is not None:
            return "restores" if self.is_restored else "does not restore"
        if self.seconds is None:
            return ""
        return "failed" if self.error else "no down()"

    @property
    def again_verdict(self) -> str:
        """``the same``, ``allowed``, ``differs``, ``failed``, or empty if it was not reached."""
        if self.different_again is not None:
            same = "allowed" if self.only_values_differ else "the same"
            return same if self.is_repeatable else "differs"
        return "failed" if self.error and self.not_restored is not None else ""

    @property
    def is_restored(self) -> bool:
        return not any(change.is_real for change in self.not_restored or ())

    @property
    def is_repeatable(self) -> bool:
        if self.only_values_differ:
            return bool(self.allowed)
        return not any(change.is_real for change in self.different_again or ())


def sample_limit(documents: str | None) -> int | None:
    """How many documents of each collection the option ``documents`` asks for; None for all."""
    if documents == "all":
        return None
    return DEFAULT_DOCUMENTS if documents is None else positive_number("documents", documents)


def judge(rehearsed: Sequence[RehearsedMigration], state_of_original: str) -> str:
    """The sentence for a rehearsal that went well. Raises ``CheckFailed`` for one that found something."""
    not_restored = ", ".join(each.name for each in rehearsed if not each.is_restored)
    different_again = ", ".join(each.name for each in rehearsed if not each.is_repeatable)
    only_values = ", ".join(each.name for each in rehearsed if not each.is_repeatable and each.only_values_differ)
    found = [
        f"down() does not restore everything: {not_restored}." if not_restored else "",
        f"The second up() differs from the first: {different_again}." if different_again else "",
        f"Only values differ in {only_values}: if they are meant to, write {EXAMPLE_OF_ALLOW} into the file."
        if only_values
        else "",
    ]
    if any(found):
        raise CheckFailed(" ".join(filter(None, [*found, f"{state_of_original}."])))
    return f"The rehearsal went well. {state_of_original}"
