"""What a rehearsal finds out about each migration, and what that means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Collection, Iterator, Mapping, Sequence

from ..errors import CheckFailed, MigopyException
from ..files.allowances import OTHER_VALUES, example_of_allow
from ..terminal.options import positive_number
from .preflight import Finding, together
from .preflight.findings import NOT_ASKED
from .scratch.comparing import Change
from .scratch.recorder import Sent

DEFAULT_DOCUMENTS = 1000
"""Documents of each collection that are copied unless the option ``documents`` says otherwise."""


@dataclass
class RehearsedMigration:
    """What happened to one migration.

    ``seconds`` is the time of the first ``up()``, ``whole_seconds`` an estimate for all documents (None without a
    sample). ``not_restored`` is what ``down()`` has not restored (None without a ``down()``), ``different_again``
    where the second ``up()`` differs from the first. ``error`` is what ended the rehearsal. ``allowed`` is why the file
    permits other values in the second ``up()``; ``irreversible`` has the words of a ``down()`` that takes nothing back;
    ``missing`` are collections that ``up()`` looked for documents in, or wanted to change, and that do not exist.
    ``down_from_kept`` says that there is no ``down()``, and what ``up()`` has kept was put back. ``sent`` is what
    ``up()`` has changed, ``preflight`` what that will do to the real data (None if nobody asked), and
    ``other_databases`` what it will do in those for which this one stands, by name.
    """

    name: str
    seconds: float | None = None
    whole_seconds: float | None = None
    commands: Mapping[tuple[str, str], int] = field(default_factory=dict)
    missing: Collection[str] = ()
    changes: Sequence[Change] = ()
    not_restored: Sequence[Change] | None = None
    different_again: Sequence[Change] | None = None
    only_values_differ: bool = False
    allowed: str | None = None
    irreversible: str | None = None
    down_from_kept: bool = False
    sent: Sequence[Sent] = ()
    preflight: Sequence[Finding] | None = None
    other_databases: dict[str, Sequence[Finding]] = field(default_factory=dict)
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
    def preflight_verdict(self) -> str:
        """The kinds of what is grave, ``not all asked``, ``allowed``, ``ok``, or empty if nobody asked."""
        if self.preflight is None:
            return ""
        if any(finding.kind == NOT_ASKED for finding in self.findings) and not self.grave_kinds:
            return "not all asked"
        any_allowed = any(finding.allowed for finding in self.findings)
        return ", ".join(self.grave_kinds) or ("allowed" if any_allowed else "ok")

    @property
    def grave_kinds(self) -> list[str]:
        return list(dict.fromkeys(finding.kind for finding in self.findings if finding.is_grave))

    @property
    def findings(self) -> list[Finding]:
        """For people: what was found in the real database, and what is alike in others."""
        return [*(self.preflight or ()), *together(self.other_databases)]

    @property
    def is_restored(self) -> bool:
        return not any(change.is_real for change in self.not_restored or ())

    @property
    def is_repeatable(self) -> bool:
        if self.only_values_differ:
            return bool(self.allowed)
        return not any(change.is_real for change in self.different_again or ())


def sample_limit(documents: str | None, default: int = DEFAULT_DOCUMENTS) -> int | None:
    """How many documents of each collection the option ``documents`` asks for; None for all."""
    if documents == "all":
        return None
    return default if documents is None else positive_number("documents", documents)


def judge(rehearsed: Sequence[RehearsedMigration], state_of_original: str) -> str:
    """The sentence for a rehearsal that went well. Raises ``CheckFailed`` for one that found something."""
    found = [*_differences(rehearsed), *_troubles(rehearsed)]
    if found:
        raise CheckFailed(" ".join([*found, f"{state_of_original}."]))
    return f"The rehearsal went well. {state_of_original}"


def _differences(rehearsed: Sequence[RehearsedMigration]) -> Iterator[str]:
    not_restored = ", ".join(each.name for each in rehearsed if not each.is_restored)
    different_again = [each for each in rehearsed if not each.is_repeatable]
    only_values = ", ".join(each.name for each in different_again if each.only_values_differ)
    if not_restored:
        yield f"down() does not restore everything: {not_restored}."
    if different_again:
        yield f"The second up() differs from the first: {', '.join(each.name for each in different_again)}."
    if only_values:
        allow = example_of_allow(OTHER_VALUES)
        yield f"Only values differ in {only_values}: if they are meant to, write {allow} into the file."


def _troubles(rehearsed: Sequence[RehearsedMigration]) -> Iterator[str]:
    grave = [each for each in rehearsed if each.grave_kinds]
    if grave:
        names = ", ".join(f"{each.name} ({', '.join(each.grave_kinds)})" for each in grave)
        allow = example_of_allow(grave[0].grave_kinds[0])
        yield f"The real data will have trouble with {names}: if that is known, write {allow} into the file."
