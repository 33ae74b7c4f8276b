"""What is alike in many databases, said once."""

from __future__ import annotations

from dataclasses import replace
from typing import Hashable, Mapping, Sequence

from ...terminal.wording import some
from .findings import CHANGED_DOCUMENTS, NEW_INDEX, SUPERFLUOUS_INDEX, Finding

LEFT_OUT = (CHANGED_DOCUMENTS, NEW_INDEX, SUPERFLUOUS_INDEX)
"""What the database that stands for all has told in general."""


def together(by_database: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """One finding for all databases in which one command has the same trouble, with the words of the worst."""
    groups: dict[Hashable, dict[str, Finding]] = {}
    for name, findings in by_database.items():
        for each in findings:
            if each.kind not in LEFT_OUT:
                about = each.text if each.command is None else each.command
                groups.setdefault((each.kind, each.collection, about), {}).setdefault(name, each)
    return [_one(group) for group in groups.values()]


def _one(group: Mapping[str, Finding]) -> Finding:
    worst = max(group, key=lambda name: group[name].documents or 0)
    names = f"{len(group):,} other databases ({some([*group])}), such as {worst}" if len(group) > 1 else worst
    known = [each.documents for each in group.values() if each.documents is not None]
    return replace(group[worst], text=f"in {names}: {group[worst].text}", documents=sum(known) if known else None)
